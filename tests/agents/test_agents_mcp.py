"""The MCP server, met by the official client: as a process over stdio, and over HTTP on the loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from core.fake_service import FakeService
from core.routing import fake_registry, fake_settings
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from PIL import Image

from anymedia import MemoryStore, Router
from anymedia.agents.mcp import MediaServer, serve_http
from anymedia.instances import make_instances

pytestmark = pytest.mark.anyio
TOOLS = {"generate_media", "plan_media", "media_capabilities", "media_job", "media_cancel"}


def bare_environment(state: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    return kept | {"HOME": str(state), "ANYMEDIA_STATE": str(state / "state")}


@pytest.fixture
async def over_stdio(tmp_path: Path) -> AsyncIterator[tuple[Client, Path]]:
    """A process of its own, without any key."""
    root = tmp_path / "root"
    root.mkdir()
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "anymedia", "mcp", "--root", str(root)], env=bare_environment(tmp_path), cwd=str(tmp_path)
    )
    async with Client(stdio_client(command)) as client:
        yield client, root


@pytest.fixture
async def over_http(service: FakeService, work: Path) -> AsyncIterator[tuple[Client, Path]]:
    """A server over the fake backend on a free port."""
    settings, registry = fake_settings(service), fake_registry()
    server = MediaServer(
        work,
        make_router=lambda tell: Router(settings=settings, registry=registry, store=MemoryStore(), on_progress=tell),
        instances=make_instances(registry, settings),
    )
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(server, port=0, ready=found.set_result))
    url = await found
    try:
        async with Client(url) as client:
            yield client, work
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


@pytest.fixture(params=["stdio", "http"])
def connected(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield request.getfixturevalue(f"over_{request.param}")


async def check(client: Client, tool: str, arguments: dict[str, Any], **more: Any) -> Any:
    """Call a tool and hold its structured content against the schema that the tool declares."""
    schemas = {t.name: t.output_schema for t in (await client.list_tools()).tools}
    result = await client.call_tool(tool, arguments, **more)
    jsonschema.validate(result.structured_content, schemas[tool])
    assert result.is_error is not result.structured_content["success"]
    return result


async def test_it_lists_its_tools_with_schemas(over_stdio: tuple[Client, Path]) -> None:
    client, _ = over_stdio
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert tools.keys() == TOOLS
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    assert tools["plan_media"].model_dump()["annotations"]["read_only_hint"] is True
    assert "OPENAI_API_KEY" in (client.instructions or "")
    told = (await check(client, "media_capabilities", {})).structured_content["backends"]
    assert told["local"]["usable"] is True
    assert "OPENAI_API_KEY" in " ".join(told["openai"]["missing"])


async def test_over_stdio_it_makes_a_picture_and_shows_a_small_one(over_stdio: tuple[Client, Path]) -> None:
    client, root = over_stdio
    told: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    arguments = {"prompt": "mountains at dusk", "size": "1600x1200", "output_path": "m.png"}
    result = await check(client, "generate_media", arguments, progress_callback=hear)
    answer = result.structured_content
    assert Path(answer["files"][0]["path"]) == root / "m.png"
    assert json.loads(result.content[0].text) == answer
    (shown,) = [c for c in result.content if c.type == "image"]
    data = base64.b64decode(shown.data)
    assert len(data) < 200_000
    assert max(Image.open(io.BytesIO(data)).size) <= 768
    (link,) = [c for c in result.content if c.type == "resource_link"]
    assert str(link.uri) == (root / "m.png").as_uri()
    assert link.mime_type == "image/png"
    assert told
    assert [p for p, _, _ in told] == sorted({p for p, _, _ in told})
    assert answer["job_id"] in (told[0][2] or "")
    more = await check(client, "generate_media", {"prompt": "with snow", "continue_from": answer["continuation_id"]})
    assert more.structured_content["continuation_id"] not in {None, answer["continuation_id"]}


async def test_errors_are_structured_and_nothing_leaves_the_root(over_stdio: tuple[Client, Path], tmp_path: Path) -> None:
    client, root = over_stdio
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("generate_media", {"prompt": "x", "output_path": str(tmp_path / "out.png")}),
        ("generate_media", {"prompt": "x", "output_path": "../out.png"}),
        ("generate_media", {"prompt": "x", "allowed_paths": ["/"], "output_path": str(tmp_path / "out.png")}),
        ("generate_media", {"prompt": "x", "sise": "1x1"}),
        ("generate_media", {}),
        ("generate_media", {"prompt": "x", "input_images": ["/etc/passwd"]}),
        ("plan_media", {"prompt": 7}),
        ("media_job", {"job_id": "job_nope"}),
        ("media_job", {}),
        ("media_cancel", {"job_id": "job_nope", "now": True}),
    ]
    for tool, arguments in wrong:
        error = (await check(client, tool, arguments)).structured_content["error"]
        assert error["code"] in {"invalid_request", "unknown_job"}, arguments
        assert error["charged"] == "no"
    assert list(root.iterdir()) == []
    assert not (tmp_path / "out.png").exists()
    strange = await client.call_tool("make_media", {})
    assert strange.is_error
    assert strange.structured_content["error"]["code"] == "unsupported_operation"


async def test_guidance_is_a_resource_and_a_prompt(over_stdio: tuple[Client, Path]) -> None:
    client, _ = over_stdio
    (resource,) = (await client.list_resources()).resources
    (text,) = (await client.read_resource(str(resource.uri))).contents
    assert "Calls that work here" in text.text
    (prompt,) = (await client.list_prompts()).prompts
    assert (await client.get_prompt(prompt.name)).messages[0].content.text == text.text


async def test_over_http_it_plans_makes_and_tells_progress(over_http: tuple[Client, Path], service: FakeService) -> None:
    client, root = over_http
    plan = await check(client, "plan_media", {"prompt": "waves", "mode": "video", "duration": 4})
    assert plan.structured_content["quote"]["usd"] == pytest.approx([0.2, 0.2])
    assert service.submits == []
    told: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    result = await check(client, "generate_media", {"prompt": "waves", "mode": "video", "output_path": "w.mp4"}, progress_callback=hear)
    assert Path(result.structured_content["files"][0]["path"]) == root / "w.mp4"
    assert [c.type for c in result.content] == ["text", "resource_link"]
    assert any("rendering" in message for message in told)
    assert len(service.submits) == 1


async def test_a_job_can_be_followed_and_cancelled_over_http(over_http: tuple[Client, Path], service: FakeService) -> None:
    client, _ = over_http
    service.looks = 10**6
    job = (await check(client, "generate_media", {"prompt": "waves", "mode": "video", "wait": False})).structured_content
    looked = (await check(client, "media_job", {"job_id": job["job_id"]})).structured_content
    assert looked["state"] in {"submitted", "running"}
    late = (await check(client, "media_job", {"job_id": job["job_id"], "action": "wait", "deadline": 0.05})).structured_content
    assert late["error"]["code"] == "backend_timeout"
    gone = (await check(client, "media_cancel", {"job_id": job["job_id"]})).structured_content
    assert gone["state"] == "cancelled"
    assert service.cancelled


async def test_a_call_that_waits_is_cancelled_from_beside_it(over_http: tuple[Client, Path], service: FakeService) -> None:
    client, _ = over_http
    service.looks = 10**6
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.put_nowait(message or "")

    waiting = asyncio.create_task(client.call_tool("generate_media", {"prompt": "waves", "mode": "video"}, progress_callback=hear))
    job_id = (await told.get()).partition(":")[0]
    while not service.jobs:
        await asyncio.sleep(0.01)
    assert (await client.call_tool("media_cancel", {"job_id": job_id})).structured_content["state"] == "cancelled"
    assert (await waiting).structured_content["error"]["code"] == "cancelled"


async def test_the_job_tools_work_over_stdio(over_stdio: tuple[Client, Path]) -> None:
    client, _ = over_stdio
    job = (await check(client, "generate_media", {"prompt": "sea", "mode": "video", "duration": 12, "wait": False})).structured_content
    gone = await client.call_tool("media_cancel", {"job_id": job["job_id"]})
    assert gone.structured_content["state"] in {"cancelled", "done"}
