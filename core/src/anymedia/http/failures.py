"""What a failed exchange means: an answered error, an answer that never came, an answer that cannot be used.

All backends share these four functions. A plugin adds what is special to its provider: its own codes, and the exceptions of
its SDK.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ..answers.envelopes import AnsweredError, documents, quote, read_error
from ..answers.errors import ErrorKind, ErrorTable, error_from
from ..answers.media import ExtractedMedia
from ..capabilities import BillingRule
from ..context import Context
from ..delivery import causes, is_not_sent
from ..errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    Charged,
    ContentRefused,
    MediaError,
    ModelRetired,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownModel,
)
from ..media import without_query
from ..network import CERTIFICATE_FIX


def answered_error(
    context: Context,
    body: Any,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    by_code: ErrorTable | None = None,
    kind: ErrorKind | None = None,
    request_id: str | None = None,
    wait: float | None = None,
    about: Literal["request", "job"] = "request",
) -> MediaError:
    """Return our error for an error that the provider answered.

    A ``[[billing]]`` rule of the matrix that covers it makes the delivery ``refused``: the provider does not charge it.

    Args:
        context: of the call; names backend, model, address and billing rules.
        body: of the answer: bytes, text, decoded JSON, an SDK's object, or what `read_error` gave.
        status: of the HTTP answer; None for an error inside another answer, such as a job that failed.
        headers: of the answer; Retry-After is read.
        by_code: the provider's own codes: the error that each means, or its ``kind``.
        kind: what the error is about, if the plugin knows it from another source: ``content``, ``auth``, ``billing``, ``rate``,
            ``overload``, ``model``, ``region``, ``verification``, ``invalid`` ...
        request_id: the provider's id of the exchange.
        wait: seconds that the provider asked to wait, where no header says it.
        about: ``job`` for a status check, in which 404 means that the provider does not know the job.
    """
    found = body if isinstance(body, AnsweredError) else read_error(body)
    rule = _billing_rule(context, found, status)
    error = error_from(
        found,
        who=_who(context),
        status=status,
        base_url=str(context.settings.get("base_url") or ""),
        own_address=not context.settings.get("base_url"),
        by_code=by_code,
        kind=kind,
        request_id=request_id,
        retry_after=wait if wait is not None else retry_after(headers or {}),
        delivery="refused" if rule is not None and rule.evidence == "documented" else None,
        about=about,
    )
    error.fix = error.fix or _reported(rule)
    return _retired(error, context) if isinstance(error, UnknownModel) else error


def failed_job(
    context: Context,
    body: Any,
    *,
    ended: str = "failed",
    status: int | None = None,
    by_code: ErrorTable | None = None,
    kind: ErrorKind | None = None,
    request_id: str | None = None,
) -> BackendError:
    """Return the error for a job that ended without a result, to be given to ``Failed``.

    The provider had accepted the job, so whether it charges for it is not known unless a billing rule says so.

    Args:
        context: of the call.
        body: the job's error or the whole state: decoded JSON, text, an SDK's object, or what `read_error` gave.
        ended: how it ended, as a verb: ``failed``, ``was cancelled``.
        status: the provider's own status number of the failure, for billing rules.
        by_code: the provider's own codes: the error that each means, or its ``kind``.
        kind: what the error is about, if the plugin knows it from another source: ``content``, ``auth``, ``billing``, ``rate``,
            ``overload``, ``model``, ``region``, ``verification``, ``invalid`` ...
        request_id: the provider's id of the exchange.
    """
    found = body if isinstance(body, AnsweredError) else read_error(body)
    rule = _billing_rule(context, found, status)
    error = answered_error(context, found, by_code=by_code, kind=kind, request_id=request_id)
    if not isinstance(error, AuthenticationFailed | ContentRefused | QuotaExceeded | RateLimited):
        code = f" ({found.code})" if found.text and found.code and found.code not in ended else ""
        said = f"{code}; {found.quoted}" if found.quoted else ""
        error = BackendError(f"the job of {_who(context)} {ended}{said}", fix=_reported(rule), request_id=request_id)
        error.provider_message = found.text
    error.delivery = "refused" if rule is not None and rule.evidence == "documented" else None
    error.charged = "no" if error.delivery else "unknown"
    return error


def no_media(
    context: Context,
    answer: Any,
    found: ExtractedMedia,
    *,
    what: str,
    status: int = 200,
    by_code: ErrorTable | None = None,
    request_id: str | None = None,
) -> MediaError:
    """Return the error for an answer that holds no media: an error object, a refusal, a web page, words, or nothing.

    Args:
        context: of the call.
        answer: bytes or text as received, decoded JSON, an SDK's object, or what `read_error` gave.
        found: what `extract_media` found in it.
        what: the media that was expected, such as ``image``.
        status: of the HTTP answer.
        by_code: the provider's own codes: the error that each means, or its ``kind``.
        request_id: the provider's id of the exchange.
    """
    error = answer if isinstance(answer, AnsweredError) else read_error(answer)
    if error.is_error or error.form in {"html", "xml"}:
        return answered_error(context, error, status=status, by_code=by_code, request_id=request_id)
    reasons = [f"{item.place}: {item.reason}" for item in found.unreadable]
    said = "; ".join(found.refusals) or error.text
    text = f"it holds no {what}" + (f" that can be decoded ({'; '.join(reasons)})" if reasons else "")
    if error.form == "text" and isinstance(answer, bytes) and (address := context.settings.get("base_url")):
        text += f" and is not JSON: base_url, {without_query(str(address))}, may be wrong"
    bad = bad_answer(f"{text}; {quote(said)}" if said and not reasons else text, request_id=request_id)
    bad.provider_message = said
    whole = json.dumps(answer, default=str).encode() if isinstance(answer, dict | list) else answer if isinstance(answer, bytes) else None
    bad.raw = b"\n".join(item.data for item in found.unreadable) or whole
    return bad


def _who(context: Context) -> str:
    return f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"


def _reported(rule: BillingRule | None) -> str:
    if rule is None or rule.evidence != "reported":
        return ""
    return "others report that this failure is not charged; check the account before you repeat it"


def _billing_rule(context: Context, found: AnsweredError, status: int | None) -> BillingRule | None:
    """Return the rule about an error in the provider's own envelope."""
    if found.form != "json":
        return None
    number = status if status is not None else found.status
    operation = context.operation.operation
    return next((rule for rule in context.billing if _covers(rule, found, number, operation)), None)


