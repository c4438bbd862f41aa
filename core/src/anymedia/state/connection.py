"""A SQLite database on two threads: one connection writes, another reads, and neither blocks an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import attrs

from ..errors import Charged
from . import schema
from .store import StateBusy, StateDamaged, StateError, StateNotWritable

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]

#: The path of a database in memory.
MEMORY = ":memory:"
#: Maximum time in seconds that a writer waits in the queue for the write lock; after that it competes for the lock directly.
_LONGEST_QUEUE = 1.0
_NOT_WRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_AUTH}
_MOVE = "Move the file away (a new one is created then; keep it, it names your running jobs), or set ANYMEDIA_STATE to another directory."
_OTHER_PLACE = "Free some space or make the directory writable, or set ANYMEDIA_STATE to another directory."


class _Abandoned(Exception):
    """The caller of a write was cancelled before the write was committed."""


def pause() -> None:
    """Sleep for a random millisecond or two, so that waiting processes do not retry in step."""
    time.sleep(random.uniform(0.0005, 0.002))  # noqa: S311


@contextlib.contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Queue for the write lock: hold a lock on the file's folder while the block acquires SQLite's own.

    A process that has just released the write lock queues behind those that wait. Where folders cannot be locked, there is no
    queue. (A lock on the file itself would interfere with SQLite's.)
    """
    try:
        import fcntl

        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield
        return
    try:
        give_up = time.monotonic() + _LONGEST_QUEUE
        while time.monotonic() < give_up:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pause()
            except OSError:
                break
        yield
    finally:
        os.close(fd)


@attrs.define(eq=False)
class _Worker:
    """One thread with one connection."""

    pool: ThreadPoolExecutor = attrs.field(factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="anymedia-store"))
    connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the connection after the work that is already queued."""
        self.pool.submit(self._close_connection)
        self.pool.shutdown(wait=True)

    def _close_connection(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@attrs.define(eq=False)
class _Write:
    """One write, which can be abandoned until it is committed."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    abandoned: bool = False
    committing: bool = False

    def abandon(self) -> None:
        with self.lock:
            self.abandoned = not self.committing

    def check(self) -> None:
        if self.abandoned:
            raise _Abandoned

    def commit(self) -> None:
        with self.lock:
            self.check()
            self.committing = True


