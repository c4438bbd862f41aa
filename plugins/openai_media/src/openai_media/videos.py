"""The videos protocol (create, status, content, remix, edits, extensions, list, delete), as other servers still speak it.

The SDK's generic requests are used: its own ``videos`` methods are deprecated, warn at every call, refuse a video id in edit and
extend and an image reference as an object, and will be removed. The requests are the same.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from anymedia.answers.media import ExtractedMedia, FoundMedia, extract_media
from anymedia.context import Context, LoadedMedia
from anymedia.errors import BadBackendResponse, InvalidRequest, RequestError, UnknownContinuation, UnsupportedInput
from anymedia.hookspecs import SubmissionRecord
from anymedia.http import answered_error, decode_object, failed_job, job_object, job_status, no_media, provider_time
from anymedia.redaction import clean_text
from anymedia.requests import ContinueVideo, GenerateVideo
from anymedia.results import ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded

from ._client import STATUS_SECONDS, Connection, connect
from ._errors import BY_CODE, About, translated
from ._options import chosen, extras, further

if TYPE_CHECKING:
    from anymedia.answers.errors import ErrorKind

__all__ = ["cancel", "check_status", "continue_video", "create", "find"]

#: Seconds by which the clocks of caller and server may differ when a submit is searched for by its time.
_SKEW_SECONDS = 60.0
_LIST_PAGES, _LIST_SIZE = 5, 100
#: Statuses of a file that is requested again: some servers have it only some time after the job is done.
_NOT_READY = frozenset({404, 409, 425})
#: Where servers say why a job failed.
_WORDS = ("error", "message", "detail", "fail_reason", "failure_reason", "reason")
#: How many redirects within the server's own address a download follows.
_MOST_REDIRECTS = 5


async def create(request: GenerateVideo, context: Context) -> Job | Outcome:
    """Start a job from a prompt, or from a first frame (``input_reference``).

    Raises:
        UnsupportedInput: the first frame does not have the size of the video, which servers refuse; nothing was sent.
    """
    frame = None if request.first_frame is None else context.read(request.first_frame)
    fields: dict[str, Any] = {"prompt": request.prompt, "model": context.model, **_size(request, frame, context)}
    if request.duration is not None and context.takes("duration"):
        fields["seconds"] = f"{request.duration:g}"  # a text in this protocol
    fields |= {**further(request, context, sent=("size",)), **extras(request, context)}
    return await _start(context, "/videos", fields, "input_reference", frame)


def _size(request: GenerateVideo, frame: LoadedMedia | None, context: Context) -> dict[str, Any]:
    """Return the size to send: the one that was asked for, else that of the first frame, which must have the video's size."""
    sent = chosen(request, context, ("size",))
    if frame is None or frame.width is None or not context.takes("size"):
        return sent
    size = f"{frame.width}x{frame.height}"
    option = context.operation.options.get("size")
    if "size" not in sent and option is not None and option.problem(size) is None:
        return {"size": size}
    wanted = str(sent.get("size") or getattr(option, "default", None) or "")
    if not wanted or wanted == size:
        return sent
    text = f"the first frame has {size} pixels and the video {wanted}; '{context.model}' takes a first frame of the video's size only"
    raise UnsupportedInput(text, fix=f"resize or crop the first frame to {wanted}, or ask for another size")


async def continue_video(request: ContinueVideo, context: Context) -> Job | Outcome:
    """Remix (the default), edit or extend an earlier job, or edit or extend an uploaded video."""
    way = request.continue_as or ("remix" if request.source is None else "edit")
    fields: dict[str, Any] = {"prompt": request.prompt, **extras(request, context)}
    upload = None if request.source is None else context.read(request.source)
    before = None if upload else _video_id(request)
    if way == "remix":
        if before is None:
            raise InvalidRequest("a remix starts from a job of the same server, not from a file", fix="use continue_as='edit'")
        return await _start(context, f"/videos/{before}/remix", fields, "", None, json=True, way=way)
    if way == "extend":
        option = context.operation.options.get("duration")
        seconds = request.duration if request.duration is not None else getattr(option, "default", None) or 4
        fields["seconds"] = f"{seconds:g}"
    if before is not None:
        fields["video"] = {"id": before}
    path = "/videos/edits" if way == "edit" else "/videos/extensions"
    return await _start(context, path, fields, "video", upload, json=upload is None, way=way)


