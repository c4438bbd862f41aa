"""Worker processes: how soon a dead one's jobs and slots are taken over, and how soon a cancel reaches the one that has the job.

Each worker is a process with a state directory of its own, and the timing of production. The fake service and the tests' own PostgreSQL
server are on the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import attrs

from .figures import Figure

if TYPE_CHECKING:
    from anymedia import Router

ROOT = Path(__file__).parents[1]
_CHILD = ROOT / "tests/core/worker_child.py"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/core")]


@attrs.define
class Fleet:
    """A caller that leaves its calls to workers, and the workers."""

    service: Any
    caller: Router
    words: tuple[str, ...]
    folder: Path
    alive: list[subprocess.Popen[bytes]] = attrs.field(factory=list)
    started: int = 0

    async def start(self) -> int:
        """Start a worker, and return its process once it takes calls."""
        from clocks import until

        self.started += 1
        words = [str(self.folder / str(self.started)), *self.words]
        worker = await asyncio.to_thread(subprocess.Popen, [sys.executable, str(_CHILD), *words])
        self.alive.append(worker)

        async def noted() -> bool:
            return any(each.owner.startswith(f"{worker.pid}-") for each in await self.caller.store.workers(within=60))

        await until(noted)
        return worker.pid

    def close(self) -> None:
        for worker in self.alive:
            worker.kill()
            worker.wait()

    async def until_owned(self, records: list[str], process: int) -> None:
        """Wait until a worker has all of some calls in progress at the provider."""
        from clocks import until

        async def owned() -> bool:
            found = [await self.caller.job(name) for name in records]
            return all(each.state == "running" and str(each.owner).startswith(f"{process}-") for each in found)

        await until(owned)


@contextlib.asynccontextmanager
async def fleet(url: str, *words: str) -> AsyncIterator[Fleet]:
    from core.fake_service import FakeService
    from core.routing import KEY, fake_router, fake_settings

    from anymedia.clock import SystemClock

    os.environ["FAKE_KEY"] = KEY
    with FakeService(looks=10**6) as service, tempfile.TemporaryDirectory() as made:
        storage, settings = f"file://{made}/storage", fake_settings(service, state=Path(made) / "caller")
        more: dict[str, Any] = {"store": url, "artifacts": storage, "workers": True, "clock": SystemClock()}
        async with fake_router(service, settings=settings, **more) as caller:
            own = Fleet(service, caller, (url, storage, service.http.url, service.files.url, "real", *words), Path(made))
            try:
                yield own
            finally:
                await asyncio.to_thread(own.close)


async def takeover(url: str, kills: int) -> list[float]:
    """Return after how many seconds the jobs of a killed worker were another one's."""
    from anymedia import GenerateVideo

    chance, seconds = random.Random(24), list[float]()
    async with fleet(url) as own:
        first = await own.start()
        records = [(await own.caller.submit(GenerateVideo(prompt=f"waves {number}"))).id for number in range(3)]
        await own.until_owned(records, first)
        for _ in range(kills):
            second = await own.start()
            await asyncio.sleep(chance.random() * 10)  # at any time between two renewals
            own.alive[-2].kill()
            killed = time.monotonic()
            await own.until_owned(records, second)
            seconds.append(time.monotonic() - killed)
    return seconds


async def slots(url: str) -> float:
    """Return after how many seconds calls that waited for the slots of a killed worker were sent."""
    from clocks import until

    from anymedia import GenerateImage

    async with fleet(url, "most=2") as own:
        own.service.http.fail("delay", on="POST /images", times=2, seconds=600)
        await own.start()
        for number in range(2):
            await own.caller.submit(GenerateImage(prompt=f"fox {number}"))
        await until(lambda: len(own.service.http.received) == 2)
        await own.start()
        for number in range(2, 4):
            await own.caller.submit(GenerateImage(prompt=f"fox {number}"))
        await asyncio.sleep(1)
        own.alive[0].kill()
        killed = time.monotonic()
        await until(lambda: {"fox 2", "fox 3"} <= {str(fields["prompt"]) for fields in own.service.submits})
        return time.monotonic() - killed


async def cancels(url: str, count: int) -> list[float]:
    """Return how many seconds it took to cancel each of some jobs that a worker has."""
    from anymedia import GenerateVideo

    seconds = []
    async with fleet(url, "at_once=40") as own:
        process = await own.start()
        records = [(await own.caller.submit(GenerateVideo(prompt=f"waves {number}"))).id for number in range(count)]
        await own.until_owned(records, process)
        for record in records:
            begun = time.monotonic()
            assert (await own.caller.cancel(record)).state == "cancelled"
            seconds.append(time.monotonic() - begun)
        assert len(own.service.cancelled) == count
    return seconds


async def _all(new: Any, quick: bool) -> tuple[list[float], float, list[float]]:
    seconds = await cancels(new(), 10 if quick else 40)
    taken, freed = await asyncio.gather(takeover(new(), 1 if quick else 3), slots(new()))
    return taken, freed, seconds


def figures(quick: bool) -> Iterator[Figure]:
    """Measure; skipped without PostgreSQL."""
    import postgres

    from anymedia.worker import _HEARTBEAT

    if not postgres.BINARIES:
        return
    try:
        taken, freed, seconds = asyncio.run(_all(postgres.server().new, quick))
    finally:
        postgres.stop()
    all_taken = ", ".join(f"{each:.1f}" for each in taken)
    yield Figure(
        name="jobs of a killed worker are another one's", value=max(taken), unit="s after the kill", bar=2 * _HEARTBEAT, note=all_taken
    )
    yield Figure(name="slots of a killed worker are free", value=freed, unit="s after the kill", bar=2 * _HEARTBEAT)
    note = f"{len(seconds)} jobs, median {median(seconds):.3f} s"
    yield Figure(name="cancel of another machine's job, longest", value=max(seconds), unit="s", bar=2.0, note=note)
