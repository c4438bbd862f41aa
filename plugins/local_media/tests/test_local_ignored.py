"""What a prompt says and the backend did not use is reported; what it can draw is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymedia.media import Image
from anymedia.requests import ContinueVideo, EditWithReferences, GenerateImage, GenerateVideo, Inpaint, Mask
from local_media.words import ignored, mood_words, read, scene_words

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
SIZE = "96x64"


def reported(outcome: Any) -> str:
    return " ".join(str(w) for w in outcome.warnings if getattr(w, "code", "") == "ignored_words")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a fox in snow", "fox"),
        ("a lighthouse by the sea at sunset", ""),
        ("watercolor of a mountain lake", "watercolor"),
        ("three red circles on a white background", ""),
        ("a blue sky over hills without clouds", ""),
        ("mountains by the sea", "sea"),  # one place is drawn
        ('a house and the words "RED FOX"', "words"),
        ("лиса в снегу", "лиса, снегу"),
        ("dogs, cats, a horse, a cow, a pig, a hen, a duck, a goose, a mouse", "dogs, cats, horse, cow, pig, hen, duck, goose, and 1 more"),
        ("please make a picture of the sky", ""),
    ],
)  # fmt: skip
def test_words_that_a_scene_does_not_use_are_named(prompt: str, words: str) -> None:
    (warning,) = ignored(prompt, scene_words(read(prompt))) or [None]
    assert (str(warning) if warning else "") == (f"ignored: prompt words: {words}" if words else "")
    assert warning is None or warning.code == "ignored_words"


def test_place_is_ignored_where_only_the_mood_of_a_picture_changes() -> None:
    prompt = "a forest at night in autumn"
    assert [str(w) for w in ignored(prompt, mood_words(read(prompt)))] == ["ignored: prompt words: forest"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("watercolor", ""),
        ("make it brighter and warmer", ""),
        ("remove the background", "remove, background"),
        ("add a red hat", "hat"),
        ("at night", ""),
    ],
)
async def test_edit_names_the_words_that_it_does_not_use(local: Any, eyes: Any, photo: Any, prompt: str, words: str) -> None:
    outcome = await local.run(EditWithReferences(prompt=prompt, references=(eyes.reference(photo, "source"),), seed=1))
    assert reported(outcome).partition(";")[0] == (f"ignored: prompt words: {words}" if words else "")


async def test_image_and_its_continuation_name_ignored_words(local: Any) -> None:
    assert reported(await local.run(GenerateImage(prompt="a fox on a hill", size=SIZE, seed=1))) == "ignored: prompt words: fox"


async def test_masked_edit_names_ignored_words_but_not_what_is_removed(local: Any, eyes: Any, photo: Any) -> None:
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[20:60, 30:90] = 255
    fields: dict[str, Any] = {"source": Image(data=eyes.png(photo)), "mask": Mask(image=Image(data=eyes.png(mask))), "seed": 1}
    assert reported(await local.run(Inpaint(prompt="remove the red car", **fields))) == ""
    assert reported(await local.run(Inpaint(prompt="a dragon", **fields))).startswith(
        "ignored: prompt words: dragon; no word of the prompt"
    )


async def test_videos_name_ignored_words(local: Any, eyes: Any, photo: Any) -> None:
    short: dict[str, Any] = {"duration": 0.2, "size": SIZE, "seed": 1}
    film = await local.run(GenerateVideo(prompt="a fox at sea", **short))
    assert reported(film) == "ignored: prompt words: fox"
    picture = Image(data=eyes.png(photo))
    moved = GenerateVideo(prompt="zoom in on the fox while it snows at night", first_frame=picture, duration=0.2, seed=1)
    assert reported(await local.run(moved)) == "ignored: prompt words: fox, snows"
    passage = GenerateVideo(prompt="a fox at night", first_frame=picture, last_frame=picture, duration=0.2, seed=1)
    assert reported(await local.run(passage)) == "ignored: prompt words: fox, night"
    from anymedia.media import Video

    source = Video(data=film.pieces[0].data)
    assert (
        reported(await local.run(ContinueVideo(prompt="a bear comes closer", source=source, duration=0.2)))
        == "ignored: prompt words: bear, comes"
    )


PAGES = ["README.md", "plugins/local_media/README.md", "docs/index.md", "docs/cli.md"]
_PROMPT = re.compile(r"(?:prompt=|\b(?:image|video|generate_image|generate_video)(?:\(| ))\"([^\"]+)\"")


def test_prompts_of_the_examples_can_be_drawn() -> None:
    found = {prompt: page for page in PAGES for prompt in _PROMPT.findall((ROOT / page).read_text("utf-8"))}
    assert len(found) >= 3
    assert {prompt: said for prompt in found if (said := ignored(prompt, scene_words(read(prompt))))} == {}
