"""The page of the command line's commands with their options, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from anymedia.cli.app import COMMANDS

from .parts import NOTE

__all__ = ["commands"]

_HEAD = """All commands of `anymedia` with their options, as `anymedia COMMAND --help` prints them. The [guide](cli.md) describes
how they behave, their output and the exit codes.
"""


def commands() -> str:
    """Return the page."""
    out = ["# Commands\n", NOTE, _HEAD]
    for name, lazy in COMMANDS.items():
        command = lazy.load()
        also = f" Also called `{'`, `'.join(lazy.aliases)}`." if lazy.aliases else ""
        if isinstance(command, click.Group):
            out += [f"## `{name}`\n", _prose(command) + also + "\n"]
            for inner in command.commands.values():
                out += _section(f"{name} {inner.name}", inner, 3)
        else:
            out += _section(name, command, 2, also)
    return "\n".join(out)


def _prose(command: click.Command) -> str:
    text = " ".join(re.split(r"\n\s*\n", (command.help or "").strip())[0].split())
    return text.replace("<", "&lt;")


def _section(name: str, command: click.Command, level: int, also: str = "") -> Iterator[str]:
    """Yield the section of a command: its usage, its help and a table of its options."""
    context = click.Context(command, info_name=f"anymedia {name}")
    pieces = " ".join(filter(None, command.collect_usage_pieces(context)))
    yield f"{'#' * level} `{name}`\n"
    yield f"```text\nanymedia {name} {pieces}\n```\n"
    yield _prose(command) + also + "\n"
    options = [
        option
        for option in command.get_params(context)
        if isinstance(option, click.Option) and option is not command.get_help_option(context)
    ]
    rows = [found for option in options if (found := option.get_help_record(context))]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{_cell(names)}` | {_cell(meaning).replace('<', '&lt;')} |" for names, meaning in rows)
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
