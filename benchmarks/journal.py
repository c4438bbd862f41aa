"""Duration of one durable state change and of all changes of a call.

    python benchmarks/journal.py [--calls 300] [--directory .]

Every change is committed to SQLite (WAL, synchronous=FULL). Limits: 1 ms for the median state change, 1.5 ms for a whole image call
(opened, submitting, collecting, done with its continuation), with 10,000 older calls in the journal, 1,000 per day. For comparison, in
turns: appending and syncing 4 kB alone (a busy disk slows all of it), and a store in memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from anymedia.policy import Budget
from anymedia.requests import Continuation, StoredFile
from anymedia.state.sqlite import SqliteStore
from anymedia.state.store import Lease, NewCall, Store

NOW = 1_790_000_000.0
BUDGET = Budget(per_call=10, per_run=1e5, per_day=1e6)
_DISK = "the disk alone: append and sync 4 kB"
Times = dict[str, list[float]]


def _call(name: str) -> NewCall:
    request = {"kind": "generate_image", "prompt": "a lighthouse in the fog, oil on canvas, " * 10, "size": "1024x1024"}
    return NewCall(
        id=name,
        run=name,
        index=0,
        backend="openai",
        model="gpt-image-2",
        operation="generate_image",
        request=request,
        plan={"adjustments": [{"field": "seed", "kind": "ignored", "asked": 42, "sent": None, "why": "takes no seed"}]},
        target={"path": "out/"},
        idempotency_key=name,
        session="session",
        quote_usd=(0.01, 0.25),
        created_at=NOW,
    )


def _continuation(name: str) -> Continuation:
    files = (StoredFile(path="out/a.png", sha256="aa" * 32, mime="image/png", width=1024, height=1024),)
    return Continuation(id=name, backend="openai", model="gpt-image-2", media="image", data={"id": name}, files=files, created_at=NOW)


def _timed(times: Times, name: str, work: Callable[[], object]) -> object:
    start = time.perf_counter()
    found = work()
    times.setdefault(name, []).append((time.perf_counter() - start) * 1000)
    return found


def one_life(store: Store, name: str, times: Times) -> None:
    """Take one call through all its states and time each change."""
    start = time.perf_counter()
    lease = _timed(times, "open_call (row, reservation, caps)", lambda: store.open_call(_call(name), BUDGET, owner="o", lease_seconds=60))
    assert isinstance(lease, Lease)
    outcome = {"pieces": [{"id": "files/3", "mime": "image/png"}]}
    _timed(times, "advance", lambda: store.advance(lease, "submitting", now=NOW, submits=1))
    _timed(times, "advance with an outcome", lambda: store.advance(lease, "collecting", now=NOW, outcome=outcome))
    end: dict[str, Any] = {"cost_usd": 0.06, "result": {"n": 1}, "continuations": [_continuation(f"gpt_img_{name}")]}
    _timed(times, "advance to done (settles the ledger, keeps the continuation)", lambda: store.advance(lease, "done", now=NOW, **end))
    times.setdefault("a whole image call (four changes)", []).append((time.perf_counter() - start) * 1000)
    other = store.open_call(_call(f"{name}-job"), BUDGET, owner="o", lease_seconds=0)
    _timed(times, "advance with the provider's job", lambda: store.advance(other, "submitted", now=NOW, job={"id": "job"}))
    _timed(times, "claim", lambda: store.claim(f"{name}-job", owner="p", lease_seconds=60, now=NOW))
    _timed(times, "save_continuation", lambda: store.save_continuation(_continuation(f"gpt_img_{name}-2")))
    _timed(times, "add_duration", lambda: store.add_duration("openai/gpt-image-2", 21.5))
    _timed(times, "get (no transaction)", lambda: store.get(name))


def _sync_alone(file: BinaryIO) -> None:
    file.write(b"x" * 4096)
    os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())


def _fill(store: SqliteStore, rows: int) -> None:
    """Insert older calls in one transaction."""
    database = store._database._connection()
    lease = store.open_call(_call("older"), BUDGET, owner="o", lease_seconds=0)
    store.advance(lease, "failed", now=NOW, cost_usd=0.01)
    columns = [row[1] for row in database.execute("PRAGMA table_info(calls)") if row[1] not in {"number", "id"}]
    names = ", ".join(f'"{name}"' for name in columns)
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    database.execute("BEGIN IMMEDIATE")
    database.execute(f"{numbers} INSERT INTO calls (id, {names}) SELECT 'older-' || i, {names} FROM n, calls WHERE id = 'older'")
    database.execute(
        f"{numbers} INSERT INTO ledger SELECT 'older-' || i, session || i % 50, backend, created_at - 86.4 * i, 0, committed, 0 "
        "FROM n, ledger WHERE call_id = 'older'"
    )
    database.execute("COMMIT")


def _line(name: str, values: list[float], disk: float, verdict: str = "") -> str:
    middle, high = statistics.median(values), statistics.quantiles(values, n=20)[-1]
    return f"{name:<42} {middle:8.3f} {high:8.3f} {middle / disk:7.1f}{verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description="The time of a durable state change.")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--older", type=int, default=10_000, help="number of older calls in the journal")
    parser.add_argument("--directory", type=Path, default=None, help="directory of the journal (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as made:
        directory = Path(made)
        durable, memory = SqliteStore(directory / "journal.db"), SqliteStore(":memory:")
        _fill(durable, options.older)
        times: Times = {}
        in_memory: Times = {}
        with (directory / "plain").open("wb", buffering=0) as plain:
            for i in range(options.calls):
                one_life(durable, f"call_{i}", times)
                _timed(times, _DISK, lambda: _sync_alone(cast(BinaryIO, plain)))
                one_life(memory, f"call_{i}", in_memory)
        durable.close()
    disk = statistics.median(times[_DISK])
    print(f"{'ms':<42} {'median':>8} {'p95':>8} {'x disk':>7}   ({options.older} older calls)")
    changes = {name for name in times if name.startswith(("open_call", "advance"))}
    for name, values in times.items():
        bar = 1.0 if name in changes else 1.5 if "whole" in name else None
        print(
            _line(name, values, disk, "" if bar is None else "  met" if statistics.median(values) < bar else f"  missed (limit {bar} ms)")
        )
    print(_line("in memory: advance", in_memory["advance"], disk))


if __name__ == "__main__":
    main()
