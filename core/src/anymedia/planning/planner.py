"""Fit the request to every candidate, order the candidates and choose the best."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import attrs

from ..capabilities import ModelSpec
from ..errors import InvalidRequest, NoBackendAvailable, Problem, UnsupportedInput
from ..policy import Policy
from ..requests import EditWithReferences, Mask, Operation, Request
from .candidate import Asked, Draft, asked_by
from .explain import cannot_continue_error, explain_rejections
from .fit_inputs import checks_of, fit_inputs, forms_of, set_aside
from .fit_options import fit_options
from .quote import quote_call, total
from .selection import Selection
from .types import BackendView, Candidate, Plan, PlannedCall, Reason, Rejection

__all__ = [
    "Rejections",
    "plan",
]


class Rejections(Sequence[Rejection]):
    """A tuple of `Rejection`, each made when it is first asked for.

    Args:
        operation: what was asked for.
        found: backend, model, reasons; no reasons where the model has no row for the operation at all.
    """

    __slots__ = ("_found", "_made", "_operation")

    def __init__(self, operation: Operation, found: Sequence[tuple[str, str, tuple[Reason, ...]]] = ()) -> None:
        self._operation = operation
        self._found = tuple(found)
        self._made: tuple[Rejection, ...] | None = None

    def _all(self) -> tuple[Rejection, ...]:
        if self._made is None:
            self._made = tuple(self._one(*entry) for entry in self._found)
        return self._made

    def _one(self, backend: str, model: str, reasons: tuple[Reason, ...]) -> Rejection:
        candidate = Candidate(backend=backend, model=model, operation=self._operation)
        no_row = Reason(code="operation_unsupported", text=f"'{candidate}' does no {self._operation}")
        return Rejection(candidate=candidate, reasons=reasons or (no_row,))

    @overload
    def __getitem__(self, index: int) -> Rejection: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Rejection, ...]: ...
    def __getitem__(self, index: int | slice) -> Rejection | tuple[Rejection, ...]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, Rejections) else other)

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


def plan(
    request: Request,
    backends: Iterable[BackendView],
    policy: Policy,
    today: datetime.date,
    *,
    backend: str | Sequence[str] | None = None,
    model: str | None = None,
) -> Plan:
    """Choose a candidate and say exactly what will be sent.

    Args:
        request: what is asked, with its continuation resolved.
        backends: the installed instances, in any order.
        policy: what the caller allows.
        today: the date by which lifecycles are judged.
        backend: only these instances; ``auto`` or None for any.
        model: only this model (``model`` or ``backend/model``).

    Raises:
        RequestError: UnknownBackend, UnknownModel, InvalidRequest, UnsupportedOperation, UnsupportedInput,
            ModelRetired or NoBackendAvailable, each with the nearest thing that would work.
    """
    views = sorted(backends, key=lambda view: view.name)
    selection = Selection.of(views, backend, model)
    _check_whole(request)
    if (error := cannot_continue_error(request, views, policy, today, plan)) is not None:
        raise error
    _check_origin(request, views, selection)
    asked = asked_by(request)
    kind = request.kind
    fitted: list[tuple[Draft, ModelSpec]] = []
    lost: list[tuple[str, str, tuple[Reason, ...]]] = []
    for view in views:
        if selection.backends and view.name not in selection.backends:
            lost += view.unnamed
            continue
        for row, unnamed in zip(view.matrix.models, view.unnamed, strict=True):
            if selection.model is not None and not selection.takes(view, row):
                lost.append(unnamed)
                continue
            if kind not in row.operations:
                lost.append((view.name, row.id, ()))
                continue
            reasons = _gate(view, row, policy, today, selection)
            draft = None if reasons else _fit(asked, view, row, policy)
            if draft is not None and not draft.reasons:
                fitted.append((draft, row))
            else:
                lost.append((view.name, row.id, draft.reasons if draft else reasons))
    rejected = Rejections(kind, lost)
    if not fitted:
        raise explain_rejections(request, views, policy, today, selection, tuple(rejected), plan)
    ordered = _order(fitted, policy, today)
    best, best_row = ordered[0]
    others = tuple(draft.candidate for draft, _ in ordered[1:])
    return _make_plan(best, best_row, policy, today, selection, others, rejected)


def _check_whole(request: Request) -> None:
    """Refuse what is wrong whoever does it."""
    continuation = getattr(request, "continue_from", None)
    if continuation is not None and continuation.resolved and continuation.media != request.media:
        hint = "give its file as an input instead"
        raise InvalidRequest([Problem("$.continue_from", f"{continuation.id!r} is of {continuation.media}, not {request.media}", hint)])
    source = getattr(request, "source", None)
    mask: Mask | None = getattr(request, "mask", None)
    if isinstance(request, EditWithReferences):
        source = next((r.image for r in request.references if r.role == "source"), None)
    if mask is None or mask.image is None or source is None:
        return
    if source.width and mask.image.width and (source.width, source.height) != (mask.image.width, mask.image.height):
        text = f"the mask is {mask.image.width}x{mask.image.height} pixels, the source {source.width}x{source.height}"
        raise InvalidRequest([Problem("$.mask", text, "make the mask the same size as the source")])


def _check_origin(request: Request, views: Sequence[BackendView], selection: Selection) -> None:
    """Refuse a continuation that would have to go to another backend than the one that made it."""
    continuation = getattr(request, "continue_from", None)
    if continuation is None or not continuation.resolved:
        return
    home = continuation.backend
    if selection.backends and home not in selection.backends:
        text = f"{continuation.id!r} was made by {home!r} and can only be continued there, not by {selection.backends[0]!r}."
        raise UnsupportedInput(text, fix=f"leave backend out, or use backend={home!r}")
    if home not in {view.name for view in views}:
        text = f"{continuation.id!r} was made by {home!r}, which is not installed or not configured any more."
        raise NoBackendAvailable(text, fix="install or configure it again, or give the file as an input")


def _gate(view: BackendView, row: ModelSpec, policy: Policy, today: datetime.date, selection: Selection) -> tuple[Reason, ...]:
    """Judge what needs no look at the fields: lifecycle, preview, credentials, what has to be installed."""
    life = row.lifecycle
    if life.retires is not None and view.enforce_lifecycle and life.stage_on(today) == "retired":
        instead = f"; use {life.replacement!r} instead" if life.replacement else ""
        text = f"'{view.name}/{row.id}' was shut down on {life.retires}{instead}"
        return (Reason(code="retired", text=text, nearest=life.replacement or ""),)
    if row.preview and not policy.preview and selection.model is None:
        return (Reason(code="preview", text=f"'{view.name}/{row.id}' is a preview; name it, or allow previews"),)
    return _wanting(view, row) if view.missing or view.absent else ()


def _wanting(view: BackendView, row: ModelSpec) -> tuple[Reason, ...]:
    """Say what somebody would have to set up here before a model can be used."""
    reasons = []
    if view.missing:
        reasons.append(Reason(code="no_credentials", text=f"'{view.name}' is not usable: {view.lacks}", nearest=view.to_set))
    if (needs := row.unmet(view.absent)) is not None:
        text = f"'{view.name}/{row.id}' needs {needs.module!r}, which is not installed"
        reasons.append(Reason(code="not_installed", text=text, nearest=needs.install))
    return tuple(reasons)


def _fit(asked: Asked, view: BackendView, row: ModelSpec, policy: Policy) -> Draft:
    kind = asked.request.kind
    candidate = Candidate(backend=view.name, model=row.id, operation=kind)
    draft = Draft(asked=asked, view=view, candidate=candidate, row=row.operations[kind])
    fit_inputs(draft)
    fit_options(draft, policy)
    return draft


def _order(fitted: list[tuple[Draft, ModelSpec]], policy: Policy, today: datetime.date) -> list[tuple[Draft, ModelSpec]]:
    """Order candidates: native, preferred, least changed, the model that made what is continued, best ranked, first-party, by name."""
    if len(fitted) == 1:
        return fitted
    place: Mapping[str, int] = {name: i for i, name in enumerate(policy.prefer)}
    ages = [(_is_doubtful(draft, row, today), row.rank, row.id) for draft, row in fitted]
    within: dict[str, list[tuple[bool, int, str]]] = {}
    for (draft, _), age in zip(fitted, ages, strict=True):
        within.setdefault(draft.view.name, []).append(age)
    for ranks in within.values():
        ranks.sort()

    continuation = getattr(fitted[0][0].asked.request, "continue_from", None)
    origin = None if continuation is None else continuation.model

    def key(draft: Draft, row: ModelSpec, age: tuple[bool, int, str]) -> tuple[object, ...]:
        view = draft.view
        preferred = min(place.get(view.name, len(place)), place.get(str(draft.candidate), len(place))) if place else 0
        return (
            view.matrix.last_resort,
            draft.emulated,
            preferred,
            draft.changes(),
            age[0],
            origin is not None and origin != row.id,  # whether it would go on with what another model made
            within[view.name].index(age),
            not view.matrix.first_party,
            view.name,
            row.id,
        )

    keys = [key(draft, row, age) for (draft, row), age in zip(fitted, ages, strict=True)]
    return [fitted[i] for i in sorted(range(len(fitted)), key=keys.__getitem__)]


def _is_doubtful(draft: Draft, row: ModelSpec, today: datetime.date) -> bool:
    return row.lifecycle.retires is not None and draft.view.enforce_lifecycle and row.lifecycle.stage_on(today) == "doubtful"


def _make_plan(
    draft: Draft,
    row: ModelSpec,
    policy: Policy,
    today: datetime.date,
    selection: Selection,
    others: tuple[Candidate, ...],
    rejected: Rejections,
) -> Plan:
    request = draft.asked.request
    fitted: Request = attrs.evolve(request, **draft.values) if draft.values else request
    calls = []
    for chunk in draft.chunks:
        changes: dict[str, Any] = {"n": chunk} if getattr(fitted, "n", chunk) != chunk else {}
        one = attrs.evolve(fitted, **changes) if changes else fitted
        calls.append(PlannedCall(request=one, quote=quote_call(draft, one, chunk)))
    return Plan(
        request=request,
        chosen=draft.candidate,
        model_spec=row,
        row=draft.row,
        calls=tuple(calls),
        adjustments=draft.adjustments(),
        warnings=(*draft.view.matrix.warnings, *_stale_warnings(draft, today), *_life_warnings(draft, row, today), *set_aside(request)),
        quote=total([call.quote for call in calls]),
        forms=forms_of(draft),
        transcode_to=draft.transcode_to,
        checks=checks_of(draft),
        disclosure=draft.view.matrix.disclosure,
        continued_as=draft.continued_as,
        named=selection.named,
        alternatives=others,
        rejected=rejected,
    )


def _stale_warnings(draft: Draft, today: datetime.date) -> list[str]:
    matrix, name = draft.view.matrix, draft.view.name
    if not matrix.stale_on(today):
        return []
    assert matrix.checked is not None  # an undated matrix is never stale
    days = (today - matrix.checked).days
    return [f"what {name!r} can do was listed on {matrix.checked}, {days} days ago; list it anew with: anymedia models --refresh {name}"]


def _life_warnings(draft: Draft, row: ModelSpec, today: datetime.date) -> list[str]:
    life = row.lifecycle
    stage = life.stage_on(today)
    instead = f" Its replacement is {life.replacement!r}." if life.replacement else ""
    if stage == "retiring":
        return [f"'{draft.candidate}' ends on {life.retires} ({life.certainty}).{instead}"]
    if stage == "doubtful":
        return [f"'{draft.candidate}' may have ended on {life.retires} ({life.certainty}).{instead}"]
    if stage == "retired":
        return [f"'{draft.candidate}' was shut down by its maker on {life.retires}; this is another server."]
    return []
