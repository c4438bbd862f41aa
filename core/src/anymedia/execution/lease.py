"""Leases of the calls that this process is processing, renewed in time; those who wait for such a call are notified of its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from types import TracebackType
from typing import Self

import attrs

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


def _keep(store: Store, call_id: str) -> None:
    with _lock:
        _kept.setdefault((store.identity, call_id), _Kept()).keepers += 1


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
        _keep(self.renewer.store, self.lease.call_id)
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
