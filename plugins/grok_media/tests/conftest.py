"""A fake of xAI on the loopback, and routers pointed at it."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clocks import FastClock
from wire.grok_server import KEY, GrokServer

from anymedia.policy import Policy
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import loaded_registry

NewRouter = Callable[..., Router]


@pytest.fixture
def fake() -> Iterator[GrokServer]:
    with GrokServer() as server:
        yield server


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


@pytest.fixture
def new_router(fake: GrokServer, clock: FastClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewRouter:
    monkeypatch.setenv("XAI_API_KEY", KEY)

    def make(*, retries: int = 0, on_progress: Any = None, **options: Any) -> Router:
        """Make a router; its store is a file, so that one router can resume what another left."""
        places = {"base_url": fake.base_url, "options": {"grpc_host": fake.host, **options}}
        own = InstanceSettings(name="grok", plugin="grok", **places)  # type: ignore[arg-type]
        settings = Settings(instances={"grok": own}, fetch_allow=("127.0.0.1",), state_dir=tmp_path / "state")
        return Router(
            settings=settings,
            registry=loaded_registry(),
            today=lambda: datetime.date(2026, 11, 21),
            policy=Policy(retries=retries),
            clock=clock,
            on_progress=on_progress,
        )

    return make


@pytest.fixture
async def router(new_router: NewRouter) -> AsyncIterator[Router]:
    async with new_router() as made:
        yield made
