"""POST /images: from a prompt, and from pictures (``input_references``). The service stores nothing to continue from.

``n`` is an upper bound there: fewer may come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from anymedia.answers.media import ImagesAnswer, decode_images
from anymedia.context import Context, LoadedMedia, describe_references
from anymedia.errors import MediaError
from anymedia.http import no_media
from anymedia.requests import EditWithReferences, GenerateImage
from anymedia.results import Outcome

from ._answers import cost_of
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
    return await _submit(request, context, *describe_references(request, context))


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
