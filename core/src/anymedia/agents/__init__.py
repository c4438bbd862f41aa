"""The interface for agents: one tool, its schema, its guidance, and an MCP server.

normalize.py    a call as the agent wrote it -> single calls; other tools' spellings; which paths are allowed
tool.py         MediaTool: generate (also several calls concurrently), plan, follow jobs; answers with dicts
api.py          generate_media and related functions, over one router per event loop
responses.py    results, plans, jobs and errors as JSON
available.py    what the usable backends can do now, from their matrices
schema.py       the tool's schema and its fields, in each dialect
prompt.py       guidance for a system prompt, with example calls
mcp_server.py   the MCP server
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

#: Name -> its module, if that is not ``api``.
_MODULES = {"MediaTool": "tool", "guidance": "prompt", "tell": "tool", "tool_schema": "schema"}

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
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f".{_MODULES.get(name, 'api')}", __name__), name)
    globals()[name] = found
    return found
