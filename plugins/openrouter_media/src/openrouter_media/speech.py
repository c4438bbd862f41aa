"""POST /audio/speech: a text becomes sound. The format is always sent: the service's own default is raw samples.

The service makes mp3 and pcm. For wav, pcm is asked for and given a header by the rate that the answer's type says:
the samples stay as they are.
"""

from __future__ import annotations

import io
import wave
from typing import Any

from anymedia.context import Context
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece

from ._answers import bad_answer, cost_of, decode_json
from ._client import Answer, connect
from ._errors import refuse_errors, rejected, translated
from ._options import chosen, extras

__all__ = ["speak"]

#: What the service's guide shows, for an answer whose type does not say it.
_RATE, _CHANNELS = 24_000, 1
_MP3 = (b"ID3", b"\xff\xe2", b"\xff\xe3", b"\xff\xf2", b"\xff\xf3", b"\xff\xfa", b"\xff\xfb")


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text with one of the model's voices."""
    form = request.output_format or "mp3"
    body: dict[str, Any] = {
        "model": context.model,
        "input": request.prompt,
        "response_format": "mp3" if form == "mp3" else "pcm",
        **chosen(request, context, ("speed", "instructions")),
        **extras(request, context),
    }
    option = None if context.operation is None else context.operation.options.get("voice")
    if voice := request.voice or getattr(option, "default", None):
        body["voice"] = voice
    connection = connect(context)
    async with context.submission():
        with translated(context):
            answer = await connection.ask("POST", "/audio/speech", body=body)
        refuse_errors(answer, context)
        return _outcome(answer, form, context)


def _outcome(answer: Answer, form: str, context: Context) -> Outcome:
    kind, _, parameters = answer.headers.get("content-type", "").lower().partition(";")
    if kind in {"application/json", "text/event-stream"} or kind.startswith("text/"):
        _raise_error(answer, context)
    if not answer.body:
        raise bad_answer("it holds no sound")
    if kind != "audio/pcm":
        if not answer.body.startswith((*_MP3, b"RIFF", b"fLaC", b"OggS")):
            raise bad_answer(f"it holds no sound ({kind[:40] or 'no type'}, {len(answer.body)} bytes)")
        return Outcome(pieces=(Piece(data=answer.body, mime=mime_of("mp3")),), request_id=answer.generation)
    data, warnings = _wav(answer.body, parameters)
    return Outcome(pieces=(Piece(data=data, mime=mime_of("wav")),), request_id=answer.generation, warnings=warnings)


def _raise_error(answer: Answer, context: Context) -> None:
    raw = decode_json(answer.body)
    error = raw.get("error")
    if isinstance(error, dict):
        raise rejected(error, answer, context)
    raise bad_answer(f"it holds no sound, and cost {cost_of(raw.get('usage'))}" if raw.get("usage") else "it holds no sound")


def _wav(samples: bytes, parameters: str) -> tuple[bytes, list[str]]:
    """Put a header before raw 16-bit little-endian samples; ``rate`` in samples a second and ``channels`` as the type says."""
    said = dict(part.strip().partition("=")[::2] for part in parameters.split(";") if "=" in part)
    rate, channels = (int(said[k]) if said.get(k, "").isdigit() else 0 for k in ("rate", "channels"))
    warnings = [] if 1_000 <= rate <= 384_000 else [f"the service did not say the sampling rate; {_RATE} a second is assumed"]
    rate, channels = (_RATE if warnings else rate), (channels if 1 <= channels <= 8 else _CHANNELS)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples[: len(samples) - len(samples) % (2 * channels)])
    return out.getvalue(), warnings
