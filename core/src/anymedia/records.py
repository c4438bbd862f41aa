"""Frozen attrs classes that a start of the command line can afford.

attrs writes and compiles ``__eq__``, ``__hash__`` and ``__repr__`` for each class. A start defines some ninety classes and compares
hardly any instance, so `frozen` gives all classes the same three methods; everything else is `attrs.frozen`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

_T = TypeVar("_T")


def _getter(kind: type, use: str) -> Callable[[Any], Any]:
    """Return a function from an instance to the values that count for ``eq`` or ``hash``."""
    fields = attrs.fields(kind)
    names = [field.name for field in fields if (field.eq if use == "eq" or field.hash is None else field.hash)]
    if not names:
        return lambda _: ()
    return operator.attrgetter(*names)


_values: Callable[[type, str], Callable[[Any], Any]] = functools.cache(_getter)


def _eq(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    values = _values(self.__class__, "eq")
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash((self.__class__, _values(self.__class__, "hash")(self)))


def _repr(self: Any) -> str:
    kind: Any = self.__class__
    shown = ((f.name, repr if f.repr is True else f.repr) for f in attrs.fields(kind) if f.repr)
    return f"{kind.__qualname__}({', '.join(f'{name}={show(getattr(self, name))}' for name, show in shown)})"


def _frozen(cls: type | None = None, *, eq: bool = True, repr: bool = True, **options: Any) -> Any:
    if cls is None:
        return functools.partial(_frozen, eq=eq, repr=repr, **options)
    shared = ({"__eq__": _eq, "__hash__": _hash} if eq else {}) | ({"__repr__": _repr} if repr else {})
    for name, method in shared.items():
        if name not in vars(cls):
            setattr(cls, name, method)
    return attrs.frozen(cls, eq=False, repr=False, **options)


def suggesting(cls: type[_T]) -> type[_T]:
    """Return a class whose constructor answers an unknown keyword with an error of ours and the nearest field."""
    made: Any = cls
    create = made.__init__

    @functools.wraps(create)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        try:
            create(self, *args, **options)
        except TypeError:
            known = [field.alias for field in attrs.fields(made) if field.init]
            unknown = [name for name in options if name not in known]
            if not unknown:
                raise
            from .errors import InvalidRequest, Problem, did_you_mean

            problems = [(name, f"there is no such field of {made.__name__}{did_you_mean(name, known)}") for name in unknown]
            raise InvalidRequest([Problem(f"$.{name}", text) for name, text in problems]) from None

    made.__init__ = checked
    return cls


if TYPE_CHECKING:
    from attrs import frozen as frozen
else:
    frozen = _frozen
