"""What an agent meets: one tool, its schema, its guidance, and a server that offers them.

aliases.py      what a caller wrote -> single calls; other tools' spellings
places.py       where an agent's paths start and may lie
tool.py         MediaTool: generate, plan, follow; answers with dicts
several.py      several calls side by side, one purse
calls.py        generate_media and its kin, over a tool kept for each event loop
answers.py      results, plans, jobs and errors as JSON
usable.py       what the usable backends can do now, from their matrices
schema.py       the tool's schema in each dialect; fields.py the fields in it
guide.py        the words of a system prompt; examples.py the worked calls in it
mcp.py          the MCP server; mcp_tools.py its tools, preview.py the small picture it shows
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import (
        close_media,
        generate_batch,
        generate_media,
        generate_media_sync,
        media_job,
        media_job_sync,
        plan_media,
        plan_media_sync,
    )
    from .prompt import guidance
    from .schema import tool_schema
    from .tool import MediaTool, tell

_HOMES = {
    "MediaTool": "tool",
    "close_media": "api",
    "generate_batch": "api",
    "generate_media": "api",
    "generate_media_sync": "api",
    "guidance": "prompt",
    "media_job": "api",
    "media_job_sync": "api",
    "plan_media": "api",
    "plan_media_sync": "api",
    "tell": "tool",
    "tool_schema": "schema",
}

__all__ = [
    "MediaTool",
    "close_media",
    "generate_batch",
    "generate_media",
    "generate_media_sync",
    "guidance",
    "media_job",
    "media_job_sync",
    "plan_media",
    "plan_media_sync",
    "tell",
    "tool_schema",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found
    return found
