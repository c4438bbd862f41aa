"""Videos: start, extend, edit, and check a job. The provider stores a finished video for 24 hours under a signed URL."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendError, ContentRefused, InvalidRequest, SettingsError, UnknownContinuation, UnsupportedInput
from anymedia.http import bad_answer, failed_job
from anymedia.redaction import clean_text
from anymedia.requests import Continuation, ContinueVideo, GenerateVideo, Reference
from anymedia.results import ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded, Warning

from ._answers import MODERATION_FLAG, cost_of, usage_of, withheld
from ._client import STATUS_SECONDS, Connection, connect
from ._errors import kind_of, translated
from ._inputs import Sent, upload_inputs
from ._options import chosen, number_of

__all__ = ["check_status", "continue_video", "file_name", "generate", "kept_seconds"]

#: Seconds that the URL of a finished video lives (the SDK's description of ``VideoResponse.url``).
URL_SECONDS = 24 * 3600.0
_EXTEND, _EDIT = "extend", "edit"
#: What an answer says when the earlier video is not available any more.
_VIDEO_GONE = re.compile(r"fetch|download|retrieve|expired|\bfile\b.*not found", re.IGNORECASE)


async def generate(request: GenerateVideo, context: Context) -> Job:
    """Start a video from a prompt, from a first or last frame, or from reference pictures (``<IMAGE_1>`` in the prompt is the first)."""
    connection = connect(context)
    arguments: dict[str, Any] = {"model": context.model, **_shape(request, context), **_kept(context)}
    if "generate_audio" in request.extra_params:
        arguments["generate_audio"] = request.extra_params["generate_audio"]
    frames = {"image": request.first_frame, "last_frame": request.last_frame}
    given = {name: frame for name, frame in frames.items() if frame is not None}
    inputs = [context.read(frame) for frame in given.values()] + [context.read(r.image) for r in request.references]
    await connection.ready()
    sent = await upload_inputs(inputs, connection, context)
    for name, one in zip(given, sent, strict=False):
        arguments |= one.named(name)
    arguments |= _references(sent[len(given) :])
    prompt = " ".join([request.prompt, *_instructions(request.references)])
    return await _submit(connection.sdk.video.start, context, [], prompt=prompt, **arguments)


def _shape(request: GenerateVideo, context: Context) -> dict[str, Any]:
    from xai_sdk.proto import video_pb2

    found: dict[str, Any] = {}
    if (duration := chosen(request, context, "duration")) is not None:
        found["duration"] = _whole(duration)
    for field, enum in (("aspect_ratio", video_pb2.VideoAspectRatio), ("resolution", video_pb2.VideoResolution)):
        if word := chosen(request, context, field):
            number_of(enum, f"VIDEO_{field.upper()}_", word, field)
            found[field] = word.lower()
    return found


def _whole(seconds: float) -> int:
    if seconds != int(seconds):
        raise InvalidRequest(f"the provider takes whole seconds, not {seconds:g}")
    return int(seconds)


def _references(sent: list[Sent]) -> dict[str, list[str]]:
    """Name the references as the SDK does; all are URLs or all are file ids, so that their order holds."""
    urls, ids = [s.url for s in sent if s.url is not None], [s.file_id for s in sent if s.file_id is not None]
    return ({"reference_image_urls": urls} if urls else {}) | ({"reference_image_file_ids": ids} if ids else {})


def _instructions(references: tuple[Reference, ...]) -> list[str]:
    """Say in words what the protocol has no field for: a style, and descriptions of pictures."""
    notes = []
    for number, reference in enumerate(references, 1):
        tail = f": {reference.description}." if reference.description else "."
        if reference.role == "style":
            notes.append(f"Take the style, and only the style, from <IMAGE_{number}>{tail}")
        elif reference.description:
            notes.append(f"Of <IMAGE_{number}>, keep{tail}")
    return notes


async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Extend a video (the answer is one clip, the old and the new), or edit it, which keeps its length.

    Raises:
        UnknownContinuation: the video of the continuation is not available any more.
        UnsupportedInput: the video is too short or too long for it.
    """
    way = request.continue_as or _EXTEND
    duration = chosen(request, context, "duration") if way == _EXTEND else None
    warnings = _check_length(way, _length(request, context), duration, context)
    connection = connect(context)
    await connection.ready()
    video = await _video(request, connection, context)
    arguments = {"prompt": request.prompt, "model": context.model, **video.named("video"), **_kept(context)}
    if duration is not None:
        arguments["duration"] = _whole(duration)
    send = connection.sdk.video.start if way == _EDIT else connection.sdk.video.extend_start
    try:
        return await _submit(send, context, warnings, way=way, **arguments)
    except InvalidRequest as refused:
        if request.continue_from is None or not _VIDEO_GONE.search(refused.message):
            raise
        text = f"the provider no longer has the video of {request.continue_from.id!r}: {refused.message}"
        raise UnknownContinuation(text, fix="give the video file as the source instead") from None


async def _video(request: ContinueVideo, connection: Connection, context: Context) -> Sent:
    """Return the video to continue: the file stored at the provider, its URL, or else the bytes."""
    before = request.continue_from
    if before is None:
        assert request.source is not None
        return (await upload_inputs([context.read(request.source)], connection, context))[0]
    if file_id := before.data.get("file_id"):
        return Sent(file_id=str(file_id))
    if url := before.secret.get("video_url"):
        return Sent(url=str(url))
    return (await upload_inputs([_collected(before, context)], connection, context))[0]


def _collected(continuation: Continuation, context: Context) -> LoadedMedia:
    if not continuation.files:
        raise UnknownContinuation(f"{continuation.id!r} names no video to continue", fix="give the video file as the source instead")
    return context.read(continuation.files[0])


