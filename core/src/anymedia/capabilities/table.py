"""A table of a capability file, taken apart key by key; whatever is wrong is said with file, row and field."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, Self

from ..errors import MediaError, PluginContractError, did_you_mean

__all__ = ["Table"]


class Table:
    """A mapping whose keys are taken one at a time; `done` refuses what is left over."""

    #: What is raised; a file of the user's own rather than a plugin's is read by a subclass with another error.
    error: ClassVar[type[MediaError]] = PluginContractError

    def __init__(self, raw: Any, where: str) -> None:
        self.where = where
        if not isinstance(raw, Mapping):
            self.fail(f"expected a table, got {type(raw).__name__}")
        self._left = dict(raw)
        self._known: list[str] = []

    def fail(self, message: str) -> NoReturn:
        """Refuse the file."""
        raise self.error(f"{self.where}: {message}")

    def left(self) -> list[str]:
        """Return the keys not yet taken."""
        return list(self._left)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Take a value of a type, or the default where the key is absent."""
        self._known.append(key)
        if key not in self._left:
            return default
        value = self._left.pop(key)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        is_date = isinstance(value, datetime.date) and datetime.date in kinds
        if not is_date and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            names = " or ".join("table" if k is Mapping else k.__name__ for k in kinds)
            self.fail(f"{key}: expected {names}, got {'table' if isinstance(value, Mapping) else type(value).__name__}")
        return value

    def need(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """Take a value that must be there."""
        if key not in self._left:
            self.fail(f"{key} is missing")
        return self.take(key, kind)

    def word(self, key: str, allowed: tuple[str, ...], default: str) -> Any:
        """Take one of a closed set of words."""
        value = self.take(key, str, default)
        if value not in allowed:
            self.fail(f"{key}: expected one of {', '.join(allowed)}, got {value!r}{did_you_mean(value, allowed)}")
        return value

    def strings(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Take a list of strings."""
        value = self.take(key, list, None)
        if value is None:
            return default
        if not all(isinstance(v, str) for v in value):
            self.fail(f"{key}: expected a list of strings")
        return tuple(value)

    def pair(self, key: str, default: tuple[Any, Any] | None = None) -> Any:
        """Take two numbers in order; a single number stands for both."""
        value = self.take(key, (list, int, float), None)
        if value is None:
            return default
        numbers = value if isinstance(value, list) else [value, value]
        fits = len(numbers) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
        if not fits or numbers[0] > numbers[1]:
            self.fail(f"{key}: expected two numbers, the smaller first")
        return (numbers[0], numbers[1])

    def table(self, key: str) -> Self | None:
        """Take a table inside this one, or None."""
        raw = self.take(key, Mapping, None)
        return None if raw is None else type(self)(raw, f"{self.where}.{key}")

    def tables(self, key: str) -> list[Self]:
        """Take a list of tables."""
        return [type(self)(raw, f"{self.where}.{key}[{i}]") for i, raw in enumerate(self.take(key, list, []))]

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._left:
            near = did_you_mean(key, self._known) or f" (there are: {', '.join(dict.fromkeys(self._known))})"
            self.fail(f"unknown key {key!r}{near}")
