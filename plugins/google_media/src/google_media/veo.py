"""Video by Veo on Agent Platform: a long-running operation (``:predictLongRunning``)."""

from __future__ import annotations

from typing import Any

from anymedia.answers.envelopes import quote
from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendError, InvalidRequest, Problem, UnsupportedInput
from anymedia.http import failed_job
from anymedia.requests import ContinueVideo, GenerateVideo
from anymedia.results import ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded

from ._client import Connection, call_options, connect, on_agent_platform
from ._errors import bad_answer, translated
from ._files import download
from ._refusals import filtered

__all__ = ["KIND", "check_status", "continue_video", "generate"]

#: What marks a job's data as a Veo operation's.
KIND = "veo"
#: Part by which the shape of a video may differ from an aspect ratio: edges are rounded.
_RATIO_PART = 0.03
#: Codes of a failed operation (google.rpc.Code) that are named in messages.
_CODES = {4: "DEADLINE_EXCEEDED", 8: "RESOURCE_EXHAUSTED", 13: "INTERNAL", 14: "UNAVAILABLE"}


async def generate(request: GenerateVideo, context: Context) -> Job:
    """Generate a video from a prompt, from a first (and last) frame, or with up to three reference pictures."""
    from google.genai import types

    first = None if request.first_frame is None else _image(context.read(request.first_frame))
    said = [f"Of reference picture {i}: {r.description}." for i, r in enumerate(request.references, 1) if r.description]
    source = types.GenerateVideosSource(prompt=" ".join([request.prompt, *said]), image=first)
    references = [
        types.VideoGenerationReferenceImage(image=_image(context.read(r.image)), reference_type=types.VideoGenerationReferenceType.ASSET)
        for r in request.references
    ]
    last = None if request.last_frame is None else _image(context.read(request.last_frame))
    config = _config(request, context, number_of_videos=request.n, last_frame=last, reference_images=references or None)
    return await _start(context, source, config)


