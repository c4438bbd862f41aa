"""Calls of other processes: waiters share a query, PostgreSQL wakes them at once, and a cancel reaches the process that has the call."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from blocking_store import store_at
from core.fake_service import FakeService, mp4
from core.routing import fake_router, fake_settings, until
from state_samples import new_call

from anymedia import GenerateVideo
from anymedia.clock import SystemClock
from anymedia.errors import JobCancelled, RequestError
from anymedia.execution import lease, resume
from anymedia.execution.lease import CallWatcher
from anymedia.policy import Budget

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the routers of a test wait for each other as those of two processes do."""

    async def not_kept(*_: Any) -> bool:
        return False

    monkeypatch.setattr(resume, "kept_until_end", not_kept)


class SteppedClock(SystemClock):
    """A clock whose pauses last until the test ends them; ``pauses`` tells how long each would have been."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.turn = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.turn.wait()
        self.turn.clear()


async def test_thousand_waiters_share_a_query(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = store_at(place), SteppedClock()
    records = [await store.open_call(new_call(f"c{i}"), Budget(), owner="another", lease_seconds=60) for i in range(4)]
    watcher, asked = CallWatcher(store, clock), []
    database: Any = store._database
    for name in ("read", "write"):
        operation = getattr(database, name)
        monkeypatch.setattr(database, name, lambda work, operation=operation, **more: asked.append(work) or operation(work, **more))
    waiting = [asyncio.create_task(watcher.wait(f"c{i % 4}")) for i in range(1000)]
    for queries in range(4):
        await until(lambda expected=queries + 1: len(clock.pauses) == expected)
        assert len(asked) == queries
        assert not any(task.done() for task in waiting)
        clock.turn.set()
    longest = 2.0 if isinstance(place, Path) else 10.0
    assert clock.pauses == [min(0.5 * 2**n, longest) for n in range(4)]
    for record in records:
        await store.advance(record.lease, "failed")
    async with asyncio.timeout(60):
        while not all(task.done() for task in waiting):
            clock.turn.set()
            await asyncio.sleep(0.005)
    await asyncio.gather(*waiting)
    await watcher.close()
    await store.aclose()


@pytest.mark.exhaustive
async def test_waiter_is_woken_by_a_notice_of_the_other_process_without_a_query(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(place, Path):
        return  # SQLite passes no notices on
    monkeypatch.setattr(lease, "_FIRST_PAUSE", 3600.0)
    store, other = store_at(place), store_at(place)
    record = await store.open_call(new_call(), Budget(), owner="another", lease_seconds=60)
    watcher, heard = CallWatcher(store, SystemClock()), []
    stop = store.listen(heard.append)
    assert stop is not None
    while not heard:  # until the connection listens
        await other.notify("hello")
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(watcher.wait(record.id))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    before = watcher.heard
    await other.release(record.lease)
    async with asyncio.timeout(60):
        await waiting
        await watcher.wait(record.id, since=before)  # it came while the call was read
    waiting = asyncio.create_task(watcher.wait(record.id, since=watcher.heard))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()
    stop()
    await watcher.close()
    for each in (store, other):
        await each.aclose()


async def test_waiter_stops_at_its_deadline_and_wakes_for_a_deleted_call(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = store_at(place), SystemClock()
    record = await store.open_call(new_call(), Budget(), owner="another", lease_seconds=60)
    watcher = CallWatcher(store, clock)
    async with asyncio.timeout(60):
        await watcher.wait(record.id, clock.steady() + 0.05)
        await watcher.wait("deleted")
    await watcher.close()
    await store.aclose()


async def test_cancel_reaches_the_process_that_has_the_call_where_notices_are_passed_on(place: Path | str, tmp_path: Path) -> None:
    with FakeService(looks=10**6) as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with (
            fake_router(service, settings=settings, store=store_at(place), clock=SystemClock()) as first,
            fake_router(service, settings=settings, store=store_at(place), clock=SystemClock()) as second,
        ):
            job = (await first.submit(GenerateVideo(prompt="waves"))).id
            if isinstance(place, Path):
                with pytest.raises(RequestError, match="another process is processing"):
                    await second.cancel(job)
                return
            waiting = asyncio.create_task(second.wait(job))
            await until(lambda: bool(second._engine.watcher._waiting))
            assert (await second.cancel(job)).state == "cancelled"
            with pytest.raises(JobCancelled):
                await first.wait(job)
            with pytest.raises(JobCancelled):
                await waiting
            assert len(service.submits) == 1


@pytest.mark.exhaustive
async def test_cancel_is_asked_for_once_and_carried_out_once_whatever_else_is_heard(
    place: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(place, Path):
        return
    monkeypatch.setattr(resume, "_ASK_SECONDS", 60.0)
    with FakeService(looks=10**6) as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with (
            fake_router(service, settings=settings, store=store_at(place), clock=SystemClock()) as first,
            fake_router(service, settings=settings, store=store_at(place), clock=SystemClock()) as second,
        ):
            record = await first.submit(GenerateVideo(prompt="waves"))
            handle, asked, loop = service.http._handler, list[str](), asyncio.get_running_loop()
            hears = ((second._engine.watcher, f"free {record.id}"), (first._engine.watcher, f"cancel {record.run}"))

            def answer(request: Any) -> Any:
                if request.method == "DELETE":  # notices of other changes arrive meanwhile, and the same notice again
                    for watcher, notice in hears * 10:
                        loop.call_soon_threadsafe(watcher._take, notice)
                    time.sleep(0.2)
                return handle(request)

            async def counted(notice: str, notify: Any = second.store.notify) -> bool:
                asked.append(notice)
                return bool(await notify(notice))

            monkeypatch.setattr(service.http, "_handler", answer)
            monkeypatch.setattr(second.store, "notify", counted)
            assert (await second.cancel(record.id)).state == "cancelled"
            assert asked == [f"cancel {record.run}"]
            assert service.cancelled == ["vid-1"]


@pytest.mark.exhaustive
async def test_result_of_another_process_is_delivered_to_its_waiters(place: Path | str, tmp_path: Path) -> None:
    with FakeService(looks=10**6) as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with (
            fake_router(service, settings=settings, store=store_at(place)) as first,
            fake_router(service, settings=settings, store=store_at(place)) as second,
        ):
            job = (await first.submit(GenerateVideo(prompt="waves"))).id
            results = [asyncio.create_task(second.wait(job)) for _ in range(3)]
            await until(lambda: bool(second._engine.watcher._waiting))
            for each in service.jobs.values():
                each["left"] = 0
            assert {(await result).path.read_bytes() for result in results} == {mp4()}
            assert len(service.submits) == 1
