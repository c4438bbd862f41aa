"""Format numbers and amounts of money for messages."""

from __future__ import annotations

__all__ = ["in_digits", "in_dollars", "in_dollars_between"]


def in_digits(value: float) -> str:
    """Return a number as it may stand in a message: a whole one in full, so that it can be used, another in six digits."""
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return str(int(value)) if whole else f"{value:g}"


def in_dollars(amount: float, digits: int = 4) -> str:
    """Return US dollars as they may stand in a message: so many digits that count, however small or large, and no exponent."""
    short = f"{amount:.{digits}g}"
    return f"{amount:.9f}".rstrip("0").rstrip(".") if "e" in short else short


def in_dollars_between(low: float, high: float, *, to: str = " to ") -> str:
    """Return a span of US dollars; one amount where both ends are the same."""
    return in_dollars(low) if low == high else f"{in_dollars(low)}{to}{in_dollars(high)}"
