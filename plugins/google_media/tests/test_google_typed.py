"""Native reference editing, on endpoints that have edit_image: each picture in a reference image of its kind."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable

import pytest
from PIL import Image as Pillow
from wire.google_server import GoogleServer
from wire.media_bytes import image
from wire.media_reading import grey, opened

from anymedia.errors import InvalidRequest, MediaError, ModelRetired
from anymedia.results import Result
from anymedia.router import Router
from anymedia.testing.fakes import half_mask

pytestmark = pytest.mark.anyio
At = Callable[[str, bytes], str]
Ask = Callable[..., Awaitable[Result]]
#: Instances whose endpoint has edit_image: Google's own platform with the model listed, and a third-party server.
TYPED = ("studio", "own")
FOX, STYLE, EDGES, DOG = (image(96, 64, tint=n) for n in (1, 2, 3, 4))


@pytest.mark.parametrize("backend", TYPED)
async def test_style_image_and_its_description_become_a_style_reference(ask: Ask, fake: GoogleServer, at: At, backend: str) -> None:
    result = await ask(backend=backend, prompt="a fox", style_image_path=at("s.png", STYLE), style_description="ink wash")
    call = fake.predictions.calls[-1]
    assert call.picture("style") == STYLE
    assert call.references("style")[0]["styleImageConfig"] == {"style_description": "ink wash"}
    assert call.parameters["editMode"] == "EDIT_MODE_DEFAULT"
    assert call.instance["prompt"].startswith("a fox")
    assert "[1]" in call.instance["prompt"]
    assert result.adjustments == ()
    assert opened(result.path).size == (256, 256)


@pytest.mark.parametrize("backend", TYPED)
async def test_control_image_and_its_type_become_a_control_reference(ask: Ask, fake: GoogleServer, at: At, backend: str) -> None:
    await ask(backend=backend, prompt="a house", control_image_path=at("c.png", EDGES), control_type="scribble")
    call = fake.predictions.calls[-1]
    assert call.picture("control") == EDGES
    assert call.references("control")[0]["controlImageConfig"] == {"controlType": "CONTROL_TYPE_SCRIBBLE"}


@pytest.mark.parametrize("backend", TYPED)
async def test_subject_image_its_type_and_description_become_a_subject_reference(
    ask: Ask, fake: GoogleServer, at: At, backend: str
) -> None:
    about = {"subject_image_path": at("d.png", DOG), "subject_type": "animal", "subject_description": "a small brown dog"}
    await ask(backend=backend, prompt="on a beach", **about)
    call = fake.predictions.calls[-1]
    assert call.picture("subject") == DOG
    config = call.references("subject")[0]["subjectImageConfig"]
    assert config == {"subject_type": "SUBJECT_TYPE_ANIMAL", "subject_description": "a small brown dog"}


@pytest.mark.parametrize("backend", TYPED)
async def test_mask_mode_auto_becomes_a_mask_reference_beside_the_raw_picture(ask: Ask, fake: GoogleServer, at: At, backend: str) -> None:
    await ask(backend=backend, prompt="a lake", input_image_paths=[at("f.png", FOX)], mask_mode="AUTO")
    call = fake.predictions.calls[-1]
    assert call.picture("raw") == FOX
    assert [r["maskImageConfig"] for r in call.references("mask")] == [{"maskMode": "MASK_MODE_FOREGROUND"}]
    assert "referenceImage" not in call.references("mask")[0]
    assert call.parameters["editMode"] == "EDIT_MODE_INPAINT_INSERTION"


async def test_auto_with_segmentation_classes_is_semantic_and_the_classes_reach_the_wire(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_mode": "AUTO", "segmentation_classes": [8, 33]}
    await ask(backend="studio", prompt="a lake", **asked)
    config = fake.predictions.calls[-1].references("mask")[0]["maskImageConfig"]
    assert config == {"maskMode": "MASK_MODE_SEMANTIC", "maskClasses": [8, 33]}


async def test_mask_picture_arrives_white_where_to_edit(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask(96, 64))}
    await ask(backend="studio", prompt="a lake", extra_params={"inpaint_mode": "removal", "mask_dilation": 0.02}, **asked)
    call = fake.predictions.calls[-1]
    assert call.picture("raw") == FOX
    assert grey(call.picture("mask")) == grey(half_mask(96, 64))
    assert call.references("mask")[0]["maskImageConfig"] == {"maskMode": "MASK_MODE_USER_PROVIDED", "dilation": 0.02}
    assert call.parameters["editMode"] == "EDIT_MODE_INPAINT_REMOVAL"


async def test_mask_with_transparency_arrives_in_the_same_polarity(ask: Ask, fake: GoogleServer, at: At) -> None:
    clear = Pillow.new("RGBA", (96, 64), (0, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 48, 64))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", buffer.getvalue())}
    await ask(backend="studio", prompt="a lake", **asked)
    assert grey(fake.predictions.calls[-1].picture("mask")) == grey(half_mask(96, 64))


async def test_negative_prompt_seed_guidance_and_output_type_reach_the_wire(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"negative_prompt": "blurry, low quality", "seed": 42, "guidance_scale": 12.5, "output_format": "jpeg"}
    result = await ask(backend="studio", prompt="a fox", style_image_path=at("s.png", STYLE), **asked)
    parameters = fake.predictions.calls[-1].parameters
    assert parameters["negativePrompt"] == "blurry, low quality"
    assert parameters["seed"] == 42
    assert parameters["guidanceScale"] == 12.5
    assert parameters["outputOptions"] == {"mimeType": "image/jpeg"}
    assert result.adjustments == ()
    assert opened(result.path).format == "JPEG"


async def test_outpainting_sends_the_mode_the_picture_and_the_mask(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask(96, 64)), "edit_mode": "outpaint"}
    await ask(backend="studio", prompt="more of the forest", **asked)
    call = fake.predictions.calls[-1]
    assert call.parameters["editMode"] == "EDIT_MODE_OUTPAINT"
    assert call.picture("raw") == FOX
    assert call.references("mask")


async def test_outpainting_without_a_mask_is_refused_before_anything_is_sent(ask: Ask, fake: GoogleServer, at: At) -> None:
    with pytest.raises(MediaError, match="masked border"):
        await ask(backend="studio", prompt="more", input_image_paths=[at("f.png", FOX)], edit_mode="outpaint", size="192x64")
    assert fake.submits() == 0


async def test_mask_and_style_go_together_in_one_call(ask: Ask, fake: GoogleServer, at: At) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask(96, 64)), "style_image_path": at("s.png", STYLE)}
    await ask(backend="studio", prompt="a lake", style_description="ink wash", **asked)
    assert fake.submits() == 1
    call = fake.predictions.calls[-1]
    assert [r["referenceType"].rsplit("_", 1)[-1] for r in call.instance["referenceImages"]] == ["RAW", "MASK", "STYLE"]
    assert [r["referenceId"] for r in call.instance["referenceImages"]] == [1, 2, 3]
    assert (call.picture("raw"), call.picture("style")) == (FOX, STYLE)
    assert grey(call.picture("mask")) == grey(half_mask(96, 64))
    assert "[3]" in call.instance["prompt"]
    assert call.parameters["editMode"] == "EDIT_MODE_INPAINT_INSERTION"


async def test_several_pictures_are_asked_for_in_one_call(router: Router, fake: GoogleServer, at: At, out: str) -> None:
    from anymedia.requests import EditWithReferences, Reference

    asked = EditWithReferences(prompt="a fox", references=(Reference(image=at("s.png", STYLE), role="style"),), n=3)  # type: ignore[arg-type]
    result = await router.execute(asked, backend="studio", model="imagen-3.0-capability-001", output=out)
    assert fake.predictions.calls[-1].parameters["sampleCount"] == 3
    assert fake.submits() == 1
    assert len(result.files) == 3


async def test_retired_model_is_refused_on_an_instance_that_does_not_list_it(ask: Ask, fake: GoogleServer, at: At) -> None:
    with pytest.raises(ModelRetired, match="2026-06-30"):
        await ask(backend="cloud", prompt="a fox", style_image_path=at("s.png", STYLE))
    assert fake.submits() == 0


async def test_gemini_key_cannot_speak_to_the_typed_endpoint(router: Router, fake: GoogleServer, at: At) -> None:
    """A compatible instance without the mode says so before anything is sent."""
    from anymedia.context import Context
    from anymedia.requests import GenerateImage
    from google_media import imagen

    context = Context(backend="own", model="imagen-4.0-generate-001", service="compatible", settings={"base_url": fake.url})
    with pytest.raises(InvalidRequest, match="Agent Platform mode"):
        await imagen.generate(GenerateImage(prompt="a fox"), context)
    assert fake.submits() == 0
