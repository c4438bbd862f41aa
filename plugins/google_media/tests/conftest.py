"""Google's two services on the loopback, and contexts as the core makes them for one hook call."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from clocks import FastClock
from wire.google_server import KEY, LOCATION, PROJECT, GoogleServer

from anymedia.capabilities import ModelSpec
from anymedia.context import Context, LoadedMedia
from anymedia.credentials import Secret
from anymedia.generation_config import GenerationConfig
from anymedia.media import Media
from anymedia.policy import Policy
from anymedia.requests import Mask, Operation, StoredFile
from anymedia.results import Result
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import loaded_registry
from google_media import plugin

MakeContext = Callable[..., Context]
MakeRouter = Callable[..., Router]
TODAY = datetime.date(2026, 11, 21)
_ENVIRONMENT = (
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENAI_API_VERSION",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDK reads by itself would change its mode and its keys."""
    for name in _ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake() -> Iterator[GoogleServer]:
    with GoogleServer() as server:
        yield server


def row_of(model: str, service: str) -> ModelSpec:
    rows = [r for r in plugin.capabilities().models if r.id == model]
    return next((r for r in rows if service in r.services), rows[0])


@pytest.fixture
async def make_context(fake: GoogleServer) -> AsyncIterator[MakeContext]:
    """Make a context for a model and an operation; SDK clients are kept by name and closed at the end."""
    made: dict[tuple[str, str, str], Any] = {}

    def make(
        model: str,
        operation: Operation | None = None,
        loaded: Mapping[Media | Mask | StoredFile, LoadedMedia] | None = None,
        *,
        service: str = "gemini",
        secrets: Mapping[str, str] | None = None,
        deadline: float | None = None,
        **settings: Any,
    ) -> Context:
        row = row_of(model, service)
        address = str(settings.setdefault("base_url", fake.url))
        given = {"api_key": KEY} if secrets is None else secrets

        def clients(name: str, factory: Callable[[], Any]) -> Any:
            kept = (name, address, f"{service} {sorted(given)}")
            if kept not in made:
                made[kept] = factory()
            return made[kept]

        return Context(
            backend="google",
            model=model,
            service=service,
            spec=row,
            operation=None if operation is None else row.operations.get(operation),
            billing=tuple(rule for rule in plugin.capabilities().billing if service in rule.services),
            settings=settings,
            secrets={name: Secret(value) for name, value in given.items()},
            loaded=loaded or {},
            clients=clients,
            deadline=deadline,
        )

    yield make
    for client in made.values():
        await client.aclose()


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


@pytest.fixture
def new_router(fake: GoogleServer, clock: FastClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRouter:
    """Make a Router with four instances: a Gemini key, Agent Platform, a platform that still has edit_image, and
    a third-party server that has it too."""
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    monkeypatch.setenv("OWN_KEY", KEY)
    place = {"project": PROJECT, "location": LOCATION}
    old: dict[str, Mapping[str, Any]] = {"imagen-3.0-capability-001": {"like": "imagen-3.0-capability-001"}}
    own = InstanceSettings(
        name="own",
        plugin="google",
        service="compatible",
        base_url=fake.url,
        credentials={"api_key": "OWN_KEY"},
        options={"mode": "agent_platform", **place},
        models=old,
    )
    key = {"api_key": "GOOGLE_API_KEY"}
    platform = {"plugin": "google", "service": "agent_platform", "base_url": fake.url, "options": place, "credentials": key}
    instances = {
        "google": InstanceSettings(name="google", plugin="google", service="gemini", base_url=fake.url),
        "cloud": InstanceSettings(name="cloud", **platform),
        "studio": InstanceSettings(name="studio", **platform, models=old),
        "own": own,
    }
    settings = Settings(instances=instances, state_dir=tmp_path / "state", fetch_allow=("127.0.0.1",))

    def make(policy: Policy | None = None, *, ahead: float = 0.0) -> Router:
        chosen, clock.ahead = policy or Policy(retries=0), ahead
        return Router(settings=settings, registry=loaded_registry(), today=lambda: TODAY, policy=chosen, clock=clock)

    return make


@pytest.fixture
async def router(new_router: MakeRouter) -> AsyncIterator[Router]:
    async with new_router() as made:
        yield made


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Write a picture and return its path."""

    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"{tmp_path}/out/"


@pytest.fixture
def ask(router: Router, out: str) -> Callable[..., Awaitable[Result]]:
    """Do what the agent's flat form asks for; by the model with typed references where none is named."""

    async def do(policy: Policy | None = None, **config: object) -> Result:
        found = GenerationConfig.from_json({"mode": "image", "model": "imagen-3.0-capability-001", **config})
        return await router.execute(found.to_request(), backend=found.backend, model=found.model, policy=policy, output=out)

    return do
