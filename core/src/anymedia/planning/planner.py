"""The planner: fit a request to every candidate, order the candidates, choose the best."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..capabilities import ModelSpec, OperationSpec
from ..credentials import Secret
from ..errors import (
    Argument,
    FixText,
    InvalidRequest,
    NoBackendAvailable,
    Problem,
    Reason,
    RequestError,
    UnsupportedInput,
    UnsupportedOperation,
    did_you_mean,
    nearest_name,
)
from ..media import Video
from ..notes import Warning, to_warnings
from ..policy import Policy
from ..records import frozen
from ..requests import RUN, ContinueVideo, EditWithReferences, Mask, Request, Transform
from .candidate import AskedFields, Draft, asked_fields, is_over_cap, obstacle_of, quote_call, total
from .explain import Selection, explain_rejections, reason_against
from .fit_inputs import checks_of, fit_inputs, forms_of, source_warning
from .fit_options import fit_options
from .types import BackendView, Candidate, Default, Plan, PlannedCall, Quote, Rejection

#: (draft, model spec) of a candidate that can honour the request.
_Fitted = tuple[Draft, ModelSpec]


class Rejections(Sequence[Rejection]):
    """A tuple of `Rejection`, made of (backend, model, reasons) on first access: most plans are executed without anyone reading them.

    Empty reasons mean that the model does not support the operation.
    """

    def __init__(self, operation: str, found: Sequence[tuple[str, str, tuple[Reason, ...]]] = ()) -> None:
        self._operation = operation
        self._found = tuple(found)

    @functools.cached_property
    def _all(self) -> tuple[Rejection, ...]:
        return tuple(self._one(*entry) for entry in self._found)

    def _one(self, backend: str, model: str, reasons: tuple[Reason, ...]) -> Rejection:
        candidate = Candidate(backend=backend, model=model, operation=self._operation)
        unsupported = Reason(code="operation_unsupported", text=f"'{candidate}' does not support {self._operation}")
        return Rejection(candidate=candidate, reasons=reasons or (unsupported,))

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return self._all == (other._all if isinstance(other, Rejections) else other)

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


def _by_name(views: Iterable[BackendView]) -> tuple[BackendView, ...]:
    return tuple(sorted(views, key=lambda view: view.name))


@frozen(kw_only=True)
class Planner:
    """Plans requests over a set of backends under one policy as of one day. Pure: no I/O.

    Attributes:
        views: the backend instances, in any order.
        policy: what the caller allows.
        today: the date by which lifecycles are judged.
        default: what the settings choose for the request if the caller names neither backend nor model.
    """

    views: tuple[BackendView, ...] = attrs.field(converter=_by_name)
    policy: Policy
    today: datetime.date
    default: Default | None = None

    def plan(self, request: Request, *, backend: str | Sequence[str] | None = None, model: str | None = None) -> Plan:
        """Choose a candidate and describe exactly what will be sent.

        Args:
            request: the request, with its continuation resolved.
            backend: only these instances; ``auto`` or None for any.
            model: only this model (``model`` or ``backend/model``); ``auto`` or None for any.

        Raises:
            RequestError: UnknownBackend, UnknownModel, InvalidRequest, UnsupportedOperation, UnsupportedInput,
                ModelRetired or NoBackendAvailable, each with the nearest request that would work.
        """
        selection = Selection.of(self.views, backend, model, self.today, request.operation)
        _check_consistency(request)
        self._check_continuation(request, selection)
        fitted, rejected = self._fit_all(request, selection)
        default = None if selection.named or getattr(request, "continue_from", None) is not None else self.default
        if default is not None and not any(self._is_named(draft.candidate, default.name) for draft, _ in fitted):
            return self._plan_without_default(request, default, fitted, rejected)
        if not fitted:
            raise self._rejection_error(request, selection, rejected)
        return self._make_plan(fitted, selection, rejected, default)

    def with_views(self, *views: BackendView) -> Planner:
        """Return a planner over other views under the same policy."""
        return attrs.evolve(self, views=views, default=None)

    def find(self, request: Request, selection: Selection) -> Plan | None:
        """Return the plan for a request, or None where no candidate can honour it or it would exceed the cap."""
        fitted, rejected = self._fit_all(request, selection)
        found = self._make_plan(fitted, selection, rejected) if fitted else None
        return None if found is None or is_over_cap(found.quote, self.policy) else found

    # Candidates

    def _fit_all(self, request: Request, selection: Selection) -> tuple[list[_Fitted], Rejections]:
        """Return the candidates that can honour a request, and the others with reasons."""
        asked = asked_fields(request)
        kind = request.operation
        fitted: list[_Fitted] = []
        rejected: list[tuple[str, str, tuple[Reason, ...]]] = []
        for view in self.views:
            if selection.backends and view.name not in selection.backends:
                rejected += view.not_selected
                continue
            for spec, not_selected in zip(view.matrix.models, view.not_selected, strict=True):
                if selection.model is not None and not selection.includes(view, spec):
                    rejected.append(not_selected)
                    continue
                if kind not in spec.operations:
                    rejected.append((view.name, spec.id, ()))
                    continue
                reasons = self._unavailable(view, spec, selection)
                draft = None if reasons else self._fit(asked, view, spec)
                if draft is not None and not draft.reasons:
                    fitted.append((draft, spec))
                else:
                    rejected.append((view.name, spec.id, draft.reasons if draft else reasons))
        return _without_unknown_values(fitted, rejected), Rejections(kind, rejected)

    def _unavailable(self, view: BackendView, spec: ModelSpec, selection: Selection) -> tuple[Reason, ...]:
        """Return the reasons against a model that do not depend on the request's fields."""
        life = spec.lifecycle
        if view.is_retired(spec, self.today):
            instead = f"; use {life.replacement!r} instead" if life.replacement else ""
            text = f"'{view.name}/{spec.id}' was shut down on {life.retires}{instead}"
            return (Reason(code="retired", text=text, nearest=life.replacement or ""),)
        if spec.preview and not self.policy.preview and selection.model is None and f"{view.name}/{spec.id}" not in self._preferences:
            text = f"'{view.name}/{spec.id}' is a preview model; name it, or set preview = true in the policy"
            return (Reason(code="preview", text=text),)
        if spec.id in view.demoted and not self._is_chosen_by_name(view, spec, selection):
            return (Reason(code="demoted", text=f"'{view.name}/{spec.id}': {view.demoted[spec.id]}"),)
        return _setup_reasons(view, spec) if view.missing or view.absent else ()

    def _fit(self, asked: AskedFields, view: BackendView, spec: ModelSpec) -> Draft:
        kind = asked.request.operation
        candidate = Candidate(backend=view.name, model=spec.id, operation=kind)
        draft = Draft(asked=asked, view=view, candidate=candidate, spec=spec.operations[kind])
        fit_inputs(draft)
        fit_options(draft, self.policy)
        return draft

    @functools.cached_property
    def _preferences(self) -> tuple[str, ...]:
        """The default and the preferred backends and models, with the models' aliases resolved."""
        default = () if self.default is None else (self.default.name,)
        return tuple(dict.fromkeys(self._resolved(name) for name in (*default, *self.policy.prefer)))

    def _resolved(self, name: str) -> str:
        """Return ``backend/model`` with the model's id in place of an alias; other names are unchanged."""
        backend, slash, model = name.partition("/")
        view = next((view for view in self.views if view.name == backend), None) if slash else None
        spec = None if view is None else view.matrix.model(model)
        return name if spec is None else f"{backend}/{spec.id}"

    def _is_named(self, candidate: Candidate, name: str) -> bool:
        return self._resolved(name) in {candidate.backend, str(candidate)}

    def _is_chosen_by_name(self, view: BackendView, spec: ModelSpec, selection: Selection) -> bool:
        """Whether the caller or the default names this model."""
        default = "" if self.default is None else self._resolved(self.default.name)
        return selection.model is not None or (not selection.backends and default == f"{view.name}/{spec.id}")

    def _order(self, fitted: list[_Fitted], default: Default | None = None) -> list[_Fitted]:
        """Order candidates: preferred, native, fewest changes, advisory options, model of the continuation, rank, first-party, name."""
        if len(fitted) == 1:
            return fitted
        names = self._preferences if default is not None or self.default is None else self._preferences[1:]
        place: Mapping[str, int] = {name: i for i, name in enumerate(names)}
        ages = [(self._is_doubtful(draft, spec), spec.rank, spec.id) for draft, spec in fitted]
        within: dict[str, list[tuple[bool, int, str]]] = {}
        for (draft, _), age in zip(fitted, ages, strict=True):
            within.setdefault(draft.view.name, []).append(age)
        places = {name: {age: i for i, age in reversed([*enumerate(sorted(ranks))])} for name, ranks in within.items()}
        continuation = getattr(fitted[0][0].asked.request, "continue_from", None)
        origin = None if continuation is None else continuation.model

        def key(draft: Draft, spec: ModelSpec, age: tuple[bool, int, str]) -> tuple[object, ...]:
            matrix = draft.view.matrix
            is_other = origin is not None and origin != spec.id  # than the model that made the continuation
            ranks = (age[0], draft.left_out(), is_other, places[draft.view.name][age], not matrix.first_party, draft.view.name, spec.id)
            return (_place_of(draft.candidate, place), matrix.last_resort, draft.emulated, draft.changes(), *ranks)

        keys = [key(draft, spec, age) for (draft, spec), age in zip(fitted, ages, strict=True)]
        return [fitted[i] for i in sorted(range(len(fitted)), key=keys.__getitem__)]

    def _is_doubtful(self, draft: Draft, spec: ModelSpec) -> bool:
        life = spec.lifecycle
        return life.retires is not None and draft.view.enforce_lifecycle and life.stage_on(self.today) == "doubtful"

    # The plan

    def _make_plan(self, fitted: list[_Fitted], selection: Selection, rejected: Rejections, default: Default | None = None) -> Plan:
        (draft, spec), *others = self._order(fitted, default)
        request = draft.asked.request
        calls = _planned_calls(draft, self.policy)
        made = Plan(
            request=_without_secrets(request, draft.spec),
            chosen=draft.candidate,
            model_spec=spec,
            operation_spec=draft.spec,
            calls=calls,
            adjustments=draft.adjustments(),
            warnings=(
                *to_warnings(draft.view.matrix.warnings, "catalog"),
                *self._warnings(draft, spec),
                *to_warnings(source_warning(request), "continued_image_unused"),
                *(() if selection.named or default is not None else self._preference_warnings(draft.candidate, rejected)),
            ),
            quote=total([call.quote for call in calls]),
            forms=forms_of(draft),
            transcode_to=draft.transcode_to,
            checks=checks_of(draft),
            disclosure=draft.view.matrix.disclosure,
            continued_as=draft.continued_as,
            named=selection.named or default is not None,
            alternatives=tuple(other.candidate for other, _ in others),
            rejected=rejected,
        )
        obstacle = obstacle_of(made, self.policy)
        return made if obstacle is None else attrs.evolve(made, obstacle=obstacle)

    def _warnings(self, draft: Draft, spec: ModelSpec) -> Iterator[Warning]:
        """Yield what a caller should know about the matrix and the model: outdated facts, the end of a model's life."""
        matrix, name, life = draft.view.matrix, draft.view.name, spec.lifecycle
        if matrix.stale_on(self.today) and matrix.checked is not None:
            days = (self.today - matrix.checked).days
            refresh = f"refresh it with: anymedia models --refresh {name}"
            yield Warning("matrix_outdated", f"the model list of {name!r} is of {matrix.checked}, {days} days old; {refresh}")
        if (reason := draft.view.demoted.get(spec.id)) is not None:
            yield Warning("model_demoted", f"'{draft.candidate}' is tried again because it was named (a refusal is free): {reason}")
        stage = life.stage_on(self.today)
        instead = f" Its replacement is {life.replacement!r}." if life.replacement else ""
        if stage == "retiring":
            yield Warning("model_retiring", f"'{draft.candidate}' will be shut down on {life.retires} ({life.certainty}).{instead}")
        elif stage == "doubtful":
            text = f"'{draft.candidate}' may have been shut down on {life.retires} ({life.certainty}).{instead}"
            yield Warning("model_may_be_retired", text)
        elif stage == "retired":
            text = f"'{draft.candidate}' was shut down by its maker on {life.retires}; this instance is another server."
            yield Warning("model_retired_by_maker", text)

    def _preference_warnings(self, chosen: Candidate, rejected: Rejections) -> Iterator[Warning]:
        """Yield why preferred backends and models that rank before the chosen one cannot be used."""
        for name in self.policy.prefer:
            if self._is_named(chosen, name):
                return
            own = [rejection for rejection in rejected if self._is_named(rejection.candidate, name)]
            if own:
                text = f"{name!r} is preferred, but {reason_against(name, own)}; '{chosen}' is used"
                yield Warning("preference_unused", text)

    def _plan_without_default(self, request: Request, default: Default, fitted: list[_Fitted], rejected: Rejections) -> Plan:
        """Return the plan of the next candidate if it costs nothing.

        Raises:
            RequestError: it does not, or there is none: a default is a choice, which is not replaced silently.
        """
        own = [rejection for rejection in rejected if self._is_named(rejection.candidate, default.name)]
        found = self._make_plan(fitted, Selection(), rejected) if fitted else None
        if own and found is not None and found.quote.usd == (0, 0):
            text = f"{default} cannot be used: {reason_against(default.name, own)}; '{found.chosen}' is used instead, which costs nothing"
            return attrs.evolve(found, warnings=(*found.warnings, Warning("default_unused", text)))
        backend, _, model = default.name.partition("/")
        selection = Selection((backend,), model or None)
        raise explain_rejections(request, own, selection, self._able(request), (), self._able_once_installed(request, selection), default)

    # Errors

    def _check_continuation(self, request: Request, selection: Selection) -> None:
        """Refuse a continuation that its own backend cannot continue."""
        continuation = getattr(request, "continue_from", None)
        if continuation is None or not continuation.resolved:
            return
        origin = continuation.backend
        view = next((view for view in self.views if view.name == origin), None)
        if isinstance(request, ContinueVideo) and view and not any("continue_video" in spec.operations for spec in view.matrix.models):
            text = f"{continuation.id!r} was made by {origin!r}, which cannot continue videos."
            raise UnsupportedOperation(text, fix=self._continue_from_file(request))
        if selection.backends and origin not in selection.backends:
            text = f"{continuation.id!r} was made by {origin!r} and can only be continued there, not by {selection.backends[0]!r}."
            raise UnsupportedInput(text, fix=("omit ", Argument("backend"), ", or use ", Argument("backend", origin)))
        if view is None:
            text = f"{continuation.id!r} was made by {origin!r}, which is no longer installed or configured."
            raise NoBackendAvailable(text, fix="install or configure it again, or pass the file as an input")

    def _continue_from_file(self, request: ContinueVideo) -> FixText:
        """Return how the video file itself can be continued, verified by planning that request."""
        file = next(iter(request.continue_from.files), None) if request.continue_from is not None else None
        if file is not None:
            video = Video(path=file.path, mime=file.mime, width=file.width, height=file.height, seconds=file.seconds)
            from_file = attrs.evolve(request, continue_from=None, source=video)
            if able := self._able(from_file):
                return ("pass the video file as the source, without the id, to ", Argument("backend", able[0]), f": {file.path}")
        return "generate a new video that starts from its last frame, or set bridge = true under [policy] in the settings"

    def _rejection_error(self, request: Request, selection: Selection, rejected: Rejections) -> RequestError:
        """Return the error for a request that no candidate can honour; of several reasons, that of the one that would be chosen first."""
        views = {view.name: view for view in self.views}
        places = {name: i for i, name in enumerate(self._preferences)}

        first = self._first_with_option(request, selection, rejected)

        def rank(rejection: Rejection) -> tuple[bool, int, bool, bool]:
            matrix = views[rejection.candidate.backend].matrix
            place = _place_of(rejection.candidate, places)
            return rejection.candidate != first, place, matrix.last_resort, not matrix.first_party

        for view in self.views:
            if view.name in selection.backends and view.missing and not view.matrix.models:
                return NoBackendAvailable(f"'{view.name}' is not usable: {view.lacks}", fix=view.to_set)
        if isinstance(request, Transform) and (unknown := self._unknown_task(request.task)) is not None:
            return unknown
        able = self._able(request) if selection.named else ()
        after_setup = self._able_after_setup(request, able)
        once_installed = self._able_once_installed(request, selection)
        return explain_rejections(request, sorted(rejected, key=rank), selection, able, after_setup, once_installed)

    def _first_with_option(self, request: Request, selection: Selection, rejected: Rejections) -> Candidate | None:
        """Return the candidate with an option whose value all rejected that would be chosen without that value."""
        fields = {reason.field for one in rejected for reason in one.reasons if reason.code == "option_value"}
        if not fields:
            return None
        without: dict[str, Any] = dict.fromkeys(fields)
        fitted, _ = self._fit_all(attrs.evolve(request, **without), selection)
        with_option = [one for one in fitted if fields <= one[0].spec.options.keys()]
        return self._order(with_option)[0][0].candidate if with_option else None

    def _unknown_task(self, task: str) -> UnsupportedOperation | None:
        """Return the error for a task that no model has; None if one has it."""
        specs = (spec for view in self.views for model in view.matrix.models for spec in model.operations.values() if spec.task)
        known = dict.fromkeys(spec.task for spec in specs)
        if task in known:
            return None
        near = nearest_name(str(task), known)
        text = f"no model has the task {task!r} (tasks: {', '.join(known) or 'none'}){did_you_mean(str(task), known)}"
        fix = ("use ", Argument("task", near)) if near else f"use one of: {', '.join(known)}" if known else ""
        return UnsupportedOperation(text, fix=fix)

    def _able(self, request: Request) -> tuple[str, ...]:
        """Return the usable backends that can honour a request as it is, verified by planning it, the best first."""
        plans = [(view, self.with_views(view).find(request, Selection())) for view in self.views if not view.missing]
        found = [(view.matrix.last_resort, self.policy.needs_approval(one), one.adjustments != (), view.name) for view, one in plans if one]
        return tuple(name for *_, name in sorted(found))

    def _able_after_setup(self, request: Request, able: Sequence[str]) -> list[BackendView]:
        """Return the installed backends that could honour a request if their credentials were set."""
        unusable = [view for view in self.views if view.missing and view.name not in able]
        whole = [(view, self.with_views(attrs.evolve(view, missing=()))) for view in unusable]
        return [view for view, planner in whole if planner._fit_all(request, Selection())[0]]

    def _able_once_installed(self, request: Request, selection: Selection) -> frozenset[Candidate]:
        """Return the candidates that could honour a request if the libraries they require were installed."""
        found = set()
        for view in self.views:
            if view.missing or not view.absent:
                continue
            specs = tuple(spec for spec in view.matrix.models if spec.unmet(view.absent) and selection.includes(view, spec))
            whole = attrs.evolve(view, absent=frozenset(), matrix=attrs.evolve(view.matrix, models=specs))
            able = self.with_views(whole).find(request, Selection((), selection.model))
            if able is not None:
                found.add(able.chosen)
        return frozenset(found)


