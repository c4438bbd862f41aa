"""The store: call records (the journal), the ledger, continuations and durations, in the SQL that SQLite and PostgreSQL have in common.

Times are seconds since the epoch on the store's own clock: leases and ages are never compared with the clock of a caller.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from ..errors import Argument, InvalidRequest, UnknownContinuation, UnknownJob
from ..policy import Budget
from ..requests import Continuation
from . import ledger, transitions
from .codec import CALL_COLUMNS, check_call, decode_call, decode_continuation, encode_call, encode_continuation
from .database import Connection, Database
from .ledger import LedgerEntry
from .queues import FOR_ANY_WORKER, Queues
from .schema import FOR_WORKERS, LEDGER_COLUMNS, add_to_total, entry_of, quoted, update_call
from .store import (
    FINAL_STATES,
    LOCAL_REALM,
    UNKNOWN_ACCOUNT,
    CallRecord,
    CallState,
    JobTaken,
    Lease,
    NewCall,
    RunKey,
    RunKeyTaken,
    Spend,
    StateDamaged,
    StateError,
)

_COLUMNS = quoted(*CALL_COLUMNS)
_INSERT = f"INSERT INTO calls ({_COLUMNS}) VALUES ({', '.join('?' * len(CALL_COLUMNS))})"  # noqa: S608 - our own names
_SELECT = f"SELECT {_COLUMNS}, (SELECT reserved FROM ledger WHERE call_id = id) FROM calls"  # noqa: S608 - our own names
#: In a view of one realm, the id of a conflicting call of another realm is left out.
_SELECT_IN_REALM = _SELECT.replace(
    '"conflict"', "CASE WHEN conflict IN (SELECT id FROM calls AS other WHERE other.realm = calls.realm) THEN conflict END"
)
_INSERT_ENTRY = f"INSERT INTO ledger ({quoted(*LEDGER_COLUMNS)}) VALUES ({', '.join('?' * len(LEDGER_COLUMNS))})"  # noqa: S608
_SELECT_ENTRY = f"SELECT {quoted(*LEDGER_COLUMNS)} FROM ledger WHERE call_id = ?"  # noqa: S608 - our own names
_LIVE = "(expires_at IS NULL OR expires_at > ?)"
#: How long an expired continuation is remembered as such, in seconds.
_REMEMBER_EXPIRED = 30 * 86_400
#: How long the key of a deleted run is remembered, in seconds.
_REMEMBER_KEYS = 90 * 86_400
#: How many values a statement can have in every build of SQLite.
_MOST_VALUES = 900
#: How many leases one statement renews.
_MOST_RENEWED = 400
#: How many durations are kept per key.
_DURATIONS = 200


class Store(Queues):
    """Durable state. All methods may be called from any event loop and thread.

    A cancelled `advance` is completed before the cancellation is raised; a cancelled `open_call` changes nothing.

    Args:
        database: where the statements are executed.

    Attributes:
        realm: the realm of a view; None for the whole store, which sees all realms and writes to the one that a call names, or else
            to the local user's.

    Raises:
        StateError: from every method, when the database cannot be opened, read or written (see `anymedia.state.store`).
    """

    def __init__(self, database: Database[Any]) -> None:
        self.realm: str | None = None
        self._database = database
        #: The calls whose leases this process has, as it has written them: only the owner of a lease changes a call.
        self._known: dict[str, tuple[CallRecord, LedgerEntry]] = {}

    @property
    def identity(self) -> str:
        """A name of the store's contents: the same for all stores of a process that share them."""
        return self._database.identity

    def scoped(self, realm: str) -> Self:
        """Return a view that sees and changes one realm only: the ids of others are unknown to it.

        Durations and the accounts' provider jobs belong to no realm. Closing a view does nothing.
        """
        view = copy.copy(self)
        view.realm = _text(realm)
        return view

    def _own(self, where: str, *values: object) -> tuple[str, tuple[object, ...]]:
        """Return a condition and its values, limited to the realm of a view."""
        return (where, values) if self.realm is None else (f"{where} AND realm = ?", (*values, self.realm))

    async def account_key(self) -> bytes:
        """Return the key with which the accounts of this store's calls are hashed; it is made with the store and never changes."""
        (key,) = await self._database.read(lambda c: c.execute("SELECT value FROM meta WHERE name = 'account_key'").fetchone())
        return bytes(key)

    async def open_call(self, call: NewCall, budget: Budget, *, owner: str | None, lease_seconds: float) -> CallRecord:
        """Record a call as ``queued``, reserve its quote and take its lease, in one transaction.

        Without an ``owner``, the call has no lease: any process may claim it. A notice ``queued`` is sent.

        Caps: ``per_call`` applies to this call; ``per_session`` to ``call.session``; ``per_day`` and ``per_backend`` to the UTC day.

        Raises:
            BudgetExceeded: a cap would be exceeded, or the price is unknown, a cap is set and ``budget.allow_unknown``
                is False; nothing is recorded.
            RunKeyTaken: ``run_key`` belongs to another run, or the same attempt of this run was already recorded.
        """
        call = attrs.evolve(call, realm=self.realm or _text(call.realm))
        check_call(call)

        def work(connection: Connection) -> tuple[CallRecord, LedgerEntry | None]:
            now = connection.now()
            entry = ledger.new_entry(call, now)
            record = transitions.opened(call, owner=owner, lease_seconds=lease_seconds, now=now)
            if call.run_key is not None:
                _claim_key(connection, call, now)
            existing = connection.execute("SELECT 1 FROM ledger WHERE call_id = ?", (call.id,))
            # Added first and checked then: calls that are opened at the same time wait for each other's totals.
            added = {total: add_to_total(connection, total, entry.amount) for total in sorted(entry.totals())}
            used = {total: int(cursor.fetchall()[0][0]) - entry.amount for total, cursor in added.items()}
            if existing.fetchone():
                if connection.repeated and (earlier := self._find(connection, call.id)) and earlier.owner == owner:
                    for total in added:
                        add_to_total(connection, total, -entry.amount)
                    return earlier, None
                if call.run_key is not None:
                    raise RunKeyTaken(call.run_key)
                raise InvalidRequest(f"a call {call.id!r} was already recorded")
            ledger.check_caps(call, entry, budget, used.__getitem__)
            columns = encode_call(record)
            connection.execute(_INSERT, [columns[name] for name in CALL_COLUMNS])
            connection.execute(_INSERT_ENTRY, attrs.astuple(entry))
            if owner is None:
                connection.notify("queued")
            return record, entry

        record, entry = await self._database.write(work, critical=False)
        if entry is not None and owner is not None:
            self._known[record.id] = record, entry
        return record

    async def advance(
        self, lease: Lease, state: CallState, *, continuations: Sequence[Continuation] = (), sole_job: bool = False, **changes: Any
    ) -> CallRecord:
        """Change the state and columns of a call, and save continuations, in one durable transaction.

        A provider job that another call of the account has is recorded with that call as its ``conflict``.

        Columns: submits, attempts, job, outcome, secret, result, error, cost_usd, target, plan, account. Final states settle the
        ledger: done commits ``cost_usd`` (or the high quote if it is None and the quote is known); refused, failed and cancelled
        commit ``cost_usd`` if given, the high quote if their error has ``charged`` yes or unknown, else release the reservation;
        all other states keep it. A call that leaves ``failed`` or ``cancelled`` has its original reservation again, even above a cap;
        its error and cost are cleared.

        Raises:
            JobTaken: with ``sole_job``, when another call has the provider job (nothing is changed).
            LeaseLost: the fence is not the record's any more (nothing is changed).
            IllegalTransition: see `TRANSITIONS`; or a recorded job would be removed, or is missing for ``submitted``, ``running``,
                ``lost``, or leaving ``failed`` or ``cancelled`` (nothing is changed).
        """
        encoded = [(each, encode_continuation(each)) for each in continuations]

        def work(connection: Connection) -> tuple[CallRecord, LedgerEntry]:
            known = self._known.pop(lease.call_id, None)
            if known is not None and (
                not connection.has_guards or known[0].fence != lease.fence or self.realm not in {None, known[0].realm}
            ):
                known = None
            before, entry = known or self._with_entry(connection, lease.call_id)
            if (
                connection.repeated
                and before is not None
                and before.fence == lease.fence
                and before.state == state in FINAL_STATES
                and entry
            ):
                return before, entry
            after = transitions.advanced(before, lease, state, now=connection.now(), changes=changes)
            assert entry is not None
            if after.job is not None and (before is None or (before.job, before.account) != (after.job, after.account)):
                after = attrs.evolve(after, conflict=_other_call(connection, after))
                if sole_job and after.conflict is not None:
                    raise JobTaken(after.conflict)
            row = update_call(connection, before, after, known=known is not None)
            if after.owner is None or after.priority is not None:  # who waits for a worker hears of each state
                connection.notify(f"free {after.id}")
            settled = ledger.settled(entry, after)
            _settle(connection, entry, settled)
            for each, texts in encoded:
                _insert(connection, each, texts, after.realm, connection.now())
            if after.conflict is not None:  # a view does not show that of another realm
                return self._read(connection, after.id), settled
            return decode_call(row, ledger.usd(settled.reserved), connection.now()), settled

        record, entry = await self._database.write(work, charged="unknown")
        if record.owner is not None:
            self._known[record.id] = record, entry
        return record

    async def claim(self, call_id: str, *, owner: str, lease_seconds: float, revise: bool = False) -> CallRecord | None:
        """Take the lease of a call if it has run out or is the owner's own (which ends the earlier lease).

        ``revise``: also the lease of a call that has ended and is revisable; its state does not change.

        Returns:
            The record with the new lease, or None if another owner has the lease, or the call has ended.

        Raises:
            UnknownJob: there is no such call.
        """

        def claimed(connection: Connection) -> tuple[CallRecord, CallRecord | None]:
            before = self._read(connection, call_id)
            now = connection.now()
            return before, transitions.claimed(before, owner=owner, lease_seconds=lease_seconds, now=now, revise=revise)

        def work(connection: Connection) -> CallRecord | None:
            before, after = claimed(connection)
            if after is not None:
                update_call(connection, before, after)
            return after

        if (await self._database.read(claimed))[1] is None:  # most claims of a leased call end here, without the write lock
            return None
        return await self._database.write(work)

    async def renew(self, leases: Sequence[Lease], *, lease_seconds: float) -> Sequence[Lease]:
        """Extend leases in one transaction, except those that have ended; lost leases are missing from the result."""

        def work(connection: Connection) -> list[Lease]:
            until, held = connection.now() + lease_seconds, set[tuple[str, int]]()
            for start in range(0, len(leases), _MOST_RENEWED):
                some = leases[start : start + _MOST_RENEWED]
                # One that has ended has no owner. The record that `advance` knows keeps its earlier `lease_until`, which it does not write.
                statement = f"""UPDATE calls SET lease_until = CASE WHEN owner IS NULL THEN lease_until ELSE ? END
                    WHERE (id, fence) IN (VALUES {", ".join(["(?, ?)"] * len(some))}) RETURNING id, fence"""  # noqa: S608 - our own text
                names = [value for lease in some for value in (lease.call_id, lease.fence)]
                held.update(connection.execute(statement, (until, *names)).fetchall())
            return [attrs.evolve(lease, until=until) for lease in leases if (lease.call_id, lease.fence) in held]

        return await self._database.one(work) if leases else []

    async def release(self, lease: Lease) -> None:
        """End a lease early, so that other processes need not wait; does nothing if it is lost."""

        def work(connection: Connection) -> None:
            before = self._find(connection, lease.call_id)
            if (after := transitions.released(before, lease)) is not None:
                update_call(connection, before, after)
                connection.notify(f"free {after.id}")

        self._known.pop(lease.call_id, None)
        found = await self.get(lease.call_id)
        if transitions.released(found, lease) is not None:  # most calls have ended by then, and need no write lock
            await self._database.write(work)

    async def holds(self, lease: Lease) -> bool:
        """Whether a lease is still valid: the call was neither claimed by another owner nor deleted."""
        query = "SELECT 1 FROM calls WHERE id = ? AND fence = ?"
        return await self._database.read(lambda c: c.execute(query, (lease.call_id, lease.fence)).fetchone() is not None)

    async def free(self, call_ids: Sequence[str]) -> Sequence[str]:
        """Return those of some calls that no process is processing, or will: without a lease that lasts, or deleted.

        A call for workers is free once it has ended, or is unknown or lost and not being looked up.
        """

        def work(connection: Connection) -> list[str]:
            now = connection.now()
            held = set[str]()
            for start in range(0, len(call_ids), _MOST_VALUES):
                some = call_ids[start : start + _MOST_VALUES]
                query = f"""SELECT id FROM calls WHERE id IN ({", ".join("?" * len(some))})
                    AND (owner IS NOT NULL AND lease_until > ? AND lease_until <= ? OR {FOR_WORKERS} AND {FOR_ANY_WORKER})"""  # noqa: S608
                values = (*some, now, now + transitions.LONGEST_LEASE)
                held |= {name for (name,) in connection.execute(query, values).fetchall()}
            return [name for name in call_ids if name not in held]

        return await self._database.read(work)

    def listen(self, tell: Callable[[str], None]) -> Callable[[], None] | None:
        """Have a function called with each notice of the store's other users, on a thread of the store.

        The store itself sends ``free ID`` when the lease of a call ends, and for a call for workers with each change.

        Returns:
            What ends it; None for a store that does not pass notices on.
        """
        return self._database.listen(tell)

    async def notify(self, notice: str) -> bool:
        """Send a notice to all who listen; False for a store that does not pass notices on."""
        await self._database.read(lambda connection: connection.notify(notice))
        return self._database.has_notices

    async def get(self, call_id: str) -> CallRecord | None:
        """Return one record."""
        return await self._database.read(lambda connection: self._find(connection, call_id))

    async def run(self, run_id: str) -> Sequence[CallRecord]:
        """Return the records of a run, in order."""
        where, values = self._own("WHERE run = ?", _text(run_id))
        return await self._select(f'{where} ORDER BY "index", created_at, number', values)

    async def calls(self, *, states: Sequence[CallState] | None = None, since: float = 0.0, limit: int = 1000) -> Sequence[CallRecord]:
        """Return records in some states (all: None) since a time, newest first."""
        if states is not None and not states:
            return ()
        chosen = "" if states is None else f"AND state IN ({', '.join('?' * len(states))})"
        where, values = self._own(f"WHERE created_at >= ? {chosen}", since, *(states or ()))
        return await self._select(f"{where} ORDER BY created_at DESC, number DESC LIMIT ?", (*values, max(limit, 0)))

    async def call_of_job(self, backend: str, account: str, provider_job: str) -> str | None:
        """Return the id of the call that has a provider job, whatever its age."""
        return await self._database.read(lambda connection: _call_of_job(connection, backend, account, provider_job))

    async def forget(self, call_id: str) -> None:
        """Delete a record in a final state, ``unknown`` or ``lost``; its spending stays in the ledger.

        The reservation of an unknown or lost call may have been charged, and counts as spent from then on.

        Raises:
            UnknownJob: there is no such call.
            InvalidRequest: the call is still active.
        """

        def work(connection: Connection) -> None:
            if connection.repeated and self._find(connection, call_id) is None:
                return
            transitions.check_forgettable(self._read(connection, call_id))
            entry = entry_of(connection.execute(_SELECT_ENTRY, (call_id,)).fetchone())
            _settle(connection, entry, ledger.abandoned(entry))
            connection.execute("DELETE FROM calls WHERE id = ?", (call_id,))
            forgotten = "UPDATE run_keys SET forgotten_at = ? WHERE forgotten_at IS NULL AND run NOT IN (SELECT run FROM calls)"
            connection.execute(forgotten, (connection.now(),))

        await self._database.write(work)

    async def run_key(self, key: str) -> RunKey | None:
        """Return a run key of the view's realm, or else of the local user's."""
        return await self._database.read(lambda connection: _key(connection, self.realm or LOCAL_REALM, key))

    async def drop_run_keys(self, run: str, prefix: str = "") -> None:
        """Delete the keys of a run that begin with a prefix: the next request with such a key starts a new run."""
        where, values = self._own("WHERE run = ? AND substr(key, 1, ?) = ?", _text(run), len(prefix), prefix)
        if await self._database.read(lambda c: c.execute(f"SELECT 1 FROM run_keys {where}", values).fetchone()):  # noqa: S608 - our own text
            await self._database.write(lambda c: c.execute(f"DELETE FROM run_keys {where}", values))  # noqa: S608 - our own text

    async def spend(self, *, since: float = 0.0, session: str | None = None, backend: str | None = None) -> Spend:
        """Return sums over the ledger: of calls since a time, of a session, of a backend."""
        query = """SELECT coalesce(sum(reserved), 0), coalesce(sum(committed), 0), coalesce(sum(unknown), 0), count(*) FROM ledger
            WHERE created_at >= ? AND session = coalesce(?, session) AND backend = coalesce(?, backend)"""
        query, values = self._own(query, since, session, backend)
        return ledger.spend_of(*await self._database.read(lambda connection: connection.execute(query, values).fetchone()))

    async def backends(self, *, since: float = 0.0) -> Sequence[str]:
        """Return the backends of all calls since a time, sorted, deleted calls and uninstalled backends included."""
        query, values = self._own("SELECT DISTINCT backend FROM ledger WHERE created_at >= ?", since)
        return tuple(sorted(name for (name,) in await self._database.read(lambda c: c.execute(query, values).fetchall())))

    async def add_duration(self, key: str, seconds: float) -> None:
        """Record how long a job took, under a key of backend, model and length.

        A negative or infinite time (a clock that jumped) is ignored.
        """
        if not 0 <= seconds < math.inf:
            return
        name = _text(key)

        def work(connection: Connection) -> None:
            connection.execute("INSERT INTO durations (key, seconds) VALUES (?, ?)", (name, float(seconds)))
            oldest = "SELECT number FROM durations WHERE key = ? ORDER BY number DESC LIMIT 1 OFFSET ?"
            connection.execute(f"DELETE FROM durations WHERE key = ? AND number <= ({oldest})", (name, name, _DURATIONS))  # noqa: S608

        await self._database.write(work)

    async def durations(self, key: str) -> Sequence[float]:
        """Return the recorded durations of a key, at most the newest 200, oldest first."""
        query = "SELECT seconds FROM durations WHERE key = ? ORDER BY number"
        return tuple(seconds for (seconds,) in await self._database.read(lambda c: c.execute(query, (_text(key),)).fetchall()))

    async def save_continuation(self, continuation: Continuation) -> None:
        """Save a continuation under its id."""
        texts = encode_continuation(continuation)
        realm = self.realm or LOCAL_REALM
        await self._database.write(lambda connection: _insert(connection, continuation, texts, realm, connection.now()), charged="yes")

    async def load_continuation(self, continuation_id: str) -> Continuation:
        """Return a continuation.

        Raises:
            UnknownContinuation: it is unknown or expired; with the most similar ids.
        """

        def work(connection: Connection) -> tuple[Continuation | None, list[str]]:
            # A copy for another realm comes later.
            found = self._first(connection, "WHERE id = ?", _text(continuation_id), order="number")
            now = connection.now()
            if found is not None and (found.expires_at is None or now < found.expires_at):
                return found, [found.id]
            where, values = self._own(f"WHERE {_LIVE}", now)
            query = f"SELECT id FROM continuations {where} ORDER BY created_at DESC, number DESC LIMIT 500"  # noqa: S608 - our own text
            return found, [name for (name,) in connection.execute(query, values).fetchall()]

        found, live = await self._database.read(work)
        if found is None or found.id not in live:
            raise _unknown_continuation(continuation_id, live, expired=found is not None)
        return found

    async def latest_continuation(self, *, media: str | None = None) -> Continuation | None:
        """Return the newest continuation (of a medium)."""
        where = f"WHERE {_LIVE} AND media = coalesce(?, media)"
        return await self._database.read(lambda connection: self._first(connection, where, connection.now(), media))

    async def continuation_of_file(self, sha256: str) -> Continuation | None:
        """Return the newest continuation for a file with this checksum."""
        where = f"WHERE {_LIVE} AND number IN (SELECT continuation FROM continuation_files WHERE sha256 = ?)"  # noqa: S608 - our own text
        return await self._database.read(lambda connection: self._first(connection, where, connection.now(), _text(sha256)))

    async def open(self) -> None:
        """Open the store now rather than with the first use of it.

        Raises:
            StateError: it cannot be opened.
        """
        await self._database.read(lambda connection: None)

    async def import_journal(self, path: Path) -> int:
        """Copy a journal in a file into this store, which must be empty and in PostgreSQL; return the number of its calls.

        Raises:
            StateError: this is not possible.
            StateBusy: a process is processing a call of the journal.
        """
        raise StateError(f"{self._database.name} cannot import a journal.", fix="Set store under [fleet] to a PostgreSQL database.")

    def close(self) -> None:
        """Close from outside an event loop; closing again does nothing."""
        self._database.close()

    async def aclose(self) -> None:
        """Close all connections; closing again, or closing a view, does nothing."""
        if self.realm is None:
            await self._database.aclose()

    @property
    def _query(self) -> str:
        return _SELECT if self.realm is None else _SELECT_IN_REALM

    async def _select(self, where: str, values: tuple[object, ...]) -> list[CallRecord]:
        return await self._database.read(lambda connection: self._found(connection, where, values))

    def _found(self, connection: Connection, where: str, values: tuple[object, ...]) -> list[CallRecord]:
        return [self._decode(connection, row) for row in connection.execute(f"{self._query} {where}", values).fetchall()]

    def _first(
        self, connection: Connection, condition: str, *given: object, order: str = "created_at DESC, number DESC"
    ) -> Continuation | None:
        where, values = self._own(condition, *given)
        query = f"SELECT shown, secret FROM continuations {where} ORDER BY {order} LIMIT 1"  # noqa: S608 - our own text
        texts = connection.execute(query, values).fetchone()
        return None if texts is None else decode_continuation(*texts)

    def _decode(self, connection: Connection, row: tuple[Any, ...]) -> CallRecord:
        try:
            return decode_call(dict(zip(CALL_COLUMNS, row, strict=False)), ledger.usd(row[-1]), connection.now())
        except (ValueError, TypeError) as error:
            text = f"The journal's record of {str(row[0])[:120]!r} is damaged ({type(error).__name__})."
            raise StateDamaged(text, fix="Restore the journal from a copy, or move the file away; it names your running jobs.") from error

    def _find(self, connection: Connection, call_id: str) -> CallRecord | None:
        where, values = self._own("WHERE id = ?", _text(call_id))
        row = connection.execute(f"{self._query} {where}{connection.row_lock}", values).fetchone()
        return None if row is None else self._decode(connection, row)

    def _with_entry(self, connection: Connection, call_id: str) -> tuple[CallRecord | None, LedgerEntry | None]:
        """Return a record and its ledger entry, which are read together."""
        where, values = self._own("WHERE id = ?", _text(call_id))
        found = connection.execute(f"{self._query} {where}{connection.row_lock}", values)
        entry = connection.execute(_SELECT_ENTRY, (_text(call_id),))
        row = found.fetchone()
        return (None, None) if row is None else (self._decode(connection, row), entry_of(entry.fetchone()))

    def _read(self, connection: Connection, call_id: str) -> CallRecord:
        if (record := self._find(connection, call_id)) is None:
            raise UnknownJob(f"There is no job {call_id[:120]!r}.")
        return record


