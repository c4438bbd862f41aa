"""Which request a config becomes; no field is lost in the conversion."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from anymedia import generation_config
from anymedia.errors import InvalidRequest, Problem
from anymedia.generation_config import AMBIENT, GenerationConfig
from anymedia.media import Image, Video
from anymedia.requests import (
    Continuation,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    Request,
)

PNG = "data:image/png;base64,iVBORw0KGgo="

#: For each field that becomes part of a request: a value that no default and no other field has.
SAMPLES: dict[str, Any] = {
    "prompt": "a red fox",
    "quality": "superb",
    "duration": 7.5,
    "voice": "nova",
    "aspect_ratio": "21:9",
    "size": "1111x777",
    "extra_params": {"grain": "coarse"},
    "input_images": ({"path": "input-a.png"},),
    "input_image_paths": (Path("input-b.png"),),
    "references": ({"path": "reference.png", "role": "subject", "type": "robot", "description": "our robot"},),
    "continue_from": "gpt_img_0123456789ab",
    "mask_path": Path("mask.png"),
    "edit_mode": "outpaint",
    "background": "transparent",
    "negative_prompt": "no cats",
    "seed": 4242,
    "guidance_scale": 6.25,
    "style_image_path": Path("style.png"),
    "style_description": "thick oil",
    "control_image_path": Path("control.png"),
    "control_type": "scribble",
    "subject_image_path": Path("subject.png"),
    "subject_type": "animal",
    "subject_description": "our dog Rex",
    "mask_mode": "background",
    "segmentation_classes": (17, 99),
    "last_frame_path": Path("last.png"),
    "n": 13,
    "resolution": "4K",
    "continue_as": "remix",
    "protect": "exact",
    "audio_type": "music",
    "speed": 1.75,
    "instructions": "whisper",
    "input_video_path": Path("input.mp4"),
}
FORMAT = {"image": "webp", "video": "webm", "audio": "flac"}
MEDIA = ("image", "video", "audio")

#: Fields that mean something for a medium when they are set alone (prompt aside) ...
ALONE = {
    "image": "quality aspect_ratio size extra_params input_images input_image_paths references continue_from background negative_prompt "
    "seed guidance_scale style_image_path control_image_path subject_image_path n resolution output_format",
    "video": "quality duration aspect_ratio size extra_params input_images input_image_paths references continue_from negative_prompt seed "
    "guidance_scale style_image_path control_image_path subject_image_path last_frame_path n resolution input_video_path output_format",
    "audio": "duration voice extra_params negative_prompt seed audio_type speed instructions output_format",
}
#: ... and those that do with a companion.
TOGETHER = [
    ("image", "style_description", ("style_image_path",)),
    ("video", "style_description", ("style_image_path",)),
    ("image", "control_type", ("control_image_path",)),
    ("image", "subject_type", ("subject_image_path",)),
    ("image", "subject_description", ("subject_image_path",)),
    ("video", "subject_type", ("subject_image_path",)),
    ("image", "mask_path", ("input_images",)),
    ("image", "mask_path", ("continue_from",)),
    ("image", "mask_path", ("input_images", "style_image_path")),
    ("image", "mask_path", ("input_images", "input_image_paths")),
    ("image", "mask_mode", ("input_images",)),
    ("image", "mask_mode", ("continue_from",)),
    ("image", "segmentation_classes", ("input_images",)),
    ("image", "edit_mode", ("input_images", "aspect_ratio")),
    ("image", "edit_mode", ("input_images", "mask_path")),
    ("image", "protect", ("input_images", "mask_path")),
    ("image", "protect", ("input_images", "mask_path", "style_image_path")),
    ("image", "continue_from", ("style_image_path",)),
    ("image", "continue_from", ("input_images", "mask_path")),
    ("video", "continue_as", ("continue_from",)),
    ("video", "continue_as", ("input_video_path",)),
    ("video", "style_image_path", ("continue_from",)),
    ("video", "last_frame_path", ("input_images",)),
]


def leaves(value: Any) -> Iterator[Any]:
    """Every single value in a request, with its role where it has one."""
    if isinstance(value, Reference):
        yield (value.role, str(value.image), value.description, value.type)
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield str(value) if isinstance(value, Path) else value


def files_at(request: Request, place: str) -> list[str]:
    """The files that a request holds as its sources, mask, last frame, or references of a role."""
    images = [reference.image for reference in getattr(request, "references", ()) if reference.role == place]
    if place == "source":
        images += [getattr(request, name, None) for name in ("source", "first_frame")]
    elif place == "mask":
        mask = getattr(request, "mask", None)
        images += [mask.image] if mask is not None else []
    elif place == "last_frame":
        images += [getattr(request, "last_frame", None)]
    return [str(image) for image in images if image is not None]


PLACES = {
    "input_images": "source",
    "input_image_paths": "source",
    "input_video_path": "source",
    "mask_path": "mask",
    "last_frame_path": "last_frame",
    "style_image_path": "style",
    "control_image_path": "control",
    "subject_image_path": "subject",
}


def carries(request: Request, name: str, value: Any) -> bool:
    """Whether a request holds a field's value, where it belongs."""
    found = list(leaves(request))
    if name in PLACES:
        wanted = [leaf["path"] if isinstance(leaf, dict) else str(leaf) for leaf in (value if isinstance(value, tuple) else (value,))]
        return all(file in files_at(request, PLACES[name]) for file in wanted)
    if name == "references":
        return all((item["role"], item["path"], item["description"], item["type"]) in found for item in value)
    if name in {"style_description", "control_type", "subject_type", "subject_description"}:
        owner, _, part = name.partition("_")
        index = {"description": 2, "type": 3}[part]
        return any(isinstance(leaf, tuple) and leaf[0] == owner and leaf[index] == value for leaf in found)
    return all(leaf in found for leaf in leaves(value))


