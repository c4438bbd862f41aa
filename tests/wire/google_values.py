"""What Google's fakes share: errors as Google writes them, strict reading of fields, and real media of small sizes."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from wire.http_server import Reply

__all__ = ["Refused", "bytes_of", "camel", "error", "fit", "only", "seconds_of", "shape_of", "unbase64", "want", "worded"]

#: Pixels an edge that a tier stands for here: true to its order, small enough to be drawn at once.
_EDGES = {"512": 128, "1K": 256, "2K": 320, "4K": 384}
_MAGIC = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}
_WORDS = {400: "invalid_request", 404: "not_found", 409: "conflict", 429: "too_many_requests"}
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, message: str, code: int = 400, *, reason: str = "", details: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason
        more = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
        self.reply = error(code, message, [*more, *details])


def worded(refused: Refused) -> Reply:
    """Return an error as interactions write it: a word for its code, no status and no details."""
    return Reply.of_json({"error": {"code": _WORDS.get(refused.code, "internal_error"), "message": str(refused)}}, status=refused.code)


def error(code: int, message: str, details: Iterable[Mapping[str, Any]] = ()) -> Reply:
    """Return an error answer."""
    body = {"code": code, "message": message, "status": _STATUS.get(code, "INTERNAL"), "details": list(details)}
    return Reply.of_json({"error": body}, status=code)


def only(found: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse fields that the service does not know."""
    for key in found:
        if key not in set(allowed):
            raise Refused(f"Invalid JSON payload received. Unknown name \"{key}\" at '{where}': Cannot find field.")


def fit(found: Any, shape: Any, where: str) -> None:
    """Refuse what is not of a shape: a type, a tuple of words, a mapping of the known fields, ``[shape]`` for a list."""
    if isinstance(shape, Mapping):
        _be(isinstance(found, Mapping), found, where)
        only(found, shape, where)
        for key, value in found.items():
            fit(value, shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        _be(isinstance(found, list), found, where)
        for index, value in enumerate(found):
            fit(value, shape[0], f"{where}[{index}]")
    elif isinstance(shape, tuple):
        _be(found in shape, found, where)
    else:
        kinds = (int, float) if shape is float else shape
        _be(isinstance(found, kinds) and (shape is bool or not isinstance(found, bool)), found, where)


def _be(right: bool, found: object, where: str) -> None:
    if not right:
        raise Refused(f"Invalid value at '{where}': {str(found)[:60]!r}")


def want(condition: object, message: str) -> None:
    """Refuse a request that does not hold to something."""
    if not condition:
        raise Refused(message)


def camel(value: Any) -> Any:
    """Return JSON with its fields in one spelling: protobuf takes ``mime_type`` and ``mimeType``, and google-genai sends both."""
    if isinstance(value, Mapping):
        return {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): camel(inner) for key, inner in value.items()}
    return [camel(inner) for inner in value] if isinstance(value, list) else value


def unbase64(text: str) -> bytes:
    """Return the bytes of a JSON bytes field: protobuf takes both base64 alphabets, and google-genai sends both."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def bytes_of(text: object, mime: object, where: str) -> bytes:
    """Return the bytes of a base64 field, which must be what its mime type says."""
    want(isinstance(text, str) and text, f"{where}: no data")
    try:
        data = unbase64(str(text))
    except binascii.Error:
        raise Refused(f"{where}: Base64 decoding failed") from None
    start = _MAGIC.get(str(mime))
    want(start is None or data.startswith(start), f"{where}: the data is not {mime}")
    want(mime != "video/mp4" or data[4:8] == b"ftyp", f"{where}: the data is not {mime}")
    return data


def shape_of(aspect: str | None, tier: str | None) -> tuple[int, int]:
    """Return width and height of a picture for an aspect ratio and a tier."""
    edge = _EDGES[tier or "1K"]
    wide, high = (int(n) for n in (aspect or "1:1").split(":"))
    scale = (edge * edge / (wide * high)) ** 0.5
    return max(2, round(wide * scale)), max(2, round(high * scale))


def seconds_of(video: bytes) -> float:
    """Return how long a video runs."""
    import av

    with av.open(io.BytesIO(video), "r") as container:
        return float((container.duration or 0) / 1_000_000)