def _insert(connection: Connection, continuation: Continuation, texts: tuple[str, str], realm: str, now: float) -> None:
    """Write a continuation, replacing an earlier one of the realm with the same id; delete what has expired."""
    connection.execute("UPDATE continuations SET secret = '{}' WHERE expires_at <= ? AND secret != '{}'", (now,))
    old = "SELECT number FROM continuations WHERE expires_at <= ?"
    connection.execute(f"DELETE FROM continuation_files WHERE continuation IN ({old})", (now - _REMEMBER_EXPIRED,))  # noqa: S608
    connection.execute("DELETE FROM continuations WHERE expires_at <= ?", (now - _REMEMBER_EXPIRED,))
    number = "SELECT number FROM continuations WHERE realm = ? AND id = ?"
    named = (realm, continuation.id)
    connection.execute(f"DELETE FROM continuation_files WHERE continuation IN ({number})", named)  # noqa: S608 - our own text
    connection.execute("DELETE FROM continuations WHERE realm = ? AND id = ?", named)
    values = (realm, continuation.id, continuation.media, continuation.created_at, continuation.expires_at, *texts)
    statement = "INSERT INTO continuations (realm, id, media, created_at, expires_at, shown, secret) VALUES (?, ?, ?, ?, ?, ?, ?)"
    connection.execute(statement, values)
    for sha256 in sorted({file.sha256 for file in continuation.files}):
        connection.execute(f"INSERT INTO continuation_files SELECT ?, found.number FROM ({number}) AS found", (sha256, *named))  # noqa: S608


