"""Answers without media, each with its reason: blocked prompt, blocked picture, only words, nothing; Imagen's filter."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from wire.google_server import LOCATION, PROJECT, GoogleServer
from wire.media_bytes import image

from anymedia.context import Context, LoadedMedia
from anymedia.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    JobNotFound,
    MediaError,
    RateLimited,
    UnknownContinuation,
    UnknownModel,
)
from anymedia.requests import Continuation, EditWithReferences, GenerateAudio, GenerateImage, Image, Reference
from anymedia.results import Job
from google_media import plugin

pytestmark = pytest.mark.anyio
MODEL = "gemini-nano-banana-2.1"
PLACE = {"service": "agent_platform", "project": PROJECT, "location": LOCATION}


@pytest.mark.parametrize(
    ("answer", "error", "words", "charged"),
    [
        ("blocked_prompt", ContentRefused, "PROHIBITED_CONTENT: not this", "no"),
        ("blocked_candidate", ContentRefused, "IMAGE_SAFETY: Unable to show", "unknown"),
        ("text_only", BadBackendResponse, "holds no image; .*I would rather describe it", "unknown"),
        ("empty", BadBackendResponse, "no image.*NO_IMAGE", "unknown"),
    ],
)
async def test_an_answer_without_a_picture_says_why(
    fake: GoogleServer, make_context: Any, answer: str, error: type[MediaError], words: str, charged: str
) -> None:
    fake.content.next_answers.append(answer)
    with pytest.raises(error, match=words) as caught:
        await plugin.generate_image(GenerateImage(prompt="a fox"), make_context("gemini-nano-banana-2.1", "generate_image", **PLACE))
    assert caught.value.charged == charged
    assert fake.submits() == 1


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        ("refused", ContentRefused, "safety"),
        ("empty", BadBackendResponse, "without image"),
        ("words", BadBackendResponse, "cannot do that"),
    ],
)
async def test_an_interaction_without_a_picture_says_why(
    fake: GoogleServer, make_context: Any, end: str, error: type[MediaError], words: str
) -> None:
    fake.interactions.next_ends.append(end)
    with pytest.raises(error, match=words):
        await plugin.generate_image(GenerateImage(prompt="a fox"), make_context("gemini-nano-banana-2.1", "generate_image"))
    assert fake.submits() == 1


async def test_pictures_drawn_while_thinking_are_not_the_answer(fake: GoogleServer, make_context: Any) -> None:
    context = make_context("gemini-nano-banana-2.1", "generate_image", **PLACE)
    outcome = await plugin.generate_image(GenerateImage(prompt="a fox"), context)
    assert [p.data for p in outcome.pieces] == fake.content.made
    assert outcome.pieces[0].text == "Here is picture 1."
    assert outcome.request_id == "resp-1"
    assert outcome.usage["total_token_count"] == 1132
    assert outcome.cost_usd == round((12 * 1.5 + 1120 * 30) / 1e6, 6)


async def edit(make_context: Any, n: int = 1) -> Any:
    picture = Image(data=image(64, 64))
    loaded = {picture: LoadedMedia(data=picture.data or b"", mime="image/png", filename="p.png")}
    asked = EditWithReferences(prompt="a fox", references=(Reference(image=picture, role="style"),), n=n)
    context = make_context("imagen-3.0-capability-001", "edit_with_references", loaded, **PLACE)
    return await plugin.edit_with_references(asked, context)


async def test_what_imagen_filters_is_content_refused(fake: GoogleServer, make_context: Any) -> None:
    fake.predictions.next_ends.append("filtered")
    with pytest.raises(ContentRefused, match="Responsible AI practices"):
        await edit(make_context)


async def test_a_part_of_the_pictures_kept_back_is_a_warning(fake: GoogleServer, make_context: Any) -> None:
    fake.predictions.next_ends.append("partly")
    outcome = await edit(make_context, n=3)
    assert len(outcome.pieces) == 2
    assert [str(w) for w in outcome.warnings] == [
        "1 of 3 images were withheld; the provider says: \u201cBlocked by Responsible AI practices.\u201d"
    ]


async def test_the_sdks_word_on_its_methods_end_is_not_passed_on(fake: GoogleServer, make_context: Any) -> None:
    """Warnings are errors in these tests: the deprecation of edit_image would otherwise fail a paid call."""
    assert len((await edit(make_context)).pieces) == 1


@pytest.mark.parametrize("wrong", [{}, {"candidates": []}, {"candidates": [{}]}, {"candidates": [{"content": {"role": "model"}}]}])
async def test_an_answer_of_another_shape_is_a_bad_answer(fake: GoogleServer, make_context: Any, wrong: dict[str, Any]) -> None:
    fake.fail("status", on="POST", status=200, json=wrong)
    with pytest.raises(BadBackendResponse) as caught:
        await plugin.generate_image(GenerateImage(prompt="a fox"), make_context("gemini-nano-banana-2.1", "generate_image", **PLACE))
    assert caught.value.charged == "unknown"


@pytest.mark.parametrize("wrong", [{}, {"id": "x"}, {"id": "x", "status": "completed"}, {"id": "x", "status": "dreaming"}])
async def test_an_interaction_of_another_shape_is_an_error_with_a_reason(
    fake: GoogleServer, make_context: Any, wrong: dict[str, Any]
) -> None:
    fake.fail("status", on="POST", status=200, json=wrong)
    with pytest.raises(MediaError) as caught:
        await plugin.generate_image(GenerateImage(prompt="a fox"), make_context("gemini-nano-banana-2.1", "generate_image"))
    assert caught.value.charged == "unknown"
    assert fake.submits() == 1


#: What a 404 or a 400 to an interaction says -> our error, on a first turn and on one that goes on.
ABOUT = {
    "models/x is not found or is not supported for interactions": (404, UnknownModel, UnknownModel),
    "Interaction v1_int_0001 was not found": (404, UnknownModel, UnknownContinuation),
    "The previous interaction has expired.": (400, InvalidRequest, UnknownContinuation),
    "previous_interaction_id: the interaction was not stored": (400, InvalidRequest, UnknownContinuation),
    "aspect_ratio is not supported": (400, InvalidRequest, InvalidRequest),
}


@pytest.mark.parametrize("said", ABOUT)
async def test_only_a_turn_that_goes_on_can_have_lost_the_one_before(fake: GoogleServer, make_context: Any, said: str) -> None:
    code, first, later = ABOUT[said]
    fake.fail("status", on="POST", times=None, status=code, json={"error": {"code": code, "message": said}})
    earlier = Continuation(id="gemini_img_0", backend="google", model=MODEL, media="image", data={"interaction": "v1_int_0001"})
    for expected, continuation in ((first, None), (later, earlier)):
        with pytest.raises(MediaError, match=said[:20]) as caught:
            await plugin.generate_image(GenerateImage(prompt="a fox", continue_from=continuation), make_context(MODEL, "generate_image"))
        assert type(caught.value) is expected


async def test_a_job_that_is_no_longer_known_raises_job_not_found(fake: GoogleServer, make_context: Any) -> None:
    job = Job(id="v1_int_0009", data={"kind": "interaction"})
    for look in (plugin.check_job, plugin.cancel_job):
        with pytest.raises(JobNotFound, match=r"does not know the job; .*v1_int_0009 was not found"):
            await look(job, make_context("gemini-omni-1.2-flash", "generate_video"))


#: The other shape of an interaction's rejection: a word in place of a number, and no status.
WORDED = {
    "too_many_requests": (429, RateLimited),
    "invalid_request": (400, InvalidRequest),
    "unauthenticated": (401, AuthenticationFailed),
    "permission_denied": (403, AuthenticationFailed),
    "internal_error": (500, BackendUnavailable),
}


@pytest.mark.parametrize("word", WORDED)
async def test_a_rejection_with_a_word_for_its_code_is_read_too(fake: GoogleServer, make_context: Any, word: str) -> None:
    status, expected = WORDED[word]
    fake.fail("status", on="POST", times=None, status=status, json={"error": {"code": word, "message": "no such luck"}})
    with pytest.raises(expected, match="no such luck"):
        await plugin.generate_image(GenerateImage(prompt="a fox"), make_context(MODEL, "generate_image"))
    assert fake.submits() == 1


@pytest.mark.parametrize("model", ["lyria-3-clip-preview", "lyria-3-pro-preview"])
async def test_music_in_the_older_shape_of_an_answer_is_found(fake: GoogleServer, make_context: Any, model: str) -> None:
    outcome = await plugin.generate_audio(GenerateAudio(prompt="a shanty", audio_type="music"), make_context(model, "generate_audio"))
    assert [p.data for p in outcome.pieces] == [fake.interactions.made[-1].media]


async def test_an_instance_of_agent_platform_that_stores_nothing_is_not_refused_for_it(fake: GoogleServer, make_context: Any) -> None:
    """Only the Gemini API has the field, and the SDK refuses it elsewhere; Agent Platform keeps no such calls by itself."""
    context = make_context(MODEL, "generate_image", store=False, **PLACE)
    assert (await plugin.generate_image(GenerateImage(prompt="a fox"), context)).pieces
    assert "store" not in fake.received[-1].json()


USAGE = {"prompt_token_count": 100, "candidates_token_count": 1120}


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (USAGE, (100 * 1.5 + 1120 * 30) / 1e6),
        (USAGE | {"thoughts_token_count": 800}, (100 * 1.5 + 800 * 7.5 + 1120 * 30) / 1e6),
        (
            {
                "prompt_token_count": 100,
                "candidates_token_count": 1140,
                "candidates_tokens_details": [{"modality": "IMAGE", "token_count": 1120}, {"modality": "TEXT", "token_count": 20}],
            },
            (100 * 1.5 + 20 * 7.5 + 1120 * 30) / 1e6,
        ),
        (
            {
                "total_input_tokens": 100,
                "total_output_tokens": 1140,
                "total_thought_tokens": 10,
                "output_tokens_by_modality": [{"modality": "text", "tokens": 20}, {"modality": "image", "tokens": 1120}],
            },
            (100 * 1.5 + 30 * 7.5 + 1120 * 30) / 1e6,
        ),
        ({"prompt_token_count": 100}, None),
        ({}, None),
    ],
)
def test_cost_is_computed_from_the_tokens_of_the_answer(usage: dict[str, Any], usd: float | None) -> None:
    from google_media._content import cost_of

    def context(model: str, service: str = "gemini") -> Context:
        return Context(backend="google", model=model, service=service, spec=plugin.capabilities().model(model))

    assert cost_of(usage, context("gemini-nano-banana-2.1"), "image") == (None if usd is None else round(usd, 6))
    assert cost_of(usage, context("gemini-nano-banana-2.1", "compatible"), "image") is None  # it has its own prices
    assert cost_of(usage, context("gemini-3.1-flash-image"), "image") is None  # no rates are known


@pytest.mark.parametrize(
    ("model", "kind", "usd"),
    [
        ("gemini-3-pro-image", "image", (100 * 2 + 20 * 12 + 1000 * 120) / 1e6),
        ("gemini-2.5-flash-image", "image", (100 * 0.3 + 20 * 2.5 + 1000 * 30) / 1e6),
        ("gemini-3.1-flash-lite-image", "image", None),  # like another model, whose rates are not its own
        ("gemini-3.8-flash-tts", "audio", None),  # the rate of text is not known
        ("gemini-3.8-flash-lite-tts", "audio", None),
    ],
)
def test_cost_is_computed_only_where_each_rate_is_known(model: str, kind: str, usd: float | None) -> None:
    from google_media._content import cost_of

    context = Context(backend="google", model=model, service="gemini", spec=plugin.capabilities().model(model))
    usage = {"prompt_token_count": 100, "candidates_token_count": 1000, "thoughts_token_count": 20}
    assert cost_of(usage, context, kind) == usd


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": "many", "candidatesTokenCount": 5},
        {"promptTokenCount": 1, "candidatesTokenCount": 2, "candidatesTokensDetails": {"modality": "TEXT"}},
        {"promptTokenCount": 1, "candidatesTokenCount": 2, "candidatesTokensDetails": [None]},
        {"promptTokenCount": [1], "candidatesTokenCount": 2},
        "none",
    ],
    ids=["word", "details as an object", "null among the details", "list", "text"],
)
async def test_odd_usage_does_not_cost_the_picture(fake: GoogleServer, make_context: Any, usage: Any) -> None:
    made = image(64, 64)
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(made).decode()}}
    body = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], "usageMetadata": usage}
    fake.fail("status", on="POST /", status=200, json=body)
    outcome = await plugin.generate_image(GenerateImage(prompt="a fox"), make_context(MODEL, "generate_image", **PLACE))
    assert [piece.data for piece in outcome.pieces] == [made]
    assert outcome.cost_usd is None
