"""The Speech API: a text becomes sound. The answer is the sound itself, read as it comes."""

from __future__ import annotations

from typing import Any

from anymedia.context import Context
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece

from ._answers import bad_answer
from ._client import connect
from ._errors import translated
from ._options import chosen, extras

__all__ = ["speak"]

#: A text of 4096 characters makes some five minutes: 15 MB as wav. What is ten times that is no answer.
_MOST_BYTES = 150_000_000
#: How sound begins: wav, flac, Ogg, MP3 with and without tags, AAC in ADTS, MP4. Servers do not always make the format that
#: was asked for, so each will do; raw pcm begins with anything.
_BEGINNINGS = (
    *(b"RIFF", b"fLaC", b"OggS", b"ID3", b"\0\0\0"),
    *(b"\xff\xe2", b"\xff\xe3", b"\xff\xf1", b"\xff\xf2", b"\xff\xf3", b"\xff\xf9", b"\xff\xfa", b"\xff\xfb"),
)


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text with a built-in voice, or with a custom one (``extra_params.voice_id``)."""
    connection = connect(context)
    form = request.output_format or "mp3"
    arguments: dict[str, Any] = {
        "model": context.model,
        "input": request.prompt,
        "voice": _voice(request, context),
        "response_format": form,  # always sent: servers differ in what they do without it
        **chosen(request, context, ("speed", "instructions")),
    }
    more = extras(request, context, but=("voice_id",))
    if more:
        arguments["extra_body"] = more
    async with context.submission():
        with translated(context):
            async with connection.sdk.audio.speech.with_streaming_response.create(**arguments) as answer:
                data = bytearray()
                async for chunk in answer.iter_bytes(1 << 16):
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise bad_answer(f"more than {_MOST_BYTES} bytes of sound")
                kind, request_id = answer.headers.get("content-type", ""), answer.headers.get("x-request-id")
        if not data or kind.startswith(("application/json", "text/")) or (form != "pcm" and not data.startswith(_BEGINNINGS)):
            raise bad_answer(f"it holds no sound ({kind or 'no type'}, {len(data)} bytes)")
    return Outcome(pieces=(Piece(data=bytes(data), mime=mime_of(form)),), request_id=request_id)


def _voice(request: GenerateAudio, context: Context) -> Any:
    if custom := request.extra_params.get("voice_id"):
        return {"id": custom}
    option = None if context.operation is None else context.operation.options.get("voice")
    return request.voice or getattr(option, "default", None) or "alloy"
