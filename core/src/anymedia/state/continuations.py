"""A true LRU in memory, and what is said of a continuation that is not there. The same for all stores."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Generic, Literal, TypeVar

from ..errors import UnknownContinuation

__all__ = ["LRU_SIZE", "Gone", "Lru", "is_live", "unknown_continuation"]

LRU_SIZE = 50
Gone = Literal["unknown", "expired", "evicted"]
_T = TypeVar("_T")


class Lru(Generic[_T]):
    """The most recently used values: reading refreshes, one too many evicts the least recently used."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"an LRU holds at least 1 entry, not {size}")
        self.size = size
        self._entries: OrderedDict[str, _T] = OrderedDict()

    def get(self, key: str) -> _T | None:
        """Return a value and count it as used; None when it is not there."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: str, value: _T) -> str | None:
        """Keep a value as the most recently used; return the key that had to go, if any."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        return self._entries.popitem(last=False)[0] if len(self._entries) > self.size else None

    def drop(self, key: str) -> None:
        """Forget a value, if it is there."""
        self._entries.pop(key, None)

    def values(self) -> Iterator[_T]:
        """Return the values, the least recently used first, without counting them as used."""
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)


def is_live(expires_at: float | None, now: float) -> bool:
    """Whether something that expires then is still good now."""
    return expires_at is None or now < expires_at


def unknown_continuation(asked: str, gone: Gone, live: Sequence[str], *, size: int = LRU_SIZE) -> UnknownContinuation:
    """Return the error for an id that cannot be used; ``live`` are the ids that can, the newest first."""
    quoted = repr(asked[:120])
    message = {
        "unknown": f"No continuation {quoted} is known here.",
        "expired": f"The continuation {quoted} has expired: the provider keeps it no longer.",
        "evicted": f"The continuation {quoted} was dropped: only the {size} most recently used ones are kept in memory.",
    }[gone]
    if not live:
        return UnknownContinuation(message, fix="Start anew without continue_from; every result brings its own continuation id.")
    near = difflib.get_close_matches(asked[:120], live, 3) if gone == "unknown" else []
    if near:
        message += f" Near: {', '.join(repr(name) for name in near)}."
    return UnknownContinuation(message, fix=f"Use an id from an earlier result (the latest is {live[0]!r}), or start anew without it.")
