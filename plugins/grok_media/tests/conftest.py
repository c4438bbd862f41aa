"""A fake of xAI on the loopback, and routers pointed at it."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from wire.grok_server import KEY, GrokServer

from anymedia.plugins.registry import discover
from anymedia.policy import Policy
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings

NewRouter = Callable[..., Router]


@attrs.define
class FastClock:
    """The machine's clock, set ahead by ``ahead`` seconds; a pause takes a hundredth of a second at most."""

    ahead: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def steady(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


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
        """Make a router; its store is a file, so that one router may take up what another left."""
        places = {"base_url": fake.base_url, "options": {"grpc_host": fake.host, **options}}
        own = InstanceSettings(name="grok", plugin="grok", **places)  # type: ignore[arg-type]
        settings = Settings(instances={"grok": own}, fetch_allow=("127.0.0.1",), state_dir=tmp_path / "state")
        return Router(
            settings=settings,
            registry=discover(),
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
