"""The service that `fake_backend` speaks to: counts submits, makes real PNG and MP4 bytes, answers look-ups."""

import functools
import io
import threading
from collections.abc import Container
from typing import Any

from wire.http_server import HttpServer, Received, Reply


@functools.cache
def png(width: int = 64, height: int = 48, colour: tuple[int, int, int] = (200, 40, 40)) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


@functools.cache
def mp4(seconds: float = 1.0, size: tuple[int, int] = (64, 48)) -> bytes:
    import av
    import numpy as np

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(int(seconds * 12)):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), i * 5 % 255, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


class FakeService:
    """Paid work is counted in ``submits``; a video is done after ``looks`` looks.

    ``missing``: the status checks, counted from 0, that do not find the job; they do not advance it.
    """

    def __init__(self, *, looks: int = 1) -> None:
        self.looks = looks
        self.progress = 0.5
        self.lock = threading.Lock()
        self.submits: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.cancelled: list[str] = []
        self.fail_jobs = False
        self.missing: Container[int] = ()
        self.guarded = False  # whether a file is fetched with a header, which no journal keeps
        self.expires_at: float | None = None
        self.http = HttpServer(self.handle)
        self.files = HttpServer(FileServer().handle)

    def __enter__(self) -> "FakeService":
        self.http.__enter__()
        self.files.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.files.__exit__(None, None, None)
        self.http.__exit__(None, None, None)

    def handle(self, request: Received) -> Reply:
        if request.headers.get("authorization") != "Bearer fake-key-0123456789":
            return Reply(status=401)
        kind, _, rest = request.path.strip("/").partition("/")
        if kind == "images" and request.method == "POST":
            return self._picture(request.json())
        if kind == "videos" and request.method == "POST":
            return self._start(request.json())
        if kind == "videos" and request.method == "DELETE":
            self.cancelled.append(rest)
            return Reply.of_json({})
        if kind == "videos":
            return self._look(rest)
        if kind == "submissions":
            found = next((k for k, v in self.jobs.items() if v["label"] == request.query["label"]), None)
            return Reply.of_json({"id": found})
        return Reply(status=404)

    def _picture(self, fields: dict[str, Any]) -> Reply:
        with self.lock:
            self.submits.append(fields)
        width, height = map(int, (fields.get("size") or "64x48").split("x"))
        return Reply(body=png(width, height), headers={"content-type": "image/png", "x-request-id": f"req-{len(self.submits)}"})

    def _start(self, fields: dict[str, Any]) -> Reply:
        with self.lock:
            self.submits.append(fields)
            job_id = f"vid-{len(self.submits)}"
            self.jobs[job_id] = {"label": fields["label"], "left": self.looks, "looks": 0}
        return Reply.of_json({"id": job_id, "expires_at": self.expires_at})

    def _look(self, job_id: str) -> Reply:
        job = self.jobs.get(job_id)
        if job is None:
            return Reply(status=404)
        job["looks"] += 1
        if job["looks"] - 1 in self.missing:
            return Reply(status=404)
        if self.fail_jobs:
            return Reply.of_json({"status": "failed"})
        job["left"] -= 1
        if job["left"] >= 0:
            return Reply.of_json({"status": "rendering", "progress": self.progress})
        url = f"{self.files.url}/{job_id}.mp4?signature=SECRET-SIGNATURE"
        return Reply.of_json({"status": "done", "url": url, "guarded": self.guarded})


class FileServer:
    """Where finished videos are fetched from; knows no keys, serves ranges."""

    def handle(self, request: Received) -> Reply:
        assert "authorization" not in request.headers
        body, headers = mp4(), {"content-type": "video/mp4", "accept-ranges": "bytes", "etag": '"one"'}
        wanted = request.headers.get("range")
        if not wanted:
            return Reply(body=body, headers=headers)
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        headers["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return Reply(status=206, body=body[start:], headers=headers)
