"""A fake of OpenRouter on the loopback, and real routers over it: by the shipped rows, or by a snapshot taken from the fake."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clocks import FastClock
from wire.openrouter_server import KEY, OpenRouterServer
from wire.openrouter_snapshot import refresh

from anymedia.policy import Policy
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import loaded_registry

NewRouter = Callable[..., Router]


@pytest.fixture
def fake() -> Iterator[OpenRouterServer]:
    with OpenRouterServer() as server:
        yield server


@pytest.fixture
def no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "no-cache"))


@pytest.fixture(scope="session")
def snapshot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a snapshot of everything the fake lists."""
    folder = tmp_path_factory.mktemp("refreshed")
    with OpenRouterServer() as server:
        told = refresh(server, folder)
    assert told.code == 0, told.err
    return folder / "cache"


@pytest.fixture
def snapshot(snapshot_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMEDIA_CACHE", str(snapshot_folder))


@pytest.fixture
def new_router(fake: OpenRouterServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewRouter:
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)

    def make(*, today: datetime.date | None = None, base_url: str | None = None, retries: int = 0, **more: Any) -> Router:
        own = InstanceSettings(name="openrouter", plugin="openrouter", base_url=base_url or fake.base_url, **more)
        # Its store is a file, so that one router can resume what another left.
        settings = Settings(instances={"openrouter": own}, state_dir=tmp_path / "state", fetch_allow=("127.0.0.1",))
        day = today or datetime.datetime.now(datetime.UTC).date()
        return Router(settings=settings, registry=loaded_registry(), today=lambda: day, policy=Policy(retries=retries), clock=FastClock())

    return make


@pytest.fixture
async def router(new_router: NewRouter, no_snapshot: None) -> AsyncIterator[Router]:
    """A router that plans by the shipped rows."""
    async with new_router(today=datetime.date(2026, 11, 21)) as made:
        yield made


@pytest.fixture
async def fresh(new_router: NewRouter, snapshot: None) -> AsyncIterator[Router]:
    """A router that plans by a snapshot taken from the fake."""
    async with new_router() as made:
        yield made
