"""Send one HTTP request, read its answer as JSON and map its failure to an error."""

from __future__ import annotations

import io
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, overload

import attrs

from ..answers.envelopes import quote, read_error
from ..answers.errors import ErrorTable, classify, error_from, error_of_class, own_meaning
from ..context import Context, LoadedMedia
from ..errors import (
    AuthenticationFailed,
    BadBackendResponse,
    JobNotFound,
    MediaError,
    PluginContractError,
)
from ..media import without_query
from ..network import Network, is_credential_host
from .failures import answered_error, decode_json, no_answer, retry_after
from .transport import new_session, read_body, request_body

_J = TypeVar("_J", dict[str, Any], list[Any])
_FIX = "list the service's host under `hosts` in capabilities.toml, or in the settings under [backends.{}]"


def check_place(context: Context, url: str, headers: Mapping[str, str]) -> None:
    """Check that secret headers go only to the backend's own hosts: an address in an answer may belong to anyone.

    Raises:
        PluginContractError: the address is not one of the backend's, or is plain http; nothing was sent there.
    """
    if not headers or context.hosts is None:
        return
    scheme, host, port = _parts(url)
    if not host or not is_credential_host(host, port, context.hosts):
        raise _not_sent(f"{without_query(url)!r} is not an address of {context.backend!r}: its key was not sent there", context)
    if scheme not in _schemes(context):
        raise _not_sent(f"{without_query(url)!r} is plain http: the key of {context.backend!r} was not sent there", context)


def secret_for_header(context: Context, name: str = "api_key") -> str | None:
    """Return a credential for an HTTP header, or None if the instance has none.

    Raises:
        AuthenticationFailed: it has characters that a header cannot carry, such as a typographic quote; nothing was sent.
    """
    if not context.has_secret(name):
        return None
    found = context.secret(name).reveal()
    _check_header(context, found, is_secret=True)
    return found


def _check_header(context: Context, value: str, *, is_secret: bool = False) -> None:
    if value.isascii() and value.isprintable() and value.strip() and not (is_secret and " " in value):
        return
    text = f"the key of '{context.backend}' holds blanks or characters that no key has, such as typographic quotes; nothing was sent"
    raise AuthenticationFailed(text, fix="copy the key again, without quotes", delivery="not_sent")


