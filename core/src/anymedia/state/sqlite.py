"""The durable store: one SQLite file that any number of threads and processes share."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest, UnknownJob
from ..policy import Budget
from ..requests import Continuation
from . import ledger, transitions
from .codec import CALL_COLUMNS, decode_call, decode_continuation, encode_call, encode_continuation, own_texts
from .connection import Database
from .continuations import LRU_SIZE, Lru, is_live, unknown_continuation
from .errors import StateDamaged
from .ledger import LedgerEntry, Window
from .schema import quoted
from .store import CallRecord, CallState, Lease, NewCall, Spend
from .transitions import KEEP, is_duration

__all__ = ["SqliteStore"]

_COLUMNS = quoted(*CALL_COLUMNS)
_INSERT = f"INSERT INTO calls ({_COLUMNS}) VALUES ({', '.join(f':{name}' for name in CALL_COLUMNS)})"  # noqa: S608 - our own names
_SELECT = f"SELECT {_COLUMNS}, (SELECT reserved FROM ledger WHERE call_id = id) FROM calls"  # noqa: S608 - our own names
_LIVE = "(expires_at IS NULL OR expires_at > ?)"
#: How long an expired continuation is remembered as such, in seconds.
_REMEMBER_EXPIRED = 30 * 86_400


class SqliteStore:
    """`anymedia.state.store.Store` in a file.

    Args:
        path: the file; it and its directory are made if need be, for the owner alone.
        lru: how many continuations are kept at hand in memory (all are in the file).
        busy_seconds: how long to wait for other processes that write.

    Raises:
        StateError: from every method, when the file cannot be opened, read or written (see `anymedia.state.errors`).
    """

    def __init__(self, path: str | os.PathLike[str], *, lru: int = LRU_SIZE, busy_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self._lru: Lru[tuple[str, str]] = Lru(lru)
        self._lru_lock = threading.Lock()
        self._database = Database(self.path, busy_seconds=busy_seconds)

    def open_call(self, call: NewCall, budget: Budget, *, owner: str, lease_seconds: float) -> Lease:
        """Write the intent row and its reservation in one transaction, if the budget allows; see `Store.open_call`."""
        own_texts(call)  # refuses what cannot be written down
        entry = ledger.new_entry(call)
        record = transitions.opened(call, owner=owner, lease_seconds=lease_seconds)
        with self._database.writing() as connection:
            if connection.execute("SELECT 1 FROM ledger WHERE call_id = ?", (call.id,)).fetchone():
                raise InvalidRequest(f"a call {call.id!r} has been made already")
            ledger.check_caps(call, budget, lambda window: _used(connection, window))
            connection.execute(_INSERT, encode_call(record))
            connection.execute(
                "INSERT INTO ledger VALUES (:call_id, :session, :backend, :created_at, :reserved, :committed, :unknown)",
                attrs.asdict(entry),
            )
        return transitions.lease_of(record)

    def advance(
        self, lease: Lease, state: CallState, *, now: float, continuations: Sequence[Continuation] = (), **changes: Any
    ) -> CallRecord:
        """Move a call on and settle its ledger entry in one transaction; see `Store.advance`."""
        encoded = [(each, encode_continuation(each)) for each in continuations]
        with self._database.writing(charged="unknown") as connection:
            before = _find(connection, lease.call_id)
            after = transitions.advanced(before, lease, state, now=now, changes=changes)
            _update(connection, before, after)
            entry = _entry(connection, after.id)
            if (settled := ledger.settled(entry, after)) != entry:
                _settle(connection, settled)
            for each, texts in encoded:
                _insert(connection, each, texts)
            found = _read(connection, after.id)
        self._at_hand(encoded)
        return found

    def claim(self, call_id: str, *, owner: str, lease_seconds: float, now: float) -> Lease | None:
        """Take a free lease; None while somebody else's lasts, or when the call has ended. See `Store.claim`."""
        with self._database.reading() as connection:  # most claims of a busy row end here, without the write lock
            if transitions.claimed(_read(connection, call_id), owner=owner, lease_seconds=lease_seconds, now=now) is None:
                return None
        with self._database.writing() as connection:
            before = _read(connection, call_id)
            after = transitions.claimed(before, owner=owner, lease_seconds=lease_seconds, now=now)
            if after is None:
                return None
            _update(connection, before, after)
        return transitions.lease_of(after)

    def renew(self, lease: Lease, *, lease_seconds: float, now: float) -> Lease:
        """Prolong a lease; see `Store.renew`."""
        with self._database.writing() as connection:
            before = _find(connection, lease.call_id)
            after = transitions.renewed(before, lease, lease_seconds=lease_seconds, now=now)
            _update(connection, before, after)
        return attrs.evolve(lease, until=after.lease_until) if after.owner else lease

    def release(self, lease: Lease) -> None:
        """Give a lease up early; see `Store.release`."""
        with self._database.reading() as connection:  # most have ended by then, and need no write lock
            if transitions.released(_find(connection, lease.call_id), lease) is None:
                return
        with self._database.writing() as connection:
            before = _find(connection, lease.call_id)
            if (after := transitions.released(before, lease)) is not None:
                _update(connection, before, after)

    def holds(self, lease: Lease) -> bool:
        """Whether a lease is still its row's; see `Store.holds`."""
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM calls WHERE id = ? AND fence = ?", (lease.call_id, lease.fence)).fetchone() is not None

    def get(self, call_id: str) -> CallRecord | None:
        """Return one row, or None."""
        with self._database.reading() as connection:
            return _find(connection, call_id)

    def run(self, run_id: str) -> Sequence[CallRecord]:
        """Return the rows of a run, in order."""
        return self._select('WHERE run = ? ORDER BY "index", created_at, number', (_text(run_id),))

    def calls(self, *, states: Sequence[CallState] | None = None, since: float = 0.0, limit: int = 1000) -> Sequence[CallRecord]:
        """Return rows in some states (all: None) made since then, newest first."""
        chosen = "" if states is None else f"AND state IN ({', '.join('?' * len(states))})"
        where = f"WHERE created_at >= ? {chosen} ORDER BY created_at DESC, number DESC LIMIT ?"
        return self._select(where, (since, *(states or ()), max(limit, 0)))

    def forget(self, call_id: str) -> None:
        """Delete a row; its spending stays, and an unknown one's reservation counts as spent. See `Store.forget`.

        Raises:
            UnknownJob: there is no such row.
            InvalidRequest: it is still at work.
        """
        with self._database.writing() as connection:
            transitions.check_forgettable(_read(connection, call_id))
            _settle(connection, ledger.abandoned(_entry(connection, call_id)))
            connection.execute("DELETE FROM calls WHERE id = ?", (call_id,))

    def spend(self, *, since: float = 0.0, session: str | None = None, backend: str | None = None) -> Spend:
        """Sum up the ledger: calls made since then, of a session, of a backend."""
        sums = "SELECT coalesce(sum(reserved), 0), coalesce(sum(committed), 0), coalesce(sum(unknown), 0), count(*)"
        where, values = _in_window(Window(name="spend", cap=0, since=since, session=session, backend=backend))
        with self._database.reading() as connection:
            found = connection.execute(f"{sums} FROM ledger WHERE {where}", values).fetchone()
        return ledger.spend_of(*found)

    def backends(self, *, since: float = 0.0) -> Sequence[str]:
        """Return the names in the ledger of calls made since then; see `Store.backends`."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT backend FROM ledger WHERE created_at >= ? ORDER BY backend", (since,)).fetchall()
        return tuple(name for (name,) in rows)

    def add_duration(self, key: str, seconds: float) -> None:
        """Record how long a job took; a negative or endless time (a clock that jumped) is left out."""
        if not is_duration(seconds):
            return
        with self._database.writing() as connection:
            connection.execute("INSERT INTO durations (key, seconds) VALUES (?, ?)", (_text(key), float(seconds)))
            oldest = "SELECT number FROM durations WHERE key = ? ORDER BY number DESC LIMIT 1 OFFSET ?"
            connection.execute(f"DELETE FROM durations WHERE key = ? AND number <= ({oldest})", (_text(key), _text(key), KEEP))  # noqa: S608

    def durations(self, key: str) -> Sequence[float]:
        """Return the newest recorded durations, at most 200, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT seconds FROM durations WHERE key = ? ORDER BY number", (_text(key),)).fetchall()
        return tuple(seconds for (seconds,) in rows)

    def save_continuation(self, continuation: Continuation) -> None:
        """Keep a continuation durably, and at hand in memory."""
        texts = encode_continuation(continuation)
        with self._database.writing(charged="yes") as connection:
            _insert(connection, continuation, texts)
        self._at_hand([(continuation, texts)])

    def load_continuation(self, continuation_id: str, *, now: float) -> Continuation:
        """Return a continuation and count it as used; see `Store.load_continuation`."""
        with self._lru_lock:
            texts = self._lru.get(continuation_id)
        if texts is None:
            texts = self._load_texts("WHERE id = ?", (_text(continuation_id),))
        found = None if texts is None else decode_continuation(*texts)
        if texts is not None and found is not None and is_live(found.expires_at, now):
            with self._lru_lock:
                self._lru.put(continuation_id, texts)
            return found
        with self._lru_lock:
            self._lru.drop(continuation_id)
        with self._database.reading() as connection:
            live = connection.execute(
                f"SELECT id FROM continuations WHERE {_LIVE} ORDER BY created_at DESC, number DESC LIMIT 500",  # noqa: S608
                (now,),
            ).fetchall()
        raise unknown_continuation(continuation_id, "unknown" if found is None else "expired", [name for (name,) in live])

    def latest_continuation(self, *, media: str | None = None, now: float) -> Continuation | None:
        """Return the newest continuation (of a media kind) and count it as used."""
        return self._first(f"WHERE {_LIVE} AND (? IS NULL OR media = ?)", (now, media, media))

    def continuation_of_file(self, sha256: str, *, now: float) -> Continuation | None:
        """Return the newest continuation that goes on from a file with this checksum, and count it as used."""
        where = f"WHERE {_LIVE} AND id IN (SELECT continuation FROM continuation_files WHERE sha256 = ?)"  # noqa: S608
        return self._first(where, (now, _text(sha256)))

    def close(self) -> None:
        """Close the connections of all threads; closing again does nothing."""
        self._database.close()

    def _at_hand(self, encoded: Sequence[tuple[Continuation, tuple[str, str]]]) -> None:
        with self._lru_lock:
            for continuation, texts in encoded:
                self._lru.put(continuation.id, texts)

    def _select(self, where: str, values: tuple[object, ...]) -> list[CallRecord]:
        with self._database.reading() as connection:
            return [_decode(row) for row in connection.execute(f"{_SELECT} {where}", values).fetchall()]

    def _load_texts(self, where: str, values: tuple[object, ...]) -> tuple[str, str] | None:
        with self._database.reading() as connection:
            row: tuple[str, str] | None = connection.execute(f"SELECT shown, secret FROM continuations {where}", values).fetchone()  # noqa: S608
        return row

    def _first(self, where: str, values: tuple[object, ...]) -> Continuation | None:
        texts = self._load_texts(f"{where} ORDER BY created_at DESC, number DESC LIMIT 1", values)
        if texts is None:
            return None
        found = decode_continuation(*texts)
        with self._lru_lock:
            self._lru.put(found.id, texts)
        return found


