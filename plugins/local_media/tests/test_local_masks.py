"""Inpainting and outpainting: outside the mask every pixel stays bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiers import quick_first

from anymedia.errors import InvalidRequest, RequestError, UnsupportedInput
from anymedia.media import Image
from anymedia.requests import Inpaint, Mask

pytestmark = pytest.mark.anyio

BOX = (90, 50, 160, 120)
INSIDE = np.zeros((160, 240), bool)
INSIDE[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True

PROMPTS = ["remove it", "a starry night sky", "two yellow stars", 'a sign "Hi"', "a hot air balloon", "a red heart", "qwertz"]
PROMPTS += ["rain over the sea"]


@pytest.mark.parametrize("prompt", quick_first(PROMPTS))
@pytest.mark.parametrize("name", ["png", "webp"])
async def test_outside_the_mask_every_pixel_stays(local: Any, eyes: Any, photo: Any, prompt: str, name: str) -> None:
    request = Inpaint(prompt=prompt, source=eyes.image(photo), mask=eyes.mask(240, 160, BOX), seed=2, output_format=name)
    out = eyes.pixels((await local.piece(request)).data)
    assert (out[~INSIDE] == photo[~INSIDE]).all()
    assert (out[INSIDE] != photo[INSIDE]).mean() > 0.15


@pytest.mark.parametrize("size", [6, 40])
async def test_erased_region_is_filled_from_its_surroundings(local: Any, eyes: Any, size: int) -> None:
    """A slope of colour with a red square in it: without the square the slope is there again."""
    y, x = np.mgrid[0:120, 0:160].astype(np.float32)
    clean = np.stack([60 + x * 0.5, 90 + y * 0.6, 140 + 0 * x], axis=2)
    stained = clean.copy()
    stained[50 : 50 + size, 60 : 60 + size] = (220, 20, 20)
    mask = eyes.mask(160, 120, (58, 48, 62 + size, 52 + size))
    request = Inpaint(prompt="remove the square", source=eyes.image(stained.astype(np.uint8)), mask=mask)
    out = eyes.pixels((await local.piece(request)).data).astype(float)
    assert np.abs(out - clean).max(axis=2).mean() < 2
    assert np.abs(out - clean).max() < 24


async def test_filling_follows_prompt_and_seed(local: Any, eyes: Any, photo: Any) -> None:
    async def inside(prompt: str, seed: int) -> Any:
        request = Inpaint(prompt=prompt, source=eyes.image(photo), mask=eyes.mask(240, 160, BOX), seed=seed)
        return eyes.pixels((await local.piece(request)).data)[INSIDE].astype(int)

    night, again, other = [await inside("starry night", seed) for seed in (1, 1, 2)]
    desert = await inside("desert, day", 1)
    assert (night == again).all()
    assert (night != other).any()
    assert desert.mean() > night.mean() + 40


async def test_edge_of_a_filling_is_soft_inside_the_mask(local: Any, eyes: Any) -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    request = Inpaint(prompt="starry night", source=eyes.image(grey), mask=eyes.mask(200, 200, (40, 40, 160, 160)), seed=1)
    row = np.abs(eyes.pixels((await local.piece(request)).data)[100].astype(int) - 128).max(axis=1)
    assert row[:40].max() == 0
    assert row[40] < 15
    assert row[55:145].mean() > 60


async def test_transparency_stays_outside_and_the_filling_is_opaque(local: Any, eyes: Any, photo: Any) -> None:
    alpha = np.full((160, 240), 90, np.uint8)
    source = Image(data=eyes.png(np.dstack([photo, alpha])), mime="image/png")
    out = eyes.pixels((await local.piece(Inpaint(prompt="desert", source=source, mask=eyes.mask(240, 160, BOX), seed=1))).data, "RGBA")
    assert (out[~INSIDE] == np.dstack([photo, alpha])[~INSIDE]).all()
    assert (out[INSIDE][:, 3] == 255).all()


def _thing(kind: str) -> tuple[Any, Any]:
    """Return a picture with something in front, and where it is."""
    y, x = np.mgrid[0:180, 0:240]
    chance = np.random.default_rng(1)
    picture = np.stack([150 + 0.2 * x, 170 + 0.1 * y, 190 + 0 * x], axis=2) + chance.normal(0, 4, (180, 240, 3))
    where = ((x - 120) / 40) ** 2 + ((y - 100) / 55) ** 2 < 1 if kind == "oval" else (abs(x - 100) < 36) & (abs(y - 80) < 50)
    picture[where] = np.array([190, 70, 40]) + chance.normal(0, 10, (int(where.sum()), 3))
    return np.clip(picture, 0, 255).astype(np.uint8), where


@pytest.mark.parametrize("kind", ["oval", "box"])
async def test_foreground_and_background_are_found(local: Any, eyes: Any, kind: str) -> None:
    picture, where = _thing(kind)
    found = {}
    for mode in ("foreground", "background"):
        request = Inpaint(prompt="starry night", source=eyes.image(picture), mask=Mask(mode=mode), seed=1)
        out = eyes.pixels((await local.piece(request)).data)
        found[mode] = (out != picture).any(axis=2)
    for mode, wanted in (("foreground", where), ("background", ~where)):
        assert (found[mode] & wanted).sum() / (found[mode] | wanted).sum() > 0.9
    assert not (found["foreground"] & found["background"]).any()


async def test_picture_without_a_foreground_is_refused(local: Any, eyes: Any) -> None:
    plain = np.full((100, 100, 3), 90, np.uint8)
    with pytest.raises(InvalidRequest, match="no foreground stands out"):
        await local.run(Inpaint(prompt="desert", source=eyes.image(plain), mask=Mask(mode="foreground")))


async def test_semantic_classes_are_refused(local: Any, eyes: Any, photo: Any) -> None:
    with pytest.raises(UnsupportedInput, match="no semantic classes"):
        await local.run(Inpaint(prompt="desert", source=eyes.image(photo), mask=Mask(mode="semantic", classes=(3,))))


@pytest.mark.parametrize(
    ("box", "size", "words"),
    [((0, 0, 0, 0), (240, 160), "selects nothing"), ((0, 0, 9, 9), (24, 16), "is 24x16, but the picture is 240x160")],
)
async def test_mask_that_does_not_fit_is_refused(local: Any, eyes: Any, photo: Any, box: Any, size: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        await local.run(Inpaint(prompt="desert", source=eyes.image(photo), mask=eyes.mask(*size, box)))


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
async def test_file_that_is_not_a_picture_is_refused_before_any_work(local: Any, eyes: Any, data: bytes) -> None:
    from local_media import plugin

    source = Image(data=data, mime="image/png")
    request = Inpaint(prompt="desert", source=source, mask=eyes.mask(240, 160, BOX))
    from anymedia.context import LoadedMedia

    context = local.context("inpaint", {source: LoadedMedia(data=data, mime="", filename="x")})
    with pytest.raises(InvalidRequest, match="cannot be decoded"):
        await plugin.inpaint(request, context)
    assert context.submissions == 0


@pytest.mark.parametrize(
    ("more", "size"), [({"size": "400x200"}, (400, 200)), ({"aspect_ratio": "21:9"}, (373, 160)), ({"aspect_ratio": "9:16"}, (240, 427))]
)
@pytest.mark.parametrize("prompt", quick_first(["go on outwards", "starry night"]))
async def test_outpainting_keeps_the_old_picture_bit_for_bit(local: Any, eyes: Any, photo: Any, more: Any, size: Any, prompt: str) -> None:
    out = eyes.pixels((await local.piece(Inpaint(prompt=prompt, source=eyes.image(photo), edit_mode="outpaint", seed=1, **more))).data)
    assert (out.shape[1], out.shape[0]) == size
    left, top = (size[0] - 240) // 2, (size[1] - 160) // 2
    assert (out[top : top + 160, left : left + 240] == photo).all()
    assert out[:, 0].std() > 2 or out[0].std() > 2  # something was painted there


@pytest.mark.exhaustive
async def test_outpainting_follows_the_prompt_farther_out(local: Any, eyes: Any, photo: Any) -> None:
    async def edge(prompt: str) -> float:
        request = Inpaint(prompt=prompt, source=eyes.image(photo), edit_mode="outpaint", size="640x160", seed=1)
        return float(eyes.pixels((await local.piece(request)).data)[:, :40].mean())

    assert await edge("starry night") < await edge("desert at noon, day") - 40


async def test_outpainting_to_less_is_refused(local: Any, eyes: Any, photo: Any) -> None:
    with pytest.raises(RequestError, match="would cut the 240x160 picture"):
        await local.run(Inpaint(prompt="more", source=eyes.image(photo), edit_mode="outpaint", size="200x300"))


async def test_outpaint_mask_says_where_to_paint(local: Any, eyes: Any, photo: Any) -> None:
    request = Inpaint(prompt="starry night", source=eyes.image(photo), edit_mode="outpaint", mask=eyes.mask(240, 160, BOX), seed=1)
    out = eyes.pixels((await local.piece(request)).data)
    assert (out[~INSIDE] == photo[~INSIDE]).all()
    assert (out[INSIDE] != photo[INSIDE]).mean() > 0.5


def _daylight() -> Any:
    """A blue sky, darker above, over green ground."""
    rows = np.linspace(0, 1, 160)[:, None, None]
    sky = np.array([40, 90, 180]) * (1 - rows) + np.array([150, 200, 245]) * rows
    picture = np.broadcast_to(sky, (160, 240, 3)).copy()
    picture[110:] = (60, 120, 50)
    return np.rint(picture).astype(np.uint8)


@pytest.mark.parametrize(("prompt", "close"), [("a blue sky", 6), ("remove it", 6), ("a dragon", 6), ("clouds", 90)])
async def test_mask_in_a_sky_stays_sky(local: Any, eyes: Any, prompt: str, close: int) -> None:
    photo = _daylight()
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[15:85, 60:200] = 255
    damaged = photo.copy()
    damaged[mask > 0] = (200, 30, 30)
    source, area = Image(data=eyes.png(damaged)), Mask(image=Image(data=eyes.png(mask)))
    out = eyes.pixels((await local.run(Inpaint(prompt=prompt, source=source, mask=area, seed=3))).pieces[0].data)
    away = np.abs(out.astype(int) - photo)[mask > 0].max(axis=1)
    assert np.quantile(away, 0.95) <= close
    rim = np.abs(np.diff(out.astype(int), axis=1))[20:80, [59, 199]]  # no seam at the left and right edge of the mask
    assert np.quantile(rim, 0.9) <= 12
