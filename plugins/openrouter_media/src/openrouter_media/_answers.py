"""Answers: the places of media in them, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.http import decode_json

__all__ = ["ImagesAnswer", "cost_of", "decode_images"]


class _Item(msgspec.Struct):
    b64_json: msgspec.Raw = msgspec.Raw(b"null")
    url: Any = None
    media_type: Any = None
    revised_prompt: Any = None


class _Images(msgspec.Struct):
    data: list[_Item | None]
    usage: Any = None
    error: Any = None


@attrs.frozen(kw_only=True)
class ImagesAnswer:
    """The answer of POST /images: the media in it, what they cost, and the whole where it holds none."""

    found: ExtractedMedia
    usage: Mapping[str, Any] = attrs.field(factory=dict)
    rest: Any = None


def decode_images(body: bytes, base_url: str = "") -> ImagesAnswer:
    """Decode the answer of POST /images; base64 is decoded from where it lies in the JSON."""
    try:
        answer = msgspec.json.decode(body, type=_Images)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = None
    if answer is not None:
        items = [item and {**msgspec.structs.asdict(item), "b64_json": memoryview(item.b64_json)} for item in answer.data]
        found = extract_media({"data": items}, ["data[]"], base_url=base_url, usual=False)
        if found.items:
            return ImagesAnswer(found=found, usage=answer.usage if isinstance(answer.usage, dict) else {})
    whole = decode_json(body)
    found = extract_media(whole, ["data[]"], base_url=base_url)
    usage = whole.get("usage") if isinstance(whole, dict) else None
    return ImagesAnswer(found=found, usage=usage if isinstance(usage, dict) else {}, rest=whole)


def cost_of(usage: Mapping[str, Any] | None) -> float | None:
    """Return the US dollars that the service charges, or None where it does not say."""
    cost = (usage or {}).get("cost")
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0 else None
