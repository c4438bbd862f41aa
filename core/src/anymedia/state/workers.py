"""Calls that workers carry out: the table of calls is their queue, from which several take at the same time."""

from __future__ import annotations

import json
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


class Workers:
    """The part of a store in SQL that is for workers, see `anymedia.state.store.Store`."""

    _database: Database[Any]
    if TYPE_CHECKING:

        def _found(self, connection: Connection, where: str, values: tuple[object, ...]) -> list[CallRecord]: ...

    async def take(self, worker: WorkerRecord, *, most: int, lease_seconds: float, skip: Sequence[str] = ()) -> Sequence[CallRecord]:
        """Claim calls for a worker; see `Store.take`."""
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
        """Record that a worker is alive; see `Store.note_worker`."""
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
        """Return the calls for workers that have not ended; see `Store.queues`."""
        query = f"""SELECT backend, account, state, count(*), min(created_at) FROM calls WHERE {FOR_WORKERS}
            GROUP BY backend, account, state ORDER BY backend, account, state"""  # noqa: S608 - our own text
        rows = await self._database.read(lambda c: c.execute(query).fetchall())
        return [Queue(backend=row[0], account=row[1], state=row[2], calls=row[3], oldest=row[4]) for row in rows]
