"""Pictures through a real Router: native reference editing where the endpoint has it, emulation on a Gemini key, chats."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as Pillow
from wire.google_interactions import Interaction
from wire.google_predict import Predicted
from wire.google_server import GoogleServer
from wire.google_values import unbase64
from wire.media_bytes import image

from anymedia.errors import InvalidRequest, MediaError, ModelRetired, UnknownContinuation, UnsupportedInput
from anymedia.generation_config import GenerationConfig
from anymedia.policy import Policy
from anymedia.results import Result
from anymedia.router import Router

pytestmark = pytest.mark.anyio
#: Instances whose endpoint has edit_image: Google's own platform with the model listed, and somebody else's server.
TYPED = ("studio", "own")
FOX, STYLE, EDGES, DOG = (image(96, 64, tint=n) for n in (1, 2, 3, 4))


def half_mask(width: int = 96, height: int = 64) -> bytes:
    """White (to change) on its left half."""
    mask = Pillow.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2, height))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Write a picture and return its path."""

    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"{tmp_path}/out/"


async def ask(router: Router, out: str, policy: Policy | None = None, **config: object) -> Result:
    """Do what the agent's flat form asks for."""
    found = GenerationConfig.from_json({"mode": "image", "model": "imagen-3.0-capability-001", **config})
    return await router.execute(found.to_request(), backend=found.backend, model=found.model, policy=policy, output=out)


def opened(data: bytes | Path) -> Pillow.Image:
    found = Pillow.open(io.BytesIO(data if isinstance(data, bytes) else data.read_bytes()))
    found.load()
    return found


def grey(data: bytes) -> bytes:
    return opened(data).convert("L").tobytes()


@pytest.mark.parametrize("backend", TYPED)
async def test_a_style_image_and_its_description_become_a_style_reference(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, backend: str
) -> None:
    result = await ask(router, out, backend=backend, prompt="a fox", style_image_path=at("s.png", STYLE), style_description="ink wash")
    call = fake.predictions.calls[-1]
    assert call.picture("style") == STYLE
    assert call.references("style")[0]["styleImageConfig"] == {"style_description": "ink wash"}
    assert call.parameters["editMode"] == "EDIT_MODE_DEFAULT"
    assert call.instance["prompt"].startswith("a fox")
    assert "[1]" in call.instance["prompt"]
    assert result.adjustments == ()
    assert opened(result.path).size == (256, 256)


@pytest.mark.parametrize("backend", TYPED)
async def test_a_control_image_and_its_type_become_a_control_reference(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, backend: str
) -> None:
    await ask(router, out, backend=backend, prompt="a house", control_image_path=at("c.png", EDGES), control_type="scribble")
    call = fake.predictions.calls[-1]
    assert call.picture("control") == EDGES
    assert call.references("control")[0]["controlImageConfig"] == {"controlType": "CONTROL_TYPE_SCRIBBLE"}


@pytest.mark.parametrize("backend", TYPED)
async def test_a_subject_image_its_type_and_description_become_a_subject_reference(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, backend: str
) -> None:
    about = {"subject_image_path": at("d.png", DOG), "subject_type": "animal", "subject_description": "a small brown dog"}
    await ask(router, out, backend=backend, prompt="on a beach", **about)
    call = fake.predictions.calls[-1]
    assert call.picture("subject") == DOG
    config = call.references("subject")[0]["subjectImageConfig"]
    assert config == {"subject_type": "SUBJECT_TYPE_ANIMAL", "subject_description": "a small brown dog"}


@pytest.mark.parametrize("backend", TYPED)
async def test_mask_mode_auto_becomes_a_mask_reference_beside_the_raw_picture(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, backend: str
) -> None:
    await ask(router, out, backend=backend, prompt="a lake", input_image_paths=[at("f.png", FOX)], mask_mode="AUTO")
    call = fake.predictions.calls[-1]
    assert call.picture("raw") == FOX
    assert [r["maskImageConfig"] for r in call.references("mask")] == [{"maskMode": "MASK_MODE_FOREGROUND"}]
    assert "referenceImage" not in call.references("mask")[0]
    assert call.parameters["editMode"] == "EDIT_MODE_INPAINT_INSERTION"


