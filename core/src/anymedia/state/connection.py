"""SQLite connections: opened, configured, shared between threads and processes; writers take a lock in turn."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import Charged
from . import schema
from .errors import StateBusy, StateDamaged, StateError, StateNotWritable

__all__ = ["MEMORY", "Database", "pause", "write_lock"]

#: The path of a database in memory.
MEMORY = ":memory:"

#: Nobody stands in the turnstile for longer than this, in seconds, unless stopped or stuck: then it is passed by.
_LONGEST = 1.0


def pause() -> None:
    """Sleep for a moment before asking again: a millisecond or two, so that those who wait do not ask in step."""
    time.sleep(random.uniform(0.0005, 0.002))  # noqa: S311


@contextlib.contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Stand in the turnstile, a lock on the file's folder, until the block has got what it wants.

    (A lock on the file itself would meddle with SQLite's own.)

    Who has just let go has to queue behind who stands there. Where folders cannot be locked, everybody goes straight through.
    """
    try:
        import fcntl

        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield
        return
    try:
        give_up = time.monotonic() + _LONGEST
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


_NOT_WRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_AUTH}
_MOVE = "Move the file away (a new one is begun then; keep it, it names your running jobs), or set ANYMEDIA_STATE to another directory."
_ELSEWHERE = "Make room or the directory writable, or set ANYMEDIA_STATE to another directory."


class Database:
    """Connections to one file, one per thread, and transactions on them.

    Durable (WAL with synchronous=FULL: what is committed survives a power cut), private (file mode 0600, directories
    made with 0700), deleted content is overwritten. ``busy_seconds``: how long to wait for other writers.
    """

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        self.path = path
        self.is_memory = str(path) == MEMORY
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._memory: sqlite3.Connection | None = None
        self._connections: dict[threading.Thread, sqlite3.Connection] = {}
        self._of_parent: list[object] = []
        self._pid = os.getpid()
        self._closed = False
        self._identity: tuple[int, int] | None = None
        self._connection()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Run single SELECTs; SQLite's errors come out as `StateError`."""
        with self._plain_errors("no"), self._exclusive():
            yield self._connection()

    @contextlib.contextmanager
    def writing(self, *, charged: Charged = "no") -> Iterator[sqlite3.Connection]:
        """Run one durable transaction: committed at the end, undone by any exception.

        ``charged``: what is said of the money when the journal itself fails here.
        """
        with self._plain_errors(charged), self._exclusive():
            connection = self._connection()
            self._check_in_place(charged)
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has undone it already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _exclusive(self) -> contextlib.AbstractContextManager[object]:
        """Serialize the threads that share the one connection to a database in memory."""
        return self._lock if self.is_memory else contextlib.nullcontext()

    def close(self) -> None:
        """Close the connections of all threads; closing again does nothing."""
        with self._lock:
            self._closed = True
            if self._memory is not None:
                self._memory.close()
            if self._pid == os.getpid():
                for connection in self._connections.values():
                    connection.close()
                self._connections.clear()

    def _connection(self) -> sqlite3.Connection:
        if self.is_memory:
            return self._only_connection()
        thread = threading.current_thread()
        if self._pid == os.getpid() and (connection := self._connections.get(thread)) is not None:
            return connection
        with self._lock:
            if self._closed:
                raise StateError(f"The journal {str(self.path)!r} is closed.")
            if self._pid != os.getpid():
                # After a fork the parent's connections must neither be used nor closed here.
                self._of_parent.append(self._connections)
                self._connections, self._pid = {}, os.getpid()
            for dead in [t for t in self._connections if not t.is_alive()]:
                self._connections.pop(dead).close()
        opened = self._open()
        with self._lock:
            self._connections[thread] = opened
        return opened

    def _only_connection(self) -> sqlite3.Connection:
        if self._closed:
            raise StateError("This store is closed.")
        if self._memory is None:
            self._memory = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
            schema.create(self._memory)
        return self._memory

    def _open(self) -> sqlite3.Connection:
        with self._plain_errors("no"):
            self._make_file()
            connection = sqlite3.connect(self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _make_file(self) -> None:
        """Make the directory and an empty file for the owner alone; make an existing file private."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise StateNotWritable(f"The journal {str(self.path)!r} is not a regular file.", fix=_ELSEWHERE)
            if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
                self.path.chmod(0o600)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StateNotWritable(f"The journal {str(self.path)!r} cannot be created or opened: {reason}.", fix=_ELSEWHERE) from error
        self._identity = self._identity or (found.st_dev, found.st_ino)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Whether it is ours is looked at before anything is changed: a foreign file stays as it is.
        current = self._patiently(lambda: self._looks_current(connection))
        # Turning WAL on does not wait for other processes by itself.
        self._patiently(lambda: bool(connection.execute("PRAGMA journal_mode = WAL").fetchone()))
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if not current:
            self._begin(connection)
            if not schema.is_current(connection, self.path):
                schema.create(connection)
            connection.execute("COMMIT")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Wait for one's turn, then for the writer that is at it.

        SQLite's own waiting sleeps for 100 ms at a time and knows no order: on a slow disk a process with much to write,
        which lets go for a fraction of one, would keep the others out until they give up.
        """
        if self.is_memory:
            connection.execute("BEGIN")
            return
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            with write_lock(self.path.parent):
                self._patiently(lambda: connection.execute("BEGIN IMMEDIATE") is not None)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(self._busy_seconds * 1000)}")

    def _looks_current(self, connection: sqlite3.Connection) -> bool:
        """Look in one read transaction: another process may be making the tables at this very moment."""
        connection.execute("BEGIN")
        try:
            return schema.is_current(connection, self.path)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _patiently(self, look: Callable[[], bool]) -> bool:
        give_up = time.monotonic() + self._busy_seconds
        while True:
            try:
                return look()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > give_up:
                    raise
                pause()

    def _check_in_place(self, charged: Charged) -> None:
        """Refuse to write to a file that has been moved or deleted: the data would be lost."""
        if self.is_memory:
            return
        try:
            found = self.path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StateDamaged(f"The journal {str(self.path)!r} was moved or deleted while in use.", fix="Start again.", charged=charged)

    @contextlib.contextmanager
    def _plain_errors(self, charged: Charged) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._plain_error(error, charged) from error

    def _plain_error(self, error: sqlite3.Error, charged: Charged) -> StateError:
        name = f"The journal {str(self.path)!r}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            message = f"{name} was kept locked by other processes for more than {self._busy_seconds:g} s."
            return StateBusy(message, fix="See which process holds it.", charged=charged)
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT):
            return StateDamaged(f"{name} is damaged, or is no journal at all ({error}).", fix=_MOVE, charged=charged)
        if code == sqlite3.SQLITE_FULL:
            return StateNotWritable(f"{name} cannot grow: the disk is full.", fix=_ELSEWHERE, charged=charged)
        if code in _NOT_WRITABLE:
            return StateNotWritable(f"{name} cannot be written ({error}).", fix=_ELSEWHERE, charged=charged)
        if self._closed:
            return StateError(f"{name} is closed.", charged=charged)
        return StateError(f"{name} could not be used ({error}).", fix=_MOVE, charged=charged)
