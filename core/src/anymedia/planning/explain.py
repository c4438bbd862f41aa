"""The error for a request that no candidate can honour: the nearest candidate, its reasons, and what would work instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import (
    InvalidRequest,
    ModelRetired,
    NoBackendAvailable,
    Problem,
    Reason,
    RequestError,
    UnsupportedInput,
    UnsupportedOperation,
)
from ..operations import INPUTS
from ..requests import Request
from .selection import Selection
from .types import BackendView, Candidate, Default, Rejection

__all__ = ["explain_rejections", "nearest_rejection"]

#: Codes of reasons that concern the request's inputs.
_INPUT = frozenset({
    "input_unsupported", "input_missing", "input_format", "input_too_large", "input_too_small", "input_shape", "input_length",
    "input_count", "mask_mode", "mask_classes", "reference_role", "reference_type", "other_backend", "other_model",
})  # fmt: skip
#: How near a rejected candidate is to honouring the request: later is nearer, any other reason is nearer still. Nearest of
#: all is a candidate that only needs a library to be installed.
_NEARNESS = ("not_selected", "operation_unsupported", "retired", "not_installed", "demoted", "preview", "no_credentials")
#: Codes of reasons that ask for setup on this machine; the request may stay as it is.
_SETUP = frozenset({"no_credentials", "not_installed"})


def explain_rejections(
    request: Request,
    rejected: Sequence[Rejection],
    selection: Selection,
    able: tuple[str, ...],
    after_setup: Sequence[BackendView],
    once_installed: Collection[Candidate],
    default: Default | None = None,
) -> RequestError:
    """Return the error for a request that no candidate can honour.

    Args:
        request: the request.
        rejected: every candidate with its reasons.
        selection: what the caller named.
        able: usable backends that can honour the request although they were not named.
        after_setup: backends that could if their credentials were set.
        once_installed: candidates that could if their libraries were installed.
        default: the setting that selected the rejected candidates, if the caller did not.
    """
    considered = [r for r in rejected if r.reasons[0].code != "not_selected"]
    if not considered and default is not None:
        return NoBackendAvailable(f"{default}: there is no such backend or model", fix=_other_choice(default, able))
    if not considered:
        text = "none of the named backends can be used" if rejected else "no backend is installed"
        return NoBackendAvailable(text, fix="install one, for example (needs no key): pip install anymedia-local")
    nearest = nearest_rejection(considered, once_installed)
    reason = nearest.reasons[0]
    fix = _fix(nearest, selection, able, after_setup, default)
    prefix = "" if default is None else f"{default}: "
    error: RequestError
    if (error_class := _class_of(reason)) is InvalidRequest:
        path = f"$.{reason.field}" if reason.field else "$"
        error = InvalidRequest([Problem(path, prefix + reason.text)], fix=fix, try_backends=able)
    else:
        error = error_class(prefix + _message(request, nearest, considered), fix=fix, try_backends=able)
    error.reasons = nearest.reasons
    return error


def nearest_rejection(rejected: Sequence[Rejection], once_installed: Collection[Candidate] = ()) -> Rejection:
    """Return the rejected candidate that is nearest to honouring the request."""
    return max(rejected, key=lambda rejection: (rejection.candidate in once_installed, *_nearness(rejection)))


def _nearness(rejection: Rejection) -> tuple[int, int, str]:
    code = rejection.reasons[0].code
    gate = _NEARNESS.index(code) if code in _NEARNESS else len(_NEARNESS)
    return (gate, -len(rejection.reasons), str(rejection.candidate))


def _class_of(reason: Reason) -> type[RequestError]:
    if reason.code == "retired":
        return ModelRetired
    if reason.code in _SETUP:
        return NoBackendAvailable
    if reason.code in _INPUT or (reason.code == "rule" and reason.field in INPUTS):
        return UnsupportedInput
    if reason.code in {"extra_param", "prompt_too_long", "wrong_medium", "option_value"}:
        return InvalidRequest
    return UnsupportedOperation


def _message(request: Request, nearest: Rejection, considered: Sequence[Rejection]) -> str:
    code, texts = nearest.reasons[0].code, [reason.text for reason in nearest.reasons]
    if code == "operation_unsupported":
        checked = ", ".join(sorted({repr(r.candidate.backend) for r in considered}))
        return f"no usable backend supports {request.kind} (checked: {checked})."
    if code == "no_credentials":
        texts = sorted([*texts, *(r.reasons[0].text for r in considered if r.reasons[0].code == code)])
    return "; ".join(dict.fromkeys(texts)) + "."


def _other_choice(default: Default, able: tuple[str, ...]) -> str:
    name = repr(able[0]) if able else "NAME"
    return f"use another backend for this request (--backend {able[0] if able else 'NAME'}, backend={name}), or change {default.setting}"


def _fix(
    nearest: Rejection, selection: Selection, able: tuple[str, ...], after_setup: Sequence[BackendView], default: Default | None
) -> str:
    reason = nearest.reasons[0]
    parts = []
    if reason.code == "strict":
        parts.append("omit strict, or change the named options")
    elif reason.code == "preview":
        parts.append(f"name it: model='{nearest.candidate}'")
    elif reason.code in _SETUP:
        parts += [r.nearest for r in nearest.reasons if r.nearest]
    elif reason.code == "other_backend":
        parts.append(f"omit backend, or use backend={reason.nearest!r}")
    elif reason.nearest:
        parts.append(f"nearest supported: {reason.nearest}")
    if default is not None:
        parts.append(_other_choice(default, able))
    elif able:
        without = " without model" if selection.model else ""
        parts.append(f"{'or ' if parts else ''}omit backend and model, or use backend={able[0]!r}{without}")
    others = [f"{view.name} ({view.to_set or view.lacks})" for view in after_setup if view.name != nearest.candidate.backend]
    if others:
        parts.append(f"also possible after setup: {', '.join(others)}")
    return "; ".join(parts)
