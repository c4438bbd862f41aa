"""Waiting for a call that another router is processing: notified within one process, with growing pauses between processes."""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService, mp4
from core.routing import fake_router, fake_settings, until

from anymedia import GenerateVideo, SqliteStore
from anymedia.execution.lease import LEASE_SECONDS, kept_until_end
from anymedia.state.store import CallRecord

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


class CountingStore(SqliteStore):
    """Counts what a waiter asks the store."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: Counter[str] = Counter()

    async def get(self, call_id: str) -> CallRecord | None:
        self.asked["get"] += 1
        return await super().get(call_id)

    async def claim(self, call_id: str, **options: Any) -> CallRecord | None:
        self.asked["claim"] += 1
        return await super().claim(call_id, **options)


async def test_waiter_in_the_same_process_is_notified_and_does_not_poll_the_store(tmp_path: Path) -> None:
    with FakeService(looks=10**6) as service:
        settings = fake_settings(service, state=tmp_path)
        waiting = CountingStore(tmp_path / "state.db")
        async with (
            fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as first,
            fake_router(service, settings=settings, store=waiting) as second,
        ):
            job = (await first.submit(GenerateVideo(prompt="waves"))).id
            results = [asyncio.create_task(second.wait(job)) for _ in range(3)]
            await until(lambda: waiting.asked["claim"])
            checks, asked = service.http.count("GET /videos"), waiting.asked.copy()
            await until(lambda: service.http.count("GET /videos") > checks + 20)
            assert waiting.asked == asked
            for each in service.jobs.values():
                each["left"] = 0
            assert {(await result).path.read_bytes() for result in results} == {mp4()}
            assert len(service.submits) == 1


async def test_waiter_on_another_event_loop_is_notified(tmp_path: Path) -> None:
    with FakeService(looks=10**6) as service:
        settings = fake_settings(service, state=tmp_path)
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as first:
            job = (await first.submit(GenerateVideo(prompt="waves"))).id
            found: list[Any] = []

            async def elsewhere() -> None:
                async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as second:
                    found.append(await second.wait(job))

            thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            thread.start()
            checks = service.http.count("GET /videos")
            await until(lambda: service.http.count("GET /videos") > checks + 5)
            for each in service.jobs.values():
                each["left"] = 0
            await until(lambda: not thread.is_alive())
            assert found[0].path.read_bytes() == mp4()


async def test_call_of_another_process_is_not_kept_in_this_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    assert not await kept_until_end(store, "job_1", LEASE_SECONDS)
    assert store.identity == SqliteStore(tmp_path / "x" / ".." / "state.db").identity


async def test_waiter_whose_deadline_passes_first_says_who_is_processing_the_job(tmp_path: Path) -> None:
    with FakeService(looks=10**6) as service:
        settings = fake_settings(service, state=tmp_path)
        async with (
            fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as first,
            fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as second,
        ):
            job = (await first.submit(GenerateVideo(prompt="waves"))).id
            with pytest.raises(Exception, match=f"still processing {job}"):
                await second.wait(job, deadline=0.1)