def _covers(rule: BillingRule, found: AnsweredError, status: int | None, operation: str | None) -> bool:
    if status not in rule.statuses or (rule.operations and operation not in rule.operations):
        return False
    if rule.says and rule.says.lower() not in found.text.lower():
        return False
    if rule.codes:
        return any(_plain(code) in found.codes for code in rule.codes)
    return found.status == status


def _plain(code: str) -> str:
    return "".join(c for c in code.lower() if c.isascii() and c.isalnum())


def _retired(error: UnknownModel, context: Context) -> MediaError:
    """Name the replacement of a model that the matrix knows to be at its end."""
    life = context.spec.lifecycle
    if context.service == "compatible" or life.retires is None:
        return error
    fix = f"use {life.replacement!r}" if life.replacement else "choose another model"
    retired = ModelRetired(f"{error.message} (its shutdown was announced for {life.retires})", fix=fix)
    retired.provider_message = error.provider_message
    return retired


#: Exceptions of HTTP clients for a connection that was never made.
_NOT_CONNECTED = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "ConnectError", "ConnectTimeout"})
#: Their exceptions for a proxy that refused to connect, which it does before it receives anything else.
_PROXY_REFUSED = frozenset({"ClientHttpProxyError", "ProxyError"})


def no_answer(context: Context, error: BaseException, url: str | None = None, *, is_free: bool = False) -> BackendError:
    """Return the error for an answer that did not come; nothing was sent where the connection was never made.

    Args:
        context: of the call.
        error: what the HTTP client raised.
        url: of the request; by default that of the backend.
        is_free: whether the request costs nothing, so that it may be repeated.
    """
    chain = list(causes(error))
    if (ours := next((cause for cause in chain if isinstance(cause, BackendError)), None)) is not None:
        return ours  # an answer that was too long, for one; some SDKs wrap what their transport raises
    name = type(chain[-1]).__name__
    names = {base.__name__ for cause in chain for base in type(cause).__mro__}
    place = url or context.settings.get("base_url") or next((f"https://{host}" for host in context.hosts or ()), None)
    proxy, (way, fix) = context.network.proxy_for(place), context.network.way_to(place)
    if proxy is not None and names & _PROXY_REFUSED:
        return BackendUnavailable(f"{proxy} refused the connection to '{context.backend}'", fix=fix, delivery="not_sent")
    if names & _NOT_CONNECTED or is_not_sent(error):
        fix = CERTIFICATE_FIX if "SSLCertVerificationError" in names else fix
        return BackendUnavailable(f"'{context.backend}' could not be reached{way} ({name})", fix=fix, delivery="not_sent")
    if context.submissions and not is_free:
        return SubmissionUnknown(f"no answer came back from '{context.backend}' ({name})")
    return BackendUnavailable(f"'{context.backend}' gave no answer ({name})")


def decode_json(body: bytes) -> Any:
    """Return the decoded JSON of an answer, or the bytes themselves where it is not JSON: media, a page, a text.

    Of several values, such as the events of a stream, it is the last one.
    """
    import msgspec

    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return next(iter(documents(body)), body)


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer.

    Raises:
        BadBackendResponse: it is anything else; an error or a text is quoted.
    """
    found = decode_json(body)
    if isinstance(found, dict):
        return found
    error = read_error(body)
    bad = bad_answer(f"it is not a JSON object; {error.quoted or f'{len(body)} bytes'}")
    bad.provider_message, bad.raw = error.text, body
    raise bad


@contextlib.contextmanager
def transport_errors(context: Context) -> Iterator[None]:
    """Turn what aiohttp and sockets raise into our errors; around a submit it belongs inside ``context.submission()``."""
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        raise no_answer(context, error) from error


def bad_answer(why: str, *, charged: Charged = "unknown", request_id: str | None = None) -> BadBackendResponse:
    """Return the error for an answer that cannot be used; the work may have been done and charged."""
    error = BadBackendResponse(f"the provider's answer could not be used: {why}", request_id=request_id, delivery="unknown")
    error.charged = charged
    return error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, or None.

    Read are ``retry-after-ms`` and ``Retry-After``, as a number or as a date; a date counts from the answer's own ``Date``.
    """
    given = {str(name).lower(): value for name, value in headers.items()}
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError, TypeError):
            seconds = float(given[name]) * scale
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(KeyError, ValueError, TypeError):
        until = email.utils.parsedate_to_datetime(given["retry-after"]).timestamp()
        now = email.utils.parsedate_to_datetime(given["date"]).timestamp() if "date" in given else time.time()
        return max(0.0, until - now)
    return None
