"""The backends and the model that the caller named, and the errors for names that do not exist."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..capabilities import ModelSpec
from ..errors import UnknownBackend, UnknownModel, did_you_mean
from .types import BackendView

__all__ = ["Selection"]

#: At most this many models are listed in the error for an unknown one.
_LISTED = 8


@attrs.frozen
class Selection:
    """The instances and the model that were named; empty and None for any."""

    backends: tuple[str, ...] = ()
    model: str | None = None

    @classmethod
    def of(cls, views: Sequence[BackendView], backend: str | Sequence[str] | None, model: str | None) -> Selection:
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
            raise _unknown_model(tail, [own], views)
        raise _unknown_model(model, pool, views)

    def includes(self, view: BackendView, spec: ModelSpec) -> bool:
        """Whether a model is among those that were named."""
        return (not self.backends or view.name in self.backends) and (self.model is None or view.matrix.model(self.model) is spec)

    @property
    def named(self) -> bool:
        """Whether anything was named at all."""
        return bool(self.backends) or self.model is not None


def _unknown_model(model: str, pool: Sequence[BackendView], views: Sequence[BackendView]) -> UnknownModel:
    near = next((view for view in pool if model in view.other_service_models), None)
    if near is not None:
        service = near.other_service_models[model][0]
        other = next((view.name for view in views if view.matrix.model(model)), None)
        return UnknownModel(
            f"{near.name!r} has no model {model!r}: it belongs to the service {service!r}, this instance uses {near.service!r}",
            fix=f"use backend={other!r}" if other else f"configure an instance with service = {service!r}",
        )
    where = f" of {pool[0].name!r}" if len(pool) == 1 else ""
    other_backends = [view.name for view in views if view not in pool and view.matrix.model(model)]
    if other_backends:
        text = f"no model{where} named {model!r}; {other_backends[0]!r} has it"
        return UnknownModel(text, fix=f"use backend={other_backends[0]!r}, or omit model")
    known = [spec.id for view in pool for spec in view.matrix.models]
    some = ", ".join(dict.fromkeys(known[:_LISTED])) + (" ..." if len(known) > _LISTED else "")
    text = f"no model{where} named {model!r}{did_you_mean(model, known)}"
    return UnknownModel(text, fix=f"omit model, or use one of: {some}" if known else "omit model")
