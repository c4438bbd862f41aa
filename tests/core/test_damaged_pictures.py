"""Damaged pictures that were paid for: what can be decoded is delivered and the rest named; what cannot is kept."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_router
from core.test_plugin_data import answering
from PIL import Image, ImageChops

from anymedia.errors import BadBackendResponse

pytestmark = pytest.mark.anyio
WIDTH, HEIGHT = 96, 128


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


@functools.cache
def whole(form: str, **options: Any) -> bytes:
    picture = Image.effect_mandelbrot((WIDTH, HEIGHT), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def after_pixels(data: bytes) -> int:
    """Return where the checksum of a PNG's only IDAT is."""
    start = data.index(b"IDAT")
    return start + 4 + int.from_bytes(data[start - 4 : start], "big")


def opened(data: bytes | Path) -> Image.Image:
    picture = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    picture.load()
    return picture.convert("RGB")


async def delivered(data: bytes) -> Any:
    def damage(outcome: Any) -> Any:
        return attrs.evolve(outcome, pieces=tuple(attrs.evolve(piece, data=data, mime=None) for piece in outcome.pieces))

    with FakeService() as service:
        async with fake_router(service, registry=answering("generate_image", damage)) as router:
            result = await router.generate_image(prompt="a fox", output="fox.png")
            assert len(service.submits) == 1
            return result


@pytest.mark.parametrize(
    ("form", "options", "left"),
    [("PNG", {}, 0.6), ("WEBP", {}, 0.6), ("WEBP", {"lossless": True}, 0.9), ("GIF", {"interlace": False}, 0.6), ("JPEG", {}, 0.6)],
    ids=["png", "webp", "lossless-webp", "gif", "jpeg"],
)
async def test_picture_that_is_cut_off_is_delivered_with_the_number_of_missing_rows(form: str, options: Any, left: float) -> None:
    data = whole(form, **options)
    result = await delivered(data[: int(len(data) * left)])
    said = next(warning.text for warning in result.warnings if warning.code == "picture_incomplete")
    found = re.search(rf"(\d+) of its {HEIGHT} rows are missing", said)
    assert found is not None, said
    missing = int(found[1])
    assert 0 < missing < HEIGHT
    top = (0, 0, WIDTH, HEIGHT - missing - 8)  # a decoder smooths the edges between blocks
    made = opened(result.path)
    assert made.size == (WIDTH, HEIGHT)
    assert ImageChops.difference(made.crop(top), opened(data).crop(top)).getbbox() is None


@pytest.mark.parametrize("at", [29, after_pixels(whole("PNG"))], ids=["IHDR", "IDAT"])
async def test_png_with_a_wrong_checksum_is_delivered_with_the_correct_one(at: int) -> None:
    result = await delivered(flipped(whole("PNG"), at))
    assert result.path.read_bytes() == whole("PNG")
    assert [warning.code for warning in result.warnings] == ["picture_incomplete"]


async def test_picture_that_cannot_be_decoded_is_kept_with_its_path_in_the_error() -> None:
    data = whole("WEBP")[:40]
    with pytest.raises(BadBackendResponse) as caught:
        await delivered(data)
    assert Path(caught.value.kept).read_bytes() == data
