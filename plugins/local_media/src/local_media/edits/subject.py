"""Subjects: cut out of their picture and put on a ground, their colours untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..heavy import cv
from ..pictures import Picture
from ..words import tokens
from .regions import bounds, foreground

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["PLACING", "CutOut", "cut_out", "place"]

#: How much of each side is certainly not the subject, by the kind of subject.
_MARGIN = {"person": 0.05, "animal": 0.04, "product": 0.06, "default": 0.03}
_CLEAR_SUBJECT = "give a subject that stands out from its background, or that is transparent around it"
_ACROSS = {"left": 0.24, "right": 0.76}
_DOWN = {"top": 0.3, "above": 0.3, "sky": 0.3, "upper": 0.3, "middle": 0.55, "center": 0.55, "centre": 0.55}
_SIZES = {"tiny": 0.16, "small": 0.3, "little": 0.3, "large": 0.74, "big": 0.74, "huge": 0.92, "close": 0.85}


#: The words that say where a subject is put and how large it is.
PLACING = frozenset({*_ACROSS, *_DOWN, *_SIZES})


@attrs.frozen(eq=False)
class CutOut:
    """A subject: RGB (h, w, 3) and its soft-edged cover (h, w), 0 to 1."""

    rgb: Pixels
    cover: Floats


def cut_out(picture: Picture, kind: str | None = None) -> CutOut:
    """Cut the subject out of its picture by GrabCut (or by its own transparency).

    Raises:
        InvalidRequest: when nothing stands out from the picture's border.
    """
    import numpy as np

    region = foreground(picture, _MARGIN.get(kind or "default", 0.03), field="$.references", instead=_CLEAR_SUBJECT)
    x, y, width, height = bounds(region)
    part = region[y : y + height, x : x + width].astype(np.uint8)
    rgb = picture.rgb[y : y + height, x : x + width]
    # The rim mixes with its old background: it takes the colour from farther in, and fades.
    core = cv().erode(cv().copyMakeBorder(part, 1, 1, 1, 1, cv().BORDER_CONSTANT, value=0), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    if core.any() and min(width, height) > 8:
        rim = ((part > 0) & (core == 0)).astype(np.uint8)
        _, labels = cv().distanceTransformWithLabels(1 - core, cv().DIST_L2, 5, labelType=cv().DIST_LABEL_PIXEL)
        colours = np.zeros((int(labels.max()) + 1, 3), np.uint8)
        colours[labels[core > 0]] = rgb[core > 0]
        rgb = np.where(rim[..., None] > 0, colours[labels], rgb)
    cover = cv().GaussianBlur(part.astype(np.float32), (0, 0), 0.8) * part
    return CutOut(np.ascontiguousarray(rgb), np.clip(cover * 1.08, 0, 1))


def _first(words: list[str], table: dict[str, float], default: float) -> float:
    return next((table[word] for word in words if word in table), default)


def place(ground: Picture, thing: CutOut, words: str, index: int, count: int, box: tuple[int, int, int, int] | None = None) -> Picture:
    """Return the ground with the subject on it.

    ``words`` may say where (left, right, top, middle) and how large (tiny, small, large, huge); several subjects
    stand side by side; ``box`` (x, y, width, height) is where it has to fit.
    """
    import numpy as np

    said = tokens(words)
    x, y, width, height = box or (0, 0, *ground.size)
    share = _first(said, _SIZES, 0.95 if box else 0.52)
    tall, wide = thing.rgb.shape[:2]
    scale = min(share * height / tall, max(share, 0.9 / count if count > 1 else share) * width / wide)
    size = (max(2, round(wide * scale)), max(2, round(tall * scale)))
    way = cv().INTER_AREA if scale < 1 else cv().INTER_CUBIC
    rgb, cover = cv().resize(thing.rgb, size, interpolation=way), np.clip(cv().resize(thing.cover, size, interpolation=way), 0, 1)
    across = _first(said, _ACROSS, 0.5) if count == 1 else (index + 0.5) / count
    down = _first(said, _DOWN, 0.94)
    left = x + round(np.clip(across * width - size[0] / 2, 0, max(0, width - size[0])))
    foot = y + height * down if down > 0.9 else y + height * down + size[1] / 2
    top = round(np.clip(foot - size[1], y, y + max(0, height - size[1])))
    return _laid(ground, rgb, cover, left, top)


def _laid(ground: Picture, rgb: Pixels, cover: Floats, left: int, top: int) -> Picture:
    import numpy as np

    height, width = rgb.shape[:2]
    width, height = min(width, ground.size[0] - left), min(height, ground.size[1] - top)
    out = ground.rgb.copy()
    spot = out[top : top + height, left : left + width]
    part = cover[:height, :width, None]
    spot[:] = np.clip(np.rint(spot + (rgb[:height, :width].astype(np.float32) - spot) * part), 0, 255).astype(np.uint8)
    alpha = ground.alpha
    if alpha is not None:
        alpha = alpha.copy()
        area = alpha[top : top + height, left : left + width]
        np.maximum(area, np.rint(part[..., 0] * 255).astype(np.uint8), out=area)
    return Picture(out, alpha)
