"""A loopback server that speaks fal's protocol: the queue, the upload of files, signed results, the catalogue with OpenAPI documents.

    with FalServer() as fake:
        fake.url, fake.received, fake.requests
        fake.fail("lost", on="POST /fal-ai")             # see http_server
        fake.results["..."] = Reply(...)                  # what the result of an endpoint is instead

An input with an unknown field is refused, as is a file that was not uploaded here. A prompt with the word FORBIDDEN is refused when
the job ends, in its result. Upload links and results are signed; a key has no business there.
"""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from .fal_models import ENDPOINTS, PRESETS, Endpoint, problems
from .http_server import HttpServer, Received, Reply
from .media_bytes import image, sound, video

__all__ = ["KEY", "SIGNATURE", "FalServer", "QueuedRequest"]

KEY = "0f1e2d3c-4b5a:6978f0e1d2c3b4a5968778695a4b3c2d"
SIGNATURE = "sig-2c81d07e5b"
_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "mp4": "video/mp4", "mp3": "audio/mpeg"}
_PAGE = 10


@attrs.define
class QueuedRequest:
    """A request in the queue, as it was submitted; the bytes of its files by field."""

    id: str
    endpoint: str
    body: dict[str, Any]
    files: dict[str, list[bytes]]
    checks: int = 0
    cancelled: bool = False


