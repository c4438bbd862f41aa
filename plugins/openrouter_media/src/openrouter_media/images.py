"""POST /images: from a prompt, and from pictures (``input_references``). The service stores nothing to continue from.

``n`` is an upper bound there: fewer may come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.errors import InvalidRequest, MediaError
from anymedia.http import no_media
from anymedia.requests import EditWithReferences, GenerateImage, Reference
from anymedia.results import Outcome

from ._answers import ImagesAnswer, cost_of, decode_images
from ._client import Answer, connect
from ._errors import BY_CODE, error_of, raise_for_answer, translated
from ._options import chosen, extras, link

__all__ = ["edit_with_references", "generate"]

_Request = GenerateImage | EditWithReferences
_FIELDS = ("size", "aspect_ratio", "resolution", "quality", "background", "output_format", "seed")
#: Longer answers are decoded off the event loop.
_OFF_LOOP = 1 << 20


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Generate images from a prompt; with a continuation, from the earlier image and a prompt."""
    pictures = [] if request.continue_from is None else [context.read(request.continue_from.files[0])]
    return await _submit(request, context, request.prompt, pictures)


async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Generate an image from pictures: sources first, then the others with their role in the prompt."""
    sources = [r for r in request.references if r.role == "source"]
    others = [r for r in request.references if r.role != "source"]
    pictures = [context.read(r.image) for r in (*sources, *others)]
    notes = [_instruction(r, number) for number, r in enumerate((*sources, *others), 1) if r.role != "source" or r.description]
    prompt = "\n".join([request.prompt, *notes])
    return await _submit(request, context, _checked(prompt, context), pictures)


def _instruction(reference: Reference, number: int) -> str:
    """Say in words what a role means; pictures are counted from 1 in the order they are sent."""
    kind = f" ({reference.type})" if reference.type else ""
    what = {
        "source": f"Of picture {number}",
        "style": f"Take the style, and only the style, from picture {number}",
        "control": f"Follow the structure{kind} of picture {number}",
        "subject": f"Keep the subject{kind} of picture {number} as it is",
    }[reference.role]
    return f"{what}: {reference.description}." if reference.description else f"{what}."


def _checked(prompt: str, context: Context) -> str:
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
        raise_for_answer(answer, context)
        decoded = await _decoded(answer, connection.base)
        if not decoded.found.items:
            raise _no_image(decoded, answer, context)
    return Outcome(
        pieces=[item.to_piece() for item in decoded.found.items],
        usage=decoded.usage,
        cost_usd=cost_of(decoded.usage),
        request_id=answer.generation,
        warnings=decoded.found.warnings,
    )


async def _decoded(answer: Answer, base_url: str) -> ImagesAnswer:
    if len(answer.body) > _OFF_LOOP:
        return await asyncio.to_thread(decode_images, answer.body, base_url)
    return decode_images(answer.body, base_url)


def _no_image(decoded: ImagesAnswer, answer: Answer, context: Context) -> MediaError:
    if isinstance(decoded.rest, dict) and decoded.rest.get("error"):
        return error_of(answer, context, body=decoded.rest)
    return no_media(context, decoded.rest, decoded.found, what="image", by_code=BY_CODE, request_id=answer.generation)