def fields(media: str, *names: str) -> dict[str, Any]:
    values = SAMPLES | {"output_format": FORMAT[media]}
    return {"prompt": SAMPLES["prompt"], "media_type": media} | {name: values[name] for name in names}


def everything_arrives_or_it_is_refused(media: str, names: tuple[str, ...]) -> bool:
    given = fields(media, *names)
    try:
        request = GenerationConfig(**given).to_request()
    except InvalidRequest as error:
        assert error.problems
        assert all(problem.path.startswith("$.") for problem in error.problems), error
        return False
    lost = [name for name in given if name != "media_type" and not carries(request, name, given[name])]
    assert not lost, f"{names} for {media}: {lost} lost in {request}"
    return True


def test_there_is_a_sample_for_every_field() -> None:
    others = {"output_format", "task", "task_inputs"}  # tasks have their own tests
    assert {field.name for field in attrs.fields(GenerationConfig)} == set(SAMPLES) | others | AMBIENT


@pytest.mark.parametrize("media", MEDIA)
def test_each_field_set_alone_arrives_or_is_refused(media: str) -> None:
    accepted = {name for name in (*SAMPLES, "output_format") if everything_arrives_or_it_is_refused(media, (name,))}
    assert accepted == {"prompt", *ALONE[media].split()}


@pytest.mark.parametrize("media", MEDIA)
def test_each_pair_of_fields_arrives_or_is_refused(media: str) -> None:
    pairs = list(itertools.combinations((*SAMPLES, "output_format"), 2))
    accepted = [pair for pair in pairs if everything_arrives_or_it_is_refused(media, pair)]
    assert len(accepted) >= 40  # the pairs are not all refused


@pytest.mark.parametrize(("media", "name", "others"), TOGETHER)
def test_field_with_its_companion_arrives(media: str, name: str, others: tuple[str, ...]) -> None:
    assert everything_arrives_or_it_is_refused(media, (name, *others))


@examples(500)
@given(st.sampled_from(MEDIA), st.sets(st.sampled_from([*SAMPLES, "output_format"]), max_size=7))
def test_any_set_of_fields_arrives_or_is_refused(media: str, names: set[str]) -> None:
    everything_arrives_or_it_is_refused(media, tuple(sorted(names)))


def test_conversion_that_forgets_a_field_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    real = generation_config._Taken.take

    def forgetful(self: Any, *names: str) -> dict[str, Any]:
        return {key: value for key, value in real(self, *names).items() if key != "seed"}

    monkeypatch.setattr(generation_config._Taken, "take", forgetful)
    with pytest.raises(AssertionError, match="'seed'"):
        everything_arrives_or_it_is_refused("image", ("seed",))


def request(**given: Any) -> Request:
    return GenerationConfig(prompt="x", **given).to_request()


