"""What gRPC statuses and this provider's sentences mean. Answered errors are read by `anymedia.http.answered_error`.

The status of an answer says little: an empty account, a refused prompt and a wrong key have overlapping statuses
(``PERMISSION_DENIED`` for all three, ``INVALID_ARGUMENT`` for two), so the message is read first. The sentences are those of the
documentation and of answers that users have published. A status that the channel itself sets when an answer did not arrive
(``UNAVAILABLE``, ``DEADLINE_EXCEEDED``, ``INTERNAL`` ...) says nothing about the delivery: it is unknown.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from anymedia.context import Context
from anymedia.errors import AnswerTooLarge, MediaError
from anymedia.http import answered_error, bad_answer, transport_errors

from ._client import MESSAGE_BYTES

if TYPE_CHECKING:
    from anymedia.answers.errors import ErrorKind

__all__ = ["BY_STATUS", "About", "kind_of", "translated"]

#: What a call is about: a request, or a job that was accepted before.
About = Literal["request", "job"]

#: gRPC status of a rejection -> the HTTP status that means the same. All others are of unknown delivery.
BY_STATUS: Mapping[str, int] = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "ALREADY_EXISTS": 409,
    "UNIMPLEMENTED": 400,
}

#: What the message of a rejection says -> kind; the first match counts.
_MESSAGES: tuple[tuple[re.Pattern[str], ErrorKind], ...] = (
    (re.compile(r"usage guidelines|safety.?check|moderat|content policy|violates", re.IGNORECASE), "content"),
    (re.compile(r"rate limit|too many requests|requests per|per (?:minute|second)", re.IGNORECASE), "rate"),
    (re.compile(r"\bcredits?\b|spending limit|billing|prepaid|quota|subscription", re.IGNORECASE), "billing"),
    (re.compile(r"api.?key|invalid authentication|unauthenticated|bearer", re.IGNORECASE), "auth"),
    (re.compile(r"\bmodel\b.*(?:not found|does not exist|not exist|no longer|retired|deprecated)", re.IGNORECASE), "model"),
)


def kind_of(message: str, status: int | None = None) -> ErrorKind | None:
    """Return what a rejection is about by its message, or None where the status decides.

    Args:
        message: the provider's message.
        status: of the answer; the message of a server that broke down is not read: a key that it mentions proves nothing.
    """
    if status is not None and not 400 <= status < 500:
        return None
    return next((kind for pattern, kind in _MESSAGES if pattern.search(message)), "invalid" if status == 404 else None)


@contextlib.contextmanager
def translated(context: Context, about: About = "request") -> Iterator[None]:
    """Turn what gRPC and the HTTP client raise into our errors; around a submit it belongs inside ``context.submission()``."""
    import aiohttp
    import grpc

    with transport_errors(context):
        try:
            yield
        except grpc.RpcError as error:
            raise _answered(error, context, about) from None  # the cause would show the request's metadata and address
        except aiohttp.ClientPayloadError as error:
            raise bad_answer(f"it broke off ({type(error).__name__})") from error


def _answered(error: Any, context: Context, about: About) -> MediaError:
    name, message = str(error.code().name), str(error.details() or "")
    status = BY_STATUS.get(name)
    kind: ErrorKind | None
    if name == "RESOURCE_EXHAUSTED" and "message larger than max" in message:
        # The channel's own message: something was too large for it, on the way to the service or on the way back.
        if "ent message" not in message:
            return AnswerTooLarge(f"the provider's answer is longer than {MESSAGE_BYTES // 2**20} MiB", delivery="unknown")
        status, kind = 400, "invalid"
    elif about == "job" and name == "UNIMPLEMENTED":  # the channel's own status for a 404 outside gRPC: a proxy's
        status, kind = None, "broken"
    elif about == "job" and name == "NOT_FOUND":  # whatever the message: a status check names nothing but the job
        kind = "model"
    elif status is not None:
        kind = kind_of(message, status)
    else:
        kind = "broken"
    metadata = _metadata(error)
    body = {"error": {"message": message or name}}
    request_id = metadata.get("x-request-id")
    return answered_error(
        context,
        body,
        status=status,
        kind=kind,
        request_id=request_id,
        wait=_retry_after(metadata),
        about=about,
    )


def _metadata(error: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pairs in (error.initial_metadata(), error.trailing_metadata()):
        found |= {str(key).lower(): value for key, value in pairs or ()}
    return found


def _retry_after(metadata: Mapping[str, Any]) -> float | None:
    """Return the seconds that the provider asks to wait: ``retry-after``, a pushback, or a RetryInfo among the details."""
    for name, scale in (("retry-after-ms", 0.001), ("grpc-retry-pushback-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError, TypeError):
            seconds = float(metadata[name]) * scale
            return seconds if 0 <= seconds < math.inf else None
    details = metadata.get("grpc-status-details-bin")
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
