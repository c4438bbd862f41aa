"""The store in SQLite: one file shared by any number of threads and processes, or a database in memory."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ..directories import lock_file
from ..errors import Charged, SettingsError
from . import schema
from .database import Connection, Database, Lane, Work, Write
from .sql import Store
from .store import StateBusy, StateDamaged, StateError, StateNotWritable

_T = TypeVar("_T")

#: What the URL of a PostgreSQL database begins with.
POSTGRES_URLS = ("postgresql://", "postgres://")
#: The path of a database in memory.
MEMORY = ":memory:"
#: Maximum time in seconds that a writer waits in the queue for the write lock; after that it competes for the lock directly.
_LONGEST_QUEUE = 1.0
_NOT_WRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_AUTH}
_MOVE = "Move the file away (a new one is created then; keep it, it names your running jobs), or set ANYMEDIA_STATE to another directory."
_OTHER_PLACE = "Free some space or make the directory writable, or set ANYMEDIA_STATE to another directory."


def pause() -> None:
    """Sleep for a random millisecond or two, so that waiting processes do not retry in step."""
    import random

    time.sleep(random.uniform(0.0005, 0.002))  # noqa: S311


@contextlib.contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Queue for the write lock: hold a lock on the file's folder while the block acquires SQLite's own.

    A process that has just released the write lock queues behind those that wait. Where folders cannot be locked, there is no
    queue. (A lock on the file itself would interfere with SQLite's.)
    """
    try:
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        yield
        return
    try:
        give_up = time.monotonic() + _LONGEST_QUEUE
        while lock_file(fd) is False and time.monotonic() < give_up:
            pause()
        yield
    finally:
        os.close(fd)


class SqliteConnection(sqlite3.Connection, Connection):
    """A connection whose transactions that write run one at a time: they need no other locks."""

    clock: Callable[[], float] = time.time

    def __del__(self) -> None:
        """Close what was not closed; Python 3.13 warns of what earlier versions do in silence."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # it was never opened
            self.close()

    def now(self) -> float:
        """Return the store's time."""
        return self.clock()


class SqliteDatabase(Database[SqliteConnection]):
    """A database file, or a database in memory, on two threads: one connection writes, another reads.

    Durable (WAL with synchronous=FULL: committed data survives a power cut) and private (file mode 0600, directories created
    with 0700); deleted content is overwritten.
    """

    def __init__(self, path: Path, *, busy_seconds: float, clock: Callable[[], float]) -> None:
        super().__init__()
        self.path = path
        self.name = f"The journal {str(path)!r}"
        self.is_memory = str(path) == MEMORY
        self.identity = f"{MEMORY}{id(self)}" if self.is_memory else os.path.realpath(path)
        self.clock = clock
        self._busy_seconds = busy_seconds
        self._file: tuple[int, int] | None = None

    def _make_lanes(self) -> tuple[Lane[SqliteConnection], Lane[SqliteConnection]]:
        reader = Lane[SqliteConnection]()
        return reader, reader if self.is_memory else Lane[SqliteConnection]()

    def _read(self, lane: Lane[SqliteConnection], work: Work[_T]) -> _T:
        with self._translate_errors("no"), lane.connection(self._open) as connection:
            return work(connection)

    def _transaction(self, lane: Lane[SqliteConnection], work: Work[_T], write: Write, charged: Charged) -> _T:
        write.check()
        with self._translate_errors(charged), lane.connection(self._open) as connection:
            self._check_in_place(charged)
            self._begin(connection, write)
            try:
                found = work(connection)
                write.check()
                connection.execute("COMMIT")
                return found
            except BaseException:
                if connection.in_transaction:  # SQLite has already undone it after some errors (a full disk)
                    connection.execute("ROLLBACK")
                raise

    def _open(self) -> SqliteConnection:
        if not self.is_memory:
            self._make_file()
        connection = sqlite3.connect(
            self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False, factory=SqliteConnection
        )
        connection.clock = lambda: self.clock()
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
                raise StateNotWritable(f"{self.name} is not a regular file.", fix=_OTHER_PLACE)
            if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                self.path.chmod(0o600)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StateNotWritable(f"{self.name} cannot be created or opened: {reason}.", fix=_OTHER_PLACE) from error
        self._file = self._file or (found.st_dev, found.st_ino)

    def _prepare(self, connection: SqliteConnection) -> None:
        # The version is checked before anything is changed: another application's file stays as it is.
        version = self._retry_while_locked(lambda: self._version(connection))
        # Turning WAL on does not wait for other processes by itself.
        self._retry_while_locked(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if version == schema.SCHEMA_VERSION:
            return
        self._begin(connection, Write())
        version = schema.version_of(connection, self.path)
        if version < schema.SCHEMA_VERSION:  # no other process was first
            schema.upgrade(connection, self.path, version, self.clock())
        connection.execute("COMMIT")

    def _version(self, connection: SqliteConnection) -> int:
        """Read the version in one transaction: another process may be creating the tables."""
        connection.execute("BEGIN")
        try:
            return schema.version_of(connection, self.path)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _begin(self, connection: SqliteConnection, write: Write) -> None:
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

    def _retry_while_locked(self, attempt: Callable[[], _T], write: Write | None = None) -> _T:
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
        if found is None or (found.st_dev, found.st_ino) != self._file:
            raise StateDamaged(f"{self.name} was moved or deleted while in use.", fix="Start again.", charged=charged)

    @contextlib.contextmanager
    def _translate_errors(self, charged: Charged) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._state_error(error, charged) from error

    def _state_error(self, error: sqlite3.Error, charged: Charged) -> StateError:
        name = self.name
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


def store_at(place: str | Path, *, clock: Callable[[], float] = time.time) -> Store:
    """Return the store in a file, or in the PostgreSQL database that a URL names, which has a clock of its own.

    Raises:
        SettingsError: ``anymedia[fleet]`` is not installed, or it is the URL of another database.
    """
    if not str(place).startswith(POSTGRES_URLS):
        if isinstance(place, str) and "://" in place:
            raise SettingsError("The store is not a PostgreSQL database.", fix="Write postgresql://HOST/DATABASE.")
        return SqliteStore(place, clock=clock)
    try:
        from .postgres import PostgresStore
    except ImportError:
        raise SettingsError("a store in PostgreSQL needs the extra 'fleet'", fix="pip install 'anymedia[fleet]'") from None
    return PostgresStore(str(place))


class SqliteStore(Store):
    """A `Store` in SQLite.

    The file is opened by `open`, or with the first use. Reads and writes run on two threads of the store.

    Args:
        path: the file; it and its directory are created if necessary, for the owner only. ``":memory:"`` (default): a database
            in memory that is gone after `close`.
        busy_seconds: maximum wait for a lock that another process holds.
        clock: returns seconds since the epoch: the store's clock.

    Raises:
        StateError: from every method, when the file cannot be opened, read or written (see `anymedia.state.store`).
    """

    def __init__(
        self, path: str | os.PathLike[str] = MEMORY, *, busy_seconds: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path)
        super().__init__(SqliteDatabase(self.path, busy_seconds=busy_seconds, clock=clock))
