"""Calls that are being processed: the leases of this process's calls, renewed in time, and who waits for those of others.

Those who wait for a call of this process are notified of its end. Those who wait for calls of other processes share one query every few
seconds; a store that passes notices on (PostgreSQL) also wakes them at once. A process can be asked to cancel its calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import attrs

from ..clock import Clock
from ..state.sql import Store
from ..state.store import Lease, LeaseLost, StateError
from ..threads import shielded

_log = logging.getLogger("anymedia")
#: How long a lease lasts without renewal; after that, another process may claim the call.
LEASE_SECONDS = 60.0


@attrs.define(eq=False)
class _Kept:
    """A call whose lease is kept in this process: by how many keepers, and who waits for its end."""

    keepers: int = 0
    waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = attrs.field(factory=set)


#: The kept calls by store and id, for all routers and event loops of the process.
_kept: dict[tuple[str, str], _Kept] = {}
_lock = threading.Lock()


async def kept_until_end(store: Store, call_id: str, seconds: float) -> bool:
    """Wait until the lease of a call is no longer kept in this process, at most some seconds; False if it is not kept in it."""
    with _lock:
        if (kept := _kept.get((store.identity, call_id))) is None:
            return False
        waiter = asyncio.get_running_loop(), asyncio.Event()
        kept.waiting.add(waiter)
    try:
        async with asyncio.timeout(seconds):
            await waiter[1].wait()
    except TimeoutError:
        kept.waiting.discard(waiter)
    return True


def _end(store: Store, call_id: str) -> None:
    with _lock:
        kept = _kept[store.identity, call_id]
        kept.keepers -= 1
        if not kept.keepers:
            del _kept[store.identity, call_id]
        waiting = () if kept.keepers else tuple(kept.waiting)
    for loop, event in waiting:
        with contextlib.suppress(RuntimeError):  # its event loop was closed
            loop.call_soon_threadsafe(event.set)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.clear)


@attrs.define(eq=False)
class LeaseRenewer:
    """Renews all leases of a process with one statement. A timer starts the renewal, because most calls end before it is due.

    ``seconds``: how long leases last, in place of `LEASE_SECONDS`; a worker's are shorter.
    """

    store: Store
    seconds: float | None = None
    _keepers: set[LeaseKeeper] = attrs.field(factory=set, init=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _renewal: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    def add(self, keeper: LeaseKeeper) -> None:
        """Renew a keeper's lease from now on."""
        self._keepers.add(keeper)
        if self._timer is None:
            self._schedule()

    def remove(self, keeper: LeaseKeeper) -> None:
        """Stop renewing a keeper's lease."""
        self._keepers.discard(keeper)
        if not self._keepers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later((self.seconds or LEASE_SECONDS) / 2, self._start)

    def _start(self) -> None:
        if self._renewal is None or self._renewal.done():  # one that waits for a locked store is not repeated
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
        self._schedule()

    async def _renew(self) -> None:
        keepers = {keeper.lease: keeper for keeper in self._keepers}
        try:
            renewed = {lease.call_id for lease in await self.store.renew(list(keepers), lease_seconds=self.seconds or LEASE_SECONDS)}
        except Exception as error:  # noqa: BLE001 - the calls continue; their records are protected by the fence
            _log.warning("renewing the leases failed: %s", type(error).__name__)
            return
        for lease, keeper in keepers.items():
            if lease.call_id not in renewed and keeper in self._keepers and keeper.lease == lease:
                keeper.lose()


@attrs.define(eq=False)
class LeaseKeeper:
    """Keeps the lease of a call for as long as the block runs, and releases it at the end.

    ``sending``: a lost lease does not interrupt the block, because the answer that is on its way is paid for.
    ``ended``: the call has ended, and its lease with it.

    Raises:
        LeaseLost: in the block, when another process has claimed the call; not while ``sending``.
    """

    renewer: LeaseRenewer
    lease: Lease
    sending: bool = attrs.field(default=False, init=False)
    ended: bool = attrs.field(default=False, init=False)
    lost: bool = attrs.field(default=False, init=False)
    _task: asyncio.Task[object] | None = attrs.field(factory=asyncio.current_task, init=False)

    def sent(self, lease: Lease) -> None:
        """Continue under the lease that the submit ended with."""
        self.lease, self.sending = lease, False

    def lose(self) -> None:
        """Interrupt the block: another process has claimed the call."""
        if not self.sending and self._task is not None:
            self.lost = self._task.cancel()

    async def __aenter__(self) -> Self:
        self.renewer.add(self)
        with _lock:
            _kept.setdefault((self.renewer.store.identity, self.lease.call_id), _Kept()).keepers += 1
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.renewer.remove(self)
        try:
            if not self.ended:
                await shielded(self.renewer.store.release(self.lease))
        except StateError as failed:
            _log.warning("releasing the lease of %s failed: %s", self.lease.call_id, failed.code)
        finally:
            _end(self.renewer.store, self.lease.call_id)
        if self.lost and isinstance(error, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()  # the cancellation by `lose`
            raise LeaseLost(self.lease.call_id) from None


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

        ``until``: the longest, on the steady clock; ``since``: `heard` before the call was read, as a later notice ends the wait at once.
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