def _video_id(request: ContinueVideo) -> str:
    continuation = request.continue_from
    found = None if continuation is None else continuation.data.get("video_id")
    if not isinstance(found, str) or not found or not found.replace("-", "").replace("_", "").isalnum():
        name = "the continuation" if continuation is None else repr(continuation.id)
        raise UnknownContinuation(f"{name} holds no video id of this server", fix="give the video file as the source instead")
    return found


async def _start(
    context: Context, path: str, fields: Mapping[str, Any], name: str, file: LoadedMedia | None, *, json: bool = False, way: str = ""
) -> Job | Outcome:
    """Send the one billable POST, as a form like the SDK's own; model specs of servers that take JSON only set ``wire.json``."""
    connection = connect(context)
    wants_json = json or bool(context.spec.wire.get("json"))
    body: dict[str, Any] = dict(fields)
    if wants_json and file is not None:
        url = f"data:{file.mime};base64,{base64.b64encode(file.data).decode()}"
        body[name] = {"image_url": url} if name == "input_reference" else url
    more: dict[str, Any] = {}
    if not wants_json:
        more["files"] = [] if file is None else [(name, (file.filename, file.data, file.mime))]
        more["options"] = {"headers": {"Content-Type": "multipart/form-data"}}
    async with context.submission():
        with translated(context):
            answer = await _send(connection, "post", path, body=body, **more)
        job = job_object(decode_object(answer.content))
        has_id = isinstance(job.get("id"), str) and bool(job["id"])
        made = _media(job, context) if not has_id or job_status(job.get("status")) == "done" else ()
        if made and (not has_id or any(item.data for item in made)):  # of servers that answer when the video is done
            return Outcome(pieces=[item.to_piece() for item in made], continued_as=way or None)
        if not has_id:
            raise no_media(context, job, ExtractedMedia(), what="id of a job", by_code=BY_CODE)
    data = {"way": way} if way else {}
    expires_at = provider_time(job.get("expires_at"), answer.headers, context)
    return Job(id=job["id"], data=data, poll_after=_poll_after(answer), expires_at=expires_at)


def _path(video_id: str) -> str:
    return f"/videos/{quote(video_id, safe='')}"


async def _send(connection: Connection, method: str, path: str, **more: Any) -> Any:
    import httpx2

    return await getattr(connection.sdk, method)(path, cast_to=httpx2.Response, **more)


async def _get(context: Context, path: str, about: About = "request", **params: Any) -> Any:
    with translated(context, about):
        options = {"timeout": STATUS_SECONDS, **({"params": params} if params else {})}
        return await _send(connect(context), "get", path, options=options)


async def check_status(job: Job, context: Context) -> JobState:
    """Check the job once.

    Raises:
        JobNotFound: the server does not know the job, yet or any more.
        MediaError: the check failed.
    """
    answer = await _get(context, _path(job.id), "job")
    state = job_object(decode_object(answer.content))
    status = str(state.get("status") or "")
    ended = job_status(status)
    progress = _number(state.get("progress"))
    if ended == "done":
        return Succeeded(outcome=_outcome(job, state, answer.headers, context))
    if ended == "failed":
        error = next((state[key] for key in _WORDS if state.get(key)), None)
        named = {"error": error} if error else {}
        codes = {"code": status} if "error" not in named or not isinstance(error, dict) else {}
        return Failed(error=failed_job(context, {**named, **codes}, ended=f"ended as {clean_text(status, 40)!r}", by_code=BY_CODE))
    share = None if progress is None else min(max(progress / 100, 0.0), 1.0)
    return Running(progress=share, note=clean_text(status, 40), poll_after=_poll_after(answer))


def _outcome(job: Job, state: Mapping[str, Any], headers: Mapping[str, str], context: Context) -> Outcome:
    handle = ContinuationData(data={"video_id": job.id}, expires_at=provider_time(state.get("expires_at"), headers, context))
    found = _media(state, context)
    link = next((item.url for item in found if item.url), None)  # of servers without an address for the content
    piece = Piece(stream=lambda start: _content(job.id, start, context, link), mime="video/mp4", continuation=handle)
    if data := next((item.data for item in found if item.data), None):
        piece = Piece(data=data, mime="video/mp4", continuation=handle)
    usage = {k: state[k] for k in ("seconds", "size") if state.get(k) is not None}
    return Outcome(pieces=(piece,), continued_as=job.data.get("way"), usage=usage)