def refused(**given: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        request(**given)
    return caught.value


IMAGE = Image(path="a.png")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, GenerateImage(prompt="x")),
        ({"continue_from": "gpt_img_0123456789ab"}, GenerateImage(prompt="x", continue_from=Continuation(id="gpt_img_0123456789ab"))),
        ({"mode": "audio", "n": 1}, GenerateAudio(prompt="x")),
        ({"mode": "video"}, GenerateVideo(prompt="x")),
        ({"mode": "video", "input_images": ["a.png"], "n": 2}, GenerateVideo(prompt="x", first_frame=IMAGE, n=2)),
        (
            {"mode": "video", "input_images": [{"image_url": PNG}]},
            GenerateVideo(prompt="x", first_frame=Image(data=b"\x89PNG\r\n\x1a\n", mime="image/png")),
        ),
        (
            {"mode": "video", "input_images": [{"url": "https://example.org/a.png"}]},
            GenerateVideo(prompt="x", first_frame=Image(url="https://example.org/a.png")),
        ),
        ({"mode": "video", "continue_from": "v", "n": 1}, ContinueVideo(prompt="x", continue_from=Continuation(id="v"))),
        ({"mode": "video", "input_video_path": "v.mp4"}, ContinueVideo(prompt="x", source=Video(path=Path("v.mp4")))),
        ({"input_images": ["a.png"]}, EditWithReferences(prompt="x", references=(Reference(image=IMAGE),))),
        ({"input_image_paths": ["a.png"]}, EditWithReferences(prompt="x", references=(Reference(image=IMAGE),))),
        ({"input_images": ["a.png"], "mask_path": "a.png"}, Inpaint(prompt="x", source=IMAGE, mask=Mask(image=IMAGE))),
        (
            {"input_images": ["a.png"], "mask_path": "a.png", "mask_mode": "user_provided", "edit_mode": "inpaint"},
            Inpaint(prompt="x", source=IMAGE, mask=Mask(image=IMAGE)),
        ),
        (
            {"continue_from": "i", "mask_path": "a.png"},
            Inpaint(prompt="x", continue_from=Continuation(id="i"), mask=Mask(image=IMAGE)),
        ),
        ({"input_images": ["a.png"], "mask_mode": "AUTO"}, Inpaint(prompt="x", source=IMAGE, mask=Mask(mode="foreground"))),
        (
            {"input_images": ["a.png"], "mask_mode": "AUTO", "segmentation_classes": [3]},
            Inpaint(prompt="x", source=IMAGE, mask=Mask(mode="semantic", classes=(3,))),
        ),
        (
            {"input_images": ["a.png"], "segmentation_classes": [3]},
            Inpaint(prompt="x", source=IMAGE, mask=Mask(mode="semantic", classes=(3,))),
        ),
        (
            {"input_images": ["a.png"], "edit_mode": "outpaint", "size": "2048x1024"},
            Inpaint(prompt="x", source=IMAGE, edit_mode="outpaint", size="2048x1024"),
        ),
        (
            {"input_images": ["a.png", "b.png"], "mask_path": "m.png"},
            EditWithReferences(
                prompt="x",
                references=(Reference(image=IMAGE), Reference(image=Image(path=Path("b.png")))),
                mask=Mask(image=Image(path=Path("m.png"))),
            ),
        ),
        (
            {
                "input_images": ["a.png"],
                "style_image_path": "s.png",
                "style_description": "oil",
                "mask_path": "m.png",
                "edit_mode": "inpaint",
            },
            EditWithReferences(
                prompt="x",
                references=(Reference(image=IMAGE), Reference(image=Image(path=Path("s.png")), role="style", description="oil")),
                mask=Mask(image=Image(path=Path("m.png"))),
            ),
        ),
    ],
)
def test_order_of_routing(given: dict[str, Any], expected: Request) -> None:
    assert GenerationConfig.from_json({"prompt": "x", **given}).to_request() == expected


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"media_type": "audio", "continue_from": "a"}, "$.continue_from", "audio cannot be continued"),
        ({"media_type": "video", "input_images": ["a.png", "b.png"]}, "$.input_images", "roles are not known"),
        ({"media_type": "video", "input_images": ["a.png"], "continue_from": "v"}, "$.input_images", "last frame"),
        (
            {"media_type": "video", "continue_from": "v", "input_video_path": "v.mp4"},
            "$.continue_from",
            "either continue_from or",
        ),
        ({"media_type": "video", "continue_from": "v", "n": 2}, "$.n", "has no meaning for continue_video"),
        ({"media_type": "video", "continue_from": "v", "last_frame_path": "l.png"}, "$.last_frame_path", "has no meaning"),
        ({"media_type": "video", "background": "opaque"}, "$.background", "mode 'image'"),
        ({"media_type": "video", "mask_path": "m.png"}, "$.mask_path", "mode 'image'"),
        ({"media_type": "video", "n": 21}, "$.n", "between 1 and 20"),
        ({"media_type": "audio", "input_images": ["a.png"]}, "$.input_images", "has no meaning for generate_audio"),
        ({"media_type": "image", "duration": 4}, "$.duration", "'video' or 'audio'"),
        ({"voice": "nova"}, "$.voice", "mode 'audio'"),
        ({"style_description": "oil"}, "$.style_description", "style_image_path"),
        ({"control_type": "edges"}, "$.control_type", "control_image_path"),
        ({"subject_type": "dog"}, "$.subject_type", "subject_image_path"),
        ({"subject_description": "Rex", "style_image_path": "s.png"}, "$.subject_description", "subject_image_path"),
        ({"continue_as": "remix"}, "$.continue_as", "continue_from"),
        ({"continue_from": "gpt_img_0123456789ab", "continue_as": "remix"}, "$.continue_as", "mode 'video'"),
        ({"protect": "exact"}, "$.protect", "mask_path"),
        ({"input_images": ["a.png"], "mask_mode": "foreground", "protect": "exact"}, "$.protect", "mask image"),
        ({"mask_path": "m.png"}, "$.input_images", "an image to change is missing"),
        ({"mask_path": "m.png", "style_image_path": "s.png"}, "$.mask_path", "source image"),
        ({"input_images": ["a.png"], "edit_mode": "inpaint"}, "$.mask_path", "region to change"),
        ({"input_images": ["a.png"], "edit_mode": "outpaint"}, "$.size", "extend to"),
        ({"input_images": ["a.png", "b.png"], "edit_mode": "outpaint", "size": "9x9"}, "$.edit_mode", "one source image"),
        ({"input_images": ["a.png"], "style_image_path": "s.png", "edit_mode": "inpaint"}, "$.edit_mode", "goes with a mask"),
        ({"input_images": ["a.png"], "mask_mode": "user_provided"}, "$.mask_path", "needs a mask image"),
        ({"input_images": ["a.png"], "mask_mode": "semantic"}, "$.segmentation_classes", "needs classes"),
        ({"input_images": ["a.png"], "mask_mode": "foreground", "segmentation_classes": [1]}, "$.segmentation_classes", "semantic"),
        ({"input_images": ["a.png"], "mask_path": "m.png", "segmentation_classes": [1]}, "$.segmentation_classes", "without mask_path"),
        ({"input_images": ["a.png"], "mask_path": "m.png", "mask_mode": "foreground"}, "$.mask_mode", "contradicts"),
        ({"input_images": ["a.png"], "mask_path": "m.png", "mask_mode": "auto"}, "$.mask_mode", "contradicts"),
        ({"input_images": [{"image_url": "data:image/png;base64,%%"}]}, "$.input_images[0].image_url", "base64"),
        ({"continue_from": "x" * 300}, "$.continue_from", "continuation id"),
        ({"output_path": "a.png", "output_format": "jpeg"}, "$.output_format", "contradicts"),
        ({"output_path": "a.mp4", "media_type": "image"}, "$.output_path", "not a format for image"),
        ({"output_format": "wav", "media_type": "video"}, "$.output_format", "not a format for video"),
        ({"output_path": "a.py"}, "$.output_path", "not a suffix of media files"),
        ({"output_path": "a.pngg"}, "$.output_path", "did you mean 'png'"),
        ({"output_path": ".png/.bashrc.exe"}, "$.output_path", "not a suffix of media files"),
    ],
)
def test_contradictions_are_refused_where_they_are(given: dict[str, Any], path: str, words: str) -> None:
    problems = refused(**given).problems
    assert path in [problem.path for problem in problems]
    assert words in " ".join(map(str, problems))


