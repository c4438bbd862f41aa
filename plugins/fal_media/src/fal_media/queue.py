"""fal's queue: upload the files, submit once, check, read the result, cancel.

Protocol, from fal-client 1.0.3 and @fal-ai/client 1.10.1 (read 2026-11-29), and fal.ai/docs: POST https://queue.fal.run/ENDPOINT with the
input as JSON answers with links for status, result and cancelling. fal has no idempotency key, and both clients repeat the submit after a
failure (the Python one up to ten times), which can be a second paid job: so the submit is plain HTTP here, sent once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.context import Context, LoadedMedia
from anymedia.errors import (
    BackendError,
    BadBackendResponse,
    ContentRefused,
    JobNotFound,
    MediaError,
    RateLimited,
    RequestError,
    UnsupportedOperation,
)
from anymedia.http import failed_job, get_json, no_media, post_json, put_file, secret_for_header, stop
from anymedia.redaction import clean_text
from anymedia.requests import Request
from anymedia.results import Failed, Job, JobState, Outcome, Running, Succeeded, Warning

from .inputs import endpoint_of, fields_of

__all__ = ["address", "cancel", "check", "headers_of", "submit"]

#: Where the parts of the service are (fal-client 1.0.3; the catalogue: reported by several third parties).
_ADDRESSES = {"base_url": "https://queue.fal.run", "storage_url": "https://rest.fal.ai", "catalog_url": "https://api.fal.ai"}
#: fal's words for a refusal; Google's models on fal say that no media was generated instead (reported).
_CODES: Mapping[str, type[BackendError]] = {"content_policy_violation": ContentRefused, "no_media_generated": ContentRefused}


def address(context: Context, part: str) -> str:
    """Return where a part of the service is: its own setting, else ``base_url``, else fal itself."""
    return str(context.settings.get(part) or context.settings.get("base_url") or _ADDRESSES[part]).rstrip("/")


def headers_of(context: Context) -> dict[str, str]:
    """Return the header with the key."""
    key = secret_for_header(context)
    return {} if key is None else {"authorization": f"Key {key}"}


async def submit(request: Request, context: Context) -> Job:
    """Upload the files of a request, which costs nothing, and put it into the queue."""
    body, files = fields_of(request, context)
    for name, value in files.items():
        body[name] = [await _link(context, file) for file in value] if isinstance(value, list) else await _link(context, value)
    url = f"{address(context, 'base_url')}/{endpoint_of(request, context)}"
    async with context.submission():
        answer = await post_json(context, url, body, headers=headers_of(context), by_code=_CODES)
        links = {name: answer.get(f"{name}_url") for name in ("status", "response", "cancel")}
        if not isinstance(answer.get("request_id"), str) or not all(isinstance(link, str) for link in links.values()):
            raise no_media(context, answer, ExtractedMedia(), what="queued request")
    return Job(id=answer["request_id"], data=links)


async def _link(context: Context, file: LoadedMedia) -> str:
    """Upload a file; return the link that the model's runner reads. The upload link gets no key: it is signed, and may lead anywhere."""
    url = f"{address(context, 'storage_url')}/storage/upload/initiate?storage_type=fal-cdn-v3"
    about = {"file_name": file.filename, "content_type": file.mime}
    try:
        answer = await post_json(context, url, about, headers=headers_of(context), seconds=60.0)
        upload, link = answer.get("upload_url"), answer.get("file_url")
        if not isinstance(upload, str) or not isinstance(link, str):
            raise BadBackendResponse(f"'{context.backend}' gave no link to upload a file to")
        await put_file(context, upload, file)
    except BackendError as error:
        error.delivery = "not_sent"  # nothing was submitted
        raise
    return link


async def check(job: Job, context: Context) -> JobState:
    """Return the state of a queued request."""
    status = await get_json(context, f"{job.data['status']}?logs=1", headers=headers_of(context), by_code={"404": JobNotFound})
    word = status.get("status")
    if word == "COMPLETED":
        return await _result(job, status, context)
    place = status.get("queue_position")
    note = f"place {place} in the queue" if word == "IN_QUEUE" and isinstance(place, int) else _last_line(status.get("logs"))
    return Running(note=note if word in {"IN_QUEUE", "IN_PROGRESS"} else f"status {clean_text(str(word), 60)}")


