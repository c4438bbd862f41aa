"""The store: one SQLite file shared by any number of threads and processes, or a database in memory."""

from __future__ import annotations

import difflib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest, UnknownContinuation, UnknownJob
from ..policy import Budget
from ..requests import Continuation
from . import ledger, transitions
from .codec import CALL_COLUMNS, check_call, decode_call, decode_continuation, encode_call, encode_continuation
from .connection import MEMORY, Database
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
    """`anymedia.state.store.Store` in SQLite.

    Args:
        path: the file; it and its directory are created if necessary, readable by the owner only. ``":memory:"`` (default): a
            database in memory that is gone after `close`.
        busy_seconds: maximum wait for a lock that another process holds.

    Raises:
        StateError: from every method, when the file cannot be opened, read or written (see `anymedia.state.errors`).
    """

    def __init__(self, path: str | os.PathLike[str] = MEMORY, *, busy_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self._database = Database(self.path, busy_seconds=busy_seconds)

    def open_call(self, call: NewCall, budget: Budget, *, owner: str, lease_seconds: float) -> Lease:
        """Write the intent row and its reservation in one transaction, if the budget allows; see `Store.open_call`."""
        check_call(call)
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
            return _read(connection, after.id)

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
        """Save a continuation."""
        texts = encode_continuation(continuation)
        with self._database.writing(charged="yes") as connection:
            _insert(connection, continuation, texts)

    def load_continuation(self, continuation_id: str, *, now: float) -> Continuation:
        """Return a continuation; see `Store.load_continuation`."""
        found = self._first("WHERE id = ?", (_text(continuation_id),))
        if found is not None and (found.expires_at is None or now < found.expires_at):
            return found
        with self._database.reading() as connection:
            live = connection.execute(
                f"SELECT id FROM continuations WHERE {_LIVE} ORDER BY created_at DESC, number DESC LIMIT 500",  # noqa: S608
                (now,),
            ).fetchall()
        raise _unknown_continuation(continuation_id, [name for (name,) in live], expired=found is not None)

    def latest_continuation(self, *, media: str | None = None, now: float) -> Continuation | None:
        """Return the newest continuation (of a media kind)."""
        return self._first(f"WHERE {_LIVE} AND (? IS NULL OR media = ?)", (now, media, media))

    def continuation_of_file(self, sha256: str, *, now: float) -> Continuation | None:
        """Return the newest continuation for a file with this checksum."""
        where = f"WHERE {_LIVE} AND id IN (SELECT continuation FROM continuation_files WHERE sha256 = ?)"  # noqa: S608
        return self._first(where, (now, _text(sha256)))

    def close(self) -> None:
        """Close the connections of all threads; closing again does nothing."""
        self._database.close()

    def _select(self, where: str, values: tuple[object, ...]) -> list[CallRecord]:
        with self._database.reading() as connection:
            return [_decode(row) for row in connection.execute(f"{_SELECT} {where}", values).fetchall()]

    def _first(self, where: str, values: tuple[object, ...]) -> Continuation | None:
        query = f"SELECT shown, secret FROM continuations {where} ORDER BY created_at DESC, number DESC LIMIT 1"  # noqa: S608 - our own text
        with self._database.reading() as connection:
            texts = connection.execute(query, values).fetchone()
        return None if texts is None else decode_continuation(*texts)


def _unknown_continuation(asked: str, live: Sequence[str], *, expired: bool) -> UnknownContinuation:
    """Return the error for an id that cannot be used; ``live``: the ids that can, newest first."""
    quoted = repr(asked[:120])
    message = f"The continuation {quoted} has expired at the provider." if expired else f"There is no continuation {quoted}."
    if not live:
        return UnknownContinuation(message, fix="Make a new request without continue_from; every result has its own continuation id.")
    near = [] if expired else difflib.get_close_matches(asked[:120], live, 3)
    if near:
        message += f" Did you mean {' or '.join(repr(name) for name in near)}?"
    return UnknownContinuation(message, fix=f"Use an id from an earlier result (the latest is {live[0]!r}), or omit continue_from.")


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
