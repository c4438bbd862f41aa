"""A router over the fake backend and the fake service, with a throw-away or a durable store."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from clocks import FastClock
from clocks import in_state as in_state
from clocks import until as until  # for the tests of the core
from core import fake_backend
from core.fake_service import FakeService

from anymedia import Policy, Router, SqliteStore
from anymedia.plugins.registry import Registry
from anymedia.settings import InstanceSettings, Settings

KEY = "fake-key-0123456789"


def fake_settings(service: FakeService | str, *, state: Path | None = None, **options: Any) -> Settings:
    url = service if isinstance(service, str) else service.http.url
    own = InstanceSettings(name="fake", plugin="fake", base_url=url, options=options)
    allow = ("127.0.0.1",) if isinstance(service, str) else (f"127.0.0.1:{service.files.port}",)
    extra = {} if state is None else {"state_dir": state}
    return Settings(instances={"fake": own}, fetch_allow=allow, **extra)  # type: ignore[arg-type]


def fake_registry(*names: str) -> Registry:
    registry = Registry()
    for name in names or ("fake",):
        registry.register(name, fake_backend.as_module(name))
    return registry


@contextlib.asynccontextmanager
async def fake_router(service: FakeService | str, *, policy: Policy | None = None, **more: Any) -> AsyncIterator[Router]:
    options = more.pop("options", {})
    settings = more.pop("settings", None) or fake_settings(service, **options)
    more.setdefault("clock", FastClock())
    more.setdefault("store", SqliteStore(clock=more["clock"].now))
    router = Router(settings=settings, registry=more.pop("registry", None) or fake_registry(), policy=policy, **more)
    async with router:
        yield router


@contextlib.contextmanager
def served(**options: Any) -> Iterator[FakeService]:
    with FakeService(**options) as service:
        yield service
