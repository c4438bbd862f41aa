"""A durable state change; a durable artifact; waiting for a job compared with the theoretical optimum."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from . import journal, waiting
from .figures import Figure


def state(quick: bool) -> Iterator[Figure]:
    """Measure the journal, and the disk alone for comparison."""
    calls, older = (60, 10_000) if quick else (300, 10_000)
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
        times, _ = asyncio.run(journal.measure(Path(made), calls, older))
        empty, full = (asyncio.run(journal.opening_under_a_cap(Path(made), today, calls)) for today in (0, 100_000))
    disk = median(times[journal._DISK])
    for name, values in times.items():
        if name.startswith(("open_call", "advance", "a whole")):
            bar = 1.5 if name.startswith("a whole") else 1.0
            note = f"median of {calls}, {older} older rows; appending and syncing 4 kB alone takes {disk:.3f} ms"
            yield Figure(name=f"journal: {name}", value=median(values), unit="ms", bar=bar, note=note)
    note = f"median of {calls}, relative to the first calls of a day ({empty:.3f} ms)"
    yield Figure(name="journal: open_call under a cap after 100,000 calls that day", value=full / empty, unit="x", bar=1.5, note=note)


def artifacts(quick: bool) -> Iterator[Figure]:
    """Measure the time from the last byte of a response until it is durable, relative to writing and syncing the same bytes."""
    sizes = [100_000, 1_500_000] if quick else [10_000, 100_000, 1_500_000, 20_000_000]
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
        for size in sizes:
            seen = asyncio.run(_artifact_times(Path(made), size, 10 if quick or size > 10_000_000 else 40))
            for way in ("put", "streamed"):
                value = median(stored / plain for stored, plain in zip(seen[way], seen["plain"], strict=True))
                note = f"median of {len(seen['plain'])} in turns; write and fsync alone: {median(seen['plain']) * 1000:.2f} ms"
                yield Figure(name=f"artifact: {size:,} bytes, {way}", value=value, unit="x", bar=2.0, note=note)


async def _artifact_times(folder: Path, size: int, rounds: int) -> dict[str, list[float]]:
    from anymedia.artifacts import ArtifactStore

    store = ArtifactStore(folder / "artifacts")
    seen: dict[str, list[float]] = {"plain": [], "put": [], "streamed": []}
    for number in range(rounds + 1):
        data = os.urandom(size)
        started = time.perf_counter()
        with (folder / f"plain-{size}-{number}").open("wb", buffering=0) as plain:
            plain.write(data)
            os.fsync(plain.fileno())
        after_plain = time.perf_counter()
        await store.put(f"put-{size}-{number}", "piece", data)
        after_put = time.perf_counter()
        async with store.writer(f"streamed-{size}-{number}", "piece") as writer:
            for start in range(0, size, 65_536):
                await writer.write(os.urandom(min(65_536, size - start)))
            last_byte = time.perf_counter()
            await writer.commit()
            done = time.perf_counter()
        if number:  # the first round creates directories
            seen["plain"].append(after_plain - started)
            seen["put"].append(after_put - after_plain)
            seen["streamed"].append(done - last_byte)
    return seen


def polling(quick: bool) -> Iterator[Figure]:
    """Simulate waiting: wasted time x polls relative to the theoretical minimum, for the worst kind of job."""
    jobs = 1_000 if quick else 20_000
    found: dict[str, list[tuple[float, float, str]]] = {"after 50 jobs": [], "cold": []}
    for scenario in waiting.scenarios():
        bound = scenario.bound()
        for name, wasted, polls in waiting.rows(scenario, jobs):
            if name in found:
                found[name].append((wasted * polls / bound, polls, scenario.name))
    for name, bar in (("after 50 jobs", 1.25), ("cold", 1.5)):
        worst, _, where = max(found[name])
        polls = max(polls for _, polls, _ in found[name])
        within = sum(value < bar for value, _, _ in found[name])
        kinds = f"worst of {len(found[name])} kinds of jobs ({where}), {within} are within the limit"
        note = f"{kinds}; {jobs} simulated each; at most {polls:.1f} polls per job"
        yield Figure(name=f"waiting, {name}: waste x polls", value=worst, unit="x", bar=bar, note=note)
