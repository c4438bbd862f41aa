"""Styles, structures, subjects and masks on a Gemini key: emulated and said so, or refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from wire.google_interactions import Interaction
from wire.google_predict import Predicted
from wire.google_server import GoogleServer
from wire.media_bytes import image
from wire.media_reading import grey, opened

from anymedia.errors import MediaError, UnsupportedInput
from anymedia.generation_config import GenerationConfig
from anymedia.policy import Policy
from anymedia.results import Result
from anymedia.router import Router
from anymedia.testing.fakes import half_mask

pytestmark = pytest.mark.anyio
At = Callable[[str, bytes], str]
Ask = Callable[..., Awaitable[Result]]
GEMINI = {"backend": "google", "model": "gemini-nano-banana-2.1"}
FOX, STYLE, EDGES, DOG = (image(96, 64, tint=n) for n in (1, 2, 3, 4))


def asked_for(kind: str, at: At) -> dict[str, object]:
    return {
        "style": {"style_image_path": at("s.png", STYLE), "style_description": "ink wash"},
        "control": {"control_image_path": at("c.png", EDGES), "control_type": "scribble"},
        "subject": {"subject_image_path": at("d.png", DOG), "subject_type": "animal", "subject_description": "a small brown dog"},
        "mask": {"input_image_paths": [at("f.png", FOX)], "mask_mode": "AUTO"},
    }[kind]


PICTURES = {"style": [STYLE], "control": [EDGES], "subject": [DOG], "mask": [FOX]}
WORDS = {
    "style": ["style", "ink wash"],
    "control": ["scribble"],
    "subject": ["animal", "a small brown dog"],
    "mask": ["only the main subject in the foreground"],
}


@pytest.mark.parametrize("kind", PICTURES)
async def test_on_a_gemini_key_it_is_emulated_says_so_and_sends_the_pictures_given(ask: Ask, fake: GoogleServer, at: At, kind: str) -> None:
    result = await ask(**GEMINI, prompt="by the sea", **asked_for(kind, at))
    assert [a.kind for a in result.adjustments] == ["emulated"]
    assert result.adjustments[0].why
    sent: Interaction = fake.interactions.made[-1]
    assert sent.pictures() == PICTURES[kind]
    assert "by the sea" in sent.text()
    for word in WORDS[kind]:
        assert word in sent.text()


@pytest.mark.parametrize("kind", PICTURES)
async def test_on_a_gemini_key_strict_refuses_it_before_anything_is_sent(ask: Ask, fake: GoogleServer, at: At, kind: str) -> None:
    with pytest.raises(MediaError, match="emulated"):
        strict = Policy(strict=True)
        await ask(policy=strict, **GEMINI, prompt="by the sea", **asked_for(kind, at))
    assert fake.submits() == 0


@pytest.mark.parametrize("kind", PICTURES)
async def test_instance_that_can_do_it_natively_comes_first(router: Router, fake: GoogleServer, at: At, out: str, kind: str) -> None:
    found = GenerationConfig.from_json({"mode": "image", "prompt": "by the sea", **asked_for(kind, at)})
    result = await router.execute(found.to_request(), output=out)
    assert isinstance(fake.predictions.calls[-1], Predicted)
    assert not [a for a in result.adjustments if a.kind == "emulated"]


async def test_emulated_mask_picture_is_sent_as_guidance_and_what_changed_outside_is_measured(
    router: Router, fake: GoogleServer, at: At, out: str
) -> None:
    source = image(256, 256, tint=9)  # as large as what comes back
    found = await router.inpaint(
        prompt="a lake",
        source=at("f.png", source),
        mask=at("m.png", half_mask(256, 256)),
        protect="exact",
        backend="google",
        output=out,
    )
    sent = fake.interactions.made[-1]
    assert sent.pictures()[0] == source
    assert grey(sent.pictures()[1]) == grey(half_mask(256, 256))
    assert "white marks the region to change" in sent.text()
    assert found.outside_mask_difference is not None
    assert found.outside_mask_difference > 0
    outside = (140, 0, 256, 256)
    assert opened(found.path).convert("RGB").crop(outside).tobytes() == opened(source).convert("RGB").crop(outside).tobytes()


async def test_mask_and_style_go_together_on_a_gemini_key_too(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask(96, 64)), "style_image_path": at("s.png", STYLE)}
    result = await ask(**GEMINI, prompt="a lake", **asked)
    sent = fake.interactions.made[-1]
    assert sent.pictures()[:2] == [FOX, STYLE]
    assert grey(sent.pictures()[2]) == grey(half_mask(96, 64))
    assert "Image 3 is a black and white mask of Image 1" in sent.text()
    assert {a.field for a in result.adjustments if a.kind == "emulated"} == {"mask", "references"}


@pytest.mark.parametrize("strict", [False, True])
async def test_outpainting_on_a_gemini_key_is_described_in_the_prompt(ask: Ask, fake: GoogleServer, at: At, strict: bool) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "edit_mode": "outpaint", "aspect_ratio": "16:9"}
    if strict:
        with pytest.raises(MediaError, match="emulated"):
            await ask(policy=Policy(strict=True), **GEMINI, prompt="more sky", **asked)
        assert fake.submits() == 0
        return
    result = await ask(**GEMINI, prompt="more sky", **asked)
    sent = fake.interactions.made[-1]
    assert sent.pictures() == [FOX]
    assert "Extend the scene beyond the borders of Image 1 to the aspect ratio 16:9" in sent.text()
    assert "more sky" in sent.text()
    assert sent.body["response_format"]["aspect_ratio"] == "16:9"
    assert [a.kind for a in result.adjustments] == ["emulated"]


async def test_sources_alone_need_no_emulation_and_leave_the_prompt_unchanged(ask: Ask, fake: GoogleServer, at: At) -> None:
    paths = [at("f.png", FOX), at("d.png", DOG)]
    result = await ask(**GEMINI, prompt="both together", input_image_paths=paths)
    assert result.adjustments == ()
    assert fake.interactions.made[-1].pictures() == [FOX, DOG]
    assert fake.interactions.made[-1].text() == "both together"


async def test_semantic_classes_are_refused_on_a_gemini_key(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_mode": "SEMANTIC", "segmentation_classes": [3]}
    with pytest.raises(UnsupportedInput, match="semantic"):
        await ask(**GEMINI, prompt="a lake", **asked)
    assert fake.submits() == 0
