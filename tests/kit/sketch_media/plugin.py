"""Images, edits with a mask or with references, continuations; over plain HTTP. Two of its models need a library."""

import base64
import importlib
from pathlib import Path

from anymedia import (
    CapabilityMatrix,
    Context,
    ContinuationData,
    EditWithReferences,
    GenerateImage,
    Inpaint,
    Outcome,
    Reference,
    hookimpl,
    load_matrix,
)
from anymedia.answers.media import extract_media
from anymedia.errors import ContentRefused
from anymedia.http import no_media, post_json

LIBRARIES = {"sketch-tinted": "colorsys", "sketch-woven": "a_library_that_does_not_exist"}


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    if library := LIBRARIES.get(context.model):
        importlib.import_module(library)
    body = {
        "prompt": request.prompt,
        "n": request.n,
        "size": request.size,
        "format": request.output_format,
        "quality": request.quality,
        "background": request.background,
        **request.extra_params,
    }
    if request.continue_from is not None:
        body["after"] = request.continue_from.data["id"]
    return await _ask(context, body)


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Outcome:
    field = context.operation.wire.get("mask_field", "mask")
    pictures = {"image": context.read(request.source).data, field: context.read(request.mask).data}
    return await _ask(context, {"prompt": request.prompt, **{k: base64.b64encode(v).decode() for k, v in pictures.items()}})


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    body = {"prompt": request.prompt}
    for index, reference in enumerate(request.references):
        body[f"picture_{index}"] = base64.b64encode(context.read(reference.image).data).decode()
        body[f"about_{index}"] = _about(reference)
    return await _ask(context, body)


def _about(reference: Reference) -> str:
    return f"{reference.role} {reference.type or ''} {reference.description or ''}"


async def _ask(context: Context, body: dict[str, object]) -> Outcome:
    headers = {"x-key": context.secret("api_key").reveal()}
    async with context.submission():
        answer = await post_json(context, context.settings["base_url"], body, headers=headers, by_code={"unsafe_prompt": ContentRefused})
        found = extract_media(answer, ["images[]"])
        if not found.items:
            raise no_media(context, answer, found, what="image")
    pieces = [made.to_piece(continuation=ContinuationData(data={"id": made.item["id"]})) for made in found.items]
    return Outcome(pieces=pieces, warnings=found.warnings, request_id=answer["id"])
