"""Format numbers and amounts of money for messages."""

from __future__ import annotations


def in_digits(value: float) -> str:
    """Return a number for a message: a whole number in full, any other with six digits."""
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return str(int(value)) if whole else f"{value:g}"


def in_dollars(amount: float, digits: int = 4) -> str:
    """Return an amount in US dollars with that many significant digits, without exponent."""
    short = f"{amount:.{digits}g}"
    return f"{amount:.9f}".rstrip("0").rstrip(".") if "e" in short else short


def in_dollars_between(low: float, high: float, *, to: str = " to ") -> str:
    """Return a range of US dollars; one amount if both ends are equal."""
    return in_dollars(low) if low == high else f"{in_dollars(low)}{to}{in_dollars(high)}"


def in_bytes(size: int) -> str:
    """Return a number of bytes for a message, with three significant digits."""
    amount, units = float(size), iter(("bytes", "kB", "MB", "GB"))
    unit = next(units)
    while amount >= 999.5 and (larger := next(units, None)):
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if amount < 999.5 else f"{amount:.0f} {unit}"
