"""The matrix against the SDK's own protocol: each word it offers has a number there; quotes; what is chosen by itself."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from wire.media_bytes import image
from xai_sdk.proto import image_pb2, video_pb2
from xai_sdk.types import video as sdk_video
from xai_sdk.types.model import ImageGenerationModel, VideoGenerationModel

from anymedia.capabilities import CapabilityMatrix, Choice, OperationSpec
from anymedia.errors import InvalidRequest, UnsupportedInput
from anymedia.requests import ContinueVideo, GenerateVideo, Reference
from anymedia.router import Router
from grok_media import plugin
from grok_media._options import number_of

MATRIX: CapabilityMatrix = plugin.capabilities()
ROWS = [(model.id, row) for model in MATRIX.models for row in model.operations.values()]
_PREFIXES: dict[tuple[str, str], tuple[Any, str]] = {
    ("image", "aspect_ratio"): (image_pb2.ImageAspectRatio, "IMG_ASPECT_RATIO_"),
    ("image", "resolution"): (image_pb2.ImageResolution, "IMG_RESOLUTION_"),
    ("image", "quality"): (image_pb2.ImageQuality, "IMG_QUALITY_"),
    ("video", "aspect_ratio"): (video_pb2.VideoAspectRatio, "VIDEO_ASPECT_RATIO_"),
    ("video", "resolution"): (video_pb2.VideoResolution, "VIDEO_RESOLUTION_"),
}


@pytest.mark.parametrize(("model", "row"), ROWS, ids=[f"{m}-{r.operation}" for m, r in ROWS])
def test_option_word_that_is_offered_has_a_number_in_the_protocol(model: str, row: OperationSpec) -> None:
    found = MATRIX.model(model)
    assert found is not None
    for (media, name), (enum, prefix) in _PREFIXES.items():
        option = row.options.get(name)
        if media == found.media and isinstance(option, Choice):
            words = [word for word in option.one_of if (name, word) != ("quality", "auto")]
            assert all(number_of(enum, prefix, word, name) > 0 for word in words)


def test_every_ratio_and_resolution_of_the_sdk_is_offered() -> None:
    still = MATRIX.models[0].operations["generate_image"].options["aspect_ratio"]
    video = MATRIX.model("grok-imagine-video-1.5")
    assert isinstance(still, Choice)
    assert video is not None
    numbers = {n for n in image_pb2.ImageAspectRatio.values() if n}
    assert {number_of(image_pb2.ImageAspectRatio, "IMG_ASPECT_RATIO_", word, "aspect_ratio") for word in still.one_of} == numbers
    options = video.operations["generate_video"].options
    assert set(getattr(options["aspect_ratio"], "one_of", ())) == set(get_args(sdk_video.VideoAspectRatio))
    assert set(getattr(options["resolution"], "one_of", ())) == set(get_args(sdk_video.VideoResolution))


def test_every_media_model_that_the_sdk_knows_is_listed() -> None:
    known = {*get_args(ImageGenerationModel), *get_args(VideoGenerationModel)}
    assert known
    assert {name for name in known if MATRIX.model(name) is None} == set()


def test_word_without_a_number_is_refused_in_words() -> None:
    with pytest.raises(InvalidRequest, match=r"aspect_ratio=: the provider's protocol has no '21:9'"):
        number_of(image_pb2.ImageAspectRatio, "IMG_ASPECT_RATIO_", "21:9", "aspect_ratio")


def test_model_is_continued_by_one_that_supports_it() -> None:
    for model in MATRIX.models:
        operation: Any = {"image": "generate_image", "video": "continue_video"}.get(model.media)
        for name in model.continues_with:
            onward = MATRIX.model(name)
            assert onward is not None
            assert "continue_from" in onward.operations[operation].inputs


@pytest.mark.parametrize(
    ("request_", "low", "high"),
    [
        (GenerateVideo(prompt="x", duration=10), 0.8, 0.8),
        (GenerateVideo(prompt="x", duration=10, resolution="1080p"), 2.5, 2.5),
        (GenerateVideo(prompt="x", duration=15, resolution="720p", first_frame="https://media.example/a.png"), 2.11, 2.11),  # type: ignore[arg-type]
        (ContinueVideo(prompt="x", source="https://media.example/a.mp4", duration=10), 0.52, 1.0),  # type: ignore[arg-type]
        (ContinueVideo(prompt="x", source="https://media.example/a.mp4", continue_as="edit"), 0.01, 0.7),  # type: ignore[arg-type]
    ],
)
@pytest.mark.anyio
async def test_quote_is_never_below_what_is_reported(router: Router, request_: Any, low: float, high: float) -> None:
    quote = (await router.plan(request_, backend="grok")).quote
    assert quote.usd is not None
    assert list(quote.usd) == pytest.approx([low, high])


@pytest.mark.anyio
async def test_reference_pictures_shorten_what_the_older_model_makes(router: Router) -> None:
    pictures = [Reference(image=image(64, 64), role="subject")]
    request = GenerateVideo(prompt="x", duration=11, references=pictures)  # type: ignore[arg-type]
    plan = await router.plan(request, backend="grok", model="grok-imagine-video")
    assert [(a.field, a.kind, a.sent) for a in plan.adjustments] == [("duration", "snapped", 10)]
    assert (
        await router.plan(request, backend="grok")
    ).chosen.model == "grok-imagine-video-1.5"  # which takes them for as long as was asked


@pytest.mark.anyio
async def test_first_frame_beside_reference_pictures_is_for_the_newer_model(router: Router) -> None:
    pictures = [Reference(image=image(64, 64), role="subject")]
    request = GenerateVideo(prompt="x", first_frame=image(64, 64), references=pictures)  # type: ignore[arg-type]
    assert (await router.plan(request, backend="grok")).chosen.model == "grok-imagine-video-1.5"
    with pytest.raises(UnsupportedInput, match=r"is for grok-imagine-video-1\.5"):
        await router.plan(request, backend="grok", model="grok-imagine-video")
