"""Answers without media, each with its reason: blocked prompt, blocked picture, only words, nothing; Imagen's filter."""

from __future__ import annotations

from typing import Any

import pytest
from wire.google_server import LOCATION, PROJECT, GoogleServer
from wire.media_bytes import image

from anymedia.context import LoadedMedia
from anymedia.errors import BadBackendResponse, ContentRefused, MediaError
from anymedia.requests import EditWithReferences, GenerateImage, Image, Reference
from google_media import plugin

pytestmark = pytest.mark.anyio
PLACE = {"service": "agent_platform", "project": PROJECT, "location": LOCATION}


@pytest.mark.parametrize(
    ("answer", "error", "words", "charged"),
    [
        ("blocked_prompt", ContentRefused, "PROHIBITED_CONTENT: not this", "no"),
        ("blocked_candidate", ContentRefused, "IMAGE_SAFETY: Unable to show", "unknown"),
        ("text_only", BadBackendResponse, "words and no image.*I would rather describe it", "unknown"),
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
    assert outcome.warnings == ("1 of 3 images were kept back: Blocked by Responsible AI practices.",)


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
