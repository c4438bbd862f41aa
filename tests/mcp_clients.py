"""Clients of the official MCP SDK. The first of them imports it: while the tests are read, that would take each worker a second."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp import Client


def connect(server: Any, **more: Any) -> Client:
    """Return a client, to be entered, of a server in this process or of a URL."""
    from mcp import Client

    return Client(server, **more)


def connect_stdio(args: Sequence[str], env: Mapping[str, str], cwd: Path, errors: Any = sys.__stderr__, **more: Any) -> Client:
    """Return a client, to be entered, of a Python process that is started with the given arguments."""
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    command = StdioServerParameters(command=sys.executable, args=list(args), env=dict(env), cwd=str(cwd))
    return connect(stdio_client(command, errlog=errors), **more)
