"""POST /audio/speech: text to speech. The format is always sent: the service's own default is raw samples.

The service answers mp3 and pcm. For wav, pcm is requested and given a header with the rate that the content type names; the samples
are not changed.
"""

from __future__ import annotations

import io
import wave
from typing import Any

from anymedia.answers.media import extract_media
from anymedia.context import Context
from anymedia.http import decode_object, no_media
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece, Warning

from ._client import Answer, connect
from ._errors import BY_CODE, error_of, raise_for_answer, translated
from ._options import chosen, extras

__all__ = ["speak"]

#: The values in the service's guide, for a content type that does not name them.
_RATE, _CHANNELS = 24_000, 1


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text with one of the model's voices."""
    form = request.output_format or "mp3"
    body: dict[str, Any] = {
        "model": context.model,
        "input": request.prompt,
        "response_format": "mp3" if form == "mp3" else "pcm",
        **chosen(request, context, ("speed",)),
        **extras(request, context),
    }
    option = context.operation.options.get("voice")
    if voice := request.voice or getattr(option, "default", None):
        body["voice"] = voice
    connection = connect(context)
    async with context.submission():
        with translated(context):
            answer = await connection.ask("POST", "/audio/speech", body=body)
        raise_for_answer(answer, context)
        return _outcome(answer, connection.base, context)


def _outcome(answer: Answer, base_url: str, context: Context) -> Outcome:
    kind, _, parameters = answer.headers.get("content-type", "").lower().partition(";")
    is_text = kind in {"application/json", "text/event-stream"} or kind.startswith("text/")
    if kind == "audio/pcm" and answer.body:
        data, warnings = _wav(answer.body, parameters)
        return Outcome(pieces=(Piece(data=data, mime=mime_of("wav")),), request_id=answer.generation, warnings=warnings)
    body: Any = decode_object(answer.body) if kind == "application/json" else answer.body
    found = extract_media(body, ["audio", "data"], base_url=base_url)
    if found.items:
        return Outcome(pieces=(found.items[0].to_piece(),), request_id=answer.generation, warnings=found.warnings)
    if is_text and isinstance(body, dict) and body.get("error"):
        raise error_of(answer, context, body=body)
    raise no_media(context, body, found, what="sound", by_code=BY_CODE, request_id=answer.generation)


def _wav(samples: bytes, parameters: str) -> tuple[bytes, list[Warning]]:
    """Put a header before raw 16-bit little-endian samples; ``rate`` in samples per second and ``channels`` come from the content type."""
    named = dict(part.strip().partition("=")[::2] for part in parameters.split(";") if "=" in part)
    rate, channels = (int(named[k]) if named.get(k, "").isdigit() else 0 for k in ("rate", "channels"))
    assumed = Warning("sampling_rate_assumed", f"the service did not name the sampling rate; {_RATE} Hz is assumed")
    warnings = [] if 1_000 <= rate <= 384_000 else [assumed]
    rate, channels = (_RATE if warnings else rate), (channels if 1 <= channels <= 8 else _CHANNELS)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples[: len(samples) - len(samples) % (2 * channels)])
    return out.getvalue(), warnings
