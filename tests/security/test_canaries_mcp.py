"""The canaries through an MCP server that is a process of its own: what it answers, and all it writes to its two streams."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp_clients import connect_stdio
from test_canaries import look_through, on_disk, told  # noqa: F401 - a fixture
from worlds import KEYS, PROMPT, SUBMITS, VARIABLES, World, quoting, world

if TYPE_CHECKING:
    from mcp import Client

pytestmark = pytest.mark.anyio
NAMES = [name for name in SUBMITS if name != "fake"]  # that one is installed nowhere
ENDS = ("success", "400", "401", "403", "429", "500", "garbage", "lost", "cancelled")

#: Runs a command and keeps a copy of what it writes to its standard output.
TEE = """
import subprocess, sys
with open(sys.argv[1], "wb") as copy, subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, bufsize=0) as child:
    while part := child.stdout.read(65536):
        copy.write(part)
        copy.flush()
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
"""
#: The application around the server logs everything to standard error.
LOGGING = "import logging\nlogging.basicConfig(level={level})\n"


def settings_text(here: World) -> str:
    """The settings file that leads a backend to its fake service."""
    place = {"google": here.server.url}.get(here.name) if here.name == "google" else here.server.base_url
    text = f'[fetch]\nallow = ["127.0.0.1"]\n\n[policy]\nretries = 0\n\n[backends.{here.name}]\nbase_url = "{place}"\n'
    return text + (f'options = {{ grpc_host = "{here.server.host}" }}\n' if here.name == "grok" else "")


def connection(here: World, level: int, errors: Any) -> Client:
    """Return a client of a process whose log has the given level."""
    folder = here.folder
    (folder / "config.toml").write_text(settings_text(here))
    (folder / "path").mkdir()
    (folder / "path" / "sitecustomize.py").write_text(LOGGING.format(level=level))
    (folder / "root").mkdir()
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT"}}
    own = {
        "HOME": str(folder),
        "PYTHONPATH": str(folder / "path"),
        "ANYMEDIA_CONFIG": str(folder / "config.toml"),
        "ANYMEDIA_STATE": str(folder / "state"),
        "ANYMEDIA_CACHE": str(folder / "cache"),
        "OPENAI_LOG": "debug",
        VARIABLES[here.name]: KEYS[here.name],
    }
    served = [sys.executable, "-m", "anymedia", "mcp", "--root", str(folder / "root")]
    return connect_stdio(["-c", TEE, str(folder / "stdout"), *served], kept | own, folder, errors)


async def call(client: Client, here: World, end: str, heard: list[str]) -> str:
    """Make one call to its end; return all that came back."""
    if end != "success":
        here.fail({"cancelled": "delay"}.get(end, end))

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    before = here.arrived()
    arguments = {"prompt": PROMPT, "backend": here.name, "output_path": f"{end}.png"}
    work = asyncio.create_task(client.call_tool("generate_media", arguments, progress_callback=hear))
    while here.arrived() == before and not work.done():
        await asyncio.sleep(0.01)
    if end == "cancelled":
        work.cancel()
    try:
        answer = await work
    except (asyncio.CancelledError, Exception) as error:
        assert end == "cancelled", error
        return repr(error)
    assert answer.structured_content["success"] is (end == "success"), answer
    assert here.arrived() == before + 1
    return str(answer.model_dump_json())


@pytest.mark.parametrize(
    ("name", "ends"), [("openrouter", ("success", "400")), *(pytest.param(name, ENDS, marks=pytest.mark.exhaustive) for name in NAMES)]
)
async def test_over_stdio_key_and_signature_are_nowhere_and_the_prompt_only_in_the_store(
    name: str, ends: tuple[str, ...], tmp_path: Path
) -> None:
    level = logging.DEBUG
    shown: dict[str, str] = {}
    heard: list[str] = []
    with world(name, tmp_path) as server, (tmp_path / "stderr").open("w") as words:
        here = World(name, server, tmp_path)
        async with connection(here, level, words) as client:
            for end in ends:
                shown[f"answer, {end}"] = await call(client, here, end, heard)
            told_of: list[Any] = [await client.list_tools(), await client.list_prompts(), await client.list_resources()]
            told_of += [await client.call_tool("media_capabilities", {}), await client.get_prompt("guidance")]
            told_of += [await client.call_tool("plan_media", {"prompt": PROMPT, "backend": name})]
        shown["tools, guidance, plan"] = "".join(one.model_dump_json() for one in told_of)
    shown["progress"] = "\n".join(heard)
    shown["stdout"] = (tmp_path / "stdout").read_text("utf-8")
    shown["stderr"] = (tmp_path / "stderr").read_text("utf-8")
    shown["sidecars"] = on_disk(tmp_path / "root", media=False)
    shown["disk"] = on_disk(tmp_path / "state")
    for line in shown["stdout"].splitlines():  # it belongs to the protocol
        assert json.loads(line)["jsonrpc"] == "2.0"
    assert "anymedia mcp:" in shown["stderr"]
    assert "CANARYPROMPT" in shown["disk"]
    assert quoting(name) not in "".join(shown.values())
    for text in (text for channel, text in shown.items() if channel != "disk"):
        assert "\x1b" not in text
        assert "\u202e" not in text
    look_through(name, "over stdio", level, shown, prompts=("disk",))