class FalServer(HttpServer):
    """The service: queue, storage and catalogue under one address."""

    def __init__(self, *, key: str = KEY, public_url: str = "") -> None:
        super().__init__(self._route)
        self.key = key
        #: Where the links of a queued request lead, if not to this server directly.
        self.public_url = public_url
        self.endpoints: dict[str, Endpoint] = dict(ENDPOINTS)
        self.requests: dict[str, QueuedRequest] = {}
        self.files: dict[str, bytes] = {}
        #: Endpoint -> the answer to a look at its result.
        self.results: dict[str, Reply] = {}
        #: How many status checks say that a request waits, and then that it is worked on.
        self.waits, self.works = 1, 1
        #: How many looks at a completed request's result come too early.
        self.late = 0
        self.made: dict[str, tuple[bytes, str]] = {}
        self.refused_keys = 0

    @property
    def base_url(self) -> str:
        """What goes into ``base_url``."""
        return self.url

    def submits(self) -> int:
        """How many billable submits arrived."""
        return self.count("POST /fal-ai")

    def sent(self) -> list[dict[str, Any]]:
        """Every accepted submit as field -> text, number or bytes: a file is its bytes, not its link."""
        return [self._flat(request) for request in self.requests.values()]

    def _flat(self, request: QueuedRequest) -> dict[str, Any]:
        plain = {name: value if isinstance(value, str | int | float) else str(value) for name, value in request.body.items()}
        files = {f"{name} {i}": data for name, all_of_it in request.files.items() for i, data in enumerate(all_of_it)}
        return {"endpoint": request.endpoint, **{n: v for n, v in plain.items() if n not in request.files}, **files}

    def _route(self, received: Received) -> Reply:
        parts = received.path.strip("/").split("/")
        if parts[0] in {"upload", "results"}:
            return self._signed(received, parts)
        if received.headers.get("authorization") != f"Key {self.key}":
            return _said(401, "No user found for Key ID and Secret")
        if received.line == "POST /storage/upload/initiate":
            return self._initiate(received)
        if received.line == "GET /v1/models":
            return self._catalogue(received.query)
        if received.method == "POST":
            return self._submit("/".join(parts), received.json())
        if len(parts) > 3 and parts[2] == "requests":
            return self._queue(received, parts)
        return _said(404, "Not found")

    # Files

    def _initiate(self, received: Received) -> Reply:
        about = received.json()
        if about.keys() != {"file_name", "content_type"} or received.query != {"storage_type": "fal-cdn-v3"}:
            return _said(422, "file_name and content_type are needed")
        name = f"{uuid.uuid4().hex[:12]}/{about['file_name']}"
        links = {"upload_url": f"{self.url}/upload/{name}?signature={SIGNATURE}", "file_url": f"{self.url}/files/{name}"}
        return Reply.of_json(links)

    def _signed(self, received: Received, parts: list[str]) -> Reply:
        if "authorization" in received.headers:
            self.refused_keys += 1
            return Reply(status=400, body=b"only one way of authentication, please")
        if received.query.get("signature") != SIGNATURE:
            return Reply(status=403)
        if parts[0] == "upload" and received.method == "PUT":
            self.files[f"{self.url}/files/{'/'.join(parts[1:])}"] = received.body
            return Reply()
        if received.method != "GET" or parts[-1] not in self.made:
            return Reply(status=404)
        data, kind = self.made[parts[-1]]
        return Reply(body=data, headers={"content-type": kind})

    # The queue

    def _submit(self, name: str, body: Any) -> Reply:
        endpoint = self.endpoints.get(name)
        if endpoint is None or not isinstance(body, dict):
            return _said(404, f'Application "{name}" not found')
        if wrong := problems(endpoint, body):
            return Reply.of_json({"detail": wrong}, status=422)
        links = {field: value if isinstance(value, list) else [value] for field, value in body.items() if re.search("_urls?$", field)}
        for field, listed in links.items():
            if not set(listed) <= self.files.keys():
                said = {"loc": ["body", field], "msg": "Failed to download the file.", "type": "file_download_error"}
                return Reply.of_json({"detail": [said]}, status=422)
        files = {field: [self.files[one] for one in listed] for field, listed in links.items()}
        made = QueuedRequest(str(uuid.uuid4()), name, body, files)
        self.requests[made.id] = made
        base = f"{self.public_url or self.url}/{'/'.join(name.split('/')[:2])}/requests/{made.id}"
        urls = {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}
        return Reply.of_json({"status": "IN_QUEUE", "queue_position": 0, "request_id": made.id, **urls})

    def _queue(self, received: Received, parts: list[str]) -> Reply:
        request = self.requests.get(parts[3])
        if request is None or request.endpoint.split("/")[:2] != parts[:2]:
            return Reply.of_json({"status": "NOT_FOUND"}, status=404)
        match (received.method, parts[4:]):
            case ("GET", ["status"]):
                return self._status(request)
            case ("GET", []):
                return self._result(request)
            case ("PUT", ["cancel"]):
                if self._state(request) == "COMPLETED":
                    return Reply.of_json({"status": "ALREADY_COMPLETED"}, status=400)
                request.cancelled = True
                return Reply.of_json({"status": "CANCELLATION_REQUESTED"}, status=202)
        return _said(405, "Method Not Allowed")

    def _state(self, request: QueuedRequest) -> str:
        if request.cancelled:
            return "COMPLETED"
        if request.checks <= self.waits:
            return "IN_QUEUE"
        return "IN_PROGRESS" if request.checks <= self.waits + self.works else "COMPLETED"

    def _status(self, request: QueuedRequest) -> Reply:
        request.checks += 1
        status: dict[str, Any] = {"status": self._state(request), "request_id": request.id}
        if status["status"] == "IN_QUEUE":
            status["queue_position"] = 3
        elif status["status"] == "IN_PROGRESS":
            log = {"message": "step 4 of 28", "timestamp": "2026-11-30T00:00:00Z", "level": "INFO", "source": "USER"}
            status["logs"] = [{**log, "message": "loading the model"}, log]
        else:
            status |= {"logs": None, "metrics": {"inference_time": 1.5}}
            if self._refusal(request) is not None:
                status |= {"error": "Request failed", "error_type": "content_policy_violation"}
            elif request.cancelled:  # the error type and its code: reported
                status |= {"error": "Request was cancelled", "error_type": "client_cancelled"}
        return Reply.of_json(status, status=200 if status["status"] == "COMPLETED" else 202)

    def _refusal(self, request: QueuedRequest) -> Reply | None:
        if "FORBIDDEN" not in str(request.body.get("prompt") or request.body.get("text")):
            return None
        said = "The content could not be processed because it contained material flagged by a content checker."
        return Reply.of_json({"detail": [{"loc": ["body", "prompt"], "msg": said, "type": "content_policy_violation"}]}, status=422)

    def _result(self, request: QueuedRequest) -> Reply:
        if self._state(request) != "COMPLETED" or self.late > 0:
            self.late -= 1
            return _said(400, "Request is still in progress")
        ready = self._refusal(request) or self.results.get(request.endpoint)
        if request.cancelled:
            ready = Reply.of_json({"detail": "Request was cancelled", "error_type": "client_cancelled"}, status=499)
        return Reply.of_json(self._made(request), headers={"x-fal-billable-units": "1"}) if ready is None else ready

    # Making

    def _made(self, request: QueuedRequest) -> dict[str, Any]:
        endpoint, body = self.endpoints[request.endpoint], request.body
        form = str(body.get("output_format", endpoint.default_format))
        if endpoint.makes == "text":
            return {"results": "a red fox in the snow"}
        if endpoint.makes == "images":
            count = int(body.get("num_images", 1))
            flags = {"has_nsfw_concepts": [False] * count} if "num_inference_steps" in endpoint.fields else {}
            return {"images": [self._file(_picture(request, form, self._tint() + i), form) for i in range(count)], "seed": 7, **flags}
        if endpoint.makes == "image":
            return {"image": self._file(_changed(request, form, self._tint()), form), "mask_image": None}
        if endpoint.makes == "video":
            seconds = float(str(body.get("duration") or endpoint.fields.get("duration", {}).get("default", "1")).rstrip("s"))
            size = {"9:16": (90, 160), "1:1": (96, 96)}.get(str(body.get("aspect_ratio")), (160, 90))
            return {"video": self._file(video(*size, seconds, tint=self._tint()), "mp4", kind="application/octet-stream")}
        return {"audio": self._file(sound("mp3", 1.0 + len(self.made) % 3 / 10), "mp3")}

    def _tint(self) -> int:
        return len(self.made) % 32

    def _file(self, data: bytes, form: str, *, kind: str | None = None) -> dict[str, Any]:
        name = f"{len(self.made)}.{form}"
        self.made[name] = (data, _TYPES[form])
        url = f"{self.url}/results/{name}?signature={SIGNATURE}"
        return {"url": url, "content_type": kind or _TYPES[form], "file_name": name, "file_size": len(data)}

    # The catalogue

    def _catalogue(self, query: Mapping[str, str]) -> Reply:
        if query.get("expand") != "openapi-3.0" or int(query.get("limit", 50)) > _PAGE:
            return _said(422, "limit must be at most 10 with expand")
        names = [name for name in self.endpoints if query.get("endpoint_id") in {None, name}]
        start = int(query.get("cursor", 0))
        end = start + int(query.get("limit", _PAGE))
        more = {"has_more": end < len(names), "next_cursor": str(end) if end < len(names) else None}
        return Reply.of_json({"models": [self._entry(name) for name in names[start:end]], **more})

    def _entry(self, name: str) -> dict[str, Any]:
        endpoint = self.endpoints[name]
        about = {"display_name": name, "category": endpoint.category, "status": "active", "tags": []}
        return {"endpoint_id": name, "metadata": about, "openapi": endpoint.openapi(name)}