@pytest.mark.parametrize(
    ("given", "kind", "output_format"),
    [
        ({"output_path": "a.jpg"}, "generate_image", "jpeg"),
        ({"output_path": "A.JPEG", "output_format": "JPG"}, "generate_image", "jpeg"),
        ({"output_path": "dir.d/a.webp"}, "generate_image", "webp"),
        ({"output_path": "out"}, "generate_image", None),
        ({"output_path": "out.d/"}, "generate_image", None),
        ({"output_path": "."}, "generate_image", None),
        ({"output_path": "a.mp4"}, "generate_video", "mp4"),
        ({"output_path": "a.wav"}, "generate_audio", "wav"),
        ({"output_format": "webm"}, "generate_video", "webm"),
        ({"output_format": "mp3", "output_path": "out/"}, "generate_audio", "mp3"),
        ({"continue_from": "sora_vid_0123456789ab"}, "continue_video", None),
        ({"continue_from": "gpt_img_0123456789ab"}, "generate_image", None),
        ({"continue_from": "sora_vid_0123456789ab", "media_type": "image"}, "generate_image", None),
    ],
)
def test_medium_and_the_format_follow_from_the_output(given: dict[str, Any], kind: str, output_format: str | None) -> None:
    found = request(**given)
    assert (found.kind, found.output_format) == (kind, output_format)


