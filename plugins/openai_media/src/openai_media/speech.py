"""The Speech API: text to speech. The answer is the sound itself."""

from __future__ import annotations

import json
from typing import Any

import attrs

from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.context import Context
from anymedia.http import no_media
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece, Warning

from ._client import connect
from ._errors import BY_CODE, translated
from ._options import chosen, extras

__all__ = ["speak"]


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text with a built-in voice, or with a custom one (``extra_params.voice_id``)."""
    connection = connect(context)
    form = request.output_format or "mp3"
    arguments: dict[str, Any] = {
        "model": context.model,
        "input": request.prompt,
        "voice": _voice(request, context),
        "response_format": form,  # always sent: servers differ in their default
        **chosen(request, context, ("speed", "instructions")),
    }
    more = extras(request, context, but=("voice_id",))
    if more:
        arguments["extra_body"] = more
    async with context.submission():
        with translated(context):
            async with connection.sdk.audio.speech.with_streaming_response.create(**arguments) as answer:
                data = await answer.read()
                kind, request_id = answer.headers.get("content-type", ""), answer.headers.get("x-request-id")
        piece, warnings = _sound(data, kind, form, connection.base_url)
        if piece is None:
            raise no_media(context, data, ExtractedMedia(), what="sound", by_code=BY_CODE, request_id=request_id)
    return Outcome(pieces=(piece,), warnings=warnings, request_id=request_id)


def _sound(data: bytes, kind: str, form: str, base_url: str) -> tuple[Piece | None, tuple[Warning, ...]]:
    """Return the sound in an answer: its bytes, whatever format they show, or media in JSON as other servers answer."""
    is_text = kind.startswith(("application/json", "text/"))
    found = extract_media(_loose(data) if is_text else data, ["audio", "data"], base_url=base_url)
    if found.items:
        item = found.items[0]
        mime = mime_of(form) if (form, item.mime) == ("opus", "audio/ogg") else item.mime  # Opus lies in an Ogg container
        return attrs.evolve(item, mime=mime).to_piece(), found.warnings
    raw = form == "pcm" and data and not is_text  # samples without a header begin with anything
    return (Piece(data=data, mime=mime_of(form)) if raw else None), ()


def _loose(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


def _voice(request: GenerateAudio, context: Context) -> Any:
    if custom := request.extra_params.get("voice_id"):
        return {"id": custom}
    option = context.operation.options.get("voice")
    return request.voice or getattr(option, "default", None) or "alloy"
