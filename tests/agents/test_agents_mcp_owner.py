"""The MCP server as its operator sees it: start, progress and errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import aiohttp
import attrs
import pytest
from core.fake_service import FakeService
from core.routing import fake_registry
from mcp_clients import connect

from anymedia import Router, SqliteStore
from anymedia.agents.mcp_server import MediaServer, serve_http
from anymedia.settings import Settings
from anymedia.testing.harness import FastClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(settings: Settings, work: Path) -> MediaServer:
    """A server over the fake backend, in this process."""
    router = Router(settings=settings, registry=fake_registry(), store=SqliteStore(":memory:"))
    return MediaServer(
        work,
        make_router=lambda tell: Router(
            settings=settings, registry=fake_registry(), store=SqliteStore(":memory:"), clock=FastClock(), on_progress=tell
        ),
        instances=router.instances,
    )


@attrs.define
class ProgressLog:
    """Records the progress notifications to a host."""

    values: list[float] = attrs.field(factory=list)

    async def hear(self, progress: float, total: float | None, message: str | None) -> None:
        assert total == 1.0
        self.values.append(progress)


async def test_progress_value_grows_and_stays_below_one(server: MediaServer, service: FakeService) -> None:
    received = ProgressLog()
    service.progress = 1.0  # so says a provider that is nearly there
    async with server.closing(), connect(server.server) as client:
        arguments = {"prompts": [f"waves {i}" for i in range(12)], "mode": "video", "max_concurrent": 12}
        result = await client.call_tool("generate_media", arguments, progress_callback=received.hear)
        assert result.structured_content["succeeded"] == 12
    assert len(received.values) > 40
    assert received.values == sorted(set(received.values))
    assert received.values[0] > 0
    assert received.values[-1] <= 1


async def test_capabilities_of_an_unknown_backend_are_an_error(server: MediaServer) -> None:
    async with server.closing(), connect(server.server) as client:
        for name, code in (("faek", "unknown_backend"), (["fake"], "invalid_request")):
            result = await client.call_tool("media_capabilities", {"backend": name})
            assert result.is_error
            assert result.structured_content["error"]["code"] == code
        result = await client.call_tool("media_capabilities", {"backend": "faek"})
        assert result.structured_content["error"]["fix"].endswith("fake")
        result = await client.call_tool("media_capabilities", {"backend": "fake"})
        assert list(result.structured_content["backends"]) == ["fake"]


async def test_server_without_a_router_answers_an_error_without_the_exception_text(work: Path) -> None:
    def broken(_tell: object) -> Router:
        raise OSError("cannot open /home/me/sk-0123456789abcdefghijkl")

    server = MediaServer(work, make_router=broken, instances={})
    async with server.closing(), connect(server.server) as client:
        for tool, arguments in (("generate_media", {"prompt": "x"}), ("plan_media", {"prompt": "x"}), ("media_job", {"job_id": "job_1"})):
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            assert result.structured_content["error"]["code"] == "internal"
            assert "sk-0123456789" not in json.dumps(result.structured_content)


async def test_announced_address_accepts_calls_at_once(server: MediaServer) -> None:
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    calls: list[asyncio.Task[None]] = []

    async def call(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.post(url, json={}) as reply:
            answered.set_result(reply.status)

    serving = asyncio.create_task(serve_http(server, port=0, ready=lambda url: calls.append(asyncio.create_task(call(url)))))
    try:
        async with asyncio.timeout(60):
            while not calls:
                await asyncio.sleep(0.01)
            await calls[0]
        assert answered.result() >= 400
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
