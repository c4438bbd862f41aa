"""Turn the JSON Schema or OpenAPI description of a model's input into the spec of the task ``run``, as a table of a capability file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from ..errors import PluginContractError
from ..fields import OPTION_NAME
from .loader import option_of

#: What a property may be, for ``roles``.
ROLES = frozenset({"image", "mask", "video", "audio", "prompt", "secret", "option", "none"})
_MEDIA = ("mask", "video", "audio", "image")
_FILE_FORMATS = frozenset({"uri", "url", "binary", "data-url", "uri-reference"})
_FILE_NAME = re.compile(r"(.*_)?(url|urls|uri|uris)")
_DEEPEST, _DOC, _MOST_FILES = 12, 200, 100


def from_json_schema(schema: Mapping[str, Any], *, roles: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the spec of the task ``run`` for a model whose input a schema describes.

    Args:
        schema: an object's JSON Schema (with ``properties``), or an OpenAPI document with one POST that takes JSON. References
            within it are followed.
        roles: property -> ``image``, ``mask``, ``video`` or ``audio`` (a file, or a list of files), ``prompt``, ``secret`` (sent, but
            never stored or shown), ``option``, or ``none`` to leave it out. Without one, the property ``prompt`` is the prompt;
            a text with the format ``uri`` or ``binary``, or whose name ends in ``url``, is a file, whose medium is the one in its name;
            ``format: password`` and ``writeOnly`` mark a secret.

    Returns:
        A table for ``[models.transform.run]`` with ``inputs``, ``options`` and ``prompt``; the names are those of the properties.

    Raises:
        PluginContractError: it is not such a schema.
    """
    root = schema
    found = _resolved(root, _input_of(schema))
    properties = found.get("properties")
    if not isinstance(properties, Mapping):
        raise PluginContractError("the schema of a model's input has no properties")
    given, required = roles or {}, found.get("required")
    if wrong := [f"{name}: {role!r}" for name, role in given.items() if role not in ROLES]:
        raise PluginContractError(f"roles of a schema: {', '.join(wrong)}; expected one of {', '.join(sorted(ROLES))}")
    spec: dict[str, Any] = {"inputs": {}, "options": {}}
    for name, raw in properties.items():
        one = _resolved(root, raw)
        role = given.get(name) or _role(name, one, root)
        if not re.fullmatch(OPTION_NAME, str(name)) or role == "none":
            continue
        needed = isinstance(required, list) and name in required and one.get("default") is None
        if role == "prompt" and name == "prompt":
            spec["prompt"] = _prompt(one, needed)
        elif role in _MEDIA:
            spec["inputs"][name] = _file(one, role, needed)
        else:
            spec["options"][name] = _option(one, role) | ({"required": True} if needed else {})
    return spec


def _input_of(schema: Mapping[str, Any]) -> Any:
    """Return the schema of the input: the document itself, or the body of the POST of an OpenAPI document."""
    if "openapi" not in schema:
        return schema
    for methods in _table(schema.get("paths")).values():
        body = _table(_table(_table(methods).get("post")).get("requestBody"))
        content = _table(body.get("content"))
        if "application/json" in content:
            return _table(content["application/json"]).get("schema")
    raise PluginContractError("the OpenAPI document has no POST that takes JSON")


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _resolved(root: Mapping[str, Any], value: Any, depth: int = 0) -> Mapping[str, Any]:
    """Return a schema with its reference followed, a single ``allOf`` unfolded, and null left out of its alternatives."""
    found = dict(_table(value))
    if depth > _DEEPEST:
        return found
    if isinstance(reference := found.pop("$ref", None), str):
        return {**_resolved(root, _at(root, reference), depth + 1), **found}
    for key in ("allOf", "anyOf", "oneOf"):
        parts = [part for part in found.get(key, ()) if _table(part).get("type") != "null"] if isinstance(found.get(key), list) else []
        if len(parts) == 1:
            del found[key]
            return {**_resolved(root, parts[0], depth + 1), **found}
    kinds = found.get("type")
    if isinstance(kinds, list):
        real = [kind for kind in kinds if kind != "null"]
        found["type"] = real[0] if len(real) == 1 else None
    return found


def _at(root: Mapping[str, Any], reference: str) -> Any:
    value: Any = root
    for part in reference.removeprefix("#/").split("/"):
        value = _table(value).get(part.replace("~1", "/").replace("~0", "~"))
    return value


def _role(name: str, one: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if name == "prompt" and one.get("type") == "string":
        return "prompt"
    if one.get("format") == "password" or one.get("writeOnly") is True:
        return "secret"
    item = _resolved(root, one.get("items")) if one.get("type") == "array" else one
    if item.get("type") != "string" or "enum" in item:
        return "option"
    if item.get("format") in _FILE_FORMATS or _FILE_NAME.fullmatch(name):
        return next((medium for medium in _MEDIA if medium in name.lower()), "image")
    return "option"


def _doc(one: Mapping[str, Any]) -> dict[str, str]:
    text = one.get("description") or one.get("title")
    return {"doc": " ".join(text.split())[:_DOC]} if isinstance(text, str) and text.strip() else {}


def _prompt(one: Mapping[str, Any], needed: bool) -> dict[str, Any]:
    most = one.get("maxLength")
    return {"required": needed} | ({"max_chars": most} if isinstance(most, int) and most > 0 else {})


def _file(one: Mapping[str, Any], role: str, needed: bool) -> dict[str, Any]:
    """Return the rule of an input; a mask under a name of its own is sent as it is, so it is an image."""
    most = 1
    if one.get("type") == "array":
        limit = one.get("maxItems")
        most = min(limit, _MOST_FILES) if isinstance(limit, int) and limit > 0 else _MOST_FILES
    least = max(1, one["minItems"]) if isinstance(one.get("minItems"), int) and one["minItems"] <= most else 1
    return {"media": "image" if role == "mask" else role, "count": [least if needed else 0, most], **_doc(one)}


def _option(one: Mapping[str, Any], role: str) -> dict[str, Any]:
    kind = one.get("type")
    if role == "secret":
        return {"type": "secret", **_doc(one)}
    values = one.get("enum", [one["const"]] if "const" in one else None)
    found: dict[str, Any]
    if isinstance(values, list) and values and all(isinstance(v, str | int | float | bool) for v in values):
        found = {"one_of": values}
    elif kind in {"integer", "number"}:
        found = _number(one, kind)
    elif kind == "string" and isinstance(most := one.get("maxLength"), int) and most > 0:
        found = {"max_chars": most}
    else:
        found = {"type": kind if kind in {"string", "boolean", "array", "object"} else "any"}
    default = one.get("default")
    if isinstance(default, str | int | float):
        with contextlib.suppress(PluginContractError):  # one that the option itself does not take
            option_of({**found, "default": default})
            found["default"] = default
    return found | _doc(one)


def _number(one: Mapping[str, Any], kind: str) -> dict[str, Any]:
    whole = kind == "integer"
    low, high = one.get("minimum"), one.get("maximum")
    if whole:
        low = one["exclusiveMinimum"] + 1 if low is None and isinstance(one.get("exclusiveMinimum"), int) else low
        high = one["exclusiveMaximum"] - 1 if high is None and isinstance(one.get("exclusiveMaximum"), int) else high
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or low > high:  # type: ignore[operator]
        return {"type": kind}
    step = one.get("multipleOf")
    steps = {"step": step} if isinstance(step, int | float) and step > 0 else {"step": 1} if whole else {}
    return {"min": low, "max": high, **steps}
