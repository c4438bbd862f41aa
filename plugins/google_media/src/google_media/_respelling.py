"""Answers that the SDK parses itself, with their media in the one spelling of base64 that its types accept.

generate_content is read as it came (`_content`). For images of ``:predict``, operations and interactions the SDK offers no
such way, and one line break or null in an answer would cost the media that were paid for, and an error object with status 200
its words.
"""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import httpx2
import msgspec

from anymedia.answers.base64_text import decode_base64

__all__ = ["ErrorInAnswer", "Respelling", "respelled"]

_PATH = re.compile(r":predict(?:LongRunning)?$|:fetchPredictOperation$|/operations/|/interactions(?:/|$)")
#: Keys of media in these answers.
_KEYS = frozenset({"bytesBase64Encoded", "encodedVideo", "videoBytes", "imageBytes", "data"})
_USUAL = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_OFF_LOOP = 256 * 1024
#: Keys of answers that may have an error of their own beside them: operations, interactions.
_OURS = frozenset({"id", "name", "predictions"})


class ErrorInAnswer(Exception):
    """An answer with status 200 that is an error object, of which the SDK's types would keep nothing."""

    def __init__(self, body: bytes) -> None:
        super().__init__("an error object with status 200")
        self.body_of_200 = body  # read by `_errors`, which must not import an HTTP library


class Respelling(httpx2.AsyncBaseTransport):
    """Respells such answers on their way to the SDK."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request.

        Raises:
            ErrorInAnswer: the answer with status 200 is an error object.
        """
        answer = await self._inner.handle_async_request(request)
        is_json = "json" in answer.headers.get("content-type", "")
        if answer.status_code != 200 or not is_json or not _PATH.search(request.url.path):
            return answer
        try:
            body = await answer.aread()
        finally:
            await answer.aclose()
        body = await asyncio.to_thread(respelled, body) if len(body) > _OFF_LOOP else respelled(body)
        headers = [(name, value) for name, value in answer.headers.raw if name.lower() != b"content-length"]
        return httpx2.Response(200, headers=headers, content=body, request=request, extensions=answer.extensions)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def respelled(body: bytes) -> bytes:
    """Return a JSON answer with usual base64 and without nulls in lists; the same object where it is so already, or no JSON.

    Raises:
        ErrorInAnswer: it is nothing but an error.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    if isinstance(found, dict) and found.get("error") and not found.keys() & _OURS:
        raise ErrorInAnswer(body)
    return msgspec.json.encode(found) if isinstance(found, dict | list) and _change(found) else body


def _change(node: Any) -> bool:
    """Change a decoded answer in place; return whether there was anything to change."""
    changed = False
    if isinstance(node, list):
        kept = [item for item in node if item is not None]
        changed = len(kept) < len(node)
        node[:] = kept
    for key, value in node.items() if isinstance(node, dict) else ((None, item) for item in node):
        if isinstance(value, dict | list):
            changed = _change(value) or changed
        elif key in _KEYS and isinstance(value, str) and not _USUAL.fullmatch(value):
            try:
                node[key] = base64.b64encode(decode_base64(value)).decode()
            except ValueError:
                continue
            changed = True
    return changed
