"""A backend for the core's own tests: a real plugin module that talks over a real socket to whatever it is pointed at.

Its protocol: POST /images -> 200 with PNG bytes; POST /videos -> 200 {"id", "expires_at"}; GET /videos/{id} -> {"status", "url"} or
404; GET /files/... -> bytes; GET /submissions?label= -> {"id"} or 404. Every failure of the transport reaches the core as
the SDKs would hand it on: one exception class for everything, the truth only in its cause.
"""

import tomllib
import types
from typing import Any

from anymedia import Context, ContinuationData, Failed, Job, Outcome, Piece, Running, Succeeded, hookimpl
from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    JobNotFound,
    RateLimited,
)

MATRIX = """
schema = 1
credentials = [{ names = { api_key = ["FAKE_KEY"] } }]
[[models]]
id = "still"
media = "image"
continuation_prefix = "fake_img"
prices = [{ per = "image", usd = 0.10 }]
[models.generate_image]
size = { multiple_of = 8, max_edge = 4096 }
output_format = { one_of = ["png"] }
continue_from = { ways = ["chat"] }
[models.inpaint]
source = { count = [1, 1] }
mask = { format = "alpha" }
[models.edit_with_references]
references = { count = [1, 4], roles.source = { count = [0, 4] }, roles.style = { count = [0, 4] } }
mask = { format = "white" }
[[models]]
id = "moving"
media = "video"
continuation_prefix = "fake_vid"
prices = [{ per = "second", usd = 0.05 }]
typical_seconds = { median = 0.4, p95 = 1.0 }
[models.generate_video]
duration = { one_of = [2, 4, 8], default = 4 }
first_frame = {}
[models.continue_video]
continue_from = { ways = ["extend"] }
"""


class TransportError(Exception):
    """What an SDK raises for every kind of trouble on the wire."""


def _translate(status: int, headers: Any, body: bytes) -> BackendError:
    after = headers.get("Retry-After")
    if status == 401:
        return AuthenticationFailed("the key was not accepted", delivery="refused")
    if status == 429:
        return RateLimited("too many requests", retry_after=float(after) if after else None, delivery="refused")
    if status == 503:
        return BackendUnavailable("overloaded", delivery="refused")
    if status == 403:
        return ContentRefused("refused", reason="policy", delivery="refused")
    if 400 <= status < 500 and status not in {408, 409, 425}:
        return BadBackendResponse(f"rejected with {status}", delivery="refused")
    return BackendUnavailable(f"answered {status}")


async def _send(context: Context, method: str, path: str, **arguments: Any) -> tuple[bytes, Any]:
    import aiohttp

    session = context.client(lambda: aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=context.settings.get("timeout", 30))))
    headers = {"authorization": f"Bearer {context.secret('api_key').reveal()}"}
    try:
        async with session.request(method, context.settings["base_url"] + path, headers=headers, **arguments) as reply:
            body = await reply.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise TransportError("connection error") from error
    if reply.status >= 400:
        error = _translate(reply.status, reply.headers, body)
        error.status = reply.status
        raise error
    return body, reply


@hookimpl
def capabilities() -> CapabilityMatrix:
    return parse_matrix(tomllib.loads(MATRIX), "fake.toml")


async def _picture(request: Any, context: Context) -> Outcome:
    fields = {"prompt": request.prompt, "n": request.n, "size": request.size, "label": context.label}
    async with context.submission() as key:
        body, reply = await _send(context, "POST", "/images", json=fields | {"key": key})
        if not body.startswith(b"\x89PNG"):
            raise BadBackendResponse("that is not a picture")
    pieces = [Piece(data=body, mime="image/png", continuation=ContinuationData(data={"turn": context.label})) for _ in range(request.n)]
    cost = context.settings.get("cost", 0.08) * request.n
    return Outcome(pieces=tuple(pieces), request_id=reply.headers.get("X-Request-Id"), cost_usd=cost)


@hookimpl
async def generate_image(request: Any, context: Context) -> Outcome:
    return await _picture(request, context)


@hookimpl
async def inpaint(request: Any, context: Context) -> Outcome:
    context.read(request.source)
    context.read(request.mask)
    return await _picture(request, context)


@hookimpl
async def edit_with_references(request: Any, context: Context) -> Outcome:
    for reference in request.references:
        context.read(reference.image)
    return await _picture(request, context)


async def _video(request: Any, context: Context) -> Job:
    import json

    async with context.submission():
        body, _ = await _send(context, "POST", "/videos", json={"prompt": request.prompt, "label": context.label})
        try:
            started = json.loads(body)
            return Job(id=started["id"], expires_at=started.get("expires_at"))
        except (ValueError, KeyError, TypeError):
            raise BadBackendResponse("that is not a job") from None


@hookimpl
async def generate_video(request: Any, context: Context) -> Job:
    return await _video(request, context)


@hookimpl
async def continue_video(request: Any, context: Context) -> Job:
    return await _video(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> Any:
    import json

    try:
        body, _ = await _send(context, "GET", f"/videos/{job.id}")
    except BackendError as error:
        if error.status == 404:
            raise JobNotFound(f"there is no video {job.id}") from error
        raise
    try:
        state = json.loads(body)
        status = state["status"]
    except (ValueError, KeyError, TypeError):
        raise BadBackendResponse("that is not a status") from None
    if status == "failed":
        return Failed(error=ContentRefused("refused while rendering", reason="policy"))
    if status != "done":
        return Running(progress=state.get("progress"), note=status)
    onward = ContinuationData(data={"video": job.id}, secret={"url": state["url"]})
    headers = {"x-ticket": "a ticket"} if state.get("guarded") else {}
    return Succeeded(
        outcome=Outcome(pieces=(Piece(url=state["url"], headers=headers, mime="video/mp4", continuation=onward),), cost_usd=0.15)
    )


@hookimpl
async def cancel_job(job: Job, context: Context) -> None:
    try:
        await _send(context, "DELETE", f"/videos/{job.id}")
    except BackendError as error:
        if error.status == 404:
            raise JobNotFound(f"there is no video {job.id}") from error
        raise


@hookimpl
async def find_submission(record: Any, context: Context) -> Job | None:
    import json

    if not context.settings.get("can_list"):
        raise BackendUnavailable("this service has no list")
    body, _ = await _send(context, "GET", f"/submissions?label={record.label}")
    found = json.loads(body)
    return Job(id=found["id"]) if found.get("id") else None


def as_module(name: str = "fake") -> types.ModuleType:
    """Return a fresh module object with the hooks, as an entry point would load it."""
    module = types.ModuleType(name)
    for key, value in globals().items():
        if not key.startswith("__"):
            setattr(module, key, value)
    return module