def _text(value: str) -> str:
    """Return text that SQLite can bind: what is no Unicode is in no journal, and is simply not found."""
    return value.encode("utf-8", "backslashreplace").decode()


def _decode(row: tuple[Any, ...]) -> CallRecord:
    try:
        return decode_call(dict(zip(CALL_COLUMNS, row, strict=False)), ledger.usd(row[-1]))
    except (ValueError, TypeError) as error:
        text = f"The journal's row of {str(row[0])[:120]!r} is damaged ({type(error).__name__})."
        raise StateDamaged(text, fix="Restore the journal from a copy, or move the file away; it names your running jobs.") from error


def _find(connection: sqlite3.Connection, call_id: str) -> CallRecord | None:
    row = connection.execute(f"{_SELECT} WHERE id = ?", (_text(call_id),)).fetchone()
    return None if row is None else _decode(row)


def _read(connection: sqlite3.Connection, call_id: str) -> CallRecord:
    if (record := _find(connection, call_id)) is None:
        raise UnknownJob(f"There is no job {call_id[:120]!r}.")
    return record


def _update(connection: sqlite3.Connection, before: CallRecord | None, after: CallRecord) -> None:
    """Write the columns that differ."""
    old = {} if before is None else encode_call(before)
    changed = {name: value for name, value in encode_call(after).items() if name not in old or old[name] != value}
    if changed:
        columns = ", ".join(f'"{name}" = ?' for name in changed)
        connection.execute(f"UPDATE calls SET {columns} WHERE id = ?", (*changed.values(), after.id))  # noqa: S608 - our own names


