"""The Sora video protocol of the OpenAI fake, as the last published specification had it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from .forms import BadForm, read_form
from .http_server import Received, Reply
from .media_bytes import video
from .openai_params import Refusal, check_fields

__all__ = ["Videos"]

_FIELDS = {"prompt": str, "model": str, "seconds": str, "size": str, "input_reference": dict}
_SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")


@attrs.define
class Videos:
    """State and handlers.

    Attributes:
        models: ids it serves; ``extra_fields``: fields beyond the protocol that it takes (text, as forms carry it).
        looks: how many looks a job takes to be done. ``bare``: answers hold only id, status and created_at.
        json_only, ranges: whether it refuses forms, and whether it honours Range.
        fail_with: the error object that jobs end with, instead of a video.
        states: what the looks answer, in turn, before the job is done.
    """

    models: tuple[str, ...] = ("sora-2", "sora-2-pro")
    extra_fields: tuple[str, ...] = ()
    free_values: bool = False
    looks: int = 2
    bare: bool = False
    json_only: bool = False
    ranges: bool = True
    fail_with: Mapping[str, Any] | None = None
    states: tuple[str, ...] = ("queued", "in_progress")
    poll_after_ms: int | None = None
    jobs: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    files: dict[str, bytes] = attrs.field(factory=dict)
    references: dict[str, bytes] = attrs.field(factory=dict)
    _seen: dict[str, int] = attrs.field(factory=dict)

    def handle(self, received: Received, rest: list[str]) -> Reply:
        """Answer ``/videos/...``; ``rest`` is the path behind it."""
        match (received.method, rest):
            case ("POST", []):
                return self._create(received)
            case ("GET", []):
                return self._list(received)
            case ("POST", ["edits"]):
                return self._from_video(received, kind="edit")
            case ("POST", ["extensions"]):
                return self._from_video(received, kind="extend")
            case ("GET", [identity]):
                return self._look(identity)
            case ("DELETE", [identity]):
                return self._delete(identity)
            case ("GET", [identity, "content"]):
                return self._content(identity, received)
            case ("POST", [identity, "remix"]):
                return self._remix(identity, received)
        raise Refusal("Unknown request URL.", status=404, code="unknown_url")

    def _create(self, received: Received) -> Reply:
        given, reference = self._read(received)
        fields = _FIELDS | dict.fromkeys(self.extra_fields, (str, int, float, bool))
        check_fields(given, fields, ("prompt",))
        if given.get("model", "sora-2") not in self.models:
            raise Refusal(f"The model '{given['model']}' does not exist.", param="model", code="invalid_value")
        if not self.free_values:
            self._check_sora(given)
        job = self._open_job(given["prompt"], given.get("model", "sora-2"), given.get("seconds", "4"), given.get("size", "720x1280"))
        if reference is not None:
            self.references[job["id"]] = reference
        return self._show(job)

    def _check_sora(self, given: Mapping[str, Any]) -> None:
        if given.get("seconds", "4") not in ("4", "8", "12"):
            raise Refusal("Invalid value for 'seconds'.", param="seconds", code="invalid_value")
        if given.get("size", "720x1280") not in (_SIZES if given.get("model") == "sora-2-pro" else _SIZES[:2]):
            raise Refusal("Invalid value for 'size'.", param="size", code="invalid_value")

    def _read(self, received: Received) -> tuple[dict[str, Any], bytes | None]:
        kind = received.headers.get("content-type", "")
        if kind == "application/json":
            return received.json(), None
        if self.json_only:
            raise Refusal("Only JSON bodies are taken.", status=415)
        try:
            form = read_form(kind, received.body)
        except BadForm as wrong:
            raise Refusal(f"Could not parse the form: {wrong}") from wrong
        files = form.files("input_reference", "video")
        if files:
            self._check_file(files[0].name, files[0].mime, files[0].data)
        return dict(form.texts()), files[0].data if files else None

    def _check_file(self, name: str, mime: str | None, data: bytes) -> None:
        import io

        from PIL import Image

        if name == "video" and (mime != "video/mp4" or data[4:8] != b"ftyp"):
            raise Refusal("The video file is not an MP4.", param="video", code="invalid_value")
        if name == "input_reference":
            form = Image.open(io.BytesIO(data)).format
            if form is None or mime != f"image/{form.lower()}":
                raise Refusal("The reference is not what its type says.", param="input_reference", code="invalid_value")

    def _open_job(self, prompt: str, model: str, seconds: str, size: str, **more: Any) -> dict[str, Any]:
        job = {
            "id": "video_" + uuid.uuid4().hex,
            "object": "video",
            "created_at": int(time.time()),
            "completed_at": None,
            "expires_at": None,
            "status": "queued",
            "progress": 0,
            "prompt": prompt,
            "model": model,
            "seconds": seconds,
            "size": size,
            "remixed_from_video_id": None,
            "error": None,
            **more,
        }
        self.jobs[str(job["id"])] = job
        return job

    def _show(self, job: Mapping[str, Any]) -> Reply:
        shown = {k: job[k] for k in ("id", "status", "created_at")} if self.bare else dict(job)
        if self.bare and job.get("error"):
            shown["error"] = {"message": job["error"]["message"]}
        headers = {} if self.poll_after_ms is None else {"openai-poll-after-ms": str(self.poll_after_ms)}
        return Reply.of_json(shown, headers=headers)

    def _job(self, identity: str) -> dict[str, Any]:
        if identity not in self.jobs:
            raise Refusal(f"Video with id '{identity}' not found.", status=404, param="video_id", code="not_found")
        return self.jobs[identity]

    def _look(self, identity: str) -> Reply:
        job = self._job(identity)
        seen = self._seen.get(identity, 0)
        self._seen[identity] = seen + 1
        if job["status"] not in {"completed", "failed"}:
            if seen < self.looks:
                job["status"] = self.states[min(seen, len(self.states) - 1)]
                job["progress"] = int(100 * seen / self.looks)
            else:
                self._finish(job)
        return self._show(job)

    def _finish(self, job: dict[str, Any]) -> None:
        if "FORBIDDEN" in job["prompt"]:
            job |= {"status": "failed", "error": {"code": "moderation_blocked", "message": "Your request was blocked."}}
        elif self.fail_with is not None:
            job |= {"status": "failed", "error": dict(self.fail_with)}
        else:
            width, height = map(int, job["size"].split("x"))
            self.files[job["id"]] = video(width, height, float(job["seconds"]), tint=len(self.files))
            now = int(time.time())
            job |= {"status": "completed", "progress": 100, "completed_at": now, "expires_at": now + 3600}

    def _content(self, identity: str, received: Received) -> Reply:
        job = self._job(identity)
        if job["status"] != "completed":
            raise Refusal("Video is not ready yet, use GET /v1/videos/{video_id} to check status.", status=404)
        data = self.files[identity]
        headers = {"content-type": "video/mp4"}
        span = received.headers.get("range", "")
        if self.ranges and span.startswith("bytes=") and span.endswith("-"):
            start = int(span[6:-1])
            if start >= len(data):
                return Reply(status=416, headers={"content-range": f"bytes */{len(data)}"})
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Reply(status=206, body=data[start:], headers=headers)
        return Reply(body=data, headers=headers)

    def _remix(self, identity: str, received: Received) -> Reply:
        before, given = self._finished(identity), received.json()
        check_fields(given, {"prompt": str}, ("prompt",))
        job = self._open_job(given["prompt"], before["model"], before["seconds"], before["size"], remixed_from_video_id=identity)
        return self._show(job)

    def _from_video(self, received: Received, *, kind: str) -> Reply:
        given, uploaded = self._read(received)
        extending = kind == "extend"
        fields = {"prompt": str, **({} if uploaded else {"video": dict}), **({"seconds": str} if extending else {})}
        needed = ("prompt", *(() if uploaded else ("video",)), *(("seconds",) if extending else ()))
        check_fields(given, fields, needed)
        if extending and given["seconds"] not in ("4", "8", "12", "16", "20"):
            raise Refusal("Invalid value for 'seconds'.", param="seconds", code="invalid_value")
        if uploaded:
            before = {"model": "sora-2", "seconds": "4", "size": "720x1280"}
        else:
            check_fields(given["video"], {"id": str}, ("id",), where="video.")
            before = self._finished(given["video"]["id"])
        seconds = str(int(before["seconds"]) + int(given["seconds"])) if extending else before["seconds"]
        job = self._open_job(given["prompt"], before["model"], seconds, before["size"])
        if uploaded:
            self.references[job["id"]] = uploaded
        return self._show(job)

    def _finished(self, identity: str) -> dict[str, Any]:
        job = self._job(identity)
        if job["status"] != "completed":
            raise Refusal("The source video is not completed.", param="video_id", code="invalid_value")
        return job

    def _list(self, received: Received) -> Reply:
        jobs = sorted(self.jobs.values(), key=lambda j: j["created_at"], reverse=received.query.get("order", "desc") == "desc")
        ids = [j["id"] for j in jobs]
        start = ids.index(received.query["after"]) + 1 if received.query.get("after") in ids else 0
        limit = int(received.query.get("limit", "20"))
        page = jobs[start : start + limit]
        body = {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + limit < len(jobs),
        }
        return Reply.of_json(body)

    def _delete(self, identity: str) -> Reply:
        del self.jobs[self._job(identity)["id"]]
        return Reply.of_json({"id": identity, "object": "video.deleted", "deleted": True})
