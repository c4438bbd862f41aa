"""POST /images: from words, and from pictures (``input_references``). The service keeps nothing to go on from.

``n`` is an upper bound there: fewer may come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.errors import InvalidRequest
from anymedia.requests import EditWithReferences, GenerateImage, Reference
from anymedia.results import Outcome, Piece

from ._answers import ImagesAnswer, bad_answer, cost_of, decode_images
from ._client import Answer, connect
from ._errors import refuse_errors, rejected, translated
from ._options import chosen, extras, link

__all__ = ["edit_with_references", "generate"]

_Request = GenerateImage | EditWithReferences
_FIELDS = ("size", "aspect_ratio", "resolution", "quality", "background", "output_format", "seed")
#: Longer answers are decoded off the event loop.
_OFF_LOOP = 1 << 20


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Make images from words; with a continuation, from the collected image and words."""
    pictures = [] if request.continue_from is None else [context.read(request.continue_from.files[0])]
    return await _submit(request, context, request.prompt, pictures)


async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Make an image from pictures: sources first, then the others with their role in words."""
    sources = [r for r in request.references if r.role == "source"]
    others = [r for r in request.references if r.role != "source"]
    pictures = [context.read(r.image) for r in (*sources, *others)]
    told = [_wording(r, number) for number, r in enumerate((*sources, *others), 1) if r.role != "source" or r.description]
    prompt = "\n".join([request.prompt, *told])
    return await _submit(request, context, _fitting(prompt, context), pictures)


def _wording(reference: Reference, number: int) -> str:
    """Put a role into words; pictures are counted from 1 in the order they are sent."""
    kind = f" ({reference.type})" if reference.type else ""
    what = {
        "source": f"Of picture {number}",
        "style": f"Take the style, and only the style, from picture {number}",
        "control": f"Follow the structure{kind} of picture {number}",
        "subject": f"Keep the subject{kind} of picture {number} as it is",
    }[reference.role]
    return f"{what}: {reference.description}." if reference.description else f"{what}."


def _fitting(prompt: str, context: Context) -> str:
    if context.operation is not None and (wrong := context.operation.prompt.problem(prompt)) is not None:
        text = f"with the roles of its references in words, '{context.model}' {wrong} in the prompt"
        raise InvalidRequest(text, fix="shorten the prompt")
    return prompt


async def _submit(request: _Request, context: Context, prompt: str, pictures: Sequence[LoadedMedia]) -> Outcome:
    body: dict[str, Any] = {"model": context.model, "prompt": prompt, **chosen(request, context, _FIELDS), **extras(request, context)}
    if context.takes("n") and request.n != 1:
        body["n"] = request.n
    if pictures:
        body["input_references"] = [link("image_url", picture) for picture in pictures]
    connection = connect(context)
    async with context.submission():
        with translated(context):
            answer = await connection.ask("POST", "/images", body=body)
        refuse_errors(answer, context)
        found = await _decoded(answer)
        if found.error is not None:
            raise rejected(found.error, answer, context)
    return _outcome(found, answer, request.n if context.takes("n") else 1)


async def _decoded(answer: Answer) -> ImagesAnswer:
    if len(answer.body) > _OFF_LOOP:
        return await asyncio.to_thread(decode_images, answer.body)
    return decode_images(answer.body)


def _outcome(found: ImagesAnswer, answer: Answer, asked: int) -> Outcome:
    pieces = [Piece(data=p.b64_json, mime=p.media_type) for p in found.data or () if p.b64_json]
    if not pieces:
        raise bad_answer("it holds no image")
    fewer = [f"{asked} images were asked for and {len(pieces)} came back"] if len(pieces) < asked else []
    return Outcome(pieces=pieces, usage=found.usage or {}, cost_usd=cost_of(found.usage), request_id=answer.generation, warnings=fewer)
