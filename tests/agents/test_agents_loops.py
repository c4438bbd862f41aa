"""Routers end with their event loop, and a submit in flight completes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_registry, fake_settings, until

from anymedia import Router, SqliteStore
from anymedia.agents import api as module
from anymedia.agents import close_media, generate_media, generate_media_sync, media_job_sync


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeService) -> Path:
    """The functions' own routers, over the fake backend and one journal."""
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    settings = fake_settings(service, state=tmp_path / "state")

    def router(**more: Any) -> Router:
        return Router(settings=settings, registry=fake_registry(), store=SqliteStore(tmp_path / "state.db"), **more)

    monkeypatch.setattr(module, "Router", router)
    return tmp_path


def test_close_waits_for_a_submit_in_flight(home: Path, service: FakeService) -> None:
    service.http.fail("delay", on="POST /images", times=2, seconds=0.5)

    async def whole() -> dict[str, Any]:
        job = await generate_media(prompt="a fox", output_path="fox.png", wait=False)
        await close_media()
        return job

    assert asyncio.run(whole())["success"] is True
    assert (home / "fox.png").exists()
    job = generate_media_sync(prompt="a fox", output_path="other.png", wait=False)
    assert (home / "other.png").exists()
    assert media_job_sync(job["job_id"])["files"]
    assert len(service.submits) == 2


def test_close_during_a_new_call_does_not_disturb_it(home: Path, service: FakeService) -> None:
    service.http.fail("delay", on="POST /images", times=1, seconds=0.5)

    async def whole() -> dict[str, Any]:
        await generate_media(prompt="slow", wait=False)
        closing = [asyncio.create_task(close_media()) for _ in range(2)]
        await until(lambda: service.submits)
        made = await generate_media(prompt="a fox", output_path="fox.png")
        await asyncio.gather(*closing)
        again = await generate_media(prompt="on", continue_from=made["continuation_id"])
        assert again["success"], again
        return made

    assert asyncio.run(whole())["success"] is True
    assert module._routers == {}


def test_routers_of_closed_loops_are_dropped() -> None:
    for number in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(generate_media(prompt=f"fox {number}"))["success"]
        loop.run_until_complete(_clients_closed(loop))
        loop.close()
    assert len(module._routers) == 1
    asyncio.run(generate_media(prompt="the last"))
    assert module._routers == {}


async def _clients_closed(loop: asyncio.AbstractEventLoop) -> None:
    """Close what would complain; the router itself stays as it is."""
    await module._routers[loop][0]._engine.clients.aclose()
