"""Answers of the Responses API, decoded once; the media in them is located here and read by the core.

The JSON is scanned once and an image's base64 is left where it lies, so that it is decoded from there without a copy.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.http import decode_object

__all__ = ["Turn", "decode_turn"]


class _Call(msgspec.Struct, tag="image_generation_call"):
    result: msgspec.Raw = msgspec.Raw(b"null")
    status: Any = None
    output_format: Any = None
    revised_prompt: Any = None
    error: Any = None


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
