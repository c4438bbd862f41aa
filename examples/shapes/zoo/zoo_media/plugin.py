"""A catalogue of models, each described by the JSON Schema of its input."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from anymedia import CapabilityMatrix, Context, ListedModel, Outcome, Transform, hookimpl, load_matrix
from anymedia.answers.media import extract_media
from anymedia.capabilities import from_json_schema
from anymedia.errors import ContentRefused
from anymedia.http import get_json, no_media, post_json
from anymedia.requests import each


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    """`anymedia models --refresh zoo` merges these specs into the matrix of the instance; `context.model`: the only one that is wanted."""
    listed = await get_json(context, f"{_base(context)}/models", headers=_key(context))
    return tuple(ListedModel(id=model["id"], row=_row(model)) for model in listed["models"] if context.model in ("", model["id"]))


def _row(model: dict[str, Any]) -> dict[str, Any]:
    spec = from_json_schema(model["input_schema"])
    return {"id": model["id"], "media": "image", "continuation_prefix": "zoo_img", "transform": {"run": spec}}


@hookimpl
async def transform(request: Transform, context: Context) -> Outcome:
    body: dict[str, Any] = dict(request.options)
    if request.prompt:
        body["prompt"] = request.prompt
    for name, value in request.inputs.items():  # the roles are the names of the schema's properties
        links = [_data_url(context.read(item)) for item in each(value)]
        body[name] = links if context.operation.inputs[name].count[1] > 1 else links[0]
    async with context.submission():
        url = f"{_base(context)}/run/{context.model}"
        answer = await post_json(context, url, body, headers=_key(context), by_code={"unsafe_prompt": ContentRefused})
        found = extract_media(answer, ["output[]"])
        if not found.items:
            raise no_media(context, answer, found, what="image")
    return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings)


def _data_url(file: Any) -> str:
    return f"data:{file.mime};base64,{base64.b64encode(file.data).decode()}"


def _base(context: Context) -> str:
    return str(context.settings.get("base_url", "https://api.zoo.example"))


def _key(context: Context) -> dict[str, str]:
    return {"authorization": f"Bearer {context.secret('api_key').reveal()}"}