def _unknown_continuation(asked: str, live: Sequence[str], *, expired: bool) -> UnknownContinuation:
    """Return the error for an id that cannot be used; ``live``: the ids that can, newest first."""
    quoted_id = repr(asked[:120])
    message = f"The continuation {quoted_id} has expired at the provider." if expired else f"There is no continuation {quoted_id}."
    if not live:
        fix = ("Make a new request without ", Argument("continue_from"), "; every result has its own continuation id.")
        return UnknownContinuation(message, fix=fix)
    import difflib

    near = [] if expired else difflib.get_close_matches(asked[:120], live, 3)
    if near:
        message += f" Did you mean {' or '.join(repr(name) for name in near)}?"
    fix = (f"Use an id from an earlier result (the latest is {live[0]!r}), or omit ", Argument("continue_from"), ".")
    return UnknownContinuation(message, fix=fix)


def _text(value: str) -> str:
    """Return text that a database can bind: what is not Unicode is in no journal, and is not found."""
    return value.encode("utf-8", "backslashreplace").decode()


def _call_of_job(connection: Connection, backend: str, account: str, provider_job: str, other_than: str = "") -> str | None:
    """Return the first call that has a provider job; an unknown account stands for any account of the backend."""
    query = f"""SELECT id FROM calls WHERE provider_job = ? AND id != ? AND conflict IS NULL
        AND (account = ? AND account != '{UNKNOWN_ACCOUNT}' OR backend = ? AND '{UNKNOWN_ACCOUNT}' IN (account, ?))
        ORDER BY number LIMIT 1"""  # noqa: S608 - our own text
    row = connection.execute(query, (_text(provider_job), other_than, account, backend, account)).fetchone()
    return None if row is None else str(row[0])


