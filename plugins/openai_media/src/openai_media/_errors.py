"""One table: what was answered, or not, and which of our errors that is.

An answered rejection is judged by its ``code`` first: moderation, a wrong value and a model that is gone share a type and
a status, billing and a rate limit share a status (429). Source of the codes: the API's error guide and reference, and
recorded answers. What the delivery of a lost answer was is left to the chain of causes.
"""

from __future__ import annotations

import contextlib
import email.utils
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from anymedia.context import Context
from anymedia.delivery import causes
from anymedia.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    ContentRefused,
    Delivery,
    InvalidRequest,
    JobNotFound,
    MediaError,
    ModelRetired,
    Problem,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownContinuation,
    UnknownModel,
)
from anymedia.redaction import clean_text

from ._answers import bad_answer

if TYPE_CHECKING:
    import openai

__all__ = ["BY_CODE", "BY_EXCEPTION", "About", "Answered", "from_answer", "translated"]

#: What a call names: nothing that could be missing but the model, or a job that was taken before.
About = Literal["request", "job"]
Kind = Literal[
    "auth", "billing", "rate", "overload", "content", "model", "invalid", "missing", "forgotten", "broken", "no_answer", "bad_answer"
]

#: The provider's ``code`` (or, where it gives none, its ``type``) -> kind.
BY_CODE: Mapping[str, Kind] = {
    "moderation_blocked": "content",
    "content_policy_violation": "content",
    "content_filter": "content",
    "insufficient_quota": "billing",
    "credit_balance_exhausted": "billing",
    "organization_usage_limit_exceeded": "billing",
    "organization_spend_limit_exceeded": "billing",
    "project_spend_limit_exceeded": "billing",
    "billing_hard_limit_reached": "billing",
    "billing_not_active": "billing",
    "rate_limit_exceeded": "rate",
    "slow_down": "rate",
    "server_is_overloaded": "overload",
    "invalid_api_key": "auth",
    "model_not_found": "model",
    "previous_response_not_found": "forgotten",
}

#: The SDK's public exception classes -> kind, where no code says more.
BY_EXCEPTION: Mapping[str, Kind] = {
    "OpenAIError": "no_answer",
    "APIError": "no_answer",
    "APIConnectionError": "no_answer",
    "APITimeoutError": "no_answer",
    "APIResponseValidationError": "bad_answer",
    "APIStatusError": "broken",
    "BadRequestError": "invalid",
    "AuthenticationError": "auth",
    "OAuthError": "auth",
    "PermissionDeniedError": "auth",
    "NotFoundError": "missing",
    "ConflictError": "invalid",
    "UnprocessableEntityError": "invalid",
    "RateLimitError": "rate",
    "InternalServerError": "broken",
    "LengthFinishReasonError": "bad_answer",
    "ContentFilterFinishReasonError": "content",
    "InvalidWebhookSignatureError": "bad_answer",
    "WebSocketConnectionClosedError": "no_answer",
    "WebSocketQueueFullError": "no_answer",
}
#: Statuses that have no exception class of their own.
_BY_STATUS: Mapping[int, Kind] = {402: "billing", 405: "missing", 410: "missing", 413: "invalid", 415: "invalid", 529: "overload"}


@attrs.frozen(kw_only=True)
class Answered:
    """An error as the provider gave it, in a status or inside an answered object."""

    kind: Kind
    message: str = ""
    code: str | None = None
    param: str | None = None
    moderation: Mapping[str, Any] | None = None
    request_id: str | None = None
    retry_after: float | None = None


@contextlib.contextmanager
def translated(context: Context, about: About = "request") -> Iterator[None]:
    """Turn whatever the SDK and its transport raise into our errors; belongs inside ``context.submission()``."""
    import aiohttp
    import httpx2
    import openai

    try:
        yield
    except openai.OpenAIError as error:
        raise _from_sdk(error, context, about) from error
    except (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError) as error:  # not all of aiohttp's are mapped by the SDK
        raise _no_answer(error, context) from error


