"""Options of a matrix in few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..capabilities import Choice, Option, Pixels, Range, Text
from ..formatting import in_digits

__all__ = ["joined", "option_words", "word"]

_MOST = 14


def word(value: Any) -> str:
    """Return one value as it is written in JSON."""
    return "true" if value is True else "false" if value is False else f"{value:g}" if isinstance(value, float) else str(value)


def joined(values: Sequence[Any], most: int = _MOST) -> str:
    """Return values in a row; of a long list only the first, and how many there are."""
    shown = ", ".join(word(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} ... ({len(values)})"


def option_words(option: Option) -> str:
    """Return what an option takes, in words."""
    if isinstance(option, Choice):
        return ("always " if option.fixed else "") + joined(option.one_of)
    if isinstance(option, Range):
        return f"{in_digits(option.min)} to {in_digits(option.max)}"
    if isinstance(option, Pixels):
        return option.text() + (", or auto" if option.auto else "")
    if isinstance(option, Text):
        return f"text up to {option.max_chars} characters" if option.max_chars else "text"
    return option.type
