"""Speech: the provider's REST endpoint. The SDK has no client for it, so one POST is made here, to one place, never again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from anymedia.context import Context
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece

from ._answers import bad_answer
from ._client import ANSWER_SECONDS, CONNECT_SECONDS, key_of, rest_session, rest_url
from ._errors import BY_HTTP_STATUS, Answered, Kind, from_answer, kind_of, translated
from ._options import chosen

__all__ = ["speak"]

#: 15,000 characters make some 17 minutes: 100 MB as 48 kHz wav. What is three times that is no answer.
_MOST_BYTES = 300_000_000
_MOST_ERROR_BYTES = 64 * 1024


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text of up to 15,000 characters."""
    import aiohttp

    session = rest_session(context)
    key = key_of(context)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=float(context.settings.get("timeout", ANSWER_SECONDS)), connect=CONNECT_SECONDS)
    url = rest_url(context.settings, "/tts")
    async with context.submission():
        with translated(context):
            # A redirected POST would go out twice, and with its key to another place.
            async with session.post(url, json=_body(request, context), headers=headers, timeout=timeout, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise from_answer(_refusal(answer, await answer.content.read(_MOST_ERROR_BYTES)), context)
                data = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise bad_answer(f"more than {_MOST_BYTES} bytes of sound")
        kind = answer.headers.get("content-type", "")
        if not data or kind.startswith(("application/json", "text/")):
            raise bad_answer(f"it holds no sound ({kind or 'no type'}, {len(data)} bytes)")
    return Outcome(pieces=(Piece(data=bytes(data), mime=mime_of(_form(request))),), request_id=answer.headers.get("x-request-id"))


def _form(request: GenerateAudio) -> str:
    return request.output_format or "mp3"


def _body(request: GenerateAudio, context: Context) -> dict[str, Any]:
    more = request.extra_params
    form: dict[str, Any] = {"codec": _form(request)}
    form |= {name: more[name] for name in ("sample_rate", "bit_rate") if name in more}
    voice = more.get("voice_id") or chosen(request, context, "voice") or "eve"
    return {"text": request.prompt, "voice_id": voice, "language": more.get("language", "auto"), "output_format": form}


def _refusal(answer: Any, body: bytes) -> Answered:
    status = int(answer.status)
    message = _message(body)
    usual: Kind = "unavailable" if status >= 500 else "redirect" if 300 <= status < 400 else "invalid"
    return Answered(
        kind=kind_of(BY_HTTP_STATUS.get(status, usual), message),
        message=message,
        code=f"HTTP {status}",
        request_id=answer.headers.get("x-request-id"),
        retry_after=_seconds(answer.headers.get("retry-after")),
    )


def _message(body: bytes) -> str:
    """Return the words of an error: ``{"error": "..."}``, ``{"error": {"message": "..."}}``, or the text as it is."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    found = said.get("error", said) if isinstance(said, Mapping) else said
    return str(found.get("message", found)) if isinstance(found, Mapping) else str(found)


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
