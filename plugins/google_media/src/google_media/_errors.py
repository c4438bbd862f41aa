"""What the SDK's exceptions mean. Answered errors are read by `anymedia.http.answered_error`; only our own codes stand here.

google-genai has two exception families without a common base: ``google.genai.errors`` (with ``code``) for the classic calls,
``_gaos.lib.compat_errors`` (with ``status_code``) for interactions. Both are read alike.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from anymedia.answers.envelopes import AnsweredError, read_error
from anymedia.context import Context
from anymedia.errors import AuthenticationFailed, BackendError, BackendUnavailable, MediaError
from anymedia.http import answered_error, bad_answer, no_answer

if TYPE_CHECKING:
    from anymedia.answers.errors import ErrorKind

__all__ = ["BY_CODE", "BY_EXCEPTION", "About", "bad_answer", "translated"]

#: What a request names that may be missing: a model; an earlier turn; a job.
About = Literal["model", "turn", "job"]
_Meaning = Literal["no_answer", "bad_answer", "auth"]

#: ``reason`` of a google.rpc.ErrorInfo in the details -> kind, where `anymedia.answers` does not know it.
BY_CODE: Mapping[str, ErrorKind] = {
    "API_KEY_SERVICE_BLOCKED": "auth",
    "SERVICE_DISABLED": "auth",
    "CONSUMER_SUSPENDED": "auth",
}

#: Exception classes without a status -> what they mean. A test enumerates every exception of the SDK.
BY_EXCEPTION: Mapping[str, _Meaning] = {
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

#: Messages of a 400 that is about content (Imagen and Veo give no reason code).
_ABOUT_CONTENT = re.compile(r"safety|responsible ai|usage guidelines|prohibited|sensitive words|content polic|blocked by", re.IGNORECASE)
#: Messages and quota names of a 429 that a short wait does not resolve.
_SPENT = re.compile(r"PerDay|per day|prepay|credits? (?:are|is) depleted|spending cap|spend limit|limit: 0\b", re.IGNORECASE)


@contextlib.contextmanager
def translated(context: Context, about: About = "model") -> Iterator[None]:
    """Turn the exceptions of the SDK, its transports and its credentials into ours; belongs inside ``context.submission()``."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        found = _translate(error, context, about)
        if found is None:
            raise
        raise found from error


def _translate(error: Exception, context: Context, about: About) -> MediaError | None:
    name = _known_name(error)
    if (body := getattr(error, "body_of_200", None)) is not None:
        return answered_error(context, read_error(body), status=200, by_code=BY_CODE)
    if _is_auth_library(error):
        return _no_token(error, context)
    if _of_transport(error):
        return no_answer(context, error)
    status = _status_of(error)
    if status is not None and name not in {"APIResponseValidationError", "ResponseValidationError"}:
        return _answered(error, status, context, about)
    if name is None:
        return no_answer(context, error) if isinstance(error, OSError) else None
    if type(error) is ValueError and "supported in" in str(error):
        # The SDK's own check of what a service takes, before anything is sent; any other ValueError may be about the answer.
        return answered_error(context, {"message": str(error)}, status=400, kind="invalid")
    meaning = BY_EXCEPTION[name]
    if meaning == "no_answer":
        return no_answer(context, error)
    if meaning == "bad_answer":
        return bad_answer(type(error).__name__)
    return answered_error(context, {"message": str(error)}, kind=meaning)


def _known_name(error: Exception) -> str | None:
    return next((c.__name__ for c in type(error).__mro__ if c.__name__ in BY_EXCEPTION), None)


def _status_of(error: Exception) -> int | None:
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _of_transport(error: Exception) -> bool:
    return any(c.__module__.split(".")[0] in {"aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "anyio"} for c in type(error).__mro__)


def _is_auth_library(error: Exception) -> bool:
    return any(c.__module__.startswith("google.auth") for c in type(error).__mro__)


def _answered(error: Exception, status: int, context: Context, about: About) -> MediaError:
    """Read an answered error of either family."""
    body = _body(error)
    found = read_error(body)
    details = _details(body)
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    kind = _kind(status, found, details)
    if about == "turn" and _is_lost_turn(status, found):
        kind = "turn"
    return answered_error(
        context,
        found,
        status=status,
        headers=headers,
        by_code=BY_CODE,
        kind=kind,
        request_id=headers.get("x-request-id"),
        wait=_wait(details),
        about="job" if about == "job" else "request",
    )


def _body(error: Exception) -> Any:
    """Return the body of an answered error: as JSON, or as text where it is not JSON, which the SDK would wrap into an object."""
    text = getattr(getattr(error, "response", None), "text", None)
    if isinstance(text, str):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return getattr(error, "details", None) or getattr(error, "body", None) or {"message": str(getattr(error, "message", None) or "")}


def _details(body: object) -> list[Mapping[str, Any]]:
    if isinstance(body, list) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else {}
    found = inner.get("details") if isinstance(inner, Mapping) else None
    return [detail for detail in found if isinstance(detail, Mapping)] if isinstance(found, list) else []


def _kind(status: int, found: AnsweredError, details: list[Mapping[str, Any]]) -> ErrorKind | None:
    """Return what an error is about where Google's own messages say it; else None."""
    if status == 429:
        quotas = " ".join(str(v.get("quotaId", "")) for d in details for v in _violations(d))
        return "billing" if _SPENT.search(f"{quotas} {found.text}") else "rate"
    if any(detail.get("reason") for detail in details):
        return None
    return "content" if status in {400, 403, 422} and _ABOUT_CONTENT.search(found.text) else None


def _violations(detail: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = detail.get("violations")
    return [violation for violation in found if isinstance(violation, Mapping)] if isinstance(found, list) else []


def _is_lost_turn(status: int, found: AnsweredError) -> bool:
    """Whether the rejection of a request that names an earlier turn is about that turn."""
    if status in {404, 405, 410}:
        return "models/" not in found.text
    return status == 400 and re.search(r"previous.?interaction", found.text, re.IGNORECASE) is not None


def _wait(details: list[Mapping[str, Any]]) -> float | None:
    """Return the seconds in a google.rpc.RetryInfo (``"3.5s"``)."""
    found = [re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)s", str(detail.get("retryDelay", ""))) for detail in details]
    return next((float(match[1]) for match in found if match is not None), None)


def _no_token(error: Exception, context: Context) -> BackendError:
    """Return the error for a failure to fetch an access token, which happens before anything is sent."""
    text = f"no access token could be obtained for '{context.backend}' ({type(error).__name__})"
    if any(c.__name__ == "TransportError" for c in type(error).__mro__):
        return BackendUnavailable(text, delivery="not_sent")
    fix = "set up application default credentials (gcloud auth application-default login), or give a key"
    return AuthenticationFailed(text, fix=fix, delivery="not_sent")
