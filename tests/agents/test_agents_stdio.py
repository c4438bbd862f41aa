"""What an MCP server over stdio does with lines that its SDK cannot read, and how large its answers are."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiers import quick_first

from anymedia import Router, SqliteStore
from anymedia.agents.mcp_server import MAX_BYTES, MediaServer, serve_http, serve_stdio
from anymedia.settings import Settings
from anymedia.testing.harness import FastClock

pytestmark = pytest.mark.anyio
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}


class Answers:
    """The server's standard output: waits for the answer to each request."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def write(self, text: str) -> None:
        for line in text.splitlines():
            self.lines.put_nowait(json.loads(line))

    async def flush(self) -> None:
        pass

    async def next(self) -> dict[str, Any]:
        while "method" in (line := await self.lines.get()):
            pass
        return line


def media_server(root: Path) -> MediaServer:
    def make(tell: Any) -> Router:
        return Router(settings=Settings(state_dir=root / "state"), store=SqliteStore(), clock=FastClock(), on_progress=tell)

    return MediaServer(root, make_router=make)


async def exchange(root: Path, *lines: str) -> list[dict[str, Any]]:
    """Send lines, each after the answer to the one before; return the answers."""
    answers, found, turn = Answers(), [], asyncio.Queue[str | None]()

    async def stdin() -> AsyncIterator[str]:
        while (line := await turn.get()) is not None:
            yield line

    serving = asyncio.create_task(serve_stdio(media_server(root), stdin(), answers))
    turn.put_nowait(json.dumps(INITIALIZE))
    await answers.next()
    turn.put_nowait('{"jsonrpc":"2.0","method":"notifications/initialized"}')
    for line in lines:
        turn.put_nowait(line)
        async with asyncio.timeout(60):
            found.append(await answers.next())
    turn.put_nowait(None)
    await serving
    return found


@pytest.mark.parametrize(
    ("line", "sender", "code"),
    [
        ("{", None, -32700),
        ("not json \ufffd", None, -32700),
        ("[" * 100_000, None, -32700),
        ("[]", None, -32600),
        ("17", None, -32600),
        ('{"id": 7, "method": "tools/list"}', 7, -32600),
        ('{"jsonrpc": "2.0", "id": "seven", "method": 5}', "seven", -32600),
        ('{"jsonrpc": "2.0", "id": {"a": 1}, "method": "tools/list"}', None, -32600),
        ('{"jsonrpc": "2.0", "id": 1e400, "method": "tools/list"}', None, -32600),
    ],
)
async def test_malformed_line_is_answered_with_an_error(tmp_path: Path, line: str, sender: Any, code: int) -> None:
    first, after = await exchange(tmp_path, line, '{"jsonrpc":"2.0","id":2,"method":"tools/list"}')
    assert (first["id"], first["error"]["code"]) == (sender, code)
    assert after["id"] == 2
    assert "tools" in after["result"]


@pytest.mark.parametrize("name", ["generate_media", "plan_media", "media_job", "media_capabilities", "no_such_tool"])
@pytest.mark.parametrize("text", [r"fox \ud83d end", r"\udcff", r"\udc00\ud800"])
async def test_lone_surrogate_in_a_call_is_answered(tmp_path: Path, name: str, text: str) -> None:
    key = {"media_job": "job_id", "media_capabilities": "backend"}.get(name, "prompt")
    more = r', "backend": "\udead", "mode": "image"' if key == "prompt" else ""
    arguments = f'{{"{key}": "{text}"{more}}}'
    call = f'{{"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {{"name": "{name}", "arguments": {arguments}}}}}'
    (answer,) = await exchange(tmp_path, call)
    assert answer["id"] == 3
    said = json.loads(answer["result"]["content"][0]["text"])
    assert said["success"] is False
    assert said["error"]["code"] != "internal"


@pytest.mark.parametrize("padding", quick_first((460_000, 0, 100_000, 300_000)))
async def test_previews_of_one_answer_share_a_limit(tmp_path: Path, padding: int) -> None:
    noise = random.Random(1)
    files = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.frombytes("RGBA", (800, 800), noise.randbytes(800 * 800 * 4)).save(path, compress_level=0)
        files.append({"path": str(path), "mime": "image/png", "bytes": path.stat().st_size})
    server = media_server(tmp_path)
    result = await server._result({"success": True, "files": files, "padding": "x" * padding})
    assert len(result.model_dump_json()) < 1_000_000
    pictures = [content for content in result.content if content.type == "image"]
    assert all(len(content.data) <= MAX_BYTES * 4 // 3 + 4 for content in pictures)
    assert len(pictures) == (4 if padding <= 300_000 else len(pictures))


async def test_answer_with_a_lone_surrogate_can_be_encoded(tmp_path: Path) -> None:
    result = await media_server(tmp_path)._result({"success": False, "error": {"message": "no file 'a\udcff.png'"}})
    assert "a\ufffd.png" in result.model_dump_json()


async def test_http_sessions_expire_and_are_limited(tmp_path: Path) -> None:
    server = media_server(tmp_path)
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(server, port=0, ready=url.set_result))
    try:
        await url
        manager = server.server.session_manager
        assert 0 < manager.session_idle_timeout <= 3600
        assert 0 < manager.max_sessions <= 1000
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
