"""How long the event loop is held while the store is slow: calls with 5 ms of added latency beside a loop without work."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .figures import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

LATENCY = 0.005


async def _longest_gap(until: Callable[[], bool]) -> float:
    """Return the longest time in milliseconds for which the event loop did not run a task that was due."""
    longest = 0.0
    while not until():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest * 1000


async def _measure(folder: Path, jobs: int) -> tuple[float, float]:
    """Return the longest gaps in milliseconds: without work, and while jobs run on a slow store."""
    from core.fake_service import FakeService
    from core.routing import KEY, fake_router, fake_settings

    from anymedia import SqliteStore

    os.environ["FAKE_KEY"] = KEY
    store = SqliteStore(folder / "state.db")
    database = store._database
    for name in ("read", "write"):
        original = getattr(database, name)

        def slow(work: Callable[[Any], Any], *, original: Any = original, **more: Any) -> Any:
            return original(lambda connection: (time.sleep(LATENCY), work(connection))[1], **more)

        setattr(database, name, slow)
    with FakeService(looks=3) as service:
        async with fake_router(service, settings=fake_settings(service, state=folder, timeout=60), store=store) as router:
            await router.generate_video(prompt="warm", output=folder / "warm.mp4")
            running = asyncio.gather(*(router.generate_video(prompt=f"{n}", output=folder / f"{n}.mp4") for n in range(jobs)))
            begun = time.perf_counter()
            working = await _longest_gap(running.done)
            await running
            ends = time.perf_counter() + min(5.0, time.perf_counter() - begun)
            return await _longest_gap(lambda: time.perf_counter() > ends), working


def figures(quick: bool) -> Iterator[Figure]:
    """Measure the longest time that the event loop is held by jobs on a store with 5 ms of latency, beyond a loop without work."""
    jobs = 10 if quick else 50
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
        idle, working = asyncio.run(_measure(Path(made), jobs))
    note = f"{jobs} video jobs at once; the longest gap was {working:.1f} ms, without work {idle:.1f} ms"
    yield Figure(name="event loop held with 5 ms of store latency", value=max(0.0, working - idle), unit="ms", bar=50.0, note=note)
