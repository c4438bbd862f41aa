"""Workers killed with their disks: by the provider's own count nothing is bought twice, and all but unknown outcomes is delivered."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import psycopg
import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import fake_router, fake_settings

from anymedia import GenerateImage, GenerateVideo, Router
from anymedia.errors import SubmissionUnknown
from anymedia.state.store import FINAL_STATES, CallRecord

CHILD = Path(__file__).with_name("worker_child.py")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


@attrs.define
class Fleet:
    """Worker processes with a directory each; a dead one's directory is gone, and its leases have run out."""

    words: tuple[str, ...]
    store: str
    folder: Path
    alive: list[tuple[subprocess.Popen[bytes], Path]] = attrs.field(factory=list)
    started: int = 0

    def start(self) -> None:
        self.started += 1
        own = self.folder / f"worker-{self.started}"
        self.alive.append((subprocess.Popen([sys.executable, str(CHILD), str(own), *self.words]), own))

    def kill(self, number: int) -> None:
        worker, own = self.alive.pop(number)
        worker.kill()
        worker.wait()
        shutil.rmtree(own, ignore_errors=True)
        with psycopg.connect(self.store, autocommit=True) as connection:
            connection.execute("UPDATE calls SET lease_until = 0 WHERE owner LIKE %s", (f"{worker.pid}-%",))

    def close(self) -> None:
        while self.alive:
            self.kill(0)


async def ended(router: Router) -> list[CallRecord]:
    """Wait until no worker has anything left to do; return the records."""
    async with asyncio.timeout(240):
        while True:
            records = await router.jobs()
            if all(record.state in FINAL_STATES or (record.state == "unknown" and record.owner is None) for record in records):
                return list(records)
            await asyncio.sleep(0.1)


async def killed(tmp_path: Path, *, jobs: int, kills: int, seed: int, can_list: bool) -> tuple[list[CallRecord], Counter[str]]:
    """Have three workers carry out jobs while they are killed one after the other; return the records and the provider's count."""
    import postgres

    url, storage, chance = postgres.server().new(), f"file://{tmp_path}/storage", random.Random(seed)
    with FakeService(looks=3) as service:
        words = (url, storage, service.http.url, service.files.url, *(["can_list"] if can_list else []))
        fleet = Fleet(words, url, tmp_path)
        settings = fake_settings(service, state=tmp_path / "caller")
        async with fake_router(service, settings=settings, store=url, artifacts=storage, workers=True) as caller:
            try:
                for _ in range(3):
                    await asyncio.to_thread(fleet.start)
                for number in range(jobs):
                    request = GenerateVideo(prompt=f"job {number}") if number % 3 else GenerateImage(prompt=f"job {number}")
                    await caller.submit(request)
                for _ in range(kills):
                    seen = len(service.http.received)
                    async with asyncio.timeout(240):
                        while len(service.http.received) == seen and {r.state for r in await caller.jobs()} - FINAL_STATES - {"unknown"}:
                            await asyncio.sleep(0.005)
                    await asyncio.sleep(chance.random() * 0.1)
                    await asyncio.to_thread(fleet.kill, chance.randrange(3))
                    await asyncio.to_thread(fleet.start)
                records = await ended(caller)
            finally:
                await asyncio.to_thread(fleet.close)
            for record in records:
                if record.state == "done":
                    result = await caller.wait(record.id)
                    assert result.path.read_bytes() == (mp4() if record.operation == "generate_video" else png())
                else:
                    with pytest.raises(SubmissionUnknown):
                        await caller.wait(record.id)
        return records, Counter(str(fields["prompt"]) for fields in service.submits)


def check(records: list[CallRecord], submits: Counter[str], jobs: int, kills: int) -> None:
    assert len(records) == jobs
    assert max(submits.values()) == 1  # nothing was bought twice
    assert all(submits[str(record.request["prompt"])] == 1 for record in records if record.state == "done")
    unknown = [record for record in records if record.state == "unknown"]
    assert {record.state for record in records} <= {"done", "unknown"}
    assert len(unknown) <= 4 * kills  # at most what the dead workers had in hand


@pytest.mark.exhaustive
@pytest.mark.parametrize("can_list", [False, True])
async def test_workers_killed_with_their_disks_buy_nothing_twice_and_deliver_the_rest(tmp_path: Path, can_list: bool) -> None:
    records, submits = await killed(tmp_path, jobs=30, kills=6, seed=11, can_list=can_list)
    check(records, submits, 30, 6)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
async def test_workers_killed_a_hundred_times_buy_nothing_twice_and_deliver_the_rest(tmp_path: Path, seed: int) -> None:
    records, submits = await killed(tmp_path, jobs=100, kills=20, seed=seed, can_list=bool(seed % 2))
    check(records, submits, 100, 20)
    print(Counter(record.state for record in records), f"{sum(submits.values())} submits")
