"""Drives a store from synchronous tests and from threads, with a clock that the test sets."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from state_samples import NOW

from anymedia.state.sql import Store
from anymedia.state.sqlite import SqliteStore
from anymedia.state.store import CallRecord, Lease, LeaseLost


@functools.lru_cache(maxsize=1)
def _loop(_pid: int) -> asyncio.AbstractEventLoop:
    """Return an event loop that runs on a thread of this process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="blocking-store", daemon=True).start()
    return loop


def wait_for(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, _loop(os.getpid())).result()


def store_at(place: Path | str, **more: Any) -> Store:
    """Return a store in a file, in memory or in a PostgreSQL database."""
    if str(place).startswith("postgresql:"):
        from anymedia.state.postgres import PostgresStore

        return PostgresStore(str(place), **more)
    return SqliteStore(place, **more)


#: The stores that a test made; they are closed when it ends.
OPEN: list[BlockingStore] = []


class BlockingStore:
    """A store whose methods block. ``now`` sets its clock; `open_call` and `claim` return the lease.

    `open_call` also begins to submit the call; `queue_call` leaves it queued.
    """

    def __init__(self, path: Path | str = ":memory:", *, clock: Callable[[], float] | None = None, busy_seconds: float = 30.0) -> None:
        self.time = NOW
        self.store = store_at(path, clock=clock or (lambda: self.time), busy_seconds=busy_seconds)
        OPEN.append(self)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, "open_call" if name == "queue_call" else name)

        def call(*arguments: Any, now: float | None = None, **more: Any) -> Any:
            if now is not None:
                self.time = now
            found = wait_for(method(*arguments, **more))
            if name == "open_call":
                found = wait_for(self.store.advance(found.lease, "submitting"))
            return found.lease if name in {"open_call", "queue_call", "claim"} and isinstance(found, CallRecord) else found

        return call

    def renew(self, lease: Lease, *, lease_seconds: float, now: float | None = None) -> Lease:
        self.time = self.time if now is None else now
        renewed = wait_for(self.store.renew([lease], lease_seconds=lease_seconds))
        if not renewed:
            raise LeaseLost(lease.call_id)
        found: Lease = renewed[0]
        return found

    def read(self, sql: str) -> Any:
        """Return the first row of a query on the reading connection."""
        return wait_for(self.store._database.read(lambda connection: connection.execute(sql).fetchone()))

    def transact(self, work: Callable[[Any], Any]) -> Any:
        """Run work in a transaction on the writing connection."""
        return wait_for(self.store._database.write(work))

    def close(self) -> None:
        self.store.close()
