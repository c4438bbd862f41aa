"""The backends and the model that the caller named, and the errors for names that do not exist."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

import attrs

from ..capabilities import ModelSpec
from ..errors import UnknownBackend, UnknownModel, did_you_mean, nearest_name
from .types import BackendView

__all__ = ["Selection", "unknown_model_error"]

#: At most this many models are listed in the error for an unknown one.
_LISTED = 8
#: At most this many models of a family are suggested, for a name of at least this many letters and digits.
_SUGGESTED, _FAMILY = 3, 3


@attrs.frozen
class Selection:
    """The instances and the model that were named; empty and None for any."""

    backends: tuple[str, ...] = ()
    model: str | None = None

    @classmethod
    def of(cls, views: Sequence[BackendView], backend: str | Sequence[str] | None, model: str | None, today: datetime.date) -> Selection:
        """Resolve the names that the caller gave.

        Raises:
            UnknownBackend, UnknownModel: with the nearest known name.
        """
        names = [view.name for view in views]
        named = () if backend is None or backend == "auto" else (backend,) if isinstance(backend, str) else tuple(backend)
        for name in named:
            if name not in names:
                known = ", ".join(names) or "none"
                raise UnknownBackend(f"no backend named {name!r} (available: {known}){did_you_mean(name, names)}")
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
            raise unknown_model_error(tail, [own], views, today)
        raise unknown_model_error(model, pool, views, today)

    def includes(self, view: BackendView, spec: ModelSpec) -> bool:
        """Whether a model is among those that were named."""
        return (not self.backends or view.name in self.backends) and (self.model is None or view.matrix.model(self.model) is spec)

    @property
    def named(self) -> bool:
        """Whether anything was named at all."""
        return bool(self.backends) or self.model is not None


def unknown_model_error(model: str, pool: Sequence[BackendView], views: Sequence[BackendView], today: datetime.date) -> UnknownModel:
    """Return the error for a model that none of the named backends has.

    Args:
        model: the name.
        pool: the named backends.
        views: all backends.
        today: the date by which retired models are not suggested.
    """
    serving = next((view for view in pool if model in view.other_service_models), None)
    if serving is not None:
        service = serving.other_service_models[model][0]
        other = next((view.name for view in views if view.matrix.model(model)), None)
        return UnknownModel(
            f"{serving.name!r} has no model {model!r}: it belongs to the service {service!r}, this instance uses {serving.service!r}",
            fix=f"use backend={other!r}" if other else f"configure an instance with service = {service!r}",
        )
    where = f" of {pool[0].name!r}" if len(pool) == 1 else ""
    other_backends = [view.name for view in views if view not in pool and view.matrix.model(model)]
    if other_backends:
        text = f"no model{where} named {model!r}; {other_backends[0]!r} has it"
        return UnknownModel(text, fix=f"use backend={other_backends[0]!r}, or omit model")
    active = [spec for view in pool for spec in view.matrix.models if not view.is_retired(spec, today)]
    near = _similar_models(model, active)
    text = f"no model{where} named {model!r}" + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")
    if not active:
        return UnknownModel(text, fix="omit model")
    known = list(dict.fromkeys(spec.id for spec in active))
    some = ", ".join(known[:_LISTED]) + (" ..." if len(known) > _LISTED else "")
    return UnknownModel(text, fix=f"omit model, or use one of: {some}")


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
