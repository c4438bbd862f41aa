"""The injectable clock: seconds since the epoch, a monotonic counter, and sleeping."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def steady(self) -> float:
        """Return seconds on a monotonic counter."""

    async def sleep(self, seconds: float) -> None:
        """Sleep for some seconds."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Return seconds on a monotonic counter."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for some seconds."""
        import asyncio

        await asyncio.sleep(seconds)
