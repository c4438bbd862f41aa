"""On every backend a job outlives two minutes of 404s, of a refused or wrong key, and of a wrong address."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from PIL import Image
from wire.fal_server import KEY as FAL_KEY
from wire.fal_server import FalServer
from wire.google_server import KEY as GOOGLE_KEY
from wire.google_server import GoogleServer
from wire.grok_server import KEY as GROK_KEY
from wire.grok_server import GrokServer
from wire.http_server import Fault, Reply
from wire.openai_server import OpenAIServer
from wire.openai_videos import Videos
from wire.openrouter_server import KEY as OPENROUTER_KEY
from wire.openrouter_server import OpenRouterServer

from anymedia import GenerateVideo, Policy, Router
from anymedia.errors import AuthenticationFailed, BackendTimeout, MediaError, SettingsError
from anymedia.plugins.registry import discover
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio
_HTML = Reply(status=404, body=b"<html><h1>404 Not Found</h1>nginx</html>", headers={"content-type": "text/html"})
_EMPTY = Reply(status=404)


def _videos() -> OpenAIServer:
    return OpenAIServer(any_key=False, videos=Videos(models=("wan-2.2",), free_values=True))


@attrs.frozen
class Service:
    """A fake service with the instance that uses it, and what submits a video there."""

    server: Any
    variable: str
    key: str
    plugin: str
    model: str
    submit: str = "POST"
    address: str = "base_url"
    more: dict[str, Any] = attrs.field(factory=dict)


_PLATFORM = {"service": "agent_platform", "options": {"project": "my-project", "location": "us-central1"}}
_WAN = {"service": "compatible", "models": {"wan-2.2": {"like": "sora-2"}}}
SERVICES = {
    "openai": Service(_videos, "GPU_KEY", "sk-test-0123456789abcdefghijklmnopqrstuvwxyz", "openai", "wan-2.2", more=_WAN),
    "google interactions": Service(GoogleServer, "GOOGLE_API_KEY", GOOGLE_KEY, "google", "gemini-omni-1.2-flash", address="url"),
    "google veo": Service(
        GoogleServer, "GOOGLE_API_KEY", GOOGLE_KEY, "google", "veo-3.1-generate-001", submit="POST", address="url", more=_PLATFORM
    ),
    "grok": Service(GrokServer, "XAI_API_KEY", GROK_KEY, "grok", "grok-imagine-video-1.5", submit="GenerateVideo"),
    "openrouter": Service(OpenRouterServer, "OPENROUTER_API_KEY", OPENROUTER_KEY, "openrouter", ""),
    "fal": Service(FalServer, "FAL_KEY", FAL_KEY, "fal", "fal-ai/veo3.1", submit="POST /fal-ai"),
}


class LeapClock:
    """A clock that leaps over each pause."""

    def __init__(self) -> None:
        self.at = 1_790_000_000.0

    def now(self) -> float:
        return self.at

    def steady(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


def router(service: Service, server: Any, state: Path, clock: LeapClock) -> Router:
    more = dict(service.more)
    if service.plugin == "grok":
        more["options"] = {"grpc_host": server.host}
    own = InstanceSettings(
        name="mine", plugin=service.plugin, base_url=getattr(server, service.address), credentials={"api_key": service.variable}, **more
    )
    settings = Settings(instances={"mine": own}, state_dir=state, fetch_allow=("127.0.0.1",))
    policy = Policy(retries=0, fallback="off")
    return Router(settings=settings, registry=discover(), policy=policy, today=lambda: datetime.date(2026, 11, 21), clock=clock)


async def submit(router: Router, service: Service, output: Path) -> str:
    plan = await router.plan(GenerateVideo(prompt="waves"), backend="mine", model=service.model or None)
    return (await router.submit(plan, output=f"{output}/")).run


def submits(server: Any, service: Service) -> int:
    if service.plugin == "grok":
        return int(server.count(service.submit))
    posts = [r.line for r in server.received if r.line.startswith("POST")]
    return sum("fetchPredictOperation" not in line for line in posts)


@pytest.fixture(params=list(SERVICES))
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    for other in SERVICES.values():
        monkeypatch.delenv(other.variable, raising=False)
    found = SERVICES[request.param]
    monkeypatch.setenv(found.variable, found.key)
    return found


def faults(service: Service, kind: str) -> dict[str, Any]:
    codes = {"proxy": "UNIMPLEMENTED", "empty": "UNIMPLEMENTED", "not found": "NOT_FOUND", "refused": "UNAUTHENTICATED"}
    if service.plugin == "grok":
        return {"on": "GetDeferredVideo", "code": codes[kind], "details": "not now"}
    own = {"error": {"message": "There is no such job.", "code": 404, "status": "NOT_FOUND"}}
    refused = {"error": {"message": "Incorrect API key provided.", "code": 401}}
    return {
        "proxy": {"reply": _HTML},
        "empty": {"reply": _EMPTY},
        "not found": {"reply": Reply.of_json(own, status=404)},
        "refused": {"reply": Reply.of_json(refused, status=401)},
    }[kind]


@pytest.mark.parametrize("kind", ["proxy", "empty", "not found", "refused"])
async def test_job_outlives_two_minutes_of_failing_status_checks(service: Service, kind: str, tmp_path: Path) -> None:
    clock = LeapClock()
    with service.server() as server:
        async with router(service, server, tmp_path, clock) as first:
            job = await submit(first, service, tmp_path / "out")
        async with router(service, server, tmp_path, clock) as second:
            fault = faults(service, kind)
            http = getattr(server, "http", server)
            if service.plugin == "grok":
                server.fail("status", times=None, **fault)
            else:
                http.faults.append(Fault(kind="status", times=None, **fault))
            with pytest.raises(MediaError) as caught:
                await second.wait(job, deadline=120)
            assert caught.value.charged == "unknown"
            assert ((await second.job(job)).state == "lost") == (kind == "not found")
            if kind == "refused":
                assert service.variable in str(caught.value)
            (server if service.plugin == "grok" else http).faults.clear()
            assert (await second.wait(job)).path.exists()
        assert submits(server, service) == 1


async def test_job_outlives_two_minutes_with_the_wrong_key(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = LeapClock()
    with service.server() as server:
        async with router(service, server, tmp_path, clock) as first:
            job = await submit(first, service, tmp_path / "out")
        monkeypatch.setenv(service.variable, service.key[:-6] + "999999")
        async with router(service, server, tmp_path, clock) as second:
            with pytest.raises(AuthenticationFailed, match=service.variable):
                await second.wait(job, deadline=120)
        monkeypatch.delenv(service.variable)
        async with router(service, server, tmp_path, clock) as third:
            with pytest.raises(AuthenticationFailed, match=service.variable):
                await third.wait(job, deadline=120)
        monkeypatch.setenv(service.variable, service.key)
        async with router(service, server, tmp_path, clock) as fourth:
            assert (await fourth.wait(job)).path.exists()
        assert submits(server, service) == 1


async def test_job_outlives_two_minutes_at_the_wrong_address(service: Service, tmp_path: Path) -> None:
    clock = LeapClock()
    with service.server() as server, service.server() as other:
        async with router(service, server, tmp_path, clock) as first:
            job = await submit(first, service, tmp_path / "out")
        async with router(service, other, tmp_path, clock) as second:
            with pytest.raises(SettingsError, match=getattr(other, service.address)) as caught:
                await second.wait(job, deadline=120)
            assert getattr(server, service.address) in str(caught.value)
        assert not (other.count("GetDeferredVideo") if service.plugin == "grok" else other.received)
        async with router(service, server, tmp_path, clock) as third:
            assert (await third.wait(job)).path.exists()
        assert submits(server, service) == 1


async def test_local_rendering_outlives_two_minutes_without_its_directory(tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    Image.new("RGB", (64, 48), (200, 40, 40)).save(frame)

    def local(clock: LeapClock) -> Router:
        settings = Settings(state_dir=tmp_path / "state")
        return Router(settings=settings, registry=discover(), policy=Policy(retries=0, fallback="off"), clock=clock)

    clock = LeapClock()
    async with local(clock) as first:
        plan = await first.plan(GenerateVideo(prompt="waves", duration=1, size="64x48", first_frame=frame), backend="local")
        job = (await first.submit(plan, output=f"{tmp_path}/out/")).run
    kept = tmp_path / "state" / "backends" / "local"
    kept.rename(tmp_path / "elsewhere")
    kept.write_bytes(b"")  # as a volume that is not mounted: it cannot be read or created
    async with local(clock) as second:
        with pytest.raises(BackendTimeout) as caught:
            await second.wait(job, deadline=120)
        assert caught.value.job_id == job
        assert (await second.job(job)).state in {"submitted", "running"}
    # A status check between the two lines would find an empty directory, so there is none now.
    kept.unlink()
    (tmp_path / "elsewhere").rename(kept)
    async with local(clock) as third:
        assert (await third.wait(job)).path.exists()
        assert [record.submits for record in await third.jobs()] == [1]