def plan(
    request: Request,
    backends: Iterable[BackendView],
    policy: Policy,
    today: datetime.date,
    *,
    backend: str | Sequence[str] | None = None,
    model: str | None = None,
) -> Plan:
    """Plan one request; see `Planner`."""
    return Planner(views=backends, policy=policy, today=today).plan(request, backend=backend, model=model)


def _place_of(candidate: Candidate, places: Mapping[str, int]) -> int:
    """Return the place of a candidate in an order of backends and models; after the last if it is in none."""
    return min(places.get(candidate.backend, len(places)), places.get(str(candidate), len(places)))


def _check_consistency(request: Request) -> None:
    """Refuse a request that contradicts itself, whichever backend executes it."""
    continuation = getattr(request, "continue_from", None)
    if continuation is not None and continuation.resolved and continuation.media != request.media:
        hint = "pass its file as an input instead"
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


def _without_unknown_values(fitted: list[_Fitted], rejected: list[tuple[str, str, tuple[Reason, ...]]]) -> list[_Fitted]:
    """Reject the candidates without an option whose value all others, of their backend or of all, rejected: they do not know the value."""
    reasons = {(backend, reason.field): reason for backend, _, found in rejected for reason in found if reason.code == "option_value"}
    for (backend, field), reason in reasons.items():
        for group in ([one for one in fitted if one[0].view.name == backend], fitted):
            if group and not any(field in draft.spec.options for draft, _ in group):
                rejected += ((draft.view.name, spec.id, (reason,)) for draft, spec in group)
                fitted = [one for one in fitted if one not in group]
    return fitted


