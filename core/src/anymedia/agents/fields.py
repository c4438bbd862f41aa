"""The fields of a call as JSON Schema: each with the values that some usable row takes, and who takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from ..capabilities import Anything, Choice, InputRule, Option, Range
from ..generation_config import GenerationConfig
from .available import Able, continuing, joined, mask_rule, option_words, role_rules

__all__ = ["call_fields"]

#: A list of values longer than this is told in words only.
_LONGEST_ENUM = 40
_TEXT: Mapping[str, Any] = {"type": "string"}
_FILE: Mapping[str, Any] = {"type": "string"}
_PICTURE: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "path"},
        {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": False},
        {"type": "object", "properties": {"image_url": {"type": "string"}}, "required": ["image_url"], "additionalProperties": False},
    ]
}
#: Fields of a request that a call has under the same name, and the type of their values.
_OPTIONS: Mapping[str, str] = {
    "size": "string",
    "aspect_ratio": "string",
    "resolution": "string",
    "quality": "string",
    "background": "string",
    "duration": "number",
    "n": "integer",
    "output_format": "string",
    "negative_prompt": "string",
    "seed": "integer",
    "guidance_scale": "number",
    "voice": "string",
    "speed": "number",
    "instructions": "string",
}


def call_fields(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the properties of a call: name -> schema, the commonest first."""
    docs = {f.name: f.metadata["doc"] for f in attrs.fields(GenerationConfig)}
    backends = list(dict.fromkeys(able.backend for able in rows))
    fields: dict[str, Any] = {"prompt": dict(_TEXT), "output_path": dict(_TEXT), "mode": _words(_grouped(rows, lambda a: (a.model.media,)))}
    one = {"type": "string", "enum": ["auto", *backends]}
    fields["backend"] = {"anyOf": [one, {"type": "array", "items": {"type": "string", "enum": backends}}]} if backends else one
    fields["model"] = {"type": "string"}
    fields |= _inputs(rows) | _choices(rows)
    for name, kind in _OPTIONS.items():
        takers = [(able, able.row.options[name]) for able in rows if name in able.row.options]
        if name == "n" and rows:  # the core makes as many calls as it takes
            fields[name] = {"type": "integer", "minimum": 1, "maximum": 20}
        elif takers:
            fields[name] = _option(kind, takers)
    if extra := _extra(rows):
        fields["extra_params"] = extra
    fields |= _manner()
    said = {"mode": "what to make", "backend": docs["backend"] + "; a list runs side by side", "model": _models(rows)}
    return {name: _described(field, said.get(name, docs.get(name, "")), name) for name, field in fields.items()}


def _described(field: dict[str, Any], doc: str, name: str) -> dict[str, Any]:
    told = field.pop("description", "")
    text = f"{doc}. {told}" if doc and told else doc or told
    return {**field, "description": text} if text else field


def _words(takers: Mapping[str, Iterable[Able]]) -> dict[str, Any]:
    """Return a closed set of words, each with who takes it."""
    by = "; ".join(f"{word}: {', '.join(dict.fromkeys(a.backend for a in ables))}" for word, ables in takers.items())
    return {"type": "string", "enum": list(takers), "description": by}


def _who(takers: Iterable[Able]) -> str:
    return ", ".join(dict.fromkeys(able.backend for able in takers))


