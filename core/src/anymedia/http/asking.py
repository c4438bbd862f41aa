"""Asking: JSON or a form sent once, an object read, a job stopped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from ..context import Context, LoadedMedia
from ..errors import BackendUnavailable, BadBackendResponse
from .places import check_place
from .statuses import ErrorTable, raise_for_status

if TYPE_CHECKING:
    import aiohttp

__all__ = ["get_json", "post_form", "post_json", "stop"]

#: How long an answer may take, in seconds, where nobody says otherwise: making an image takes minutes at times.
ANSWER_SECONDS = 600.0
#: How long a look may take, in seconds.
LOOK_SECONDS = 60.0
#: No answer is longer, in bytes.
MOST_BYTES = 256_000_000


async def post_json(
    context: Context,
    url: str,
    body: Any,
    *,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """POST a JSON body once and return the JSON object that is answered.

    A value of None in the body's top level is left out: an option that was not asked for is not sent.

    Raises:
        MediaError: as `raise_for_status` says; BadBackendResponse for an answer that is no JSON object.
        PluginContractError: with headers, to an address that is not the backend's own; nothing was sent.
        aiohttp.ClientError, TimeoutError: no whole answer; ``context.submission()`` judges what that means.
    """
    kept = {k: v for k, v in body.items() if v is not None} if isinstance(body, Mapping) else body
    return _object(context, await _ask(context, "POST", url, headers, by_code, seconds, json=kept))


async def post_form(
    context: Context,
    url: str,
    fields: Mapping[str, Any],
    *,
    files: Mapping[str, LoadedMedia | None] | Iterable[tuple[str, LoadedMedia | None]],
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """POST fields and files once as ``multipart/form-data`` and return the JSON object that is answered.

    Texts go as they are, other values as JSON writes them (``true``, ``0.5``); a None, a file too, is left out.

    Args:
        context: of the call.
        url: where to.
        fields: name -> value.
        files: name -> what ``context.read`` gave, or pairs of them where a name is used more than once.
        headers: the key, say.
        by_code: the provider's own codes.
        seconds: how long the answer may take.

    Raises:
        MediaError, aiohttp.ClientError, TimeoutError: as for `post_json`.
    """
    import aiohttp

    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in fields.items():
        if value is not None:
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
    for name, media in files.items() if isinstance(files, Mapping) else files:
        if media is not None:
            form.add_field(name, media.data, filename=media.filename, content_type=media.mime)
    return _object(context, await _ask(context, "POST", url, headers, by_code, seconds, data=form))


async def get_json(
    context: Context,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = LOOK_SECONDS,
) -> dict[str, Any]:
    """GET a JSON object: for looks at a job (with ``by_code={"404": JobNotFound}``), lists and the like.

    Raises:
        MediaError: as `raise_for_status` says; BackendUnavailable when there is no answer.
        PluginContractError: with headers, to an address that is not the backend's own.
    """
    async with _answered(context):
        return _object(context, await _ask(context, "GET", url, headers, by_code, seconds))


async def stop(
    context: Context,
    url: str,
    *,
    method: Literal["DELETE", "POST"] = "DELETE",
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = LOOK_SECONDS,
) -> None:
    """Ask the service to stop a job; whatever a 2xx holds will do, nothing too.

    Raises:
        MediaError, PluginContractError: as for `get_json`.
    """
    async with _answered(context):
        await _ask(context, method, url, headers, by_code, seconds)


@asynccontextmanager
async def _answered(context: Context) -> AsyncIterator[None]:
    """Name the trouble of a request that costs nothing and may be made again."""
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        raise BackendUnavailable(f"'{context.backend}' gave no answer ({type(error).__name__})") from error


async def _ask(
    context: Context,
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    by_code: ErrorTable | None,
    seconds: float,
    **body: Any,
) -> bytes:
    import aiohttp

    check_place(context, url, headers or {})
    session = context.client(_Session, name="anymedia.http").session
    timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10.0)
    async with session.request(method, url, headers=headers, timeout=timeout, allow_redirects=False, **body) as answer:
        data = await _read(answer)
        raise_for_status(answer.status, data, answer.headers, by_code)
    return data


def _object(context: Context, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadBackendResponse(f"'{context.backend}' answered with something that is no JSON object")
    return found


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        found += chunk
        if len(found) > MOST_BYTES:
            raise BadBackendResponse("the answer has no end")
    return bytes(found)


class _Session:
    """A session that takes no proxy and no cookie from anywhere."""

    def __init__(self) -> None:
        import aiohttp

        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.session.close()
