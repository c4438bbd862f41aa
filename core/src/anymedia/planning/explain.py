"""What the caller named, and the error for a request that no candidate can honour: nearest candidate, reasons, alternatives."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Sequence

from ..capabilities import ModelSpec
from ..errors import (
    Argument,
    InvalidRequest,
    ModelRetired,
    NoBackendAvailable,
    Problem,
    Reason,
    RequestError,
    UnknownBackend,
    UnknownModel,
    UnsupportedInput,
    UnsupportedOperation,
    did_you_mean,
    nearest_name,
)
from ..fields import INPUTS
from ..records import frozen
from ..requests import Request
from .types import BackendView, Candidate, Default, Rejection

#: At most this many models are listed in the error for an unknown one.
_LISTED = 8
#: At most this many models of a family are suggested, for a name of at least this many letters and digits.
_SUGGESTED, _FAMILY = 3, 3


@frozen
class Selection:
    """The instances and the model that were named; empty and None for any."""

    backends: tuple[str, ...] = ()
    model: str | None = None

    @classmethod
    def of(
        cls,
        views: Sequence[BackendView],
        backend: str | Sequence[str] | None,
        model: str | None,
        today: datetime.date,
        operation: str = "",
    ) -> Selection:
        """Resolve the names that the caller gave; ``operation``: what the model is for.

        Raises:
            UnknownBackend, UnknownModel: with the nearest known name.
        """
        names = [view.name for view in views]
        named = () if backend is None or backend == "auto" else (backend,) if isinstance(backend, str) else tuple(backend)
        for name in named:
            if name not in names:
                known = ", ".join(names) or "none"
                error = UnknownBackend(f"no backend named {name!r} (available: {known}){did_you_mean(name, names)}")
                error.nearest = nearest_name(name, names) or ""
                raise error
        if model is None or model == "auto":
            return cls(named, None)
        pool = [view for view in views if not named or view.name in named]
        if any(view.matrix.model(model) for view in pool):
            return cls(named, model)
        head, slash, tail = model.partition("/")
        if slash and head in names and (not named or head in named):
            own = next(view for view in views if view.name == head)
            if own.matrix.model(tail):
                return cls((head,), tail)
            raise unknown_model_error(tail, [own], views, today, operation)
        raise unknown_model_error(model, pool, views, today, operation)

    def includes(self, view: BackendView, spec: ModelSpec) -> bool:
        """Whether a model is among those that were named."""
        return (not self.backends or view.name in self.backends) and (self.model is None or view.matrix.model(self.model) is spec)

    @property
    def named(self) -> bool:
        """Whether anything was named at all."""
        return bool(self.backends) or self.model is not None


def unknown_model_error(
    model: str, pool: Sequence[BackendView], views: Sequence[BackendView], today: datetime.date, purpose: str = ""
) -> UnknownModel:
    """Return the error for a model that none of the named backends (``pool``) has.

    ``purpose``: the operation or medium for which models are suggested; empty: any. Models that are retired ``today`` are not.
    """
    serving = next((view for view in pool if model in view.other_service_models), None)
    if serving is not None:
        service = serving.other_service_models[model][0]
        other = next((view.name for view in views if view.matrix.model(model)), None)
        return UnknownModel(
            f"{serving.name!r} has no model {model!r}: it belongs to the service {service!r}, this instance uses {serving.service!r}",
            fix=("use ", Argument("backend", other)) if other else f"configure an instance with service = {service!r}",
        )
    where = f" of {pool[0].name!r}" if len(pool) == 1 else ""
    other_backends = [view.name for view in views if view not in pool and view.matrix.model(model)]
    if other_backends:
        text = f"no model{where} named {model!r}; {other_backends[0]!r} has it"
        return UnknownModel(text, fix=("use ", Argument("backend", other_backends[0]), ", or omit ", Argument("model")))
    usable_first = sorted(pool, key=lambda view: bool(view.missing))
    active = [spec for view in usable_first for spec in view.matrix.models if not view.is_retired(spec, today)]
    fitting = [spec for spec in active if purpose in {"", spec.media, *spec.operations}]
    near = _similar_models(model, fitting)
    text = f"no model{where} named {model!r}" + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")
    if not near and (others := _similar_models(model, active)):
        text += f" ({others[0]!r} is not for {purpose})"
    if not active:
        return UnknownModel(text, fix=("omit ", Argument("model")))
    if near:
        return UnknownModel(text, fix=("use ", Argument("model", near[0]), ", or omit ", Argument("model")))
    known = list(dict.fromkeys(spec.id for spec in fitting or active))
    some = ", ".join(known[:_LISTED]) + (" ..." if len(known) > _LISTED else "")
    return UnknownModel(text, fix=("omit ", Argument("model"), f", or use one of: {some}"))


def _similar_models(name: str, specs: Sequence[ModelSpec]) -> list[str]:
    """Return the models of the family that a name stands for, else the model that is spelled most like it."""
    plain = _letters_and_digits(name)
    family = [spec.id for spec in specs if len(plain) >= _FAMILY and any(plain in _letters_and_digits(n) for n in (spec.id, *spec.aliases))]
    if not family:
        near = nearest_name(name, [label for spec in specs for label in (spec.id, *spec.aliases)])
        return [] if near is None else [near]
    return list(dict.fromkeys(family))[:_SUGGESTED]


def _letters_and_digits(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


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
        return NoBackendAvailable(text, fix="install one, for example (needs no key) in a checkout: pip install -e plugins/local_media")
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
    """Return the rejected candidate that is nearest to honouring the request; of equally near ones the first."""
    return max(rejected, key=lambda rejection: (rejection.candidate in once_installed, *_nearness(rejection)))


def reason_against(name: str, rejected: Sequence[Rejection]) -> str:
    """Return why a backend or ``backend/model`` cannot be used, by its own rejections."""
    reason = nearest_rejection(rejected).reasons[0]
    if "/" not in name and reason.code == "operation_unsupported":
        return f"{name!r} does not support {rejected[0].candidate.operation}"
    return reason.text


def _nearness(rejection: Rejection) -> tuple[int, int]:
    code = rejection.reasons[0].code
    gate = _NEARNESS.index(code) if code in _NEARNESS else len(_NEARNESS)
    return (gate, -len(rejection.reasons))


def _class_of(reason: Reason) -> type[RequestError]:
    if reason.code == "retired":
        return ModelRetired
    if reason.code in _SETUP:
        return NoBackendAvailable
    if reason.code in _INPUT or (reason.code == "rule" and reason.field.partition(".")[0] in INPUTS):
        return UnsupportedInput
    if reason.code in {"extra_param", "prompt_too_long", "prompt_missing", "wrong_medium", "option_value"}:
        return InvalidRequest
    return UnsupportedOperation


def _message(request: Request, nearest: Rejection, considered: Sequence[Rejection]) -> str:
    code, texts = nearest.reasons[0].code, [reason.text for reason in nearest.reasons]
    if code == "operation_unsupported" and len({r.candidate.model for r in considered}) > 1:
        checked = ", ".join(sorted({repr(r.candidate.backend) for r in considered}))
        return f"no usable backend supports {request.operation} (checked: {checked})."
    if code == "no_credentials":
        texts = sorted([*texts, *(r.reasons[0].text for r in considered if r.reasons[0].code == code)])
    return "; ".join(dict.fromkeys(texts)) + "."


def _other_choice(default: Default, able: tuple[str, ...]) -> tuple[str | Argument, ...]:
    return ("use another backend for this request (", Argument("backend", able[0] if able else "NAME"), f"), or change {default.setting}")


def _fix(
    nearest: Rejection, selection: Selection, able: tuple[str, ...], after_setup: Sequence[BackendView], default: Default | None
) -> tuple[str | Argument, ...]:
    reason = nearest.reasons[0]
    backend, model = Argument("backend"), Argument("model")
    parts: list[tuple[str | Argument, ...]] = []
    if reason.code == "strict":
        parts.append(("omit ", Argument("strict"), ", or change the named options"))
    elif reason.code == "preview":
        parts.append(("name it: ", Argument("model", str(nearest.candidate))))
    elif reason.code in _SETUP:
        parts += [(r.nearest,) for r in nearest.reasons if r.nearest]
    elif reason.code == "other_backend":
        parts.append(("omit ", backend, ", or use ", Argument("backend", reason.nearest)))
    elif reason.code == "input_missing":
        parts.append(("add the input that is missing",))
    elif reason.nearest:
        parts.append((f"nearest supported: {reason.nearest}",))
    if default is not None:
        parts.append(_other_choice(default, able))
    elif able:
        without = (" without ", model) if selection.model else ()
        parts.append(("or omit " if parts else "omit ", backend, " and ", model, ", or use ", Argument("backend", able[0]), *without))
    others = [f"{view.name} ({view.to_set or view.lacks})" for view in after_setup if view.name != nearest.candidate.backend]
    if others:
        parts.append((f"also possible after setup: {', '.join(others)}",))
    return tuple(piece for number, part in enumerate(parts) for piece in (("; ", *part) if number else part))
