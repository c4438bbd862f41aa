"""Editing with references: source, style, control, subject, and a mask on top."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiers import quick_first

from anymedia.errors import InvalidRequest
from anymedia.requests import EditWithReferences
from local_media.edits.adjust import ADJUSTMENTS

pytestmark = pytest.mark.anyio


def _lab(rgb: Any) -> Any:
    cv2: Any = pytest.importorskip("cv2")

    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


async def edit(local: Any, eyes: Any, prompt: str, *references: Any, **more: Any) -> Any:
    more.setdefault("seed", 1)
    return eyes.pixels((await local.piece(EditWithReferences(prompt=prompt, references=references, **more))).data)


@pytest.mark.parametrize("name", list(ADJUSTMENTS))
async def test_each_known_adjustment_changes_the_source(local: Any, eyes: Any, photo: Any, name: str) -> None:
    out = await edit(local, eyes, f"make it {ADJUSTMENTS[name][0][0]}", eyes.reference(photo, "source"))
    assert out.shape == photo.shape
    assert np.abs(out.astype(int) - photo).mean() > 1


async def test_adjustments_do_what_their_words_say(local: Any, eyes: Any, photo: Any) -> None:
    source = eyes.reference(photo, "source")
    before = _lab(photo)

    async def lab(prompt: str) -> Any:
        return _lab(await edit(local, eyes, prompt, source))

    assert (await lab("brighter"))[..., 0].mean() > before[..., 0].mean() + 5
    assert (await lab("darker"))[..., 0].mean() < before[..., 0].mean() - 5
    assert (await lab("at night"))[..., 0].mean() < before[..., 0].mean() * 0.6
    assert np.abs((await lab("black and white"))[..., 1:]).max() < 1
    assert (await lab("warmer"))[..., 2].mean() > before[..., 2].mean() + 8
    assert (await lab("more contrast"))[..., 0].std() > before[..., 0].std() * 1.15
    assert (await lab("vivid"))[..., 1:].std() > before[..., 1:].std() * 1.3
    sky = (await lab("a blue sky"))[:40]
    assert sky[..., 2].mean() < before[:40, :, 2].mean() - 15
    ground = (await lab("a blue sky"))[120:]
    assert np.abs(ground - before[120:]).mean() < 2


async def test_unknown_words_change_little_and_say_so(local: Any, eyes: Any, photo: Any) -> None:
    outcome = await local.run(EditWithReferences(prompt="qwertz", references=(eyes.reference(photo, "source"),), seed=1))
    assert "no word of the prompt is known" in str(outcome.warnings[0])
    assert (eyes.pixels(outcome.pieces[0].data) != photo).any()


async def test_quoted_text_is_written_on_the_source(local: Any, eyes: Any, photo: Any) -> None:
    out = await edit(local, eyes, 'write "SALE" on it', eyes.reference(photo, "source"))
    changed = (out != photo).any(axis=2)
    assert changed[10:60].any()
    assert not changed[120:].any()


def _style() -> Any:
    y, x = np.mgrid[0:90, 0:120].astype(np.float32)
    return np.clip(np.stack([30 + 0.4 * x, 60 + 0.3 * y, 170 + 0.5 * y], axis=2), 0, 255).astype(np.uint8)


async def test_style_gives_its_colours(local: Any, eyes: Any, photo: Any) -> None:
    style = _style()
    out = await edit(local, eyes, "like this", eyes.reference(photo, "source"), eyes.reference(style, "style"))
    wanted, before, after = (_lab(p).reshape(-1, 3).mean(axis=0) for p in (style, photo, out))
    assert np.linalg.norm(after - wanted) < 0.25 * np.linalg.norm(before - wanted)
    grey = [_lab(p)[..., 0].ravel() for p in (photo, out)]
    assert np.corrcoef(*grey)[0, 1] > 0.8  # it is still the same picture


async def test_words_of_a_style_name_its_manner(local: Any, eyes: Any, photo: Any) -> None:
    source = eyes.reference(photo, "source")
    plain = await edit(local, eyes, "like this", source, eyes.reference(_style(), "style"))
    drawn = await edit(local, eyes, "like this", source, eyes.reference(_style(), "style", description="a pencil sketch"))
    assert (plain != drawn).mean() > 0.5


def _structures() -> dict[str, Any]:
    cv2: Any = pytest.importorskip("cv2")

    drawing = np.full((240, 320, 3), 255, np.uint8)
    cv2.rectangle(drawing, (40, 90), (150, 220), (0, 0, 0), 2)
    cv2.line(drawing, (30, 90), (95, 30), (0, 0, 0), 2)
    cv2.line(drawing, (95, 30), (160, 90), (0, 0, 0), 2)
    cv2.circle(drawing, (240, 70), 36, (0, 0, 0), 2)
    areas = np.full((240, 320, 3), (120, 160, 210), np.uint8)
    cv2.circle(areas, (110, 120), 70, (210, 120, 60), -1)
    cv2.rectangle(areas, (190, 60), (290, 200), (60, 120, 70), -1)
    x = np.arange(320, dtype=np.float32)[None]
    soft = np.clip(areas * 0.6 + 40 + 20 * np.sin(x / 40)[..., None] + np.random.default_rng(2).normal(0, 3, (240, 320, 1)), 0, 255)
    return {"drawing": drawing, "areas": areas, "soft": soft.astype(np.uint8)}


@pytest.mark.parametrize("kind", ["drawing", "areas", "soft"])
@pytest.mark.parametrize("prompt", quick_first(["a forest in spring", "desert at sunset", "city at night"]))
async def test_edges_of_a_control_picture_are_kept(local: Any, eyes: Any, kind: str, prompt: str) -> None:
    """At least 95 % of the control's edges lie within 3 pixels of an edge of the result, whose colours are new."""
    cv2: Any = pytest.importorskip("cv2")

    control = _structures()[kind]
    out = await edit(local, eyes, prompt, eyes.reference(control, "control", type="edges"))
    first, second = (cv2.Canny(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), 80, 180) > 0 for p in (control, out))
    near = cv2.dilate(second.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert (first & near).sum() / first.sum() >= 0.95
    assert second.mean() < 0.25  # not by having edges everywhere
    assert np.abs(out.astype(int) - control).mean() > 12


async def test_control_takes_the_colours_of_a_source(local: Any, eyes: Any) -> None:
    source = np.zeros((60, 80, 3), np.uint8)
    source[:30], source[30:] = (250, 230, 60), (60, 20, 120)
    out = await edit(local, eyes, "repaint", eyes.reference(source, "source"), eyes.reference(_structures()["areas"], "control"))
    away = np.minimum(*(np.abs(out.astype(int) - np.array(c)).mean(axis=2) for c in ((250, 230, 60), (60, 20, 120))))
    assert away.mean() < 60


def _subject() -> tuple[Any, Any]:
    y, x = np.mgrid[0:200, 0:200]
    where = ((x - 100) / 45) ** 2 + ((y - 105) / 70) ** 2 < 1
    picture = np.full((200, 200, 3), (215, 220, 214), np.uint8)
    picture[where] = (40, 120, 60)
    picture[where & (x > 100)] = (200, 60, 50)
    return picture, where


async def test_subject_keeps_its_colours(local: Any, eyes: Any) -> None:
    subject, _ = _subject()
    out = await edit(local, eyes, "in the desert at noon", eyes.reference(subject, "subject", type="product"), size="320x240")
    assert out.shape == (240, 320, 3)
    for colour in ((40, 120, 60), (200, 60, 50)):
        close = np.abs(out.astype(int) - np.array(colour)).max(axis=2) <= 3
        assert close.sum() > 1500
    rim = (np.abs(out.astype(int) - np.array((215, 220, 214))).max(axis=2) <= 3) & (np.arange(240)[:, None] > 120)
    assert rim.sum() < 60  # its old background did not come along


@pytest.mark.parametrize(("words", "left"), [("on the left", True), ("on the right", False)])
async def test_subject_is_drawn_where_the_prompt_says(local: Any, eyes: Any, words: str, left: bool) -> None:
    subject, _ = _subject()
    out = await edit(local, eyes, f"small, {words}, in the desert at noon", eyes.reference(subject, "subject"), size="320x240")
    x = np.nonzero(np.abs(out.astype(int) - np.array((40, 120, 60))).max(axis=2) <= 3)[1].mean()
    assert (x < 140) == left


async def test_description_moves_its_own_subject(local: Any, eyes: Any) -> None:
    subject, _ = _subject()
    spots = []
    for description in ("large", "tiny"):
        reference = eyes.reference(subject, "subject", description=description)
        out = await edit(local, eyes, "in the desert at noon", reference, size="320x240")
        spots.append((np.abs(out.astype(int) - np.array((200, 60, 50))).max(axis=2) <= 3).sum())
    assert spots[0] > 4 * spots[1]


async def test_several_subjects_stand_side_by_side(local: Any, eyes: Any) -> None:
    cv2: Any = pytest.importorskip("cv2")

    subject, _ = _subject()
    other = subject.copy()
    other[(subject == (40, 120, 60)).all(axis=2)] = (40, 60, 200)
    out = await edit(local, eyes, "desert at noon", eyes.reference(subject, "subject"), eyes.reference(other, "subject"), size="480x240")
    red = (np.abs(out.astype(int) - np.array((200, 60, 50))).max(axis=2) <= 3).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(red)
    assert (stats[1:, cv2.CC_STAT_AREA] > 200).sum() == 2


async def test_subject_that_does_not_stand_out_is_refused(local: Any, eyes: Any) -> None:
    with pytest.raises(InvalidRequest, match="no foreground stands out"):
        await edit(local, eyes, "desert", eyes.reference(np.full((80, 80, 3), 77, np.uint8), "subject"))


@pytest.mark.parametrize("extra", ["none", "style", "subject"])
async def test_mask_with_references_protects_the_rest_of_the_source(local: Any, eyes: Any, photo: Any, extra: str) -> None:
    references = [eyes.reference(photo, "source")]
    if extra == "style":
        references.append(eyes.reference(_style(), "style"))
    if extra == "subject":
        references.append(eyes.reference(_subject()[0], "subject"))
    box = (80, 30, 200, 150)
    out = await edit(local, eyes, "darker", *references, mask=eyes.mask(240, 160, box))
    inside = np.zeros((160, 240), bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    assert (out[~inside] == photo[~inside]).all()
    assert (out[inside] != photo[inside]).mean() > 0.5


async def test_size_asked_for_is_the_size_of_the_edit(local: Any, eyes: Any, photo: Any) -> None:
    out = await edit(local, eyes, "sepia", eyes.reference(photo, "source"), size="300x300")
    assert out.shape == (300, 300, 3)
    out = await edit(local, eyes, "sepia", eyes.reference(photo, "source"))
    assert out.shape == photo.shape