class Database:
    """A database file, or a database in memory.

    Durable (WAL with synchronous=FULL: committed data survives a power cut) and private (file mode 0600, directories created
    with 0700); deleted content is overwritten.

    Args:
        path: the file, or ``:memory:``.
        busy_seconds: maximum wait for a lock that another process holds.
        clock: returns seconds since the epoch.
    """

    def __init__(self, path: Path, *, busy_seconds: float, clock: Callable[[], float]) -> None:
        self.path = path
        self.is_memory = str(path) == MEMORY
        self.clock = clock
        self._busy_seconds = busy_seconds
        self._workers: tuple[_Worker, _Worker] | None = None
        self._of_parent: list[object] = []
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None

    async def read(self, work: Work[_T]) -> _T:
        """Run single SELECTs on the reading connection; SQLite's errors are raised as `StateError`."""
        worker = self._worker(0)

        def run() -> _T:
            with self._translate_errors("no"):
                return work(self._connection(worker))

        return await asyncio.get_running_loop().run_in_executor(worker.pool, run)

    async def write(self, work: Work[_T], *, charged: Charged = "no", critical: bool = True) -> _T:
        """Run one durable transaction: committed at the end, undone by any exception.

        Args:
            work: uses the writing connection.
            charged: what a `StateError` says about the money.
            critical: when the caller is cancelled, complete the write first; otherwise undo it, unless it is being committed.

        Raises:
            StateError: the database cannot be written.
        """
        worker, write = self._worker(1), _Write()
        running = worker.pool.submit(self._transaction, worker, work, write, charged)
        done = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not critical:
                write.abandon()
                running.cancel()  # if it has not begun
            await asyncio.wait([done])
            if done.cancelled():
                raise
            done.exception()  # retrieved, so that asyncio does not report it
            raise

    def close(self) -> None:
        """Close both connections after the work that is already queued; closing again does nothing."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, None
        if self._pid == os.getpid():
            for worker in dict.fromkeys(workers or ()):
                worker.close()

    async def aclose(self) -> None:
        """Close without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def _worker(self, index: int) -> _Worker:
        with self._lock:
            if self._closed:
                raise StateError(f"The journal {str(self.path)!r} is closed.")
            if self._pid != os.getpid():
                # The parent's threads do not exist in a forked child, and its connections must neither be used nor closed there.
                self._of_parent.append(self._workers)
                self._workers, self._pid = None, os.getpid()
            if self._workers is None:
                reader = _Worker()
                self._workers = reader, reader if self.is_memory else _Worker()
            return self._workers[index]

    def _transaction(self, worker: _Worker, work: Work[_T], write: _Write, charged: Charged) -> _T:
        with self._translate_errors(charged):
            write.check()
            connection = self._connection(worker)
            self._check_in_place(charged)
            self._begin(connection, write)
            try:
                found = work(connection)
                write.commit()
                connection.execute("COMMIT")
                return found
            except BaseException:
                if connection.in_transaction:  # SQLite has already undone it after some errors (a full disk)
                    connection.execute("ROLLBACK")
                raise

    def _connection(self, worker: _Worker) -> sqlite3.Connection:
        if worker.connection is None:
            worker.connection = self._open()
        return worker.connection

    def _open(self) -> sqlite3.Connection:
        if not self.is_memory:
            self._make_file()
        connection = sqlite3.connect(self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_file(self) -> None:
        """Create the directory and an empty file for the owner only; make an existing file private."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise StateNotWritable(f"The journal {str(self.path)!r} is not a regular file.", fix=_OTHER_PLACE)
            if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                self.path.chmod(0o600)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StateNotWritable(f"The journal {str(self.path)!r} cannot be created or opened: {reason}.", fix=_OTHER_PLACE) from error
        self._identity = self._identity or (found.st_dev, found.st_ino)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # The version is checked before anything is changed: another application's file stays as it is.
        version = self._retry_while_locked(lambda: self._version(connection))
        # Turning WAL on does not wait for other processes by itself.
        self._retry_while_locked(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if version == schema.SCHEMA_VERSION:
            return
        self._begin(connection, _Write())
        version = schema.version_of(connection, self.path)
        if version == 0:
            schema.create(connection)
        elif version < schema.SCHEMA_VERSION:
            schema.migrate(connection, self.path, self.clock())
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        """Read the version in one transaction: another process may be creating the tables."""
        connection.execute("BEGIN")
        try:
            return schema.version_of(connection, self.path)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _begin(self, connection: sqlite3.Connection, write: _Write) -> None:
        """Queue for the write lock, then wait for its holder.

        SQLite's own waiting sleeps for 100 ms at a time and knows no order: on a slow disk, a process with many writes
        would keep the others out until they give up.
        """
        if self.is_memory:
            connection.execute("BEGIN")
            return
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            with write_lock(self.path.parent):
                self._retry_while_locked(lambda: connection.execute("BEGIN IMMEDIATE"), write)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(self._busy_seconds * 1000)}")

    def _retry_while_locked(self, attempt: Callable[[], _T], write: _Write | None = None) -> _T:
        give_up = time.monotonic() + self._busy_seconds
        while True:
            if write is not None:
                write.check()
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > give_up:
                    raise
                pause()

    def _check_in_place(self, charged: Charged) -> None:
        """Refuse to write to a file that was moved or deleted: the data would be lost."""
        if self.is_memory:
            return
        try:
            found = self.path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StateDamaged(f"The journal {str(self.path)!r} was moved or deleted while in use.", fix="Start again.", charged=charged)

    @contextlib.contextmanager
    def _translate_errors(self, charged: Charged) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._state_error(error, charged) from error

    def _state_error(self, error: sqlite3.Error, charged: Charged) -> StateError:
        name = f"The journal {str(self.path)!r}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            message = f"{name} was kept locked by other processes for more than {self._busy_seconds:g} s."
            return StateBusy(message, fix="See which process holds it.", charged=charged)
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT):
            return StateDamaged(f"{name} is damaged, or not a journal of anymedia ({error}).", fix=_MOVE, charged=charged)
        if code == sqlite3.SQLITE_FULL:
            return StateNotWritable(f"{name} cannot grow: the disk is full.", fix=_OTHER_PLACE, charged=charged)
        if code in _NOT_WRITABLE:
            return StateNotWritable(f"{name} cannot be written ({error}).", fix=_OTHER_PLACE, charged=charged)
        return StateError(f"{name} cannot be used ({error}).", fix=_MOVE, charged=charged)
