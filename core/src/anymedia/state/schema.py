"""The tables of a journal, their version, and migration from earlier versions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .codec import CALL_COLUMNS, encode_call
from .database import Connection
from .ledger import LedgerEntry
from .store import FINAL_STATES, LOCAL_REALM, UNKNOWN_ACCOUNT, CallRecord, StateBusy, StateDamaged, StateTooNew

#: "anym" in ASCII: SQLite's mark of the application that a file belongs to.
APPLICATION_ID = 0x616E796D
LEDGER_COLUMNS: tuple[str, ...] = tuple(field.name for field in attrs.fields(LedgerEntry))

_TYPES = {
    "id": "TEXT NOT NULL UNIQUE",
    "index": "INTEGER NOT NULL",
    "submits": "INTEGER NOT NULL",
    "fence": "INTEGER NOT NULL",
    "created_at": "REAL NOT NULL",
    "updated_at": "REAL NOT NULL",
    "lease_until": "REAL NOT NULL",
    "cost_usd": "REAL",
    "quote_low": "REAL",
    "quote_high": "REAL",
    "realm": f"TEXT NOT NULL DEFAULT '{LOCAL_REALM}'",
    "priority": "INTEGER",
    "account": f"TEXT NOT NULL DEFAULT '{UNKNOWN_ACCOUNT}'",
}


def quoted(*names: str) -> str:
    """Return column names as SQL."""
    return ", ".join(f'"{name}"' for name in names)


def _definition(name: str) -> str:
    return f'"{name}" {_TYPES.get(name, "TEXT")}'


#: The calls that workers may have to carry out.
FOR_WORKERS = "priority IS NOT NULL AND state NOT IN ('done', 'failed', 'refused', 'cancelled')"
#: The columns of ``calls`` that each later version has added.
_ADDED_COLUMNS: Mapping[int, tuple[str, ...]] = {
    2: ("realm", "account", "project", "run_key", "conflict", "provider_job"),
    6: ("priority",),
}
_FIRST_COLUMNS = tuple(name for name in CALL_COLUMNS if not any(name in added for added in _ADDED_COLUMNS.values()))

#: ``number`` keeps the order of insertion. Money is in billionths of a dollar.
_VERSION_1 = (
    f"CREATE TABLE calls (number INTEGER PRIMARY KEY AUTOINCREMENT, {', '.join(map(_definition, _FIRST_COLUMNS))}) STRICT",
    "CREATE INDEX calls_by_run ON calls (run)",
    "CREATE INDEX calls_by_state ON calls (state, created_at)",
    "CREATE INDEX calls_by_time ON calls (created_at)",
    """CREATE TABLE ledger (
        call_id TEXT PRIMARY KEY, session TEXT NOT NULL, backend TEXT NOT NULL, created_at REAL NOT NULL,
        reserved INTEGER NOT NULL CHECK (reserved >= 0), committed INTEGER NOT NULL CHECK (committed >= 0),
        unknown INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX ledger_by_time ON ledger (created_at, backend, reserved, committed)",
    "CREATE INDEX ledger_by_session ON ledger (session, created_at, backend, reserved, committed)",
    "CREATE TABLE durations (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, seconds REAL NOT NULL) STRICT",
    "CREATE INDEX durations_by_key ON durations (key, number)",
    """CREATE TABLE continuations (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, media TEXT NOT NULL,
        created_at REAL NOT NULL, expires_at REAL, shown TEXT NOT NULL, secret TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX continuations_by_time ON continuations (created_at)",
    """CREATE TABLE continuation_files (
        sha256 TEXT NOT NULL, continuation TEXT NOT NULL, PRIMARY KEY (sha256, continuation)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX continuation_files_by_id ON continuation_files (continuation)",
)
#: A provider's job belongs to one call. Calls of version 1 belong to the local user's realm; their account is unknown, and stands for
#: the account of their instance. Of two calls with the same provider job, the later one refers to the earlier one as its conflict.
_VERSION_2 = (
    *(f"ALTER TABLE calls ADD COLUMN {_definition(name)}" for name in _ADDED_COLUMNS[2]),
    f"ALTER TABLE ledger ADD COLUMN realm {_TYPES['realm']}",
    "ALTER TABLE ledger ADD COLUMN project TEXT",
    "UPDATE calls SET provider_job = json_extract(job, '$.id') WHERE job IS NOT NULL",
    """UPDATE calls SET conflict = (
        SELECT first.id FROM calls AS first
        WHERE first.backend = calls.backend AND first.provider_job = calls.provider_job AND first.number < calls.number
        ORDER BY first.number LIMIT 1
    ) WHERE provider_job IS NOT NULL""",
    f"""CREATE UNIQUE INDEX calls_by_job ON calls (
        (CASE account WHEN '{UNKNOWN_ACCOUNT}' THEN backend || ' ' || account ELSE account END), provider_job
    ) WHERE provider_job IS NOT NULL AND conflict IS NULL""",
    "CREATE INDEX calls_by_provider_job ON calls (provider_job)",
    "CREATE INDEX calls_by_realm ON calls (realm, created_at)",
    "CREATE INDEX calls_by_owner ON calls (owner)",
    """CREATE TABLE budgets (
        scope TEXT NOT NULL, period TEXT NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (scope, period)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE run_keys (
        realm TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, request_digest TEXT NOT NULL,
        created_at REAL NOT NULL, forgotten_at REAL, PRIMARY KEY (realm, key)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE artifacts (
        call_id TEXT NOT NULL, kind TEXT NOT NULL, "index" INTEGER NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
        mime TEXT, realm TEXT NOT NULL, created_at REAL NOT NULL, exported_at REAL, PRIMARY KEY (call_id, kind, "index")
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX artifacts_by_content ON artifacts (sha256, realm)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO meta VALUES ('account_key', randomblob(32))",
)
#: A continuation belongs to a realm, and its id is unique within it.
_VERSION_3 = (
    "ALTER TABLE continuations RENAME TO continuations_2",
    "DROP INDEX continuations_by_time",
    f"""CREATE TABLE continuations (
        number INTEGER PRIMARY KEY AUTOINCREMENT, realm {_TYPES["realm"]}, id TEXT NOT NULL, media TEXT NOT NULL,
        created_at REAL NOT NULL, expires_at REAL, shown TEXT NOT NULL, secret TEXT NOT NULL, UNIQUE (realm, id)
    ) STRICT""",
    """INSERT INTO continuations (number, id, media, created_at, expires_at, shown, secret)
        SELECT number, id, media, created_at, expires_at, shown, secret FROM continuations_2""",
    "DROP TABLE continuations_2",
    "CREATE INDEX continuations_by_time ON continuations (created_at)",
    "CREATE INDEX continuations_by_id ON continuations (id)",
    "CREATE INDEX continuations_by_realm ON continuations (realm, created_at)",
    "ALTER TABLE continuation_files RENAME TO continuation_files_2",
    "DROP INDEX continuation_files_by_id",
    """CREATE TABLE continuation_files (
        sha256 TEXT NOT NULL, continuation INTEGER NOT NULL, PRIMARY KEY (sha256, continuation)
    ) STRICT, WITHOUT ROWID""",
    """INSERT INTO continuation_files
        SELECT sha256, number FROM continuation_files_2 JOIN continuations ON continuations.id = continuation_files_2.continuation""",
    "DROP TABLE continuation_files_2",
    "CREATE INDEX continuation_files_by_number ON continuation_files (continuation)",
)
#: Calls of an account that take part in its limits, in order of arrival; ``granted_at`` is NULL while one waits.
_VERSION_4 = (
    """CREATE TABLE slots (
        number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, call_id TEXT NOT NULL UNIQUE, granted_at REAL
    ) STRICT""",
    "CREATE INDEX slots_by_account ON slots (account)",
)
#: A call that was recorded and not sent is ``queued``; before, it was ``submitting`` without a submit.
_VERSION_5 = ("UPDATE calls SET state = 'queued' WHERE state = 'submitting' AND submits = 0",)
#: Calls for workers have a priority; and the workers, and when each was last alive.
_VERSION_6 = (
    *(f"ALTER TABLE calls ADD COLUMN {_definition(name)}" for name in _ADDED_COLUMNS[6]),
    f"CREATE INDEX calls_for_workers ON calls (priority, number) WHERE {FOR_WORKERS}",
    """CREATE TABLE workers (
        owner TEXT PRIMARY KEY, host TEXT NOT NULL, at_once INTEGER NOT NULL, accounts TEXT NOT NULL,
        started_at REAL NOT NULL, seen_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
)
#: What leads from each version to the next; the first leads from an empty file to version 1.
_STEPS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6)
SCHEMA_VERSION = len(_STEPS)


def version_of(connection: Connection, path: Path) -> int:
    """Return the version of a journal; 0 for an empty file.

    Raises:
        StateDamaged: the file is another application's database.
        StateTooNew: the journal was written by a newer version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise StateTooNew(
                f"The journal {str(path)!r} was written by a newer anymedia (format {version}; this one reads up to {SCHEMA_VERSION}).",
                fix="Update anymedia, or set ANYMEDIA_STATE to another directory.",
            )
        return int(version)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application or version or tables:
        raise StateDamaged(
            f"{str(path)!r} is a database, but not a journal of anymedia; it was not changed.",
            fix="Move it away, or set ANYMEDIA_STATE to another directory.",
        )
    return 0


def statements_after(version: int) -> Iterator[str]:
    """Yield the statements that lead from a version (0: nothing) to the current one."""
    for step in _STEPS[version:]:
        yield from step


def upgrade(connection: Connection, path: Path, version: int, now: float) -> None:
    """Bring an empty file, or a journal of an earlier version, to the current one, inside the caller's transaction.

    A journal is copied to ``<name>.v<version>`` first.

    Raises:
        StateBusy: a process of the earlier version is still processing a call.
    """
    if version:
        check_idle(connection, f"The journal {str(path)!r}", now)
        _back_up(path, version)
    for statement in statements_after(version):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if version:
        sum_up(connection)


def check_idle(connection: Connection, name: str, now: float) -> None:
    """Refuse to migrate while a call is being processed.

    Raises:
        StateBusy: a process of the earlier version is processing a call.
    """
    final = ", ".join(f"'{state}'" for state in sorted(FINAL_STATES))
    query = f"SELECT owner, id FROM calls WHERE owner IS NOT NULL AND lease_until > ? AND state NOT IN ({final})"  # noqa: S608
    if (live := connection.execute(query, (now,)).fetchone()) is not None:
        process = str(live[0]).partition("-")[0]
        raise StateBusy(
            f"{name} is in use by an earlier version of anymedia (process {process}, job {live[1]}).",
            fix="Stop that process, or wait until the job has ended, and start again.",
        )


def entry_of(row: Sequence[Any]) -> LedgerEntry:
    """Return the ledger entry in a row of `LEDGER_COLUMNS`."""
    return LedgerEntry(**dict(zip(LEDGER_COLUMNS, row, strict=True)))


def sum_up(connection: Connection) -> None:
    """Compute the running totals from the ledger."""
    connection.execute("DELETE FROM budgets")
    for row in connection.execute(f"SELECT {quoted(*LEDGER_COLUMNS)} FROM ledger").fetchall():  # noqa: S608 - our own names
        entry = entry_of(row)
        for total in entry.totals():
            add_to_total(connection, total, entry.amount)


def add_to_total(connection: Connection, total: tuple[str, str], amount: int) -> Any:
    """Add an amount to a running total, which the cursor returns."""
    statement = """INSERT INTO budgets VALUES (?, ?, ?)
        ON CONFLICT (scope, period) DO UPDATE SET amount = budgets.amount + excluded.amount RETURNING amount"""
    return connection.execute(statement, (*total, amount))


def update_call(connection: Connection, before: CallRecord | None, after: CallRecord, *, known: bool = False) -> dict[str, Any]:
    """Write the columns of a call that differ; return all of them.

    ``known``: the record before was not read now; the statement fails unless it is still the same.
    """
    old, row = {} if before is None else encode_call(before), encode_call(after)
    changed = {name: value for name, value in row.items() if name not in old or old[name] != value}
    if changed:
        columns = ", ".join(f'"{name}" = ?' for name in changed)
        statement = f"UPDATE calls SET {columns} WHERE id = ?"  # noqa: S608 - our own names
        if known and before is not None:
            same = f"{statement} AND fence = ? AND updated_at = ?"
            guarded = f"WITH changed AS ({same} RETURNING 1) SELECT 1 / count(*) FROM changed"  # noqa: S608 - our own text
            connection.execute(guarded, (*changed.values(), after.id, before.fence, before.updated_at))
        else:
            connection.execute(statement, (*changed.values(), after.id))
    return row


def _back_up(path: Path, version: int) -> None:
    """Copy the journal, write-ahead log included, to a file that only the owner can read."""
    copy = path.with_name(f"{path.name}.v{version}")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
