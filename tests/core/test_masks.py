"""Masks: read in any form, checked, converted without loss, pasted back exactly, measured."""

import io

import media_samples as samples
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops
from tiers import examples

from anymedia.errors import InvalidRequest, OutputMismatch
from anymedia.masks import MaskPlane, convert, outside_difference, paste_back, read_mask

SIZE = (16, 8)


def left_half(size: tuple[int, int] = SIZE) -> MaskPlane:
    width, height = size
    return MaskPlane(width, height, (b"\xff" * (width // 2) + b"\0" * (width - width // 2)) * height)


def drawn(mode: str, colour_in: object, colour_out: object, size: tuple[int, int] = SIZE) -> Image.Image:
    """The left half in one colour, the rest in another."""
    image = Image.new(mode, size, colour_out)  # type: ignore[arg-type]
    image.paste(colour_in, (0, 0, size[0] // 2, size[1]))  # type: ignore[arg-type]
    return image


@st.composite
def planes(draw: st.DrawFn) -> MaskPlane:
    width, height = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    if width * height == 1:
        width = 2
    pixels = bytearray(255 * b for b in draw(st.lists(st.integers(0, 1), min_size=width * height, max_size=width * height)))
    pixels[0], pixels[-1] = 255, 0
    return MaskPlane(width, height, bytes(pixels))


@given(planes())
def test_converting_and_reading_back_is_the_identity(mask: MaskPlane) -> None:
    for form in ("alpha", "white", "guidance"):
        assert read_mask(convert(mask, form), mask.size) == mask
    assert read_mask(convert(mask, "black"), mask.size, convention="black") == mask


@given(planes())
def test_alpha_mask_is_transparent_exactly_where_the_picture_is_edited(mask: MaskPlane) -> None:
    image = Image.open(io.BytesIO(convert(mask, "alpha")))
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == bytes(255 - p for p in mask.pixels)


@given(planes())
def test_alpha_mask_read_by_brightness_is_the_same_mask(mask: MaskPlane) -> None:
    opaque = Image.open(io.BytesIO(convert(mask, "alpha"))).convert("RGB")
    assert read_mask(samples.encode(opaque, "PNG"), mask.size) == mask


READABLE = {
    "grey": drawn("L", 255, 0),
    "nearly white": drawn("L", 129, 126),
    "one bit": drawn("1", 1, 0),
    "rgb": drawn("RGB", (255, 255, 255), (0, 0, 0)),
    "rgba transparent": drawn("RGBA", (0, 0, 0, 0), (255, 255, 255, 255)),
    "rgba transparent and white": drawn("RGBA", (255, 255, 255, 0), (0, 0, 0, 255)),
    "rgba opaque": drawn("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
    "grey alpha": drawn("LA", (0, 0), (0, 255)),
    "16 bit": drawn("I;16", 65535, 255),
    "rgba nearly transparent": drawn("RGBA", (9, 9, 9, 100), (9, 9, 9, 254)),
}


@pytest.mark.parametrize("name", READABLE)
def test_mask_in_any_pillow_mode_is_read(name: str) -> None:
    assert read_mask(samples.encode(READABLE[name], "PNG"), SIZE) == left_half()


def test_palette_mask_is_read_by_colour_or_by_transparency() -> None:
    image = drawn("P", 1, 0)
    image.putpalette([0, 0, 0, 255, 255, 255])
    assert read_mask(samples.encode(image, "PNG"), SIZE) == left_half()
    assert read_mask(samples.encode(image, "PNG", transparency=1), SIZE) == left_half()
    assert read_mask(samples.encode(image, "GIF"), SIZE) == left_half()


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_mask_in_another_format_is_read(fmt: str) -> None:
    assert read_mask(samples.encode(drawn("L", 255, 0, (64, 64)), fmt), (64, 64)) == left_half((64, 64))


def test_mask_with_exif_orientation_is_rotated() -> None:
    stored = drawn("L", 255, 0, (16, 8))
    turned = read_mask(samples.encode(stored, "PNG", exif=samples.exif(6)), (8, 16))
    assert turned.pixels == b"\xff" * 64 + b"\0" * 64
    with pytest.raises(InvalidRequest, match="8 x 16 pixels, its source 16 x 8"):
        read_mask(samples.encode(stored, "PNG", exif=samples.exif(6)), (16, 8))


def test_invalid_mask_is_refused_with_its_reason() -> None:
    def refused(image: Image.Image, words: str, size: tuple[int, int] = SIZE) -> None:
        with pytest.raises(InvalidRequest, match=words) as caught:
            read_mask(samples.encode(image, "PNG"), size)
        assert caught.value.problems[0].path == "$.mask"

    refused(READABLE["grey"], "16 x 8 pixels, its source 16 x 9", (16, 9))
    refused(Image.new("L", SIZE, 0), "empty")
    refused(Image.new("L", SIZE, 255), "Edit without a mask instead")
    refused(Image.new("RGBA", SIZE, (0, 0, 0, 0)), "covers everything")
    refused(Image.new("RGBA", SIZE, (255, 255, 255, 254)), "empty")
    for data in (b"", b"text", samples.good("png")[:-20], samples.good("mp4")):
        with pytest.raises(InvalidRequest):
            read_mask(data, SIZE)


def test_opaque_alpha_mask_is_empty() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        read_mask(samples.encode(READABLE["rgb"], "PNG"), SIZE, convention="alpha")


@examples(40)
@given(
    planes(),
    st.sampled_from(["RGB", "RGBA", "L", "LA", "P", "1"]),
    st.sampled_from(["RGB", "RGBA", "L"]),
    st.sampled_from(["PNG", "WEBP", "BMP"]),
)
def test_paste_back_leaves_protected_pixels_bit_identical(mask: MaskPlane, mode: str, result_mode: str, fmt: str) -> None:
    source = samples.picture(mode, mask.size)
    result = ImageChops.invert(samples.picture("RGB", mask.size)).convert(result_mode)
    pasted = paste_back(samples.encode(source, "PNG"), samples.encode(result, fmt), mask)
    made = Image.open(io.BytesIO(pasted.data))
    assert made.format == "PNG"
    wanted, taken = source.convert("RGBA").tobytes(), made.convert("RGBA").tobytes()
    edited = result.convert("RGBA").tobytes()
    for index, edit in enumerate(mask.pixels):
        pixel = slice(4 * index, 4 * index + 4)
        if not edit:
            assert taken[pixel] == wanted[pixel]
        elif fmt == "PNG":
            assert taken[pixel] == edited[pixel]
    assert outside_difference(samples.encode(source, "PNG"), pasted.data, mask) == 0.0


def test_difference_is_measured_only_outside_the_mask() -> None:
    mask = left_half()
    source = samples.encode(Image.new("RGB", SIZE, (100, 100, 100)), "PNG")
    inside = drawn("RGB", (0, 0, 0), (100, 100, 100))
    outside = drawn("RGB", (100, 100, 100), (103, 106, 100))
    assert outside_difference(source, samples.encode(inside, "PNG"), mask) == 0.0
    assert outside_difference(source, samples.encode(outside, "PNG"), mask) == 3.0
    pasted = paste_back(source, samples.encode(outside, "PNG"), convert(mask, "white"))
    assert pasted.difference == 3.0
    assert pasted.warnings == ()


def test_scaled_or_lossy_result_is_fitted_and_reported() -> None:
    mask = left_half()
    source = samples.encode(samples.picture(size=SIZE), "PNG")
    pasted = paste_back(source, samples.encode(samples.picture(size=(32, 16)), "JPEG"), mask)
    assert any("JPEG" in text for text in pasted.warnings)
    assert any("scaled from 32 x 16" in text for text in pasted.warnings)
    assert outside_difference(source, pasted.data, mask) == 0.0


def test_result_of_another_aspect_ratio_is_not_pasted_back() -> None:
    source = samples.encode(samples.picture(size=SIZE), "PNG")
    with pytest.raises(OutputMismatch, match="8 x 8 pixels, its source 16 x 8"):
        paste_back(source, samples.encode(samples.picture(size=(8, 8)), "PNG"), left_half())
    with pytest.raises(InvalidRequest, match="mask has 16 x 8"):
        paste_back(samples.encode(samples.picture(size=(8, 8)), "PNG"), source, left_half())


def test_colour_profile_of_the_source_is_kept() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = samples.encode(samples.picture(size=SIZE), "PNG", icc_profile=profile)
    pasted = paste_back(source, samples.encode(samples.picture(size=SIZE), "PNG"), left_half())
    assert Image.open(io.BytesIO(pasted.data)).info["icc_profile"] == profile
