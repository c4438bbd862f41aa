"""Videos: start, extend, edit, and one look at a job. The provider keeps a finished video for 24 hours under a signed URL."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendError, ContentRefused, InvalidRequest, SettingsError, UnknownContinuation, UnsupportedInput
from anymedia.redaction import clean_text
from anymedia.requests import Continuation, ContinueVideo, GenerateVideo, Reference
from anymedia.results import ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded

from ._answers import bad_answer, cost_of, usage_of
from ._client import LOOK_SECONDS, Connection, connect
from ._errors import Answered, from_answer, kind_of, translated
from ._inputs import Sent, bring
from ._options import chosen, number_of

__all__ = ["check_status", "file_name", "generate", "go_on", "kept_seconds"]

#: How long the URL of a finished video lives (the SDK's description of ``VideoResponse.url``).
URL_SECONDS = 24 * 3600.0
_EXTEND, _EDIT = "extend", "edit"
#: What an answer says when the video it was to take up cannot be had any more.
_NOT_TO_BE_HAD = re.compile(r"fetch|download|retrieve|expired|\bfile\b.*not found", re.IGNORECASE)


async def generate(request: GenerateVideo, context: Context) -> Job:
    """Start a video from words, from a first or last frame, or from reference pictures (``<IMAGE_1>`` in the prompt is the first)."""
    connection = connect(context)
    arguments: dict[str, Any] = {"model": context.model, **_shape(request, context), **_kept(context)}
    if "generate_audio" in request.extra_params:
        arguments["generate_audio"] = request.extra_params["generate_audio"]
    frames = {"image": request.first_frame, "last_frame": request.last_frame}
    given = {name: frame for name, frame in frames.items() if frame is not None}
    inputs = [context.read(frame) for frame in given.values()] + [context.read(r.image) for r in request.references]
    await connection.ready()
    sent = await bring(inputs, connection, context)
    for name, one in zip(given, sent, strict=False):
        arguments |= one.named(name)
    arguments |= _references(sent[len(given) :])
    prompt = " ".join([request.prompt, *_wording(request.references)])
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


def _wording(references: tuple[Reference, ...]) -> list[str]:
    """Put into words what the protocol has no field for: a style, and what the caller said about a picture."""
    said = []
    for number, reference in enumerate(references, 1):
        tail = f": {reference.description}." if reference.description else "."
        if reference.role == "style":
            said.append(f"Take the style, and only the style, from <IMAGE_{number}>{tail}")
        elif reference.description:
            said.append(f"Of <IMAGE_{number}>, keep{tail}")
    return said


async def go_on(request: ContinueVideo, context: Context) -> Job:
    """Extend a video (what comes back is one clip, the old and the new), or edit it, which keeps its length.

    Raises:
        UnknownContinuation: for a continuation whose video is nowhere to be had any more.
        UnsupportedInput: for a video that is too short or too long for it.
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
        if request.continue_from is None or not _NOT_TO_BE_HAD.search(refused.message):
            raise
        text = f"the provider no longer has the video of {request.continue_from.id!r}: {refused.message}"
        raise UnknownContinuation(text, fix="give the video file as the source instead") from None


async def _video(request: ContinueVideo, connection: Connection, context: Context) -> Sent:
    """Return the video to go on from: the file kept at the provider, its URL, or else the bytes."""
    before = request.continue_from
    if before is None:
        assert request.source is not None
        return (await bring([context.read(request.source)], connection, context))[0]
    if file_id := before.data.get("file_id"):
        return Sent(file_id=str(file_id))
    if url := before.secret.get("video_url"):
        return Sent(url=str(url))
    return (await bring([_collected(before, context)], connection, context))[0]


def _collected(continuation: Continuation, context: Context) -> LoadedMedia:
    if not continuation.files:
        raise UnknownContinuation(f"{continuation.id!r} names no video to go on from", fix="give the video file as the source instead")
    return context.read(continuation.files[0])


def _length(request: ContinueVideo, context: Context) -> float | None:
    if request.source is not None:
        return context.read(request.source).seconds
    before = request.continue_from
    return before.files[0].seconds if before is not None and before.files else None


