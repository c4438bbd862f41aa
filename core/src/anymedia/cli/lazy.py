"""A group whose commands are imported one at a time, when they are called.

Names, aliases and one-line helps are static: ``--help`` and a misspelt name import no command at all.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import attrs
import click

from ..errors import did_you_mean

__all__ = ["Lazy", "LazyGroup"]


@attrs.frozen
class Lazy:
    """Where a command lives (``module:attribute``, inside this package), its one-line help, its other names."""

    where: str
    help: str
    aliases: tuple[str, ...] = ()

    def load(self) -> click.Command:
        """Import it."""
        module, _, name = self.where.partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return command


class LazyGroup(click.Group):
    """A group of `Lazy` commands."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they were given: the commonest first."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, by its name or an alias."""
        found = self.lazy.get(cmd_name) or next((c for c in self.lazy.values() if cmd_name in c.aliases), None)
        return None if found is None else found.load()

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command an argument names; suggest a near name without importing anything."""
        name = args[0]
        known = [n for key, c in self.lazy.items() for n in (key, *c.aliases)]
        if name not in known and not name.startswith("-"):
            raise click.UsageError(f"no command {name!r}{did_you_mean(name, known)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        rows = [(", ".join((name, *c.aliases)), c.help) for name, c in self.lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
