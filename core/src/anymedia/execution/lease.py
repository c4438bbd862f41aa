"""Keep the lease of a call while it is processed."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

import attrs

from ..state.errors import LeaseLost, StateError
from ..state.store import Lease
from .engine import LEASE_SECONDS, Engine

__all__ = ["LeaseKeeper"]

_log = logging.getLogger("anymedia")


@attrs.define(eq=False)
class LeaseKeeper:
    """Keeps a lease alive for as long as the block runs, and gives it up at its end.

    ``sending``: its loss breaks nothing off, for the answer on its way is paid for.

    Raises:
        LeaseLost: in the block, when another process has taken the call over; not while it is ``sending``.
    """

    engine: Engine
    lease: Lease
    sending: bool = attrs.field(default=False, kw_only=True)
    broken: bool = attrs.field(default=False, init=False)
    _task: asyncio.Task[object] | None = attrs.field(factory=asyncio.current_task, init=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def sent(self, lease: Lease) -> None:
        """Go on under the lease that the submit ended with."""
        self.lease, self.sending = lease, False

    def _keep(self) -> None:
        """Renew it in time, from now on. A timer and no task: most calls end before it is due."""
        self._timer = asyncio.get_running_loop().call_later(LEASE_SECONDS / 3, self._renew)

    def _renew(self) -> None:
        try:
            self.engine.store.renew(self.lease, lease_seconds=LEASE_SECONDS, now=self.engine.clock.now())
        except LeaseLost:
            if not self.sending and self._task is not None:
                self.broken = self._task.cancel()
                return
        except Exception as error:  # noqa: BLE001 - the call itself goes on; the fence still guards its row
            _log.warning("keeping hold of %s failed: %s", self.lease.call_id, type(error).__name__)
        self._keep()

    async def __aenter__(self) -> Self:
        self._keep()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.engine.store.release(self.lease)
        except StateError as failed:
            _log.warning("letting go of %s failed: %s", self.lease.call_id, failed.code)
        if self.broken and isinstance(error, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()  # the cancellation by which the loss was made known
            raise LeaseLost(self.lease.call_id) from None
