"""Text to image, and continuing an image."""

from __future__ import annotations

import re
from typing import Any

import attrs
import numpy as np
import pytest
from tiers import quick_first

from anymedia.requests import GenerateImage, GenerateVideo

pytestmark = pytest.mark.anyio

PLACES = [
    "mountain lake",
    "rolling hills",
    "desert",
    "foggy forest",
    "sea with a lighthouse",
    "tropical beach",
    "city",
    "meadow",
    "galaxy in space",
]


@pytest.mark.parametrize("size", quick_first(["333x517", "16x16", "640x400", "1024x128"]))
async def test_picture_has_the_size_that_was_asked_for(local: Any, eyes: Any, size: str) -> None:
    piece = await local.piece(GenerateImage(prompt="a mountain lake", size=size, seed=1))
    height, width = eyes.pixels(piece.data).shape[:2]
    assert f"{width}x{height}" == size


@pytest.mark.parametrize("ratio", quick_first(["1:2", "1:1", "16:9", "9:16", "21:9"]))
async def test_picture_has_the_ratio_that_was_asked_for(local: Any, eyes: Any, ratio: str) -> None:
    height, width = eyes.pixels((await local.piece(GenerateImage(prompt="hills", aspect_ratio=ratio, seed=1))).data).shape[:2]
    across, down = (float(n) for n in ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.01)
    assert width * height == pytest.approx(1024 * 1024, rel=0.01)


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF"), ("gif", "GIF")])
async def test_each_output_format_is_what_it_says(local: Any, eyes: Any, name: str, kind: str) -> None:
    piece = await local.piece(GenerateImage(prompt="sea at dawn", size="160x120", seed=3, output_format=name))
    assert eyes.kind(piece.data) == kind
    assert piece.mime == f"image/{name}"
    drawn = eyes.pixels((await local.piece(GenerateImage(prompt="sea at dawn", size="160x120", seed=3))).data)
    assert np.abs(eyes.pixels(piece.data).astype(int) - drawn).mean() < 8


@pytest.mark.parametrize("place", quick_first(PLACES))
async def test_same_seed_gives_the_same_pixels_and_another_seed_others(local: Any, eyes: Any, place: str) -> None:
    first, again, other = [
        eyes.pixels((await local.piece(GenerateImage(prompt=place, size="192x128", seed=seed))).data) for seed in (7, 7, 8)
    ]
    assert (first == again).all()
    assert (first != other).mean() > 0.3


async def test_without_a_seed_each_call_differs_and_tells_its_seed(local: Any, eyes: Any) -> None:
    first, second = [await local.piece(GenerateImage(prompt="hills", size="128x96")) for _ in range(2)]
    assert (eyes.pixels(first.data) != eyes.pixels(second.data)).any()
    told = re.fullmatch(r"seed (\d+)", first.text)
    assert told
    again = await local.piece(GenerateImage(prompt="hills", size="128x96", seed=int(told[1])))
    assert (eyes.pixels(again.data) == eyes.pixels(first.data)).all()


async def test_n_pictures_differ_from_each_other(local: Any, eyes: Any) -> None:
    outcome = await local.run(GenerateImage(prompt="mountains", size="96x64", seed=1, n=3))
    assert len({eyes.pixels(piece.data).tobytes() for piece in outcome.pieces}) == 3


async def test_words_show_in_the_picture(local: Any, eyes: Any) -> None:
    async def mean(prompt: str) -> Any:
        return eyes.pixels((await local.piece(GenerateImage(prompt=prompt, size="192x128", seed=5))).data).mean(axis=(0, 1))

    day, night, sunset = [await mean(f"mountains at {time}") for time in ("day", "night", "sunset")]
    assert night.sum() < 0.5 * day.sum()
    assert sunset[0] - sunset[2] > day[0] - day[2] + 30
    assert (await mean("green mountains"))[1] - (await mean("red mountains"))[1] > 5
    snow = await mean("mountains in winter snow, day")
    assert snow.sum() > day.sum()


async def test_negative_prompt_takes_things_out(local: Any, eyes: Any) -> None:
    plain = eyes.pixels((await local.piece(GenerateImage(prompt="meadow with flowers, day", size="192x128", seed=2))).data)
    bare = eyes.pixels(
        (await local.piece(GenerateImage(prompt="meadow with flowers, day", negative_prompt="flowers", size="192x128", seed=2))).data
    )
    lower = slice(100, 128)
    assert (plain[lower] != bare[lower]).mean() > 0.01
    assert (plain[:40] == bare[:40]).mean() > 0.99


@pytest.mark.parametrize(
    "prompt", ["three red circles on a white background", "2 blue squares on a yellow background", "a green heart on a black background"]
)
async def test_shapes_have_the_number_and_colour_that_was_asked_for(local: Any, eyes: Any, prompt: str) -> None:
    cv2: Any = pytest.importorskip("cv2")

    from local_media.vocabulary import COLOURS
    from local_media.words import read

    wish = read(prompt)
    picture = eyes.pixels((await local.piece(GenerateImage(prompt=prompt, size="400x300", seed=9))).data).astype(int)
    colour = np.array(COLOURS[wish.shapes[0].colour or ""])
    close = (np.abs(picture - colour).max(axis=2) < 20).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(close)
    assert sum(stats[1:, cv2.CC_STAT_AREA] > 100) == wish.shapes[0].count
    assert (np.abs(picture[2, 2] - np.array(COLOURS[wish.backdrop or ""])) < 4).all()
    assert count > 1


