"""``anymedia mcp``: serve agents over the Model Context Protocol."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import click

__all__ = ["mcp"]


@click.command("mcp")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Every path lies in here; by default the working directory.",
)
@click.option("--http", is_flag=True, help="Streamable HTTP on 127.0.0.1 instead of standard input and output.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Of --http; 0 takes a free one.")
def mcp(root: Path, http: bool, port: int) -> None:
    """Serve agents over MCP: generate_media, plan_media, media_capabilities, media_job, media_cancel.

    Standard output belongs to the protocol; which backends are usable, and what the others lack, is said on stderr.
    """
    from ..agents.mcp_server import MediaServer, serve_http, serve_stdio, state_of

    server = MediaServer(root)
    click.echo(f"anymedia mcp: {state_of(server.instances)}; root {server.root}", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        if http:
            asyncio.run(serve_http(server, port=port, ready=lambda url: click.echo(f"anymedia mcp: serving at {url}", err=True)))
        else:
            asyncio.run(serve_stdio(server))
