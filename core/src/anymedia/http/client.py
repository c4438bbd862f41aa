"""Send one HTTP request, read its answer as JSON and map its failure to an error."""

from __future__ import annotations

import email.utils
import json
import time
import urllib.parse
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from ..context import Context, LoadedMedia
from ..errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    MediaError,
    PluginContractError,
    QuotaExceeded,
    RateLimited,
)
from ..media import without_query
from ..redaction import clean_text

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "ErrorTable",
    "check_place",
    "get_json",
    "post_form",
    "post_json",
    "raise_for_status",
    "refusal",
    "retry_after",
    "stop",
]

_FIX = "list the service's host under `hosts` in capabilities.toml, or in the settings under [backends.{}]"


def check_place(context: Context, url: str, headers: Mapping[str, str]) -> None:
    """See that what is secret goes to the backend itself: an address that an answer named may be anybody's.

    Raises:
        PluginContractError: it is another's address, or plain http; nothing was sent there.
    """
    if not headers or context.hosts is None:
        return
    scheme, host, port = _parts(url)
    if not any(own.lower() in {host, f"{host}:{port}"} for own in context.hosts if host):
        raise _not_sent(f"{without_query(url)!r} is no address of {context.backend!r}: its key was not sent there", context)
    clear = str(context.settings.get("base_url", "")).lower().startswith("http:")
    if scheme != "https" and not (scheme == "http" and clear):
        raise _not_sent(f"{without_query(url)!r} is plain http: the key of {context.backend!r} was not sent there", context)


def _parts(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


def _not_sent(text: str, context: Context) -> PluginContractError:
    error = PluginContractError(text, fix=_FIX.format(context.backend))
    error.delivery = "not_sent"
    return error


ErrorTable = Mapping[str, type[BackendError]]

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
    said = clean_text(message or code) or f"HTTP {status}, without a reason"
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


def refusal(answer: Mapping[str, Any], by_code: ErrorTable) -> BackendError:
    """Return the error for an answer that says no with status 200, or for a job that has failed.

    To be raised, or given to ``Failed``. One of the table was refused by the service, before it cost anything; of any
    other nothing is known of the money, and it is a BadBackendResponse.

    Args:
        answer: ``error.code`` (or ``code``) and ``error.message`` (or ``message``) are read.
        by_code: the provider's own codes.
    """
    code, message = _of(answer)
    named = by_code.get(code)
    if named is not None:
        return named(clean_text(message or code), delivery="refused")
    said = ": ".join(clean_text(text) for text in (code, message) if text) or "without a reason"
    return BadBackendResponse(f"the provider says no: {said}", delivery="unknown")


def _told(body: bytes | str) -> tuple[str, str]:
    """Return the code and the words of an error's body."""
    try:
        return _of(json.loads(body))
    except ValueError:
        return "", body.decode("utf-8", "replace") if isinstance(body, bytes) else body


def _of(raw: Any) -> tuple[str, str]:
    inner = raw.get("error", raw) if isinstance(raw, Mapping) else raw
    if not isinstance(inner, Mapping):
        return "", str(inner)
    return str(inner.get("code") or inner.get("type") or ""), str(inner.get("message") or "")


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