async def test_transparent_background_leaves_out_the_sky(local: Any, eyes: Any) -> None:
    request = GenerateImage(prompt="mountain lake, day", size="240x160", seed=3, background="transparent")
    rgba = eyes.pixels((await local.piece(request)).data, "RGBA")
    opaque = eyes.pixels((await local.piece(GenerateImage(prompt="mountain lake, day", size="240x160", seed=3))).data)
    assert (rgba[:10, :, 3] == 0).mean() > 0.9
    assert (rgba[-10:, :, 3] == 255).all()
    assert np.abs(rgba[130:, 60:180, :3].astype(int) - opaque[130:, 60:180]).mean() < 14  # the vignette alone is missing


def _letters(picture: Any, bare: Any) -> Any:
    return np.abs(picture.astype(int) - bare).max(axis=2) > 60


@pytest.mark.parametrize("words", ["OPEN", "Grüße", "Привет", "你好世界"])
async def test_quoted_text_is_drawn_so_that_it_can_be_read(local: Any, eyes: Any, words: str) -> None:
    """The letters' own shapes, drawn by themselves, are found in the picture; other letters of the same script fit worse."""
    cv2: Any = pytest.importorskip("cv2")

    from local_media.text import text_mask

    picture = eyes.pixels((await local.piece(GenerateImage(prompt=f'night sea with "{words}"', size="480x320", seed=4))).data)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)

    def match(text: str) -> float:
        template = text_mask(text, 432, 83)
        ys, xs = np.nonzero(template)
        return float(cv2.matchTemplate(grey, template[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1], cv2.TM_CCOEFF_NORMED).max())

    assert match(words) > 0.85
    assert match(words) > match(words[::-1]) + 0.1


def test_letters_of_other_scripts_are_not_drawn_as_empty_boxes() -> None:
    from local_media.text import text_mask

    for text in ("你好世界", "Привет", "ÄÖÜß", "한국어", "ひらがな"):
        shapes = {(text_mask(letter, 80, 80) > 128).tobytes() for letter in text}
        assert len(shapes) == len(set(text))
        assert all(0.02 < (text_mask(letter, 80, 80) > 128).mean() < 0.6 for letter in text)


async def test_unknown_word_is_reported(local: Any) -> None:
    assert "no word of the prompt is known" in str((await local.run(GenerateImage(prompt="xyzzy", size="64x64"))).warnings[0])
    assert (await local.run(GenerateImage(prompt="a lake", size="64x64"))).warnings == ()


async def test_continuation_keeps_the_mountains_and_changes_the_light(local: Any, eyes: Any) -> None:
    first = await local.piece(GenerateImage(prompt="a mountain lake at sunset", size="240x160", seed=1))
    earlier, files = eyes.earlier(first, "image", "landscape")
    second = await local.piece(GenerateImage(prompt="now at night", continue_from=earlier), files=files)
    assert second.continuation.data["recipe"]["seed"] == 1
    before, after = eyes.pixels(first.data), eyes.pixels(second.data)
    assert after.shape == before.shape
    assert after.mean() < 0.5 * before.mean()
    plain = eyes.pixels((await local.piece(GenerateImage(prompt="a mountain lake at night", size="240x160", seed=1))).data)
    assert np.abs(after[100:].astype(int) - plain[100:]).mean() < 6  # the same land under the same night


async def test_continuing_an_edited_picture_changes_its_pixels(local: Any, eyes: Any, photo: Any) -> None:
    from anymedia.results import ContinuationData, Piece

    earlier, files = eyes.earlier(Piece(data=eyes.png(photo), mime="image/png", continuation=ContinuationData()), "image", "landscape")
    grey = eyes.pixels((await local.piece(GenerateImage(prompt="black and white", continue_from=earlier), files=files)).data)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - photo.astype(int).mean(axis=2)).mean() < 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("party \N{PARTY POPPER}", "no font here has these letters"),
        ("שלום", "right to left"),
        ("你好, Привет & Grüße?", None),
        ("plain?", None),
    ],
)
async def test_letters_that_cannot_be_drawn_as_written_are_reported(local: Any, words: str, said: str | None) -> None:
    requests = [
        GenerateImage(prompt=f'night sea with "{words}"', size="64x64", seed=4),
        GenerateVideo(prompt=f'night sea with "{words}"', size="64x64", duration=0.5, seed=4),
    ]
    for request in requests:
        warnings = (await local.run(request)).warnings
        assert [said in str(warning) for warning in warnings] == [True] if said else warnings == ()


async def test_long_text_is_drawn_and_not_left_out(local: Any, eyes: Any) -> None:
    request = GenerateImage(prompt=f'night sea with "{"word " * 120}"', size="320x240", seed=4)
    bare = attrs.evolve(request, prompt="night sea")
    with_text, without = [eyes.pixels((await local.piece(r)).data) for r in (request, bare)]
    assert _letters(with_text, without).sum() > 500