async def test_auto_with_segmentation_classes_is_semantic_and_the_classes_reach_the_wire(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_mode": "AUTO", "segmentation_classes": [8, 33]}
    await ask(router, out, backend="studio", prompt="a lake", **asked)
    config = fake.predictions.calls[-1].references("mask")[0]["maskImageConfig"]
    assert config == {"maskMode": "MASK_MODE_SEMANTIC", "maskClasses": [8, 33]}


async def test_a_mask_picture_arrives_white_where_to_edit(router: Router, fake: GoogleServer, at: Callable[..., str], out: str) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask())}
    await ask(router, out, backend="studio", prompt="a lake", extra_params={"inpaint_mode": "removal", "mask_dilation": 0.02}, **asked)
    call = fake.predictions.calls[-1]
    assert call.picture("raw") == FOX
    assert grey(call.picture("mask")) == grey(half_mask())
    assert call.references("mask")[0]["maskImageConfig"] == {"maskMode": "MASK_MODE_USER_PROVIDED", "dilation": 0.02}
    assert call.parameters["editMode"] == "EDIT_MODE_INPAINT_REMOVAL"


async def test_a_mask_with_transparency_arrives_in_the_same_polarity(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    clear = Pillow.new("RGBA", (96, 64), (0, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 48, 64))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", buffer.getvalue())}
    await ask(router, out, backend="studio", prompt="a lake", **asked)
    assert grey(fake.predictions.calls[-1].picture("mask")) == grey(half_mask())


async def test_negative_prompt_seed_guidance_and_output_type_reach_the_wire(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    asked = {"negative_prompt": "blurry, low quality", "seed": 42, "guidance_scale": 12.5, "output_format": "jpeg"}
    result = await ask(router, out, backend="studio", prompt="a fox", style_image_path=at("s.png", STYLE), **asked)
    parameters = fake.predictions.calls[-1].parameters
    assert parameters["negativePrompt"] == "blurry, low quality"
    assert parameters["seed"] == 42
    assert parameters["guidanceScale"] == 12.5
    assert parameters["outputOptions"] == {"mimeType": "image/jpeg"}
    assert result.adjustments == ()
    assert opened(result.path).format == "JPEG"


async def test_outpainting_sends_the_mode_the_picture_and_the_mask(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask()), "edit_mode": "outpaint"}
    await ask(router, out, backend="studio", prompt="more of the forest", **asked)
    call = fake.predictions.calls[-1]
    assert call.parameters["editMode"] == "EDIT_MODE_OUTPAINT"
    assert call.picture("raw") == FOX
    assert call.references("mask")


async def test_outpainting_without_a_mask_is_refused_before_anything_is_sent(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    with pytest.raises(MediaError, match="masked border"):
        await ask(router, out, backend="studio", prompt="more", input_image_paths=[at("f.png", FOX)], edit_mode="outpaint", size="192x64")
    assert fake.submits() == 0


async def test_mask_and_style_go_together_in_one_call(router: Router, fake: GoogleServer, at: Callable[..., str], out: str) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask()), "style_image_path": at("s.png", STYLE)}
    await ask(router, out, backend="studio", prompt="a lake", style_description="ink wash", **asked)
    assert fake.submits() == 1
    call = fake.predictions.calls[-1]
    assert [r["referenceType"].rsplit("_", 1)[-1] for r in call.instance["referenceImages"]] == ["RAW", "MASK", "STYLE"]
    assert [r["referenceId"] for r in call.instance["referenceImages"]] == [1, 2, 3]
    assert (call.picture("raw"), call.picture("style")) == (FOX, STYLE)
    assert grey(call.picture("mask")) == grey(half_mask())
    assert "[3]" in call.instance["prompt"]
    assert call.parameters["editMode"] == "EDIT_MODE_INPAINT_INSERTION"


async def test_several_pictures_are_asked_for_in_one_call(router: Router, fake: GoogleServer, at: Callable[..., str], out: str) -> None:
    from anymedia.requests import EditWithReferences, Reference

    asked = EditWithReferences(prompt="a fox", references=(Reference(image=at("s.png", STYLE), role="style"),), n=3)  # type: ignore[arg-type]
    result = await router.execute(asked, backend="studio", model="imagen-3.0-capability-001", output=out)
    assert fake.predictions.calls[-1].parameters["sampleCount"] == 3
    assert fake.submits() == 1
    assert len(result.files) == 3


