"""Jobs per second with a journal in PostgreSQL beside one in SQLite, in turns, by one process and by eight.

    python benchmarks/fleet_rate.py [--jobs 400] [--rounds 3]

A job is what the router records of a video: six durable transactions under a daily cap. Each process has 16 jobs in progress. Both
databases are durable; PostgreSQL is the tests' own server, on the same disk, with its default settings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks.figures import Figure
from benchmarks.journal import BUDGET, _call, _continuation

if TYPE_CHECKING:
    from postgres import Server

_AT_ONCE = 16
#: Seconds per tick of /proc.
_TICK = 1 / os.sysconf("SC_CLK_TCK")


async def one_job(store: Any, name: str) -> None:
    """Record a video job: opened, sent, accepted, seen running, collected, done with its continuation."""
    lease = (await store.open_call(_call(name), BUDGET, owner="o", lease_seconds=60)).lease
    await store.advance(lease, "submitting", submits=1)
    await store.advance(lease, "submitted", job={"id": f"vid-{name}", "data": {}})
    await store.advance(lease, "running")
    await store.advance(lease, "collecting", outcome={"pieces": [{"id": "files/3", "mime": "video/mp4"}]})
    await store.advance(lease, "done", cost_usd=0.06, result={"n": 1}, continuations=[_continuation(f"vid_{name}")])


async def jobs(place: str, count: int) -> None:
    """Record jobs in a child process, when a line tells it to begin; print its CPU seconds."""
    from anymedia.state.sqlite import store_at

    store = store_at(place)
    await one_job(store, f"{os.getpid()}-first")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    before, left = time.process_time(), iter(range(count))

    async def work() -> None:
        for number in left:
            await one_job(store, f"{os.getpid()}-{number}")

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    print(time.process_time() - before, flush=True)
    await store.aclose()


@attrs.frozen(kw_only=True)
class Run:
    """Seconds of one round: in all, of CPU in the processes, and of CPU in the server; and what the server has done."""

    wall: float
    cpu: float
    server: float = 0.0
    commits: int = 0
    syncs: int = 0


def together(place: str, processes: int, count: int) -> Run:
    """Have processes record jobs at the same time."""
    command = [sys.executable, __file__, "--child", place, str(count // processes)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for child in started:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", "a process failed"
    begun = time.perf_counter()
    for child in started:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    cpu = sum(float(child.stdout.readline()) for child in started if child.stdout is not None)
    wall = time.perf_counter() - begun
    for child in started:
        child.communicate(timeout=60)
    return Run(wall=wall, cpu=cpu)


def _server_cpu(process: int) -> float:
    """Return the CPU seconds of the server's processes, those that have ended included."""
    found = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    total = sum(int(value) for value in found[11:15]) * _TICK
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return total + sum(_server_cpu(int(child)) for child in children)


def on_server(server: Server, url: str, processes: int, count: int) -> Run:
    """Have processes record jobs in PostgreSQL, and note what the server did."""
    import psycopg

    assert server._process is not None

    def counts() -> tuple[int, int]:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            row = connection.execute(
                """SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
                    (SELECT wal_sync FROM pg_stat_wal)"""
            ).fetchone()
            assert row is not None
            return int(row[0]), int(row[1])

    before, cpu = counts(), _server_cpu(server._process.pid)
    run = together(url, processes, count)
    after = counts()
    return attrs.evolve(run, server=_server_cpu(server._process.pid) - cpu, commits=after[0] - before[0], syncs=after[1] - before[1])


def measured(count: int, rounds: int) -> Iterator[Figure]:
    """Measure both databases in turns."""
    import postgres

    server = postgres.Server(durable=True)
    try:
        with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
            for processes, bar in ((1, 2.0), (8, 1.25)):
                seen: list[tuple[Run, Run]] = []
                for number in range(rounds + 1):
                    file = together(f"{made}/{processes}-{number}.db", processes, count)
                    seen.append((file, on_server(server, server.new(), processes, count)))
                slower = median(there.wall / here.wall for here, there in seen[1:])
                here, there = seen[-1]
                spent = there.cpu + there.server
                yield Figure(
                    name=f"time per job in PostgreSQL, relative to SQLite, {processes} process{'es' if processes > 1 else ''}",
                    value=slower,
                    unit="x",
                    bar=bar,
                    note=f"{count / here.wall:.0f} and {count / there.wall:.0f} jobs/s ({1 / slower:.2f}x); a job in PostgreSQL: "
                    f"{there.cpu / count * 1000:.2f} ms CPU here, {there.server / count * 1000:.2f} in the server, "
                    f"{there.commits / count:.1f} commits, {there.syncs / count:.2f} syncs of the log "
                    f"({100 * spent / there.wall / (os.cpu_count() or 1):.0f} % of the processors); in SQLite: "
                    f"{here.cpu / count * 1000:.2f} ms CPU",
                )
    finally:
        server.close()


def figures(quick: bool) -> Iterator[Figure]:
    """Measure; skipped without PostgreSQL."""
    import postgres

    if postgres.BINARIES:
        yield from measured(160 if quick else 400, 1 if quick else 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child is not None:
        asyncio.run(jobs(asked.child[0], int(asked.child[1])))
        return
    for figure in measured(asked.jobs, asked.rounds):
        print("  ".join(figure.cells()), flush=True)


if __name__ == "__main__":
    main()
