"""What came back is compared with what was asked; each difference is a warning with a code."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from tiers import examples

from anymedia.answers import compare
from anymedia.answers.compare import _EDGE, CHANGED_STEP, changed_outside_mask, differences, lost_transparency, mask_polarity, other_count
from anymedia.masks import MaskPlane, convert, read_mask
from anymedia.results import MediaFile, Warning

SIZE = (96, 64)


def received(**facts: Any) -> MediaFile:
    from pathlib import Path

    return MediaFile(**({"path": Path("x"), "mime": "image/png", "size": 1, "sha256": ""} | facts))


def codes(warnings: tuple[Warning, ...]) -> list[str]:
    return [warning.code for warning in warnings]


def encoded(picture: Image.Image, fmt: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, fmt, **options)
    return out.getvalue()


def source() -> Image.Image:
    base = Image.linear_gradient("L").resize(SIZE)
    return Image.merge("RGB", (base, base.rotate(180), base.transpose(Image.Transpose.FLIP_TOP_BOTTOM)))


def plane(box: tuple[int, int, int, int] = (40, 24, 56, 40)) -> MaskPlane:
    picture = Image.new("L", SIZE, 0)
    ImageDraw.Draw(picture).rectangle(box, fill=255)
    return MaskPlane(*SIZE, picture.tobytes())


@given(st.integers(1, 10), st.integers(0, 10))
def test_other_number_of_pieces_than_asked_is_reported_with_both_numbers(asked: int, came: int) -> None:
    warnings = other_count(asked, came)
    assert codes(warnings) == (["fewer_pieces"] if came < asked else ["more_pieces"] if came > asked else [])
    if warnings:
        assert str(asked) in warnings[0].text
        assert (str(came) if came else "none") in warnings[0].text


@pytest.mark.parametrize(
    ("request_", "facts", "found"),
    [
        ({"output_format": "png"}, {}, []),
        ({"output_format": "jpeg"}, {}, ["format_differs"]),
        ({"output_format": "ogg"}, {"mime": "audio/opus"}, []),
        ({"output_format": "auto"}, {}, []),
        ({"size": "1024x1024"}, {"width": 1024, "height": 1024}, []),
        ({"size": "1024x1024"}, {"width": 1024, "height": 1000}, ["size_differs"]),
        ({"size": "auto"}, {"width": 1, "height": 1}, []),
        ({"size": "1024x1024"}, {}, []),
        ({"aspect_ratio": "16:9"}, {"width": 1280, "height": 720}, []),
        ({"aspect_ratio": "16:9"}, {"width": 1376, "height": 768}, []),
        ({"aspect_ratio": "16:9"}, {"width": 1024, "height": 1024}, ["aspect_ratio_differs"]),
        ({"aspect_ratio": "2.35:1"}, {"width": 2350, "height": 1000}, []),
        ({"aspect_ratio": "1:1", "size": "4x8"}, {"width": 4, "height": 8}, []),
        ({"duration": 8}, {"mime": "video/mp4", "seconds": 8.04}, []),
        ({"duration": 8}, {"mime": "video/mp4", "seconds": 5.0}, ["duration_differs"]),
        ({"duration": "8"}, {"mime": "video/mp4", "seconds": 4}, ["duration_differs"]),
        ({"duration": 8, "kind": "continue_video"}, {"mime": "video/mp4", "seconds": 16}, []),
        ({"duration": "auto"}, {"mime": "video/mp4", "seconds": 16}, []),
    ],
)
def test_facts_of_a_file_are_compared_with_the_request(request_: dict[str, Any], facts: dict[str, Any], found: list[str]) -> None:
    assert codes(differences(request_, received(**facts))) == found


def test_converted_file_is_compared_with_the_format_it_was_converted_to() -> None:
    assert not differences({"output_format": "jpeg"}, received(), converted_to="png")


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
def test_opaque_picture_where_a_transparent_one_was_asked_for_is_reported(fmt: str) -> None:
    assert codes(lost_transparency(encoded(source(), fmt), asked=True)) == ["transparency_lost"]
    assert not lost_transparency(encoded(source(), fmt), asked=False)


def test_alpha_channel_that_is_opaque_everywhere_is_lost_transparency() -> None:
    assert codes(lost_transparency(encoded(Image.new("RGBA", SIZE, (1, 2, 3, 255))), asked=True)) == ["transparency_lost"]
    clear = Image.new("RGBA", SIZE, (1, 2, 3, 255))
    clear.putpixel((3, 3), (0, 0, 0, 254))
    assert not lost_transparency(encoded(clear), asked=True)
    assert not lost_transparency(encoded(Image.new("P", SIZE), "GIF", transparency=0), asked=True)


@examples(30)
@given(st.integers(0, 60), st.integers(0, 40), st.integers(8, 30), st.sampled_from([60, 80, 95]))
def test_edit_inside_of_the_mask_that_came_back_lossy_is_honoured(left: int, top: int, edge: int, quality: int) -> None:
    box = (left, top, left + edge, top + edge)
    edited = source()
    ImageDraw.Draw(edited).rectangle(box, fill=(255, 0, 0))
    assert not changed_outside_mask(encoded(source()), encoded(edited, "JPEG", quality=quality, subsampling=0), plane(box))


@examples(30)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_picture_made_again_is_a_mask_not_honoured(red: int, green: int, blue: int) -> None:
    warnings = changed_outside_mask(encoded(source()), encoded(Image.new("RGB", SIZE, (red, green, blue))), plane())
    assert codes(warnings) == ["mask_not_honoured"]


def test_one_changed_corner_is_a_mask_not_honoured() -> None:
    edited = source()
    ImageDraw.Draw(edited).rectangle((0, 0, 30, 20), fill=(255, 0, 255))
    assert codes(changed_outside_mask(encoded(source()), encoded(edited), plane())) == ["mask_not_honoured"]


def test_picture_of_another_size_is_not_compared_and_the_result_says_so() -> None:
    warnings = changed_outside_mask(encoded(source()), encoded(source().resize((192, 128))), plane())
    assert codes(warnings) == ["mask_not_compared"]
    assert "96x64" in warnings[0].text
    assert "192x128" in warnings[0].text


def test_colours_of_transparent_pixels_are_not_compared() -> None:
    one, other = (Image.new("RGBA", SIZE, (v, v, v, 0)) for v in (0, 255))
    assert not changed_outside_mask(encoded(one), encoded(other), plane())


def strokes(colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> bytes:
    layer = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    ImageDraw.Draw(layer).rectangle(box, fill=(*colour, 255))
    return encoded(layer)


@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 40), st.integers(0, 30), st.integers(2, 40), st.integers(2, 30))
def test_opaque_strokes_on_a_transparent_layer_are_maybe_inverted(
    colour: tuple[int, int, int], left: int, top: int, width: int, height: int
) -> None:
    assert codes(mask_polarity(strokes(colour, (left, top, left + width, top + height)))) == ["mask_maybe_inverted"]


@given(st.integers(0, 40), st.integers(0, 30), st.integers(2, 40), st.integers(2, 30))
def test_masks_of_clear_meaning_give_no_warning(left: int, top: int, width: int, height: int) -> None:
    mask = plane((left, top, left + width, top + height))
    for form in ("alpha", "white", "black", "guidance"):
        assert not mask_polarity(convert(mask, form)), form  # type: ignore[arg-type]
        assert not mask_polarity(convert(read_mask(_inverse(mask)), form)), form  # type: ignore[arg-type]
    holes = source().convert("RGBA")
    holes.putalpha(Image.frombytes("L", SIZE, mask.pixels).point(lambda v: 255 - v))
    assert not mask_polarity(encoded(holes))


def _inverse(mask: MaskPlane) -> bytes:
    return encoded(mask.picture().point(lambda v: 255 - v))


@given(st.data())
@examples(60)
def test_part_that_changed_is_that_of_the_pixels_beyond_the_edge_of_the_mask(data: st.DataObject) -> None:
    """Whatever the bands are: with one row each, a few, or all at once, it is what Pillow's filter and one pass give."""
    size = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    mask = Image.new("L", size, 0)
    before, after = Image.new("RGB", size, (40, 80, 120)), Image.new("RGB", size, (40, 80, 120))
    corner = st.tuples(st.integers(0, size[0] - 1), st.integers(0, size[1] - 1))
    for picture, colours in ((mask, st.just(255)), (after, st.sampled_from([(0, 0, 0), (50, 90, 130), (255, 80, 120)]))):
        for one, other in data.draw(st.lists(st.tuples(corner, corner), min_size=1, max_size=3)):
            box = (min(one[0], other[0]), min(one[1], other[1]), max(one[0], other[0]), max(one[1], other[1]))
            ImageDraw.Draw(picture).rectangle(box, fill=data.draw(colours))
    protected = ImageChops.invert(mask.filter(ImageFilter.MaxFilter(2 * _EDGE + 1)))
    wanted = sum(
        keep == 255 and max(abs(a - b) for a, b in zip(one, other, strict=True)) > CHANGED_STEP
        for one, other, keep in zip(before.get_flattened_data(), after.get_flattened_data(), protected.get_flattened_data(), strict=True)
    )
    count = protected.histogram()[255]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anymedia.masks.ROWS", data.draw(st.sampled_from([1, 7, 512])))
        part = compare._changed_part(before, after, MaskPlane(*size, mask.tobytes()))
    assert part == (pytest.approx(wanted / count) if count else None)
