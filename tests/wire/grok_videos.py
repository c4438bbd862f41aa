"""The Video service of the Grok fake: deferred jobs that take a few looks, and end as real MP4s under signed URLs."""

from __future__ import annotations

import secrets
from typing import Any

import attrs
from xai_sdk.proto import deferred_pb2, image_pb2, video_pb2

from .grok_images import check_prompt, usage
from .grok_media import Depot, Refusal, seconds_of
from .media_bytes import video

__all__ = ["Video", "Videos"]


@attrs.frozen
class _Model:
    tallest: int
    references: int = 0
    reference_seconds: int = 15
    last_frame: bool = False
    goes_on: bool = False


MODELS = {
    "grok-imagine-video-1.5": _Model(1080, references=14, last_frame=True),
    "grok-imagine-video-1.5-lite": _Model(1080),
    "grok-imagine-video": _Model(720, references=7, reference_seconds=10, goes_on=True),
}
_TALL = {0: 480, 1: 480, 2: 720, 3: 1080}
_RATIOS = {0: 16 / 9, 1: 1.0, 2: 16 / 9, 3: 9 / 16, 4: 4 / 3, 5: 3 / 4, 6: 3 / 2, 7: 2 / 3}


@attrs.define
class Video:
    """One job."""

    request: Any
    seconds: float
    width: int
    height: int
    looks: int = 0
    data: bytes = attrs.field(default=b"", repr=False)
    answer: Any = None


def _even(pixels: float) -> int:
    return round(pixels / 16) * 16


