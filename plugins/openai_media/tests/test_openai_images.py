"""Images: what arrives decodes to what was meant, and what comes back is the provider's bytes, untouched."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy
import pytest
from PIL import Image as Pillow
from wire.forms import read_form
from wire.media_bytes import image
from wire.openai_server import OpenAIServer

from anymedia.context import Context, LoadedMedia
from anymedia.errors import InvalidRequest, UnknownContinuation, UnsupportedInput
from anymedia.media import Image
from anymedia.requests import Continuation, EditWithReferences, GenerateImage, Inpaint, Mask, Reference, StoredFile
from anymedia.results import Outcome
from openai_media import plugin
from openai_media.images import cost_of

MakeContext = Callable[..., Context]
Loaded = dict[Image | StoredFile, LoadedMedia]


def png(colour: tuple[int, ...], size: tuple[int, int] = (96, 64)) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def picture(data: bytes) -> tuple[Image, LoadedMedia]:
    mime = "image/" + str(Pillow.open(io.BytesIO(data)).format).lower()
    return Image(data=data), LoadedMedia(data=data, mime=mime, filename="input." + mime[6:])


def stored(name: str) -> StoredFile:
    return StoredFile(path=name, sha256="0" * 64, mime="image/png", width=96, height=64)


def went_in(fake: OpenAIServer) -> list[tuple[str, bytes, str | None]]:
    received = fake.last("POST /v1/images/edits")
    form = read_form(received.headers["content-type"], received.body)
    return [(p.name, p.data, p.mime) for p in form.parts if p.filename is not None]


def prompt_of(fake: OpenAIServer) -> str:
    received = fake.last("POST /v1/images/edits")
    return read_form(received.headers["content-type"], received.body).texts()["prompt"]


@pytest.mark.anyio
async def test_providers_bytes_come_back_verbatim(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2.5-flare", "generate_image")
    made = await plugin.generate_image(request=GenerateImage(prompt="a boat", n=3, output_format="png"), context=context)
    assert isinstance(made, Outcome)
    assert [p.data for p in made.pieces] == fake.images.made
    assert all(b"credentials" in (p.data or b"") for p in made.pieces)
    assert {p.mime for p in made.pieces} == {"image/png"}
    assert made.request_id is not None
    assert made.request_id.startswith("req_")


@pytest.mark.anyio
async def test_cost_is_worked_out_from_the_usage_the_provider_reports(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2.6-sunburst", "generate_image")
    made = await plugin.generate_image(request=GenerateImage(prompt="a boat", quality="high"), context=context)
    assert isinstance(made, Outcome)
    assert made.usage["output_tokens"] == 4160
    assert made.cost_usd == pytest.approx((12 * 5 + 4160 * 30) / 1e6)
    elsewhere = make_context("gpt-image-2.6-sunburst", "generate_image", service="compatible")
    made = await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=elsewhere)
    assert isinstance(made, Outcome)
    assert made.cost_usd is None


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
async def test_source_and_mask_arrive_unchanged_with_alpha_zero_where_the_edit_goes(
    fake: OpenAIServer, make_context: MakeContext, form: str
) -> None:
    source, loaded = picture(image(320, 256, form))
    mask = Mask(image=Image(data=b"as the caller gave it"))
    wanted = numpy.zeros((256, 320), bool)
    wanted[40:120, 200:310] = True
    alpha = numpy.where(wanted, 0, 255).astype("uint8")
    out = io.BytesIO()
    Pillow.merge("LA", (Pillow.new("L", (320, 256)), Pillow.fromarray(alpha))).save(out, "PNG")
    context = make_context(
        "gpt-image-2.6-sunburst", "inpaint", {source: loaded, mask: LoadedMedia(data=out.getvalue(), mime="image/png", filename="mask.png")}
    )
    request = Inpaint(prompt="a lamp", source=source, mask=mask, background="transparent", output_format="webp")
    made = await plugin.inpaint(request=request, context=context)
    (source_field, source_bytes, source_mime), (mask_field, mask_bytes, mask_mime) = went_in(fake)
    assert (source_field, source_mime, mask_field, mask_mime) == ("image[]", f"image/{form}", "mask", "image/png")
    assert source_bytes == loaded.data
    arrived = numpy.asarray(Pillow.open(io.BytesIO(mask_bytes)).getchannel("A"))
    assert numpy.array_equal(arrived == 0, wanted)
    assert isinstance(made, Outcome)
    answered = Pillow.open(io.BytesIO(made.pieces[0].data or b"")).convert("RGBA")
    assert numpy.array_equal(numpy.asarray(answered.getchannel("A")) == 0, wanted)


@pytest.mark.anyio
async def test_continuing_an_image_edits_its_collected_file(fake: OpenAIServer, make_context: MakeContext) -> None:
    earlier = stored("earlier.png")
    loaded = {earlier: picture(png((1, 2, 3)))[1]}
    request = GenerateImage(prompt="at night", continue_from=Continuation(id="gpt_img_1", backend="openai", files=(earlier,)))
    await plugin.generate_image(request=request, context=make_context("gpt-image-2", "generate_image", loaded))
    assert [(name, data) for name, data, _ in went_in(fake)] == [("image[]", loaded[earlier].data)]
    assert fake.count("POST") == 1


@pytest.mark.anyio
async def test_continued_image_whose_file_is_gone_is_a_clear_error_before_any_submit(fake: OpenAIServer, make_context: MakeContext) -> None:
    request = GenerateImage(prompt="at night", continue_from=Continuation(id="gpt_img_1", backend="openai", files=(stored("gone.png"),)))
    with pytest.raises(UnknownContinuation, match=r"gone\.png"):
        await plugin.generate_image(request=request, context=make_context("gpt-image-2", "generate_image"))
    assert fake.received == []


@pytest.mark.anyio
async def test_several_sources_go_as_a_list_in_their_order(fake: OpenAIServer, make_context: MakeContext) -> None:
    pictures = [picture(png((i, 0, 0))) for i in range(16)]
    request = EditWithReferences(prompt="together", references=tuple(Reference(image=p) for p, _ in pictures))
    await plugin.edit_with_references(request=request, context=make_context("gpt-image-2", "edit_with_references", dict(pictures)))
    assert [(name, data) for name, data, _ in went_in(fake)] == [("image[]", p.data) for _, p in pictures]
    assert prompt_of(fake) == "together"


@pytest.mark.anyio
async def test_other_roles_are_put_into_words_that_count_the_pictures_as_they_are_sent(
    fake: OpenAIServer, make_context: MakeContext
) -> None:
    parts = {name: picture(png((i, 9, 9))) for i, name in enumerate(("style", "source", "control", "subject"))}
    loaded: Loaded = dict(parts.values())
    request = EditWithReferences(
        prompt="a lamp",
        references=(
            Reference(image=parts["style"][0], role="style", description="soft watercolour"),
            Reference(image=parts["source"][0]),
            Reference(image=parts["control"][0], role="control", type="edges"),
            Reference(image=parts["subject"][0], role="subject", type="person", description="my sister"),
        ),
    )
    await plugin.edit_with_references(request=request, context=make_context("gpt-image-2", "edit_with_references", loaded))
    sent = [data for _, data, _ in went_in(fake)]
    assert sent == [parts[name][1].data for name in ("source", "style", "control", "subject")]
    assert prompt_of(fake).splitlines() == [
        "a lamp",
        "Take the style, and only the style, from picture 2: soft watercolour.",
        "Follow the structure (edges) of picture 3.",
        "Keep the subject (person) of picture 4 as it is: my sister.",
    ]


@pytest.mark.anyio
async def test_prompt_made_too_long_by_the_roles_is_refused_before_any_submit(fake: OpenAIServer, make_context: MakeContext) -> None:
    style, loaded = picture(png((1, 1, 1)))
    request = EditWithReferences(prompt="x" * 31_990, references=(Reference(image=style, role="style"),))
    with pytest.raises(InvalidRequest, match="32000"):
        await plugin.edit_with_references(request=request, context=make_context("gpt-image-2", "edit_with_references", {style: loaded}))
    assert fake.received == []


@pytest.mark.anyio
async def test_continued_conversation_includes_the_earlier_turns(fake: OpenAIServer, make_context: MakeContext) -> None:
    first = await plugin.generate_image(
        request=GenerateImage(
            prompt="a boat", size="1536x864", extra_params={"responses": True, "complexity": "low", "safety_identifier": "u1"}
        ),
        context=make_context("gpt-image-2.6-flare", "generate_image"),
    )
    asked = fake.last().json()
    assert fake.last().line == "POST /v1/responses"
    assert asked["tools"] == [{"type": "image_generation", "model": "gpt-image-2.6-flare", "size": "1536x864", "complexity": "low"}]
    assert (asked["model"], asked["input"], asked["safety_identifier"]) == ("gpt-6-sol", "a boat", "u1")
    assert asked["tool_choice"] == {"type": "image_generation"}
    assert isinstance(first, Outcome)
    handle = first.pieces[0].continuation
    assert handle is not None
    assert (handle.expires_at or 0) > 25 * 86400
    going_on = Continuation(id="gpt_img_1", backend="openai", model="gpt-image-2.6-flare", data=handle.data, files=(stored("x.png"),))
    second = await plugin.generate_image(
        request=GenerateImage(prompt="at night", continue_from=going_on), context=make_context("gpt-image-2.6-flare", "generate_image")
    )
    assert fake.last().json()["previous_response_id"] == handle.data["response_id"]
    assert isinstance(second, Outcome)
    assert second.pieces[0].data == fake.images.made[-1]
    assert b"turn 1: at night" in fake.images.made[-1]
    assert second.pieces[0].continuation is not None
    assert second.pieces[0].continuation.data["response_id"] != handle.data["response_id"]
    assert second.pieces[0].text == "Revised: at night"


@pytest.mark.anyio
async def test_conversation_may_begin_with_an_image_that_was_made_outside_of_one(fake: OpenAIServer, make_context: MakeContext) -> None:
    earlier = stored("earlier.png")
    loaded = {earlier: picture(png((1, 2, 3)))[1]}
    going_on = Continuation(id="gpt_img_1", backend="openai", files=(earlier,))
    request = GenerateImage(prompt="at night", continue_from=going_on, extra_params={"responses": True})
    made = await plugin.generate_image(request=request, context=make_context("gpt-image-2", "generate_image", loaded))
    assert fake.last().line == "POST /v1/responses"
    text, shown = fake.last().json()["input"][0]["content"]
    assert text == {"type": "input_text", "text": "at night"}
    assert base64.b64decode(shown["image_url"].removeprefix("data:image/png;base64,")) == loaded[earlier].data
    assert isinstance(made, Outcome)
    assert made.pieces[0].continuation is not None


@pytest.mark.anyio
async def test_settings_of_an_instance_may_name_another_mainline_model(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image", responses_model="gpt-5.5")
    await plugin.generate_image(request=GenerateImage(prompt="a boat", extra_params={"responses": True}), context=context)
    assert fake.last().json()["model"] == "gpt-5.5"


@pytest.mark.anyio
async def test_turn_makes_one_image_and_says_so_before_any_submit(fake: OpenAIServer, make_context: MakeContext) -> None:
    going_on = Continuation(id="gpt_img_1", backend="openai", data={"response_id": "resp_1"}, files=(stored("x.png"),))
    with pytest.raises(UnsupportedInput, match="one image"):
        await plugin.generate_image(
            request=GenerateImage(prompt="at night", n=2, continue_from=going_on), context=make_context("gpt-image-2", "generate_image")
        )
    assert fake.received == []


@pytest.mark.anyio
async def test_image_that_another_server_answers_with_an_address_is_left_to_the_core_to_fetch(
    fake: OpenAIServer, make_context: MakeContext
) -> None:
    url = "https://files.example/a.png?signature=s3cret"
    fake.fail("status", status=200, json={"created": 1, "data": [{"url": url}]})
    context = make_context("gpt-image-2", "generate_image", service="compatible")
    made = await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=context)
    assert isinstance(made, Outcome)
    assert (made.pieces[0].url, made.pieces[0].data) == (url, None)
    assert "s3cret" not in repr(made)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"input_tokens": 100, "output_tokens": 1200, "input_tokens_details": {"text_tokens": 100, "image_tokens": 0}}, 0.0365),
        ({"input_tokens": 100, "output_tokens": 1200, "input_tokens_details": {"text_tokens": 100}}, 0.0365),
        ({"input_tokens": 100, "output_tokens": 1200}, 0.0368),
        ({"input_tokens": 100, "output_tokens": 1200, "input_tokens_details": "none"}, 0.0368),
        ({"input_tokens": 100, "output_tokens": -1}, None),
        ({"input_tokens": 10**30, "output_tokens": 1}, None),
        ({"input_tokens": "100", "output_tokens": "1200"}, None),
        ({"output_tokens": 1200}, None),
        ({}, None),
    ],
)
async def test_cost_of_odd_usage_is_an_upper_bound_or_unknown(
    make_context: MakeContext, usage: dict[str, object], usd: float | None
) -> None:
    assert cost_of(usage, make_context("gpt-image-2", "generate_image")) == usd
