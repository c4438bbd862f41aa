"""Speech by generate_content, music by interactions."""

from __future__ import annotations

import io
import re
import wave
from typing import Any

from anymedia.context import Context
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece, Warning

from ._content import ask
from ._interactions import take_turn
from ._refusals import without_media

__all__ = ["make_music", "speak", "wrapped"]

#: Rate of raw samples whose mime type does not name it: Google's speech models use 16 bit, 24 kHz, mono.
_RATE = 24_000


async def speak(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text; raw samples are given a WAV header, unless raw samples were asked for.

    Raises:
        BadBackendResponse: the answer holds no sound.
    """
    from google.genai import types

    text = f"{request.instructions.rstrip('.: ')}: {request.prompt}" if request.instructions else request.prompt
    config: dict[str, Any] = {"response_modalities": ["AUDIO"]}
    if request.voice:
        voice = types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name=request.voice))
        config["speech_config"] = types.SpeechConfig(voice_config=voice)
    response, candidate = await ask([types.Content(role="user", parts=[types.Part(text=text)])], context, config)
    parts = (candidate.content.parts if candidate is not None and candidate.content is not None else None) or ()
    blobs = [p.inline_data for p in parts if p.inline_data is not None and p.inline_data.data]
    if not blobs:
        raise without_media(context, candidate, " ".join(p.text for p in parts if p.text), "sound", response.response_id)
    mime = blobs[0].mime_type or ""
    piece = _as_requested(b"".join(b.data for b in blobs), mime, raw=request.output_format == "pcm")
    warnings = [Warning("sampling_rate_assumed", f"the answer did not name a valid sampling rate; {_RATE} Hz is assumed")]
    usage = {} if response.usage_metadata is None else response.usage_metadata.model_dump(mode="json", exclude_none=True)
    assumed = warnings if _is_raw(mime) and _rate(mime) is None else []
    return Outcome(pieces=(piece,), usage=usage, request_id=response.response_id, warnings=assumed)


def _as_requested(data: bytes, mime: str, *, raw: bool) -> Piece:
    samples = _is_raw(mime)
    if raw:
        if not samples:
            with wave.open(io.BytesIO(data)) as file:
                data = file.readframes(file.getnframes())
        return Piece(data=data, mime="audio/pcm")
    return Piece(data=wrapped(data, mime), mime="audio/wav") if samples else Piece(data=data, mime=mime)


def _is_raw(mime: str) -> bool:
    return mime.lower().startswith(("audio/l16", "audio/pcm", "audio/raw"))


def _rate(mime: str) -> int | None:
    """Return the samples per second that a mime type names, if a sound can have that rate."""
    found = re.search(r"rate=([0-9]{1,7})(?![0-9])", mime)
    return int(found[1]) if found and 1_000 <= int(found[1]) <= 384_000 else None


def wrapped(samples: bytes, mime: str) -> bytes:
    """Return 16 bit samples (little endian, as Google sends them) with the WAV header that their mime type describes."""
    channels = re.search(r"channels=([1-8])", mime)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(int(channels[1]) if channels else 1)
        file.setsampwidth(2)
        file.setframerate(_rate(mime) or _RATE)
        file.writeframes(samples)
    return out.getvalue()


async def make_music(request: GenerateAudio, context: Context) -> Outcome:
    """Generate a song or a clip; its lyrics are returned as text."""
    body = {"input": [{"type": "text", "text": request.prompt}], "response_format": {"type": "audio"}}
    return await take_turn(context, "audio", body)
