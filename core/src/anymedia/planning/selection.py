"""What the caller named: backends, a model, both, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..capabilities import ModelSpec
from ..errors import UnknownBackend, UnknownModel, did_you_mean
from .types import BackendView

__all__ = ["Selection"]

#: So many models are named where one was asked for that nobody has.
_SOME = 8


@attrs.frozen
class Selection:
    """The instances and the model that were named; empty and None for any."""

    backends: tuple[str, ...] = ()
    model: str | None = None

    @classmethod
    def of(cls, views: Sequence[BackendView], backend: str | Sequence[str] | None, model: str | None) -> Selection:
        """Read what the caller named.

        Raises:
            UnknownBackend, UnknownModel: with the nearest name that exists.
        """
        names = [view.name for view in views]
        named = () if backend is None or backend == "auto" else (backend,) if isinstance(backend, str) else tuple(backend)
        for name in named:
            if name not in names:
                known = ", ".join(names) or "none"
                raise UnknownBackend(f"no backend named {name!r} (there are: {known}){did_you_mean(name, names)}")
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

    def takes(self, view: BackendView, row: ModelSpec) -> bool:
        """Whether a row is among what was named."""
        return (not self.backends or view.name in self.backends) and (self.model is None or view.matrix.model(self.model) is row)

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
            f"{near.name!r} has no model {model!r}: it is of the service {service!r}, this is {near.service!r}",
            fix=f"use backend={other!r}" if other else f"set up an instance with service = {service!r}",
        )
    where = f" of {pool[0].name!r}" if len(pool) == 1 else ""
    other_backends = [view.name for view in views if view not in pool and view.matrix.model(model)]
    if other_backends:
        text = f"no model{where} named {model!r}; {other_backends[0]!r} has it"
        return UnknownModel(text, fix=f"use backend={other_backends[0]!r}, or leave model out")
    known = [row.id for view in pool for row in view.matrix.models]
    some = ", ".join(dict.fromkeys(known[:_SOME])) + (" ..." if len(known) > _SOME else "")
    text = f"no model{where} named {model!r}{did_you_mean(model, known)}"
    return UnknownModel(text, fix=f"leave model out, or take one that is there: {some}" if known else "leave model out")
