"""Whatever fails, one submit: on classic and on interactions calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tiers import quick_first
from wire.google_server import KEY, GoogleServer
from wire.http_server import closed_port

from anymedia.context import Context
from anymedia.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    MediaError,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownModel,
)
from anymedia.requests import GenerateAudio, GenerateImage, GenerateVideo
from google_media import plugin

pytestmark = pytest.mark.anyio
_SECONDS = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
_DAILY = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}


def body(code: int, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": "X", "details": list(details)}}


#: Failure -> (what the server does, our error, its delivery). None: what an answered request gives without one.
FAILURES: dict[str, tuple[dict[str, Any], type[MediaError], str | None]] = {
    "unauthorized 400": ({"status": 400, "json": body(400, "No.", {"reason": "API_KEY_INVALID"})}, AuthenticationFailed, "refused"),
    "unauthorized 401": ({"status": 401, "json": body(401, "No.")}, AuthenticationFailed, "refused"),
    "forbidden": ({"status": 403, "json": body(403, "No.")}, AuthenticationFailed, "refused"),
    "no money": ({"status": 402, "json": body(402, "No.")}, QuotaExceeded, "refused"),
    "billing": ({"status": 403, "json": body(403, "No.", {"reason": "BILLING_DISABLED"})}, QuotaExceeded, "refused"),
    "rate": ({"status": 429, "json": body(429, "Slow down.", _SECONDS)}, RateLimited, "refused"),
    "quota": ({"status": 429, "json": body(429, "You exceeded your current quota.", _DAILY, _SECONDS)}, QuotaExceeded, "refused"),
    "content": ({"status": 400, "json": body(400, "It violates our usage guidelines.")}, ContentRefused, "refused"),
    "invalid": ({"status": 400, "json": body(400, "Wrong field.")}, InvalidRequest, None),
    "gone": ({"status": 404, "json": body(404, "models/x is not found.")}, UnknownModel, None),
    "conflict": ({"status": 409, "json": body(409, "Aborted.")}, InvalidRequest, None),
    "timeout": ({"status": 408, "json": body(408, "Too slow.")}, BackendUnavailable, "unknown"),
    "broken 500": ({"status": 500, "json": body(500, "Internal.")}, BackendUnavailable, "refused"),
    "broken 502": ({"status": 502, "json": {}}, BackendUnavailable, "unknown"),
    "overloaded": ({"status": 503, "json": body(503, "Overloaded.", _SECONDS)}, BackendUnavailable, "unknown"),
    "too late": ({"status": 504, "json": body(504, "Deadline.")}, BackendUnavailable, "unknown"),
    "redirect": ({"status": 307, "json": {}, "headers": {"location": "/elsewhere"}}, BadBackendResponse, "refused"),
}
BREAKS: dict[str, tuple[dict[str, Any], type[MediaError]]] = {
    "dropped": ({"kind": "drop"}, SubmissionUnknown),
    "reset": ({"kind": "reset"}, SubmissionUnknown),
    "lost": ({"kind": "lost"}, SubmissionUnknown),
    "hanging": ({"kind": "hang"}, SubmissionUnknown),
    "garbage": ({"kind": "garbage"}, BadBackendResponse),
    "truncated": ({"kind": "truncate", "keep": 20}, MediaError),
}
#: A call of each family: which hook, which model.
CALLS = {
    "classic": ("generate_audio", "gemini-3.8-flash-tts", GenerateAudio(prompt="hello")),
    "interactions": ("generate_image", "gemini-nano-banana-2.1", GenerateImage(prompt="a fox")),
    "background": ("generate_video", "gemini-omni-1.2-flash", GenerateVideo(prompt="waves")),
}


async def call(family: str, make_context: Any, **settings: Any) -> MediaError:
    hook, model, asked = CALLS[family]
    context = make_context(model, hook, **settings)
    with pytest.raises(MediaError) as caught:
        await getattr(plugin, hook)(asked, context)
    assert context.submissions == 1
    return caught.value


@pytest.mark.parametrize("family", quick_first(CALLS))
@pytest.mark.parametrize("failure", FAILURES)
async def test_answered_failure_is_one_submit_and_its_own_error(fake: GoogleServer, make_context: Any, family: str, failure: str) -> None:
    what, expected, delivery = FAILURES[failure]
    fake.fail("status", on="POST", times=None, **what)
    error = await call(family, make_context)
    assert type(error) is expected, error
    assert fake.submits() == len(fake.received) == 1
    if isinstance(error, BackendError):
        assert error.delivery == delivery
    if failure in {"rate", "overloaded"}:
        assert getattr(error, "retry_after", None) == 3.5
    assert KEY not in f"{error} {error!r} {error.to_json()}"


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("failure", [pytest.param(f, marks=[pytest.mark.exhaustive] if f == "hanging" else []) for f in BREAKS])
async def test_broken_exchange_is_one_submit_of_unknown_outcome(fake: GoogleServer, make_context: Any, family: str, failure: str) -> None:
    what, expected = BREAKS[failure]
    fake.fail(on="POST", times=None, **what)
    error = await call(family, make_context, timeout=1.0 if failure == "hanging" else 30.0)
    assert isinstance(error, expected), error
    assert isinstance(error, BackendError)
    assert error.delivery == "unknown"
    await asyncio.sleep(0.2)
    assert fake.submits() == len(fake.received) == 1


@pytest.mark.parametrize("family", CALLS)
async def test_refused_connection_was_not_sent(make_context: Any, family: str) -> None:
    error = await call(family, make_context, base_url=f"http://127.0.0.1:{closed_port()}")
    assert isinstance(error, BackendUnavailable)
    assert error.delivery == "not_sent"


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("status", quick_first([307, 301, 302, 303, 308]))
async def test_redirect_is_not_followed_with_the_key_and_the_prompt(
    fake: GoogleServer, make_context: Any, family: str, status: int
) -> None:
    with GoogleServer() as thief:
        fake.fail("status", on="POST", times=None, status=status, json={}, headers={"location": f"{thief.url}/taken"})
        await call(family, make_context)
        assert thief.received == []
    assert len(fake.received) == 1


@pytest.mark.parametrize("family", CALLS)
async def test_cancelled_call_passes_the_cancellation_on_and_sends_no_more(fake: GoogleServer, make_context: Any, family: str) -> None:
    fake.fail("hang", on="POST", times=None)
    hook, model, asked = CALLS[family]
    task = asyncio.create_task(getattr(plugin, hook)(asked, make_context(model, hook)))
    while not fake.received:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.submits() == 1


@pytest.mark.filterwarnings("ignore:.*automatic_continuation:UserWarning")
async def test_turn_that_could_be_continued_is_not_sent_on(fake: GoogleServer, make_context: Any) -> None:
    """The SDK by itself would post again, each hop billed, when an answer stops at the decoding limit."""
    reply = {"id": "v1_a", "status": "requires_continuation", "continuation_token": "more", "model": "m", "steps": []}
    fake.fail("status", on="POST", times=None, status=200, json=reply)
    error = await call("interactions", make_context)
    assert "requires_continuation" in str(error)
    assert fake.submits() == 1


async def test_spoken_answer_that_could_be_continued_is_not_sent_on(fake: GoogleServer, make_context: Any) -> None:
    part = {"text": "..."}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "CONTINUATION", "continuationToken": "bW9yZQ=="}
    fake.fail("status", on="POST", times=None, status=200, json={"candidates": [candidate]})
    await call("classic", make_context)
    assert fake.submits() == 1


async def test_failed_status_check_sends_one_request_and_is_reported(fake: GoogleServer, make_context: Any) -> None:
    from anymedia.results import Job

    job = Job(id="v1_int_0001", data={"kind": "interaction"})
    context: Context = make_context("gemini-omni-1.2-flash", "generate_video")
    fake.fail("status", on="GET", times=None, status=503, json=body(503, "busy"))
    with pytest.raises(BackendUnavailable):
        await plugin.check_job(job, context)
    assert len(fake.received) == 1
