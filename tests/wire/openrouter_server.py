"""A loopback server that speaks OpenRouter's media protocol: images, videos, speech, and the lists of models.

    with OpenRouterServer() as fake:
        fake.base_url, fake.key, fake.received, fake.made, fake.videos.jobs
        fake.fail("lost", on="POST /api/v1/images")      # see http_server

It refuses what the service is documented to refuse, in its own envelope: ``{"error": {"code": <HTTP status>, "message"},
"user_id"}``. A prompt with the word FORBIDDEN is refused by moderation. The lists need no key. Signed links lead to a second
server, `Elsewhere`, that keeps what it was sent; a key has no business there.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import attrs

from .http_server import HttpServer, Received, Reply
from .media_bytes import image, sound
from .openrouter_catalog import ImageModel, SpeechModel, VideoModel, images, speech, videos
from .openrouter_videos import Videos

__all__ = ["KEY", "Elsewhere", "OpenRouterServer", "Refusal"]

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
_ROUTED = {"model", "prompt", "stream", "provider", "user", "session_id", "trace"}
_SPEECH = {"model", "input", "voice", "response_format", "provider", "user", "speed"}


class Refusal(Exception):
    """An answered rejection, in the service's envelope."""

    def __init__(self, message: str, status: int = 400, **metadata: Any) -> None:
        super().__init__(message)
        self.status, self.metadata = status, metadata

    def reply(self) -> Reply:
        error: dict[str, Any] = {"code": self.status, "message": str(self)}
        if self.metadata:
            error["metadata"] = self.metadata
        return Reply.of_json({"error": error, "user_id": "user_2x"}, status=self.status)


