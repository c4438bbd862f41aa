"""References in pairs that differ in one part: the last of many, a role, a type, a description."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from ..capabilities import ReferencesRule
from ..requests import Reference
from .shapes import Shape, image_for, references_for, required_along

__all__ = ["about_references", "parts_of_references"]

_WORDS = ("the bold lines", "the soft colours")


def about_references(found: Iterable[Shape]) -> Iterator[Shape]:
    """Yield the shapes whose references, or the plugin's own facts about them, are not those of another."""
    seen: list[tuple[Any, ...]] = []
    for shape in found:
        key = (shape.operation, shape.row.inputs.get("references"), shape.row.wire, shape.model.wire)
        if key not in seen:
            seen.append(key)
            yield shape


def parts_of_references(shape: Shape) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield (name, fields, other fields): two requests that differ in nothing but that part of their references."""
    taken = shape.row.inputs.get("references")
    if not isinstance(taken, ReferencesRule):
        return
    along = required_along(shape, "references")
    for name, one, two in _pairs(taken):
        yield f"references.{name}", {**along, "references": tuple(one)}, {**along, "references": tuple(two)}


def _pairs(taken: ReferencesRule) -> Iterator[tuple[str, Sequence[Reference], Sequence[Reference]]]:
    many = _many(taken)
    if len(many) > 1:
        yield "last", many, [*many[:-1], attrs.evolve(many[-1], image=image_for(taken.roles[many[-1].role], 99))]
    roles = list(taken.roles)
    for role, other in itertools.pairwise(roles):
        yield f"{role}-or-{other}", references_for(taken, 1, role), references_for(taken, 1, other)
    for role, rule in taken.roles.items():
        base = references_for(taken, 1, role)
        yield f"{role}.description", *(_with(base, role, description=words) for words in _WORDS)  # type: ignore[misc]
        if len(rule.types) > 1:
            yield f"{role}.type", *(_with(base, role, type=kind) for kind in (rule.types[0], rule.types[-1]))  # type: ignore[misc]


def _many(taken: ReferencesRule) -> list[Reference]:
    """Return as many references as a row takes, of every role as many as it may have."""
    found: list[Reference] = []
    for role, rule in taken.roles.items():
        for _ in range(min(rule.count[1], taken.count[1] - len(found))):
            kind = rule.types[0] if rule.types else None
            found.append(Reference(image=image_for(rule, 20 + len(found)), role=role, type=kind))  # type: ignore[arg-type]
    return found


def _with(base: Sequence[Reference], role: str, **changes: Any) -> list[Reference]:
    return [attrs.evolve(reference, **changes) if reference.role == role else reference for reference in base]
