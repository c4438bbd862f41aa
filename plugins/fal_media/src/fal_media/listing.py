"""fal's catalogue as specs: every active model with its OpenAPI document, read page by page.

``GET /v1/models`` (api.fal.ai; reported by several third parties, 2026-11): ``expand=openapi-3.0`` adds the document of each model and
limits a page to 10; ``endpoint_id`` asks for one, as for a model that a caller names. The option ``endpoints`` of an instance lists
those that a refresh reads beside the shipped ones; else it reads all.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from anymedia.capabilities import CapabilityMatrix, from_json_schema
from anymedia.context import Context
from anymedia.errors import BadBackendResponse, JobNotFound, PluginContractError
from anymedia.hookspecs import ListedModel
from anymedia.http import get_json

from .generation import generation
from .queue import address, headers_of

__all__ = ["listed"]

_PAGE, _MOST_PAGES = 10, 1_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)+")
#: How a category of the catalogue ends -> what its models return.
_OUTPUTS = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "speech": "audio",
    "music": "audio",
    "json": "json",
    "text": "text",
    "vision": "text",
}
_PREFIXES = {"image": {"continuation_prefix": "fal_img"}, "video": {"continuation_prefix": "fal_vid"}}
#: A word in an endpoint's id -> the task that it does beside its own inputs.
_TASKS = {
    "upscal": "upscale",
    "remove-background": "remove_background",
    "background/remove": "remove_background",
    "rembg": "remove_background",
}
#: Names of an endpoint's inputs -> the roles and options of a task.
_ROLES = {"image_url": "image", "video_url": "video", "audio_url": "audio", "upscale_factor": "scale"}


async def listed(context: Context, shipped: CapabilityMatrix) -> tuple[ListedModel, ...]:
    """Return the models of the catalogue, those of the capability file without a row: their specs are better than a schema."""
    if context.model:
        return await _one(context, shipped)
    wanted = context.settings.get("endpoints")
    if not isinstance(wanted, list):
        return tuple([_model(entry, shipped) async for entry in _entries(context, {})])
    names = dict.fromkeys([*map(str, wanted), *(model.id for model in shipped.models)])
    return tuple([_model(entry, shipped) for name in names async for entry in _entries(context, {"endpoint_id": name})])


async def _one(context: Context, shipped: CapabilityMatrix) -> tuple[ListedModel, ...]:
    """Return the model that a caller names, active or not; none if the catalogue does not have it."""
    asked = {"endpoint_id": context.model, "status": ""}
    try:
        found = [entry async for entry in _entries(context, asked) if entry["endpoint_id"] == context.model]
    except JobNotFound:  # whether the catalogue answers so, or with an empty list, is not known
        found = []
    return tuple(_model(entry, shipped) for entry in found[:1])


async def _entries(context: Context, query: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the entries of the catalogue's pages whose ids may be part of an address."""
    cursor: Mapping[str, str] = {}
    for _ in range(_MOST_PAGES):
        fields = {"expand": "openapi-3.0", "status": "active", "limit": _PAGE, **query, **cursor}
        url = f"{address(context, 'catalog_url')}/v1/models?{urllib.parse.urlencode({k: v for k, v in fields.items() if v})}"
        page = await get_json(context, url, headers=headers_of(context), by_code={"404": JobNotFound} if context.model else None)
        models = page.get("models")
        if not isinstance(models, list):
            raise BadBackendResponse(f"the catalogue of '{context.backend}' holds no models")
        for entry in models:
            if isinstance(entry, Mapping) and _ID.fullmatch(str(entry.get("endpoint_id"))):
                yield entry
        if not page.get("has_more") or not page.get("next_cursor"):
            return
        cursor = {"cursor": str(page["next_cursor"])}
    raise BadBackendResponse(f"the catalogue of '{context.backend}' does not end")


def _model(entry: Mapping[str, Any], shipped: CapabilityMatrix) -> ListedModel:
    name = str(entry["endpoint_id"])
    category = str(_table(entry.get("metadata")).get("category", ""))
    data = {"category": category}
    if shipped.model(name) is not None:
        return ListedModel(id=name, data=data)
    output = _OUTPUTS.get(category.rpartition("-")[2])
    if output is None:
        return ListedModel(id=name, data=data, notes=(f"{name}: left out, nothing is known about results of {category or 'no category'}",))
    try:
        spec = from_json_schema(_table(entry.get("openapi")), roles=dict(_roles(entry.get("openapi"))))
    except PluginContractError as error:
        return ListedModel(id=name, data=data, notes=(f"{name}: left out, {error.message}",))
    media = output if output in {"image", "video", "audio"} else "image"
    spec["output"] = output
    tasks = {"run": spec} | {task: _as_task(spec) for word, task in _TASKS.items() if word in name}
    row = {"id": name, "media": media, "rank": 500, **_PREFIXES.get(media, {}), "transform": tasks}
    if (own := generation(category, spec, _table(entry.get("openapi")))) is not None:
        row |= own
    return ListedModel(id=name, data=data, row=row)


def _roles(document: Any) -> Iterator[tuple[str, str]]:
    """Yield what fal's own marks say about the properties of all schemas: which are files, and ``sync_mode`` of images is not offered."""
    for schema in _table(_table(_table(document).get("components")).get("schemas")).values():
        for name, given in _table(_table(schema).get("properties")).items():
            field = _table(given)
            marks = [(field, "_fal_ui_field"), (_table(field.get("items")), "_fal_ui_field"), (_table(field.get("ui")), "field")]
            mark = next((part[key] for part, key in marks if part.get(key)), None)
            if mark in ("image", "video", "audio"):  # a mark of any other type is none of these
                yield name, str(mark)
            elif name == "sync_mode" and field.get("type") == "boolean":
                yield name, "none"


def _table(value: Any) -> Mapping[str, Any]:
    """Return a mapping of a catalogue's answer, an empty one in place of anything else: one odd entry must not cost the others."""
    return value if isinstance(value, Mapping) else {}


def _as_task(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same spec under the names of a task."""
    names = {name: _ROLES.get(name, name) for name in (*spec["inputs"], *spec["options"])}
    renamed = {part: {names[name]: value for name, value in spec[part].items()} for part in ("inputs", "options")}
    return {**spec, **renamed, "wire": {"fields": {ours: name for name, ours in names.items() if ours != name}}}
