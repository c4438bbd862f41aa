"""Calls that another process is processing: who waits for them is woken, and that process can be asked to cancel them.

All waiters of a router share one query every few seconds. A store that passes notices on (PostgreSQL) also wakes them at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from ..clock import Clock
from ..state.sql import Store
from ..state.store import StateError

_log = logging.getLogger("anymedia")
#: Pauses in seconds between two queries: the first, the longest, and the longest of a store that passes notices on.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_WITH_NOTICES = 0.5, 2.0, 10.0
#: How many calls the last notices are remembered of.
_MOST_HEARD = 1000


@attrs.define(eq=False)
class _Waiter:
    until: float
    event: asyncio.Event = attrs.field(factory=asyncio.Event)


@attrs.define(eq=False)
class CallWatcher:
    """Waits for calls of other processes, and listens to what they ask of this one.

    Attributes:
        cancellable: what cancels a run of this process, by its id.
        others: called with each notice for workers.
        heard: how many notices of changed calls have arrived.
    """

    store: Store
    clock: Clock
    cancellable: dict[str, Callable[[], Coroutine[Any, Any, None]]] = attrs.field(factory=dict, init=False)
    others: Callable[[str], None] | None = attrs.field(default=None, init=False)
    heard: int = attrs.field(default=0, init=False)
    _last: dict[str, int] = attrs.field(factory=dict, init=False)
    _waiting: dict[str, set[_Waiter]] = attrs.field(factory=dict, init=False)
    _checking: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _pause: float = attrs.field(default=_FIRST_PAUSE, init=False)
    _stop: Callable[[], None] | None = attrs.field(default=None, init=False)
    _cancelling: dict[str, asyncio.Task[None]] = attrs.field(factory=dict, init=False)

    async def wait(self, call_id: str, until: float = math.inf, *, since: int | None = None) -> None:
        """Wait until a call can be claimed, has ended or was deleted, or was changed as a notice says.

        Args:
            call_id: the call.
            until: the longest, on the steady clock.
            since: `heard` before the call was read; a notice that has come since then ends the wait at once.
        """
        self.listen()
        if since is not None and self._last.get(call_id, 0) > since:
            return
        waiter = _Waiter(until)
        self._waiting.setdefault(call_id, set()).add(waiter)
        self._pause = _FIRST_PAUSE  # it may have ended since it was read
        if self._checking is None:
            self._checking = asyncio.get_running_loop().create_task(self._check())
        try:
            await waiter.event.wait()
        finally:
            waiters = self._waiting[call_id]
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[call_id]
            if not self._waiting and self._checking is not None:
                self._checking.cancel()
                self._checking = None

    @property
    def hears(self) -> bool:
        """Whether the store passes notices on."""
        return self._stop is not None

    def listen(self) -> None:
        """Listen to notices of other processes, if the store passes them on."""
        if self._stop is None:
            loop = asyncio.get_running_loop()

            def pass_on(notice: str) -> None:
                with contextlib.suppress(RuntimeError):  # its event loop was closed
                    loop.call_soon_threadsafe(self._take, notice)

            self._stop = self.store.listen(pass_on)

    def silence(self) -> None:
        """Stop listening."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    async def close(self) -> None:
        """Stop listening, and complete what was asked for."""
        self.silence()
        if self._cancelling:
            await asyncio.wait(self._cancelling.values())

    def _take(self, notice: str) -> None:
        what, _, name = notice.partition(" ")
        if what == "free":
            self.heard += 1
            self._last.pop(name, None)
            self._last[name] = self.heard
            if len(self._last) > _MOST_HEARD:
                del self._last[next(iter(self._last))]
            self._wake(name)
        elif what == "cancel" and (cancel := self.cancellable.get(name)) is not None:
            if name not in self._cancelling:  # it is asked again after a while
                task = self._cancelling[name] = asyncio.get_running_loop().create_task(cancel())
                task.add_done_callback(functools.partial(self._cancelled, name))
        elif self.others is not None:
            self.others(notice)

    def _cancelled(self, run: str, task: asyncio.Task[None]) -> None:
        del self._cancelling[run]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("cancelling for another process failed: %s", type(error).__name__)

    def _wake(self, call_id: str) -> None:
        for waiter in self._waiting.get(call_id, ()):
            waiter.event.set()

    async def _check(self) -> None:
        while True:
            nearest = min(waiter.until for waiters in self._waiting.values() for waiter in waiters)
            await self.clock.sleep(max(0.0, min(self._pause, nearest - self.clock.steady())))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE if self._stop is None else _LONGEST_WITH_NOTICES)
            try:
                free = await self.store.free(list(self._waiting))
            except StateError as error:
                _log.warning("waiting for other processes failed: %s", error.code)
                free = list(self._waiting)  # each of them gets the error from its own query
            for call_id in free:
                self._wake(call_id)
            now = self.clock.steady()
            for waiter in (waiter for waiters in self._waiting.values() for waiter in waiters if waiter.until <= now):
                waiter.event.set()
