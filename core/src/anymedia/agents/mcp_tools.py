"""The tools of the MCP server: names, schemas, and which arguments they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidRequest, Problem, RequestError, UnsupportedOperation, did_you_mean
from ..plugins.instances import BackendInstance
from .schema import input_schema, result_schema, tool_schema

__all__ = ["arguments_problem", "tools_of"]

_JOB_ID = {"type": "string", "description": "from an answer, an error or a progress message"}
_READS = {"readOnlyHint": True, "openWorldHint": False}
_ANY = {"type": "object", "properties": {"success": {"type": "boolean"}}, "required": ["success"]}


def tools_of(instances: Mapping[str, BackendInstance]) -> list[dict[str, Any]]:
    """Return the tools, as the protocol lists them."""
    backends = {"type": "string", "description": "just this backend", "enum": sorted(instances)} if instances else {"type": "string"}
    job = {
        "job_id": _JOB_ID,
        "action": {"type": "string", "enum": ["look", "wait"], "description": "look at it, or wait for its result"},
        "deadline": {"type": "number", "minimum": 0, "maximum": 86400, "description": "seconds to wait at most"},
    }
    one = {"job_id": _JOB_ID}
    knows = "What each backend can do here and now, in full, and what the others lack."
    stops = "Stop a job; what the provider already did may be charged."
    plans = "Say what generate_media would do with the same arguments: by whom, adjusted how, at what price. Spends nothing."
    again = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True}
    return [
        tool_schema("mcp", instances=instances),
        _tool("plan_media", "Plan media", plans, input_schema(instances), _ANY, _READS),
        _tool("media_capabilities", "Media capabilities", knows, _takes({"backend": backends}), _ANY, _READS),
        _tool("media_job", "Media job", "Look at a job, or wait for its result.", _takes(job, "job_id"), result_schema(), again),
        _tool("media_cancel", "Cancel a media job", stops, _takes(one, "job_id"), result_schema(), again | {"destructiveHint": True}),
    ]


def _takes(fields: dict[str, Any], *needed: str) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}


def _tool(name: str, title: str, about: str, takes: dict[str, Any], gives: dict[str, Any], hints: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "title": title, "description": about, "inputSchema": takes, "outputSchema": gives, "annotations": hints}


_TAKES: Mapping[str, tuple[set[str], set[str]]] = {
    "media_capabilities": ({"backend"}, set()),
    "media_job": ({"job_id", "action", "deadline"}, {"job_id"}),
    "media_cancel": ({"job_id"}, {"job_id"}),
}


def arguments_problem(name: str, given: Mapping[str, Any], known: Iterable[str]) -> RequestError | None:
    """Return what is wrong with a tool's name or the names of its arguments; generate_media checks its own."""
    if name not in known:
        return UnsupportedOperation(f"there is no tool {name[:60]!r}{did_you_mean(name[:60], known)}")
    if name not in _TAKES:
        return None
    takes, needs = _TAKES[name]
    problems = [Problem(f"$[{str(key)[:40]!a}]", "there is no such argument") for key in sorted(given.keys() - takes)]
    problems += [Problem(f"$.{key}", "is missing") for key in sorted(needs - given.keys())]
    return InvalidRequest(problems) if problems else None
