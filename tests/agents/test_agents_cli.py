"""The commands that show schema and guidance, and what a start of the server costs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    env = kept | {"HOME": str(tmp_path), "ANYMEDIA_STATE": str(tmp_path / "state")}
    return subprocess.run([sys.executable, "-m", "anymedia", *words], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("dialect", "key"), [("openai", "parameters"), ("openai-strict", "parameters"), ("anthropic", "input_schema"), ("mcp", "inputSchema")]
)
def test_the_schema_is_printed_as_json(tmp_path: Path, dialect: str, key: str) -> None:
    done = run(tmp_path, "schema", "--dialect", dialect)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[key]["properties"]["prompt"]


def test_the_guidance_is_printed(tmp_path: Path) -> None:
    full, compact = run(tmp_path, "guide"), run(tmp_path, "guide", "--compact", "--json")
    assert full.stdout.startswith("# Media generation")
    told = json.loads(compact.stdout)
    assert told["tokens_estimated"] < 800
    assert len(told["guidance"]) < len(full.stdout)
    assert not (tmp_path / "state").exists()  # no store is opened for it


def test_a_root_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    done = run(tmp_path, "mcp", "--root", "nowhere")
    assert done.returncode != 0
    assert "is not a directory" in done.stderr
    assert done.stdout == ""


def test_a_start_costs_little_more_than_the_sdk_it_is_made_of(tmp_path: Path) -> None:
    """CPU time until the end of its input, beside importing the SDK alone: ratios hold on a busy machine, seconds do not."""

    def cpu(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    sdk = min(cpu("-c", "import mcp.server.lowlevel, mcp.server.stdio") for _ in range(3))
    whole = min(cpu("-m", "anymedia", "mcp") for _ in range(3))
    print(f"importing the SDK {sdk:.2f} s of CPU, the whole start and end {whole:.2f} s")
    assert whole < 2.5 * sdk
