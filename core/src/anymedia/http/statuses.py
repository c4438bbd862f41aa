"""What an answer means: the error of a status, and that of a no which came with 200."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

from ..errors import (
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
from ..redaction import clean_text

__all__ = ["ErrorTable", "raise_for_status", "refusal", "retry_after"]

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