def _inputs(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the fields for pictures, masks, videos and handles that some row takes."""
    fields: dict[str, Any] = {}
    images = [a for a in rows if {"source", "references", "first_frame"} & a.row.inputs.keys()]
    if images:
        fields["input_images"] = {"type": "array", "items": dict(_PICTURE), "description": f"Taken by {_who(images)}"}
    if onward := [a for a in rows if continuing(a)]:
        fields["continue_from"] = {**_TEXT, "description": f"Only its own backend goes on from it: {_who(onward)}"}
    videos = [a for a in onward if a.operation == "continue_video"]
    if ways := _grouped(videos, lambda a: getattr(continuing(a), "ways", ())):
        fields["continue_as"] = _words(ways)
    masked = [a for a in rows if mask_rule(a)]
    modes = _grouped(masked, lambda a: getattr(mask_rule(a), "modes", ()))
    if given := modes.get("user_provided"):
        fields["mask_path"] = {**_FILE, "description": f"Taken by {_who(given)}"}
        fields["protect"] = {"type": "string", "enum": ["exact"]}
    found = {mode: takers for mode, takers in modes.items() if mode != "user_provided"}
    if found:
        fields["mask_mode"] = _words({"auto": _flat(found.values()), **found})
    if "semantic" in found:
        fields["segmentation_classes"] = {
            "type": "array",
            "items": {"type": "integer"},
            "description": f"Taken by {_who(found['semantic'])}",
        }
    for role in ("style", "control", "subject"):
        takers = [(a, rule) for a in rows for name, rule, _ in role_rules(a) if name == role]
        fields |= _role(role, takers)
    if last := [a for a in rows if "last_frame" in a.row.inputs]:
        fields["last_frame_path"] = {**_FILE, "description": f"Taken by {_who(last)}"}
    if source := [a for a in rows if a.operation == "continue_video" and "source" in a.row.inputs]:
        fields["input_video_path"] = {**_FILE, "description": f"Taken by {_who(source)}"}
    return fields


def _flat(groups: Iterable[Iterable[Able]]) -> list[Able]:
    found: list[Able] = []
    for group in groups:
        found += [able for able in group if able not in found]
    return found


def _grouped(rows: Iterable[Able], values: Any) -> dict[str, list[Able]]:
    groups: dict[str, list[Able]] = {}
    for able in rows:
        for value in values(able):
            groups.setdefault(value, []).append(able)
    return groups


def _role(role: str, takers: Sequence[tuple[Able, InputRule]]) -> dict[str, Any]:
    if not takers:
        return {}
    who = _who(able for able, _ in takers)
    fields: dict[str, Any] = {f"{role}_image_path": {**_FILE, "description": f"Taken by {who}"}}
    if role != "control":
        fields[f"{role}_description"] = dict(_TEXT)
    if role == "style":
        return fields
    types = list(dict.fromkeys(t for _, rule in takers for t in rule.types))
    free = any(not rule.types for _, rule in takers)
    fields[f"{role}_type"] = dict(_TEXT) if free or not types else {"type": "string", "enum": types}
    return fields


def _choices(rows: Sequence[Able]) -> dict[str, Any]:
    """Return the fields that choose between kinds of the same operation."""
    fields: dict[str, Any] = {}
    modes = {"edit_mode": ("inpaint", "inpaint"), "audio_type": ("generate_audio", "speech")}
    for name, (operation, silent) in modes.items():
        takers = [a for a in rows if a.operation == operation]
        groups = _grouped(takers, lambda a, n=name, s=silent: getattr(a.row.options.get(n), "one_of", (s,)))
        if groups:
            fields[name] = _words(groups)
    return fields


def _option(kind: str, takers: Sequence[tuple[Able, Option]]) -> dict[str, Any]:
    """Join what several rows take of one option: all their values, or the widest range."""
    by_words: dict[str, list[Able]] = {}
    for able, option in takers:
        by_words.setdefault(option_words(option), []).append(able)
    told = "; ".join(f"{_who(ables)}: {words}" for words, ables in list(by_words.items())[:6])
    field: dict[str, Any] = {"type": kind, "description": told[:600]}
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
    """Return the object of options that single models declare."""
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
            inner[name] = _described(field, doc, name)
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


def _manner() -> dict[str, Any]:
    """Return the fields that say how the call is made, which every backend takes."""
    return {
        "strict": {"type": "boolean"},
        "max_cost_usd": {"type": "number", "minimum": 0},
        "overwrite": {"type": "boolean"},
        "wait": {"type": "boolean", "description": "false: answer with a job_id at once, for media_job"},
        "deadline": {"type": "number", "minimum": 0, "maximum": 86400, "description": "seconds to wait; the job goes on after that"},
    }


def _models(rows: Sequence[Able]) -> str:
    names = list(dict.fromkeys(able.name for able in rows))
    return f"which model, by default the best: {joined(names, 12)}" if names else "which model"
