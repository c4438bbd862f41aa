"""Answers: base64 goes straight from the JSON text to bytes, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from anymedia.errors import BadBackendResponse

__all__ = ["ImagesAnswer", "Picture", "bad_answer", "cost_of", "decode_images", "decode_json"]

_T = TypeVar("_T")


class Picture(msgspec.Struct):
    """One image; its type where the service says it."""

    b64_json: bytes | None = None
    media_type: str | None = None


class ImagesAnswer(msgspec.Struct):
    """The answer of POST /images; ``error`` stands in answers of status 200 too."""

    data: list[Picture] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def bad_answer(why: str) -> BadBackendResponse:
    """Return the error for an answer that cannot be used: the work may have been done and paid all the same."""
    error = BadBackendResponse(f"the service's answer could not be used: {why}", delivery="unknown")
    error.charged = "unknown"
    return error


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_answer(f"{type(error).__name__} in {len(body)} bytes") from error


def decode_json(body: bytes) -> dict[str, Any]:
    """Decode an object.

    Raises:
        BadBackendResponse: for anything else.
    """
    return _decode(body, dict[str, Any])


def decode_images(body: bytes) -> ImagesAnswer:
    """Decode the answer of POST /images.

    Raises:
        BadBackendResponse: for anything else, and for one that holds neither pictures nor an error.
    """
    answer = _decode(body, ImagesAnswer)
    if answer.error is None and (not answer.data or not all(picture.b64_json for picture in answer.data)):
        raise bad_answer("it holds no image")
    return answer


def cost_of(usage: Mapping[str, Any] | None) -> float | None:
    """Return the US dollars that the service says it cost, or None where it does not say."""
    cost = (usage or {}).get("cost")
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0 else None
