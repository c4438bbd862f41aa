"""POST /videos and the job it starts. The path is that of another well-known protocol; the fields, states and errors are not.

A link to the result is either signed (``urls``: secret, short-lived, without the key) or not (``unsigned_urls``: it needs the key,
which is sent to the service's own address only). The latter are preferred: they need no secret in the store.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from anymedia.answers.media import ExtractedMedia
from anymedia.context import Context
from anymedia.errors import BackendError, UnknownContinuation, UnsupportedInput
from anymedia.http import decode_object, failed_job, job_object, job_status, no_media
from anymedia.redaction import clean_text
from anymedia.requests import ContinueVideo, GenerateVideo
from anymedia.results import ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded

from ._answers import cost_of
from ._client import STATUS_SECONDS, Answer, Connection, connect
from ._errors import BY_CODE, About, error_of, raise_for_answer, translated
from ._options import chosen, extras, link, whole

__all__ = ["check_status", "continue_video", "create"]

_FIELDS = ("resolution", "aspect_ratio", "size", "seed")
#: Ends without a result, as a verb.
_ENDED = {"failed": "failed", "cancelled": "was cancelled", "expired": "expired before it was done"}
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")


async def create(request: GenerateVideo, context: Context) -> Job:
    """Start a job from a prompt, from a first and a last frame, or from pictures."""
    body = _body(request, context)
    frames = [("first_frame", request.first_frame), ("last_frame", request.last_frame)]
    given = [{**link("image_url", context.read(image)), "frame_type": name} for name, image in frames if image is not None]
    pictures = [link("image_url", context.read(reference.image)) for reference in request.references]
    if given and pictures:  # the service would use the frames and drop the pictures
        raise UnsupportedInput(f"'{context.model}' takes frames or reference images, not both", fix="leave out one of them")
    if given:
        body["frame_images"] = given
    if pictures:
        body["input_references"] = pictures
        body["prompt"] = _described(request)
    return await _start(body, context, {})


def _described(request: GenerateVideo) -> str:
    """Return the prompt with the descriptions of the pictures: the service has no field for them."""
    said = [f"Of reference picture {i}: {r.description}." for i, r in enumerate(request.references, 1) if r.description]
    return "\n".join([request.prompt, *said])


async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Continue from an earlier job of the same model (``previous_job_id``), or edit a video that is sent with the request."""
    body = _body(request, context)
    if request.source is not None:
        body["input_references"] = [link("video_url", context.read(request.source))]
        return await _start(body, context, {"way": request.continue_as or "edit"})
    before = None if request.continue_from is None else request.continue_from.data.get("job_id")
    if not isinstance(before, str) or not _ID.fullmatch(before):
        raise UnknownContinuation("the continuation holds no job of this service", fix="give the video file as the source instead")
    body["previous_job_id"] = before
    rule = context.operation.inputs.get("continue_from")
    return await _start(body, context, {"way": request.continue_as or next(iter(getattr(rule, "ways", ())), "extend")})


def _body(request: GenerateVideo | ContinueVideo, context: Context) -> dict[str, Any]:
    body = {"model": context.model, "prompt": request.prompt, **chosen(request, context, _FIELDS), **extras(request, context)}
    if request.duration is not None and context.takes("duration"):
        body["duration"] = whole(request.duration)
    return body


async def _start(body: Mapping[str, Any], context: Context, data: Mapping[str, Any]) -> Job:
    connection = connect(context)
    async with context.submission():
        with translated(context):
            answer = await connection.ask("POST", "/videos", body=body)
        state = _state(answer, context)
        job_id = state.get("id")
        if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
            raise no_media(context, state, ExtractedMedia(), what="id of a job", by_code=BY_CODE, request_id=answer.generation)
    poll = _poll_path(state.get("polling_url"), connection)
    return Job(id=job_id, data={**data, **({"poll": poll} if poll else {})}, poll_after=_seconds(answer))


