"""Answers of the Images and Responses APIs, decoded once; the media in them is located here and read by the core.

The JSON is scanned once and an image's base64 is left where it lies, so that it is decoded from there without a copy.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from anymedia.answers.envelopes import AnsweredError, read_error
from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.http import decode_json, decode_object

__all__ = ["ImagesAnswer", "Turn", "decode_images", "decode_turn"]


class _Item(msgspec.Struct):
    """One image of the Images API: base64, or a link from other servers."""

    b64_json: msgspec.Raw = msgspec.Raw(b"null")
    url: Any = None
    revised_prompt: Any = None
    output_format: Any = None


class _Images(msgspec.Struct):
    data: list[_Item | None]
    output_format: Any = None
    usage: Any = None


class _Call(msgspec.Struct, tag="image_generation_call"):
    result: msgspec.Raw = msgspec.Raw(b"null")
    status: Any = None
    output_format: Any = None
    revised_prompt: Any = None
    error: Any = None


@attrs.frozen(kw_only=True)
class ImagesAnswer:
    """What the Images API answered.

    Attributes:
        found: the media in it.
        error: what it says went wrong; read only where it holds no media.
        output_format: the format that it names, or None.
        usage: token counts, or an empty mapping.
    """

    found: ExtractedMedia
    error: AnsweredError | None = None
    output_format: str | None = None
    usage: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Turn:
    """What the Responses API answered to one turn of a conversation; ``body`` is the decoded answer, for its errors."""

    found: ExtractedMedia
    body: dict[str, Any]

    @property
    def id(self) -> str:
        """The provider's id of the turn, or an empty string."""
        found = self.body.get("id")
        return found if isinstance(found, str) else ""


def decode_images(body: bytes, base_url: str = "") -> ImagesAnswer:
    """Decode the answer of the Images API; other servers put media in other places and spellings."""
    try:
        answer = msgspec.json.decode(body, type=_Images)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = None
    if answer is not None:
        items = [None if item is None else _visible(item, b64_json=memoryview(item.b64_json)) for item in answer.data]
        found = extract_media({"data": items}, ["data[]"], base_url=base_url, usual=False)
        if found.items:
            form = answer.output_format if isinstance(answer.output_format, str) else None
            return ImagesAnswer(found=found, output_format=form, usage=answer.usage if isinstance(answer.usage, dict) else {})
    whole = decode_json(body)
    found = extract_media(whole, ["data[]"], base_url=base_url)
    return ImagesAnswer(found=found, error=None if found.items else read_error(whole))


def _visible(item: msgspec.Struct, **replaced: Any) -> dict[str, Any]:
    """Return a decoded item as a mapping of what it names."""
    return {name: value for name, value in (msgspec.structs.asdict(item) | replaced).items() if value is not None}


def decode_turn(body: bytes, base_url: str = "") -> Turn:
    """Decode the answer of the Responses API: the results of its image tool, and everything else for its errors.

    Raises:
        BadBackendResponse: it is not a JSON object.
    """
    try:
        parts = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        listed = msgspec.json.decode(parts.pop("output", b"[]"), type=list[msgspec.Raw])
        rest = {name: msgspec.json.decode(value) for name, value in parts.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        whole = decode_object(body)
        return Turn(found=extract_media(whole, ["output[].result"], base_url=base_url), body=whole)
    calls, others = [], []
    for raw in listed:
        try:
            call = msgspec.json.decode(raw, type=_Call)
            calls.append(_visible(call, result=memoryview(call.result)))
            others.append(_visible(call, result=None))
        except msgspec.MsgspecError:
            others.append(msgspec.json.decode(raw))
    found = extract_media({"output": calls}, ["output[]"], base_url=base_url, usual=False)
    return Turn(found=found, body={**rest, "output": others})