def _insert(connection: sqlite3.Connection, continuation: Continuation, texts: tuple[str, str]) -> None:
    """Write a continuation in the place of one of its name; long expired ones are cleared away."""
    name = continuation.id
    _clear_expired(connection, continuation.created_at)
    connection.execute("DELETE FROM continuation_files WHERE continuation = ?", (name,))
    connection.execute("DELETE FROM continuations WHERE id = ?", (name,))
    connection.execute(
        "INSERT INTO continuations (id, media, created_at, expires_at, shown, secret) VALUES (?, ?, ?, ?, ?, ?)",
        (name, continuation.media, continuation.created_at, continuation.expires_at, *texts),
    )
    files = {(file.sha256, name) for file in continuation.files}
    connection.executemany("INSERT INTO continuation_files VALUES (?, ?)", sorted(files))


def _entry(connection: sqlite3.Connection, call_id: str) -> LedgerEntry:
    row = connection.execute(
        "SELECT call_id, session, backend, created_at, reserved, committed, unknown FROM ledger WHERE call_id = ?", (call_id,)
    ).fetchone()
    names = ("call_id", "session", "backend", "created_at", "reserved", "committed")
    return LedgerEntry(**dict(zip(names, row[:6], strict=True)), unknown=bool(row[6]))


def _settle(connection: sqlite3.Connection, entry: LedgerEntry) -> None:
    connection.execute(
        "UPDATE ledger SET reserved = ?, committed = ?, unknown = ? WHERE call_id = ?",
        (entry.reserved, entry.committed, entry.unknown, entry.call_id),
    )


