"""What goes wrong: one submit, the right error by code, and what is known of the delivery."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from clocks import timed_out
from wire.http_server import closed_port
from wire.media_bytes import image
from wire.openai_server import KEY, OpenAIServer

from anymedia.answers.envelopes import read_error
from anymedia.answers.errors import classify
from anymedia.context import Context, LoadedMedia
from anymedia.errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    MediaError,
    ModelRetired,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownContinuation,
    UnknownModel,
)
from anymedia.media import Image
from anymedia.requests import Continuation, ContinueVideo, GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Mask
from anymedia.results import Job, Outcome
from openai_media import plugin
from openai_media._errors import BY_CODE, translated

MakeContext = Callable[..., Context]
Submit = Callable[[MakeContext], Awaitable[Job | Outcome]]
SOURCE, MASK = Image(data=image(64, 64)), Mask(image=Image(data=image(64, 64, alpha=True)))
LOADED = {
    SOURCE: LoadedMedia(data=SOURCE.data or b"", mime="image/png", filename="source.png"),
    MASK: LoadedMedia(data=getattr(MASK.image, "data", b""), mime="image/png", filename="mask.png"),
}
TURN = Continuation(id="gpt_img_1", backend="openai", media="image", data={"response_id": "resp_1", "model": "gpt-6-sol"})
EARLIER = Continuation(id="sora_vid_1", backend="openai", media="video", data={"video_id": "video_1"})


async def generate(make: MakeContext, **settings: Any) -> Job | Outcome:
    return await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=make("gpt-image-2", "generate_image", **settings))


async def inpaint(make: MakeContext) -> Job | Outcome:
    request = Inpaint(prompt="a boat", source=SOURCE, mask=MASK)
    return await plugin.inpaint(request=request, context=make("gpt-image-2", "inpaint", LOADED))


async def converse(make: MakeContext) -> Job | Outcome:
    request = GenerateImage(prompt="a boat", extra_params={"responses": True})
    return await plugin.generate_image(request=request, context=make("gpt-image-2", "generate_image"))


async def film(make: MakeContext) -> Job | Outcome:
    return await plugin.generate_video(
        request=GenerateVideo(prompt="a boat"), context=make("sora-2", "generate_video", service="compatible")
    )


async def remix(make: MakeContext) -> Job | Outcome:
    request = ContinueVideo(prompt="a boat", continue_from=EARLIER)
    return await plugin.continue_video(request=request, context=make("sora-2", "continue_video", service="compatible"))


async def speak(make: MakeContext) -> Job | Outcome:
    return await plugin.generate_audio(request=GenerateAudio(prompt="a boat"), context=make("tts-1", "generate_audio"))


SUBMITS: tuple[Submit, ...] = (generate, inpaint, converse, film, remix, speak)
BROKEN = [
    pytest.param(submit, fault, id=f"{submit.__name__}-{fault}")
    for submit in (generate, inpaint, converse, film, remix, speak)
    for fault in ("lost", "drop", "reset", "truncate", "garbage")
]


def test_translated_every_public_exception_of_the_sdk_becomes_ours() -> None:
    import httpx2
    import openai

    # By the type of each value: ``isinstance`` would make the SDK's lazy modules import all that it has.
    public = {n: x for n, x in vars(openai).items() if n[0] != "_" and issubclass(type(x), type) and issubclass(x, openai.OpenAIError)}
    assert len(public) >= 15
    for name, cls in public.items():
        error: Any = cls.__new__(cls)
        Exception.__init__(error, "the SDK's message")
        error.status_code, error.request_id, error.body = 429, "req_7", None
        error.response = httpx2.Response(429, json={"error": {"message": "slow down"}})
        with pytest.raises(MediaError) as caught, translated(Context(backend="openai")):
            raise error
        assert isinstance(caught.value, RateLimited) is issubclass(cls, openai.APIStatusError), name


@pytest.mark.anyio
@pytest.mark.parametrize(("submit", "fault"), BROKEN)
async def test_a_broken_answer_is_submitted_once_and_its_outcome_is_unknown(
    fake: OpenAIServer, make_context: MakeContext, submit: Submit, fault: Any
) -> None:
    fake.fail(fault, times=None)
    with pytest.raises(BackendError) as caught:
        await submit(make_context)
    assert len(fake.received) == 1
    assert caught.value.delivery == "unknown"
    assert isinstance(caught.value, BadBackendResponse if fault == "garbage" else SubmissionUnknown)
    assert caught.value.charged == "unknown"
    assert KEY not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("submit", SUBMITS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_that_breaks_down_is_asked_once_and_leaves_the_outcome_unknown(
    fake: OpenAIServer, make_context: MakeContext, submit: Submit, status: int
) -> None:
    fake.fail("status", times=None, status=status, json={"error": {"message": "The server had an error", "type": "server_error"}})
    with pytest.raises(BackendUnavailable) as caught:
        await submit(make_context)
    assert (len(fake.received), caught.value.delivery) == (1, "unknown")


@pytest.mark.anyio
async def test_a_slow_answer_is_waited_for_once_and_then_its_outcome_is_unknown(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.fail("hang")
    with pytest.raises(SubmissionUnknown) as caught:
        await timed_out(generate(make_context, timeout=30.0), lambda: fake.received)
    await asyncio.sleep(0.1)
    assert (len(fake.received), caught.value.delivery) == (1, "unknown")


@pytest.mark.anyio
@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/v1", "https://127.0.0.1:{tls}/v1", "http://nowhere.invalid/v1"])
async def test_what_could_not_be_reached_was_certainly_not_sent(fake: OpenAIServer, make_context: MakeContext, address: str) -> None:
    with pytest.raises(BackendUnavailable) as caught:
        await generate(make_context, base_url=address.format(port=closed_port(), tls=fake.port))
    assert caught.value.delivery == "not_sent"
    assert caught.value.charged == "no"
    assert fake.received == []


@pytest.mark.anyio
async def test_answer_that_is_not_http_leaves_a_submit_unknown_and_fails_a_status_check(make_context: MakeContext) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65536))
        writer.write(b"\x16\x03\x01 220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(SubmissionUnknown) as caught:
            await generate(make_context, base_url=address)
        assert (len(asked), caught.value.delivery) == (1, "unknown")
        context = make_context("sora-2", "generate_video", service="compatible", base_url=address)
        with pytest.raises(BackendUnavailable):
            await plugin.check_job(job=Job(id="video_1"), context=context)


@attrs.frozen
class Refused:
    """An answered rejection and what becomes of it."""

    status: int
    error: dict[str, Any]
    raises: type[MediaError]
    retry: bool = False


USER = "image_generation_user_error"
REFUSALS = {
    "moderation": Refused(
        400,
        {"type": USER, "code": "moderation_blocked", "moderation_details": {"moderation_stage": "output", "categories": ["self-harm"]}},
        ContentRefused,
    ),
    "a wrong value has moderation's type": Refused(400, {"type": USER, "code": "invalid_value", "param": "size"}, InvalidRequest),
    "a model that is gone has it too": Refused(400, {"type": USER, "code": "invalid_value", "param": "model"}, UnknownModel),
    "a model not found": Refused(404, {"type": "invalid_request_error", "code": "model_not_found"}, UnknownModel),
    "a bad image": Refused(400, {"type": USER, "code": "invalid_image_file", "param": "mask"}, InvalidRequest),
    "a wrong key": Refused(401, {"type": "invalid_request_error", "code": "invalid_api_key"}, AuthenticationFailed),
    "an unverified organization": Refused(403, {"type": "invalid_request_error", "code": None}, AuthenticationFailed),
    "a rate limit": Refused(429, {"type": "requests", "code": "rate_limit_exceeded"}, RateLimited, True),
    "a steep ramp": Refused(429, {"type": "rate_limit_error", "code": "slow_down"}, RateLimited, True),
    "a bare 429": Refused(429, {}, RateLimited, True),
    "no credit": Refused(429, {"type": "insufficient_quota", "code": "credit_balance_exhausted"}, QuotaExceeded),
    "no quota": Refused(429, {"type": "insufficient_quota", "code": "insufficient_quota"}, QuotaExceeded),
    "a spend limit of a new name": Refused(429, {"type": "insufficient_quota", "code": "team_spend_limit_exceeded"}, QuotaExceeded),
    "a billing limit": Refused(400, {"type": USER, "code": "billing_hard_limit_reached"}, QuotaExceeded),
    "payment required": Refused(402, {"code": None}, QuotaExceeded),
    "overload": Refused(503, {"type": "service_unavailable_error", "code": "server_is_overloaded"}, BackendUnavailable, True),
    "a body too large": Refused(413, {}, InvalidRequest),
    "no such model": Refused(404, {}, UnknownModel),
    "a conflict": Refused(409, {}, InvalidRequest),
    "not to be processed": Refused(422, {}, InvalidRequest),
}


@pytest.mark.anyio
@pytest.mark.parametrize("refused", REFUSALS.values(), ids=list(REFUSALS))
async def test_an_answered_rejection_is_one_submit_and_judged_by_its_code(
    fake: OpenAIServer, make_context: MakeContext, refused: Refused
) -> None:
    error = {"message": "No.\x1b[31m\nReally no.", **refused.error}
    fake.fail("status", times=None, status=refused.status, json={"error": error}, headers={"x-request-id": "req_7"})
    with pytest.raises(refused.raises) as caught:
        await generate(make_context)
    assert type(caught.value) is refused.raises
    assert (len(fake.received), caught.value.charged, caught.value.retry) == (1, "no", refused.retry)
    assert "No. Really no." in caught.value.message
    assert caught.value.provider_message.startswith("No. Really no.")
    assert getattr(caught.value, "delivery", "refused") == "refused"
    if isinstance(caught.value, BackendError):
        assert caught.value.request_id == "req_7"


@pytest.mark.anyio
async def test_a_refusal_says_which_stage_and_why(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image")
    with pytest.raises(ContentRefused) as caught:
        await plugin.generate_image(request=GenerateImage(prompt="FORBIDDEN"), context=context)
    assert caught.value.reason == "violence"
    assert "the prompt or an input" in caught.value.message
    assert caught.value.to_json()["reason"] == "violence"


@pytest.mark.anyio
async def test_a_refusal_may_be_a_failed_item_in_an_answer_of_status_200(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image")
    request = GenerateImage(prompt="FORBIDDEN", extra_params={"responses": True})
    with pytest.raises(ContentRefused) as caught:
        await plugin.generate_image(request=request, context=context)
    assert (caught.value.reason, caught.value.delivery, caught.value.charged) == ("violence", "refused", "unknown")


@pytest.mark.anyio
async def test_a_conversation_that_answers_in_words_made_no_image(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.images.say_instead = "Which kind of boat?"
    with pytest.raises(BadBackendResponse, match="Which kind of boat") as caught:
        await converse(make_context)
    assert (caught.value.delivery, len(fake.received)) == ("unknown", 1)


@pytest.mark.anyio
async def test_a_retired_model_is_a_400_that_becomes_model_retired_with_its_replacement(
    fake: OpenAIServer, make_context: MakeContext
) -> None:
    context = make_context("gpt-image-1", "generate_image")
    with pytest.raises(ModelRetired, match="2026-10-23") as caught:
        await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=context)
    assert "gpt-image-2.5-sunburst" in caught.value.fix
    assert fake.count("POST") == 1


@pytest.mark.anyio
async def test_an_earlier_turn_the_provider_has_forgotten_is_an_unknown_continuation(fake: OpenAIServer, make_context: MakeContext) -> None:
    request = GenerateImage(prompt="at night", continue_from=TURN)
    with pytest.raises(UnknownContinuation):
        await plugin.generate_image(request=request, context=make_context("gpt-image-2", "generate_image"))


@pytest.mark.anyio
async def test_a_wrong_key_is_said_without_showing_it(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.key = "sk-another"
    with pytest.raises(AuthenticationFailed) as caught:
        await generate(make_context)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert KEY not in str(chain)
        chain = chain.__cause__
    assert KEY not in str(caught.value.to_json())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
async def test_the_pause_that_is_asked_for_is_handed_on(
    fake: OpenAIServer, make_context: MakeContext, headers: dict[str, str], seconds: float | None
) -> None:
    fake.fail("status", status=429, json={"error": {"code": "rate_limit_exceeded", "message": "slow"}}, headers=headers)
    with pytest.raises(RateLimited) as caught:
        await generate(make_context)
    assert caught.value.retry_after == seconds


@pytest.mark.anyio
async def test_a_pause_given_as_a_date_is_counted_from_the_answers_own_date(fake: OpenAIServer, make_context: MakeContext) -> None:
    now = time.time()
    dates = {"date": email.utils.formatdate(now, usegmt=True), "retry-after": email.utils.formatdate(now + 30, usegmt=True)}
    fake.fail("status", status=429, json={"error": {"code": "rate_limit_exceeded", "message": "slow"}}, headers=dates)
    with pytest.raises(RateLimited) as caught:
        await generate(make_context)
    assert caught.value.retry_after == pytest.approx(30, abs=1.5)


@pytest.mark.anyio
async def test_a_redirected_submit_is_not_sent_on_to_another_place(fake: OpenAIServer, make_context: MakeContext) -> None:
    with OpenAIServer() as other:
        fake.fail("status", status=307, json={}, headers={"location": f"{other.base_url}/images/generations"})
        with pytest.raises(MediaError):
            await generate(make_context)
        assert (len(fake.received), other.received) == (1, [])


@pytest.mark.anyio
async def test_failed_status_check_is_raised_without_the_outcome_of_a_submit(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.fail("lost", times=None)  # a status check is a GET: the transport itself may retry
    with pytest.raises(BackendUnavailable) as caught:
        await plugin.check_job(job=Job(id="video_1"), context=make_context("sora-2", "generate_video", service="compatible"))
    assert caught.value.retry


def test_by_code_lists_only_codes_that_the_core_does_not_know() -> None:
    for code, kind in BY_CODE.items():
        assert classify(read_error({"error": {"code": code}}), 400) != kind


@pytest.mark.anyio
@pytest.mark.parametrize("submit", SUBMITS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("body", [{"error": "WHY123"}, {"detail": "WHY123"}, {"errors": [{"message": "WHY123"}]}, {"message": "WHY123"}])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_any_error_keeps_the_providers_words(
    fake: OpenAIServer, make_context: MakeContext, submit: Submit, body: dict[str, Any], status: int
) -> None:
    fake.fail("status", times=None, status=status, json=body)
    with pytest.raises(MediaError) as caught:
        await submit(make_context)
    assert caught.value.provider_message == "WHY123"
    assert "WHY123" in caught.value.message


@pytest.mark.anyio
@pytest.mark.parametrize("submit", [generate, inpaint, film], ids=lambda s: s.__name__)
async def test_error_object_in_an_answer_of_status_200_is_an_error_of_its_class(
    fake: OpenAIServer, make_context: MakeContext, submit: Submit
) -> None:
    fake.fail("status", times=None, status=200, json={"error": {"code": "moderation_blocked", "message": "rejected by the safety system"}})
    with pytest.raises(ContentRefused) as caught:
        await submit(make_context)
    assert caught.value.provider_message == "rejected by the safety system"
    assert len(fake.received) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "headers", "delivery"),
    [
        ({"type": "server_error", "message": "The server is currently overloaded"}, {"retry-after": "1"}, "refused"),
        ({"type": "server_error", "message": "The server had an error"}, {}, "unknown"),
        ({"message": "overloaded"}, {}, "unknown"),
    ],
)
async def test_overloaded_server_is_refused_only_in_the_providers_envelope(
    fake: OpenAIServer, make_context: MakeContext, error: dict[str, Any], headers: dict[str, str], delivery: str
) -> None:
    fake.fail("status", times=None, status=503, json={"error": {"code": None, "param": None, **error}}, headers=headers)
    with pytest.raises(BackendUnavailable) as caught:
        await generate(make_context)
    assert (caught.value.delivery, len(fake.received)) == (delivery, 1)


@pytest.mark.anyio
async def test_key_with_a_typographic_quote_is_not_sent(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image", key="\u201csk-0123456789\u201d")
    with pytest.raises(AuthenticationFailed, match="nothing was sent") as caught:
        await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=context)
    assert (caught.value.delivery, caught.value.charged, fake.received) == ("not_sent", "no", [])
