"""Strict reading of TOML and JSON tables: every value is type-checked, and problems name file, table and key."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from .errors import MediaError, PluginContractError, did_you_mean

_T = TypeVar("_T")


def _mismatch(value: Any, kind: type | tuple[type, ...]) -> str | None:
    """Return what is wrong with a value's type, or None; True is not a number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    is_date = isinstance(value, datetime.date) and datetime.date in kinds
    if is_date or (isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)):
        return None
    names = " or ".join("table" if k is Mapping else k.__name__ for k in kinds)
    return f"expected {names}, got {'table' if isinstance(value, Mapping) else type(value).__name__}"


class Table:
    """A mapping whose keys are taken one at a time; `done` reports the keys that were not taken.

    Args:
        raw: the table as parsed.
        where: file and table, the prefix of every message.
        problems: collects the problems of the whole document; None raises at the first one.
    """

    #: The exception raised; a subclass for the user's own files has another one.
    error: ClassVar[type[MediaError]] = PluginContractError

    def __init__(self, raw: Any, where: str, problems: list[str] | None = None) -> None:
        self.where = where
        self.problems = problems
        if not isinstance(raw, Mapping):
            self.fail(f"expected a table, got {type(raw).__name__}")
        self._left = dict(raw)
        self._known: list[str] = []

    def fail(self, message: str) -> NoReturn:
        """Raise the error for a problem after which this table cannot be read further."""
        raise self.error(f"{self.where}: {message}")

    def report(self, message: str) -> None:
        """Collect a problem, or raise it where problems are not collected."""
        if self.problems is None:
            self.fail(message)
        self.problems.append(f"{self.where}: {message}")

    def attempt(self, read: Callable[..., _T], *args: Any) -> _T | None:
        """Return ``read(*args)``; where it fails, collect the problem and return None."""
        try:
            return read(*args)
        except self.error as error:
            if self.problems is None:
                raise
            self.problems.append(error.message)
            return None

    def raise_problems(self) -> None:
        """Raise one error with all collected problems, if there are any."""
        if self.problems:
            raise self.error("; ".join(dict.fromkeys(self.problems)))

    def left(self) -> list[str]:
        """Return the keys not yet taken."""
        return list(self._left)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Take a value of a type, or the default where the key is absent."""
        self._known.append(key)
        if key not in self._left:
            return default
        value = self._left.pop(key)
        if (problem := _mismatch(value, kind)) is not None:
            self.report(f"{key}: {problem}")
            return default
        return value

    def need(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """Take a required value."""
        if key not in self._left:
            self.fail(f"{key} is missing")
        if (problem := _mismatch(self._left[key], kind)) is not None:
            self.fail(f"{key}: {problem}")
        return self.take(key, kind)

    def word(self, key: str, allowed: tuple[str, ...], default: str) -> Any:
        """Take one of a closed set of words."""
        value = self.take(key, str, default)
        if value not in allowed:
            self.report(f"{key}: expected one of {', '.join(allowed)}, got {value!r}{did_you_mean(value, allowed)}")
            return default
        return value

    def strings(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Take a list of strings."""
        value = self.take(key, list, None)
        if value is None:
            return default
        if not all(isinstance(v, str) for v in value):
            self.report(f"{key}: expected a list of strings")
            return default
        return tuple(value)

    def pair(self, key: str, default: tuple[Any, Any] | None = None) -> Any:
        """Take two numbers in ascending order; a single number stands for both."""
        value = self.take(key, (list, int, float), None)
        if value is None:
            return default
        numbers = value if isinstance(value, list) else [value, value]
        fits = len(numbers) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
        if not fits or numbers[0] > numbers[1]:
            self.report(f"{key}: expected two numbers, the smaller first")
            return default
        return (numbers[0], numbers[1])

    def table(self, key: str) -> Self | None:
        """Take a nested table, or None where the key is absent."""
        raw = self.take(key, Mapping, None)
        return None if raw is None else type(self)(raw, f"{self.where}.{key}", self.problems)

    def tables(self, key: str) -> list[Self]:
        """Take a list of tables."""
        found = (self.attempt(type(self), raw, f"{self.where}.{key}[{i}]", self.problems) for i, raw in enumerate(self.take(key, list, [])))
        return [table for table in found if table is not None]

    def done(self) -> None:
        """Report the keys that were not taken."""
        for key in self._left:
            near = did_you_mean(key, self._known) or f" (known: {', '.join(dict.fromkeys(self._known))})"
            self.report(f"unknown key {key!r}{near}")
