"""What a start of the server loads and costs, up to its first answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)  # a busy machine may take long over a process; what is asserted does not depend on it
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
SAID = [
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
]
#: No host that only looks needs any of these.
HEAVY = {"openai", "google.genai", "grpc", "xai_sdk", "numpy", "cv2", "av", "PIL", "aiohttp"}
#: Nor these of our own: they carry calls out.
CARRYING_OUT = {"anymedia.router", "anymedia.execution.engine", "anymedia.state.sqlite", "anymedia.net.fetcher", "anymedia.agents.tool"}


def start(tmp_path: Path) -> tuple[list[dict[str, Any]], str, set[str]]:
    """Start a server without any key, and end it after its first answers; those, what it said on stderr, and what it imported."""
    words = ("-X", "importtime", "-m", "anymedia", "mcp")
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    env = kept | {"HOME": str(tmp_path), "ANYMEDIA_STATE": str(tmp_path / "state")}
    with (tmp_path / "stderr").open("w") as received, subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=received
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("".join(json.dumps(one) + "\n" for one in SAID))
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for one in SAID if "id" in one]
        process.stdin.close()
        rest = process.stdout.read()
    lines = (tmp_path / "stderr").read_text().splitlines()
    said = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert (process.returncode, rest) == (0, ""), said[-2000:]
    return answers, said, {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_start_without_a_key_names_what_is_missing_and_loads_no_sdk(tmp_path: Path) -> None:
    (hello, tools), said, loaded = start(tmp_path)
    assert hello["result"]["serverInfo"]["name"] == "anymedia"
    assert {tool["name"] for tool in tools["result"]["tools"]} >= {"generate_media", "plan_media"}
    assert "usable backends: local" in said
    for variable in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "XAI_API_KEY", "OPENROUTER_API_KEY"):
        assert variable in hello["result"]["instructions"]
        assert variable in said
    assert not (tmp_path / "state").exists()  # no store is opened before the first call
    assert {"mcp.server.lowlevel.server", "anymedia.agents.schema"} <= loaded
    assert not loaded & HEAVY
    assert not loaded & CARRYING_OUT
