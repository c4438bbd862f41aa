"""Images: what goes into the one message, and what is made of the answer."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path

import pytest
from wire.grok_server import GrokServer
from wire.media_bytes import image
from xai_sdk.proto import image_pb2

from anymedia.errors import ContentRefused, ModelRetired, UnsupportedInput, UnsupportedOperation
from anymedia.plugins.registry import discover
from anymedia.policy import Policy
from anymedia.requests import GenerateImage, Inpaint, Mask
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio


def bytes_of(content: image_pb2.ImageUrlContent) -> bytes:
    head, _, body = content.image_url.partition(";base64,")
    assert head.startswith("data:image/")
    return base64.b64decode(body)


async def test_image_is_made_with_one_call_and_collected_from_its_url(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a fox", backend="grok", output=tmp_path / "fox.jpg")
    sent = fake.last("GenerateImage")
    assert (sent.prompt, sent.model, sent.n) == ("a fox", "grok-imagine-image-2.0", 1)
    assert not sent.HasField("quality")
    assert result.path.read_bytes() == fake.images.made[0]
    assert result.continuation_id is not None
    assert result.continuation_id.startswith("grok_img_")
    assert fake.count("GenerateImage") == 1


async def test_downloads_carry_no_key(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    await router.generate_image(prompt="a fox", backend="grok", output=tmp_path / "fox.jpg")
    assert [r.headers.get("authorization") for r in fake.depot.fetched] == [None]


async def test_options_become_numbers_of_the_protocol(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    await router.generate_image(
        prompt="a fox", aspect_ratio="19.5:9", resolution="2K", quality="low", extra_params={"user": "u-1"}, backend="grok",
        output=f"{tmp_path}/",
    )  # fmt: skip
    sent = fake.last("GenerateImage")
    assert sent.aspect_ratio == image_pb2.IMG_ASPECT_RATIO_19_5_9
    assert sent.resolution == image_pb2.IMG_RESOLUTION_2K
    assert sent.quality == image_pb2.IMG_QUALITY_LOW
    assert sent.user == "u-1"


async def test_aspect_auto_and_quality_auto_which_the_sdk_refuses_work(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a fox", aspect_ratio="auto", quality="auto", backend="grok", output=f"{tmp_path}/")
    sent = fake.last("GenerateImage")
    assert sent.aspect_ratio == image_pb2.IMG_ASPECT_RATIO_AUTO
    assert not sent.HasField("quality")
    assert result.adjustments == ()


@pytest.mark.parametrize(("asked", "nearest"), [("21:9", "20:9"), ("5:2", "20:9")])
async def test_ratios_the_protocol_has_no_number_for_are_snapped_or_refused_in_words(
    router: Router, fake: GrokServer, tmp_path: Path, asked: str, nearest: str
) -> None:
    request = GenerateImage(prompt="a fox", aspect_ratio=asked)
    with pytest.raises(UnsupportedOperation, match=r"accepts 1:1, 16:9"):
        await router.plan(request, backend="grok", policy=Policy(strict=True))
    assert fake.calls == []
    try:
        plan = await router.plan(request, backend="grok")
    except UnsupportedOperation as error:
        assert "nearest: " in str(error)  # farther off than the policy's tolerance
    else:
        assert [(a.field, a.sent) for a in plan.adjustments] == [("aspect_ratio", nearest)]


async def test_several_images_come_from_one_call(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="foxes", n=4, backend="grok", output=f"{tmp_path}/")
    assert fake.last("GenerateImage").n == 4
    assert [f.path.read_bytes() for f in result.files] == fake.images.made
    assert len({f.continuation_id for f in result.files}) == 4
    assert fake.count("GenerateImage") == 1


async def test_fewer_images_than_asked_for_are_taken_and_told(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.images.short_by = 1
    result = await router.generate_image(prompt="foxes", n=3, backend="grok", output=f"{tmp_path}/")
    assert len(result.files) == 2
    assert "3 images were requested and 2 returned" in [str(w) for w in result.warnings]


async def test_images_withheld_by_moderation_are_reported_and_the_others_kept(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="HALF of the foxes", n=4, backend="grok", output=f"{tmp_path}/")
    assert len(result.files) == 2
    assert "the provider's moderation withheld 2 of 4 images" in [str(w) for w in result.warnings]


async def test_image_held_back_is_refused_content_that_was_paid_for(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    with pytest.raises(ContentRefused, match="withheld") as caught:
        await router.generate_image(prompt="BLOCKED", backend="grok", output=f"{tmp_path}/")
    assert caught.value.charged == "yes"
    spent = await router.store.spend()
    assert (spent.reserved_usd, spent.committed_usd) == (0, pytest.approx(0.05))  # the ticks of the answer, not the quote
    assert fake.count("GenerateImage") == 1


async def test_base64_is_taken_where_a_server_answers_so(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.images.as_base64 = True
    result = await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/")
    assert result.path.read_bytes() == fake.images.made[0]


async def test_continuation_sends_the_stored_image_as_the_picture_to_edit(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first = await router.generate_image(prompt="a fox", backend="grok", output=tmp_path / "fox.jpg")
    second = await router.generate_image(prompt="at night", continue_from=first.continuation_id, output=tmp_path / "night.jpg")
    sent = fake.last("GenerateImage")
    assert bytes_of(sent.image) == first.path.read_bytes()
    assert len(sent.images) == 0
    assert second.continuation_id not in {None, first.continuation_id}
    assert second.path.read_bytes() == fake.images.made[1]


async def test_one_picture_is_edited_and_several_are_put_together(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    pictures = [image(64 + 16 * i, 64, "png", tint=i) for i in range(5)]
    await router.edit_with_references(prompt="bluer", references=[pictures[0]], backend="grok", output=f"{tmp_path}/")
    assert bytes_of(fake.last("GenerateImage").image) == pictures[0]
    await router.edit_with_references(
        prompt="put <IMAGE_2> on <IMAGE_1>", references=pictures, aspect_ratio="16:9", backend="grok", output=f"{tmp_path}/"
    )
    sent = fake.last("GenerateImage")
    assert not sent.HasField("image")
    assert [bytes_of(content) for content in sent.images] == pictures
    assert sent.aspect_ratio == image_pb2.IMG_ASPECT_RATIO_16_9


async def test_sixth_picture_is_refused_before_anything_is_sent(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    pictures = [image(64, 64, "png", tint=i) for i in range(6)]
    with pytest.raises(UnsupportedInput, match="1 to 5 reference images, not 6"):
        await router.edit_with_references(prompt="all", references=pictures, backend="grok", output=f"{tmp_path}/")
    assert fake.calls == []


async def test_continued_image_is_sent_behind_the_pictures_that_are_given(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first = await router.generate_image(prompt="a fox", backend="grok", output=tmp_path / "fox.jpg")
    other = image(96, 64, "png", tint=3)
    await router.edit_with_references(
        prompt="with a hat", references=[other], continue_from=first.continuation_id, backend="grok", output=f"{tmp_path}/"
    )
    assert [bytes_of(content) for content in fake.last("GenerateImage").images] == [other, first.path.read_bytes()]


async def test_continued_image_that_makes_one_too_many_is_refused(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first = await router.generate_image(prompt="a fox", backend="grok", output=tmp_path / "fox.jpg")
    pictures = [image(64, 64, "png", tint=i) for i in range(5)]
    with pytest.raises(UnsupportedInput, match="1 to 5 reference images, including the continued image, not 6"):
        await router.edit_with_references(
            prompt="all", references=pictures, continue_from=first.continuation_id, backend="grok", output=f"{tmp_path}/"
        )
    assert fake.count("GenerateImage") == 1


async def test_edit_of_a_single_picture_keeps_its_shape_and_reports_it(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.edit_with_references(
        prompt="bluer", references=[image(96, 64)], aspect_ratio="1:1", backend="grok", output=f"{tmp_path}/"
    )
    assert not fake.last("GenerateImage").HasField("aspect_ratio")
    assert [(a.field, a.kind) for a in result.adjustments] == [("aspect_ratio", "ignored")]
    assert "keeps its shape" in result.adjustments[0].why


async def test_inputs_too_large_for_one_message_go_through_the_files_api(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    import io

    import numpy
    from PIL import Image as Pillow

    noise = numpy.random.default_rng(7).integers(0, 256, (1400, 1400, 3), dtype="uint8")
    out = io.BytesIO()
    Pillow.fromarray(noise).save(out, "PNG", compress_level=0)
    large, small = out.getvalue(), image(64, 64)
    assert len(large) > 5_000_000
    await router.edit_with_references(prompt="mix", references=[large, small, large, large], backend="grok", output=f"{tmp_path}/")
    sent = fake.last("GenerateImage")
    assert [fake.depot.files[content.file_id].data for content in sent.images] == [large, small, large, large]
    uploads = [call for call in fake.calls if call.method == "UploadFile"]
    assert {call.metadata["authorization"] for call in uploads} == {f"Bearer {fake.key}"}
    assert all(file.expires_at is not None for file in fake.files.uploads)
    assert fake.count("GenerateImage") == 1


async def test_failed_upload_costs_nothing_and_sends_no_request(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    from anymedia.errors import BackendError
    from grok_media import _inputs

    assert _inputs.INLINE_BYTES < 20 * 1024 * 1024
    fake.key = "another"  # the streamed upload is the first call that is made
    import io

    import numpy
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.fromarray(numpy.zeros((1500, 1500, 3), "uint8")).save(out, "PNG", compress_level=0)
    with pytest.raises(BackendError) as caught:
        await router.edit_with_references(prompt="mix", references=[out.getvalue()] * 3, backend="grok", output=f"{tmp_path}/")
    assert caught.value.code == "authentication_failed", caught.value
    assert caught.value.charged == "no"
    assert fake.count("GenerateImage") == 0


async def test_mask_is_refused_before_any_network_and_those_who_can_are_named(
    fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", fake.key)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdefghij")
    own = InstanceSettings(name="grok", plugin="grok", base_url=fake.base_url, options={"grpc_host": fake.host})
    settings = Settings(instances={"grok": own}, state_dir=tmp_path / "state")
    mask = Mask(image=image(64, 64, alpha=True))
    request = Inpaint(prompt="a lamp", source=image(64, 64), mask=mask)  # type: ignore[arg-type]
    async with Router(settings=settings, registry=discover(), today=lambda: datetime.date(2026, 11, 21)) as router:
        with pytest.raises((UnsupportedOperation, UnsupportedInput)) as caught:
            await router.execute(request, backend="grok", output=f"{tmp_path}/")
    assert {"openai", "local"} <= set(caught.value.try_backends)
    assert "openai" in caught.value.fix
    assert caught.value.charged == "no"
    assert fake.calls == []
    assert fake.http.received == []


async def test_negative_prompt_is_left_out_and_reported(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a fox", negative_prompt="blur", seed=42, backend="grok", output=f"{tmp_path}/")
    assert "blur" not in str(fake.last("GenerateImage"))
    assert {(a.field, a.kind, a.asked) for a in result.adjustments} == {("negative_prompt", "ignored", "blur"), ("seed", "ignored", 42)}
    assert set(result.to_json()["ignored"]) == {"negative_prompt", "seed"}


async def test_another_format_is_converted_and_told(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a fox", output_format="png", backend="grok", output=tmp_path / "fox.png")
    assert result.path.read_bytes().startswith(b"\x89PNG")
    assert [(a.field, a.kind, a.asked, a.sent) for a in result.adjustments] == [("output_format", "transcoded", "png", "jpeg")]


async def test_cost_is_what_the_provider_reports(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a fox", n=2, backend="grok", output=f"{tmp_path}/")
    assert result.cost.actual_usd == pytest.approx(0.1)
    assert result.cost.quoted_usd == (0.08, 0.12)


async def test_retired_quality_model_is_refused_with_its_date_and_replacement(router: Router, fake: GrokServer) -> None:
    with pytest.raises(ModelRetired, match="2026-11-02") as caught:
        await router.plan(GenerateImage(prompt="a fox"), backend="grok", model="grok-imagine-image-quality")
    assert "grok-imagine-image-2.0" in str(caught.value)
    assert fake.calls == []
