"""The Interactions API: pictures and music at once, videos in the background, files they lie in, uploads."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Mapping
from typing import Any

import attrs
from wire.google_content import IMAGE_MODELS
from wire.google_values import Refused, bytes_of, camel, fit, only, seconds_of, shape_of, unbase64, want
from wire.http_server import Received, Reply
from wire.media_bytes import image, sound, video

__all__ = ["OMNI_MODELS", "Interaction", "Interactions"]

OMNI_MODELS = ("gemini-omni-1.2-flash", "gemini-omni-1.1-flash", "gemini-omni-1.1-flash-preview", "gemini-omni-flash-preview")
_LYRIA = ("lyria-3.5", "lyria-3-clip-preview", "lyria-3-pro-preview")
#: These answer in an older shape, with ``outputs`` in place of ``steps``.
_WITH_OUTPUTS = ("lyria-3-clip-preview", "lyria-3-pro-preview")
_RATIOS = ("1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9")
_TASKS = ("text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale")
_DELIVERY = ("inline", "uri")
_FORMATS: Mapping[str, Mapping[str, Any]] = {
    "image": {"type": str, "aspect_ratio": _RATIOS, "image_size": ("512", "1K", "2K", "4K"), "mime_type": str, "delivery": _DELIVERY},
    "audio": {"type": str, "mime_type": str, "sample_rate": int, "bit_rate": int, "delivery": _DELIVERY},
    "video": {
        "type": str,
        "aspect_ratio": ("16:9", "9:16"),
        "duration": str,
        "resolution": ("360p", "720p", "1080p", "4k"),
        "delivery": _DELIVERY,
        "gcs_uri": str,
    },
}
_BLOCK = {"type": ("text", "image", "video"), "text": str, "mime_type": str, "data": str, "uri": str}
_GENERATION = {"seed": int, "thinking_level": ("minimal", "low", "medium", "high"), "video_config": {"task": _TASKS}}


def _body(kind: str) -> Mapping[str, Any]:
    return {
        "model": str,
        "input": [{"type": ("user_input",), "content": [_BLOCK]}],
        "generation_config": _GENERATION,
        "response_format": _FORMATS[kind],
        "previous_interaction_id": str,
        "background": bool,
        "store": bool,
        "stream": bool,
    }


_CREATED = "2026-11-21T04:00:00Z"


@attrs.define(kw_only=True, eq=False)
class Interaction:
    """One interaction: what was asked, and how far it is."""

    id: str
    body: Mapping[str, Any]
    kind: str
    status: str = "in_progress"
    looks: int = 0
    media: bytes = b""
    file: str = ""

    def blocks(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the content blocks of a kind that were sent."""
        return [b for step in self.body["input"] for b in step["content"] if b["type"] == kind]

    def text(self) -> str:
        """Return the words that were sent."""
        return " ".join(b["text"] for b in self.blocks("text"))

    def pictures(self) -> list[bytes]:
        """Return the pictures that were sent."""
        return [unbase64(b["data"]) for b in self.blocks("image")]

    @property
    def task(self) -> str | None:
        """The video task that was named."""
        found: str | None = self.body.get("generation_config", {}).get("video_config", {}).get("task")
        return found


