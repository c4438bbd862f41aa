"""The tool's schema in each dialect, from the capabilities of the usable backends.

openai          {type, name, description, parameters}: the function tool of the Responses API
openai-strict   the same with strict: every field required, optional ones nullable, nothing additional
anthropic       {name, description, input_schema}
mcp             {name, title, description, inputSchema, outputSchema, annotations}
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from ..capabilities import Anything, Choice, InputRule, Option, Range
from ..errors import InvalidRequest, Problem
from ..generation_config import GenerationConfig
from ..plugins.instances import BackendInstance
from .available import Able, able_rows, continuing, joined, mask_rule, missing, option_words, role_rules

Dialect = Literal["openai", "openai-strict", "anthropic", "mcp"]

_ABOUT = "Make or change an image, a video or audio, or continue an earlier one. Paths lie in the working directory."


def tool_schema(
    dialect: Dialect = "mcp",
    *,
    instances: Mapping[str, BackendInstance] | None = None,
    router: Any = None,
    today: datetime.date | None = None,
    name: str = "generate_media",
) -> dict[str, Any]:
    """Return the schema of `generate_media` for the backends that are usable now.

    Args:
        dialect: the format.
        instances: the backend instances; by default the router's, or else what is installed and configured.
        router: source of the instances.
        today: the date by which lifecycles are judged.
        name: the name of the tool.

    Raises:
        InvalidRequest: an unknown dialect, or a name that the dialects do not allow.
    """
    if dialect not in get_args(Dialect):
        raise InvalidRequest([Problem("$.dialect", f"expected one of {', '.join(get_args(Dialect))}, got {str(dialect)[:40]!r}")])
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise InvalidRequest([Problem("$.name", f"expected 1 to 64 letters, digits, '_' or '-', got {name[:80]!r}")])
    found = router.instances if instances is None and router is not None else instances
    if found is None:
        found = installed()
    return _in_dialect(dialect, name, _about(found), input_schema(found, today))


def _in_dialect(dialect: Dialect, name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    if dialect == "mcp":
        hints = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": True}
        return mcp_tool(name, "Generate media", about, schema, result_schema(), hints)
    if dialect == "anthropic":
        return {"name": name, "description": about, "input_schema": schema}
    is_strict = dialect == "openai-strict"
    parameters = strict(schema) if is_strict else schema
    return {"type": "function", "name": name, "description": about, "parameters": parameters, "strict": is_strict}


def mcp_tool(name: str, title: str, about: str, takes: dict[str, Any], gives: dict[str, Any], hints: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as the Model Context Protocol lists it."""
    return {"name": name, "title": title, "description": about, "inputSchema": takes, "outputSchema": gives, "annotations": hints}


