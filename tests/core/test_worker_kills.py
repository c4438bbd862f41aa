"""Workers killed with their disks: by the provider's own count nothing is bought twice, and all but unknown outcomes is delivered.

The same while the server of the store is killed, too, and with machines whose clocks are wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

import attrs
import psycopg
import pytest
from clocks import FastClock
from core.fake_service import FakeService, mp4, png
from core.routing import fake_router, fake_settings

from anymedia import GenerateImage, GenerateVideo, Router
from anymedia.errors import SubmissionUnknown
from anymedia.state.store import FINAL_STATES, CallRecord

CHILD = Path(__file__).with_name("worker_child.py")
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(550), pytest.mark.usefixtures("fake_key")]
#: What goes wrong beside the deaths of workers.
Trouble = Literal["nothing else", "server killed", "clocks wrong"]


@attrs.define
class Fleet:
    """Worker processes with a directory each; a dead one's directory is gone, and its leases have run out."""

    words: tuple[str, ...]
    store: str
    folder: Path
    skews: tuple[float, ...] = (0.0,)
    alive: list[tuple[subprocess.Popen[bytes], Path]] = attrs.field(factory=list)
    started: int = 0

    def start(self) -> None:
        own, skew = self.folder / f"worker-{self.started}", self.skews[self.started % len(self.skews)]
        self.started += 1
        self.alive.append((subprocess.Popen([sys.executable, str(CHILD), str(own), *self.words, f"skew={skew}"]), own))

    def kill(self, number: int) -> int:
        """Kill a worker; return the id of the process."""
        worker, own = self.alive.pop(number)
        worker.kill()
        worker.wait()
        shutil.rmtree(own, ignore_errors=True)
        return worker.pid

    def expire(self, process: int) -> None:
        """Let the leases of a dead worker run out."""
        with psycopg.connect(self.store, autocommit=True) as connection:
            connection.execute("UPDATE calls SET lease_until = 0 WHERE owner LIKE %s", (f"{process}-%",))

    def close(self) -> None:
        while self.alive:
            self.kill(0)


async def ended(router: Router) -> None:
    """Wait until no worker has anything left to do."""
    async with asyncio.timeout(240):
        while True:
            records = await router.jobs()
            if all(record.state in FINAL_STATES or (record.state == "unknown" and record.owner is None) for record in records):
                return
            await asyncio.sleep(0.1)


async def killed(
    tmp_path: Path, *, jobs: int, kills: int, seed: int, can_list: bool, trouble: Trouble
) -> tuple[list[CallRecord], Counter[str]]:
    """Have three workers carry out jobs while they are killed one after the other; return the records and the provider's count."""
    import postgres

    chance, storage = random.Random(seed), f"file://{tmp_path}/storage"
    skews = (600.0, -600.0, 0.0) if trouble == "clocks wrong" else (0.0,)
    async with contextlib.AsyncExitStack() as stack:
        server = postgres.server() if trouble != "server killed" else stack.enter_context(contextlib.closing(postgres.Server()))
        url, service = server.new(), stack.enter_context(FakeService(looks=3))
        words = (url, storage, service.http.url, service.files.url, *(["can_list"] if can_list else []))
        fleet = Fleet(words, url, tmp_path, skews)
        own = {"store": url, "artifacts": storage, "workers": True, "clock": FastClock(ahead=-skews[0])}
        caller = await stack.enter_async_context(fake_router(service, settings=fake_settings(service, state=tmp_path / "caller"), **own))
        stack.callback(fleet.close)

        async def submit() -> None:
            for number in range(jobs):
                request = GenerateVideo(prompt=f"job {number}") if number % 3 else GenerateImage(prompt=f"job {number}")
                await caller.submit(request)

        async def idle() -> bool:
            return submitting.done() and not {record.state for record in await caller.jobs()} - FINAL_STATES - {"unknown"}

        for _ in range(3):
            await asyncio.to_thread(fleet.start)
        submitting = asyncio.create_task(submit())
        for _ in range(kills):
            seen = len(service.http.received)
            async with asyncio.timeout(240):
                while len(service.http.received) == seen and not await idle():
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.random() * 0.1)
            victim, first = chance.randrange(3), chance.random() < 0.5
            process = await asyncio.to_thread(fleet.kill, victim) if first else 0
            if trouble == "server killed":
                await asyncio.to_thread(server.stop, chance.choice([signal.SIGKILL, signal.SIGQUIT]))
                await asyncio.sleep(chance.random() * 0.1)
                await asyncio.to_thread(server.start)
            process = process or await asyncio.to_thread(fleet.kill, victim)
            await asyncio.to_thread(fleet.expire, process)
            await asyncio.to_thread(fleet.start)
        await submitting
        await ended(caller)
        for record in await caller.jobs():
            with contextlib.suppress(SubmissionUnknown):  # those are looked up once more
                result = await (caller.wait if record.state == "done" else caller.resume)(record.id)
                assert result.path.read_bytes() == (mp4() if record.operation == "generate_video" else png())
        return list(await caller.jobs()), Counter(str(fields["prompt"]) for fields in service.submits)


def check(records: list[CallRecord], submits: Counter[str], *, jobs: int, kills: int, can_list: bool) -> None:
    assert len(records) == jobs
    assert max(submits.values()) == 1  # nothing was bought twice
    assert all(submits[str(record.request["prompt"])] == 1 for record in records if record.state == "done")
    assert {record.state for record in records} <= {"done", "unknown"}
    unknown = [record for record in records if record.state == "unknown"]
    assert len(unknown) <= 4 * kills  # at most what the dead workers had in hand
    for record in unknown if can_list else ():  # the provider has none that it lists
        assert record.operation == "generate_image" or submits[str(record.request["prompt"])] == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("trouble", "can_list"), [("nothing else", False), ("nothing else", True), ("server killed", True), ("clocks wrong", True)]
)
async def test_workers_killed_with_their_disks_buy_nothing_twice_and_deliver_the_rest(
    tmp_path: Path, trouble: Trouble, can_list: bool
) -> None:
    records, submits = await killed(tmp_path, jobs=30, kills=6, seed=11, can_list=can_list, trouble=trouble)
    check(records, submits, jobs=30, kills=6, can_list=can_list)


@pytest.mark.soak
@pytest.mark.parametrize("trouble", ["nothing else", "server killed", "clocks wrong"])
@pytest.mark.parametrize("seed", range(5))
async def test_workers_killed_a_hundred_times_buy_nothing_twice_and_deliver_the_rest(tmp_path: Path, seed: int, trouble: Trouble) -> None:
    records, submits = await killed(tmp_path, jobs=100, kills=20, seed=seed, can_list=bool(seed % 2), trouble=trouble)
    check(records, submits, jobs=100, kills=20, can_list=bool(seed % 2))
    states = Counter(record.state for record in records)
    bought = sum(submits[str(record.request["prompt"])] for record in records if record.state == "unknown")
    print(f"{trouble}: {dict(states)}, {sum(submits.values())} submits, {bought} of unknown outcome")