def _in_window(window: Window) -> tuple[str, tuple[object, ...]]:
    """Return a window as SQL that an index can serve, and its values."""
    chosen: dict[str, object] = {"session = ?": window.session, "backend = ?": window.backend}
    chosen |= {"created_at >= ?": window.since, "created_at < ?": window.until}
    given = {text: value for text, value in chosen.items() if value is not None}
    return " AND ".join(given), tuple(given.values())


def _used(connection: sqlite3.Connection, window: Window) -> int:
    where, values = _in_window(window)
    query = f"SELECT coalesce(sum(reserved + committed), 0) FROM ledger WHERE {where}"  # noqa: S608 - our own text
    (used,) = connection.execute(query, values).fetchone()
    return int(used)


def _clear_expired(connection: sqlite3.Connection, now: float) -> None:
    """Wipe the secrets of expired continuations, and drop those that expired long ago."""
    connection.execute("UPDATE continuations SET secret = '{}' WHERE expires_at <= ? AND secret != '{}'", (now,))
    old = "SELECT id FROM continuations WHERE expires_at <= ?"
    connection.execute(f"DELETE FROM continuation_files WHERE continuation IN ({old})", (now - _REMEMBER_EXPIRED,))  # noqa: S608
    connection.execute("DELETE FROM continuations WHERE expires_at <= ?", (now - _REMEMBER_EXPIRED,))
