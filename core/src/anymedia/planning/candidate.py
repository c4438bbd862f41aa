"""A request on its way to one candidate: what is asked, what has been changed so far, and why it will not do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import attrs

from ..adjustments import Adjustment, AdjustmentKind
from ..capabilities import InputRule, MaskRule, OperationSpec, Option
from ..fields import Role, role_of, unset_value
from ..media import Media
from ..requests import Mask, Reference, Request
from .types import BackendView, Candidate, Reason

__all__ = ["MODES", "Asked", "Draft", "Words", "asked_by", "json_value", "roles_of"]

#: A sentence, or how to make it: of all the candidates a change is worked out for, it is told for the chosen one alone.
Words = str | Callable[[], str]


#: Fields that are no inputs but intent all the same, with the value a row supports without saying so.
MODES = {"edit_mode": "inpaint", "audio_type": "speech"}


@attrs.frozen(kw_only=True)
class Asked:
    """The set fields of a request by role, worked out once for all candidates.

    ``modes``: those of `MODES` that the request has, with what it wants of them.
    """

    request: Request
    intent: tuple[str, ...]
    adjustable: tuple[str, ...]
    advisory: tuple[str, ...]
    modes: tuple[tuple[str, str], ...] = ()

    def any_of(self, fields: frozenset[str]) -> bool:
        """Whether any of these adjustable fields is set."""
        return not fields.isdisjoint(self.adjustable)


@functools.cache
def _roles(cls: Hashable) -> Mapping[str, Role]:
    return {field.name: role_of(field) for field in attrs.fields(cls)}  # type: ignore[arg-type]


@functools.cache
def _unset(cls: Hashable) -> Mapping[str, Any]:
    return {field.name: unset_value(field) for field in attrs.fields(cls)}  # type: ignore[arg-type]


def roles_of(request: Request) -> Mapping[str, Role]:
    """Return the role of each field of a request."""
    return _roles(type(request))  # type: ignore[arg-type]


def asked_by(request: Request) -> Asked:
    """Sort the set fields of a request by role."""
    by_role: dict[str, list[str]] = {"intent": [], "adjustable": [], "advisory": []}
    roles = roles_of(request)
    for name, unset in _unset(type(request)).items():  # type: ignore[arg-type]
        if getattr(request, name) != unset:
            by_role[roles[name]].append(name)
    modes = tuple((name, wanted) for name in MODES if (wanted := getattr(request, name, None)) is not None)
    return Asked(request=request, modes=modes, **{role: tuple(names) for role, names in by_role.items()})


def json_value(value: Any) -> Any:
    """Return a field's value as JSON shows it: media and masks by where they come from."""
    if isinstance(value, Media):
        return str(value)
    if isinstance(value, Mask):
        return str(value.image) if value.image is not None else value.mode
    if isinstance(value, Reference):
        return f"{value.role}: {value.image}"
    if isinstance(value, tuple | list):
        return [json_value(v) for v in value]
    return value


@attrs.define(eq=False)
class Draft:
    """The planner's working copy for one candidate.

    ``unknown``: inputs of which something is not known yet; ``forms``: each input with the rule it is sent by.
    """

    asked: Asked
    view: BackendView
    candidate: Candidate
    row: OperationSpec
    values: dict[str, Any] = attrs.field(factory=dict)
    notes: dict[str, tuple[AdjustmentKind, Words]] = attrs.field(factory=dict)
    extra: tuple[Adjustment, ...] = ()
    reasons: tuple[Reason, ...] = ()
    unknown: tuple[tuple[str, Media], ...] = ()
    forms: tuple[tuple[Media | Mask, InputRule | MaskRule], ...] = ()
    chunks: tuple[int, ...] = (1,)
    transcode_to: str | None = None
    continued_as: str | None = None
    emulated: bool = False

    @property
    def who(self) -> str:
        """The candidate's name, for a message."""
        return f"'{self.candidate}'"

    def get(self, field: str) -> Any:
        """Return a field's present value."""
        return self.values[field] if field in self.values else getattr(self.asked.request, field, None)

    def option(self, field: str) -> Option | None:
        """Return the row's option of that name."""
        return self.row.options.get(field)

    def set(self, field: str, value: Any, kind: AdjustmentKind, why: Words) -> None:
        """Change a field; the last reason counts."""
        self.values[field] = value
        self.notes[field] = (kind, why)

    def reject(self, code: str, text: str, field: str = "", nearest: str = "") -> None:
        """Note a reason why this candidate will not do."""
        self.reasons += (Reason(code=code, text=text, field=field, nearest=nearest),)

    def adjustments(self) -> tuple[Adjustment, ...]:
        """Return what differs from what was asked, one adjustment a field, and what the core does around it."""
        request = self.asked.request
        changed = []
        for field, value in self.values.items():
            before = getattr(request, field)
            if value != before:
                kind, why = self.notes[field]
                told = why if isinstance(why, str) else why()
                changed.append(Adjustment(field=field, kind=kind, asked=json_value(before), sent=json_value(value), why=told))
        return (*changed, *self.extra, *self._bridged())

    def _bridged(self) -> tuple[Adjustment, ...]:
        """Say that several calls are made where one was asked for."""
        if len(self.chunks) == 1:
            return ()
        why = f"{self.candidate.model} makes {max(self.chunks)} a call, so {len(self.chunks)} calls are made"
        return (Adjustment(field="n", kind="bridged", asked=sum(self.chunks), sent=list(self.chunks), why=why),)

    def adjusted(self) -> bool:
        """Whether anything differs from what was asked."""
        return bool(self.extra) or len(self.chunks) > 1 or any(v != getattr(self.asked.request, f) for f, v in self.values.items())

    def changes(self) -> int:
        """How many adjustable fields the caller set differ (an ignored advisory one, or one that says another's value, does not count)."""
        count = int(len(self.chunks) > 1)
        if not self.values:
            return count
        request = self.asked.request
        roles = roles_of(request)
        for field, value in self.values.items():
            before = getattr(request, field)
            if before is not None and value != before and roles[field] == "adjustable":
                count += 1
        return count
