"""``anymedia plan``: any media command with ``--dry-run``."""

from __future__ import annotations

import click

from .entry import MEDIA
from .lazy import LazyGroup

__all__ = ["plan"]


class _Planning(LazyGroup):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, ["--dry-run", *rest]


plan = _Planning(
    name="plan",
    lazy=MEDIA,
    help="Say what would be sent, where, at what price, and why not elsewhere; spend nothing. Takes what the command itself takes.",
    no_args_is_help=True,
)
