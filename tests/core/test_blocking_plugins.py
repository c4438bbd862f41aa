"""Plugins that block: work in threads of their instance, and a warning that names a hook that holds the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from core import fake_backend
from core.fake_service import FakeService, png
from core.routing import KEY, fake_router, fake_settings, served

from anymedia import Context, Outcome, Piece, Progress, Router, hookimpl
from anymedia.errors import BackendTimeout
from anymedia.plugins import registry as module
from anymedia.plugins.registry import Registry
from anymedia.requests import GenerateImage

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)


@asynccontextmanager
async def blocking_router(work: Any, service: FakeService, state: Path, declared: Any = None, **limits: Any) -> AsyncIterator[Router]:
    @hookimpl
    async def generate_image(request: GenerateImage, context: Context) -> Outcome:
        async with context.submission():
            return Outcome(pieces=(Piece(data=await work(context), mime="image/png"),))

    plugin = fake_backend.as_module()
    plugin.generate_image = generate_image  # type: ignore[attr-defined]
    if declared is not None:
        matrix = attrs.evolve(fake_backend.capabilities(), max_concurrent=declared)
        plugin.capabilities = hookimpl(lambda: matrix)  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("fake", plugin)
    settings = fake_settings(service, state=state)
    own = attrs.evolve(settings.instances["fake"], **limits)
    async with fake_router(service, settings=attrs.evolve(settings, instances={"fake": own}), registry=registry) as router:
        yield router


@pytest.mark.parametrize(("declared", "configured", "expected"), [(None, 1, 1), (1, None, 1), (1, 3, 3)])
async def test_run_blocking_of_one_gpu_runs_one_function_at_a_time(
    tmp_path: Path, declared: int | None, configured: int | None, expected: int
) -> None:
    running, highest, lock = 0, 0, threading.Lock()

    def pipeline(width: int, *, height: int) -> bytes:
        nonlocal running, highest
        assert not _has_loop()
        with lock:
            running += 1
            highest = max(highest, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return png(width, height)

    async def work(context: Context) -> bytes:
        return await context.run_blocking(pipeline, 64, height=48)

    with served() as service:
        async with blocking_router(work, service, tmp_path, declared, max_concurrent=configured) as router:
            assert router.instances["fake"].max_concurrent == expected
            made = await asyncio.gather(*(router.generate_image(prompt="a fox", output=f"{tmp_path}/{i}.png") for i in range(4)))
    assert [result.path.read_bytes() for result in made] == [png()] * 4
    assert highest <= expected


async def test_progress_from_a_thread_arrives_in_the_event_loop_and_in_order(tmp_path: Path) -> None:
    heard: list[tuple[float | None, str, int]] = []

    def pipeline(context: Context) -> bytes:
        for step in range(5):
            context.progress(step / 4, f"step {step}")
        return png()

    async def work(context: Context) -> bytes:
        return await context.run_blocking(pipeline, context)

    def listen(progress: Progress) -> None:
        if progress.event == "progress":
            heard.append((progress.fraction, progress.note, threading.get_ident()))

    with served() as service:
        async with blocking_router(work, service, tmp_path) as router:
            await router.execute(GenerateImage(prompt="a fox"), on_progress=listen)
    assert heard == [(step / 4, f"step {step}", threading.get_ident()) for step in range(5)]


async def test_pipeline_that_sends_nothing_is_not_charged_at_a_deadline(tmp_path: Path) -> None:
    proceed = threading.Event()

    @hookimpl
    async def generate_image(request: GenerateImage, context: Context) -> Outcome:
        await context.run_blocking(proceed.wait, 60)
        return Outcome(pieces=(Piece(data=png()),))

    plugin = fake_backend.as_module()
    plugin.generate_image = generate_image  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("fake", plugin)
    with served() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path), registry=registry) as router:
            with pytest.raises(BackendTimeout, match="the deadline passed; nothing was sent, and nothing was spent") as late:
                await router.execute(GenerateImage(prompt="a fox"), deadline=0.05)
            assert (late.value.charged, [record.state for record in await router.jobs()]) == ("no", ["failed"])
            proceed.set()


async def test_run_blocking_is_cancelled_without_waiting_for_the_function(tmp_path: Path) -> None:
    begun, proceed = threading.Event(), threading.Event()

    def pipeline() -> bytes:
        begun.set()
        proceed.wait(60)
        return png()

    with served() as service:
        async with blocking_router(lambda context: context.run_blocking(pipeline), service, tmp_path) as router:
            task = asyncio.create_task(router.generate_image(prompt="a fox", output=f"{tmp_path}/fox.png"))
            await asyncio.to_thread(begun.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [record.state for record in await router.jobs()] == ["unknown"]
            proceed.set()


async def test_run_blocking_raises_the_error_of_the_function() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Context(backend="fake").run_blocking(broken)


async def test_hook_that_blocks_the_event_loop_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_BLOCKING", 0.05)

    async def work(context: Context) -> bytes:
        time.sleep(0.06)  # noqa: ASYNC251 - what is tested
        return png()

    with served() as service, caplog.at_level(logging.WARNING, "anymedia"):
        async with blocking_router(work, service, tmp_path) as router:
            for number in range(2):
                await router.generate_image(prompt="a fox", output=f"{tmp_path}/{number}.png")
    (said,) = [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]
    assert said.startswith("backend 'fake' blocked the event loop for 0.")
    assert "in generate_image" in said
    assert "context.run_blocking" in said


async def test_watched_hook_handles_a_cancellation_itself() -> None:
    async def hook() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "handled"
        return "slept"

    registry = Registry()
    task = asyncio.create_task(_awaiting(registry._watched(hook(), "fake", "hook")))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "handled"


async def _awaiting(work: Any) -> Any:
    return await work


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
