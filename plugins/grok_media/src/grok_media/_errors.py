"""One table: what was answered, or not, and which of our errors that is.

The status of an answer says little: an empty account, a refused prompt and a wrong key come with statuses that overlap
(``PERMISSION_DENIED`` for all three, ``INVALID_ARGUMENT`` for two), so the provider's words are read first. The words are
those of its documentation and of answers that users have published. A status that the channel gives itself when an answer
did not come (``UNAVAILABLE``, ``DEADLINE_EXCEEDED``, ``INTERNAL`` ...) says nothing about the delivery: it is unknown.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from anymedia.context import Context
from anymedia.delivery import causes
from anymedia.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    JobNotFound,
    MediaError,
    ModelRetired,
    Problem,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownModel,
)
from anymedia.redaction import clean_text

from ._answers import bad_answer

__all__ = ["BY_HTTP_STATUS", "BY_STATUS", "About", "Answered", "Kind", "from_answer", "kind_of", "translated"]

#: What a call is about: a request, or a job that was taken before.
About = Literal["request", "job"]
Kind = Literal["auth", "billing", "rate", "content", "model", "invalid", "redirect", "unavailable", "no_answer"]

#: gRPC status -> kind, where the words say no more.
BY_STATUS: Mapping[str, Kind] = {
    "UNAUTHENTICATED": "auth",
    "PERMISSION_DENIED": "auth",
    "RESOURCE_EXHAUSTED": "rate",
    "INVALID_ARGUMENT": "invalid",
    "NOT_FOUND": "invalid",
    "FAILED_PRECONDITION": "invalid",
    "OUT_OF_RANGE": "invalid",
    "ALREADY_EXISTS": "invalid",
    "UNIMPLEMENTED": "invalid",
    "UNAVAILABLE": "unavailable",
    "INTERNAL": "unavailable",
    "UNKNOWN": "unavailable",
    "ABORTED": "unavailable",
    "DATA_LOSS": "unavailable",
    "DEADLINE_EXCEEDED": "no_answer",
    "CANCELLED": "no_answer",
}
#: HTTP status of the REST half -> kind, where the words say no more. Any other from 500 up is ``unavailable``.
BY_HTTP_STATUS: Mapping[int, Kind] = {400: "invalid", 401: "auth", 402: "billing", 403: "auth", 404: "invalid", 422: "invalid", 429: "rate"}

#: What an answered rejection says -> kind; the first that fits.
_WORDS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"usage guidelines|safety.?check|moderat|content policy|violates", re.I), "content"),
    (re.compile(r"rate limit|too many requests|requests per|per (?:minute|second)", re.I), "rate"),
    (re.compile(r"\bcredits?\b|spending limit|billing|prepaid|quota|subscription", re.I), "billing"),
    (re.compile(r"api.?key|invalid authentication|unauthenticated|bearer", re.I), "auth"),
    (re.compile(r"\bmodel\b.*(?:not found|does not exist|not exist|no longer|retired|deprecated)", re.I), "model"),
)
#: Kinds that the words may sharpen: answered rejections. A key that is named in an "internal error" proves nothing.
_ANSWERED = frozenset({"auth", "rate", "invalid", "billing"})


@attrs.frozen(kw_only=True)
class Answered:
    """An error as the provider gave it, in a status or inside an answered message."""

    kind: Kind
    message: str = ""
    code: str = ""
    request_id: str | None = None
    retry_after: float | None = None


def kind_of(kind: Kind, message: str) -> Kind:
    """Sharpen the kind of an answered rejection by its words."""
    if kind not in _ANSWERED:
        return kind
    return next((named for words, named in _WORDS if words.search(message)), kind)


@contextlib.contextmanager
def translated(context: Context, about: About = "request") -> Iterator[None]:
    """Turn what gRPC and the HTTP client raise into our errors; around the submit it belongs inside ``submission()``."""
    import aiohttp
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        raise from_answer(_answered(error), context, about) from None  # the cause would show the request's metadata and address
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _no_answer(error, context) from error


def _answered(error: Any) -> Answered:
    name = str(error.code().name)
    message = str(error.details() or "")
    told = _metadata(error)
    if name == "RESOURCE_EXHAUSTED" and "message larger than max" in message:
        # The channel's own words: a message was too large for it, on the way out or on the way back.
        return Answered(kind="invalid" if "ent message" in message else "no_answer", message=message, code=name)
    return Answered(
        kind=kind_of(BY_STATUS.get(name, "unavailable"), message),
        message=message,
        code=name,
        request_id=told.get("x-request-id"),
        retry_after=_retry_after(told),
    )


def _metadata(error: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pairs in (error.initial_metadata(), error.trailing_metadata()):
        found |= {str(key).lower(): value for key, value in pairs or ()}
    return found


def _retry_after(told: Mapping[str, Any]) -> float | None:
    """Return the seconds a provider asks to wait: ``retry-after``, a pushback, or a RetryInfo among the details."""
    for name, scale in (("retry-after-ms", 0.001), ("grpc-retry-pushback-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError, TypeError):
            seconds = float(told[name]) * scale
            return seconds if 0 <= seconds < math.inf else None
    details = told.get("grpc-status-details-bin")
    return _retry_info(details) if isinstance(details, bytes) else None


def _retry_info(raw: bytes) -> float | None:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

    info = error_details_pb2.RetryInfo()
    with contextlib.suppress(DecodeError):
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(info):
                return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def from_answer(answered: Answered, context: Context, about: About = "request") -> MediaError:
    """Return the error of this package for an answered one."""
    said = clean_text(answered.message) or "it gave no reason"
    who = f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"
    if about == "job" and answered.code == "NOT_FOUND":  # whatever the words: a look names nothing but the job
        return JobNotFound(f"{who} does not know the job: {said}", request_id=answered.request_id)
    known: dict[str, Any] = {"request_id": answered.request_id, "delivery": "refused"}
    match answered.kind:
        case "auth":
            fix = "check the key and what it may do (console.x.ai shows both)"
            return AuthenticationFailed(f"{who} does not accept the key for this: {said}", fix=fix, **known)
        case "billing":
            fix = "buy credits or raise the spending limit; waiting does not help"
            return QuotaExceeded(f"the account behind {who} has no money or quota left: {said}", fix=fix, **known)
        case "rate":
            return RateLimited(f"{who} gets too many requests: {said}", retry_after=answered.retry_after, **known)
        case "content":
            fix = "change the prompt or the inputs; the same again will be refused again"
            return ContentRefused(f"the safety system of {who} refused the request: {said}", reason=said, fix=fix, **known)
        case "model":
            return _no_model(context, who, said)
        case "invalid":
            tail = f" (request {clean_text(answered.request_id, 60)})" if answered.request_id else ""
            return InvalidRequest([Problem("$", f"{who} refused the request: {said}{tail}")])
        case "redirect":
            fix = "check base_url; neither the request nor the key was sent on"
            return BadBackendResponse(f"the address of '{context.backend}' leads elsewhere ({answered.code}): {said}", fix=fix, **known)
        case "unavailable":
            # Delivery is left open: the service may have had the request, whatever it or the channel says now.
            code = f" ({answered.code})" if answered.code else ""
            return BackendUnavailable(f"{who} failed{code}: {said}", request_id=answered.request_id, retry_after=answered.retry_after)
        case _:
            return _silence(context, f"{answered.code}: {said}")


def _no_model(context: Context, who: str, said: str) -> MediaError:
    life = None if context.row is None else context.row.lifecycle
    if context.service != "compatible" and life is not None and life.retires is not None:
        fix = f"use {life.replacement!r}" if life.replacement else "choose another model"
        return ModelRetired(f"{who} is no longer served (its end was dated {life.retires}): {said}", fix=fix)
    return UnknownModel(f"{who} is not served there: {said}", fix="see which models the key may use")


def _silence(context: Context, why: str) -> BackendError:
    if context.submissions:
        return SubmissionUnknown(f"no answer came back from '{context.backend}' ({why})")
    return BackendUnavailable(f"'{context.backend}' gave no answer ({why})")


def _no_answer(error: BaseException, context: Context) -> BackendError:
    """Return the error for an HTTP answer that did not come; nothing was sent when the connection was never made."""
    import aiohttp

    name = type(list(causes(error))[-1]).__name__
    if isinstance(error, aiohttp.ClientPayloadError):
        return bad_answer(f"it broke off ({name})")
    if any(isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for cause in causes(error)):
        return BackendUnavailable(f"'{context.backend}' could not be reached ({name})", delivery="not_sent")
    return _silence(context, name)
