"""Erasing, filling by prompt, growing beyond the edges. Outside the region no pixel changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..heavy import cv, to_pixels
from ..pictures import Picture
from ..recipe import THINGS, Recipe, resolve
from ..scenes import Scene
from ..scenes.palettes import PALETTES
from ..text import draw_texts
from ..words import Wish
from .regions import bounds, feather

if TYPE_CHECKING:
    from ..heavy import Pixels
    from .regions import Region

#: Features of a sky, and those that decide the time of day by themselves.
_OF_SKY = frozenset({"sun", "moon", "stars", "clouds", "birds", "rainbow", "aurora", "balloon"})
_LIGHTS = frozenset({"moon", "stars", "rainbow", "sun", "rain", "aurora"})
#: How often each level of a membrane is smoothed.
_SMOOTHINGS = 24
__all__ = ["erase", "fill", "grow", "paste"]


def paste(picture: Picture, patch: Pixels, region: Region, soft: float = 0.0) -> Picture:
    """Return the picture with a patch (same size) inside the region; the edge is soft over ``soft`` pixels, inwards."""
    import numpy as np

    weight = feather(region, soft)[..., None] if soft else region[..., None].astype(np.float32)
    mixed = np.rint(picture.rgb + (patch.astype(np.float32) - picture.rgb) * weight)
    rgb = np.where(region[..., None], np.clip(mixed, 0, 255).astype(np.uint8), picture.rgb)
    alpha = None if picture.alpha is None else np.where(region, 255, picture.alpha).astype(np.uint8)
    return Picture(rgb, alpha)


def erase(picture: Picture, region: Region) -> Picture:
    """Return the picture with the region filled from its surroundings.

    Narrow regions by Telea's method; wide ones by a membrane, with the surroundings' grain.
    """
    import numpy as np

    mask = region.astype(np.uint8) * 255
    framed = cv().distanceTransform(np.pad(mask, 1), cv().DIST_L2, 5)
    half = float(framed.max())
    if region.all():
        return picture
    if half <= 14:
        return paste(picture, cv().inpaint(picture.rgb, mask, 4, cv().INPAINT_TELEA), region)
    return paste(picture, _grained(picture, region, _membrane(picture.rgb, region)), region)


def _membrane(rgb: Any, region: Region) -> Any:
    """Stretch the colours of the border over a region, as smoothly as they allow: from coarse to fine."""
    import numpy as np

    height, width = region.shape
    known = (~region).astype(np.float32)[..., None]
    image = rgb.astype(np.float32)
    if min(height, width) > 8:
        size = ((width + 1) // 2, (height + 1) // 2)
        share = cv().resize(known[..., 0], size, interpolation=cv().INTER_AREA)[..., None]
        coarse = cv().resize(image * known, size, interpolation=cv().INTER_AREA) / np.maximum(share, 1e-3)
        filled = _membrane(coarse, share[..., 0] < 1e-3) if (share < 1e-3).any() else coarse
        image += (cv().resize(filled, (width, height), interpolation=cv().INTER_LINEAR) - image) * (1 - known)
    else:
        image += (image[~region].mean(axis=0) - image) * (1 - known)
    for _ in range(_SMOOTHINGS):
        image += (cv().blur(image, (3, 3)) - image) * (1 - known)
    return to_pixels(image) if rgb.dtype == np.uint8 else image


def _grained(picture: Picture, region: Region, smooth: Pixels) -> Pixels:
    """Add noise as strong as the picture's own fine grain near the region."""
    import numpy as np

    near = cv().dilate(region.astype(np.uint8), np.ones((31, 31), np.uint8)).astype(bool) & ~region
    fine = picture.rgb.astype(np.float32) - cv().GaussianBlur(picture.rgb, (0, 0), 1.5)
    strength = min(10.0, float(np.median(np.abs(fine[near])) * 1.5) if near.any() else 0.0)
    noise = np.random.default_rng(11).standard_normal(region.shape).astype(np.float32)[..., None] * strength
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def fill(picture: Picture, region: Region, wish: Wish, seed: int, prompt: str) -> Picture:
    """Return the picture with the region filled as the prompt's keywords say.

    Words of removal, and prompts without a known word, fill it from what surrounds it; shapes and quoted text stand on such a ground. Of a
    sky only the sky is painted; anything else is painted as a scene, in the light of the picture.
    """
    box = bounds(region)
    if wish.remove or wish.is_empty:
        return erase(picture, region)
    things = wish.has_things or bool(wish.features & THINGS)
    if things and not wish.has_scene and not wish.backdrop:
        return _draw_things(erase(picture, region), region, box, wish, seed)
    return _paint_scene(picture, region, box, wish, seed, prompt)


def _is_sky(wish: Wish) -> bool:
    """Whether a wish speaks of a sky and nothing below it."""
    return not (wish.place or wish.season or wish.shapes or wish.backdrop) and wish.features <= _OF_SKY


