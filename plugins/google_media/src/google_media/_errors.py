"""One table: what was answered, or not, and which of our errors that is.

google-genai has two exception families that share no base: ``google.genai.errors`` (with ``code``) for the classic calls,
``_gaos.lib.compat_errors`` (with ``status_code``) for interactions. Both are read alike: by the reasons in the answer's
details first (a bad key is a 400, a spent quota and a rate limit are both 429), then by the status. A rejection that was
answered with 4xx is ``refused``; of everything else the chain of causes tells what was delivered.
"""

from __future__ import annotations

import contextlib
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
    UnknownContinuation,
    UnknownModel,
)
from anymedia.http import retry_after
from anymedia.redaction import clean_text

__all__ = ["BY_EXCEPTION", "BY_REASON", "BY_STATUS", "About", "Answered", "Kind", "bad_answer", "from_answer", "translated"]

#: What a request names that may be gone: a model; a turn before this one; a job.
About = Literal["model", "turn", "job"]
Kind = Literal["auth", "billing", "rate", "content", "missing", "invalid", "broken", "no_answer", "bad_answer"]

#: ``reason`` of a google.rpc.ErrorInfo in the details -> kind.
BY_REASON: Mapping[str, Kind] = {
    "API_KEY_INVALID": "auth",
    "API_KEY_EXPIRED": "auth",
    "API_KEY_SERVICE_BLOCKED": "auth",
    "ACCESS_TOKEN_EXPIRED": "auth",
    "SERVICE_DISABLED": "auth",
    "CONSUMER_SUSPENDED": "auth",
    "BILLING_DISABLED": "billing",
    "RATE_LIMIT_EXCEEDED": "rate",
}

#: HTTP status -> kind; what stands in neither range is judged by `_by_range`.
BY_STATUS: Mapping[int, Kind] = {
    400: "invalid",
    401: "auth",
    402: "billing",
    403: "auth",
    404: "missing",
    405: "missing",
    410: "missing",
    429: "rate",
}

#: Exception classes without a status -> kind. The test enumerates every exception of the SDK.
BY_EXCEPTION: Mapping[str, Kind] = {
    "APIConnectionError": "no_answer",
    "APITimeoutError": "no_answer",
    "NoResponseError": "no_answer",
    "ContinuationTimeoutError": "no_answer",
    "APIResponseValidationError": "bad_answer",
    "ResponseValidationError": "bad_answer",
    "UnknownApiResponseError": "bad_answer",
    "ContinuationInterruptedError": "bad_answer",
    "UnknownFunctionCallArgumentError": "bad_answer",
    "UnsupportedFunctionError": "bad_answer",
    "FunctionInvocationError": "bad_answer",
    "JSONDecodeError": "bad_answer",
    "ValidationError": "bad_answer",
    "EphemeralTokenAPIKeyError": "auth",
    "APIError": "no_answer",
    "GeminiNextGenAPIClientError": "no_answer",
    "GenAiError": "no_answer",
    "TemporaryError": "no_answer",
    "PermanentError": "no_answer",
    "ValueError": "bad_answer",
}

#: Words by which a 400 says that it is about content (Imagen and Veo give no reason code).
_ABOUT_CONTENT = re.compile(r"safety|responsible ai|usage guidelines|prohibited|sensitive words|content polic|blocked by", re.IGNORECASE)
#: Words and quota names by which a 429 says that waiting a little does not help.
_SPENT = re.compile(r"PerDay|per day|prepay|credits? (?:are|is) depleted|spending cap|spend limit|limit: 0\b", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Answered:
    """A rejection as the provider gave it, in a status or inside an answered object."""

    kind: Kind
    message: str = ""
    reason: str = ""
    status: int | None = None
    retry_after: float | None = None
    request_id: str | None = None


@contextlib.contextmanager
def translated(context: Context, about: About = "model") -> Iterator[None]:
    """Turn whatever the SDK, its transports and its credentials raise into our errors; belongs inside ``context.submission()``."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        found = _translate(error, context, about)
        if found is None:
            raise
        raise found from error


def bad_answer(why: str, *, request_id: str | None = None) -> BadBackendResponse:
    """Return the error for an answer that cannot be used: the work may have been done and paid all the same."""
    error = BadBackendResponse(f"the provider's answer could not be used: {why}", request_id=request_id, delivery="unknown")
    error.charged = "unknown"
    return error


def _translate(error: Exception, context: Context, about: About) -> MediaError | None:
    name = _known_name(error)
    if _is_auth_library(error):
        return _no_token(error, context)
    status = _status_of(error)
    if status is not None and name not in {"APIResponseValidationError", "ResponseValidationError"}:
        return from_answer(_read(error, status), context, about)
    if name is None:
        return _no_answer(error, context) if isinstance(error, OSError) or _of_transport(error) else None
    if type(error) is ValueError and "supported in" in str(error):
        # The SDK's own check of what a service takes, before anything is sent; any other ValueError may be about the answer.
        return from_answer(Answered(kind="invalid", message=str(error)), context)
    kind = BY_EXCEPTION[name]
    if kind == "no_answer":
        return _no_answer(error, context)
    if kind == "bad_answer":
        return bad_answer(f"{type(error).__name__}")
    return from_answer(Answered(kind=kind, message=str(error)), context)


def _known_name(error: Exception) -> str | None:
    return next((c.__name__ for c in type(error).__mro__ if c.__name__ in BY_EXCEPTION), None)


def _status_of(error: Exception) -> int | None:
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _of_transport(error: Exception) -> bool:
    return any(c.__module__.split(".")[0] in {"aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "anyio"} for c in type(error).__mro__)


def _is_auth_library(error: Exception) -> bool:
    return any(c.__module__.startswith("google.auth") for c in type(error).__mro__)


def _read(error: Exception, status: int) -> Answered:
    """Read an answered rejection of either family."""
    body = getattr(error, "details", None) or getattr(error, "body", None)
    inner = _inner(body)
    message = inner.get("message") or getattr(error, "message", None) or ""
    details = [d for d in inner.get("details") or () if isinstance(d, Mapping)]
    reason = next((str(d["reason"]) for d in details if d.get("reason")), "") or str(inner.get("status") or inner.get("code") or "")
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return Answered(
        kind=_kind(status, reason, str(message), details),
        message=str(message),
        reason=reason,
        status=status,
        retry_after=_retry_after(details, headers),
        request_id=headers.get("x-request-id"),
    )


def _inner(body: object) -> Mapping[str, Any]:
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return {"message": body} if isinstance(body, str) else {}
    inner = body.get("error", body)
    return inner if isinstance(inner, Mapping) else {"message": str(inner)}


def _kind(status: int, reason: str, message: str, details: list[Mapping[str, Any]]) -> Kind:
    if status == 429:
        quotas = " ".join(str(v.get("quotaId", "")) for d in details for v in d.get("violations") or () if isinstance(v, Mapping))
        return "billing" if _SPENT.search(f"{quotas} {message}") else "rate"
    if reason in BY_REASON:
        return BY_REASON[reason]
    if status in {400, 403, 422} and _ABOUT_CONTENT.search(message):
        return "content"
    return BY_STATUS.get(status) or _by_range(status)


def _by_range(status: int) -> Kind:
    if status in {408, 499} or status >= 500:
        return "broken"
    return "invalid" if status >= 400 else "bad_answer"


def _retry_after(details: list[Mapping[str, Any]], headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks to wait: google.rpc.RetryInfo ``"3.5s"``, or the Retry-After header."""
    for detail in details:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)s", str(detail.get("retryDelay", "")))
        if found:
            return float(found[1])
    return retry_after(headers)


