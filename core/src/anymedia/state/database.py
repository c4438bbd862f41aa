"""What a store needs of a database: work on connections in threads, so that neither a lock nor a network blocks an event loop."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from ..errors import Charged
from .store import StateError

_T = TypeVar("_T")


class Connection:
    """A connection, which the statements of `anymedia.state.sql.Store` are executed on.

    Attributes:
        row_lock: what a SELECT of calls ends with in a transaction that changes what it has read.
        has_guards: whether a transaction that divides by zero runs again: a row can then be changed without being read first.
        repeated: whether the work runs again because it is unknown whether its commit succeeded.
    """

    row_lock = ""
    has_guards = False
    repeated = False

    if TYPE_CHECKING:

        def execute(self, sql: str, values: Any = (), /) -> Any:
            """Execute a statement, ``?`` stands for a value; return a cursor."""

        def now(self) -> float:
            """Return the store's time, in seconds since the epoch."""

        def close(self) -> None:
            """Close the connection."""

    @property
    def broken(self) -> bool:
        """Whether it cannot be used any more."""
        return False

    def lock(self, name: str) -> None:
        """Wait for the other transactions that have locked a name; it is unlocked with the end of this one."""

    def notify(self, notice: str) -> None:
        """Send a notice to all who listen, when the transaction is committed."""


C = TypeVar("C", bound=Connection)
Work = Callable[[Connection], _T]


class Abandoned(Exception):
    """The caller of a write was cancelled before the write was committed."""


@attrs.define(eq=False)
class Lane(Generic[C]):
    """Threads that use a connection each."""

    threads: int = 1
    idle: list[C] = attrs.field(factory=list)
    pool: ThreadPoolExecutor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="anymedia-store")

    @contextlib.contextmanager
    def connection(self, connect: Callable[[], C]) -> Iterator[C]:
        """Use an idle connection, or a new one."""
        found = self.idle.pop() if self.idle else connect()
        try:
            yield found
        finally:
            if found.broken:
                found.close()
            else:
                self.idle.append(found)

    def close(self) -> None:
        """Close the connections after the work that is already queued."""
        self.pool.shutdown(wait=True)
        while self.idle:
            self.idle.pop().close()


@attrs.define(eq=False)
class Write:
    """One write, which can be abandoned until it is committed.

    Attributes:
        interrupt: ends a statement that is waiting for a lock; what the server has begun to commit is committed.
    """

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    abandoned: bool = False
    interrupt: Callable[[], object] | None = None

    def abandon(self) -> None:
        """Give up, and wait for no lock any more."""
        with self.lock:
            self.abandoned = True
            if self.interrupt is not None:
                self.interrupt()

    def check(self) -> None:
        """Raise if the write was abandoned."""
        if self.abandoned:
            raise Abandoned


class Database(abc.ABC, Generic[C]):
    """A database that a store is in.

    Attributes:
        name: how it is called in messages.
        identity: a name of the contents: the same for all databases of a process that share them.
        has_notices: whether notices reach all who listen.
    """

    name: str
    identity: str
    has_notices = False

    def __init__(self) -> None:
        self._lanes: tuple[Lane[C], Lane[C]] | None = None
        self._of_parent: list[object] = []
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()

    @abc.abstractmethod
    def _make_lanes(self) -> tuple[Lane[C], Lane[C]]:
        """Return the lane for reading and the one for writing."""

    @abc.abstractmethod
    def _read(self, lane: Lane[C], work: Work[_T]) -> _T:
        """Run work that reads, on a thread of the lane."""

    @abc.abstractmethod
    def _transaction(self, lane: Lane[C], work: Work[_T], write: Write, charged: Charged) -> _T:
        """Run work in a transaction, on a thread of the lane."""

    def _one(self, lane: Lane[C], work: Work[_T]) -> _T:
        return self._transaction(lane, work, Write(), "no")

    def listen(self, tell: Callable[[str], None]) -> Callable[[], None] | None:
        """Have a function called with each notice; None where there are none."""
        return None

    async def read(self, work: Work[_T]) -> _T:
        """Run SELECTs that need no transaction; the database's errors are raised as `StateError`."""
        lane = self._lane(0)
        return await asyncio.get_running_loop().run_in_executor(lane.pool, self._read, lane, work)

    async def write(self, work: Work[_T], *, charged: Charged = "no", critical: bool = True) -> _T:
        """Run one durable transaction: committed at the end, undone by any exception.

        Args:
            work: uses the connection; it may run several times, and only the last run counts.
            charged: what a `StateError` says about the money.
            critical: when the caller is cancelled, complete the write first; otherwise undo it, unless it is being committed.

        Raises:
            StateError: the database cannot be written.
        """
        lane, write = self._lane(1), Write()
        running = lane.pool.submit(self._transaction, lane, work, write, charged)
        done = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not critical:
                running.cancel()  # if it has not begun
                while not done.done():
                    await asyncio.to_thread(write.abandon)
                    await asyncio.wait([done], timeout=1)  # a server that was between two statements did not notice
            await asyncio.wait([done])
            if done.cancelled():
                raise
            done.exception()  # retrieved, so that asyncio does not report it
            raise

    async def one(self, work: Work[_T]) -> _T:
        """Run a statement that may be repeated, as a transaction of its own."""
        lane = self._lane(1)
        return await asyncio.get_running_loop().run_in_executor(lane.pool, self._one, lane, work)

    def close(self) -> None:
        """Close all connections after the work that is already queued; closing again does nothing."""
        with self._lock:
            self._closed = True
            lanes, self._lanes = self._lanes, None
        if self._pid == os.getpid():
            for lane in dict.fromkeys(lanes or ()):
                lane.close()

    async def aclose(self) -> None:
        """Close without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def _lane(self, index: int) -> Lane[C]:
        with self._lock:
            if self._closed:
                raise StateError(f"{self.name} is closed.")
            if self._pid != os.getpid():
                # The parent's threads do not exist in a forked child, and its connections must neither be used nor closed there.
                self._of_parent.append(self._lanes)
                self._lanes, self._pid = None, os.getpid()
            if self._lanes is None:
                self._lanes = self._make_lanes()
            return self._lanes[index]