def _said(status: int, text: str) -> Reply:
    return Reply.of_json({"detail": text}, status=status)


def _picture(request: QueuedRequest, form: str, tint: int) -> bytes:
    """Return a picture of the size or the shape asked for; with a mask, the source with its white region painted over."""
    body = request.body
    if "mask_url" in request.files:
        return _painted(request.files["image_url"][0], request.files["mask_url"][0], form, tint)
    if body.get("image_size", "auto") in PRESETS:
        return image(*PRESETS[body["image_size"]], form, tint=tint)
    ratio = re.fullmatch(r"([0-9]+):([0-9]+)", str(body.get("aspect_ratio")))
    wide, high = (int(ratio[1]), int(ratio[2])) if ratio else (1, 1)
    return image(max(1, 128 * wide // max(wide, high)), max(1, 128 * high // max(wide, high)), form, tint=tint)


def _painted(source: bytes, mask: bytes, form: str, tint: int) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(source)) as below, Image.open(io.BytesIO(mask)) as where:
        colour = tuple((value + 128 + tint) % 256 for value in below.convert("RGB").resize((1, 1)).tobytes())
        done = Image.composite(Image.new("RGB", below.size, colour), below.convert("RGB"), where.convert("L"))
    out = io.BytesIO()
    done.save(out, form.upper())
    return out.getvalue()


def _changed(request: QueuedRequest, form: str, tint: int) -> bytes:
    """Return the image of a request enlarged, or with a transparent right half where its background is removed."""
    from PIL import Image

    factor = float(request.body.get("scale") or request.body.get("upscale_factor") or 1)
    with Image.open(io.BytesIO(request.files["image_url"][0])) as given:
        width, height = (max(1, round(edge * factor)) for edge in given.size)
    return image(width, height, form, alpha="birefnet" in request.endpoint, tint=tint)
