"""What answers have in common: what cannot be used, what it cost, what it used."""

from __future__ import annotations

from typing import Any

from anymedia.errors import BadBackendResponse, Charged

__all__ = ["bad_answer", "cost_of", "usage_of"]

#: The provider counts cost in ticks of 1e-10 US dollars (usage.proto, cost_in_usd_ticks).
_TICKS_PER_USD = 10_000_000_000


def bad_answer(why: str, *, charged: Charged = "unknown") -> BadBackendResponse:
    """Return the error for an answer that cannot be used: the work may have been done and paid all the same."""
    error = BadBackendResponse(f"the provider's answer could not be used: {why}", delivery="unknown")
    error.charged = charged
    return error


def cost_of(usage: Any) -> float | None:
    """Return US dollars as the provider counted them, or None where it did not say."""
    return usage.cost_in_usd_ticks / _TICKS_PER_USD if usage.HasField("cost_in_usd_ticks") else None


def usage_of(usage: Any) -> dict[str, int]:
    """Return the numbers of a usage message that are not zero."""
    return {field.name: value for field, value in usage.ListFields() if isinstance(value, int)}