class Videos:
    """Answers ``GenerateVideo``, ``ExtendVideo`` and ``GetDeferredVideo``. The prompt's words BLOCKED, BROKEN and LATE choose an end."""

    def __init__(self, depot: Depot) -> None:
        self.depot = depot
        self.jobs: dict[str, Video] = {}
        self.looks_needed = 2
        self.storage_fails = False
        self.moderated = True

    def GenerateVideo(self, request: Any, context: Any) -> Any:
        model = self._model(request)
        if not (request.HasField("image") or request.HasField("last_frame")):
            check_prompt(request.prompt)
        if request.HasField("video"):
            return self._start(request, *self._edited(request, model))
        self._check_inputs(request, model)
        seconds = request.duration if request.HasField("duration") else 8
        most = model.reference_seconds if request.reference_images else 15
        if not 1 <= seconds <= most:
            raise Refusal("INVALID_ARGUMENT", f"duration must be between 1 and {most} seconds.")
        tall = _TALL[request.resolution]
        if tall > (720 if request.reference_images else model.tallest):
            raise Refusal("INVALID_ARGUMENT", "resolution is not supported here.")
        ratio = _RATIOS[request.aspect_ratio]
        return self._start(request, seconds, _even(tall * max(ratio, 1)), _even(tall / min(ratio, 1)))

    def ExtendVideo(self, request: Any, context: Any) -> Any:
        model = self._model(request)
        check_prompt(request.prompt)
        if not model.goes_on:
            raise Refusal("INVALID_ARGUMENT", f"{request.model} does not support video extension.")
        before, width, height = seconds_of(self.depot.video(request.video))
        if not 2 <= before <= 30.05:
            raise Refusal("INVALID_ARGUMENT", "The input video must be between 2 and 30 seconds long.")
        more = request.duration if request.HasField("duration") else 6
        if not 1 <= more <= 10:
            raise Refusal("INVALID_ARGUMENT", "duration must be between 1 and 10 seconds.")
        return self._start(request, before + more, width, height)

    def GetDeferredVideo(self, request: Any, context: Any) -> Any:
        job = self.jobs.get(request.request_id)
        if job is None:
            raise Refusal("NOT_FOUND", f"Request {request.request_id} not found.")
        job.looks += 1
        if job.looks <= self.looks_needed:
            share = 100 * (job.looks - 1) // self.looks_needed
            return video_pb2.GetDeferredVideoResponse(
                status=deferred_pb2.DeferredStatus.PENDING, response=video_pb2.VideoResponse(progress=share, model=job.request.model)
            )
        if job.answer is None:
            job.answer = self._finish(job)
        return job.answer

    def _model(self, request: Any) -> _Model:
        if request.model not in MODELS:
            raise Refusal("NOT_FOUND", f"The model {request.model} does not exist or your team does not have access to it.")
        return MODELS[request.model]

    def _edited(self, request: Any, model: _Model) -> tuple[float, int, int]:
        if not model.goes_on:
            raise Refusal("INVALID_ARGUMENT", f"{request.model} does not support video editing.")
        if request.HasField("duration") or request.HasField("aspect_ratio") or request.HasField("resolution"):
            raise Refusal("INVALID_ARGUMENT", "duration, aspect_ratio and resolution are not supported for editing.")
        seconds, width, height = seconds_of(self.depot.video(request.video))
        if seconds > 8.75:
            raise Refusal("INVALID_ARGUMENT", "The input video must be at most 8.7 seconds long.")
        return seconds, width, height

    def _check_inputs(self, request: Any, model: _Model) -> None:
        if len(request.reference_images) > model.references:
            raise Refusal("INVALID_ARGUMENT", f"At most {model.references} reference images are supported.")
        if request.HasField("last_frame") and not model.last_frame:
            raise Refusal("INVALID_ARGUMENT", "last_frame is not supported by this model.")
        if request.HasField("image") and request.reference_images and not model.last_frame:
            raise Refusal("INVALID_ARGUMENT", "image and reference_images cannot be combined on this model.")
        for name in ("image", "last_frame"):
            if request.HasField(name):
                self.depot.image(getattr(request, name))
        for content in request.reference_images:
            self.depot.image(content)

    def _start(self, request: Any, seconds: float, width: int, height: int) -> Any:
        name = f"req_{secrets.token_hex(12)}"
        self.jobs[name] = Video(request, seconds, width, height)
        return deferred_pb2.StartDeferredResponse(request_id=name)

    def _finish(self, job: Video) -> Any:
        prompt, statuses = job.request.prompt, deferred_pb2.DeferredStatus
        if "LATE" in prompt:
            return video_pb2.GetDeferredVideoResponse(status=statuses.EXPIRED)
        if "BROKEN" in prompt:
            error = video_pb2.VideoError(code="internal_error", message="The video could not be rendered.")
            return video_pb2.GetDeferredVideoResponse(status=statuses.FAILED, response=video_pb2.VideoResponse(error=error))
        if "UNSAFE" in prompt:
            error = video_pb2.VideoError(code="invalid_argument", message="Content violates usage guidelines.")
            return video_pb2.GetDeferredVideoResponse(status=statuses.FAILED, response=video_pb2.VideoResponse(error=error))
        made = video_pb2.GeneratedVideo(duration=round(job.seconds), respect_moderation=self.moderated and "BLOCKED" not in prompt)
        if "BLOCKED" not in prompt:
            job.data = video(job.width, job.height, job.seconds, tint=len(self.jobs))
            made.url = self.depot.publish(job.data, "mp4")
            self._keep(job, made)
        answer = video_pb2.VideoResponse(video=made, model=job.request.model, usage=usage(0.05 * job.seconds), progress=100)
        return video_pb2.GetDeferredVideoResponse(status=statuses.DONE, response=answer)

    def _keep(self, job: Video, made: Any) -> None:
        options = job.request.storage_options
        if not job.request.HasField("storage_options"):
            return
        if self.storage_fails:
            made.storage_error = "storage is full"
            return
        file = self.depot.store(options.filename, job.data, options.expires_after if options.HasField("expires_after") else None)
        made.file_output.CopyFrom(image_pb2.FileOutput(file_id=file.id, filename=file.name))
        if file.expires_at is not None:
            made.file_output.expires_at.FromSeconds(file.expires_at)
