"""Blocking work and work that must not be interrupted, awaited so that a cancellation cannot split it.

asyncio is imported when it is used, because planning on the command line imports this module but runs no event loop.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

_T = TypeVar("_T")
#: Seconds between two checks of whether another thread's event loop still exists.
_ALIVE = 0.5


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a thread. When cancelled, wait for the thread first, so that it cannot use a file afterwards."""
    import asyncio

    return await shielded(asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work))


class EventLoopEnded(Exception):
    """The event loop of another thread ended before work on it did."""


async def on_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Do work on an event loop, which may be that of another thread; `EventLoopEnded` if it ends before."""
    import asyncio

    if loop is asyncio.get_running_loop():
        return await work()
    started = work()
    try:
        done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(started, loop))
    except RuntimeError:
        started.close()
        raise EventLoopEnded from None
    try:
        while not (await asyncio.wait([done], timeout=_ALIVE))[0]:
            if loop.is_closed():
                raise EventLoopEnded
    except asyncio.CancelledError:
        done.cancel()
        raise
    if done.cancelled():
        raise EventLoopEnded
    return done.result()


async def shielded(work: Awaitable[_T]) -> _T:
    """Await something that must complete: a cancellation is raised only after it is done."""
    import asyncio

    done = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        if not done.cancelled():
            done.exception()  # retrieved, so that asyncio does not report it as never retrieved
        raise
