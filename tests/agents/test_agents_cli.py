"""The commands that show schema and guidance."""

from __future__ import annotations

import json
import os
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
