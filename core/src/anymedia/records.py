"""Frozen attrs classes that a start of the command line can afford.

attrs writes and compiles ``__eq__``, ``__hash__`` and ``__repr__`` for each class. A start defines some ninety classes and compares
hardly any instance, so `frozen` gives all classes the same three methods; everything else is `attrs.frozen`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs


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


if TYPE_CHECKING:
    from attrs import frozen as frozen
else:
    frozen = _frozen
