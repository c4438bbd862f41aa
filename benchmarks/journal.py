"""Duration of one durable state change and of all changes of a call.

    python benchmarks/journal.py [--calls 300] [--directory .]

Every change is committed to SQLite (WAL, synchronous=FULL). Limits: 1 ms for the median state change, 1.5 ms for a whole image call
(opened, submitting, collecting, done with its continuation), with 10,000 older calls in the journal, 1,000 per day. For comparison, in
turns: appending and syncing 4 kB alone (a busy disk slows all of it), and a store in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, BinaryIO, cast

from anymedia.policy import Budget
from anymedia.requests import Continuation, StoredFile
from anymedia.state.sql import Store
from anymedia.state.sqlite import SqliteStore
from anymedia.state.store import NewCall

NOW = 1_790_000_000.0
BUDGET = Budget(per_call=10, per_session=1e5, per_day=1e6)
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
    )


def _continuation(name: str) -> Continuation:
    files = (StoredFile(path="out/a.png", sha256="aa" * 32, mime="image/png", width=1024, height=1024),)
    return Continuation(id=name, backend="openai", model="gpt-image-2", media="image", data={"id": name}, files=files, created_at=NOW)


async def _timed(times: Times, name: str, work: Awaitable[Any]) -> Any:
    start = time.perf_counter()
    found = await work
    times.setdefault(name, []).append((time.perf_counter() - start) * 1000)
    return found


async def one_life(store: Store, name: str, times: Times) -> None:
    """Take one call through all its states and time each change."""
    start = time.perf_counter()
    opening = store.open_call(_call(name), BUDGET, owner="o", lease_seconds=60)
    lease = (await _timed(times, "open_call (record, reservation, caps)", opening)).lease
    outcome = {"pieces": [{"id": "files/3", "mime": "image/png"}]}
    await _timed(times, "advance", store.advance(lease, "submitting", submits=1))
    await _timed(times, "advance with an outcome", store.advance(lease, "collecting", outcome=outcome))
    end: dict[str, Any] = {"cost_usd": 0.06, "result": {"n": 1}, "continuations": [_continuation(f"gpt_img_{name}")]}
    await _timed(times, "advance to done (settles the ledger, keeps the continuation)", store.advance(lease, "done", **end))
    times.setdefault("a whole image call (four changes)", []).append((time.perf_counter() - start) * 1000)
    other = (await store.open_call(_call(f"{name}-job"), BUDGET, owner="o", lease_seconds=0)).lease
    await store.advance(other, "submitting", submits=1)
    await _timed(times, "advance with the provider's job", store.advance(other, "submitted", job={"id": "job"}))
    await _timed(times, "claim", store.claim(f"{name}-job", owner="p", lease_seconds=60))
    await _timed(times, "save_continuation", store.save_continuation(_continuation(f"gpt_img_{name}-2")))
    await _timed(times, "add_duration", store.add_duration("openai/gpt-image-2", 21.5))
    await _timed(times, "get (no transaction)", store.get(name))


async def _sync_alone(file: BinaryIO) -> None:
    file.write(b"x" * 4096)
    os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())


async def add_older(store: SqliteStore, calls: int, *, seconds_apart: float = 86.4) -> None:
    """Insert older calls in one transaction, and count them in the totals of the day."""
    record = await store.open_call(_call("older"), BUDGET, owner="o", lease_seconds=0)
    await store.advance(record.lease, "failed", cost_usd=0.01)

    def work(connection: sqlite3.Connection) -> None:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(calls)") if row[1] not in {"number", "id", "created_at"}]
        names = ", ".join(f'"{name}"' for name in columns)
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {calls})"
        connection.execute(
            f"{numbers} INSERT INTO calls (id, created_at, {names}) SELECT 'older-' || i, created_at - {seconds_apart} * i, {names} "
            "FROM n, calls WHERE id = 'older'"
        )
        connection.execute(
            f"{numbers} INSERT INTO ledger SELECT 'older-' || i, session || i % 50, backend, created_at - {seconds_apart} * i, "
            "0, committed, 0, realm, project FROM n, ledger WHERE call_id = 'older'"
        )
        connection.execute(f"UPDATE budgets SET amount = amount * {calls}")

    await store._database.write(work)


async def opening_under_a_cap(directory: Path, older_today: int, calls: int) -> float:
    """Return the median time in milliseconds of `open_call` under a daily cap, with a number of calls earlier that day."""
    store = SqliteStore(directory / f"opening-{older_today}.db", clock=lambda: NOW)
    if older_today:
        await add_older(store, older_today, seconds_apart=0.0)
    times: Times = {}
    for i in range(calls):
        await _timed(times, "open_call", store.open_call(_call(f"call_{i}"), BUDGET, owner="o", lease_seconds=60))
    await store.aclose()
    return statistics.median(times["open_call"])


def _line(name: str, values: list[float], disk: float, verdict: str = "") -> str:
    middle, high = statistics.median(values), statistics.quantiles(values, n=20)[-1]
    return f"{name:<42} {middle:8.3f} {high:8.3f} {middle / disk:7.1f}{verdict}"


async def measure(directory: Path, calls: int, older: int) -> tuple[Times, Times]:
    """Return the times of a file and of a store in memory, measured in turns with the disk alone."""
    durable, memory = SqliteStore(directory / "journal.db", clock=lambda: NOW), SqliteStore(":memory:", clock=lambda: NOW)
    await add_older(durable, older)
    times: Times = {}
    in_memory: Times = {}
    with (directory / "plain").open("wb", buffering=0) as plain:
        for i in range(calls):
            await one_life(durable, f"call_{i}", times)
            await _timed(times, _DISK, _sync_alone(cast(BinaryIO, plain)))
            await one_life(memory, f"call_{i}", in_memory)
    await durable.aclose()
    await memory.aclose()
    return times, in_memory


def main() -> None:
    parser = argparse.ArgumentParser(description="The time of a durable state change.")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--older", type=int, default=10_000, help="number of older calls in the journal")
    parser.add_argument("--directory", type=Path, default=None, help="directory of the journal (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as made:
        times, in_memory = asyncio.run(measure(Path(made), options.calls, options.older))
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