def _from_sdk(error: openai.OpenAIError, context: Context, about: About) -> MediaError:
    code, kind_of_error = getattr(error, "code", None), getattr(error, "type", None)
    status = getattr(error, "status_code", None)
    by_name: Kind = next((BY_EXCEPTION[c.__name__] for c in type(error).__mro__ if c.__name__ in BY_EXCEPTION), "no_answer")
    kind = BY_CODE.get(code or "") or BY_CODE.get(kind_of_error or "") or _BY_STATUS.get(status or 0) or by_name
    if kind == "no_answer":
        return _no_answer(error, context)
    if kind == "invalid" and getattr(error, "param", None) == "model":
        kind = "model"
    if about == "job" and (status == 404 or _BY_STATUS.get(status or 0) == "missing"):  # whatever its code
        kind = "missing"
    body = getattr(error, "body", None)
    answered = Answered(
        kind=kind,
        message=getattr(error, "message", "") or str(error),
        code=code,
        param=getattr(error, "param", None),
        moderation=body.get("moderation_details") if isinstance(body, dict) else None,
        request_id=getattr(error, "request_id", None),
        retry_after=_retry_after(getattr(getattr(error, "response", None), "headers", {})),
    )
    return from_answer(answered, context, about)


def from_answer(answered: Answered, context: Context, about: About = "request") -> MediaError:
    """Return the error for an answered rejection; all but a broken server are ``refused``."""
    said = clean_text(answered.message) or "it gave no reason"
    who = f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"
    if about == "job" and answered.kind == "missing":
        return JobNotFound(f"{who} does not know the job: {said}", request_id=answered.request_id, retry_after=answered.retry_after)
    known: dict[str, Any] = {"request_id": answered.request_id, "delivery": "refused"}
    if answered.kind == "auth":
        fix = "check the key and what it may do (image models may need a verified organization)"
        return AuthenticationFailed(f"{who} does not accept the key for this: {said}", fix=fix, **known)
    if answered.kind == "billing":
        fix = "top up the account or raise its limit; waiting does not help"
        return QuotaExceeded(f"the account behind {who} has no money or quota left: {said}", fix=fix, **known)
    if answered.kind == "rate":
        return RateLimited(f"{who} gets too many requests: {said}", retry_after=answered.retry_after, **known)
    if answered.kind == "overload":
        return BackendUnavailable(f"{who} is overloaded: {said}", retry_after=answered.retry_after, **known)
    if answered.kind == "content":
        return _refused(answered, who, said, known)
    if answered.kind == "model":
        return _no_model(context, who, said)
    if answered.kind == "forgotten":
        return UnknownContinuation(
            f"{who} does not know the earlier turn any more: {said}", fix="give the earlier image as an input instead"
        )
    if answered.kind == "bad_answer":
        return bad_answer(said)
    if answered.kind in {"invalid", "missing"}:
        tail = f" (request {answered.request_id})" if answered.request_id else ""
        where = "$" if not answered.param else f"$.{clean_text(answered.param, 60)}"
        return InvalidRequest([Problem(where, f"{who} refused the request: {said}{tail}")])
    # The server broke down after it had the request: whether it did the work is not known.
    delivery: Delivery | None = None
    return BackendUnavailable(f"{who} failed: {said}", **known | {"delivery": delivery, "retry_after": answered.retry_after})


def _refused(answered: Answered, who: str, said: str, known: Mapping[str, Any]) -> ContentRefused:
    details = answered.moderation or {}
    categories = [clean_text(c, 60) for c in details.get("categories", ()) if isinstance(c, str)]
    stage = details.get("moderation_stage")
    about = {"input": "the prompt or an input", "output": "the picture that was made"}.get(stage or "", "the request")
    reason = ", ".join(categories) or clean_text(answered.code or "moderation", 60)
    fix = "change the prompt or the inputs; the same again will be refused again"
    return ContentRefused(f"the safety system of {who} refused {about} ({reason}): {said}", reason=reason, fix=fix, **known)


def _no_model(context: Context, who: str, said: str) -> MediaError:
    life = None if context.row is None else context.row.lifecycle
    instead = life.replacement if life else None
    if context.service != "compatible" and life is not None and life.retires is not None:
        fix = f"use {instead!r}" if instead else "choose another model"
        return ModelRetired(f"{who} is no longer served (its end was dated {life.retires}): {said}", fix=fix)
    fix = "see which models there are (list_models), and what the key may use"
    return UnknownModel(f"{who} is not served there: {said}", fix=fix)


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


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks to wait: ``retry-after-ms``, or ``Retry-After`` as seconds or as a date."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) * scale)
    with contextlib.suppress(KeyError, ValueError, TypeError):
        until = email.utils.parsedate_to_datetime(headers["retry-after"])
        now = email.utils.parsedate_to_datetime(headers["date"])
        return max(0.0, (until - now).total_seconds())
    return None
