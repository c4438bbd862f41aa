"""One table: what was answered, or not, and which of our errors that is.

``error.code`` is the HTTP status as a number, so ``metadata.error_type`` is looked at first, then metadata that only one
case has, then the number. Source: the API's error guide; that the media endpoints give an error_type is not documented, so
each kind is also found without it.
"""

from __future__ import annotations

import contextlib
import email.utils
from collections.abc import Iterator, Mapping
from typing import Any, Literal

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
    Problem,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownModel,
)
from anymedia.redaction import clean_text

from ._answers import bad_answer, decode_json
from ._client import Answer, TooLong

__all__ = ["BY_STATUS", "BY_TYPE", "About", "refuse_errors", "rejected", "translated"]

#: What a call names that may be missing: a model, or a job that was taken before.
About = Literal["model", "job"]
Kind = Literal["auth", "billing", "rate", "overload", "provider", "content", "missing", "gone", "invalid", "redirect", "broken"]

#: ``metadata.error_type`` -> kind.
BY_TYPE: Mapping[str, Kind] = {
    "authentication": "auth",
    "authentication_error": "auth",
    "permission_denied": "auth",
    "payment_required": "billing",
    "rate_limit_exceeded": "rate",
    "provider_overloaded": "overload",
    "provider_unavailable": "provider",
    "content_policy_violation": "content",
    "refusal": "content",
    "not_found": "missing",
    "invalid_request": "invalid",
    "invalid_image": "invalid",
    "payload_too_large": "invalid",
}
#: Status, or the number in the body -> kind. What is missing here is broken from 500 up (502: the maker behind it failed), else invalid.
BY_STATUS: Mapping[int, Kind] = {
    400: "invalid",
    401: "auth",
    402: "billing",
    403: "auth",
    404: "missing",
    408: "broken",
    410: "gone",
    413: "invalid",
    422: "invalid",
    429: "rate",
    503: "overload",
    529: "overload",
}
#: A 402 of this source passes by itself: as much as the account has is in flight just now.
_IN_FLIGHT = "openrouter_in_flight_budget"


@contextlib.contextmanager
def translated(context: Context) -> Iterator[None]:
    """Turn whatever the transport raises into our errors; belongs inside ``context.submission()``."""
    import aiohttp

    try:
        yield
    except TooLong as error:
        raise bad_answer("it has no end") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: headers that are none
        raise _no_answer(error, context) from error


def _no_answer(error: BaseException, context: Context) -> BackendError:
    """Return the error for an answer that did not come; nothing was sent when the connection was never made."""
    import aiohttp

    never = any(isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for cause in causes(error))
    name = type(list(causes(error))[-1]).__name__
    if never:
        return BackendUnavailable(f"'{context.backend}' could not be reached ({name})", delivery="not_sent")
    if context.submissions:
        return SubmissionUnknown(f"no answer came back from '{context.backend}' ({name})")
    return BackendUnavailable(f"'{context.backend}' gave no answer ({name})")


def refuse_errors(answer: Answer, context: Context, about: About = "model") -> None:
    """Raise for an answer that is an error: by its status; one of status 200 is looked at by whoever decodes it.

    Raises:
        MediaError: by the table.
    """
    if 200 <= answer.status < 300:
        return
    try:
        raw = decode_json(answer.body)
    except BadBackendResponse:
        raw = {}
    body = raw.get("error")
    raise rejected(body if isinstance(body, dict) else {"message": body}, answer, context, about)


def rejected(error: Mapping[str, Any], answer: Answer, context: Context, about: About = "model") -> MediaError:
    """Return our error for the ``error`` object of an answer."""
    metadata = error.get("metadata")
    told: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    code = error.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else answer.status
    kind = _kind(told, number if number >= 300 else 500)
    said = clean_text(error.get("message") or f"HTTP {answer.status}, without a reason")
    found = _error(kind, said, told, answer, context)
    if about == "job" and kind in {"missing", "gone"}:
        found = JobNotFound(f"'{context.backend}' does not know the job: {said}", retry_after=_retry_after(answer.headers))
    if isinstance(found, BackendError):
        found.status, found.request_id = number, answer.generation
    return found


def _kind(told: Mapping[str, Any], number: int) -> Kind:
    typed = BY_TYPE.get(str(told.get("error_type")))
    if (typed in {None, "billing"}) and number == 402 and told.get("limit_source") == _IN_FLIGHT:
        return "rate"
    if typed is not None and not (typed == "auth" and "reasons" in told):
        return typed
    if number in {400, 403} and ("reasons" in told or "flagged_input" in told):
        return "content"
    if 300 <= number < 400:
        return "redirect"
    return BY_STATUS.get(number, "broken" if number >= 500 else "invalid")


def _error(kind: Kind, said: str, told: Mapping[str, Any], answer: Answer, context: Context) -> MediaError:
    who = f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"
    wait = _retry_after(answer.headers)
    if kind == "auth":
        fix = "check the key and what it may do"
        return AuthenticationFailed(f"{who} does not accept the key for this: {said}", fix=fix, delivery="refused")
    if kind == "billing":
        fix = "add credits to the account or raise the key's limit; waiting does not help"
        return QuotaExceeded(f"the account behind {who} has no credits left for this: {said}", fix=fix, delivery="refused")
    if kind == "rate":
        return RateLimited(f"{who} gets too many requests: {said}", retry_after=wait, delivery="refused")
    if kind == "overload":
        return BackendUnavailable(f"{who} is overloaded: {said}", retry_after=wait, delivery="refused")
    if kind == "content":
        return _refused(who, said, told)
    if kind in {"missing", "gone"}:
        fix = "see what there is now with: anymedia models --refresh " + context.backend
        return UnknownModel(f"{who} is not served, or not like this: {said}", fix=fix)
    if kind == "invalid":
        return InvalidRequest([Problem("$", f"{who} refused the request: {said}")])
    if kind == "redirect":
        fix = "check base_url; neither the request nor the key was sent on"
        return BadBackendResponse(f"the address of '{context.backend}' leads elsewhere: {said}", fix=fix, delivery="refused")
    # The server, or the maker's own service behind it, broke down after it had the request: whether it did the work is not known.
    return BackendUnavailable(f"{who} failed: {said}", retry_after=wait)


def _refused(who: str, said: str, told: Mapping[str, Any]) -> ContentRefused:
    reasons = told.get("reasons")
    words = [clean_text(r, 60) for r in reasons if isinstance(r, str)] if isinstance(reasons, list) else []
    reason = ", ".join(words) or clean_text(told.get("error_type") or "moderation", 60)
    fix = "change the prompt or the inputs, or use another model; the same again will be refused again"
    return ContentRefused(f"the safety system of {who} refused the request ({reason}): {said}", reason=reason, fix=fix, delivery="refused")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds the service asks to wait: ``Retry-After`` as seconds or as a date."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(headers["retry-after"]))
    with contextlib.suppress(KeyError, ValueError, TypeError):
        until = email.utils.parsedate_to_datetime(headers["retry-after"])
        now = email.utils.parsedate_to_datetime(headers["date"])
        return max(0.0, (until - now).total_seconds())
    return None
