"""Multi-turn images: the Responses API with its image tool. The provider stores the conversation, we keep its id."""

from __future__ import annotations

import base64
from typing import Any

import attrs

from anymedia.answers.media import FoundMedia
from anymedia.context import Context, LoadedMedia
from anymedia.errors import MediaError, UnknownContinuation, UnsupportedInput
from anymedia.http import answered_error, no_media
from anymedia.media import mime_of
from anymedia.requests import GenerateImage
from anymedia.results import ContinuationData, Outcome, Piece

from ._answers import Turn, decode_turn
from ._client import connect, read_answer
from ._errors import BY_CODE, translated
from ._options import chosen, extras

__all__ = ["take_turn", "wanted"]

#: Seconds that the provider keeps a stored response (API reference: 30 days).
KEPT_SECONDS = 30 * 86400.0


def wanted(request: GenerateImage) -> bool:
    """Whether this is a turn of a conversation: it continues one, or is asked to start one."""
    continued = request.continue_from is not None and "response_id" in request.continue_from.data
    return continued or bool(request.extra_params.get("responses"))


async def take_turn(request: GenerateImage, context: Context) -> Outcome:
    """Send one prompt and get one image, in the context of the earlier turns."""
    if request.n != 1:
        raise UnsupportedInput("a turn of a conversation makes one image", fix="ask for n=1, or give the earlier image as an input")
    connection = connect(context)
    body = _body(request, context)
    async with context.submission():
        with translated(context):
            opening = connection.sdk.responses.with_streaming_response.create(**body)
            turn, request_id = await read_answer(connection, opening, lambda data: decode_turn(data, connection.base_url))
        if not turn.found.items:
            raise _no_image(turn, request_id, context)
    usage = turn.body.get("usage")
    return Outcome(
        pieces=(_piece(turn, turn.found.items[-1], request, body["model"], context),),
        usage=usage if isinstance(usage, dict) else {},
        warnings=turn.found.warnings,
        request_id=request_id,
    )


def _piece(turn: Turn, image: FoundMedia, request: GenerateImage, mainline: str, context: Context) -> Piece:
    form = request.output_format
    usual = mime_of(form) if form in {"png", "jpeg", "webp"} else None
    data = {"response_id": turn.id, "model": mainline}
    handle = ContinuationData(data=data, expires_at=context.now() + KEPT_SECONDS) if turn.id else None
    return attrs.evolve(image, mime=image.mime or usual).to_piece(continuation=handle)


def _body(request: GenerateImage, context: Context) -> dict[str, Any]:
    tool = {
        "type": "image_generation",
        "model": context.model,
        **chosen(request, context, ("size", "quality", "background", "output_format")),
        **extras(request, context, but=("responses", "safety_identifier")),
    }
    before = request.continue_from
    wire = context.operation.wire
    mainline = context.settings.get("responses_model") or wire.get("responses_model")
    body: dict[str, Any] = {
        "model": mainline if before is None else before.data.get("model", mainline),
        "input": request.prompt,
        "tools": [tool],
        "tool_choice": {"type": "image_generation"},
    }
    if before is not None and "response_id" in before.data:
        if not isinstance(before.data["response_id"], str):
            raise UnknownContinuation(f"{before.id!r} holds no turn that can be continued")
        body["previous_response_id"] = before.data["response_id"]
    elif before is not None:
        body["input"] = _with_picture(request.prompt, context.read(before.files[0]))
    if "safety_identifier" in request.extra_params:
        body["safety_identifier"] = request.extra_params["safety_identifier"]
    return body


def _with_picture(prompt: str, picture: LoadedMedia) -> list[dict[str, Any]]:
    """Return the first input of a conversation about a picture that was generated outside of one."""
    url = f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode()}"
    return [{"role": "user", "content": [{"type": "input_text", "text": prompt}, {"type": "input_image", "image_url": url}]}]


def _no_image(turn: Turn, request_id: str | None, context: Context) -> MediaError:
    """Return the error for a turn without an image; a refusal is a failed item in an answer of status 200, or a message."""
    output = turn.body.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    error = next((item["error"] for item in items if item.get("error")), None) or turn.body.get("error")
    if error is None and turn.body.get("incomplete_details") == {"reason": "content_filter"}:
        error = {"code": "content_filter", "message": "the answer was cut off by the content filter"}
    if error is not None:
        found = answered_error(context, {"error": error}, status=200, by_code=BY_CODE, request_id=request_id)
    else:
        parts = [part for item in items for part in item.get("content") or () if isinstance(part, dict)]
        refused = " ".join(str(part["refusal"]) for part in parts if part.get("refusal"))
        said = " ".join(str(part["text"]) for part in parts if part.get("text"))
        body: Any = {"error": {"code": "refusal", "message": refused}} if refused else said
        found = no_media(context, body, turn.found, what="image", by_code=BY_CODE, request_id=request_id)
    found.charged = "unknown"  # the tokens of the turn are billed with or without an image
    return found
