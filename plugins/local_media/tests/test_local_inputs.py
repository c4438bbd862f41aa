"""Pictures of every kind are read upright, with 8 bits a channel and their own transparency."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

from anymedia.errors import InvalidRequest
from local_media.pictures import Picture, read_picture, write_picture


def _saved(image: Any, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def _slope() -> Any:
    return np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None], 32, axis=0)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "1", "YCbCr"])
def test_each_colour_mode_becomes_rgb(mode: str) -> None:
    name = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    options = {"quality": 98} if name == "JPEG" else {}
    picture = read_picture(_saved(Pil.fromarray(_slope()).convert("RGB").convert(mode), name, **options))
    assert picture.rgb.shape == (32, 64, 3)
    assert picture.rgb.dtype == np.uint8
    left, right = picture.rgb[:, :16].mean(), picture.rgb[:, -16:].mean()
    assert left < 60
    assert right > 200


def test_sixteen_bits_are_scaled_not_cut() -> None:
    deep = Pil.fromarray(_slope().astype(np.uint16) * 257)
    picture = read_picture(_saved(deep, "PNG"))
    assert np.abs(picture.rgb[..., 0].astype(int) - _slope()).max() <= 1


def test_exif_orientation_is_applied() -> None:
    image = Pil.fromarray(np.zeros((20, 40, 3), np.uint8))
    exif = Pil.Exif()
    exif[0x0112] = 6
    assert read_picture(_saved(image, "JPEG", exif=exif)).size == (20, 40)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Pil.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    assert read_picture(_saved(frames[0], "GIF", save_all=True, append_images=frames[1:])).rgb.mean() < 30


def test_transparency_of_a_palette_is_kept() -> None:
    image = Pil.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 0)
    picture = read_picture(_saved(image, "PNG", transparency=0))
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0
    assert picture.alpha[1, 1] == 255


@pytest.mark.parametrize("name", ["png", "webp"])
def test_lossless_formats_keep_every_bit_with_transparency(name: str) -> None:
    chance = np.random.default_rng(1)
    picture = Picture(chance.integers(0, 256, (30, 40, 3), np.uint8), chance.integers(0, 256, (30, 40), np.uint8))
    again = read_picture(write_picture(picture, name, lossless=True)[0])
    assert (again.rgb == picture.rgb).all()
    assert again.alpha is not None
    assert picture.alpha is not None
    assert (again.alpha == picture.alpha).all()


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_truncated_picture_is_refused(cut: float) -> None:
    data = _saved(Pil.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)), "PNG")
    with pytest.raises(InvalidRequest, match="cannot be decoded"):
        read_picture(data[: int(len(data) * cut)])
