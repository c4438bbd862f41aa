"""Explain why no candidate can honour the request, what comes nearest, and which alternatives exist."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

import attrs

from ..capabilities import ContinueRule, ModelSpec
from ..errors import InvalidRequest, ModelRetired, NoBackendAvailable, Problem, RequestError, UnsupportedInput, UnsupportedOperation
from ..media import Video
from ..operations import INPUTS
from ..policy import Policy
from ..requests import ContinueVideo, Operation, Request
from .quote import is_over_cap
from .selection import Selection
from .types import BackendView, Candidate, Plan, Reason, Rejection

__all__ = [
    "cannot_continue_error",
    "explain_rejections",
    "onward_operations",
]

#: An edit goes on from the collected file itself, which is then its source.
_FROM_THE_FILE = ("inpaint", "edit_with_references")


def onward_operations(row: ModelSpec) -> tuple[Operation, ...]:
    """Return what a model does that goes on from an earlier result."""
    found = row.operations.items()
    return tuple(name for name, own in found if name in _FROM_THE_FILE or isinstance(own.inputs.get("continue_from"), ContinueRule))


def cannot_continue_error(
    request: Request, views: Sequence[BackendView], policy: Policy, today: datetime.date, plan: Callable[..., Plan]
) -> UnsupportedOperation | None:
    """Return the error for going on from a video whose own backend goes on from none; None where it does."""
    handle = getattr(request, "continue_from", None)
    if not isinstance(request, ContinueVideo) or handle is None or not handle.resolved:
        return None
    home = next((view for view in views if view.name == handle.backend), None)
    if home is None or any("continue_video" in row.operations for row in home.matrix.models):
        return None
    text = f"{handle.id!r} was made by {handle.backend!r}, which goes on from no video."
    return UnsupportedOperation(text, fix=_instead(request, views, policy, today, plan))


def _instead(request: ContinueVideo, views: Sequence[BackendView], policy: Policy, today: datetime.date, plan: Callable[..., Plan]) -> str:
    """Return what can be done with the file itself, proven by planning it."""
    file = next(iter(request.continue_from.files), None) if request.continue_from is not None else None
    if file is not None:
        video = Video(path=file.path, mime=file.mime, width=file.width, height=file.height, seconds=file.seconds)
        alone = attrs.evolve(request, continue_from=None, source=video)
        for view in sorted(views, key=lambda view: (view.matrix.last_resort, view.name)):
            try:
                if not view.missing and plan(alone, [view], policy, today):
                    return f"give the video itself as the source, without the id, to backend={view.name!r}: {file.path}"
            except RequestError:
                continue
    return "make a new video that starts from its last picture, or set bridge = true under [policy] in the settings"


#: Codes of reasons that are about the request's inputs.
_INPUT = frozenset({
    "input_unsupported", "input_missing", "input_format", "input_too_large", "input_too_small", "input_shape", "input_length",
    "input_count", "mask_mode", "mask_classes", "reference_role", "reference_type", "other_backend", "other_model",
})  # fmt: skip
#: How near a rejection comes to a success: the later, the nearer; any other reason is nearer still, and nearest of all is
#: what has only to be installed.
_NEARNESS = ("not_selected", "operation_unsupported", "retired", "not_installed", "preview", "no_credentials")
#: Codes of reasons that ask for something to be set up here: the request may stay as it is.
_SET_UP = frozenset({"no_credentials", "not_installed"})

_Planner = Callable[..., Plan]


def explain_rejections(
    request: Request,
    views: Sequence[BackendView],
    policy: Policy,
    today: datetime.date,
    selection: Selection,
    rejected: tuple[Rejection, ...],
    plan: _Planner,
) -> RequestError:
    """Make the error for a request that no candidate can honour."""
    in_question = [r for r in rejected if r.reasons[0].code != "not_selected"]
    if not views or not in_question:
        return NoBackendAvailable(
            "no backend is installed" if not views else "nothing that was named can be used",
            fix="pip install one, for instance anymedia-local, which needs no key",
        )
    able = _who_can(request, views, policy, today, plan) if selection.named else ()
    unkeyed = _who_could(request, views, policy, today, plan, able)
    installable = _once_installed(request, views, policy, today, selection, plan)
    nearest = max(in_question, key=lambda rejection: (rejection.candidate in installable, *_nearness(rejection)))
    reason = nearest.reasons[0]
    fix = _fix(nearest, selection, able, unkeyed)
    error_class = _class_of(reason, in_question)
    if error_class is InvalidRequest:
        path = f"$.{reason.field}" if reason.field else "$"
        return InvalidRequest(
            [
                Problem(
                    path,
                    reason.text,
                )
            ],
            fix=fix,
            try_backends=able,
        )
    return error_class(_message(request, nearest, in_question, error_class), fix=fix, try_backends=able)


def _nearness(rejection: Rejection) -> tuple[int, int, str]:
    code = rejection.reasons[0].code
    gate = _NEARNESS.index(code) if code in _NEARNESS else len(_NEARNESS)
    return (gate, -len(rejection.reasons), str(rejection.candidate))


def _class_of(reason: Reason, rejected: Sequence[Rejection]) -> type[RequestError]:
    if reason.code == "retired":
        return ModelRetired
    if reason.code in _SET_UP:
        return NoBackendAvailable
    if reason.code in _INPUT or (reason.code == "rule" and reason.field in INPUTS):
        return UnsupportedInput
    if reason.code in {"extra_param", "prompt_too_long", "wrong_medium"}:
        return InvalidRequest
    return UnsupportedOperation


def _message(request: Request, nearest: Rejection, rejected: Sequence[Rejection], error_class: type[RequestError]) -> str:
    texts = [reason.text for reason in nearest.reasons]
    if error_class is UnsupportedOperation and nearest.reasons[0].code == "operation_unsupported":
        who = ", ".join(sorted({repr(r.candidate.backend) for r in rejected}))
        return f"nothing that can be used does {request.kind} (looked at {who})."
    if nearest.reasons[0].code == "no_credentials":
        texts += [r.reasons[0].text for r in rejected if r.reasons[0].code == "no_credentials"]
        texts.sort()
    return "; ".join(dict.fromkeys(texts)) + "."


def _fix(nearest: Rejection, selection: Selection, able: tuple[str, ...], unkeyed: Sequence[BackendView]) -> str:
    reason = nearest.reasons[0]
    parts = []
    if reason.code == "strict":
        parts.append("leave strict out, or change the options named")
    elif reason.code == "preview":
        parts.append(f"name it: model='{nearest.candidate}'")
    elif reason.code in _SET_UP:
        parts += [r.nearest for r in nearest.reasons if r.nearest]
    elif reason.code == "other_backend":
        parts.append(f"leave backend out, or use backend={reason.nearest!r}")
    elif reason.nearest:
        parts.append(f"the nearest that works: {reason.nearest}")
    if able:
        without = " without model" if selection.model else ""
        parts.append(f"{'or ' if parts else ''}leave backend and model out, or use backend={able[0]!r}{without}")
    others = [f"{view.name!r} ({view.lacks})" for view in unkeyed if view.name != nearest.candidate.backend]
    if others:
        parts.append(f"could do it if they were usable: {', '.join(others)}")
    return "; ".join(parts)


def _who_can(request: Request, views: Sequence[BackendView], policy: Policy, today: datetime.date, plan: _Planner) -> tuple[str, ...]:
    """Return the usable backends that can do the request as it is: proven by planning it."""
    able = []
    for view in views:
        if view.missing:
            continue
        try:
            found = plan(request, [view], policy, today)
        except RequestError:
            continue
        if is_over_cap(found.quote, policy):
            continue
        able.append((view.matrix.last_resort, found.adjustments != (), view.name))
    return tuple(name for *_, name in sorted(able))


def _who_could(
    request: Request, views: Sequence[BackendView], policy: Policy, today: datetime.date, plan: _Planner, able: tuple[str, ...]
) -> list[BackendView]:
    """Return the installed backends that could do it if they had their credentials."""
    could = []
    for view in views:
        if not view.missing or view.name in able:
            continue
        try:
            plan(request, [attrs.evolve(view, missing=())], policy, today)
        except RequestError:
            continue
        could.append(view)
    return could


def _once_installed(
    request: Request, views: Sequence[BackendView], policy: Policy, today: datetime.date, selection: Selection, plan: _Planner
) -> frozenset[Candidate]:
    """Return who could do the request as it is, were what its model requires installed: proven by planning it so."""
    could = set()
    for view in views:
        if view.missing or not view.absent:
            continue
        rows = tuple(row for row in view.matrix.models if row.unmet(view.absent) and selection.takes(view, row))
        whole = attrs.evolve(view, absent=frozenset(), matrix=attrs.evolve(view.matrix, models=rows))
        try:
            found = plan(request, [whole], policy, today, model=selection.model)
        except RequestError:
            continue
        if not is_over_cap(found.quote, policy):
            could.add(found.chosen)
    return frozenset(could)
