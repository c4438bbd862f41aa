"""The store for one process and throw-away runs: everything in memory, at most 50 continuations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from ..errors import InvalidRequest, UnknownJob
from ..policy import Budget
from ..requests import Continuation
from . import ledger, transitions
from .codec import decode_continuation, encode_continuation, own_texts, texts_of, value_of
from .continuations import LRU_SIZE, Gone, Lru, is_live, unknown_continuation
from .errors import StateError
from .ledger import LedgerEntry
from .store import CallRecord, CallState, Lease, NewCall, Spend, changed, unread
from .transitions import KEEP, is_duration

__all__ = ["MemoryStore"]


@attrs.frozen
class _Row:
    """A call as the store keeps it: its JSON written down, which no record that is handed out shares."""

    number: int
    record: CallRecord
    texts: dict[str, bytes | str]


@attrs.frozen
class _Kept:
    number: int
    texts: tuple[str, str]
    id: str
    media: str
    checksums: frozenset[str]
    created_at: float
    expires_at: float | None


def _age(row: _Row) -> tuple[float, int]:
    return row.record.created_at, row.number


class MemoryStore:
    """`anymedia.state.store.Store` in memory; safe for threads. ``lru``: how many continuations are kept."""

    def __init__(self, *, lru: int = LRU_SIZE) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, _Row] = {}
        self._runs: dict[str, list[str]] = {}
        self._ledger: dict[str, LedgerEntry] = {}
        self._durations: dict[str, list[float]] = {}
        self._continuations: Lru[_Kept] = Lru(lru)
        self._gone: Lru[Gone] = Lru(1000)
        self._number = 0
        self._closed = False

    def open_call(self, call: NewCall, budget: Budget, *, owner: str, lease_seconds: float) -> Lease:
        """Write the intent row and its reservation, if the budget allows; see `Store.open_call`."""
        texts = own_texts(call)
        with self._open_lock():
            if call.id in self._ledger:
                raise InvalidRequest(f"a call {call.id!r} has been made already")
            entry = ledger.new_entry(call)
            ledger.check_caps(call, budget, self._used)
            record = transitions.opened(call, owner=owner, lease_seconds=lease_seconds)
            self._rows[call.id] = _Row(self._next(), unread(record, texts, value_of), texts)
            self._runs.setdefault(call.run, []).append(call.id)
            self._ledger[call.id] = entry
            return transitions.lease_of(record)

    def advance(
        self, lease: Lease, state: CallState, *, now: float, continuations: Sequence[Continuation] = (), **changes: Any
    ) -> CallRecord:
        """Move a call on and settle its ledger entry; see `Store.advance`."""
        encoded = [(each, encode_continuation(each)) for each in continuations]
        fresh = texts_of(changes, lease.call_id)
        with self._open_lock():
            record = transitions.advanced(self._kept(lease.call_id), lease, state, now=now, changes=changes)
            self._write(record, fresh)
            self._ledger[record.id] = ledger.settled(self._ledger[record.id], record)
            for each, texts in encoded:
                self._keep(each, texts)
            return self._read(record.id)

    def claim(self, call_id: str, *, owner: str, lease_seconds: float, now: float) -> Lease | None:
        """Take a free lease; None while somebody else's lasts, or when the call has ended. See `Store.claim`."""
        with self._open_lock():
            record = transitions.claimed(self._held(call_id), owner=owner, lease_seconds=lease_seconds, now=now)
            if record is None:
                return None
            self._write(record)
            return transitions.lease_of(record)

    def renew(self, lease: Lease, *, lease_seconds: float, now: float) -> Lease:
        """Prolong a lease; see `Store.renew`."""
        with self._open_lock():
            record = transitions.renewed(self._kept(lease.call_id), lease, lease_seconds=lease_seconds, now=now)
            self._write(record)
            return attrs.evolve(lease, until=record.lease_until) if record.owner else lease

    def release(self, lease: Lease) -> None:
        """Give a lease up early; see `Store.release`."""
        with self._open_lock():
            if (record := transitions.released(self._kept(lease.call_id), lease)) is not None:
                self._write(record)

    def holds(self, lease: Lease) -> bool:
        """Whether a lease is still its row's; see `Store.holds`."""
        with self._open_lock():
            record = self._kept(lease.call_id)
            return record is not None and record.fence == lease.fence

    def get(self, call_id: str) -> CallRecord | None:
        """Return one row, or None."""
        with self._open_lock():
            return self._read(call_id) if call_id in self._rows else None

    def run(self, run_id: str) -> Sequence[CallRecord]:
        """Return the rows of a run, in order."""
        with self._open_lock():
            rows = sorted((self._rows[call_id] for call_id in self._runs.get(run_id, ())), key=_age)
            return sorted((self._read(row.record.id) for row in rows), key=lambda record: record.index)

    def calls(self, *, states: Sequence[CallState] | None = None, since: float = 0.0, limit: int = 1000) -> Sequence[CallRecord]:
        """Return rows in some states (all: None) made since then, newest first."""
        wanted = None if states is None else frozenset(states)
        with self._open_lock():
            rows = [r for r in self._rows.values() if r.record.created_at >= since and (wanted is None or r.record.state in wanted)]
            return [self._read(row.record.id) for row in sorted(rows, key=_age, reverse=True)[: max(limit, 0)]]

    def forget(self, call_id: str) -> None:
        """Delete a row; its spending stays, and an unknown one's reservation counts as spent. See `Store.forget`.

        Raises:
            UnknownJob: there is no such row.
            InvalidRequest: it is still at work.
        """
        with self._open_lock():
            record = self._held(call_id)
            transitions.check_forgettable(record)
            del self._rows[call_id]
            self._runs[record.run].remove(call_id)
            if not self._runs[record.run]:
                del self._runs[record.run]
            self._ledger[call_id] = ledger.abandoned(self._ledger[call_id])

    def spend(self, *, since: float = 0.0, session: str | None = None, backend: str | None = None) -> Spend:
        """Sum up the ledger: calls made since then, of a session, of a backend."""
        window = ledger.Window(name="spend", cap=0, since=since, session=session, backend=backend)
        with self._open_lock():
            found = [entry for entry in self._ledger.values() if window.counts(entry)]
        return ledger.spend_of(sum(e.reserved for e in found), sum(e.committed for e in found), sum(e.unknown for e in found), len(found))

    def backends(self, *, since: float = 0.0) -> Sequence[str]:
        """Return the names in the ledger of calls made since then; see `Store.backends`."""
        with self._open_lock():
            return tuple(sorted({entry.backend for entry in self._ledger.values() if entry.created_at >= since}))

    def add_duration(self, key: str, seconds: float) -> None:
        """Record how long a job took; a negative or endless time (a clock that jumped) is left out."""
        if is_duration(seconds):
            with self._open_lock():
                self._durations[key] = [*self._durations.get(key, []), float(seconds)][-KEEP:]

    def durations(self, key: str) -> Sequence[float]:
        """Return the newest recorded durations, at most 200, oldest first."""
        with self._open_lock():
            return tuple(self._durations.get(key, ()))

    def save_continuation(self, continuation: Continuation) -> None:
        """Keep a continuation; the least recently used one goes when there are too many."""
        texts = encode_continuation(continuation)
        with self._open_lock():
            self._keep(continuation, texts)

    def load_continuation(self, continuation_id: str, *, now: float) -> Continuation:
        """Return a continuation and count it as used; see `Store.load_continuation`."""
        with self._open_lock():
            kept = self._continuations.get(continuation_id)
            if kept is not None and is_live(kept.expires_at, now):
                return decode_continuation(*kept.texts)
            if kept is not None:
                self._continuations.drop(continuation_id)
                self._gone.put(continuation_id, "expired")
            live = [each.id for each in self._newest_first(now)]
            raise unknown_continuation(continuation_id, self._gone.get(continuation_id) or "unknown", live, size=self._continuations.size)

    def latest_continuation(self, *, media: str | None = None, now: float) -> Continuation | None:
        """Return the newest continuation (of a media kind) and count it as used."""
        return self._first(lambda kept: media is None or kept.media == media, now)

    def continuation_of_file(self, sha256: str, *, now: float) -> Continuation | None:
        """Return the newest continuation that goes on from a file with this checksum, and count it as used."""
        return self._first(lambda kept: sha256 in kept.checksums, now)

    def close(self) -> None:
        """End it; everything in it is gone."""
        with self._lock:
            self._closed = True

    def _open_lock(self) -> threading.RLock:
        if self._closed:
            raise StateError("This store is closed.")
        return self._lock

    def _keep(self, continuation: Continuation, texts: tuple[str, str]) -> None:
        checksums = frozenset([file.sha256 for file in continuation.files])
        about = (continuation.id, continuation.media, checksums, continuation.created_at, continuation.expires_at)
        evicted = self._continuations.put(continuation.id, _Kept(self._next(), texts, *about))
        self._gone.drop(continuation.id)
        if evicted is not None:
            self._gone.put(evicted, "evicted")

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _read(self, call_id: str) -> CallRecord:
        return changed(self._rows[call_id].record, reserved_usd=ledger.usd(self._ledger[call_id].reserved))

    def _held(self, call_id: str) -> CallRecord:
        if (kept := self._kept(call_id)) is None:
            raise UnknownJob(f"There is no job {call_id[:120]!r}.")
        return kept

    def _kept(self, call_id: str) -> CallRecord | None:
        """Return a copy of the store's own record, whose JSON the receiver reads for itself."""
        row = self._rows.get(call_id)
        return None if row is None else changed(row.record)

    def _write(self, record: CallRecord, fresh: Mapping[str, bytes | str] = MappingProxyType({})) -> None:
        """Keep a record, of whose JSON some columns are ``fresh``; what it holds as None is gone."""
        row, now = self._rows[record.id], record.__dict__
        texts = {name: text for name, text in {**row.texts, **fresh}.items() if now.get(name, text) not in (None, ())}
        self._rows[record.id] = _Row(row.number, unread(record, texts, value_of), texts)

    def _used(self, window: ledger.Window) -> int:
        return sum(entry.reserved + entry.committed for entry in self._ledger.values() if window.counts(entry))

    def _newest_first(self, now: float) -> list[_Kept]:
        live = (kept for kept in self._continuations.values() if is_live(kept.expires_at, now))
        return sorted(live, key=lambda kept: (kept.created_at, kept.number), reverse=True)

    def _first(self, wanted: Callable[[_Kept], bool], now: float) -> Continuation | None:
        with self._open_lock():
            for kept in self._newest_first(now):
                if wanted(kept):
                    self._continuations.get(kept.id)
                    return decode_continuation(*kept.texts)
        return None