def test_zero_is_a_value() -> None:
    found = request(seed=0, guidance_scale=0)
    assert isinstance(found, GenerateImage)
    assert (found.seed, found.guidance_scale) == (0, 0)


def test_input_images_come_before_input_image_paths() -> None:
    found = request(input_images=["a.png"], input_image_paths=["b.png"])
    assert isinstance(found, EditWithReferences)
    assert [str(reference.image) for reference in found.references] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"size": "480p"}, {"resolution": "480p"}),
        ({"size": "720P", "media_type": "video"}, {"resolution": "720p"}),
        ({"size": "4k"}, {"resolution": "4K"}),
        ({"size": "16x9"}, {"aspect_ratio": "16:9"}),
        ({"size": "9:16"}, {"aspect_ratio": "9:16"}),
        ({"size": "512*512"}, {"size": "512x512"}),
        ({"size": "500"}, {"size": "500x500"}),
        ({"size": "512 X 256"}, {"size": "512x256"}),
        ({"size": "512×256"}, {"size": "512x256"}),
        ({"aspect_ratio": "16x9"}, {"aspect_ratio": "16:9"}),
        ({"size": "720p", "resolution": "720p"}, {"resolution": "720p"}),
        ({"size": "square"}, {"aspect_ratio": "1:1"}),
        ({"size": "Square HD"}, {"size": "1024x1024"}),
        ({"size": "landscape"}, {"aspect_ratio": "3:2"}),
        ({"size": "landscape", "media_type": "video"}, {"aspect_ratio": "16:9"}),
        ({"aspect_ratio": "portrait"}, {"aspect_ratio": "2:3"}),
        ({"aspect_ratio": "Vertical", "media_type": "video"}, {"aspect_ratio": "9:16"}),
        ({"size": "portrait_16_9"}, {"aspect_ratio": "9:16"}),
        ({"size": "Landscape (4:3)"}, {"aspect_ratio": "4:3"}),
        ({"aspect_ratio": "16/9"}, {"aspect_ratio": "16:9"}),
        ({"size": "Full HD"}, {"resolution": "1080p"}),
        ({"resolution": "1080"}, {"resolution": "1080p"}),
    ],
)
def test_shape_written_in_another_way_is_read_and_noted(given: dict[str, Any], expected: dict[str, str]) -> None:
    found = request(**given)
    shape = {name: getattr(found, name) for name in ("size", "aspect_ratio", "resolution")}
    assert {name: value for name, value in shape.items() if value is not None} == expected
    changes, (note,) = generation_config._read_shape(GenerationConfig(prompt="x", **given))
    assert next(iter(given)) in note and "is read as" in note and expected.items() <= changes.items()


@pytest.mark.parametrize("size", ["64x64", "9x9", "4x8", "48x64", "auto", "1024x1024"])
def test_size_in_pixels_stays_a_size(size: str) -> None:
    assert request(size=size).size == size  # type: ignore[union-attr]
    assert generation_config._read_shape(GenerationConfig(prompt="x", size=size)) == ({}, [])


def test_size_that_contradicts_the_field_it_is_read_as_is_refused() -> None:
    (problem,) = refused(size="720p", resolution="1080p").problems
    assert problem.path == "$.size"
    assert problem.message == "'720p' is read as resolution '720p', but resolution is '1080p'"


def test_size_and_resolution_in_two_spellings_of_one_value_agree() -> None:
    assert request(size="720p", resolution="HD").resolution == "720p"  # type: ignore[union-attr]


def test_problem_of_a_further_reference_is_at_its_place() -> None:
    given = {"input_images": ["a.png"], "references": ["b.png", {"path": "c.png", "role": "style", "type": "oil"}]}
    (problem,) = refused(**given).problems
    assert problem.path == "$.references[1].type"
    config = GenerationConfig(prompt="x", input_images=("a.png",), style_image_path="s.png", references=("b.png",))  # type: ignore[arg-type]
    moved = config.locate(InvalidRequest([Problem(f"$.references[{i}]", "is wrong") for i in range(3)]))
    assert [p.path for p in moved.problems] == ["$.input_images[0]", "$.style_image_path", "$.references[0]"]
