"""Speech by generate_content, music by interactions."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Mapping
from typing import Any

from anymedia.context import Context
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece, Warning

from ._content import COST_BASIS, ask, cost_of
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
    answer = await ask([types.Content(role="user", parts=[types.Part(text=text)])], context, config)
    sounds = [item for item in answer.found.items if item.data]
    if not sounds:
        raise without_media(context, answer, "sound")
    claimed = _claimed(sounds[0].item)
    # Raw samples may look like anything; what is claimed to be something else is what its bytes show.
    mime = claimed if _is_raw(claimed) else sounds[0].mime or "audio/pcm"
    piece = _as_requested(b"".join(item.data or b"" for item in sounds), mime, raw=request.output_format == "pcm")
    warnings = [Warning("sampling_rate_assumed", f"the answer did not name a valid sampling rate; {_RATE} Hz is assumed")]
    assumed = warnings if _is_raw(mime) and _rate(mime) is None else []
    cost = cost_of(answer.usage, context, "audio")
    return Outcome(
        pieces=(piece,),
        usage=answer.usage,
        cost_usd=cost,
        cost_basis="" if cost is None else COST_BASIS,
        request_id=answer.id,
        warnings=[*answer.found.warnings, *assumed],
    )


def _claimed(part: Any) -> str:
    """Return the mime type that a part of the answer claims, with its parameters."""
    blob = part.get("inlineData") if isinstance(part, Mapping) else None
    found = blob.get("mimeType") if isinstance(blob, Mapping) else None
    return found.lower() if isinstance(found, str) else ""


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
