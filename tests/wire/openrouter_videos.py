"""The video jobs of the fake: checked at the start, six states, links that are signed or need the key."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .http_server import HttpServer, Received, Reply
from .media_bytes import video
from .openrouter_catalog import VideoModel

if TYPE_CHECKING:
    from .openrouter_server import Elsewhere

__all__ = ["SIGNATURE", "Videos"]

#: The secret part of every signed link.
SIGNATURE = "5ec2e7519na7u2e0fad0wn10ad"
_FIELDS = {"model", "prompt", "provider", "user", "session_id", "trace", "callback_url"}
_LISTS = {"duration": "durations", "resolution": "resolutions", "aspect_ratio": "aspect_ratios", "size": "sizes"}
Links = Literal["both", "signed", "unsigned", "foreign", "none"]
Polling = Literal["relative", "absolute", "elsewhere", "wrong", "none"]


@attrs.define(kw_only=True)
class Videos:
    """The jobs, and how they go.

    Attributes:
        states: the answers to status checks in order; the last one is repeated.
        links: which links a done job gives; ``foreign`` are "unsigned" ones to another host.
        polling: what the polling_url is like; ``wrong`` is one of the service that it does not know.
        cost: US dollars, as ``usage.cost`` says.
    """

    models: Mapping[str, VideoModel]
    service: HttpServer
    elsewhere: Elsewhere
    states: Sequence[str] = ("pending", "in_progress", "completed")
    links: Links = "both"
    polling: Polling = "relative"
    cost: float = 0.4
    jobs: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    files: dict[str, bytes] = attrs.field(factory=dict)
    looks: dict[str, int] = attrs.field(factory=dict)

    def problem(self, model: VideoModel, asked: Mapping[str, Any]) -> str | None:
        """Say why a request is refused, or None."""
        entry = model.listed()
        for name, value in asked.items():
            if name in _FIELDS:
                continue
            if name in _LISTS:
                good = value in (entry[f"supported_{_LISTS[name]}"] or ())
            elif name == "seed":
                good = entry["seed"] is True and isinstance(value, int)
            elif name == "generate_audio":
                good = entry["generate_audio"] is True and isinstance(value, bool)
            elif name in {"upscale_factor", "creativity"}:
                good = bool(entry[name]) and entry[name]["min"] <= value <= entry[name]["max"]
            elif name == "frame_images":
                good = all(v.get("frame_type") in (entry["supported_frame_images"] or ()) and _is_link(v, "image") for v in value)
            elif name == "input_references":
                good = self._references(model, value)
            elif name == "previous_job_id":
                good = model.previous and self.jobs.get(value, {}).get("model") == model.id
            else:
                return f"Unrecognized key: {name}"
            if not good:
                return f"{name}: not supported by {model.id}"
        return None

    def _references(self, model: VideoModel, value: Sequence[Any]) -> bool:
        pictures, films = ([v for v in value if _is_link(v, kind)] for kind in ("image", "video"))
        known = len(pictures) + len(films) == len(value)
        return known and len(pictures) <= model.references and (not films or "video" in model.modalities)

    def start(self, asked: dict[str, Any]) -> Reply:
        """Start a job."""
        job_id = f"gen-vid-{int(time.time())}-{uuid.uuid4().hex[:20]}"
        if "frame_images" in asked:  # frames win: whatever else was referred to is dropped
            asked = {k: v for k, v in asked.items() if k != "input_references"}
        self.jobs[job_id] = asked
        self.files[job_id] = video(*_pixels(asked), float(asked.get("duration", 2)), tint=len(self.jobs))
        self.looks[job_id] = 0
        answer = {"id": job_id, "status": "pending", "generation_id": f"gen-{job_id[-20:]}"}
        return Reply.of_json({**answer, **self._polling_url(job_id)}, status=202)

    def _polling_url(self, job_id: str) -> dict[str, str]:
        path = f"/api/v1/videos/{job_id}"
        urls = {
            "relative": path,
            "absolute": self.service.url + path,
            "elsewhere": self.elsewhere.url + path,
            "wrong": f"/api/v1/moved/{job_id}",
        }
        return {"polling_url": urls[self.polling]} if self.polling in urls else {}

    def look(self, job_id: str) -> Reply | None:
        """Answer a status check; None for an unknown job."""
        if job_id not in self.jobs:
            return None
        status = self.states[min(self.looks[job_id], len(self.states) - 1)]
        self.looks[job_id] += 1
        state: dict[str, Any] = {"id": job_id, "status": status, "generation_id": f"gen-{job_id[-20:]}", **self._polling_url(job_id)}
        if status == "completed":
            state |= {"usage": {"cost": self.cost, "is_byok": False}, "expires_at": int(time.time()) + 3600, **self._urls(job_id)}
        elif status in {"failed", "cancelled", "expired"}:
            state |= {"error": "Provider returned error: the scene is too long", "usage": {"cost": 0}}
        return Reply.of_json(state)

    def _urls(self, job_id: str) -> dict[str, list[str]]:
        path = f"/bucket/{job_id}.mp4"
        self.elsewhere.files[path] = self.files[job_id]
        signed = f"{self.elsewhere.url}{path}?X-Amz-Expires=3600&X-Amz-Signature={SIGNATURE}"
        own = f"{self.service.url}/api/v1/videos/{job_id}/content?index=0"
        found: dict[Links, dict[str, list[str]]] = {
            "both": {"urls": [signed], "unsigned_urls": [own]},
            "signed": {"urls": [signed]},
            "unsigned": {"unsigned_urls": [own]},
            "foreign": {"unsigned_urls": [f"{self.elsewhere.url}{path}"]},
            "none": {},
        }
        return found[self.links]

    def content(self, job_id: str, received: Received) -> Reply | None:
        """Answer a download through the service; it can start in the middle."""
        data = self.files.get(job_id)
        if data is None or received.query.get("index", "0") != "0":
            return None
        headers = {"content-type": "video/mp4", "accept-ranges": "bytes"}
        span = re.fullmatch(r"bytes=([0-9]+)-", received.headers.get("range", ""))
        if span is None:
            return Reply(body=data, headers=headers)
        start = int(span[1])
        headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Reply(status=206, body=data[start:], headers=headers)


def _is_link(value: Any, kind: str) -> bool:
    name = f"{kind}_url"
    url = value.get(name, {}).get("url", "") if isinstance(value, dict) and value.get("type") == name else ""
    return bool(re.match(rf"data:{kind}/[a-z0-9]+;base64,[A-Za-z0-9+/]+=*$", url))


def _pixels(asked: Mapping[str, Any]) -> tuple[int, int]:
    if size := re.fullmatch(r"([0-9]+)x([0-9]+)", str(asked.get("size", ""))):
        return int(size[1]), int(size[2])
    width, height = (int(v) for v in str(asked.get("aspect_ratio", "16:9")).split(":"))
    edge = 128
    return max(16, edge * width // max(width, height) // 2 * 2), max(16, edge * height // max(width, height) // 2 * 2)
