"""Plain HTTP for backends without an SDK: one request, sent once, its answer read as JSON, its failure named.

    async with context.submission():
        answer = await post_json(context, url, {"prompt": request.prompt}, headers={"x-key": key})

A POST goes out once and follows no redirect; the connections are kept per instance and closed with the router.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .context import Context
from .errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    MediaError,
    QuotaExceeded,
    RateLimited,
)
from .redaction import clean_text

if TYPE_CHECKING:
    import aiohttp

__all__ = ["get_json", "post_json", "raise_for_status", "retry_after"]

ErrorTable = Mapping[str, type[BackendError]]
#: How long an answer may take, in seconds, where nobody says otherwise: making an image takes minutes at times.
ANSWER_SECONDS = 600.0
#: No answer is longer, in bytes.
MOST_BYTES = 256_000_000

_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: AuthenticationFailed,
    402: QuotaExceeded,
    403: AuthenticationFailed,
    429: RateLimited,
    451: ContentRefused,
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds an answer's Retry-After asks to wait (a number or an HTTP date), or None."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def raise_for_status(
    status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None, by_code: ErrorTable | None = None
) -> None:
    """Raise the error that a status means; return for 2xx.

    Args:
        status: of the answer.
        body: of the answer; a JSON body's ``error.code`` (or ``code``) and ``error.message`` are read.
        headers: of the answer; Retry-After is read.
        by_code: the provider's own codes, looked at before the status; a status as text (``"404"``) may stand there too.

    Raises:
        BackendError: AuthenticationFailed (401, 403), QuotaExceeded (402), RateLimited (429), ContentRefused (451),
            BackendUnavailable (5xx, whose delivery is not known), BadBackendResponse (others).
        InvalidRequest: any other 4xx: the provider does not take the request.
    """
    if 200 <= status < 300:
        return
    code, message = _told(body)
    said = clean_text(message) if message else f"HTTP {status}, without a reason"
    own = by_code or {}
    named = own.get(code) or own.get(str(status)) or _BY_STATUS.get(status)
    wait = retry_after(headers or {})
    found: MediaError
    if named is not None:
        found = named(said, delivery="refused" if status < 500 else "unknown")
    elif 400 <= status < 500:
        found = InvalidRequest(f"the provider does not take the request: {said}")
    elif status >= 500:
        found = BackendUnavailable(said)
    else:
        found = BadBackendResponse(f"unexpected status: {said}", delivery="unknown")
    if isinstance(found, BackendError):
        found.status, found.retry_after = status, wait
    raise found


def _told(body: bytes | str) -> tuple[str, str]:
    """Return the code and the words of an error's body."""
    try:
        raw = json.loads(body)
    except ValueError:
        return "", body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    inner = raw.get("error", raw) if isinstance(raw, dict) else raw
    if not isinstance(inner, dict):
        return "", str(inner)
    return str(inner.get("code") or inner.get("type") or ""), str(inner.get("message") or "")


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
        aiohttp.ClientError, TimeoutError: no whole answer; ``context.submission()`` judges what that means.
    """
    kept = {k: v for k, v in body.items() if v is not None} if isinstance(body, Mapping) else body
    return await _ask(context, "POST", url, kept, headers or {}, by_code, seconds)


async def get_json(
    context: Context,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = 60.0,
) -> dict[str, Any]:
    """GET a JSON object: for looks at a job (with ``by_code={"404": JobNotFound}``), lists and the like.

    Raises:
        MediaError: as `raise_for_status` says; BackendUnavailable when there is no answer.
    """
    import aiohttp

    try:
        return await _ask(context, "GET", url, None, headers or {}, by_code, seconds)
    except (aiohttp.ClientError, OSError) as error:
        raise BackendUnavailable(f"'{context.backend}' gave no answer ({type(error).__name__})") from error


async def _ask(
    context: Context, method: str, url: str, body: Any, headers: Mapping[str, str], by_code: ErrorTable | None, seconds: float
) -> dict[str, Any]:
    import aiohttp

    session = context.client(_Session, name="anymedia.http").session
    timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10.0)
    async with session.request(method, url, json=body, headers=headers, timeout=timeout, allow_redirects=False) as answer:
        data = await _read(answer)
        raise_for_status(answer.status, data, answer.headers, by_code)
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
