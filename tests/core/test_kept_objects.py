"""What a process keeps of calls that have ended, however many they were: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_registry, fake_router, fake_settings, until
from mcp_clients import connect

from anymedia import GenerateImage, GenerateVideo, Router, SqliteStore
from anymedia.agents.mcp_server import MediaServer, serve_http
from anymedia.errors import ContentRefused
from anymedia.plugins.instances import make_instances

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
_CALLS = 8


@attrs.frozen
class Server:
    """A router that runs for long, and the service that it uses."""

    router: Router
    service: FakeService
    output: Path

    async def executed(self, router: Router | None = None) -> None:
        await (router or self.router).execute(GenerateImage(prompt="a fox"), output=self.output / "fox.png", overwrite=True)

    async def video(self) -> None:
        await self.router.execute(GenerateVideo(prompt="waves"), output=self.output / "waves.mp4", overwrite=True)

    async def failed(self) -> None:
        self.service.http.fail("status", status=403)
        with pytest.raises(ContentRefused):
            await self.executed()

    async def submitted(self) -> str:
        """Submit a call and ask for its state, as an agent does that does not wait."""
        run = (await self.router.submit(GenerateImage(prompt="a fox"), output=self.output / "fox.png", overwrite=True)).run
        await until(functools.partial(self._has_ended, run))
        return (await self.router.run_status(run)).state

    async def _has_ended(self, run: str) -> bool:
        return not await self.router.is_active(run)

    async def submitted_and_failed(self) -> None:
        self.service.http.fail("status", status=403)
        assert await self.submitted() == "refused"

    async def in_a_view(self) -> None:
        view = self.router.scoped(realm="one", keys={"fake": KEY})
        await self.executed(view)
        await view.aclose()


_KEPT = (
    "anymedia.",
    "mcp.",
    "opentelemetry.metrics",
    "_asyncio.",
    "asyncio.tasks",
    "asyncio.unix_",
    "asyncio.windows_",
    "builtins.traceback",
)


def kept() -> Counter[str]:
    """Return how many objects there are that belong to a call, by type."""
    gc.collect()
    names = (f"{type(thing).__module__}.{type(thing).__name__}" for thing in gc.get_objects())
    return Counter(name for name in names if name.startswith(_KEPT))


def _more_per_call(before: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in (kept() - before).items() if count >= _CALLS}


async def grown(call: Callable[[], Awaitable[object]]) -> Callable[[], dict[str, int]]:
    """Call some times, and return what finds the types that have become more by one or more per call."""
    import opentelemetry.trace  # noqa: F401 - as the MCP SDK does, without setting it up

    for _ in range(2):
        await call()
    before = kept()
    for _ in range(_CALLS):
        await call()
    return functools.partial(_more_per_call, before)


@pytest.mark.parametrize(
    "call", [Server.executed, Server.video, Server.failed, Server.submitted, Server.submitted_and_failed, Server.in_a_view]
)
async def test_calls_that_have_ended_leave_no_object_behind(tmp_path: Path, call: Callable[[Server], Awaitable[object]]) -> None:
    with FakeService(looks=0) as service:
        store = SqliteStore(tmp_path / "state.db")
        async with fake_router(service, settings=fake_settings(service, state=tmp_path), store=store) as router:
            router._engine.polls.rate = 1e6
            found = await grown(functools.partial(call, Server(router, service, tmp_path)))
            assert found() == {}


def test_event_loops_that_have_ended_leave_no_object_behind(tmp_path: Path) -> None:
    with FakeService(looks=0) as service:
        settings = fake_settings(service, state=tmp_path)
        limited = attrs.evolve(settings.instances["fake"], max_concurrent=1)
        router = Router(settings=attrs.evolve(settings, instances={"fake": limited}), registry=fake_registry())
        server = Server(router, service, tmp_path)
        for _ in range(2):
            asyncio.run(server.executed())
        before = kept()
        for _ in range(_CALLS):
            asyncio.run(server.executed())
        found = _more_per_call(before)
        asyncio.run(router.aclose())
    assert found == {}


async def test_http_sessions_that_have_ended_leave_no_object_behind(tmp_path: Path) -> None:
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with FakeService() as service:
        settings, registry = fake_settings(service, state=tmp_path), fake_registry()
        server = MediaServer(
            tmp_path,
            make_router=lambda tell: Router(settings=settings, registry=registry, on_progress=tell),
            instances=make_instances(registry, settings),
        )
        serving = asyncio.create_task(serve_http(server, port=0, ready=url.set_result))

        async def session() -> None:
            async with connect(await url) as client:
                given = {"prompt": "a fox", "mode": "image", "output_path": "fox.png", "overwrite": True}
                assert not (await client.call_tool("generate_media", given)).is_error

        try:
            found = await grown(session)
            await until(lambda: found() == {})  # the server ends a session after it has answered
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
