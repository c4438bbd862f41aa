"""The clock, injectable: seconds since the epoch, a steady counter, and sleeping."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the core asks of a clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def steady(self) -> float:
        """Return seconds on a counter that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Sleep."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Return seconds on a counter that never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        import asyncio

        await asyncio.sleep(seconds)