def _media(state: Mapping[str, Any], context: Context) -> tuple[FoundMedia, ...]:
    places = ["url", "video_url", "result_url", "output", "metadata"]
    return extract_media(state, places, base_url=str(context.settings.get("base_url") or "")).items


async def _content(video_id: str, start: int, context: Context, link: str | None) -> AsyncIterator[bytes]:
    """Stream the file; a redirect to another host is followed by the core, without the key.

    ``link`` is where the file lies if the server has no address for the content.

    Raises:
        ValueError: when the server cannot start at that offset.
    """
    connection = connect(context)
    headers = {**connection.sdk.auth_headers, "accept": "application/binary", "accept-encoding": "identity"}
    if start:
        headers["range"] = f"bytes={start}-"
    own = str(connection.sdk.base_url).rstrip("/") + f"{_path(video_id)}/content"
    url = own
    with translated(context):
        for _ in range(_MOST_REDIRECTS + 1):
            async with connection.http.stream("GET", url, headers=headers, timeout=STATUS_SECONDS) as answer:
                if link is not None and answer.status_code in {404, 405, 501}:
                    url = link
                    break
                if not answer.has_redirect_location:
                    async with contextlib.aclosing(_read(answer, start, context)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                try:
                    url = urljoin(url, answer.headers["location"])
                except ValueError:  # brackets that do not match
                    raise BadBackendResponse("the video's address redirects to a location that is not a URL") from None
            if urlsplit(url)[:2] != urlsplit(own)[:2]:
                break
        else:
            raise BadBackendResponse(f"the video's address redirects more than {_MOST_REDIRECTS} times")
    async with contextlib.aclosing(context.stream(url, start)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _read(answer: Any, start: int, context: Context) -> AsyncGenerator[bytes]:
    if start and (answer.status_code != 206 or not answer.headers.get("content-range", "").startswith(f"bytes {start}-")):
        raise ValueError(f"the server cannot start at byte {start} (it answered {answer.status_code})")
    if not answer.is_success:
        await answer.aread()
        kind: ErrorKind | None = "broken" if answer.status_code in _NOT_READY else None
        raise answered_error(context, answer.content, status=answer.status_code, headers=answer.headers, by_code=BY_CODE, kind=kind)
    async for chunk in answer.aiter_bytes():  # unbuffered: what is held back is lost when the connection breaks
        yield chunk


async def cancel(job: Job, context: Context) -> None:
    """Delete the job: servers that can stop it do so then."""
    with translated(context, "job"):
        await _send(connect(context), "delete", _path(job.id), options={"timeout": STATUS_SECONDS})


async def find(record: SubmissionRecord, context: Context) -> Job | None:
    """Search the server's list for the one job of this model and prompt since the submit began.

    Where two match it is not known which one is ours, so none is returned.
    """
    if record.operation not in {"generate_video", "continue_video"}:
        return None
    found: list[str] = []
    after: dict[str, Any] = {}
    since = record.started_at - _SKEW_SECONDS
    for _ in range(_LIST_PAGES):
        try:
            answer = await _get(context, "/videos", limit=_LIST_SIZE, order="desc", **after)
        except RequestError:  # no list on this server
            return None
        page = decode_object(answer.content)
        jobs = [job for job in page.get("data") or () if isinstance(job, dict) and isinstance(job.get("id"), str)]
        found += [job["id"] for job in jobs if _matches(job, record, since)]
        oldest = min((_number(job.get("created_at")) or 0.0 for job in jobs), default=0.0)
        if not jobs or not page.get("has_more") or oldest < since:
            break
        after = {"after": jobs[-1]["id"]}
    return Job(id=found[0]) if len(found) == 1 else None


def _matches(job: Mapping[str, Any], record: SubmissionRecord, since: float) -> bool:
    made = _number(job.get("created_at"))
    return job.get("prompt") == record.prompt and job.get("model", record.model) == record.model and made is not None and made >= since


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _poll_after(answer: Any) -> float | None:
    text = answer.headers.get("openai-poll-after-ms", "")
    return float(text) / 1000 if text.isdigit() else None
