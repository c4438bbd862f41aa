"""One router used on several event loops, after each other and at the same time in threads, and in a forked child."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService, mp4
from core.routing import FastClock, fake_registry, fake_settings

from anymedia import BackendTimeout, GenerateVideo, Result, Router, SqliteStore, SyncRouter
from anymedia.errors import JobCancelled

pytestmark = pytest.mark.usefixtures("fake_key")


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService(looks=10**6) as service:
        yield service


@pytest.fixture
def router(service: FakeService, tmp_path: Path) -> Router:
    store = SqliteStore(tmp_path / "state.db")
    return Router(settings=fake_settings(service, state=tmp_path), registry=fake_registry(), store=store, clock=FastClock())


def finish(service: FakeService) -> None:
    for job in service.jobs.values():
        job["left"] = 0
    service.looks = 0


def in_thread(work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[threading.Thread, list[Any]]:
    """Start work on an event loop of its own; return the thread, and what it returned or raised."""
    ended: list[Any] = []

    async def guarded() -> None:
        try:
            ended.append(await work())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=asyncio.run, args=(guarded(),), daemon=True)
    thread.start()
    return thread, ended


def wait_for(ready: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < limit
        time.sleep(0.005)


def started(service: FakeService, router: Router) -> tuple[str, threading.Thread, list[Any]]:
    """Start a job in a thread; return its id, the thread and what it will return."""
    thread, ended = in_thread(lambda: router.generate_video(prompt="waves"))
    wait_for(lambda: service.http.count("GET /videos"))
    return asyncio.run(router.jobs())[0].id, thread, ended


def test_job_of_an_event_loop_that_ended_is_resumed_on_the_next_one(service: FakeService, router: Router) -> None:
    job = asyncio.run(router.submit(GenerateVideo(prompt="waves"))).id
    finish(service)
    assert asyncio.run(router.wait(job)).path.read_bytes() == mp4()
    asyncio.run(router.aclose())
    assert len(service.submits) == 1


def test_connections_of_an_event_loop_end_with_it(service: FakeService, router: Router) -> None:
    finish(service)
    for prompt in ("waves", "a lake", "a hill"):
        asyncio.run(router.generate_video(prompt=prompt))
        assert not router._engine.clients._made
        assert not router._engine.fetcher._sessions
    asyncio.run(router.aclose())


def test_router_with_a_job_of_an_event_loop_that_ended_can_be_closed(service: FakeService, router: Router) -> None:
    asyncio.run(router.submit(GenerateVideo(prompt="waves")))
    asyncio.run(router.aclose())


def test_event_loop_that_ends_waits_until_the_calls_of_its_runs_are_closed(
    service: FakeService, router: Router, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, closed = router.store.run, []

    async def read_slowly(run: str) -> Any:
        await asyncio.sleep(0.1)
        closed.append(run)
        return await read(run)

    async def work() -> str:
        job = (await router.submit(GenerateVideo(prompt="waves"))).id
        monkeypatch.setattr(router.store, "run", read_slowly)
        return job

    job = asyncio.run(work())
    gc.collect()
    assert closed == [job] and not caplog.records
    asyncio.run(router.aclose())


@pytest.mark.parametrize("method", ["wait", "resume"])
def test_job_of_another_thread_can_be_waited_for(service: FakeService, router: Router, method: str) -> None:
    job, thread, ended = started(service, router)
    second, found = in_thread(lambda: getattr(router, method)(job))
    checks = service.http.count("GET /videos")
    wait_for(lambda: service.http.count("GET /videos") > checks + 5)
    finish(service)
    second.join(60)
    thread.join(60)
    assert found[0].path == ended[0].path
    asyncio.run(router.aclose())
    assert len(service.submits) == 1


def test_deadline_of_a_wait_for_a_job_of_another_thread_ends_only_that_wait(service: FakeService, router: Router) -> None:
    job, thread, ended = started(service, router)
    with pytest.raises(BackendTimeout):
        asyncio.run(router.wait(job, deadline=0.05))
    finish(service)
    thread.join(60)
    assert ended[0].path.read_bytes() == mp4()
    asyncio.run(router.aclose())


def test_job_of_another_thread_can_be_cancelled(service: FakeService, router: Router) -> None:
    job, thread, ended = started(service, router)
    assert asyncio.run(router.cancel(job)).state == "cancelled"
    thread.join(60)
    assert isinstance(ended[0], JobCancelled)
    asyncio.run(router.aclose())


def test_closing_leaves_the_job_of_another_thread_to_be_resumed(service: FakeService, router: Router) -> None:
    job, thread, ended = started(service, router)
    asyncio.run(router.aclose())
    thread.join(60)
    assert isinstance(ended[0], BackendTimeout)
    assert ended[0].job_id == job


def test_wait_ends_with_the_event_loop_of_the_job_and_the_job_is_resumed_on_another(service: FakeService, router: Router) -> None:
    leave = threading.Event()

    async def first() -> None:
        await router.submit(GenerateVideo(prompt="waves"))
        while not leave.is_set():
            await asyncio.sleep(0.005)

    thread, _ = in_thread(first)
    wait_for(lambda: service.http.count("GET /videos"))
    job = asyncio.run(router.jobs())[0].id
    second, found = in_thread(lambda: router.resume(job))
    checks = service.http.count("GET /videos")
    wait_for(lambda: service.http.count("GET /videos") > checks + 5)
    leave.set()
    thread.join(60)
    finish(service)
    second.join(60)
    assert isinstance(found[0], BackendTimeout | Result)  # depending on what the loop has ended first
    assert asyncio.run(router.resume(job)).path.read_bytes() == mp4()
    asyncio.run(router.aclose())
    assert len(service.submits) == 1


def test_requests_with_one_key_in_several_threads_start_one_run(service: FakeService, router: Router) -> None:
    finish(service)
    threads = [in_thread(lambda: router.generate_video(prompt="waves", key="order 1")) for _ in range(6)]
    for thread, _ in threads:
        thread.join(60)
    assert {found[0].job_id for _, found in threads} == {service.submits[0]["label"]}
    asyncio.run(router.aclose())
    assert len(service.submits) == 1


def test_forked_child_leaves_the_connections_of_its_parent_open(
    service: FakeService, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        job = (await router.submit(GenerateVideo(prompt="waves"))).id
        clients, pid = router._engine.clients, os.getpid()
        opened = [made.client for made in clients._made.values()]
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: pid + 1)
            await clients.close_idle(also_used=True)
            await clients.aclose()
        assert opened and not any(client.closed for client in opened)
        finish(service)
        await router.wait(job)
        await router.aclose()
        assert all(client.closed for client in opened)

    asyncio.run(work())


def test_sync_router_in_a_forked_child_refuses_at_once(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    with SyncRouter(settings=fake_settings(service, state=tmp_path), registry=fake_registry()) as router:
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: pid + 1)
            with pytest.raises(RuntimeError, match="forked"):
                router.jobs()
            router.close()
        assert list(router.jobs()) == []


@pytest.mark.anyio
async def test_stream_that_is_left_when_the_router_closes_logs_nothing(
    service: FakeService, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    stream = router.stream(GenerateVideo(prompt="waves"))
    await anext(stream)
    inner = [task for task in asyncio.all_tasks() if "_execute" in repr(task.get_coro())]
    await router.aclose()
    await asyncio.wait(inner)
    await stream.aclose()
    del stream, inner
    gc.collect()
    assert not caplog.records
