"""What an answer cost and used, and the errors for media that moderation withheld."""

from __future__ import annotations

from typing import Any

from anymedia.context import Context
from anymedia.errors import ContentRefused

__all__ = ["MODERATION_FLAG", "cost_of", "usage_of", "withheld"]

#: The provider counts cost in ticks of 1e-10 US dollars (usage.proto, cost_in_usd_ticks).
_TICKS_PER_USD = 10_000_000_000
#: `respect_moderation` is false unless a server sets it, and the SDK reads it only where there is no address. So media that came
#: are delivered, with this warning.
MODERATION_FLAG = "the provider did not mark it as checked by its moderation"


def cost_of(usage: Any) -> float | None:
    """Return US dollars as the provider counted them, or None where it did not say."""
    return usage.cost_in_usd_ticks / _TICKS_PER_USD if usage.HasField("cost_in_usd_ticks") else None


def usage_of(usage: Any) -> dict[str, int]:
    """Return the numbers of a usage message that are not zero."""
    return {field.name: value for field, value in usage.ListFields() if isinstance(value, int)}


def withheld(context: Context, what: str, cost: float | None) -> ContentRefused:
    """Return the error for media that moderation withheld after they were generated; third parties say that they are billed."""
    error = ContentRefused(
        f"the moderation of '{context.backend}/{context.model}' withheld {what}",
        reason="moderation of the output",
        fix="change the prompt or the inputs; the same request will most likely be withheld again",
    )
    error.charged, error.cost_usd = "yes" if cost else "unknown", cost or None
    return error
