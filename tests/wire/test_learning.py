"""A model that is retired on the wire: the refusal demotes it for a day, in plans of that account only."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from clocks import FastClock
from wire.fal_server import KEY as FAL_KEY
from wire.fal_server import FalServer
from wire.google_server import KEY as GOOGLE_KEY
from wire.google_server import GoogleServer
from wire.grok_server import KEY as GROK_KEY
from wire.grok_server import GrokServer
from wire.openai_server import KEY as OPENAI_KEY
from wire.openai_server import OpenAIServer
from wire.openrouter_server import KEY as OPENROUTER_KEY
from wire.openrouter_server import OpenRouterServer

from anymedia import GenerateImage, Policy, Router, SqliteStore
from anymedia.errors import MediaError
from anymedia.planning import Plan
from anymedia.plugins.registry import discover
from anymedia.requests import GenerateVideo, Request
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio
TODAY = datetime.date(2026, 11, 21)
FOX = GenerateImage(prompt="a fox")
DAY = 86_400.0


@attrs.frozen
class Service:
    """A fake service, and how it says that a model is gone or that the account may not use it."""

    server: Any
    variable: str
    key: str
    refusal: dict[str, Any]
    plugin: str
    request: Request = FOX
    address: str = "base_url"
    submit: str = "POST"


_MESSAGE = "The model `x` does not exist or you do not have access to it."
SERVICES = {
    "openai": Service(
        OpenAIServer, "OPENAI_API_KEY", OPENAI_KEY,
        {"status": 404, "json": {"error": {"message": _MESSAGE, "type": "invalid_request_error", "code": "model_not_found"}}}, "openai",
    ),
    "openai without access": Service(
        OpenAIServer, "OPENAI_API_KEY", OPENAI_KEY,
        {"status": 403, "json": {"error": {"message": "Project p does not have access to model x"}}}, "openai",
    ),
    "google images": Service(
        GoogleServer, "GOOGLE_API_KEY", GOOGLE_KEY,
        {"status": 404, "json": {"error": {"code": 404, "message": "models/x is not found for API version v1beta", "status": "NOT_FOUND"}}},
        "google", address="url",
    ),
    "google videos": Service(
        GoogleServer, "GOOGLE_API_KEY", GOOGLE_KEY,
        {"status": 404, "json": {"error": {"code": 404, "message": "models/x is not found for API version v1beta", "status": "NOT_FOUND"}}},
        "google", request=GenerateVideo(prompt="waves"), address="url",
    ),
    "grok": Service(
        GrokServer, "XAI_API_KEY", GROK_KEY,
        {"code": "NOT_FOUND", "details": "The model grok-x does not exist or your team does not have access to it."},
        "grok", submit="GenerateImage",
    ),
    "openrouter": Service(
        OpenRouterServer, "OPENROUTER_API_KEY", OPENROUTER_KEY,
        {"status": 404, "json": {"error": {"message": "Model x does not exist", "code": 404}}}, "openrouter",
    ),
    "fal": Service(
        FalServer, "FAL_KEY", FAL_KEY,
        {"status": 404, "json": {"detail": 'Application "x" not found'}}, "fal", submit="POST /fal-ai",
    ),
}  # fmt: skip


def router(service: Service, server: Any, state: Path, clock: FastClock, **more: Any) -> Router:
    options: dict[str, Any] = {"grpc_host": server.host} if service.plugin == "grok" else {}
    own = InstanceSettings(name=service.plugin, plugin=service.plugin, base_url=getattr(server, service.address), options=options)
    settings = Settings(instances={service.plugin: own}, state_dir=state, fetch_allow=("127.0.0.1",))
    policy = Policy(retries=0, fallback="off")
    return Router(
        settings=settings, registry=discover(), store=SqliteStore(":memory:"), policy=policy, today=lambda: TODAY, clock=clock, **more
    )


def demoted(plan: Plan) -> list[str]:
    return [rejection.candidate.model for rejection in plan.rejected if rejection.reasons[0].code == "demoted"]


@pytest.mark.parametrize("name", SERVICES)
async def test_model_refused_by_provider_is_avoided_for_a_day(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, clock = SERVICES[name], FastClock()
    for other in SERVICES.values():
        monkeypatch.delenv(other.variable, raising=False)
    monkeypatch.setenv(service.variable, service.key)
    with service.server() as server:
        async with router(service, server, tmp_path, clock) as first:
            plan = await first.plan(service.request, backend=service.plugin)
            model = plan.chosen.model
            server.fail("status", on=service.submit, times=None, **service.refusal)
            with pytest.raises(MediaError) as caught:
                await first.run(plan, output=f"{tmp_path}/out/")
            assert (caught.value.model_refused, caught.value.charged) == (True, "no")
            second = await first.plan(service.request, backend=service.plugin)
            assert second.chosen.model != model
            assert demoted(second) == [model]
            assert model not in [candidate.model for candidate in second.alternatives]
            named = await first.plan(service.request, model=f"{service.plugin}/{model}")
            assert [w.code for w in named.warnings if w.code == "model_demoted"] == ["model_demoted"]
        async with router(service, server, tmp_path, clock) as later:  # another process
            assert demoted(await later.plan(service.request, backend=service.plugin)) == [model]
            clock.ahead = DAY - 60
            assert demoted(await later.plan(service.request, backend=service.plugin)) == [model]
            clock.ahead = DAY + 60
            again = await later.plan(service.request, backend=service.plugin)
            assert (again.chosen.model, demoted(again)) == (model, [])


async def test_model_named_and_accepted_again_is_chosen_automatically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, clock = SERVICES["openai"], FastClock()
    monkeypatch.setenv(service.variable, service.key)
    with service.server() as server:
        async with router(service, server, tmp_path, clock) as own:
            model = (await own.plan(FOX, backend="openai")).chosen.model
            server.fail("status", on="POST", times=1, **service.refusal)
            with pytest.raises(MediaError):
                await own.execute(FOX, model=model, output=tmp_path / "a.png")
            assert demoted(await own.plan(FOX, backend="openai")) == [model]
            await own.execute(FOX, model=model, output=tmp_path / "b.png")
            assert (await own.plan(FOX, backend="openai")).chosen.model == model


async def test_refusal_of_one_account_does_not_affect_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, clock = SERVICES["openai"], FastClock()
    monkeypatch.setenv(service.variable, service.key)
    with service.server() as server:
        async with router(service, server, tmp_path, clock) as own:
            model = (await own.plan(FOX, backend="openai")).chosen.model
            server.fail("status", on="POST", times=1, **service.refusal)
            with pytest.raises(MediaError):
                await own.execute(FOX, model=model, output=tmp_path / "a.png")
        files = [path.read_text() + path.name for path in (tmp_path / "overlays").iterdir()]
        assert len(files) == 1
        assert service.key not in files[0]
        monkeypatch.setenv(service.variable, "sk-another-account-0123456789")
        async with router(service, server, tmp_path, clock) as other:
            assert (await other.plan(FOX, backend="openai")).chosen.model == model


@pytest.mark.parametrize("refusal", [{"status": 500}, {"status": 401}, {"status": 429}, {"status": 400}], ids=str)
async def test_other_failures_demote_no_model(refusal: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, clock = SERVICES["openai"], FastClock()
    monkeypatch.setenv(service.variable, service.key)
    with service.server() as server:
        async with router(service, server, tmp_path, clock) as own:
            server.fail("status", on="POST", times=1, json={"error": {"message": "no"}}, **refusal)
            with pytest.raises(MediaError):
                await own.execute(FOX, backend="openai", output=tmp_path / "a.png")
            assert demoted(await own.plan(FOX, backend="openai")) == []
    assert not (tmp_path / "overlays").exists()