def _length(request: ContinueVideo, context: Context) -> float | None:
    if request.source is not None:
        return context.read(request.source).seconds
    before = request.continue_from
    return before.files[0].seconds if before is not None and before.files else None


def _check_length(way: str, seconds: float | None, duration: float | None, context: Context) -> list[str]:
    """Refuse lengths that no source allows; warn about lengths that only one of two sources allows.

    Raises:
        UnsupportedInput: before anything is sent.
    """
    wire = context.operation.wire
    low, high = wire.get(f"{way}_input_seconds", (0.0, float("inf")))
    if seconds is not None and not low <= seconds <= high:
        raise UnsupportedInput(f"'{context.model}' takes {low:g} to {high:g} s of video to {way}, not {seconds:g} s")
    surely = wire.get(f"{way}_input_surely", (low, high))
    warnings = []
    if seconds is not None and not surely[0] <= seconds <= surely[1]:
        warnings.append(
            f"the provider's documentation and its SDK differ on how long a video it can {way}: "
            f"{surely[0]:g} to {surely[1]:g} s is sure, and this one has {seconds:g} s"
        )
    if duration is not None and duration < wire.get("duration_surely", 0):
        warnings.append(f"the provider's documentation says that an extension has {wire['duration_surely']:g} s at least")
    return warnings


def kept_seconds(context: Context) -> int | None:
    """Return the seconds that the provider stores finished videos, as the option ``keep_videos`` says; None: not at all.

    Raises:
        SettingsError: for anything but a number of seconds.
    """
    seconds = context.settings.get("keep_videos")
    if seconds is None or seconds is False:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 3600:
        raise SettingsError("the option keep_videos of a grok instance is a whole number of seconds, 3600 at least")
    return seconds


def file_name(label: str) -> str:
    """Return the name under which the video of a call is stored."""
    return f"{label}.mp4"


def _kept(context: Context) -> dict[str, Any]:
    seconds = kept_seconds(context)
    return {} if seconds is None else {"storage_options": {"filename": file_name(context.label), "expires_after": seconds}}


async def _submit(send: Any, context: Context, warnings: list[str], *, way: str = "", **arguments: Any) -> Job:
    """Send the one billable call; it returns the job's id at once."""
    async with context.submission():
        with translated(context):
            started = await send(**arguments)
        if started is None or not started.request_id:
            raise bad_answer("it holds no id of a job")
    data: dict[str, Any] = ({"way": way} if way else {}) | ({"warnings": warnings} if warnings else {})
    return Job(id=started.request_id, data=data)


async def check_status(job: Job, context: Context) -> JobState:
    """Check the job once.

    Raises:
        JobNotFound: the provider does not know the job, yet or any more.
        MediaError: the check failed.
    """
    from xai_sdk.proto import deferred_pb2

    connection = connect(context)
    try:
        with translated(context, "job"):
            async with asyncio.timeout(STATUS_SECONDS):
                answer = await connection.sdk.video.get(job.id)
    except ContentRefused as refused:
        return Failed(error=refused)
    if answer is None:
        raise bad_answer("it is not the message that was expected", charged="no")
    response = answer.response if answer.HasField("response") else None
    match answer.status:
        case deferred_pb2.DeferredStatus.DONE:
            return _done(job, response, context)
        case deferred_pb2.DeferredStatus.FAILED:
            return Failed(error=_failure(response, context))
        case deferred_pb2.DeferredStatus.EXPIRED:
            return Failed(error=BackendError("the provider has dropped the job: it ran, or its result was stored, for too long"))
    share = None if response is None else min(max(response.progress / 100, 0.0), 1.0)
    return Running(progress=share)


def _failure(response: Any, context: Context) -> BackendError:
    error = response.error if response is not None and response.HasField("error") else None
    body = {} if error is None else {"error": {"code": error.code, "message": error.message}}
    return failed_job(context, body, kind=kind_of("" if error is None else error.message))


def _done(job: Job, response: Any, context: Context) -> JobState:
    """Return the result of a job that is done. A video that moderation withheld is done too, and has no address."""
    if response is None or not response.HasField("video"):
        return Failed(error=bad_answer("the job is done, but holds no video"))
    video, cost = response.video, cost_of(response.usage)
    if not video.url:
        if not video.respect_moderation:
            return Failed(error=withheld(context, "the video that was generated", cost))
        return Failed(error=bad_answer("the job is done, but its video has no address"))
    return Succeeded(outcome=_outcome(job, response, cost, context))


def _outcome(job: Job, response: Any, cost: float | None, context: Context) -> Outcome:
    video = response.video
    # The provider says how long its URL lives, not since when: counted from the check that found the job done.
    expires_at: float | None = context.now() + URL_SECONDS
    data: dict[str, Any] = {"request_id": job.id}
    warnings: list[Warning | str] = list(job.data.get("warnings", ()))
    if not video.respect_moderation:
        warnings.append(Warning("moderation_not_confirmed", MODERATION_FLAG))
    if video.HasField("file_output") and video.file_output.file_id:
        data["file_id"] = video.file_output.file_id
        seconds = kept_seconds(context)  # the provider's own time comes without its Date
        expires_at = None if seconds is None else context.now() + seconds
    if video.storage_error:
        warnings.append(f"the provider could not store the video: {clean_text(video.storage_error, 120)}")
    handle = ContinuationData(data=data, secret={"video_url": video.url}, expires_at=expires_at)
    return Outcome(
        pieces=(Piece(url=video.url, mime="video/mp4", continuation=handle),),
        continued_as=job.data.get("way"),
        cost_usd=cost,
        usage=usage_of(response.usage),
        warnings=warnings,
        request_id=job.id,
    )