def from_answer(answered: Answered, context: Context, about: About = "model") -> MediaError:
    """Return the error for an answered rejection; all but a broken server's are ``refused``."""
    error = _from_answer(answered, context, about)
    if isinstance(error, BackendError):
        error.status = answered.status
    return error


def _from_answer(answered: Answered, context: Context, about: About) -> MediaError:
    said = clean_text(answered.message) or "it gave no reason"
    who = f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"
    known: dict[str, Any] = {"request_id": answered.request_id, "delivery": "refused"}
    if answered.kind == "auth":
        fix = "check the key or the credentials, and what they may use (some models are for paid projects only)"
        return AuthenticationFailed(f"{who} does not accept the credentials for this: {said}", fix=fix, **known)
    if answered.kind == "billing":
        fix = "raise the quota or top up the account; waiting a little does not help"
        return QuotaExceeded(f"the account behind {who} has no quota or money left: {said}", fix=fix, **known)
    if answered.kind == "rate":
        return RateLimited(f"{who} gets too many requests: {said}", retry_after=answered.retry_after, **known)
    if answered.kind == "content":
        fix = "change the prompt or the inputs; the same again will be refused again"
        reason = clean_text(answered.reason, 60) or "safety"
        return ContentRefused(f"the safety system of {who} refused the request: {said}", reason=reason, fix=fix, **known)
    if about == "turn" and _is_lost_turn(answered):
        return UnknownContinuation(
            f"{who} does not know the earlier turn any more: {said}", fix="give the earlier file as an input instead"
        )
    if answered.kind == "missing" and about == "job":
        return JobNotFound(f"{who} does not know the job: {said}", request_id=answered.request_id, retry_after=answered.retry_after)
    if answered.kind == "missing":
        return _missing(context, who, said)
    if answered.kind == "invalid":
        return InvalidRequest([Problem("$", f"{who} refused the request: {said}")])
    if answered.kind == "bad_answer":
        return bad_answer(f"status {answered.status}" if answered.status else said, request_id=answered.request_id)
    # The server broke down after it had the request: whether it did the work is not known.
    return BackendUnavailable(f"{who} failed: {said}", request_id=answered.request_id, retry_after=answered.retry_after)


def _is_lost_turn(answered: Answered) -> bool:
    """Whether a rejection of a request that names an earlier turn is about that turn."""
    if answered.kind == "missing":
        return "models/" not in answered.message
    return answered.kind == "invalid" and re.search(r"previous.?interaction", answered.message, re.IGNORECASE) is not None


def _missing(context: Context, who: str, said: str) -> MediaError:
    life = None if context.row is None else context.row.lifecycle
    if context.service != "compatible" and life is not None and life.retires is not None:
        fix = f"use {life.replacement!r}" if life.replacement else "choose another model"
        return ModelRetired(f"{who} is no longer served (its end was dated {life.retires}): {said}", fix=fix)
    return UnknownModel(f"{who} is not served there: {said}", fix="see which models there are (list_models), and what the key may use")


def _no_answer(error: BaseException, context: Context) -> BackendError:
    name = type(list(causes(error))[-1]).__name__
    return BackendUnavailable(f"no answer came from '{context.backend}' ({name})")


def _no_token(error: Exception, context: Context) -> BackendError:
    """Tokens are fetched before anything is sent."""
    text = f"no access token could be had for '{context.backend}' ({type(error).__name__})"
    if any(c.__name__ == "TransportError" for c in type(error).__mro__):
        return BackendUnavailable(text, delivery="not_sent")
    fix = "set up application default credentials (gcloud auth application-default login), or give a key"
    return AuthenticationFailed(text, fix=fix, delivery="not_sent")
