"""A clock on which nothing waits, and waiting for a condition instead of for a time."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from anymedia.testing.harness import JumpingClock


@attrs.define(slots=False)  # so that a test can replace a method
class FastClock:
    """The machine's clock, ``ahead`` by some seconds, which a test may change; a pause takes a hundredth of a second at most."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def steady(self) -> float:
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


async def until(true: Callable[[], Any]) -> None:
    """Wait for a condition; the ceiling is only for a broken program."""
    async with asyncio.timeout(60):
        while not (await found if inspect.isawaitable(found := true()) else found):
            await asyncio.sleep(0.005)


async def timed_out(work: Coroutine[Any, Any, Any], sent: Callable[[], Any], seconds: float = 3600.0) -> Any:
    """Return what work returns when so many seconds pass at once, as soon as something was sent: its own timeouts end it."""
    clock = JumpingClock()
    task = asyncio.create_task(work)
    await until(sent)
    clock.ahead += seconds
    return await task


async def in_state(router: Any, *states: str) -> bool:
    """Whether a job of the router is in one of the states."""
    return any(record.state in states for record in await router.jobs())
