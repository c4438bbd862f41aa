"""The commands that show schema and guidance."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import pytest

from anymedia.cli.app import cli

KEYS = ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY", "OPENROUTER_API_KEY")


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no settings, a state directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "state"))


def run(*words: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize(
    ("dialect", "key"), [("openai", "parameters"), ("openai-strict", "parameters"), ("anthropic", "input_schema"), ("mcp", "inputSchema")]
)
def test_schema_command_prints_json(dialect: str, key: str) -> None:
    done = run("schema", "--dialect", dialect)
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)[key]["properties"]["prompt"]


def test_guide_command_prints_the_guidance(tmp_path: Path) -> None:
    full, compact = run("guide"), run("guide", "--compact", "--json")
    assert full.stdout.startswith("# Media generation")
    received = json.loads(compact.stdout)
    assert received["tokens_estimated"] < 800
    assert len(received["guidance"]) < len(full.stdout)
    assert not (tmp_path / "state").exists()  # no store is opened for it


def test_mcp_command_with_a_missing_root_is_an_error() -> None:
    done = run("mcp", "--root", "nowhere")
    assert done.exit_code != 0
    assert "is not a directory" in done.stderr
    assert done.stdout == ""
