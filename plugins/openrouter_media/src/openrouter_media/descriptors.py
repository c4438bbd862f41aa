"""What the image lists say of one option -> what the matrix says.

A descriptor is ``{"type": "enum", "values": [...]}``, ``{"type": "range", "min", "max"}`` or ``{"type": "boolean"}``. Absent
means unsupported; null means unknown, which is not offered; neither is a type that is not known here. Each of the latter two
is noted. Served by several endpoints, a model is offered what every one of them takes: any of them may be chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anymedia.media import FORMATS

__all__ = ["SEEDS", "Listed", "common", "option", "pictures"]

Listed = Mapping[str, Any]
#: A seed whose range the list does not say.
SEEDS = {"min": 0, "max": 2**31 - 1, "step": 1}
_FORMATS = {"jpg": "jpeg"}
#: The values of these options that a request can hold at all.
_SHAPES = {
    "size": r"auto|[1-9][0-9]{0,5}x[1-9][0-9]{0,5}",
    "aspect_ratio": r"auto|[0-9]+(\.[0-9]+)?:[0-9]+(\.[0-9]+)?",
    "background": "transparent|opaque|auto",
}
_WORDS = frozenset({"size", "aspect_ratio", "resolution", "quality", "background", "output_format"})
_WHOLE = frozenset({"n", "seed", "output_compression"})


def option(name: str, found: Any, notes: list[str]) -> dict[str, Any] | None:
    """Return an option as a capability file writes it, or None where it cannot be offered; say why in the notes."""
    if found is None:
        notes.append(f"{name}: the list leaves open whether it is taken; not offered")
        return None
    kind = found.get("type") if isinstance(found, Mapping) else None
    if kind == "enum" and isinstance(found.get("values"), list):
        return _choice(name, found["values"], notes)
    if kind == "range" and _numbers(found.get("min"), found.get("max")):
        bounds = {"min": found["min"], "max": found["max"]}
        return {**bounds, "step": 1} if name in _WHOLE or all(isinstance(v, int) for v in bounds.values()) else bounds
    if kind == "boolean":
        return _flag(name, notes)
    notes.append(f"{name}: described as {str(kind)[:40]!r}, which is not known here; not offered")
    return None


def _choice(name: str, values: Sequence[Any], notes: list[str]) -> dict[str, Any] | None:
    plain: list[Any] = [v for v in values if isinstance(v, str | int | float)]
    if name in _WORDS:
        plain = [_FORMATS.get(str(v), str(v)) for v in plain]
    kept = [v for v in dict.fromkeys(plain) if _sayable(name, v)]
    if left := [str(v) for v in plain if v not in kept]:
        notes.append(f"{name}: {', '.join(left)[:120]} cannot be asked for here; not offered")
    return {"one_of": kept} if kept else None


def _sayable(name: str, value: Any) -> bool:
    if name == "output_format":
        return value in FORMATS
    return name not in _SHAPES or (isinstance(value, str) and re.fullmatch(_SHAPES[name], value) is not None)


def _flag(name: str, notes: list[str]) -> dict[str, Any] | None:
    if name == "seed":
        return dict(SEEDS)
    if name in {*_WORDS, "n"}:
        notes.append(f"{name}: taken, but the list does not say which values; not offered")
        return None
    return {"type": "boolean"}


def pictures(found: Any, notes: list[str]) -> tuple[int, int] | None:
    """Return how many reference pictures are taken (least, most), or None for none."""
    kind = found.get("type") if isinstance(found, Mapping) else None
    if kind == "boolean":
        notes.append("input_references: the list does not say how many; one is offered")
        return (0, 1)
    if kind == "range" and _numbers(found.get("min"), found.get("max")) and found["max"] >= 1:
        return (max(0, int(found["min"])), int(found["max"]))
    if kind == "enum" and (numbers := [v for v in found.get("values") or () if isinstance(v, int) and not isinstance(v, bool)]):
        return (min(numbers), max(numbers)) if max(numbers) >= 1 else None
    if found is None:
        notes.append("input_references: the list leaves open whether pictures are taken; not offered")
    else:
        notes.append(f"input_references: described as {str(kind)[:40]!r}, which is not known here; not offered")
    return None


def _numbers(low: Any, high: Any) -> bool:
    whole = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
    return bool(whole and low <= high)


def common(described: Iterable[Listed], notes: list[str]) -> dict[str, Any]:
    """Return what all endpoints of a model take; say what only some of them take."""
    lists = list(described)
    names = list(dict.fromkeys(name for one in lists for name in one))
    found: dict[str, Any] = {}
    for name in names:
        if not all(name in one for one in lists):
            notes.append(f"{name}: taken by some of its endpoints only; not offered")
            continue
        values = [one[name] for one in lists]
        merged = values[0] if all(v == values[0] for v in values) else _narrowest(values)
        if merged == {}:
            notes.append(f"{name}: its endpoints have nothing in common; not offered")
        else:
            found[name] = merged
    return found


def _narrowest(values: Sequence[Any]) -> Any:
    """Return what differing descriptors have in common; an empty mapping for nothing, None where one is unknown."""
    if any(v is None for v in values):
        return None
    kinds = {v.get("type") if isinstance(v, Mapping) else None for v in values}
    if kinds == {"enum"}:
        kept = [x for x in values[0].get("values") or () if all(x in (v.get("values") or ()) for v in values)]
        return {"type": "enum", "values": kept} if kept else {}
    if kinds == {"range"} and all(_numbers(v.get("min"), v.get("max")) for v in values):
        low, high = max(v["min"] for v in values), min(v["max"] for v in values)
        return {"type": "range", "min": low, "max": high} if low <= high else {}
    return {}