def _parts(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


def _schemes(context: Context) -> set[str]:
    """Return the schemes that may be used: plain http only if the instance's own address has it."""
    clear = str(context.settings.get("base_url", "")).lower().startswith("http:")
    return {"https", "http"} if clear else {"https"}


def _not_sent(text: str, context: Context) -> PluginContractError:
    error = PluginContractError(text, fix=_FIX.format(context.backend))
    error.delivery = "not_sent"
    return error


def raise_for_status(
    status: int,
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    *,
    context: Context | None = None,
) -> None:
    """Raise the error that a status means; return for 2xx.

    Args:
        status: of the answer.
        body: of the answer; the provider's code and message are found in any of the usual envelopes.
        headers: of the answer; Retry-After is read.
        by_code: the provider's own codes, read before the status; a status as text (``"404"``) may be a key, too.
        context: of the call; names the backend and its address in the message.

    Raises:
        MediaError: an entry of ``by_code``; else by the provider's code, its message and the status: AuthenticationFailed,
            QuotaExceeded, RateLimited, ContentRefused, UnknownModel, SettingsError (the address is wrong), InvalidRequest
            (any other 4xx), BackendUnavailable (5xx; whether it was delivered is not known), BadBackendResponse (others).
    """
    if 200 <= status < 300:
        return
    found, wait = read_error(body), retry_after(headers or {})
    named = own_meaning(found, by_code) or (by_code or {}).get(str(status))
    if named is JobNotFound and found.form != "json":  # a proxy may have answered
        raise error_from(found, who=f"'{context.backend}'" if context else "the provider", status=status, kind="broken", retry_after=wait)
    if isinstance(named, type):
        raise error_of_class(named, found, status, wait)
    if context is None:
        raise error_from(found, who="the provider", status=status, kind=named, retry_after=wait)
    raise answered_error(context, found, status=status, kind=named, wait=wait)


def refusal(answer: Mapping[str, Any], by_code: ErrorTable, *, context: Context | None = None) -> MediaError:
    """Return the error for an error object in an answer of status 200, or for a job that failed.

    Raise it, or pass it to ``Failed``. If its code or message identifies the problem, the service refused the request before it
    cost anything. Otherwise it is a BadBackendResponse, and whether it is charged is not known.

    Args:
        answer: the provider's code and message are found in any of the usual envelopes.
        by_code: the provider's own codes.
        context: of the call; names the backend in the message.
    """
    found = read_error(answer)
    if own_meaning(found, by_code) is not None or classify(found, None) != "broken":
        if context is None:
            return error_from(found, who="the provider", by_code=by_code)
        return answered_error(context, found, by_code=by_code)
    said = ": ".join(dict.fromkeys(text for text in (found.code, found.text) if text))
    error = BadBackendResponse(f"the provider reports a failure{f'; {quote(said)}' if said else ' without a reason'}")
    error.delivery, error.provider_message = "unknown", found.text
    return error


#: Default time limit of a response in seconds: making an image can take minutes.
ANSWER_SECONDS = 600.0
#: Time limit of a status check in seconds.
STATUS_CHECK_SECONDS = 60.0


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
        MediaError: as `raise_for_status` says; BadBackendResponse if the answer is not a JSON object.
        PluginContractError: with headers, to an address that is not the backend's own; nothing was sent.
        BackendUnavailable, SubmissionUnknown: no whole answer; the latter inside ``context.submission()``, if it was sent.
    """
    return _json(context, (await _ask(context, "POST", url, headers, by_code, seconds, data=_json_body(body))).data, dict)


def _json_body(body: Any) -> Any:
    return request_body(json.dumps({k: v for k, v in body.items() if v is not None} if isinstance(body, Mapping) else body).encode())


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

    Texts are sent as they are, other values as JSON (``true``, ``0.5``); None, also in place of a file, is left out.

    Args:
        context: of the call.
        url: the address.
        fields: name -> value.
        files: name -> what ``context.read`` returned, or pairs of them if a name is used more than once.
        headers: for example the key.
        by_code: the provider's own codes.
        seconds: timeout of the answer.

    Raises:
        MediaError: as for `post_json`.
    """
    answer = await _ask(context, "POST", url, headers, by_code, seconds, data=_form(fields, files))
    return _json(context, answer.data, dict)


def _form(fields: Mapping[str, Any], files: Mapping[str, LoadedMedia | None] | Iterable[tuple[str, LoadedMedia | None]]) -> Any:
    import aiohttp

    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in fields.items():
        if value is not None:
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
    for name, media in files.items() if isinstance(files, Mapping) else files:
        if media is not None:
            form.add_field(name, io.BytesIO(media.data), filename=media.filename, content_type=media.mime)
    return form


@attrs.frozen(kw_only=True)
class HttpAnswer:
    """An answer of status 2xx, as bytes.

    Attributes:
        data: the body.
        headers: by their names in lower case; of several with one name the last.
    """

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    @property
    def mime(self) -> str:
        """The type that the answer claims, without parameters; an empty text if it claims none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


async def post_bytes(
    context: Context,
    url: str,
    body: Mapping[str, Any],
    *,
    files: Mapping[str, LoadedMedia | None] | Iterable[tuple[str, LoadedMedia | None]] | None = None,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = ANSWER_SECONDS,
) -> HttpAnswer:
    """POST once and return the bytes and headers of the answer: for services that answer with the media themselves.

    Args:
        context: of the call.
        url: the address.
        body: name -> value; sent as JSON as by `post_json`, or with ``files`` as a form as by `post_form`.
        files: see `post_form`; an empty mapping for a form without files.
        headers: for example the key, and ``accept``.
        by_code: the provider's own codes.
        seconds: timeout of the answer.

    Raises:
        MediaError: as for `post_json`; an answer of status 2xx that holds no media is not an error yet, see `no_media`.
    """
    data = _json_body(body) if files is None else _form(body, files)
    return await _ask(context, "POST", url, headers, by_code, seconds, data=data)


async def put_file(context: Context, url: str, file: LoadedMedia, *, seconds: float = ANSWER_SECONDS) -> None:
    """PUT the bytes of an input to an upload link that the service gave; the link is its own permission, so no key is sent.

    Args:
        context: of the call.
        url: the link; plain http only if the instance's ``base_url`` is.
        file: what ``context.read`` returned.
        seconds: timeout of the answer.

    Raises:
        MediaError: as `raise_for_status` says; BackendUnavailable when there is no answer; BadBackendResponse for such a link.
    """
    if _parts(url)[0] not in _schemes(context):
        raise BadBackendResponse(f"'{context.backend}' gave an upload link that is not https")
    await _ask(context, "PUT", url, None, None, seconds, is_free=True, data=request_body(file.data, file.mime))


@overload
async def get_json(
    context: Context,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = STATUS_CHECK_SECONDS,
    array: Literal[False] = False,
) -> dict[str, Any]: ...


@overload
async def get_json(
    context: Context,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = STATUS_CHECK_SECONDS,
    array: Literal[True],
) -> list[Any]: ...


async def get_json(
    context: Context,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = STATUS_CHECK_SECONDS,
    array: bool = False,
) -> dict[str, Any] | list[Any]:
    """GET a JSON object, or with ``array`` a JSON array: for status checks of a job (with ``by_code={"404": JobNotFound}``), and lists.

    A 404 without a JSON body is not the service's own, and therefore BackendUnavailable instead of JobNotFound.

    Raises:
        MediaError: as `raise_for_status` says; BackendUnavailable when there is no answer.
        PluginContractError: with headers, to an address that is not the backend's own.
    """
    data = (await _ask(context, "GET", url, headers, by_code, seconds, is_free=True)).data
    return _json(context, data, list) if array else _json(context, data, dict)


async def stop(
    context: Context,
    url: str,
    *,
    method: Literal["DELETE", "POST", "PUT"] = "DELETE",
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    seconds: float = STATUS_CHECK_SECONDS,
) -> None:
    """Ask the service to stop a job; any 2xx answer counts, also an empty one.

    Raises:
        MediaError, PluginContractError: as for `get_json`.
    """
    await _ask(context, method, url, headers, by_code, seconds, is_free=True)


async def _ask(
    context: Context,
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    by_code: ErrorTable | None,
    seconds: float,
    *,
    is_free: bool = False,
    **body: Any,
) -> HttpAnswer:
    import aiohttp

    check_place(context, url, headers or {})
    for value in (headers or {}).values():
        _check_header(context, value)
    session = context.client(lambda: _Session(context.network), name="anymedia.http").session
    timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10.0)
    proxy = context.network.proxy_url(url)
    try:
        async with session.request(method, url, headers=headers, timeout=timeout, allow_redirects=False, proxy=proxy, **body) as answer:
            data = await read_body(answer)
            raise_for_status(answer.status, data, answer.headers, by_code, context=context)
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        raise no_answer(context, error, url, is_free=is_free) from error
    return HttpAnswer(data=data, headers={name.lower(): value for name, value in answer.headers.items()})


def _json(context: Context, data: bytes, kind: type[_J]) -> _J:
    found = decode_json(data)
    if isinstance(found, kind):
        return found
    expected, error = "a JSON array" if kind is list else "a JSON object", read_error(data)
    bad = BadBackendResponse(f"'{context.backend}' answered with something that is not {expected}{error.quoted and f'; {error.quoted}'}")
    bad.provider_message, bad.raw = error.text, data
    raise bad


class _Session:
    """A session with the certificate authorities of the settings, without cookies."""

    def __init__(self, network: Network) -> None:
        self.session = new_session(network)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.session.close()