async def test_the_retired_model_is_refused_on_an_instance_that_does_not_list_it(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    with pytest.raises(ModelRetired, match="2026-06-30"):
        await ask(router, out, backend="cloud", prompt="a fox", style_image_path=at("s.png", STYLE))
    assert fake.submits() == 0


# ---------------------------------------------------------------- the same four on a Gemini key: emulated, or refused


def asked_for(kind: str, at: Callable[..., str]) -> dict[str, object]:
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
async def test_on_a_gemini_key_it_is_emulated_says_so_and_sends_the_pictures_given(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, kind: str
) -> None:
    result = await ask(router, out, backend="google", model="gemini-nano-banana-2.1", prompt="by the sea", **asked_for(kind, at))
    assert [a.kind for a in result.adjustments] == ["emulated"]
    assert result.adjustments[0].why
    sent: Interaction = fake.interactions.made[-1]
    assert sent.pictures() == PICTURES[kind]
    assert "by the sea" in sent.text()
    for word in WORDS[kind]:
        assert word in sent.text()


@pytest.mark.parametrize("kind", PICTURES)
async def test_on_a_gemini_key_strict_refuses_it_before_anything_is_sent(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, kind: str
) -> None:
    with pytest.raises(MediaError, match="emulated"):
        strict = Policy(strict=True)
        await ask(router, out, strict, backend="google", model="gemini-nano-banana-2.1", prompt="by the sea", **asked_for(kind, at))
    assert fake.submits() == 0


@pytest.mark.parametrize("kind", PICTURES)
async def test_an_instance_that_can_do_it_natively_comes_first(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str, kind: str
) -> None:
    found = GenerationConfig.from_json({"mode": "image", "prompt": "by the sea", **asked_for(kind, at)})
    result = await router.execute(found.to_request(), output=out)
    assert isinstance(fake.predictions.calls[-1], Predicted)
    assert not [a for a in result.adjustments if a.kind == "emulated"]


async def test_an_emulated_mask_picture_is_sent_as_guidance_and_what_changed_outside_is_measured(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
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


async def test_mask_and_style_go_together_on_a_gemini_key_too(router: Router, fake: GoogleServer, at: Callable[..., str], out: str) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_path": at("m.png", half_mask()), "style_image_path": at("s.png", STYLE)}
    result = await ask(router, out, backend="google", model="gemini-nano-banana-2.1", prompt="a lake", **asked)
    sent = fake.interactions.made[-1]
    assert sent.pictures()[:2] == [FOX, STYLE]
    assert grey(sent.pictures()[2]) == grey(half_mask())
    assert "Image 3 is a black and white mask of Image 1" in sent.text()
    assert {a.field for a in result.adjustments if a.kind == "emulated"} == {"mask", "references"}


async def test_sources_alone_are_no_emulation_and_the_prompt_goes_as_it_is(
    router: Router, fake: GoogleServer, at: Callable[..., str], out: str
) -> None:
    paths = [at("f.png", FOX), at("d.png", DOG)]
    result = await ask(router, out, backend="google", model="gemini-nano-banana-2.1", prompt="both together", input_image_paths=paths)
    assert result.adjustments == ()
    assert fake.interactions.made[-1].pictures() == [FOX, DOG]
    assert fake.interactions.made[-1].text() == "both together"


async def test_semantic_classes_are_refused_on_a_gemini_key(router: Router, fake: GoogleServer, at: Callable[..., str], out: str) -> None:
    asked = {"input_image_paths": [at("f.png", FOX)], "mask_mode": "SEMANTIC", "segmentation_classes": [3]}
    with pytest.raises(UnsupportedInput, match="semantic"):
        await ask(router, out, backend="google", model="gemini-nano-banana-2.1", prompt="a lake", **asked)
    assert fake.submits() == 0


async def test_more_pictures_than_one_are_made_by_as_many_calls(router: Router, fake: GoogleServer, out: str) -> None:
    result = await router.generate_image(prompt="a fox", n=3, backend="google", output=out)
    assert fake.submits() == 3
    assert len(result.files) == 3
    assert [(a.field, a.kind) for a in result.adjustments] == [("n", "bridged")]


async def test_agent_platform_takes_the_output_type_and_the_gemini_key_is_converted(router: Router, fake: GoogleServer, out: str) -> None:
    there = await router.generate_image(prompt="a fox", output_format="jpeg", seed=42, aspect_ratio="16:9", backend="cloud", output=out)
    config = fake.content.turns[-1].config
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageOutputOptions": {"mimeType": "image/jpeg"}}
    assert config["seed"] == 42
    here = await router.generate_image(prompt="a fox", output_format="jpeg", seed=42, resolution="2K", backend="google", output=out)
    body = fake.interactions.made[-1].body
    assert body["response_format"] == {"type": "image", "image_size": "2K"}
    assert body["generation_config"] == {"seed": 42}
    assert [(a.field, a.kind) for a in here.adjustments] == [("output_format", "transcoded")]
    assert opened(there.path).format == opened(here.path).format == "JPEG"


# ---------------------------------------------------------------- chats


async def chat(router: Router, backend: str, out: str, turns: int = 3) -> list[Result]:
    said = ["a fox", "make it blue", "now at night"][:turns]
    results: list[Result] = []
    for prompt in said:
        goes_on = results[-1].continuation_id if results else None
        chosen = {} if goes_on else {"backend": backend}
        results.append(await router.generate_image(prompt=prompt, continue_from=goes_on, output=out, **chosen))
    return results


async def test_a_chat_with_a_gemini_key_names_the_interaction_before(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "google", out)
    bodies = [i.body for i in fake.interactions.made]
    assert [b.get("previous_interaction_id") for b in bodies] == [None, fake.interactions.made[0].id, fake.interactions.made[1].id]
    assert [i.text() for i in fake.interactions.made] == ["a fox", "make it blue", "now at night"]
    assert not any(i.pictures() for i in fake.interactions.made)
    ids = [r.continuation_id for r in results]
    assert len(set(ids)) == 3
    assert all(str(i).startswith("gemini_img_") for i in ids)


async def test_a_replayed_chat_over_three_turns_keeps_its_signatures(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "cloud", out)
    last = fake.content.turns[-1]
    assert [c["role"] for c in last.contents] == ["user", "model", "user", "model", "user"]
    assert last.pictures() == fake.content.made[:2]
    assert [c["parts"][0]["text"] for c in last.contents if c["role"] == "user"] == ["a fox", "make it blue", "now at night"]
    for content in last.contents:
        if content["role"] == "model":
            assert ["thoughtSignature" in part for part in content["parts"]] == [True, True]
    told = [unbase64(p["thoughtSignature"]) for c in last.contents if c["role"] == "model" for p in c["parts"]]
    assert set(told) < {unbase64(signature) for signature in fake.content.signed.values()}
    assert Path(results[0].path).read_bytes() == fake.content.made[0]


async def test_a_stored_chat_holds_no_media_bytes(router: Router, fake: GoogleServer, out: str) -> None:
    result = (await chat(router, "cloud", out, 2))[-1]
    assert result.continuation_id is not None
    kept = repr(router.store.load_continuation(result.continuation_id, now=0.0).data)
    for made in fake.content.made:
        assert base64.b64encode(made).decode()[:40] not in kept
    assert len(kept) < 2000


async def test_a_chat_outlives_the_router_that_began_it(new_router: Callable[..., Router], fake: GoogleServer, out: str) -> None:
    async with new_router() as first:
        began = await first.generate_image(prompt="a fox", backend="cloud", output=out)
    async with new_router() as second:
        await second.generate_image(prompt="make it blue", continue_from=began.continuation_id, output=out)
    assert fake.content.turns[-1].pictures() == fake.content.made[:1]


async def test_a_chat_whose_picture_is_gone_is_an_error_and_nothing_is_sent(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "cloud", out, 2)
    Path(results[0].path).unlink()
    with pytest.raises(UnknownContinuation, match="gone or has changed"):
        await router.generate_image(prompt="now at night", continue_from=results[1].continuation_id, output=out)
    assert fake.submits() == 2


async def test_a_forgotten_interaction_is_an_unknown_continuation(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "google", out, 1)
    fake.interactions.made.clear()
    with pytest.raises(UnknownContinuation, match="earlier turn"):
        await router.generate_image(prompt="now at night", continue_from=results[0].continuation_id, output=out)


async def test_an_edit_goes_on_from_the_continued_picture(router: Router, fake: GoogleServer, out: str) -> None:
    began = await router.generate_image(prompt="a fox", backend="google", output=out)
    mask = Path(out) / "mask.png"
    mask.write_bytes(half_mask(256, 256))
    asked = {"continue_from": began.continuation_id, "mask_path": str(mask), "prompt": "a lake"}
    found = GenerationConfig.from_json({"mode": "image", **asked})
    await router.execute(found.to_request(), output=out)
    assert fake.interactions.made[-1].pictures()[0] == Path(began.path).read_bytes()
    assert "previous_interaction_id" not in fake.interactions.made[-1].body


async def test_a_gemini_key_cannot_speak_to_the_typed_endpoint(router: Router, fake: GoogleServer, at: Callable[..., str]) -> None:
    """A compatible instance without the mode says so before anything is sent."""
    from anymedia.context import Context
    from anymedia.requests import GenerateImage
    from google_media import imagen

    context = Context(backend="own", model="imagen-4.0-generate-001", service="compatible", settings={"base_url": fake.url})
    with pytest.raises(InvalidRequest, match="Agent Platform mode"):
        await imagen.generate(GenerateImage(prompt="a fox"), context)
    assert fake.submits() == 0