def _setup_reasons(view: BackendView, spec: ModelSpec) -> tuple[Reason, ...]:
    """Return what has to be set up on this machine before a model can be used."""
    reasons = []
    if view.missing:
        reasons.append(Reason(code="no_credentials", text=f"'{view.name}' is not usable: {view.lacks}", nearest=view.to_set))
    if (needs := spec.unmet(view.absent)) is not None:
        text = f"'{view.name}/{spec.id}' needs {needs.module!r}, which is not installed"
        reasons.append(Reason(code="not_installed", text=text, nearest=needs.install))
    return tuple(reasons)


def _without_secrets(request: Request, spec: OperationSpec) -> Request:
    """Return a request whose secret options are not shown by anything that is made of it."""
    names = [key for key, option in spec.extra_params.items() if getattr(option, "type", "") == "secret" and key in request.extra_params]
    if not names:
        return request
    hidden = {key: value if isinstance(value := request.extra_params[key], Secret) else Secret(value) for key in names}
    changes: dict[str, Any] = {"options" if spec.task else "extra_params": {**request.extra_params, **hidden}}
    return attrs.evolve(request, **changes)


def _planned_calls(draft: Draft, policy: Policy) -> tuple[PlannedCall, ...]:
    """Return the billable calls of a fitted request, one per chunk of n."""
    asked = draft.asked.request
    fitted = _without_secrets(attrs.evolve(asked, **draft.values) if draft.values else asked, draft.spec)
    calls = []
    for chunk in draft.chunks:
        changes: dict[str, Any] = {"n": chunk} if getattr(fitted, "n", chunk) != chunk else {}
        one = attrs.evolve(fitted, **changes) if changes else fitted
        quote = quote_call(draft, one, chunk)
        if quote.usd is None and draft.spec.task == RUN and policy.max_cost is not None:
            quote = Quote(usd=(0.0, policy.max_cost), basis="the price is unknown; this is the max_cost that was given")
        calls.append(PlannedCall(request=one, quote=quote))
    return tuple(calls)
