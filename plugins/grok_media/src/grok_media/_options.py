"""Words of a request -> numbers of the protocol. A word it has no number for is refused before anything is sent."""

from __future__ import annotations

from typing import Any

from anymedia.context import Context
from anymedia.errors import InvalidRequest, Problem
from anymedia.requests import Request

__all__ = ["chosen", "number_of"]


def chosen(request: Request, context: Context, name: str) -> Any:
    """Return an option that is set and taken by the row, or None."""
    return getattr(request, name, None) if context.takes(name) else None


def number_of(enum: Any, prefix: str, word: str, field: str) -> int:
    """Return the number of a word in one of the protocol's enums: ``19.5:9`` is ``PREFIX_19_5_9``.

    Raises:
        InvalidRequest: when there is none.
    """
    name = prefix + word.upper().replace(":", "_").replace(".", "_")
    if name in enum.keys():  # noqa: SIM118 - an enum wrapper, not a mapping
        return int(enum.Value(name))
    raise InvalidRequest([Problem(f"$.{field}", f"the provider's protocol has no {word!r} for {field}", "leave it out")])