def _poll_path(url: Any, connection: Connection) -> str | None:
    """Return the address of status checks as a path under the service's address; None for none, or for another host's."""
    own = connection.own(url) if isinstance(url, str) and url else None
    if own is None:
        return None
    parts, base = urllib.parse.urlsplit(own), urllib.parse.urlsplit(connection.base)
    inside = parts.path.startswith(base.path.rstrip("/") + "/") and not parts.query
    return parts.path[len(base.path.rstrip("/")) :] if inside else None


def _state(answer: Answer, context: Context, about: About = "request") -> dict[str, Any]:
    raise_for_answer(answer, context, about)
    state = decode_object(answer.body)
    if state.get("error") and "id" not in state:  # an error inside an answer of status 200
        raise error_of(answer, context, about, state)
    return state


async def check_status(job: Job, context: Context) -> JobState:
    """Check the job once.

    Raises:
        JobNotFound: the service does not know the job, yet or any more.
        MediaError: the check failed.
    """
    connection = connect(context)
    by_id = f"/videos/{urllib.parse.quote(job.id, safe='')}"
    for path in dict.fromkeys((str(job.data.get("poll") or by_id), by_id)):
        with translated(context):
            answer = await connection.ask("GET", path, seconds=STATUS_SECONDS)
        if answer.status not in {404, 410}:
            break
    state = job_object(_state(answer, context, "job"))
    status = str(state.get("status") or "")
    ended = job_status(status)
    if ended == "done":
        return Succeeded(outcome=_outcome(job, state, answer, connection))
    if ended == "failed":
        return Failed(error=_failure(status, state, context))
    return Running(note=clean_text(status, 40), poll_after=_seconds(answer))


def _failure(status: str, state: Mapping[str, Any], context: Context) -> BackendError:
    """Return the error of a job that ended without a result; its ``error`` is a plain text."""
    error = {"error": state["error"]} if state.get("error") else {}
    found = failed_job(context, error, ended=_ENDED.get(status.lower()) or f"ended as {clean_text(status, 40)!r}", by_code=BY_CODE)
    cost = cost_of(state.get("usage") if isinstance(state.get("usage"), dict) else None)
    if cost is not None:
        found.charged, found.cost_usd = "yes" if cost else "no", cost
        found.delivery = None if cost else "refused"
    return found


def _outcome(job: Job, state: Mapping[str, Any], answer: Answer, connection: Connection) -> Outcome:
    usage = state.get("usage")
    numbers = usage if isinstance(usage, dict) else {}
    handle = ContinuationData(data={"job_id": job.id})
    pieces = [Piece(url=url, headers=headers, mime="video/mp4", continuation=handle) for url, headers in _links(job, state, connection)]
    generation = state.get("generation_id")
    return Outcome(
        pieces=pieces,
        continued_as=job.data.get("way"),
        usage=numbers,
        cost_usd=cost_of(numbers),
        request_id=generation if isinstance(generation, str) else answer.generation,
    )


def _links(job: Job, state: Mapping[str, Any], connection: Connection) -> list[tuple[str, Mapping[str, str]]]:
    """Return the address of each video and the headers to send there: the key to the service's own address only."""
    signed, unsigned = (_texts(state.get(name)) for name in ("urls", "unsigned_urls"))
    found: list[tuple[str, Mapping[str, str]]] = []
    for index in range(max(len(signed), len(unsigned), 1)):
        own = connection.own(unsigned[index]) if index < len(unsigned) else None
        if own is not None:
            found.append((own, connection.authorization))
        elif index < len(signed):
            found.append((signed[index], {}))
        else:
            job_id = urllib.parse.quote(job.id, safe="")
            found.append((f"{connection.base}/videos/{job_id}/content?index={index}", connection.authorization))
    return found


def _texts(value: Any) -> list[str]:
    return [v for v in value if isinstance(v, str) and v] if isinstance(value, list) else []


def _seconds(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
