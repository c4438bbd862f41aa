"""Multi-turn images: the Responses API with its image tool. The provider keeps the conversation, we keep its id."""

from __future__ import annotations

import base64
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.errors import MediaError, UnknownContinuation, UnsupportedInput
from anymedia.media import mime_of
from anymedia.redaction import clean_text
from anymedia.requests import GenerateImage
from anymedia.results import ContinuationData, Outcome, Piece

from ._answers import ProviderError, Turn, bad_answer, decode_turn
from ._client import connect, read_answer
from ._errors import BY_CODE, Answered, from_answer, translated
from ._options import chosen, extras

__all__ = ["take_turn", "wanted"]

#: How long the provider keeps a response that is stored (API reference: 30 days).
KEPT_SECONDS = 30 * 86400.0


def wanted(request: GenerateImage) -> bool:
    """Whether this is a turn of a conversation: begun as one, or asked to be one."""
    begun = request.continue_from is not None and "response_id" in request.continue_from.data
    return begun or bool(request.extra_params.get("responses"))


async def take_turn(request: GenerateImage, context: Context) -> Outcome:
    """Say one thing and get one image, with all that was said before in mind."""
    if request.n != 1:
        raise UnsupportedInput("a turn of a conversation makes one image", fix="ask for n=1, or give the earlier image as an input")
    connection = connect(context)
    body = _body(request, context)
    async with context.submission():
        with translated(context):
            opening = connection.sdk.responses.with_streaming_response.create(**body)
            turn, request_id = await read_answer(connection, opening, decode_turn)
        made = _made(turn, request_id, context)
    form = made.output_format or request.output_format
    piece = Piece(
        data=made.data,
        mime=mime_of(form) if form in {"png", "jpeg", "webp"} else None,
        text=made.revised_prompt,
        continuation=ContinuationData(
            data={"response_id": turn.id, "model": body["model"]},
            expires_at=None if turn.created_at is None else turn.created_at + KEPT_SECONDS,
        ),
    )
    return Outcome(pieces=(piece,), usage=turn.usage or {}, request_id=request_id)


def _body(request: GenerateImage, context: Context) -> dict[str, Any]:
    tool = {
        "type": "image_generation",
        "model": context.model,
        **chosen(request, context, ("size", "quality", "background", "output_format")),
        **extras(request, context, but=("responses", "safety_identifier")),
    }
    before = request.continue_from
    wire = {} if context.operation is None else context.operation.wire
    mainline = context.settings.get("responses_model") or wire.get("responses_model")
    body: dict[str, Any] = {
        "model": mainline if before is None else before.data.get("model", mainline),
        "input": request.prompt,
        "tools": [tool],
        "tool_choice": {"type": "image_generation"},
    }
    if before is not None and "response_id" in before.data:
        if not isinstance(before.data["response_id"], str):
            raise UnknownContinuation(f"{before.id!r} holds no turn to go on from")
        body["previous_response_id"] = before.data["response_id"]
    elif before is not None:
        body["input"] = _with_picture(request.prompt, context.read(before.files[0]))
    if "safety_identifier" in request.extra_params:
        body["safety_identifier"] = request.extra_params["safety_identifier"]
    return body


def _with_picture(prompt: str, picture: LoadedMedia) -> list[dict[str, Any]]:
    """Return the first words of a conversation about a picture that was made outside of one."""
    url = f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode()}"
    return [{"role": "user", "content": [{"type": "input_text", "text": prompt}, {"type": "input_image", "image_url": url}]}]


def _made(turn: Turn, request_id: str | None, context: Context) -> Any:
    """Return the finished tool call; a refusal comes as HTTP 200 with a failed item, or in words.

    Raises:
        MediaError: for a turn without an image.
    """
    done = [call for call in turn.calls if call.status == "completed" and call.data]
    if done:
        return done[-1]
    said = next((call.error for call in turn.calls if call.error is not None), turn.error)
    if said is not None:
        raise _answered(said, request_id, context)
    if turn.refused or turn.incomplete == "content_filter":
        message = turn.refused or "the answer was cut off by the content filter"
        raise from_answer(Answered(kind="content", message=message, code="content_filter", request_id=request_id), context)
    raise bad_answer(f"no image was made, but words: {clean_text(turn.said)!r}" if turn.said else "it holds no image")


def _answered(error: ProviderError, request_id: str | None, context: Context) -> MediaError:
    answered = Answered(
        kind=BY_CODE.get(error.code or "") or BY_CODE.get(error.type or "") or "broken",
        message=error.message,
        code=error.code,
        param=error.param,
        moderation=error.moderation_details,
        request_id=request_id,
    )
    found = from_answer(answered, context)
    found.charged = "unknown"  # the words of the turn are billed, image or not
    return found
