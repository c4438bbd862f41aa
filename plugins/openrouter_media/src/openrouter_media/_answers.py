"""What an answer says it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cost_of(usage: Mapping[str, Any] | None) -> float | None:
    """Return the US dollars that the service charges, or None where it does not say."""
    cost = (usage or {}).get("cost")
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0 else None