def installed() -> dict[str, BackendInstance]:
    """Return the installed and configured instances, without opening a store."""
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
    """Return the JSON Schema of the arguments: only fields, values and ranges that some usable backend supports."""
    rows = able_rows(instances, today)
    needed = [] if any(able.row.task for able in rows) else ["prompt"]  # most tasks take no prompt
    return {"type": "object", "properties": call_fields(rows), "required": needed, "additionalProperties": False}


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema in which every field is required and optional ones are nullable."""
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


def typed(kind: str, **rules: Any) -> dict[str, Any]:
    """Return the schema of a value of a type."""
    return {"type": kind, **rules}


def object_of(needed: Sequence[str], **fields: str | dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with these fields, each a schema or the name of its type."""
    properties = {name: typed(field) if isinstance(field, str) else field for name, field in fields.items()}
    return {"type": "object", "properties": properties, "required": list(needed)}


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of an answer: a result, a job, a plan, several of them, or an error."""
    texts, objects = typed("array", items=typed("string")), typed("array", items=typed("object"))
    charged = typed("string", enum=["no", "yes", "unknown"])
    sizes = {"width": "integer", "height": "integer", "seconds": "number"}
    file = object_of(("path", "mime", "bytes"), path="string", mime="string", bytes="integer", **sizes, continuation_id="string")
    said: dict[str, Any] = {
        "code": "string",
        "message": "string",
        "fix": "string",
        "try_backends": texts,
        "retry": "boolean",
        "charged": charged,
    }
    return object_of(
        ("success",),
        success="boolean",
        files=typed("array", items=file),
        continuation_id={"type": ["string", "null"]},
        charged=charged,
        **dict.fromkeys(("backend", "model", "operation", "job_id", "state"), "string"),
        adjustments=objects,
        ignored=texts,
        warnings=typed("array", items=object_of(("code", "text"), code="string", text="string")),
        cost="object",
        results=objects,
        data={},
        error=object_of(tuple(said), **said, job_id="string"),
    )


#: A longer list of values appears only in the description.
_LONGEST_ENUM = 40
_TEXT: Mapping[str, Any] = {"type": "string"}
_PICTURE: Mapping[str, Any] = {
    "anyOf": [
        typed("string", description="path"),
        object_of(("path",), path="string") | {"additionalProperties": False},
        object_of(("image_url",), image_url="string") | {"additionalProperties": False},
    ]
}
#: Options of a request that a call has under the same name, the most common first.
_OPTIONS = (
    *("size", "aspect_ratio", "resolution", "quality", "background", "duration", "n", "output_format", "negative_prompt", "seed"),
    *("guidance_scale", "voice", "speed", "instructions"),
)
#: Type of a field of `GenerationConfig` -> its type in a schema.
_TYPES = {"str | None": "string", "float | None": "number", "int | None": "integer"}


def call_fields(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the properties of a call: name -> schema, the most common first."""
    known = attrs.fields_dict(GenerationConfig)
    docs = {name: field.metadata["doc"] for name, field in known.items()}
    backends = list(dict.fromkeys(able.backend for able in rows))
    fields: dict[str, Any] = {"prompt": dict(_TEXT), "output_path": dict(_TEXT), "mode": _words(_grouped(rows, lambda a: (a.model.media,)))}
    one = {"type": "string", "enum": ["auto", *backends]}
    fields["backend"] = {"anyOf": [one, {"type": "array", "items": {"type": "string", "enum": backends}}]} if backends else one
    fields["model"] = {"type": "string"}
    if tasks := _grouped(rows, lambda a: (a.row.task,) if a.row.task else ()):
        fields["task"] = _words(tasks)
        fields["task_inputs"] = _task_inputs(tasks)
    fields |= _inputs(rows) | _choices(rows)
    for name in _OPTIONS:
        takers = [(able, able.row.options[name]) for able in rows if name in able.row.options]
        if name == "n" and rows:  # the core splits it into several calls
            fields[name] = {"type": "integer", "minimum": 1, "maximum": 20}
        elif takers:
            fields[name] = _option(_TYPES[str(known[name].type)], takers)
    if extra := _extra(rows):
        fields["extra_params"] = extra
    fields |= _how_fields()
    models = list(dict.fromkeys(able.name for able in rows))
    about = {"mode": "what to make", "backend": docs["backend"] + "; a list runs concurrently"}
    about["model"] = f"which model; by default the best: {joined(models, 12)}" if models else "which model"
    return {name: _described(field, about.get(name, docs.get(name, ""))) for name, field in fields.items()}


def _described(field: dict[str, Any], doc: str) -> dict[str, Any]:
    details = field.pop("description", "")
    text = f"{doc}. {details}" if doc and details else doc or details
    return {**field, "description": text} if text else field


def _words(takers: Mapping[str, Iterable[Able]]) -> dict[str, Any]:
    """Return a closed set of words, each with the backends that support it."""
    by = "; ".join(f"{word}: {_who(ables)}" for word, ables in takers.items())
    return typed("string", enum=list(takers), description=by)


def _who(takers: Iterable[Able]) -> str:
    return ", ".join(dict.fromkeys(able.backend for able in takers))


def _file(takers: Iterable[Able]) -> dict[str, Any]:
    return typed("string", description=f"Supported by {_who(takers)}")


