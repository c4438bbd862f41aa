"""Calls that wait: for the limits of their account, or for a worker. The table of calls is the workers' queue."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import transitions
from .codec import dump
from .database import Connection, Database
from .schema import FOR_WORKERS, update_call
from .store import CallRecord, Queue, WorkerRecord

#: What workers carry out although no process has died with it.
FOR_ANY_WORKER = "state NOT IN ('unknown', 'lost')"
#: How long a worker is remembered that was not seen any more, in seconds.
_REMEMBER = 86_400

#: Seconds that a rate is counted over.
_RATE_SECONDS = 60.0
#: Calls that occupy the provider, or are about to; of a dead process, until its lease has run out.
_LIVE_CALL = """call_id IN (
    SELECT id FROM calls WHERE state IN ('queued', 'submitting', 'submitted', 'running') AND owner IS NOT NULL AND lease_until > ?
)"""
_FORGET_SLOTS = f"DELETE FROM slots WHERE account = ? AND (granted_at IS NULL OR granted_at <= ?) AND NOT {_LIVE_CALL}"  # noqa: S608


class Queues:
    """The part of a store in SQL that is for calls that wait, see `anymedia.state.sql.Store`."""

    _database: Database[Any]
    if TYPE_CHECKING:

        def _found(self, connection: Connection, where: str, values: tuple[object, ...]) -> list[CallRecord]: ...

    async def take_slot(self, call_id: str, account: str, *, most: int | None, per_minute: int | None) -> float:
        """Let a call that is leased begin under the limits of its account, in order of arrival, in all processes.

        A call takes part from its first attempt until it is no longer ``queued``, ``submitting``, ``submitted`` or ``running``, or its
        lease has run out: what a dead process had comes back with its lease. ``most`` may run at the same time, and ``per_minute`` begin
        within any 60 seconds.

        Returns:
            0 if the call may begin; else the seconds after which another attempt is worthwhile, infinite if only the end of another
            call can help.
        """

        def wait(connection: Connection) -> float | None:
            return _slot_wait(connection, call_id, account, connection.now(), most, per_minute)

        def work(connection: Connection) -> float:
            connection.lock(f"slots {account}")
            now = connection.now()
            connection.execute(_FORGET_SLOTS, (account, now - _RATE_SECONDS, now))
            added = "INSERT INTO slots (account, call_id) VALUES (?, ?) ON CONFLICT (call_id) DO NOTHING"
            connection.execute(added, (account, call_id))
            if (left := wait(connection)) == 0:
                connection.execute("UPDATE slots SET granted_at = coalesce(granted_at, ?) WHERE call_id = ?", (now, call_id))
            return math.inf if left is None else left

        left = await self._database.read(wait)
        return left if left else await self._database.write(work, critical=False)  # most attempts need no write lock

    async def take(self, worker: WorkerRecord, *, most: int, lease_seconds: float, skip: Sequence[str] = ()) -> Sequence[CallRecord]:
        """Claim calls of a worker's accounts: those with a priority that are queued or were left by a process that is dead.

        What was begun comes first, then the highest priority, then what was queued first. A call whose outcome is unknown, or whose job
        is lost, is taken only from a process that died while it looked it up. ``skip``: ids of calls and runs to leave alone.
        """
        skip = skip or ("",)  # PostgreSQL does not know an empty list
        accounts, left = ", ".join("?" * len(worker.accounts)), ", ".join("?" * len(skip))
        query = f"""WHERE {FOR_WORKERS} AND (owner IS NULL AND {FOR_ANY_WORKER}
            OR owner IS NOT NULL AND (lease_until <= ? OR lease_until > ?)) AND backend || ' ' || account IN ({accounts})
            AND id NOT IN ({left}) AND run NOT IN ({left}) ORDER BY state = 'queued', priority DESC, number LIMIT ?"""

        def free(connection: Connection, most: int) -> list[CallRecord]:
            now = connection.now()
            lock = f"{connection.row_lock} SKIP LOCKED" if connection.row_lock else ""
            values = (now, now + transitions.LONGEST_LEASE, *worker.accounts, *skip, *skip, most)
            return self._found(connection, f"{query}{lock}", values)

        def work(connection: Connection) -> list[CallRecord]:
            taken = []
            for before in free(connection, most):
                after = transitions.claimed(before, owner=worker.owner, lease_seconds=lease_seconds, now=connection.now())
                if after is not None:
                    update_call(connection, before, after)
                    taken.append(after)
            return taken

        if not worker.accounts or not await self._database.read(lambda connection: free(connection, 1)):
            return ()
        return await self._database.write(work)

    async def note_worker(self, worker: WorkerRecord) -> None:
        """Record that a worker is alive."""
        statement = """INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (owner) DO UPDATE SET accounts = excluded.accounts, seen_at = excluded.seen_at"""

        def work(connection: Connection) -> None:
            now = connection.now()
            connection.execute(statement, (worker.owner, worker.host, worker.at_once, dump(list(worker.accounts), "accounts"), now, now))
            connection.execute("DELETE FROM workers WHERE seen_at < ?", (now - _REMEMBER,))

        await self._database.write(work)

    async def drop_worker(self, owner: str) -> None:
        """Delete a worker that has ended."""
        await self._database.write(lambda connection: connection.execute("DELETE FROM workers WHERE owner = ?", (owner,)))

    async def workers(self, *, within: float) -> Sequence[WorkerRecord]:
        """Return the workers that were alive within the last seconds."""
        query = "SELECT owner, host, at_once, accounts, started_at, seen_at FROM workers WHERE seen_at > ? ORDER BY started_at, owner"
        rows = await self._database.read(lambda c: c.execute(query, (c.now() - within,)).fetchall())
        return [
            WorkerRecord(owner=owner, host=host, at_once=at_once, accounts=tuple(json.loads(accounts)), started_at=started, seen_at=seen)
            for owner, host, at_once, accounts, started, seen in rows
        ]

    async def queues(self) -> Sequence[Queue]:
        """Return the calls for workers that have not ended, by backend, account and state."""
        query = f"""SELECT backend, account, state, count(*), min(created_at) FROM calls WHERE {FOR_WORKERS}
            GROUP BY backend, account, state ORDER BY backend, account, state"""  # noqa: S608 - our own text
        rows = await self._database.read(lambda c: c.execute(query).fetchall())
        return [Queue(backend=row[0], account=row[1], state=row[2], calls=row[3], oldest=row[4]) for row in rows]


def _slot_wait(connection: Connection, call_id: str, account: str, now: float, most: int | None, per_minute: int | None) -> float | None:
    """Return how many seconds a call has to wait, 0 for not at all, infinite for another call's end; None if it is not in the line."""
    own = connection.execute("SELECT number FROM slots WHERE call_id = ?", (call_id,)).fetchone()
    if own is None:
        return None
    waiting, active, recent, oldest = connection.execute(
        f"""SELECT count(*) FILTER (WHERE granted_at IS NULL AND number < ? AND live),
            count(*) FILTER (WHERE granted_at IS NOT NULL AND live),
            count(*) FILTER (WHERE granted_at > ?), min(granted_at) FILTER (WHERE granted_at > ?)
            FROM (SELECT number, granted_at, {_LIVE_CALL} AS live FROM slots WHERE account = ? AND call_id != ?) AS others""",  # noqa: S608
        (own[0], now - _RATE_SECONDS, now - _RATE_SECONDS, now, account, call_id),
    ).fetchone()
    if most is not None and waiting + active >= most:
        return math.inf
    if per_minute is not None and waiting + recent >= per_minute:
        return math.inf if oldest is None else max(oldest + _RATE_SECONDS - now, 0.001)
    return 0.0
