"""Speech: the provider's REST endpoint. The SDK has no client for it, so one POST is sent here, once."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from anymedia.answers.envelopes import read_error
from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.context import Context
from anymedia.errors import MediaError
from anymedia.http import answered_error, no_media, read_body, secret_for_header
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece

from ._client import ANSWER_SECONDS, CONNECT_SECONDS, rest_session, rest_url
from ._errors import kind_of, translated
from ._options import chosen

__all__ = ["speak"]


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text of up to 15,000 characters."""
    import aiohttp

    session = rest_session(context)
    key = secret_for_header(context)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=float(context.settings.get("timeout", ANSWER_SECONDS)), connect=CONNECT_SECONDS)
    url = rest_url(context.settings, "/tts")
    async with context.submission():
        with translated(context):
            # A redirected POST would be sent twice, and with its key to another host.
            async with session.post(url, json=_body(request, context), headers=headers, timeout=timeout, allow_redirects=False) as answer:
                data = await read_body(answer)
                if answer.status != 200:
                    raise _rejected(answer, data, context)
        kind = answer.headers.get("content-type", "")
        piece = _sound(data, kind, _form(request), rest_url(context.settings, ""))
        if piece is None:
            raise no_media(context, data, ExtractedMedia(), what="sound")
    return Outcome(pieces=(piece,), request_id=answer.headers.get("x-request-id"))


def _sound(data: bytes, kind: str, form: str, base_url: str) -> Piece | None:
    """Return the sound in an answer: its bytes, or media in JSON; None for an error or a text."""
    is_text = kind.startswith(("application/json", "text/"))
    body: Any = data
    if is_text:
        with contextlib.suppress(ValueError):
            body = json.loads(data)
    found = extract_media(body, ["audio", "data"], base_url=base_url)
    if found.items:
        return found.items[0].to_piece()
    return Piece(data=data, mime=mime_of(form)) if data and not is_text else None


def _form(request: GenerateAudio) -> str:
    return request.output_format or "mp3"


def _body(request: GenerateAudio, context: Context) -> dict[str, Any]:
    more = request.extra_params
    form: dict[str, Any] = {"codec": _form(request)}
    form |= {name: more[name] for name in ("sample_rate", "bit_rate") if name in more}
    voice = more.get("voice_id") or chosen(request, context, "voice") or "eve"
    return {"text": request.prompt, "voice_id": voice, "language": more.get("language", "auto"), "output_format": form}


def _rejected(answer: Any, body: bytes, context: Context) -> MediaError:
    found, status = read_error(body), int(answer.status)
    kind = kind_of(found.text, status) if status != 404 else None
    return answered_error(context, found, status=status, headers=answer.headers, kind=kind, request_id=answer.headers.get("x-request-id"))