def _other_call(connection: Connection, record: CallRecord) -> str | None:
    """Return the id of the call that already has the provider job of a record."""
    assert record.job is not None
    name = str(record.job.get("id"))
    connection.lock(f"job {name}")
    return _call_of_job(connection, record.backend, record.account, name, record.id)


def _key(connection: Connection, realm: str, key: str) -> RunKey | None:
    query = "SELECT key, run, request_digest, forgotten_at FROM run_keys WHERE realm = ? AND key = ?"
    row = connection.execute(query, (_text(realm), _text(key))).fetchone()
    return None if row is None else RunKey(key=row[0], run=row[1], digest=row[2], forgotten_at=row[3])


def _claim_key(connection: Connection, call: NewCall, now: float) -> None:
    """Record the run key of a call, unless another run has it; forget deleted runs' keys after some time."""
    assert call.run_key is not None
    connection.execute("DELETE FROM run_keys WHERE forgotten_at < ?", (now - _REMEMBER_KEYS,))
    found = _key(connection, call.realm, call.run_key)
    if found is None:
        values = (_text(call.realm), _text(call.run_key), call.run, call.request_digest, now)
        connection.execute("INSERT INTO run_keys (realm, key, run, request_digest, created_at) VALUES (?, ?, ?, ?, ?)", values)
    elif found.run != call.run or found.forgotten_at is not None:
        raise RunKeyTaken(call.run_key)


def _settle(connection: Connection, before: LedgerEntry, after: LedgerEntry) -> None:
    """Write a ledger entry that has changed, and its running totals."""
    if after == before:
        return
    connection.execute(
        "UPDATE ledger SET reserved = ?, committed = ?, unknown = ? WHERE call_id = ?",
        (after.reserved, after.committed, after.unknown, after.call_id),
    )
    if after.amount != before.amount:
        for total in sorted(after.totals()):  # in one order, so that no two transactions wait for each other
            add_to_total(connection, total, after.amount - before.amount)
