"""The Images API: generate, edit, masks and references. Answers carry base64; the provider stores nothing to continue from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from anymedia.answers.media import ImagesAnswer, decode_images
from anymedia.context import Context, LoadedMedia, describe_references
from anymedia.http import no_media
from anymedia.media import mime_of
from anymedia.requests import EditWithReferences, GenerateImage, Inpaint
from anymedia.results import Outcome, Piece

from ._client import Connection, connect, read_answer
from ._errors import BY_CODE, translated
from ._options import chosen, extras, further

__all__ = ["COST_BASIS", "cost_of", "edit_with_references", "generate", "inpaint"]

#: No answer used more tokens; a larger number is a mistake.
_MOST_TOKENS = 10**9

_Request = GenerateImage | Inpaint | EditWithReferences
#: The provider counts tokens; the dollars are ours.
COST_BASIS = "computed from the token counts of the answer and the rates in the table; an upper bound"
_ARGUMENTS = ("size", "quality", "background", "output_format")


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Generate images from a prompt; with a continuation, edit the earlier image."""
    if request.continue_from is not None:
        return await _edit(request, context, request.prompt, [context.read(request.continue_from.files[0])], None)
    connection = connect(context)
    opening = connection.sdk.images.with_streaming_response.generate(prompt=request.prompt, **_arguments(request, context))
    return await _submit(connection, opening, request, context)


async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Change the masked region of the source."""
    assert request.source is not None  # the core puts a continued image there
    mask = None if request.mask is None else context.read(request.mask)
    return await _edit(request, context, request.prompt, [context.read(request.source)], mask)


async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Generate an image from pictures. Sources go first: a mask applies to the first picture."""
    prompt, pictures = describe_references(request, context)
    return await _edit(request, context, prompt, pictures, None if request.mask is None else context.read(request.mask))


def _arguments(request: _Request, context: Context, *, but: Iterable[str] = ()) -> dict[str, Any]:
    sent = chosen(request, context, _ARGUMENTS)
    if context.takes("n") and request.n != 1:
        sent["n"] = request.n
    more = {**further(request, context, sent=(*_ARGUMENTS, "n")), **extras(request, context, but=("responses", *but))}
    # In extra_body: the SDK validates each argument that it knows, which takes 50 us for the model alone.
    return {"extra_body": {"model": context.model, **sent, **more}}


def _file(loaded: LoadedMedia) -> tuple[str, bytes, str]:
    return (loaded.filename, loaded.data, loaded.mime)


async def _edit(request: _Request, context: Context, prompt: str, pictures: Sequence[LoadedMedia], mask: LoadedMedia | None) -> Outcome:
    connection = connect(context)
    arguments = _arguments(request, context, but=("moderation",))  # a field of generations, not of this endpoint's forms
    if mask is not None:
        arguments["mask"] = _file(mask)
    # Always a list: a single file would be sent under another field name.
    opening = connection.sdk.images.with_streaming_response.edit(image=[_file(p) for p in pictures], prompt=prompt, **arguments)
    return await _submit(connection, opening, request, context)


async def _submit(connection: Connection, opening: Any, request: _Request, context: Context) -> Outcome:
    async with context.submission():
        with translated(context):
            answer, request_id = await read_answer(connection, opening, lambda body: decode_images(body, connection.base_url))
        if not answer.found.items:
            raise no_media(context, answer.rest, answer.found, what="image", by_code=BY_CODE, request_id=request_id)
    asked = request.output_format if context.takes("output_format") else None
    return Outcome(
        pieces=_pieces(answer, asked),
        warnings=answer.found.warnings,
        usage=answer.usage,
        cost_usd=cost_of(answer.usage, context),
        cost_basis=COST_BASIS,
        request_id=request_id,
    )


def _pieces(answer: ImagesAnswer, asked: str | None) -> list[Piece]:
    form = answer.output_format or asked
    mime = mime_of(form) if form in {"png", "jpeg", "webp"} else None
    return [attrs.evolve(item, mime=item.mime or mime).to_piece() for item in answer.found.items]


def cost_of(usage: Mapping[str, Any] | None, context: Context) -> float | None:
    """Return US dollars by the row's token rates, or None where usage or rates are not known.

    Cached input is counted in full, and input of which no kind is named as images, so the figure is an upper bound.
    """
    rates, used = context.spec.wire, usage or {}
    details = found if isinstance(found := used.get("input_tokens_details"), Mapping) else {}
    text, whole = details.get("text_tokens", 0), used.get("input_tokens")
    left = whole - text if isinstance(whole, int) and isinstance(text, int) else None
    counts = {"text_in": text, "image_in": details.get("image_tokens", left), "image_out": used.get("output_tokens")}
    known = all(isinstance(count, int) and 0 <= count <= _MOST_TOKENS and name in rates for name, count in counts.items())
    if context.service == "compatible" or not known:
        return None
    return round(sum(float(rates[name]) * int(count or 0) for name, count in counts.items()) / 1_000_000, 6)
