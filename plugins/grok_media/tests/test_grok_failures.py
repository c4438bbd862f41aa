"""Failures through the real SDK over real sockets: each has its own error, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire.grok_server import SUBMITS, GrokServer
from wire.http_server import closed_port

from anymedia.errors import (
    AnswerTooLarge,
    AuthenticationFailed,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    MediaError,
    NoBackendAvailable,
    QuotaExceeded,
    RateLimited,
    SettingsError,
    SubmissionUnknown,
    UnknownModel,
)
from anymedia.plugins.registry import discover
from anymedia.policy import Policy
from anymedia.requests import GenerateAudio, GenerateImage, GenerateVideo
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]
_ANY = "GenerateImage|GenerateVideo|ExtendVideo"
REQUESTS: list[GenerateImage | GenerateVideo] = [GenerateImage(prompt="a fox"), GenerateVideo(prompt="waves", duration=1)]
CREDITS = "Your team 16f2151a has either used all available credits or reached its monthly spending limit."


async def failed(router: Router, request: Any, tmp_path: Path) -> MediaError:
    with pytest.raises(MediaError) as caught:
        await router.execute(request, backend="grok", output=f"{tmp_path}/")
    return caught.value


@pytest.mark.parametrize("request_", REQUESTS, ids=["image", "video"])
@pytest.mark.parametrize("kind", ["status", "late_status"])
@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "ABORTED", "DATA_LOSS", "CANCELLED"])
async def test_status_that_tells_nothing_of_the_delivery_is_an_unknown_outcome_after_one_submit(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, code: str, kind: Any, request_: Any
) -> None:
    fake.fail(kind, on=_ANY, times=None, code=code, details="upstream connect error")
    async with new_router(retries=3) as router:
        error = await failed(router, request_, tmp_path)
    assert isinstance(error, SubmissionUnknown)
    assert error.charged == "unknown"
    assert "upstream connect error" in error.message
    assert fake.count(*SUBMITS) == 1


@pytest.mark.parametrize("request_", REQUESTS, ids=["image", "video"])
@pytest.mark.parametrize("kind", ["lost", "reset"])
async def test_connection_reset_in_the_middle_of_a_call_is_an_unknown_outcome_after_one_submit(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, kind: Any, request_: Any
) -> None:
    fake.fail(kind, on=_ANY, times=None)
    async with new_router(retries=3) as router:
        error = await failed(router, request_, tmp_path)
    assert isinstance(error, SubmissionUnknown)
    assert error.charged == "unknown"
    assert fake.count(*SUBMITS) == 1


@pytest.mark.parametrize("kind", ["garbage", "truncate"])
@pytest.mark.parametrize("request_", REQUESTS, ids=["image", "video"])
async def test_answer_that_cannot_be_read_is_a_bad_answer_that_may_have_been_paid(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, kind: Any, request_: Any
) -> None:
    fake.fail(kind, on=_ANY, times=None)
    async with new_router(retries=3) as router:
        error = await failed(router, request_, tmp_path)
    assert isinstance(error, BadBackendResponse)
    assert error.charged == "unknown"
    assert fake.count(*SUBMITS) == 1


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        ("UNAUTHENTICATED", "Invalid authentication credentials.", AuthenticationFailed),
        ("PERMISSION_DENIED", "The caller does not have permission to execute the specified operation", AuthenticationFailed),
        ("INVALID_ARGUMENT", "Incorrect API key provided: xa***yz.", AuthenticationFailed),
        ("RESOURCE_EXHAUSTED", "", RateLimited),
        ("RESOURCE_EXHAUSTED", "Too many requests: the model allows 60 requests per minute for your credits.", RateLimited),
        ("RESOURCE_EXHAUSTED", CREDITS, QuotaExceeded),
        ("PERMISSION_DENIED", CREDITS, QuotaExceeded),
        ("INVALID_ARGUMENT", "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_CSAM", ContentRefused),
        ("PERMISSION_DENIED", "Generated image rejected by content moderation.", ContentRefused),
        ("NOT_FOUND", "The model grok-imagine-image-2.0 does not exist or your team does not have access to it.", UnknownModel),
        ("INVALID_ARGUMENT", "n must be between 1 and 10.", InvalidRequest),
        ("FAILED_PRECONDITION", "Zero Data Retention teams must provide output.upload_url for video generation.", InvalidRequest),
    ],
)
async def test_answered_rejection_is_judged_by_its_words_before_its_status(
    router: Router, fake: GrokServer, tmp_path: Path, code: str, details: str, expected: type[MediaError]
) -> None:
    fake.fail("status", on="GenerateImage", times=None, code=code, details=details)
    error = await failed(router, REQUESTS[0], tmp_path)
    assert type(error) is expected, error
    assert error.charged == "no"
    assert getattr(error, "delivery", "refused") == "refused"
    assert fake.count("GenerateImage") == 1


def retry_info(seconds: int) -> bytes:
    from google.protobuf import any_pb2, duration_pb2  # type: ignore[import-untyped]
    from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds)))
    return bytes(status_pb2.Status(code=8, message="slow down", details=[detail]).SerializeToString())


@pytest.mark.parametrize(
    ("trailing", "seconds"),
    [
        ((("retry-after", "3"),), 3.0),
        ((("grpc-retry-pushback-ms", "1500"),), 1.5),
        ((("grpc-status-details-bin", retry_info(7)),), 7.0),
        ((("retry-after", "soon"),), None),
        ((("grpc-status-details-bin", b"\xff\xff"),), None),
        ((), None),
    ],
)
async def test_pause_the_provider_asks_for_is_read_from_the_trailing_metadata(
    router: Router, fake: GrokServer, tmp_path: Path, trailing: Any, seconds: float | None
) -> None:
    fake.fail("status", on="GenerateImage", code="RESOURCE_EXHAUSTED", details="slow down", trailing=trailing)
    error = await failed(router, REQUESTS[0], tmp_path)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds
    assert fake.count("GenerateImage") == 1


async def test_retry_is_made_by_the_core_and_only_after_over_capacity(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail("status", on="GenerateImage", times=1, code="RESOURCE_EXHAUSTED", trailing=(("retry-after", "1"),))
    async with new_router(retries=1) as router:
        result = await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/")
    assert result.files
    assert fake.count("GenerateImage") == 2


async def test_refused_connection_is_certainly_not_sent(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grok_media._client.RECONNECT_SECONDS", 0.1)
    async with new_router(grpc_host=f"127.0.0.1:{closed_port()}") as router:
        for request in REQUESTS:
            error = await failed(router, request, tmp_path)
            assert isinstance(error, BackendUnavailable)
            assert (error.delivery, error.charged) == ("not_sent", "no")
            assert "nothing was sent" in error.message
    assert fake.calls == []


async def test_service_that_comes_back_is_found_again(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    from wire.grok_proxy import Relay

    port = closed_port()
    async with new_router(grpc_host=f"127.0.0.1:{port}") as router:
        assert isinstance(await failed(router, REQUESTS[0], tmp_path), BackendUnavailable)
        relay = Relay(port)
        relay.start(int(fake.host.rpartition(":")[2]))
        try:
            assert (await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/")).files
        finally:
            relay.close()
    assert fake.count("GenerateImage") == 1


async def test_lost_connection_is_opened_again_for_the_next_call(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail("lost", on="GenerateImage", times=1)
    assert isinstance(await failed(router, REQUESTS[0], tmp_path), SubmissionUnknown)
    assert (await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/")).files
    assert fake.count("GenerateImage") == 2


async def test_proxy_of_the_environment_is_not_used(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with new_router() as router:
        assert (await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/")).files
        assert (await router.generate_audio(prompt="hello", backend="grok", output=f"{tmp_path}/")).files


async def test_service_that_takes_the_connection_and_says_nothing_is_not_sent_anything(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grok_media._client.CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with new_router(grpc_host=f"127.0.0.1:{silent.getsockname()[1]}") as router:
            error = await failed(router, REQUESTS[0], tmp_path)
    assert isinstance(error, BackendUnavailable)
    assert (error.delivery, error.charged) == ("not_sent", "no")


@pytest.mark.exhaustive
async def test_deadline_that_passes_during_the_submit_leaves_an_unknown_outcome(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail("delay", on="GenerateImage", seconds=4.0)
    with pytest.raises(SubmissionUnknown):
        await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/", deadline=2.0)
    assert fake.count("GenerateImage") == 1


async def test_answer_too_large_for_the_channel_is_an_unknown_outcome(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    fake.images.oversize = 21 * 1024 * 1024
    async with new_router(retries=3) as router:
        error = await failed(router, REQUESTS[0], tmp_path)
    assert isinstance(error, AnswerTooLarge)
    assert fake.count("GenerateImage") == 1


async def test_calls_share_one_connection(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    for request in REQUESTS * 2:
        await router.execute(request, backend="grok", output=f"{tmp_path}/")
    assert fake.connections == 1


async def test_cancelled_call_propagates_and_its_record_is_unknown(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail("delay", on="GenerateImage", seconds=1.0)
    task = asyncio.create_task(router.execute(REQUESTS[0], backend="grok", output=f"{tmp_path}/"))
    while not fake.count("GenerateImage"):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row.state for row in await router.jobs()] == ["unknown"]
    assert fake.count("GenerateImage") == 1


async def test_key_appears_in_no_message(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail(
        "status", on="GenerateImage", code="INVALID_ARGUMENT", details=f"Bad request for key {fake.key} at https://x.ai/a?Signature=abcdef"
    )
    error = await failed(router, REQUESTS[0], tmp_path)
    said = f"{error} {error!r} {error.to_json()} {error.__cause__!r}"
    assert fake.key not in said
    assert "abcdef" not in said


@pytest.mark.parametrize(
    "options",
    [{"grpc_host": "https://x.ai"}, {"grpc_host": 7}, {"timeout": 0}, {"timeout": "long"}, {"keep_videos": True}, {"keep_videos": 60}],
)
async def test_options_that_make_no_sense_are_refused_before_anything_is_sent(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, options: dict[str, Any]
) -> None:
    async with new_router(**options) as router:
        error = await failed(router, REQUESTS[1], tmp_path)
    assert isinstance(error, SettingsError | NoBackendAvailable)
    assert next(iter(options)) in error.message
    assert fake.calls == []


@pytest.mark.parametrize("key", ["xai-schl\u00fcssel-0123456789", "xai-0123\n456789-abcdef", "xai 0123456789"])
async def test_text_that_cannot_be_a_key_is_refused_without_showing_it(
    new_router: NewRouter, fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("XAI_API_KEY", key)
    async with new_router() as router:
        for request in (*REQUESTS, GenerateAudio(prompt="hello")):
            error = await failed(router, request, tmp_path)
            assert isinstance(error, AuthenticationFailed)
            assert error.delivery == "not_sent"
            assert key not in f"{error}{error!r}{error.to_json()}"
    assert fake.calls == []
    assert fake.http.received == []


async def test_service_that_does_not_speak_tls_where_it_should_is_not_sent_anything(
    fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", fake.key)
    own = InstanceSettings(name="grok", plugin="grok", base_url=f"https://{fake.host}")
    settings = Settings(instances={"grok": own}, state_dir=tmp_path / "state")
    async with Router(settings=settings, registry=discover(), policy=Policy(retries=0)) as router:
        error = await failed(router, REQUESTS[0], tmp_path)
    assert isinstance(error, BackendUnavailable)
    assert error.delivery == "not_sent"
    assert fake.calls == []


async def test_sdk_left_to_itself_would_send_five_times(fake: GrokServer) -> None:
    """Why the channel is made as it is: what its options switch off is really there."""
    from xai_sdk import AsyncClient

    fake.fail("status", on="GenerateVideo", times=None, code="UNAVAILABLE")
    client = AsyncClient(api_key=fake.key, api_host=fake.host, use_insecure_channel=True)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        await client.video.start(prompt="waves", model="grok-imagine-video")
    await client.close()
    assert fake.count("GenerateVideo") == 5
