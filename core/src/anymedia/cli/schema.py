"""``anymedia schema``: the tool's schema for an agent's host."""

from __future__ import annotations

import json

import click

from .console import Console

__all__ = ["schema"]


@click.command("schema")
@click.option(
    "--dialect",
    type=click.Choice(["openai", "openai-strict", "anthropic", "mcp"]),
    default="mcp",
    show_default=True,
    help="Whose rules it follows.",
)
@click.option("--name", default="generate_media", show_default=True, metavar="NAME", help="What the tool is called.")
@click.option("--json", "as_json", is_flag=True, help="Print it on one line (it is JSON either way).")
def schema(dialect: str, name: str, as_json: bool) -> None:
    """Print the schema of generate_media: only what the backends that are usable here and now take."""
    from ..agents.schema import tool_schema

    found = tool_schema(dialect, name=name)  # type: ignore[arg-type]
    Console().data((json.dumps(found, indent=None if as_json else 2) + "\n").encode())