def _time_like(picture: Picture, region: Region, *, ring_only: bool) -> str:
    """Return the time of day whose sky is most like the picture: beside a region, or in its upper third."""
    import numpy as np

    near = ~region
    if ring_only:
        near &= cv().dilate(region.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    else:
        near[max(1, len(near) // 3) :] = False
    if not near.any():
        return "day"
    seen = picture.rgb[near].astype(np.float32).mean(axis=0)
    return min(PALETTES, key=lambda name: min(float(np.linalg.norm(np.array(stop) - seen)) for stop in PALETTES[name].sky))


def _paint_scene(picture: Picture, region: Region, box: tuple[int, int, int, int], wish: Wish, seed: int, prompt: str) -> Picture:
    recipe, sky = resolve(wish, seed, prompt), _is_sky(wish)
    like = _time_like(picture, region, ring_only=sky)
    if sky and not wish.features and wish.time in {None, like}:
        return erase(picture, region)
    if wish.time is None and not wish.features & _LIGHTS:
        recipe = attrs.evolve(recipe, time=like)
    kept = tuple(name for name in recipe.features if name in wish.features or name not in _OF_SKY or name == "clouds")
    recipe = attrs.evolve(recipe, features=kept)
    if sky:
        return _paint_sky(picture, region, box, recipe, like)
    x, y, width, height = box
    patch = picture.rgb.copy()
    patch[y : y + height, x : x + width] = Scene(recipe, max(width, 16), max(height, 16)).frame()[:height, :width]
    return paste(picture, patch, region, soft=_soft(box))


def _soft(box: tuple[int, int, int, int]) -> float:
    return max(1.5, min(box[2:]) * 0.06)


def _paint_sky(picture: Picture, region: Region, box: tuple[int, int, int, int], recipe: Recipe, like: str) -> Picture:
    """Paint a sky; one of the same time of day as the picture's meets it without a seam."""
    import numpy as np

    left, top = max(0, box[0] - 2), max(0, box[1] - 2)
    right, bottom = min(picture.size[0], box[0] + box[2] + 2), min(picture.size[1], box[1] + box[3] + 2)
    width, height = right - left, bottom - top
    patch = picture.rgb.copy()
    tall = Scene(recipe, max(width, 16), max(height * 4, 16)).frame()  # its upper quarter is above every horizon
    patch[top:bottom, left:right] = tall[:height, :width]
    known = np.zeros(region.shape, np.bool_)
    known[top:bottom, left:right] = ~region[top:bottom, left:right]
    if recipe.time != like or not known.any():
        return paste(picture, patch, region, soft=_soft(box))
    gap = (picture.rgb.astype(np.float32) - patch) * known[..., None]
    return paste(picture, to_pixels(patch + _membrane(gap, ~known)), region)


def _draw_things(picture: Picture, region: Region, box: tuple[int, int, int, int], wish: Wish, seed: int) -> Picture:
    import numpy as np

    x, y, width, height = box
    patch = picture.rgb.copy()
    drawn = wish.shapes or wish.features
    tall = round(height * 0.62) if drawn and wish.texts else height
    if drawn and min(width, tall) >= 8:
        recipe = resolve(attrs.evolve(wish, texts=(), backdrop="white"), seed)
        rgb, alpha = Scene(recipe, max(width, 16), max(tall, 16)).cut_out()
        part = alpha[:tall, :width, None].astype(np.float32) / 255
        spot = patch[y : y + tall, x : x + width]
        spot[:] = np.rint(spot + (rgb[:tall, :width].astype(np.float32) - spot) * part).astype(np.uint8)
    if wish.texts:
        top = tall if drawn else 0
        draw_texts(patch, wish.texts, box=(x, y + top, width, height - top))
    return paste(picture, patch, region)


def grow(picture: Picture, width: int, height: int) -> tuple[Picture, Region]:
    """Return the picture in the middle of a larger canvas, and the new region around it.

    The new part mirrors the picture, blurred more the farther out it lies.
    """
    import numpy as np

    old_width, old_height = picture.size
    left, top = (width - old_width) // 2, (height - old_height) // 2
    edges = (top, height - old_height - top, left, width - old_width - left)
    canvas = _mirrored(picture.rgb, *edges)
    region = np.ones((height, width), np.bool_)
    region[top : top + old_height, left : left + old_width] = False
    away = cv().distanceTransform(region.astype(np.uint8), cv().DIST_L2, 5)
    out = canvas.astype(np.float32)
    reach = max(1.0, float(away.max()))
    for level in (1, 2, 3, 4):
        blurred = cv().GaussianBlur(canvas, (0, 0), reach * 0.018 * level * level + 0.5).astype(np.float32)
        part = np.clip(away / reach * 4.5 - level + 0.9, 0, 1)[..., None]
        out += (blurred - out) * part
    rgb = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    rgb[~region] = picture.rgb.reshape(-1, 3)
    alpha = None
    if picture.alpha is not None:
        alpha = np.full((height, width), 255, np.uint8)
        alpha[~region] = picture.alpha.reshape(-1)
    return Picture(rgb, alpha), region


def _mirrored(rgb: Pixels, top: int, bottom: int, left: int, right: int) -> Pixels:
    """Return the picture with mirrored borders, of any width."""
    while max(top, bottom, left, right) > 0:
        height, width = rgb.shape[:2]
        step = (min(top, height - 1 or 1), min(bottom, height - 1 or 1), min(left, width - 1 or 1), min(right, width - 1 or 1))
        kind = cv().BORDER_REFLECT
        rgb = cv().copyMakeBorder(rgb, *step, kind)
        top, bottom, left, right = top - step[0], bottom - step[1], left - step[2], right - step[3]
    return rgb
