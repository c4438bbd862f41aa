"""The tables of a journal file, their version, and how a file is told from a foreign one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .codec import CALL_COLUMNS
from .errors import StateDamaged, StateTooNew

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "create", "is_current", "quoted"]

#: "anym" in ASCII: SQLite's mark of whose file it is.
APPLICATION_ID = 0x616E796D
SCHEMA_VERSION = 1

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
}


def quoted(*names: str) -> str:
    """Return column names as SQL."""
    return ", ".join(f'"{name}"' for name in names)


_CALLS = ", ".join(f'"{name}" {_TYPES.get(name, "TEXT")}' for name in CALL_COLUMNS)
#: ``number`` keeps the order of insertion. Money is in billionths of a dollar.
_STATEMENTS = (
    f"CREATE TABLE calls (number INTEGER PRIMARY KEY AUTOINCREMENT, {_CALLS}) STRICT",
    "CREATE INDEX calls_by_run ON calls (run)",
    "CREATE INDEX calls_by_state ON calls (state, created_at)",
    "CREATE INDEX calls_by_time ON calls (created_at)",
    """CREATE TABLE ledger (
        call_id TEXT PRIMARY KEY, session TEXT NOT NULL, backend TEXT NOT NULL, created_at REAL NOT NULL,
        reserved INTEGER NOT NULL CHECK (reserved >= 0), committed INTEGER NOT NULL CHECK (committed >= 0),
        unknown INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # These hold all that a sum over a cap's window needs.
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


def is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a journal of this version; False for an empty file.

    Raises:
        StateDamaged: somebody else's database.
        StateTooNew: a journal of a newer version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise StateTooNew(
                f"The journal {str(path)!r} was written by a newer anymedia (format {version}; this one reads up to {SCHEMA_VERSION}).",
                fix="Update anymedia, or set ANYMEDIA_STATE to another directory.",
            )
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application or version or tables:
        raise StateDamaged(
            f"{str(path)!r} is a database, but not a journal of anymedia; it was left as it is.",
            fix="Move it away, or set ANYMEDIA_STATE to another directory.",
        )
    return False


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, inside the caller's transaction."""
    for statement in _STATEMENTS:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
