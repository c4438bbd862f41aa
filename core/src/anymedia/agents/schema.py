"""The tool's schema in each dialect, made from what the usable backends take right now.

openai          {type, name, description, parameters}: the function tool of the Responses API
openai-strict   the same with strict: every field required, nullable where it may be left out, nothing additional
anthropic       {name, description, input_schema}
mcp             {name, title, description, inputSchema, outputSchema, annotations}
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from ..errors import InvalidRequest, Problem
from ..plugins.instances import BackendInstance
from .available import able_rows, missing
from .fields import call_fields

__all__ = ["Dialect", "input_schema", "result_schema", "strict", "tool_schema"]

Dialect = Literal["openai", "openai-strict", "anthropic", "mcp"]

_ABOUT = "Make or change an image, a video or a sound, or go on from an earlier one. Paths lie in the working directory."


def tool_schema(
    dialect: Dialect = "mcp",
    *,
    instances: Mapping[str, BackendInstance] | None = None,
    router: Any = None,
    today: datetime.date | None = None,
    name: str = "generate_media",
) -> dict[str, Any]:
    """Return the schema of `generate_media` for the backends that are usable here and now.

    Args:
        dialect: whose rules it follows.
        instances: the backend instances; by default the router's, or else what is installed and configured.
        router: where to take the instances from.
        today: the date by which lifecycles are judged.
        name: what the tool is called.

    Raises:
        InvalidRequest: no such dialect, or a name that the dialects do not take.
    """
    if dialect not in get_args(Dialect):
        raise InvalidRequest([Problem("$.dialect", f"expected one of {', '.join(get_args(Dialect))}, got {str(dialect)[:40]!r}")])
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise InvalidRequest([Problem("$.name", f"expected 1 to 64 letters, digits, '_' or '-', got {name[:80]!r}")])
    found = router.instances if instances is None and router is not None else instances
    if found is None:
        found = installed()
    return _DIALECTS[dialect](name, _about(found), input_schema(found, today))


def _function(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": about, "parameters": schema, "strict": False}


def _strict_function(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": about, "parameters": strict(schema), "strict": True}


def _plain_tool(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": about, "input_schema": schema}


def _mcp_tool(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": "Generate media",
        "description": about,
        "inputSchema": schema,
        "outputSchema": result_schema(),
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": True},
    }


_DIALECTS: Mapping[str, Callable[[str, str, dict[str, Any]], dict[str, Any]]] = {
    "openai": _function,
    "openai-strict": _strict_function,
    "anthropic": _plain_tool,
    "mcp": _mcp_tool,
}


def installed() -> dict[str, BackendInstance]:
    """Return the instances of what is installed and configured, without opening any store."""
    from ..plugins.instances import make_instances
    from ..plugins.registry import discover
    from ..settings import load_settings

    settings = load_settings()
    return make_instances(discover(allow=settings.plugins_allow, disabled=settings.disabled), settings)


def _about(instances: Mapping[str, BackendInstance]) -> str:
    usable = ", ".join(name for name, i in instances.items() if i.usable and len(i.not_installed) < len(i.matrix.models)) or "none"
    lacking = "; ".join(f"{name} lacks {', '.join(words)}" for name, words in missing(instances).items())
    text = f"{_ABOUT} Usable backends: {usable}." + (f" Not usable: {lacking}." if lacking else "")
    return text[:1000]


def input_schema(instances: Mapping[str, BackendInstance], today: datetime.date | None = None) -> dict[str, Any]:
    """Return the JSON Schema of the arguments: only fields, values and ranges that some usable backend takes."""
    return {
        "type": "object",
        "properties": call_fields(able_rows(instances, today)),
        "required": ["prompt"],
        "additionalProperties": False,
    }


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in which every field is required and those that may be left out are nullable."""
    if "properties" not in schema:
        return dict(schema)
    needed = set(schema.get("required", ()))
    inner = {name: _strict_field(field, name in needed) for name, field in schema["properties"].items()}
    return {**schema, "properties": inner, "required": list(inner), "additionalProperties": False}


def _strict_field(field: Mapping[str, Any], needed: bool) -> dict[str, Any]:
    made = strict(field)
    if "items" in made:
        made["items"] = _strict_field(made["items"], True)
    if "anyOf" in made:
        made["anyOf"] = [_strict_field(one, True) for one in made["anyOf"]]
    return made if needed else _nullable(made)


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in field:
        return field | {"anyOf": [*field["anyOf"], {"type": "null"}]}
    if "enum" in field:
        field = field | {"enum": [*field["enum"], None]}
    return field | {"type": [field["type"], "null"]}


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of an answer: a result, a job, a plan, several of them, or an error."""
    texts = {"type": "array", "items": {"type": "string"}}
    warning = {
        "type": "object",
        "properties": {"code": {"type": "string"}, "text": {"type": "string"}},
        "required": ["code", "text"],
    }
    file = {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "mime": {"type": "string"},
            "bytes": {"type": "integer"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
            "seconds": {"type": "number"},
            "continuation_id": {"type": "string"},
        },
        "required": ["path", "mime", "bytes"],
    }
    error = {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "fix": {"type": "string"},
            "try_backends": texts,
            "retry": {"type": "boolean"},
            "charged": {"type": "string", "enum": ["no", "yes", "unknown"]},
            "job_id": {"type": "string"},
        },
        "required": ["code", "message", "fix", "try_backends", "retry", "charged"],
    }
    return {
        "type": "object",
        "properties": {
            "success": {"type": "boolean"},
            "files": {"type": "array", "items": file},
            "continuation_id": {"type": ["string", "null"]},
            "charged": {"type": "string", "enum": ["no", "yes", "unknown"]},
            "backend": {"type": "string"},
            "model": {"type": "string"},
            "operation": {"type": "string"},
            "adjustments": {"type": "array", "items": {"type": "object"}},
            "ignored": texts,
            "warnings": {"type": "array", "items": warning},
            "cost": {"type": "object"},
            "job_id": {"type": "string"},
            "state": {"type": "string"},
            "results": {"type": "array", "items": {"type": "object"}},
            "error": error,
        },
        "required": ["success"],
    }
