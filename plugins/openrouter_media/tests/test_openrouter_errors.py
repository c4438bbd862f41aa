"""Each way to fail is its own error, and one submit; the table's entries are found with and without an error_type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiers import quick_first
from wire.http_server import closed_port
from wire.openrouter_server import OpenRouterServer

from anymedia.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    JobNotFound,
    MediaError,
    ModelRetired,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownModel,
)
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]
IN_FLIGHT = {"error_type": "payment_required", "limit_source": "openrouter_in_flight_budget"}
MODERATED = {"reasons": ["violence", "gore"], "flagged_input": "a fight", "provider_name": "Maker", "model_slug": "x"}

#: status, metadata, headers -> error, charged
CASES: list[tuple[int, dict[str, Any], dict[str, str], type[MediaError], str]] = [
    (400, {}, {}, InvalidRequest, "no"),
    (400, {"error_type": "invalid_image"}, {}, InvalidRequest, "no"),
    (400, {"error_type": "content_policy_violation"}, {}, ContentRefused, "no"),
    (400, {"error_type": "refusal"}, {}, ContentRefused, "no"),
    (401, {}, {}, AuthenticationFailed, "no"),
    (402, {}, {}, QuotaExceeded, "no"),
    (402, {"error_type": "payment_required"}, {"retry-after": "5"}, QuotaExceeded, "no"),
    (402, {"limit_source": "key_limit"}, {}, QuotaExceeded, "no"),
    (402, IN_FLIGHT, {"retry-after": "5"}, RateLimited, "no"),
    (402, {"limit_source": "openrouter_in_flight_budget"}, {"retry-after": "5"}, RateLimited, "no"),
    (403, {}, {}, AuthenticationFailed, "no"),
    (403, {"error_type": "permission_denied"}, {}, AuthenticationFailed, "no"),
    (403, MODERATED, {}, ContentRefused, "no"),
    (403, {**MODERATED, "error_type": "permission_denied"}, {}, ContentRefused, "no"),
    (404, {}, {}, UnknownModel, "no"),
    (413, {"error_type": "payload_too_large"}, {}, InvalidRequest, "no"),
    (429, {}, {"retry-after": "7"}, RateLimited, "no"),
    (429, {"error_type": "rate_limit_exceeded"}, {"retry-after": "7"}, RateLimited, "no"),
    (500, {}, {}, SubmissionUnknown, "unknown"),
    (502, {}, {}, BackendUnavailable, "no"),
    (502, {"error_type": "provider_unavailable"}, {}, BackendUnavailable, "no"),
    (503, {"error_type": "provider_overloaded"}, {"retry-after": "3"}, BackendUnavailable, "no"),
    (503, {}, {}, BackendUnavailable, "no"),
    (524, {}, {}, SubmissionUnknown, "unknown"),
    (529, {}, {}, BackendUnavailable, "no"),
]
ASKED = {
    "image": lambda router: router.generate_image(prompt="a boat", model="openrouter/openai/gpt-image-2.5-sunburst"),
    "video": lambda router: router.generate_video(prompt="waves", model="openrouter/google/veo-3.1"),
    "audio": lambda router: router.generate_audio(prompt="Hello.", model="openrouter/openai/gpt-4o-mini-tts-2025-12-15"),
}


async def failure(router: Router, media: str, expected: type[MediaError]) -> MediaError:
    with pytest.raises(expected) as caught:
        await ASKED[media](router)
    assert type(caught.value) is expected
    return caught.value


@pytest.mark.parametrize("media", quick_first(ASKED))
@pytest.mark.parametrize(
    ("status", "metadata", "headers", "expected", "charged"), CASES, ids=lambda v: v.__name__ if isinstance(v, type) else None
)
async def test_each_answered_failure_is_one_submit_and_its_own_error(
    fresh: Router, fake: OpenRouterServer, media: str, status: int, metadata: dict[str, Any], headers: dict[str, str],
    expected: type[MediaError], charged: str,
) -> None:  # fmt: skip
    error = {"code": status, "message": "No, thank you.", **({"metadata": metadata} if metadata else {})}
    fake.fail("status", on="POST", times=None, status=status, json={"error": error, "user_id": "user_2x"}, headers=headers)
    if status == 502 and media != "image":  # that failed generations are not charged is documented for images only
        expected, charged = SubmissionUnknown, "unknown"
    if expected is UnknownModel and media == "audio":  # the shutdown of this model was announced
        expected = ModelRetired
    found = await failure(fresh, media, expected)
    assert found.charged == charged
    assert found.provider_message == "No, thank you."
    assert "No, thank you." in str(found)
    if expected is RateLimited:
        assert getattr(found, "retry_after", None) == float(headers["retry-after"])
    if expected is ContentRefused and metadata.get("reasons"):
        assert getattr(found, "reason", "") == "violence, gore"
    assert fake.count("POST") == 1


@pytest.mark.parametrize("media", ASKED)
@pytest.mark.parametrize(
    ("code", "metadata", "expected"),
    [
        (402, {}, QuotaExceeded),
        (429, {"error_type": "rate_limit_exceeded"}, RateLimited),
        (403, MODERATED, ContentRefused),
        (None, {}, SubmissionUnknown),
    ],
    ids=["402", "429", "403", "no code"],
)
async def test_error_in_an_answer_of_status_200_is_an_error(
    fresh: Router, fake: OpenRouterServer, media: str, code: int | None, metadata: dict[str, Any], expected: type[MediaError]
) -> None:
    error = {
        "message": "Provider returned error",
        **({} if code is None else {"code": code}),
        **({"metadata": metadata} if metadata else {}),
    }
    fake.fail("status", on="POST", times=None, status=200, json={"error": error, "user_id": "user_2x"})
    await failure(fresh, media, expected)
    assert fake.count("POST") == 1


@pytest.mark.parametrize("media", ASKED)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [*((fault, SubmissionUnknown) for fault in ("lost", "drop", "reset", "truncate")), ("garbage", BadBackendResponse)],
)
async def test_answer_that_does_not_come_or_means_nothing_is_not_asked_for_again(
    fresh: Router, fake: OpenRouterServer, media: str, fault: str, expected: type[MediaError]
) -> None:
    fake.fail(fault, on="POST", times=None)
    found = await failure(fresh, media, expected)
    assert found.charged == "unknown"
    assert found.retry is False
    assert fake.count("POST") == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("media", ASKED)
async def test_answer_that_takes_too_long_is_not_asked_for_again(
    new_router: NewRouter, snapshot: None, fake: OpenRouterServer, media: str
) -> None:
    fake.fail("hang", on="POST", times=None)
    async with new_router(options={"timeout": 0.4}) as router:
        await failure(router, media, SubmissionUnknown)
    assert fake.count("POST") == 1


async def test_closed_port_means_not_sent_and_may_be_retried(new_router: NewRouter, snapshot: None) -> None:
    async with new_router(base_url=f"http://127.0.0.1:{closed_port()}/api/v1") as router:
        found = await failure(router, "image", BackendUnavailable)
    assert found.charged == "no"
    assert getattr(found, "delivery", "") == "not_sent"


async def test_retry_is_made_only_after_overload_and_as_the_policy_says(
    new_router: NewRouter, snapshot: None, fake: OpenRouterServer, tmp_path: Path
) -> None:
    busy = {"code": 503, "message": "busy", "metadata": {"error_type": "provider_overloaded"}}
    fake.fail("status", on="POST", times=1, status=503, json={"error": busy}, headers={"retry-after": "0"})
    async with new_router(retries=2) as router:
        result = await router.generate_image(prompt="a boat", backend="openrouter", output=tmp_path / "boat.png")
        assert fake.count("POST") == 2
        assert result.path.read_bytes() == fake.made[-1]
        fake.fail("status", on="POST", times=None, status=500, json={"error": {"code": 500, "message": "oops"}})
        await failure(router, "image", SubmissionUnknown)
    assert fake.count("POST") == 3


async def test_moderation_by_the_service_itself(fresh: Router, fake: OpenRouterServer) -> None:
    with pytest.raises(ContentRefused) as refused:
        await fresh.generate_image(prompt="FORBIDDEN things", backend="openrouter")
    assert refused.value.reason == "violence"
    assert fake.count("POST") == 1


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("body", [{"error": {"code": 404, "message": "Job not found"}}, {}], ids=["in its envelope", "by a gateway"])
async def test_job_the_service_has_not_heard_of_yet_is_checked_again(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, status: int, body: dict[str, Any]
) -> None:
    fake.fail("status", on="GET /api/v1/videos/gen", times=2, status=status, json=body)
    result = await fresh.generate_video(prompt="waves", model="openrouter/google/veo-3.1", output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert fake.count("POST") == 1


async def test_job_the_service_forgot_is_lost_after_a_few_status_checks(fresh: Router, fake: OpenRouterServer) -> None:
    fake.fail("status", on="GET /api/v1/videos/gen", times=None, status=404, json={"error": {"code": 404, "message": "Job not found"}})
    with pytest.raises(JobNotFound, match=r"no longer finds the job 'gen-vid-.*Job not found") as caught:
        await fresh.generate_video(prompt="waves", model="openrouter/google/veo-3.1")
    assert (caught.value.charged, (await fresh.jobs())[0].state) == ("unknown", "lost")
    assert (fake.count("POST"), fake.count("GET /api/v1/videos/gen")) == (1, 7)


async def test_status_check_that_fails_does_not_fail_the_job(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.fail("status", on="GET /api/v1/videos/gen", times=1, status=500, json={"error": {"code": 500, "message": "oops"}})
    fake.fail("drop", on="GET /api/v1/videos/gen", times=1)
    fake.fail("garbage", on="GET /api/v1/videos/gen", times=1)
    result = await fresh.generate_video(prompt="waves", model="openrouter/google/veo-3.1", output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert fake.count("POST") == 1
