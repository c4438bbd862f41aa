"""A fake of fal on the loopback, and real routers over it."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from clocks import FastClock
from wire.fal_server import KEY, FalServer

from anymedia.policy import Policy
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import loaded_registry


@pytest.fixture
def fake() -> Iterator[FalServer]:
    with FalServer() as server:
        yield server


@pytest.fixture
def notes() -> list[str]:
    """What a router reports while a job runs."""
    return []


@pytest.fixture
def new_router(fake: FalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> Callable[[], Router]:
    """Return a function that makes a router, by the snapshot in ``cache`` if a refresh has left one there."""
    monkeypatch.setenv("FAL_KEY", KEY)
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    own = InstanceSettings(name="fal", plugin="fal", base_url=fake.url)
    settings = Settings(instances={"fal": own}, state_dir=tmp_path / "state", fetch_allow=("127.0.0.1",))

    def make() -> Router:
        return Router(
            settings=settings,
            registry=loaded_registry(),
            today=lambda: datetime.date(2026, 11, 30),
            policy=Policy(retries=0),
            clock=FastClock(),
            on_progress=lambda progress: notes.append(progress.note),
        )

    return make


@pytest.fixture
async def router(new_router: Callable[[], Router]) -> AsyncIterator[Router]:
    async with new_router() as made:
        yield made