class Elsewhere(HttpServer):
    """Another host: it serves what was put there, and refuses requests with a key."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        super().__init__(self._hand_out)

    def _hand_out(self, received: Received) -> Reply:
        if "authorization" in received.headers:
            return Reply(status=400, body=b"only one way of authentication, please")
        data = self.files.get(received.path)
        return Reply(status=404) if data is None else Reply(body=data, headers={"content-type": "video/mp4"})


class OpenRouterServer:
    """The service, and another host beside it."""

    def __init__(self, *, key: str = KEY, **options: Any) -> None:
        self.key = key
        self.http = HttpServer(self._route)
        self.elsewhere = Elsewhere()
        self.image_models: dict[str, ImageModel] = images()
        self.video_models: dict[str, VideoModel] = videos()
        self.speech_models: dict[str, SpeechModel] = speech()
        self.videos = Videos(models=self.video_models, service=self.http, elsewhere=self.elsewhere, **options)
        self.made: list[bytes] = []
        #: At most so many images come back, whatever ``n`` says.
        self.most_images = 10
        self.pcm_type = "audio/pcm;rate=24000;channels=1"

    def __enter__(self) -> Self:
        self.http.__enter__()
        self.elsewhere.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.http.close()
        self.elsewhere.close()

    @property
    def base_url(self) -> str:
        """What goes into ``base_url``."""
        return f"{self.http.url}/api/v1"

    @property
    def received(self) -> list[Received]:
        """Everything that arrived at the service itself."""
        return self.http.received

    def fail(self, kind: Any, **more: Any) -> None:
        """Arrange a failure; see `HttpServer.fail`."""
        self.http.fail(kind, **more)

    def count(self, start: str) -> int:
        """How many requests arrived whose ``METHOD /path`` begins so."""
        return self.http.count(start)

    def last(self, start: str = "") -> Received:
        """Return the latest request whose ``METHOD /path`` begins so."""
        return self.http.last(start)

    def _route(self, received: Received) -> Reply:
        try:
            reply = self._answer_to(received)
        except Refusal as refusal:
            reply = refusal.reply()
        return attrs.evolve(reply, headers={"x-generation-id": f"gen-{uuid.uuid4().hex[:12]}", **reply.headers})

    def _answer_to(self, received: Received) -> Reply:
        _, api, version, *rest = received.path.split("/")
        if (api, version) != ("api", "v1"):
            raise Refusal("Not found", 404)
        match (received.method, rest):
            case ("GET", ["images", "models"]):
                return Reply.of_json({"data": [m.listed() for m in self.image_models.values()]})
            case ("GET", ["images", "models", author, slug, "endpoints"]):
                return self._endpoints(f"{author}/{slug}")
            case ("GET", ["videos", "models"]):
                return Reply.of_json({"data": [m.listed() for m in self.video_models.values()]})
            case ("GET", ["models"]):
                return self._general(received.query.get("output_modalities", "text"))
        if received.headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal("No auth credentials found", 401)
        match (received.method, rest):
            case ("POST", ["images"]):
                return self._image(received.json())
            case ("POST", ["audio", "speech"]):
                return self._speech(received.json())
            case ("POST", ["videos"]):
                return self._video(received.json())
            case ("GET", ["videos", job_id]):
                return self.videos.look(job_id) or _missing()
            case ("GET", ["videos", job_id, "content"]):
                return self.videos.content(job_id, received) or _missing()
        return _missing()

    # The lists

    def _endpoints(self, model: str) -> Reply:
        if model not in self.image_models:
            return _missing()
        return Reply.of_json({"id": model, "endpoints": self.image_models[model].endpoints})

    def _general(self, medium: str) -> Reply:
        if medium == "speech":
            return Reply.of_json({"data": [m.listed() for m in self.speech_models.values()]})
        if medium == "video":
            taken = [(m.id, m.modalities) for m in self.video_models.values()]
            return Reply.of_json({"data": [{"id": name, "architecture": {"input_modalities": list(ways)}} for name, ways in taken]})
        return Reply.of_json({"data": [{"id": "maker/a-text-model", "architecture": {"output_modalities": ["text"]}}]})

    # Making

    def _image(self, asked: dict[str, Any]) -> Reply:
        model = self.image_models.get(asked.get("model", ""))
        if model is None:
            raise Refusal(f"No endpoints found for {asked.get('model')}.", 404)
        _moderate(asked.get("prompt"), model.id)
        taken = model.takes()
        for name, value in asked.items():
            if name not in _ROUTED:
                _check(name, value, taken.get(name), model.id)
        if re.fullmatch(r"[0-9]+x[0-9]+", str(asked.get("size", ""))) and ({"aspect_ratio", "resolution"} & asked.keys()):
            raise Refusal("size conflicts with aspect_ratio or resolution")
        count = min(int(asked.get("n", 1)), self.most_images)
        form = str(asked.get("output_format", "png"))
        data = [image(*_pixels(asked), form, tint=len(self.made) + i) for i in range(count)]
        self.made += data
        pieces = [{"b64_json": base64.b64encode(d).decode(), "media_type": f"image/{form}"} for d in data]
        usage = {"prompt_tokens": 12, "completion_tokens": 1056 * count, "total_tokens": 12 + 1056 * count, "cost": round(0.05 * count, 4)}
        return Reply.of_json({"created": 1_780_000_000, "data": pieces, "usage": {**usage, "is_byok": False}})

    def _video(self, asked: dict[str, Any]) -> Reply:
        model = self.video_models.get(asked.get("model", ""))
        if model is None:
            raise Refusal(f"No endpoints found for {asked.get('model')}.", 404)
        _moderate(asked.get("prompt"), model.id)
        wrong = self.videos.problem(model, asked)
        if wrong:
            raise Refusal(wrong)
        return self.videos.start(asked)

    def _speech(self, asked: dict[str, Any]) -> Reply:
        model = self.speech_models.get(asked.get("model", ""))
        if model is None:
            raise Refusal(f"No endpoints found for {asked.get('model')}.", 404)
        if unknown := asked.keys() - _SPEECH:
            raise Refusal(f"Unrecognized key: {sorted(unknown)[0]}")
        if model.voices and asked.get("voice") not in model.voices:
            raise Refusal("voice: Invalid value")
        if extra := ({"speed"} & asked.keys()) - set(model.fields):
            raise Refusal(f"{sorted(extra)[0]} is not supported")
        _moderate(asked.get("input"), model.id)
        form = asked.get("response_format", "pcm")
        if form not in {"mp3", "pcm"}:
            raise Refusal("response_format: Invalid enum value. Expected 'mp3' | 'pcm'")
        data = sound(form, max(0.5, round(len(str(asked["input"])) / 15, 1)))
        self.made.append(data)
        return Reply(body=data, headers={"content-type": "audio/mpeg" if form == "mp3" else self.pcm_type})


def _missing() -> Reply:
    return Refusal("Not found", 404, error_type="not_found").reply()


def _moderate(text: Any, model: str) -> None:
    if "FORBIDDEN" in str(text):
        raise Refusal(
            "Your input was flagged", 403, reasons=["violence"], flagged_input="FOR...DEN", provider_name="Maker", model_slug=model
        )


def _check(name: str, value: Any, descriptor: Mapping[str, Any] | None, model: str) -> None:
    if descriptor is None:
        raise Refusal(f"{model} does not support {name}")
    kind = descriptor["type"]
    if name == "input_references":
        most = descriptor["max"] if kind == "range" else 1
        good = isinstance(value, list) and len(value) <= most and all(_is_picture(v) for v in value)
    elif kind == "enum":
        good = value in descriptor["values"]
    elif kind == "range":
        good = isinstance(value, int | float) and descriptor["min"] <= value <= descriptor["max"]
    else:
        good = isinstance(value, int)
    if not good:
        raise Refusal(f"{name}: Invalid value")


def _is_picture(value: Any) -> bool:
    url = value.get("image_url", {}).get("url", "") if isinstance(value, dict) and value.get("type") == "image_url" else ""
    return bool(re.match(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/]+=*$", url))


def _pixels(asked: Mapping[str, Any]) -> tuple[int, int]:
    """Return the size asked for, or a small picture of the shape asked for."""
    if size := re.fullmatch(r"([0-9]+)x([0-9]+)", str(asked.get("size", ""))):
        return int(size[1]), int(size[2])
    ratio = re.fullmatch(r"([0-9]+):([0-9]+)", str(asked.get("aspect_ratio", "1:1")))
    width, height = (int(ratio[1]), int(ratio[2])) if ratio else (1, 1)
    edge = 64 * {"2K": 2, "4K": 4}.get(str(asked.get("resolution")), 1)
    return max(16, edge * width // max(width, height)), max(16, edge * height // max(width, height))