def _check_length(way: str, seconds: float | None, duration: float | None, context: Context) -> list[str]:
    """Refuse what no source says is taken; warn of what only one of two sources says is.

    Raises:
        UnsupportedInput: before anything is sent.
    """
    wire = {} if context.operation is None else context.operation.wire
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
    """Return for how long finished videos are to be kept at the provider, as the option ``keep_videos`` says; None: not at all.

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
    """Return the name under which the video of a call is kept."""
    return f"{label}.mp4"


def _kept(context: Context) -> dict[str, Any]:
    seconds = kept_seconds(context)
    return {} if seconds is None else {"storage_options": {"filename": file_name(context.label), "expires_after": seconds}}


async def _submit(send: Any, context: Context, warnings: list[str], *, way: str = "", **arguments: Any) -> Job:
    """Make the one billable call; it answers with the job's id at once."""
    async with context.submission():
        with translated(context):
            started = await send(**arguments)
        if started is None or not started.request_id:
            raise bad_answer("it holds no id of a job")
    data: dict[str, Any] = ({"way": way} if way else {}) | ({"warnings": warnings} if warnings else {})
    return Job(id=started.request_id, data=data)


async def check_status(job: Job, context: Context) -> JobState:
    """Look once.

    Raises:
        JobNotFound: the provider does not know the job, yet or any more.
        MediaError: the look failed.
    """
    from xai_sdk.proto import deferred_pb2

    connection = connect(context)
    try:
        with translated(context, "job"):
            async with asyncio.timeout(LOOK_SECONDS):
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
            return Failed(error=BackendError("the provider has dropped the job: it took, or lay there, too long"))
    share = None if response is None else min(max(response.progress / 100, 0.0), 1.0)
    return Running(progress=share)


def _failure(response: Any, context: Context) -> BackendError:
    error = response.error if response is not None and response.HasField("error") else None
    message = error.message if error is not None else ""
    found = from_answer(Answered(kind=kind_of("invalid", message), message=message), context)
    if isinstance(found, ContentRefused):
        found.delivery, found.charged = None, "unknown"  # refused, but after the job had begun
        return found
    said = clean_text(message) or "it gave no reason"
    code = f" ({clean_text(error.code, 40)})" if error is not None and error.code else ""
    return BackendError(f"the job of '{context.backend}/{context.model}' failed{code}: {said}")


def _done(job: Job, response: Any, context: Context) -> JobState:
    """Return what came of a job that is done. What moderation held back is done too, and has no address."""
    if response is None or not response.HasField("video"):
        return Failed(error=bad_answer("the job is done, but holds no video"))
    video, cost = response.video, cost_of(response.usage)
    if not video.respect_moderation:
        held_back = ContentRefused(
            f"the moderation of '{context.backend}/{context.model}' held back the video that was made",
            reason="moderation of the output",
            fix="change the prompt or the inputs; the same again will most likely be held back again",
        )
        held_back.charged, held_back.cost_usd = "yes" if cost else "unknown", cost or None  # billed as usual, third parties say
        return Failed(error=held_back)
    if not video.url:
        return Failed(error=bad_answer("the job is done, but its video has no address"))
    return Succeeded(outcome=_outcome(job, response, cost, context))


def _outcome(job: Job, response: Any, cost: float | None, context: Context) -> Outcome:
    video = response.video
    # The provider tells how long its URL lives, not when it began: counted from when the job was seen to be done.
    expires_at: float | None = context.now() + URL_SECONDS
    data: dict[str, Any] = {"request_id": job.id}
    warnings = list(job.data.get("warnings", ()))
    if video.HasField("file_output") and video.file_output.file_id:
        data["file_id"] = video.file_output.file_id
        kept_until = video.file_output.expires_at
        expires_at = float(kept_until.seconds) if video.file_output.HasField("expires_at") else None
    if video.storage_error:
        warnings.append(f"the provider could not keep the video: {clean_text(video.storage_error, 120)}")
    handle = ContinuationData(data=data, secret={"video_url": video.url}, expires_at=expires_at)
    return Outcome(
        pieces=(Piece(url=video.url, mime="video/mp4", continuation=handle),),
        continued_as=job.data.get("way"),
        cost_usd=cost,
        usage=usage_of(response.usage),
        warnings=warnings,
        request_id=job.id,
    )
