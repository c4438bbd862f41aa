"""The service's lists of models, read. They need no key; one that is set is sent, to the service's own address."""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from anymedia.capabilities import parse_matrix
from anymedia.context import Context
from anymedia.errors import BackendUnavailable, BadBackendResponse, MediaError
from anymedia.hookspecs import ListedModel
from anymedia.http import decode_object
from anymedia.redaction import clean_text

from ._client import STATUS_SECONDS, connect
from ._errors import raise_for_answer, translated
from .rows import image_row, speech_row, video_row

__all__ = ["listed"]

#: How many lists are read at once.
_AT_ONCE = 6
_TRIES = 2
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]*/[A-Za-z0-9][A-Za-z0-9._:~-]*")


async def listed(context: Context) -> tuple[ListedModel, ...]:
    """Return the image, video and speech models that the service lists, each with its row.

    Raises:
        BackendError: one of the lists could not be had: half a list would take models away that are still there.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    images, videos, general, speech = await asyncio.gather(
        _models(context, gate, "/images/models"),
        _models(context, gate, "/videos/models"),
        _models(context, gate, "/models?output_modalities=video"),
        _models(context, gate, "/models?output_modalities=speech"),
    )
    endpoints = await asyncio.gather(*(_endpoints(context, gate, model) for model in images))
    takes = {str(model["id"]): _modalities(model) for model in general}
    found = [_image(model, own) for model, own in zip(images, endpoints, strict=True)]
    found += [_listed(model, "video", *video_row(model, takes.get(model["id"]) or _modalities(model))) for model in videos]
    found += [_listed(model, "speech", *speech_row(model)) for model in speech]
    return tuple(_without_twins(found))


async def _models(context: Context, gate: asyncio.Semaphore, path: str) -> list[dict[str, Any]]:
    data = (await _get(context, gate, path)).get("data")
    if not isinstance(data, list):
        raise BadBackendResponse(f"the list {path.partition('?')[0]} of {context.backend!r} holds no models")
    # An id that is not of the form author/name is neither sent nor shown.
    return [m for m in data if isinstance(m, dict) and isinstance(m.get("id"), str) and _ID.fullmatch(m["id"])]


async def _endpoints(context: Context, gate: asyncio.Semaphore, model: Mapping[str, Any]) -> list[dict[str, Any]] | str:
    """Return a model's endpoints, or why they could not be had."""
    path = f"/images/models/{urllib.parse.quote(model['id'], safe='/')}/endpoints"
    try:
        answer = await _get(context, gate, path)
    except MediaError as error:
        return clean_text(error.message, 120)
    inner = answer.get("data", answer)
    found = inner.get("endpoints") if isinstance(inner, dict) else None
    kept = [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []
    return kept or "it lists none"


async def _get(context: Context, gate: asyncio.Semaphore, path: str) -> dict[str, Any]:
    connection = connect(context)
    for tries in range(1, _TRIES + 1):
        try:
            async with gate:
                with translated(context):
                    answer = await connection.ask("GET", path, seconds=STATUS_SECONDS)
                raise_for_answer(answer, context)
                return decode_object(answer.body)
        except (BackendUnavailable, BadBackendResponse):
            if tries == _TRIES:
                raise
            await asyncio.sleep(0.2)
    raise AssertionError("unreachable")


def _modalities(model: Mapping[str, Any]) -> Sequence[str]:
    architecture = model.get("architecture")
    found = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    return [m for m in found if isinstance(m, str)] if isinstance(found, list) else []


def _image(model: Mapping[str, Any], endpoints: list[dict[str, Any]] | str) -> ListedModel:
    if isinstance(endpoints, str):
        note = f"{model['id']}: left out, what its endpoints take could not be read ({endpoints})"
        return ListedModel(id=model["id"], data={"kind": "image"}, notes=(note,))
    return _listed(model, "image", *image_row(model, endpoints))


def _listed(model: Mapping[str, Any], kind: str, row: dict[str, Any], notes: Sequence[str]) -> ListedModel:
    """Put row and notes together; a row that does not hold is left out rather than spoiling all others."""
    said = tuple(f"{model['id']}: {clean_text(note, 200)}" for note in dict.fromkeys(notes))
    data = {"kind": kind, "name": clean_text(model.get("name") or "", 120)}
    try:
        parse_matrix({"schema": 1, "models": [row]}, "list")
    except MediaError as error:
        return ListedModel(id=model["id"], data=data, notes=(*said, f"{model['id']}: left out, {clean_text(error.message, 200)}"))
    return ListedModel(id=model["id"], data=data, row=row, notes=said)


def _without_twins(found: Sequence[ListedModel]) -> list[ListedModel]:
    """Keep one row for each id, and no alias that names another model."""
    ids = {model.id for model in found}
    taken: set[str] = set()
    kept = []
    for model in found:
        if model.id in taken:
            kept.append(attrs.evolve(model, row={}, notes=(f"{model.id}: listed twice; the first stands",)))
            continue
        taken.add(model.id)
        aliases = [name for name in model.row.get("aliases", ()) if name not in ids | taken]
        taken.update(aliases)
        row = {k: v for k, v in model.row.items() if k != "aliases"} | ({"aliases": aliases} if aliases else {})
        kept.append(attrs.evolve(model, row=row if model.row else {}))
    return kept
