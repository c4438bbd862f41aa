"""A loopback server that speaks OpenAI's media protocol: images, Responses with the image tool, videos, speech, models.

    with OpenAIServer() as fake:
        client = AsyncOpenAI(base_url=fake.base_url, api_key=fake.key)
        fake.fail("lost", on="POST /v1/images")      # see http_server
        fake.images.made, fake.videos.jobs, fake.received

It refuses what the real one is documented to refuse: unknown fields, wrong types, values a model does not take,
a wrong key, an unknown id, each in OpenAI's own error envelope with an ``x-request-id``. A prompt with the word FORBIDDEN
is refused by moderation. Run as a program it prints its address and serves until its input ends.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from .forms import BadForm
from .http_server import HttpServer, Received, Reply
from .media_bytes import sound
from .openai_images import Images
from .openai_params import IMAGE_MODELS, SPEECH_FIELDS, Refusal, check_fields
from .openai_videos import Videos

__all__ = ["KEY", "OpenAIServer"]

KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"
_AUDIO_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_SMALL = ("alloy", "ash", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer")
_VOICES = {
    "gpt-4o-mini-tts": (*_SMALL, "ballad", "verse", "marin", "cedar"),
    "gpt-4o-mini-tts-2025-12-15": (*_SMALL, "ballad", "verse", "marin", "cedar"),
    "tts-1": _SMALL,
    "tts-1-hd": _SMALL,
}
_SHUTDOWN = {
    "gpt-image-1-mini": "2026-12-01",
    "gpt-image-1.5": "2026-12-01",
    "chatgpt-image-latest": "2026-12-01",
    "gpt-4o-mini-tts": "2027-01-06",
    "tts-1": "2027-01-06",
    "tts-1-hd": "2027-01-06",
}

#: Seconds: the longest text would be spoken for minutes.
_LONGEST = 20.0


class OpenAIServer(HttpServer):
    """The fake; ``any_key`` for a self-hosted server that asks for none."""

    def __init__(self, *, any_key: bool = False, videos: Videos | None = None, images: Images | None = None) -> None:
        super().__init__(self._route)
        self.key = KEY
        self.any_key = any_key
        self.images = images or Images()
        self.videos = videos or Videos()
        self.shutdown_dates: dict[str, str | None] = {name: _SHUTDOWN.get(name) for name in (*IMAGE_MODELS, *_VOICES)}
        self.spoken: list[bytes] = []

    @property
    def base_url(self) -> str:
        """What goes into the SDK's ``base_url``."""
        return f"{self.url}/v1"

    def _route(self, received: Received) -> Reply:
        try:
            reply = self._answer_to(received)
        except Refusal as refusal:
            reply = refusal.reply()
        except BadForm as wrong:
            reply = Refusal(f"Could not parse multipart form: {wrong}").reply()
        headers = {"x-request-id": "req_" + uuid.uuid4().hex, "openai-version": "2020-10-01", "openai-processing-ms": "12"}
        return attrs.evolve(reply, headers={**headers, **reply.headers})

    def _answer_to(self, received: Received) -> Reply:
        self._check_key(received.headers)
        _, version, *rest = received.path.split("/")
        if version != "v1":
            raise Refusal("Invalid URL", status=404)
        match (received.method, rest):
            case ("POST", ["images", "generations"]):
                return self.images.generations(received)
            case ("POST", ["images", "edits"]):
                return self.images.edits(received)
            case ("POST", ["responses"]):
                return self.images.responses(received)
            case ("POST", ["audio", "speech"]):
                return self._speech(received)
            case ("GET", ["models"]):
                return self._models()
            case (_, ["videos", *behind]):
                return self.videos.handle(received, behind)
        raise Refusal(f"Invalid URL ({received.line})", status=404)

    def _check_key(self, headers: Mapping[str, str]) -> None:
        if self.any_key or headers.get("authorization") == f"Bearer {self.key}":
            return
        shown = headers.get("authorization", "")[7:]
        raise Refusal(f"Incorrect API key provided: {shown[:7]}***{shown[-4:]}.", status=401, code="invalid_api_key")

    def _models(self) -> Reply:
        models: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": 1_750_000_000, "owned_by": "system", "shutdown_date": day}
            for name, day in self.shutdown_dates.items()
        ]
        return Reply.of_json({"object": "list", "data": models})

    def _speech(self, received: Received) -> Reply:
        asked = received.json()
        check_fields(asked, SPEECH_FIELDS, ("model", "input", "voice"))
        model, voice = asked["model"], asked["voice"]
        if model not in _VOICES:
            raise Refusal(f"The model '{model}' does not exist.", status=404, code="model_not_found")
        if len(asked["input"]) > 4096:
            raise Refusal("String too long: at most 4096 characters.", param="input", code="string_above_max_length")
        named = isinstance(voice, dict) and bool(voice.get("id"))
        if not named and voice not in _VOICES[model]:
            raise Refusal(f"Invalid value for 'voice': {voice!r}.", param="voice", code="invalid_value")
        if "instructions" in asked and model.startswith("tts-1"):
            raise Refusal("instructions are not supported by this model.", param="instructions", code="unsupported_parameter")
        if not 0.25 <= asked.get("speed", 1.0) <= 4.0:
            raise Refusal("speed must be between 0.25 and 4.0.", param="speed", code="invalid_value")
        form = asked.get("response_format", "mp3")
        data = sound(form, min(max(0.5, round(len(asked["input"]) / 15 / asked.get("speed", 1.0), 1)), _LONGEST))
        self.spoken.append(data)
        return Reply(body=data, headers={"content-type": _AUDIO_TYPES[form]})


def _main() -> None:
    with OpenAIServer() as fake:
        print(fake.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main()