@attrs.define(kw_only=True, eq=False)
class Interactions:
    """All interactions and files. ``looks``: how often a video is looked at before it is done.

    ``next_ends`` are taken one an interaction: ``completed``, ``two`` (pictures), ``failed``, ``refused``, ``empty``,
    ``words``, ``budget``.
    """

    looks: int = 1
    made: list[Interaction] = attrs.field(factory=list)
    files: dict[str, bytes] = attrs.field(factory=dict)
    uploads: dict[str, dict[str, str]] = attrs.field(factory=dict)
    #: Upload -> what has arrived of it.
    parts: dict[str, bytes] = attrs.field(factory=dict)
    next_ends: list[str] = attrs.field(factory=list)
    ends: dict[str, str] = attrs.field(factory=dict)
    _numbers: Any = attrs.field(factory=lambda: itertools.count(1))

    def create(self, received: Received, *, agent_platform: bool) -> Reply:
        """Start an interaction, or refuse it as the service would."""
        body = received.json()
        kind = self._kind(str(body.get("model")), agent_platform=agent_platform)
        fit(body, _body(kind), "request")
        want(not body.get("background") or body.get("store") is not False, "background needs store")
        self._check_input(body.get("input"))
        found = Interaction(id=f"v1_int_{next(self._numbers):04d}", body=body, kind=kind)
        self._check_previous(found, agent_platform=agent_platform)
        self._check_format(found, agent_platform=agent_platform)
        if kind == "video":
            self._check_video(found)
        else:
            want(not body.get("background"), "background is not supported by this model")
        self.made.append(found)
        self.ends[found.id] = self.next_ends.pop(0) if self.next_ends else "completed"
        if not body.get("background"):
            found.looks = self.looks
            self._advance(found)
        return Reply.of_json(self._shown(found))

    def find(self, name: str) -> Interaction:
        """Return an interaction by its id."""
        found = next((i for i in self.made if i.id == name), None)
        if found is None:
            raise Refused(f"Interaction {name} was not found", 404)
        return found

    def get(self, name: str) -> Reply:
        """Answer a status check."""
        found = self.find(name)
        self._advance(found)
        return Reply.of_json(self._shown(found))

    def cancel(self, name: str) -> Reply:
        """Stop an interaction."""
        found = self.find(name)
        want(found.status == "in_progress", "the interaction is not running")
        found.status = "cancelled"
        return Reply.of_json(self._shown(found))

    def _kind(self, model: str, *, agent_platform: bool) -> str:
        if model in OMNI_MODELS:
            return "video"
        if not agent_platform and model in _LYRIA:
            return "audio"
        if not agent_platform and model in IMAGE_MODELS:
            return "image"
        raise Refused(f"models/{model} is not found or is not supported for interactions", 404)

    def _check_input(self, steps: Any) -> None:
        want(isinstance(steps, list) and steps, "input is not specified")
        for step in steps:
            for block in step["content"]:
                self._check_block(block)

    def _check_block(self, block: Mapping[str, Any]) -> None:
        if block["type"] == "text":
            only(block, ("type", "text"), "input.content")
            want(block.get("text"), "a text block is empty")
            return
        only(block, ("type", "mime_type", "data", "uri"), "input.content")
        want(("data" in block) != ("uri" in block), "media takes one of data and uri")
        if "data" in block:
            bytes_of(block["data"], block.get("mime_type"), "input.content")
        else:
            want(self._file_of(block["uri"]) in self.files, "the file is not there or not ACTIVE")

    def _file_of(self, uri: str) -> str:
        found = re.search(r"files/([A-Za-z0-9_-]+)", uri)
        return found[1] if found else ""

    def _check_previous(self, found: Interaction, *, agent_platform: bool) -> None:
        previous = found.body.get("previous_interaction_id")
        if previous is None:
            return
        want(not agent_platform, "previous_interaction_id is not supported")
        before = self.find(previous)
        want(before.body.get("store") is not False and before.status == "completed", "the previous interaction was not stored")

    def _check_format(self, found: Interaction, *, agent_platform: bool) -> None:
        shape = found.body.get("response_format") or {"type": found.kind}
        want(shape.get("type") == found.kind, f"this model makes {found.kind}")
        if shape.get("delivery") == "uri" and agent_platform:
            want(str(shape.get("gcs_uri", "")).startswith("gs://"), "gcs_uri is required for delivery uri")

    def _check_video(self, found: Interaction) -> None:
        shape, task = found.body.get("response_format") or {}, found.task
        seconds = re.fullmatch(r"([0-9]+)s", shape.get("duration", "8s"))
        want(seconds and 3 <= int(seconds[1]) <= 15, "duration is not supported")
        goes_on = bool(found.blocks("video") or found.body.get("previous_interaction_id"))
        want(goes_on == (task in {"edit", "extend"}), f"task {task!r} does not fit the input")
        want(task != "image_to_video" or 1 <= len(found.blocks("image")) <= 2, "image_to_video takes one or two images")
        want(task != "text_to_video" or not found.blocks("image"), "text_to_video takes no image")
        want(task != "edit" or "duration" not in shape, "an edit has no duration")

    def _advance(self, found: Interaction) -> None:
        if found.status != "in_progress":
            return
        found.looks += 1
        if found.looks <= self.looks and found.kind == "video":
            return
        end = self.ends[found.id]
        found.status = {"failed": "failed", "refused": "failed", "budget": "budget_exceeded"}.get(end, "completed")
        if end in {"completed", "two"}:
            found.media = self._draw(found)
            if found.kind == "video" and (found.body.get("response_format") or {}).get("delivery") == "uri":
                found.file = f"out{found.id[-4:]}"
                self.files[found.file] = found.media

    def _draw(self, found: Interaction) -> bytes:
        shape, number = found.body.get("response_format") or {}, len(self.made)
        if found.kind == "image":
            width, height = shape_of(shape.get("aspect_ratio"), shape.get("image_size"))
            return image(width, height, tint=number)
        if found.kind == "audio":
            return sound("mp3", 2.0, rate=44_100)
        seconds = float(str(shape.get("duration", "8s")).rstrip("s"))
        source = self._source_seconds(found)
        if source is not None:
            seconds = source if found.task == "edit" else source + seconds
        width, height = (64, 112) if shape.get("aspect_ratio") == "9:16" else (112, 64)
        return video(width, height, seconds, tint=number)

    def _source_seconds(self, found: Interaction) -> float | None:
        for block in found.blocks("video"):
            data = unbase64(block["data"]) if "data" in block else self.files[self._file_of(block["uri"])]
            return seconds_of(data)
        previous = found.body.get("previous_interaction_id")
        return seconds_of(self.find(previous).media) if previous else None

    def _shown(self, found: Interaction) -> Mapping[str, Any]:
        out: dict[str, Any] = {
            "id": found.id,
            "object": "interaction",
            "model": found.body["model"],
            "status": found.status,
            "created": _CREATED,
            "updated": _CREATED,
            "steps": [],
        }
        if found.status == "in_progress":
            return out
        end = self.ends[found.id]
        if end == "refused":
            out["errors"] = [{"code": "content_blocked", "message": "The video was blocked by our safety filters."}]
        elif end == "failed":
            out["errors"] = [{"code": "internal", "message": "Something broke."}]
        if found.status == "completed":
            steps = self._steps(found, end)
            if found.body["model"] in _WITH_OUTPUTS:
                del out["steps"]
                out["outputs"] = [block for step in steps for block in step.get("content", ())]
            else:
                out["steps"] = steps
            made = 0 if end == "empty" else 1120 if "image" in str(found.body["model"]) or "banana" in str(found.body["model"]) else 46336
            out["usage"] = {"total_input_tokens": 20, "total_output_tokens": made, "total_tokens": 20 + made}
        return out

    def _steps(self, found: Interaction, end: str) -> list[Mapping[str, Any]]:
        thought = {"type": "thought", "signature": base64.b64encode(b"thought").decode()}
        if end == "empty":
            return [thought]
        if end == "words":
            return [thought, {"type": "model_output", "content": [{"type": "text", "text": "I cannot do that."}]}]
        mime = {"image": "image/png", "audio": "audio/mpeg", "video": "video/mp4"}[found.kind]
        block = {"type": found.kind, "mime_type": mime}
        if found.file:
            block["uri"] = f"https://generativelanguage.googleapis.com/v1/files/{found.file}:download?alt=media"
        else:
            block["data"] = base64.b64encode(found.media).decode()
        words = {"type": "text", "text": f"Made {found.kind} {found.id}."}
        blocks = [block, block | {"data": base64.b64encode(image(64, 64)).decode()}] if end == "two" else [block]
        return [thought, {"type": "model_output", "content": [words, *blocks]}]

    def download(self, received: Received, name: str) -> Reply:
        """Answer a download."""
        want(received.query == {"alt": "media"}, "alt=media is missing")
        if name not in self.files:
            raise Refused(f"File {name} does not exist", 404)
        return Reply(body=self.files[name], headers={"content-type": "video/mp4"})

    def begin_upload(self, received: Received, url: str) -> Reply:
        """Open a resumable upload."""
        told = {name: received.headers.get(f"x-goog-upload-{name}", "") for name in ("protocol", "command")}
        want(told == {"protocol": "resumable", "command": "start"}, "only resumable uploads are known here")
        fit(camel(received.json()), {"file": {"mimeType": str, "sizeBytes": int, "displayName": str, "name": str}}, "request")
        name = f"up{len(self.uploads) + 1:04d}"
        self.uploads[name] = {part: received.headers[f"x-goog-upload-header-content-{part}"] for part in ("type", "length")}
        return Reply.of_json({}, headers={"x-goog-upload-url": f"{url}/upload/v1/files?upload_id={name}"})

    def take_upload(self, received: Received) -> Reply:
        """Take the bytes of an upload, in one piece or in several; the file is PROCESSING until it is looked at."""
        name = received.query["upload_id"]
        if name not in self.uploads:
            raise Refused("Unknown upload_id", 404)
        command, before = received.headers.get("x-goog-upload-command"), self.parts.get(name, b"")
        want(command in {"upload", "upload, finalize"}, "the upload has no command")
        want(received.headers.get("x-goog-upload-offset") == str(len(before)), "the part does not begin where the last one ended")
        self.parts[name] = before + received.body
        if command == "upload":
            return Reply(headers={"x-goog-upload-status": "active"})
        self.files[name] = self.parts.pop(name)
        want(str(len(self.files[name])) == self.uploads[name]["length"], "the upload does not have the announced size")
        return Reply.of_json({"file": self.file_json(name, "PROCESSING")}, headers={"x-goog-upload-status": "final"})

    def file_json(self, name: str, state: str = "ACTIVE") -> Mapping[str, Any]:
        """Return a file's description."""
        if name not in self.files:
            raise Refused(f"File {name} does not exist", 404)
        uri = f"https://generativelanguage.googleapis.com/v1/files/{name}"
        mime = self.uploads.get(name, {}).get("type", "video/mp4")
        return {"name": f"files/{name}", "uri": uri, "mimeType": mime, "state": state}
