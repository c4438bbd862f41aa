"""Erasing, filling by prompt, growing beyond the edges. Outside the region no pixel changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..heavy import cv, to_pixels
from ..pictures import Picture
from ..recipe import THINGS, resolve
from ..scenes import Scene
from ..text import draw_texts
from ..words import Wish
from .regions import bounds, feather

if TYPE_CHECKING:
    from ..heavy import Pixels
    from .regions import Region

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

    Narrow regions by Telea's method; wide ones from coarse to fine, with the surroundings' grain.
    """
    import numpy as np

    mask = region.astype(np.uint8) * 255
    framed = cv().distanceTransform(np.pad(mask, 1), cv().DIST_L2, 5)
    half = float(framed.max())
    if region.all():
        return picture
    if half <= 14:
        return paste(picture, cv().inpaint(picture.rgb, mask, 4, cv().INPAINT_TELEA), region)
    scale = 12 / half
    size = (max(4, round(picture.size[0] * scale)), max(4, round(picture.size[1] * scale)))
    small_mask = (cv().resize(mask, size, interpolation=cv().INTER_AREA) > 0).astype(np.uint8) * 255
    if small_mask.all():
        return paste(picture, cv().inpaint(picture.rgb, mask, 4, cv().INPAINT_TELEA), region)
    known = (1 - region.astype(np.float32))[..., None]
    weighted = cv().resize((picture.rgb * known).astype(np.float32), size, interpolation=cv().INTER_AREA)
    share = cv().resize(known[..., 0], size, interpolation=cv().INTER_AREA)[..., None]
    small = np.clip(weighted / np.maximum(share, 1e-3), 0, 255).astype(np.uint8)
    rough = cv().inpaint(small, (share[..., 0] < 0.02).astype(np.uint8) * 255, 5, cv().INPAINT_NS)
    smooth = cv().resize(cv().GaussianBlur(rough, (0, 0), 1.2), picture.size, interpolation=cv().INTER_CUBIC)
    return paste(picture, _grained(picture, region, _joined(picture, region, smooth, half)), region)


def _joined(picture: Picture, region: Region, smooth: Pixels, half: float) -> Pixels:
    """Shift a rough filling so that it meets the picture at the region's border; the shift fades inwards."""
    import numpy as np

    ring = (cv().dilate(region.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~region
    missing = (picture.rgb.astype(np.float32) - smooth) * ring[..., None]
    total, weight = np.zeros(smooth.shape, np.float32), np.zeros(region.shape, np.float32)
    for spread in (1.5, half * 0.15, half * 0.45):  # what is near counts first, what is far fills in
        near = cv().GaussianBlur(ring.astype(np.float32), (0, 0), max(spread, 1.0))
        share = np.minimum(1 - weight, near * 6)
        total += cv().GaussianBlur(missing, (0, 0), max(spread, 1.0)) / np.maximum(near, 1e-6)[..., None] * share[..., None]
        weight += share
    return to_pixels(smooth + total)


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

    Words of removal alone erase; shapes and quoted text stand on an erased ground; anything else is painted as a scene.
    """
    box = bounds(region)
    if wish.remove:
        return erase(picture, region)
    things = wish.has_things or bool(wish.features & THINGS)
    if things and not wish.has_scene and not wish.backdrop:
        return _draw_things(erase(picture, region), region, box, wish, seed)
    return _paint_scene(picture, region, box, wish, seed, prompt)


def _paint_scene(picture: Picture, region: Region, box: tuple[int, int, int, int], wish: Wish, seed: int, prompt: str) -> Picture:
    x, y, width, height = box
    recipe = resolve(wish, seed, prompt)
    scene = Scene(recipe, max(width, 16), max(height, 16)).frame()[:height, :width]
    patch = picture.rgb.copy()
    patch[y : y + height, x : x + width] = scene
    return paste(picture, patch, region, soft=max(1.5, min(width, height) * 0.06))


def _draw_things(picture: Picture, region: Region, box: tuple[int, int, int, int], wish: Wish, seed: int) -> Picture:
    import attrs
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
