"""The MCP server, met by the official client: in this process, over stdio (a process of its own), and over HTTP on the loopback.

Each test runs in this process with a clock that does not wait; the two transports repeat all of them in the exhaustive tier.
"""

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
from typing import TYPE_CHECKING, Any

import attrs
import jsonschema
import pytest
from mcp_clients import connect, connect_stdio
from PIL import Image
from wire.openai_server import OpenAIServer
from wire.openai_videos import Videos

from anymedia import Router, SqliteStore
from anymedia.agents.mcp_server import MediaServer, serve_http
from anymedia.testing.harness import FastClock

if TYPE_CHECKING:
    from mcp import Client

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]  # a busy machine may take long over a process
TOOLS = {"generate_media", "plan_media", "media_capabilities", "media_job", "media_jobs", "media_cancel"}


def bare_environment(state: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    return kept | {"HOME": str(state), "ANYMEDIA_STATE": str(state / "state")}


@attrs.frozen(kw_only=True)
class Met:
    """A server with a connected client, its root, and the service that renders its videos."""

    client: Client
    root: Path
    gpu: OpenAIServer


@pytest.fixture
def gpu() -> Iterator[OpenAIServer]:
    with OpenAIServer(any_key=True, videos=Videos(models=("wan-2.2",), free_values=True)) as server:
        yield server


@pytest.fixture
def budget() -> str:
    """What the settings allow to be spent."""
    return "per_request = 0.5, allow_unknown = true"


@pytest.fixture
def config(tmp_path: Path, gpu: OpenAIServer, budget: str) -> Path:
    """Settings with one server of one's own, whose price is not known, beside ``local``, which needs no key."""
    (tmp_path / "root").mkdir()
    (tmp_path / "config.toml").write_text(f"""
[fetch]
allow = ["127.0.0.1"]
[policy]
budget = {{ {budget} }}
[backends.mygpu]
plugin = "openai"
service = "compatible"
base_url = "{gpu.base_url}"
models."wan-2.2" = {{ like = "sora-2" }}
""")
    return tmp_path / "config.toml"


async def short_jobs(state: Path) -> None:
    """Record short video durations, so that the first status check comes after half a second."""
    store = SqliteStore(state / "state.db")
    for key in ("mygpu/wan-2.2", "mygpu/wan-2.2/4s"):
        for _ in range(20):
            await store.add_duration(key, 0.1)
    await store.aclose()


@pytest.fixture
def keyless(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a server in this process, without any key."""
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(config))
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "state"))


def media_server(root: Path) -> MediaServer:
    """A server of the settings, whose router does not wait between two status checks."""
    return MediaServer(root, make_router=lambda tell: Router(clock=FastClock(), on_progress=tell))


@pytest.fixture
async def in_process(tmp_path: Path, keyless: None, gpu: OpenAIServer) -> AsyncIterator[Met]:
    """A server that the client speaks to without a transport."""
    server = media_server(tmp_path / "root")
    async with server.closing(), connect(server.server) as client:
        yield Met(client=client, root=tmp_path / "root", gpu=gpu)


@pytest.fixture
async def over_stdio(tmp_path: Path, config: Path, gpu: OpenAIServer) -> AsyncIterator[Met]:
    """A process of its own, without any key."""
    await short_jobs(tmp_path / "state")
    env = bare_environment(tmp_path) | {"ANYMEDIA_CONFIG": str(config)}
    words = ["-m", "anymedia", "mcp", "--root", str(tmp_path / "root")]
    async with connect_stdio(words, env, tmp_path) as client:
        yield Met(client=client, root=tmp_path / "root", gpu=gpu)


@pytest.fixture
async def over_http(tmp_path: Path, keyless: None, gpu: OpenAIServer) -> AsyncIterator[Met]:
    """The same on a free port of the loopback."""
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(media_server(tmp_path / "root"), port=0, ready=found.set_result))
    url = await found
    try:
        async with connect(url) as client:
            yield Met(client=client, root=tmp_path / "root", gpu=gpu)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


TRANSPORTS = ("over_stdio", "over_http")


@pytest.fixture(params=["in_process", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in TRANSPORTS)])
def met(request: pytest.FixtureRequest, config: Path) -> Met:
    found: Met = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=TRANSPORTS)
def transported(request: pytest.FixtureRequest, config: Path) -> Met:
    found: Met = request.getfixturevalue(request.param)
    return found


async def check(client: Client, tool: str, arguments: dict[str, Any], **more: Any) -> Any:
    """Call a tool and hold its structured content against the schema that the tool declares."""
    schemas = {t.name: t.output_schema for t in (await client.list_tools()).tools}
    result = await client.call_tool(tool, arguments, **more)
    jsonschema.validate(result.structured_content, schemas[tool])
    assert result.is_error is not result.structured_content["success"]
    return result


async def test_each_transport_runs_a_call_with_progress(transported: Met) -> None:
    """The one test that the quick tier makes over the real transports."""
    received: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        received.append(message or "")

    asked = {"prompt": "a boat", "backend": "local", "size": "64x64", "output_path": "b.png"}
    answer = (await check(transported.client, "generate_media", asked, progress_callback=hear)).structured_content
    assert Path(answer["files"][0]["path"]) == transported.root / "b.png"
    assert answer["job_id"] in received[0]


async def test_tool_list_has_schemas(met: Met) -> None:
    tools = {tool.name: tool for tool in (await met.client.list_tools()).tools}
    assert tools.keys() == TOOLS
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
        assert tool.input_schema["type"] == "object" and "$ref" not in json.dumps([tool.input_schema, tool.output_schema])
    assert tools["plan_media"].model_dump()["annotations"]["read_only_hint"] is True
    assert "OPENAI_API_KEY" in (met.client.instructions or "")
    received = (await check(met.client, "media_capabilities", {})).structured_content["backends"]
    assert received["local"]["usable"] is True
    assert "OPENAI_API_KEY" in " ".join(received["openai"]["missing"])


async def test_image_result_has_a_preview(met: Met) -> None:
    received: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        received.append((progress, total, message))

    arguments = {"prompt": "mountains at dusk", "size": "1024x768", "output_path": "m.png"}
    result = await check(met.client, "generate_media", arguments, progress_callback=hear)
    answer = result.structured_content
    assert Path(answer["files"][0]["path"]) == met.root / "m.png"
    assert json.loads(result.content[0].text) == answer
    (shown,) = [c for c in result.content if c.type == "image"]
    data = base64.b64decode(shown.data)
    assert len(data) < 200_000
    assert max(Image.open(io.BytesIO(data)).size) == 768
    (link,) = [c for c in result.content if c.type == "resource_link"]
    assert str(link.uri) == (met.root / "m.png").as_uri()
    assert (link.mime_type, link.size) == ("image/png", (met.root / "m.png").stat().st_size)
    assert received
    assert [p for p, _, _ in received] == sorted({p for p, _, _ in received})
    assert answer["job_id"] in (received[0][2] or "")
    more = await check(met.client, "generate_media", {"prompt": "with snow", "continue_from": answer["continuation_id"]})
    assert more.structured_content["continuation_id"] not in {None, answer["continuation_id"]}


async def test_video_call_reports_progress(met: Met) -> None:
    asked = {"prompt": "waves", "mode": "video", "duration": 4, "backend": "mygpu"}
    plan = await check(met.client, "plan_media", asked)
    assert plan.structured_content["backend"] == "mygpu"
    assert met.gpu.received == []
    received: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        received.append(message or "")

    result = await check(met.client, "generate_media", {**asked, "output_path": "w.mp4"}, progress_callback=hear)
    assert Path(result.structured_content["files"][0]["path"]) == met.root / "w.mp4"
    assert [c.type for c in result.content] == ["text", "resource_link"]
    assert any("running" in message for message in received)
    assert met.gpu.count("POST") == 1


async def test_errors_are_structured_and_paths_stay_in_the_root(met: Met, tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("generate_media", {"prompt": "x", "output_path": str(tmp_path / "out.png")}),
        ("generate_media", {"prompt": "x", "output_path": "../out.png"}),
        ("generate_media", {"prompt": "x", "allowed_paths": ["/"], "output_path": str(tmp_path / "out.png")}),
        ("generate_media", {"prompt": "x", "agent_cwd": str(tmp_path)}),
        ("generate_media", {"prompt": "x", "sise": "1x1"}),
        ("generate_media", {}),
        ("generate_media", {"prompt": "x", "input_images": ["/etc/passwd"]}),
        ("plan_media", {"prompt": 7}),
        ("plan_media", {"prompt": "x", "output_path": "/etc/out.png"}),
        ("media_job", {"job_id": "job_nope"}),
        ("media_job", {}),
        ("media_cancel", {"job_id": "job_nope", "now": True}),
    ]
    for tool, arguments in wrong:
        error = (await check(met.client, tool, arguments)).structured_content["error"]
        assert error["code"] in {"invalid_request", "unknown_job"}, arguments
        assert error["charged"] == "no"
        assert error["fix"]
    assert list(met.root.iterdir()) == []
    assert not (tmp_path / "out.png").exists()
    strange = await met.client.call_tool("make_media", {})
    assert strange.is_error
    assert strange.structured_content["error"]["code"] == "unsupported_operation"


@pytest.mark.parametrize("budget", ["per_request = 0.5"])
async def test_cap_of_the_settings_applies_whatever_the_call_says(met: Met) -> None:
    asked = {"prompt": "waves", "mode": "video", "duration": 4, "backend": "mygpu", "max_cost_usd": 100}
    for tool in ("plan_media", "generate_media"):
        result = await check(met.client, tool, asked)
        assert result.structured_content["error"]["code"] == "budget_exceeded"
    assert met.gpu.received == []


async def test_guidance_is_a_resource_and_a_prompt(met: Met) -> None:
    (resource,) = (await met.client.list_resources()).resources
    (text,) = (await met.client.read_resource(str(resource.uri))).contents
    assert "Calls that work here" in text.text
    (prompt,) = (await met.client.list_prompts()).prompts
    assert (await met.client.get_prompt(prompt.name)).messages[0].content.text == text.text


async def test_file_link_of_a_result_can_be_read_and_used_as_an_input(met: Met) -> None:
    picture = met.root / "a b#1 \u00e4.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    (blob,) = (await met.client.read_resource(picture.as_uri())).contents
    assert (base64.b64decode(blob.blob), blob.mime_type) == (picture.read_bytes(), "image/png")
    for given in (picture.as_uri(), picture.as_uri().replace("file:///", "file://localhost/")):
        planned = await check(met.client, "plan_media", {"prompt": "blue", "mode": "image", "backend": "local", "input_images": [given]})
        assert planned.structured_content["success"], planned.structured_content


async def test_file_link_outside_the_root_or_to_another_kind_of_file_is_refused(met: Met, tmp_path: Path) -> None:
    from mcp.shared.exceptions import MCPError

    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    (met.root / "notes.txt").write_text("mine")
    (met.root / "link.png").symlink_to(tmp_path / "secret.png")
    outside = (tmp_path / "secret.png").as_uri()
    for uri in (outside, (met.root / "notes.txt").as_uri(), (met.root / "link.png").as_uri(), f"{met.root.as_uri()}/../secret.png"):
        with pytest.raises(MCPError):
            await met.client.read_resource(uri)
    planned = await check(met.client, "plan_media", {"prompt": "blue", "mode": "image", "input_images": [outside]})
    assert not planned.structured_content["success"]
    elsewhere = await check(met.client, "plan_media", {"prompt": "blue", "mode": "image", "input_images": ["file://server/a.png"]})
    assert "not a URL" in str(elsewhere.structured_content["error"])


async def test_job_can_be_followed_and_cancelled(met: Met) -> None:
    met.gpu.videos.looks = 10**6
    asked = {"prompt": "waves", "mode": "video", "duration": 4, "backend": "mygpu", "wait": False}
    job = (await check(met.client, "generate_media", asked)).structured_content
    status = (await check(met.client, "media_job", {"job_id": job["job_id"]})).structured_content
    assert status["state"] in {"queued", "submitting", "submitted", "running"}  # submitting: while a busy machine still imports the SDK
    late = (await check(met.client, "media_job", {"job_id": job["job_id"], "action": "wait", "deadline": 0.05})).structured_content
    assert late["error"]["code"] == "backend_timeout"
    gone = (await check(met.client, "media_cancel", {"job_id": job["job_id"]})).structured_content
    assert gone["state"] == "cancelled"
    assert met.gpu.count("DELETE /v1/videos/") == 1


async def waiting_call(met: Met) -> tuple[asyncio.Task[Any], str]:
    """Start a call whose video never finishes, and return it with its job id once the service has accepted it."""
    met.gpu.videos.looks = 10**6
    received: asyncio.Queue[str] = asyncio.Queue()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        received.put_nowait(message or "")

    asked = {"prompt": "waves", "mode": "video", "duration": 4, "backend": "mygpu"}
    waiting = asyncio.create_task(met.client.call_tool("generate_media", asked, progress_callback=hear))
    message = await received.get()
    while "running" not in message:
        message = await received.get()
    return waiting, message.partition(":")[0]


async def test_waiting_call_is_cancelled_by_another_call(met: Met) -> None:
    waiting, job_id = await waiting_call(met)
    assert (await met.client.call_tool("media_cancel", {"job_id": job_id})).structured_content["state"] == "cancelled"
    assert (await waiting).structured_content["error"]["code"] == "cancelled"
    assert met.gpu.count("DELETE /v1/videos/") == 1


async def test_cancelled_request_leaves_the_paid_job_resumable(met: Met) -> None:
    waiting, job_id = await waiting_call(met)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    met.gpu.videos.looks = 0
    done = (await check(met.client, "media_job", {"job_id": job_id, "action": "wait", "deadline": 60})).structured_content
    assert done["success"], done
    assert Path(done["files"][0]["path"]).is_relative_to(met.root)
    assert met.gpu.count("POST") == 1


async def test_closed_server_leaves_the_paid_job_resumable(tmp_path: Path, keyless: None, gpu: OpenAIServer) -> None:
    server = media_server(tmp_path / "root")
    async with server.closing(), connect(server.server) as client:
        waiting, job_id = await waiting_call(Met(client=client, root=tmp_path / "root", gpu=gpu))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    store = SqliteStore(tmp_path / "state/state.db")
    (row,) = await store.run(job_id)
    await store.aclose()
    assert (row.state, row.owner) == ("running", None)


@pytest.mark.exhaustive
async def test_stopped_server_leaves_the_running_job_resumable(tmp_path: Path, config: Path, gpu: OpenAIServer) -> None:
    gpu.videos.looks = 10**6
    await short_jobs(tmp_path / "state")
    env = bare_environment(tmp_path) | {"ANYMEDIA_CONFIG": str(config)}
    words = ["-m", "anymedia", "mcp", "--root", str(tmp_path / "root"), "--http", "--port", "0"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, cwd=tmp_path, stdout=pipe, stderr=pipe)
    assert process.stderr is not None
    received = ""
    while "http://" not in received:
        received = (await process.stderr.readline()).decode()
    url = "http://" + received.partition("http://")[2].strip()

    async def call() -> None:
        async with connect(url) as client:
            await client.call_tool("generate_media", {"prompt": "waves", "mode": "video", "duration": 4, "backend": "mygpu"})

    calling = asyncio.create_task(call())
    try:
        while not gpu.count("GET /v1/videos/"):
            await asyncio.sleep(0.05)
        process.terminate()
        async with asyncio.timeout(60):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    store = SqliteStore(tmp_path / "state/state.db")
    (row,) = await store.calls()
    await store.aclose()
    assert (row.state, row.owner) == ("running", None)  # no lease: the next request resumes it