def _last_line(logs: Any) -> str:
    lines = [log.get("message") for log in logs if isinstance(log, dict)] if isinstance(logs, list) else []
    return next((clean_text(line, 200) for line in reversed(lines) if isinstance(line, str)), "")


async def _result(job: Job, status: Mapping[str, Any], context: Context) -> JobState:
    """Read the result of a completed request. A failed one is completed, too: its result is the model's own error."""
    failed = status.get("error")
    try:
        output = await get_json(context, str(job.data["response"]), headers=headers_of(context), by_code={**_CODES, "404": JobNotFound})
    except (RateLimited, JobNotFound):
        raise
    except MediaError as error:
        if "still in progress" in error.provider_message:
            return Running(note="completed; the result is not ready")
        number = getattr(error, "status", None)
        if failed is None and not isinstance(error, RequestError) and (number is None or number >= 500):
            raise  # the check failed, not the request
        said = {"detail": error.provider_message or str(failed or ""), "error_type": status.get("error_type")}
        refused = isinstance(error, ContentRefused)
        return Failed(error=failed_job(context, said, kind="content" if refused else None, request_id=job.id))
    if failed is not None:
        said = {"detail": str(failed), "error_type": status.get("error_type")}
        return Failed(error=failed_job(context, said, request_id=job.id))
    return _ended(output, job, context)


def _ended(output: Mapping[str, Any], job: Job, context: Context) -> JobState:
    """Return the files of an output object, or the object itself where the matrix says that it is the result."""
    kind = context.operation.output or context.spec.media
    if kind == "json":
        return Succeeded(outcome=Outcome(data=dict(output), request_id=job.id))
    if kind == "text":
        found = next((value for value in output.values() if isinstance(value, str) and value.strip()), None)
        if found is not None:
            return Succeeded(outcome=Outcome(data=found, request_id=job.id))
    items = [item for file in _files(output, kind) for item in extract_media(file, ["url"]).items]  # links or data URLs
    others = () if items else extract_media(output).items
    pieces = [item.to_piece() for item in (*items, *(item for item in others if (item.mime or kind).startswith(kind)))]
    flags = output.get("has_nsfw_concepts")
    is_flagged = isinstance(flags, list) and any(flags)
    if not pieces:
        if is_flagged:
            return Failed(error=failed_job(context, {"detail": "has_nsfw_concepts"}, kind="content", request_id=job.id))
        return Failed(error=no_media(context, output, ExtractedMedia(), what=kind, request_id=job.id))  # type: ignore[arg-type]
    hidden = Warning("flagged_unsafe", "fal flagged the result as unsafe; such an image may be black")
    warnings = (hidden,) if is_flagged else ()
    return Succeeded(outcome=Outcome(pieces=pieces, request_id=job.id, warnings=warnings))


def _files(output: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the file objects of a kind: by their type, else (it may be null) by their name; a mask beside an image is left out."""
    named = [(name, file) for name, value in output.items() for file in (value if isinstance(value, list) else [value])]
    files = [(name, f) for name, f in named if isinstance(f, Mapping) and isinstance(f.get("url"), str) and "mask" not in name]
    typed = [file for _, file in files if str(file.get("content_type")).startswith(f"{kind}/")]
    return typed or [file for name, file in files if kind in name]


async def cancel(job: Job, context: Context) -> None:
    """Ask to cancel a request; a running one gets a signal, and may still end and be charged."""
    try:
        await stop(context, str(job.data["cancel"]), method="PUT", headers=headers_of(context), by_code={"404": JobNotFound})
    except MediaError as error:
        if getattr(error, "status", None) == 400:
            raise UnsupportedOperation(f"the request {job.id} is already completed") from error
        raise
