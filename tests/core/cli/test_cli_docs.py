"""docs/cli.md describes every command."""

from __future__ import annotations

import re
from pathlib import Path

import click

from anymedia.cli.app import COMMANDS

PAGE = (Path(__file__).parents[3] / "docs/cli.md").read_text("utf-8")


def test_every_command_is_documented() -> None:
    quoted = {word for text in re.findall(r"`([^`]+)`", PAGE) for word in text.split()[:1]}
    assert {name for key, lazy in COMMANDS.items() for name in (key, *lazy.aliases)} - quoted == set()


def test_every_subcommand_is_documented() -> None:
    for name, lazy in COMMANDS.items():
        command = lazy.load()
        if isinstance(command, click.Group):
            line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name} "))
            assert [inner for inner in command.commands if f"`{inner}" not in line and f"{name} {inner}" not in line] == []
