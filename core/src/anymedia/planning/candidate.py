"""One candidate while a request is fitted to it: the fields that were asked, the changes so far, the reasons against it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import attrs

from ..capabilities import InputRule, MaskRule, OperationSpec, Option
from ..errors import Reason
from ..fields import Role, role_of, unset_value
from ..media import Media
from ..requests import Mask, Reference, Request
from ..results import Adjustment, AdjustmentKind
from .types import BackendView, Candidate

__all__ = ["MODES", "AskedFields", "Draft", "Text", "asked_fields", "json_value", "roles_of"]

#: A sentence, or a function that returns it: only the chosen candidate's sentences are ever formatted.
Text = str | Callable[[], str]


#: Intent fields that are not inputs, each with the value that every operation spec supports unless it states otherwise.
MODES = {"edit_mode": "inpaint", "audio_type": "speech"}


@attrs.frozen(kw_only=True)
class AskedFields:
    """The set fields of a request by role, computed once for all candidates.

    ``modes``: the fields of `MODES` that the request has, with the requested values.
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


def asked_fields(request: Request) -> AskedFields:
    """Sort the set fields of a request by role."""
    by_role: dict[str, list[str]] = {"intent": [], "adjustable": [], "advisory": []}
    roles = roles_of(request)
    for name, unset in _unset(type(request)).items():  # type: ignore[arg-type]
        if getattr(request, name) != unset:
            by_role[roles[name]].append(name)
    modes = tuple((name, value) for name in MODES if (value := getattr(request, name, None)) is not None)
    return AskedFields(request=request, modes=modes, **{role: tuple(names) for role, names in by_role.items()})


def json_value(value: Any) -> Any:
    """Return a field's value as JSON shows it: media and masks by their origin."""
    if isinstance(value, Media):
        return str(value)
    if isinstance(value, Mask):
        return str(value.image) if value.image is not None else value.mode
    if isinstance(value, Reference):
        return f"{value.role}: {value.image}"
    if isinstance(value, tuple | list):
        return [json_value(v) for v in value]
    return value


def _differs(before: Any, after: Any) -> bool:
    """Whether a value was changed; another case of the same word is not a change."""
    return before != after and not (isinstance(before, str) and isinstance(after, str) and before.casefold() == after.casefold())


@attrs.define(eq=False)
class Draft:
    """The planner's working copy of a request for one candidate.

    Attributes:
        asked: the request by role.
        view: the backend instance.
        candidate: backend, model and operation.
        spec: the operation spec that the request is fitted to.
        values: changed fields; ``notes`` has the kind and the reason of each change.
        extra: adjustments that change no field (emulated inputs).
        reasons: why this candidate is rejected; empty while it can honour the request.
        unknown: inputs of which a fact is not known before their bytes are read.
        forms: each input with the rule by which it is sent.
        chunks: the number of outputs of each call.
        transcode_to: the format that the core converts the result to.
        continued_as: how a continuation is continued.
        emulated: whether any part is emulated.
    """

    asked: AskedFields
    view: BackendView
    candidate: Candidate
    spec: OperationSpec
    values: dict[str, Any] = attrs.field(factory=dict)
    notes: dict[str, tuple[AdjustmentKind, Text]] = attrs.field(factory=dict)
    extra: tuple[Adjustment, ...] = ()
    reasons: tuple[Reason, ...] = ()
    unknown: tuple[tuple[str, Media], ...] = ()
    forms: tuple[tuple[Media | Mask, InputRule | MaskRule], ...] = ()
    chunks: tuple[int, ...] = (1,)
    transcode_to: str | None = None
    continued_as: str | None = None
    emulated: bool = False

    @property
    def name(self) -> str:
        """The candidate's quoted name, for messages."""
        return f"'{self.candidate}'"

    def get(self, field: str) -> Any:
        """Return a field's current value."""
        return self.values[field] if field in self.values else getattr(self.asked.request, field, None)

    def option(self, field: str) -> Option | None:
        """Return the operation spec's option of that name."""
        return self.spec.options.get(field)

    def set(self, field: str, value: Any, kind: AdjustmentKind, why: Text) -> None:
        """Change a field; the last reason is reported."""
        self.values[field] = value
        self.notes[field] = (kind, why)

    def reject(self, code: str, text: str, field: str = "", nearest: str = "") -> None:
        """Add a reason against this candidate."""
        self.reasons += (Reason(code=code, text=text, field=field, nearest=nearest),)

    def adjustments(self) -> tuple[Adjustment, ...]:
        """Return every difference from the request: one adjustment per changed field, and what the core adds."""
        request = self.asked.request
        changed = []
        for field, value in self.values.items():
            before = getattr(request, field)
            if _differs(before, value):
                kind, why = self.notes[field]
                reason = why if isinstance(why, str) else why()
                changed.append(Adjustment(field=field, kind=kind, asked=json_value(before), sent=json_value(value), why=reason))
        return (*changed, *self.extra, *self._split_calls())

    def _split_calls(self) -> tuple[Adjustment, ...]:
        """Return the adjustment for a request that needs several calls."""
        if len(self.chunks) == 1:
            return ()
        why = f"{self.candidate.model} returns at most {max(self.chunks)} per call, so {len(self.chunks)} calls are made"
        return (Adjustment(field="n", kind="bridged", asked=sum(self.chunks), sent=list(self.chunks), why=why),)

    def adjusted(self) -> bool:
        """Whether anything differs from the request."""
        return bool(self.extra) or len(self.chunks) > 1 or any(_differs(getattr(self.asked.request, f), v) for f, v in self.values.items())

    def changes(self) -> int:
        """Return how many adjustable fields that the caller set are changed.

        An ignored advisory field does not count, nor a field whose value another one already implies.
        """
        count = int(len(self.chunks) > 1)
        if not self.values:
            return count
        request = self.asked.request
        roles = roles_of(request)
        for field, value in self.values.items():
            before = getattr(request, field)
            if before is not None and _differs(before, value) and roles[field] == "adjustable":
                count += 1
        return count
