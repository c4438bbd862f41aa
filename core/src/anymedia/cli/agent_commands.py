"""``anymedia mcp``, ``schema`` and ``guide``: the commands for agents and their hosts."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from .console import Console
from .environment import AS_JSON
from .process import StdinLines, StdoutLines, run


@click.command("mcp")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Directory that all paths must lie in (default: the working directory).",
)
@click.option("--http", is_flag=True, help="Serve streamable HTTP on 127.0.0.1 instead of standard input and output.")
@click.option("--realm", metavar="NAME", help="Realm of the jobs that clients see (default: derived from the directory).")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port for --http; 0 chooses a free one.")
def mcp(root: Path, http: bool, realm: str | None, port: int) -> None:
    """Serve agents over MCP: generate_media, plan_media, media_capabilities, media_job, media_jobs, media_cancel.

    Standard output carries only the protocol; the usable backends, and what the others lack, are printed on stderr.
    """
    from ..agents.mcp_server import MediaServer, serve_http, serve_stdio, state_of

    server = MediaServer(root, realm=realm)
    click.echo(f"anymedia mcp: {state_of(server.instances)}; root {server.root}; realm {server.realm()}", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        if http:
            run(serve_http(server, port=port, ready=lambda url: click.echo(f"anymedia mcp: serving at {url}", err=True)))
        else:
            run(serve_stdio(server, StdinLines(), StdoutLines()))


@click.command("schema")
@click.option(
    "--dialect",
    type=click.Choice(["openai", "openai-strict", "anthropic", "mcp"]),
    default="mcp",
    show_default=True,
    help="Schema dialect.",
)
@click.option("--name", default="generate_media", show_default=True, metavar="NAME", help="Name of the tool.")
@click.option("--json", "as_json", is_flag=True, help="Print the schema on one line.")
def schema(dialect: str, name: str, as_json: bool) -> None:
    """Print the JSON schema of generate_media, limited to what the usable backends accept."""
    from ..agents.schema import tool_schema

    found = tool_schema(dialect, name=name)  # type: ignore[arg-type]
    Console().data((json.dumps(found, indent=None if as_json else 2) + "\n").encode())


@click.command("guide")
@click.option("--compact", is_flag=True, help="Only the capability table, the ways to continue, and the rules.")
@AS_JSON
def guide(compact: bool, as_json: bool) -> None:
    """Print guidance for an agent: what the usable backends can do, with examples of calls."""
    from ..agents.prompt import estimate_tokens, guidance

    text = guidance(compact=compact)
    Console(json=as_json).answer({"guidance": text, "tokens_estimated": estimate_tokens(text)}, text.splitlines())
