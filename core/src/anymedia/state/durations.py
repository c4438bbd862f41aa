"""Which durations of past jobs are kept. The same for all stores."""

from __future__ import annotations

import math

__all__ = ["KEEP", "is_duration"]

#: How many durations are kept per key, the newest.
KEEP = 200


def is_duration(seconds: float) -> bool:
    """Whether it is a time a job can have taken; a clock that jumped yields others."""
    return math.isfinite(seconds) and seconds >= 0