async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Extend an earlier video, by its address in Cloud Storage where it is stored there, or a video file."""
    from google.genai import types

    continuation = request.continue_from
    aspect_ratio = _source_ratio(request, context)
    place = None if continuation is None else continuation.data.get("gcs_uri")
    if place:
        video = types.Video(uri=str(place), mime_type="video/mp4")
    else:
        media = continuation.files[0] if continuation is not None else request.source
        assert media is not None
        loaded = context.read(media)
        video = types.Video(video_bytes=loaded.data, mime_type=loaded.mime)
    source = types.GenerateVideosSource(prompt=request.prompt, video=video)
    return await _start(context, source, _config(request, context, aspect_ratio=aspect_ratio), way="extend")


def _source_ratio(request: ContinueVideo, context: Context) -> str | None:
    """Return the aspect ratio of the video to extend, which the extension has to keep; None where its size is not known.

    Raises:
        UnsupportedInput: the model extends no video of that shape or size; nothing was sent.
    """
    continuation = request.continue_from
    found = context.read(request.source) if request.source is not None else None
    facts = found if found is not None else next(iter(continuation.files if continuation is not None else ()), None)
    wire = context.operation.wire
    ratios: list[str] = wire.get("aspect_ratios", [])
    if facts is None or not facts.width or not facts.height or not ratios:
        return None
    size = f"{facts.width}x{facts.height}"
    if found is not None and max(facts.width, facts.height) > wire.get("max_edge", float("inf")):
        text = f"'{context.model}' extends videos of at most {wire['max_edge']} pixels on the longer edge, not {size}"
        raise UnsupportedInput(text, fix="scale the video down to 720p")
    for ratio in ratios:
        wide, high = (int(part) for part in ratio.split(":"))
        if abs(facts.width * high / (facts.height * wide) - 1) <= _RATIO_PART:
            return ratio
    raise UnsupportedInput(f"'{context.model}' extends videos of {' or '.join(ratios)}, not {size}", fix="crop the video first")


def _image(loaded: LoadedMedia) -> Any:
    from google.genai import types

    return types.Image(image_bytes=loaded.data, mime_type=loaded.mime)


def _config(request: GenerateVideo | ContinueVideo, context: Context, **more: Any) -> Any:
    from google.genai import types

    def taken(name: str) -> Any:
        return getattr(request, name) if context.takes(name) else None

    duration, aspect, resolution = taken("duration"), more.pop("aspect_ratio", None) or taken("aspect_ratio"), taken("resolution")
    extra = request.extra_params
    return types.GenerateVideosConfig(
        http_options=call_options(context),
        duration_seconds=None if duration is None else round(duration),
        aspect_ratio=None if aspect == "auto" else aspect,
        resolution=None if resolution is None else resolution.lower(),
        negative_prompt=taken("negative_prompt"),
        seed=taken("seed"),
        output_gcs_uri=context.settings.get("output_gcs_uri"),
        generate_audio=extra.get("generate_audio"),
        person_generation=extra.get("person_generation"),
        enhance_prompt=extra.get("enhance_prompt"),
        **more,
    )


async def _start(context: Context, source: Any, config: Any, *, way: str | None = None) -> Job:
    if not on_agent_platform(context):
        text = "Veo is available in Agent Platform mode only (the SDK refuses it with a Gemini key)"
        raise InvalidRequest([Problem("$", text)], fix='set options = { mode = "agent_platform" } in the settings of the instance')
    connection = await connect(context)
    async with context.submission():
        with translated(context):
            operation = await connection.aio.models.generate_videos(model=context.model, source=source, config=config)
    if not operation.name:
        raise bad_answer("it gives no operation")
    return Job(id=operation.name, data={"kind": KIND, **({"way": way} if way else {})})


async def check_status(job: Job, context: Context) -> JobState:
    """Check an operation once.

    Raises:
        JobNotFound: the service does not know it, yet or any more.
        MediaError: the check failed.
    """
    from google.genai import types

    connection = await connect(context)
    with translated(context, "job"):
        asked = types.GenerateVideosOperation()
        asked.name = job.id
        options = types.GetOperationConfig(http_options=call_options(context, is_check=True))
        found = await connection.aio.operations.get(asked, config=options)
    if not found.done:
        return Running(progress=_progress(found))
    if found.error:
        return Failed(error=_failed(found.error, context))
    return _done(found.response, job, context, connection)


def _progress(found: Any) -> float | None:
    percent = (found.metadata or {}).get("progressPercentage")
    return percent / 100 if isinstance(percent, int | float) and 0 <= percent <= 100 else None


def _failed(error: Any, context: Context) -> BackendError:
    code, message = error.get("code"), str(error.get("message") or "")
    if code in {3, 7, 9} and any(word in message.lower() for word in ("safety", "usage guidelines", "responsible ai", "blocked")):
        return filtered(context, message, what="the video")
    return failed_job(context, {"error": {"message": message, "code": _CODES.get(code, "")}}, ended="failed", status=code)


def _done(response: Any, job: Job, context: Context, connection: Connection) -> JobState:
    videos = [v.video for v in (response.generated_videos if response else None) or () if v.video is not None]
    withheld = (response.rai_media_filtered_reasons if response else None) or ()
    count = (response.rai_media_filtered_count if response else None) or len(withheld)
    if not videos:
        return Failed(error=filtered(context, "; ".join(withheld), what="the video") if count else bad_answer("it holds no video"))
    notes = (f"{count} of {count + len(videos)} videos were withheld; {quote('; '.join(withheld))}",) if count else ()
    pieces = tuple(_piece(video, connection) for video in videos)
    return Succeeded(outcome=Outcome(pieces=pieces, continued_as=job.data.get("way"), request_id=job.id, warnings=notes))


def _piece(video: Any, connection: Connection) -> Piece:
    if video.video_bytes:
        return Piece(data=video.video_bytes, mime=video.mime_type, continuation=ContinuationData())
    where, headers = download(video.uri, connection)
    return Piece(url=where, headers=headers, mime=video.mime_type, continuation=ContinuationData(data={"gcs_uri": video.uri}))