def _inputs(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the fields for images, masks, videos and continuation ids that some operation spec supports."""
    fields: dict[str, Any] = {}
    images = [a for a in rows if {"source", "references", "first_frame", "image"} & a.row.inputs.keys()]
    if images:
        fields["input_images"] = {"type": "array", "items": dict(_PICTURE), "description": f"Supported by {_who(images)}"}
    if continued := [a for a in rows if continuing(a)]:
        fields["continue_from"] = {**_TEXT, "description": f"Only its own backend can continue it: {_who(continued)}"}
    videos = [a for a in continued if a.operation == "continue_video"]
    if ways := _grouped(videos, lambda a: getattr(continuing(a), "ways", ())):
        fields["continue_as"] = _words(ways)
    masked = [a for a in rows if mask_rule(a)]
    modes = _grouped(masked, lambda a: getattr(mask_rule(a), "modes", ()))
    if given := modes.get("user_provided"):
        fields["mask_path"] = _file(given)
        fields["protect"] = {"type": "string", "enum": ["exact"]}
    found = {mode: takers for mode, takers in modes.items() if mode != "user_provided"}
    if found:
        fields["mask_mode"] = _words({"auto": [able for takers in found.values() for able in takers], **found})
    if "semantic" in found:
        about = f"Supported by {_who(found['semantic'])}"
        fields["segmentation_classes"] = typed("array", items=typed("integer"), description=about)
    for role in ("style", "control", "subject"):
        takers = [(a, rule) for a in rows for name, rule, _ in role_rules(a) if name == role]
        fields |= _role(role, takers)
    if last := [a for a in rows if "last_frame" in a.row.inputs]:
        fields["last_frame_path"] = _file(last)
    if source := [a for a in rows if (a.operation == "continue_video" and "source" in a.row.inputs) or "video" in a.row.inputs]:
        fields["input_video_path"] = _file(source)
    return fields


def _task_inputs(tasks: Mapping[str, Sequence[Able]]) -> dict[str, Any]:
    """Return the field for the inputs of tasks: each with its role, as input_images gives one image."""
    roles = {task: dict.fromkeys(role for able in ables for role in able.row.inputs) for task, ables in tasks.items()}
    by = "; ".join(f"{task}: {', '.join(names)}" for task, names in roles.items())
    one = {"anyOf": [*_PICTURE["anyOf"], {"type": "array", "items": dict(_PICTURE)}]}
    properties = dict.fromkeys((role for names in roles.values() for role in names), one)
    return {"type": "object", "properties": properties, "additionalProperties": False, "description": f"Roles: {by}"}


def _grouped(rows: Iterable[Able], values: Any) -> dict[str, list[Able]]:
    groups: dict[str, list[Able]] = {}
    for able in rows:
        for value in values(able):
            groups.setdefault(value, []).append(able)
    return groups


def _role(role: str, takers: Sequence[tuple[Able, InputRule]]) -> dict[str, Any]:
    if not takers:
        return {}
    fields: dict[str, Any] = {f"{role}_image_path": _file(able for able, _ in takers)}
    if role != "control":
        fields[f"{role}_description"] = dict(_TEXT)
    if role == "style":
        return fields
    types = list(dict.fromkeys(t for _, rule in takers for t in rule.types))
    free = any(not rule.types for _, rule in takers)
    fields[f"{role}_type"] = dict(_TEXT) if free or not types else {"type": "string", "enum": types}
    return fields


def _choices(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the fields that choose a kind of the same operation."""
    fields: dict[str, Any] = {}
    modes = {"edit_mode": ("inpaint", "inpaint"), "audio_type": ("generate_audio", "speech")}
    for name, (operation, silent) in modes.items():
        takers = [a for a in rows if a.operation == operation]
        groups = _grouped(takers, lambda a, n=name, s=silent: getattr(a.row.options.get(n), "one_of", (s,)))
        if groups:
            fields[name] = _words(groups)
    return fields


def _option(kind: str, takers: Sequence[tuple[Able, Option]]) -> dict[str, Any]:
    """Combine one option of several operation specs: all values, or the widest range."""
    by_words: dict[str, list[Able]] = {}
    for able, option in takers:
        by_words.setdefault(option_words(option), []).append(able)
    details = "; ".join(f"{_who(ables)}: {words}" for words, ables in list(by_words.items())[:6])
    field: dict[str, Any] = {"type": kind, "description": details[:600]}
    options = [option for _, option in takers]
    if kind == "string":
        values = list(dict.fromkeys(v for o in options if isinstance(o, Choice) for v in o.one_of))
        if all(isinstance(o, Choice) for o in options) and len(values) <= _LONGEST_ENUM:
            field["enum"] = values
        return field
    ends = [end for o in options for end in _ends(o)]
    if ends and all(isinstance(o, Range | Choice) for o in options):
        field |= {"minimum": _whole(min(ends)), "maximum": _whole(max(ends))}
    return field


def _ends(option: Option) -> tuple[float, ...]:
    if isinstance(option, Range):
        return (option.min, option.max)
    return tuple(v for v in getattr(option, "one_of", ()) if isinstance(v, int | float) and not isinstance(v, bool))


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def _extra(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the object of options that individual models declare."""
    takers: dict[str, list[tuple[Able, Option]]] = {}
    for able in rows:
        for name, option in able.row.extra_params.items():
            takers.setdefault(name, []).append((able, option))
    if not takers:
        return {}
    inner = {}
    for name, found in takers.items():
        kinds = {_json_type(option) for _, option in found}
        if len(kinds) == 1 and (kind := kinds.pop()) in {"string", "integer", "number", "boolean"}:
            doc = next((option.doc for _, option in found if option.doc), "")
            field = _option(kind, found) if kind != "boolean" else {"type": "boolean", "description": f"{_who(a for a, _ in found)}"}
            inner[name] = _described(field, doc)
    return {"type": "object", "properties": inner, "additionalProperties": False} if inner else {}


def _json_type(option: Option) -> str:
    if isinstance(option, Anything):
        return option.type
    if isinstance(option, Range):
        return "integer" if option.integer else "number"
    if isinstance(option, Choice):
        kinds = {type(v) for v in option.one_of}
        return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(kinds.pop(), "") if len(kinds) == 1 else ""
    return "string"


def _how_fields() -> dict[str, Any]:
    """Return the fields about how the call is made, which do not depend on the backend."""
    return {
        "strict": {"type": "boolean"},
        "max_cost_usd": {"type": "number", "minimum": 0},
        "overwrite": {"type": "boolean"},
        "wait": {"type": "boolean", "description": "false: return a job_id at once, for media_job"},
        "again": {"type": "boolean", "description": "true: pay for a repeated request again instead of returning its job"},
        "deadline": {"type": "number", "minimum": 0, "maximum": 86400, "description": "seconds to wait; the job keeps running after that"},
    }
