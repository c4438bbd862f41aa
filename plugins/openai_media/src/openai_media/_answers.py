"""Answers of the Images and Responses APIs: base64 goes straight from the JSON text to bytes.

The JSON is scanned once and the picture's text left where it lies; it is decoded from there, checked, by vector instructions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import pybase64

from anymedia.errors import BadBackendResponse

__all__ = ["ImagesAnswer", "Picture", "ProviderError", "ToolCall", "Turn", "bad_answer", "decode_images", "decode_json", "decode_turn"]

_T = TypeVar("_T")


class Picture(msgspec.Struct):
    """One image: its base64 as it stands in the JSON, or (from other servers) where it lies."""

    b64_json: msgspec.Raw = msgspec.Raw(b"null")
    url: str | None = None
    revised_prompt: str | None = None
    data: bytes | None = None


class ImagesAnswer(msgspec.Struct):
    """The answer of images.generate and images.edit."""

    data: list[Picture] | None = None
    output_format: str | None = None
    usage: dict[str, Any] | None = None


class ProviderError(msgspec.Struct):
    """An error inside an answered object."""

    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None
    moderation_details: dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    """The image_generation_call item of a response."""

    id: str = ""
    status: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    data: bytes | None = None
    output_format: str | None = None
    revised_prompt: str | None = None
    error: ProviderError | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    content: list[dict[str, Any]] = []


class _Response(msgspec.Struct):
    id: str
    output: list[msgspec.Raw] = []
    status: str | None = None
    created_at: float | None = None
    error: ProviderError | None = None
    incomplete_details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


class Turn(msgspec.Struct):
    """What a turn of a conversation brought."""

    id: str
    status: str | None
    created_at: float | None
    error: ProviderError | None
    incomplete: str | None
    usage: Mapping[str, Any] | None
    calls: list[ToolCall]
    said: str
    refused: str


def bad_answer(why: str) -> BadBackendResponse:
    """Return the error for an answer that cannot be used: the work may have been done and paid all the same."""
    error = BadBackendResponse(f"the provider's answer could not be used: {why}", delivery="unknown")
    error.charged = "unknown"
    return error


def _decode(body: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_answer(f"{type(error).__name__} in {memoryview(body).nbytes} bytes") from error


def _bytes_of(raw: msgspec.Raw) -> bytes | None:
    """Decode a JSON string of base64, or null.

    Raises:
        BadBackendResponse: for anything else.
    """
    text = memoryview(raw)
    if text.nbytes == 4:  # null
        return _decode(raw, bytes | None)  # type: ignore[arg-type]
    try:
        return pybase64.b64decode(text[1:-1], validate=True)
    except ValueError:  # not base64, or escaped as JSON allows: the slower way tells which
        return _decode(raw, bytes)


def decode_json(body: bytes) -> dict[str, Any]:
    """Decode an object.

    Raises:
        BadBackendResponse: for anything else.
    """
    return _decode(body, dict[str, Any])


def decode_images(body: bytes) -> ImagesAnswer:
    """Decode the answer of the Images API.

    Raises:
        BadBackendResponse: for anything else, and for one without a picture.
    """
    answer = _decode(body, ImagesAnswer)
    for picture in answer.data or ():
        picture.data, picture.b64_json = _bytes_of(picture.b64_json), msgspec.Raw(b"null")
    if not answer.data or not all(picture.data or picture.url for picture in answer.data):
        raise bad_answer("it holds no image")
    return answer


def decode_turn(body: bytes) -> Turn:
    """Decode the answer of the Responses API.

    Raises:
        BadBackendResponse: for anything else.
    """
    response = _decode(body, _Response)
    calls: list[ToolCall] = []
    texts: dict[str, list[str]] = {"output_text": [], "refusal": []}
    for item in response.output:
        kind = _decode(item, _Kind).type
        if kind == "image_generation_call":
            call = _decode(item, ToolCall)
            call.data, call.result = _bytes_of(call.result), msgspec.Raw(b"null")
            calls.append(call)
        elif kind == "message":
            for part in _decode(item, _Message).content:
                texts.get(part.get("type", ""), []).append(str(part.get("text") or part.get("refusal") or ""))
    return Turn(
        id=response.id,
        status=response.status,
        created_at=response.created_at,
        error=response.error,
        incomplete=(response.incomplete_details or {}).get("reason"),
        usage=response.usage,
        calls=calls,
        said=" ".join(texts["output_text"]),
        refused=" ".join(texts["refusal"]),
    )
