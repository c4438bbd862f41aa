"""The REST endpoint for speech of the Grok fake."""

from __future__ import annotations

from typing import Any

from .http_server import Received, Reply
from .media_bytes import sound

__all__ = ["Speech"]

_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm"}
#: Seconds: the longest text would be spoken for a quarter of an hour.
_LONGEST = 20.0
_RATES = frozenset({8000, 16000, 22050, 24000, 44100, 48000})


def _no(message: str, status: int = 400) -> Reply:
    return Reply.of_json({"code": "Client specified an invalid argument", "error": message}, status=status)


class Speech:
    """Answers ``POST /v1/tts``."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.voices = {"eve", "ara", "leo", "rex", "sal"}
        self.spoken: list[bytes] = []

    def answer(self, received: Received) -> Reply:
        """Refuse what is wrong, or speak."""
        if received.headers.get("authorization") != f"Bearer {self.key}":
            return _no("Incorrect API key provided. You can obtain an API key from the console.")
        asked: dict[str, Any] = received.json()
        form = asked.get("output_format", {})
        unknown = asked.keys() - {"text", "voice_id", "language", "output_format"} | form.keys() - {"codec", "sample_rate", "bit_rate"}
        if unknown:
            return _no(f"Unknown field {sorted(unknown)[0]}.", 422)
        if not asked.get("text") or len(asked["text"]) > 15_000 or not asked.get("language"):
            return _no("text (1 to 15000 characters) and language are required.")
        if "FORBIDDEN" in asked["text"]:
            return _no("Content violates usage guidelines.", 403)
        if asked.get("voice_id", "eve").lower() not in self.voices:
            return _no("Unknown voice.", 404)
        codec, rate = form.get("codec", "mp3"), form.get("sample_rate", 24_000)
        if codec not in _TYPES or rate not in _RATES:
            return _no("Unsupported output_format.")
        data = sound(codec, min(max(0.5, round(len(asked["text"]) / 15, 1)), _LONGEST), rate=rate)
        self.spoken.append(data)
        return Reply(body=data, headers={"content-type": _TYPES[codec], "x-request-id": "req-of-the-speech"})
