"""Blocking work and work that must not be interrupted, awaited so that a cancellation cannot split it.

asyncio is imported when it is used, because planning on the command line imports this module but runs no event loop.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

_T = TypeVar("_T")


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work in a thread. When cancelled, wait for the thread first, so that it cannot use a file afterwards."""
    import asyncio

    return await _uninterrupted(asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work))


async def shielded(work: Coroutine[Any, Any, _T]) -> _T:
    """Await something that must complete: a cancellation is raised only after it is done."""
    import asyncio

    return await _uninterrupted(asyncio.ensure_future(work))


async def _uninterrupted(done: asyncio.Future[_T]) -> _T:
    import asyncio

    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        if not done.cancelled():
            done.exception()  # retrieved, so that asyncio does not report it as never retrieved
        raise
