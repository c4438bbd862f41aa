"""Structure: another picture's edges, repainted in new colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..heavy import cv
from ..pictures import Picture
from ..recipe import resolve
from ..scenes.palettes import palette_of
from ..text import draw_texts
from ..vocabulary import COLOURS
from ..words import Wish

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["edges_kept", "repaint"]

_GOAL = 0.985


def _edges(rgb: Pixels) -> Any:
    return cv().Canny(cv().cvtColor(rgb, cv().COLOR_RGB2GRAY), 80, 180)


def edges_kept(control: Pixels, output: Pixels, within: int = 3) -> float:
    """Return which part (0 to 1) of a picture's edges lie within so many pixels of an edge of another."""
    import numpy as np

    wanted = _edges(control) > 0
    if not wanted.any():
        return 1.0
    near = cv().dilate(_edges(output), np.ones((2 * within + 1,) * 2, np.uint8)) > 0
    return float((wanted & near).sum() / wanted.sum())


def repaint(control: Picture, wish: Wish, prompt: str, seed: int, *, colours: Picture | None = None) -> Picture:
    """Return the structure of a picture in the prompt's palette (or in the colours of another picture).

    The picture falls apart into areas of one tone; each area gets a colour of the palette by how light it is and
    how high it stands. Where an edge would get lost, the old light and dark come back until it stands out.
    """
    import numpy as np

    rgb = control.rgb
    flat = _areas(rgb)
    light = cv().cvtColor(flat, cv().COLOR_RGB2LAB).astype(np.float32)[..., 0] / 255
    low, high = (float(v) for v in np.percentile(light, (1, 99)))
    light = np.clip((light - low) / max(high - low, 0.05), 0, 1)
    ramp = _ramp(wish, prompt, seed, colours)
    painted = _painted(light, ramp, seed, float(np.unique(rgb[::7, ::7]).size))
    out = painted
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        out = _with_edges(painted, rgb, strength)
        if edges_kept(rgb, out) >= _GOAL:
            break
    if wish.texts:
        draw_texts(out, wish.texts)
    return Picture(out, control.alpha)


def _areas(rgb: Pixels) -> Pixels:
    """Return the picture in areas of one tone, their borders kept sharp."""
    smooth = cv().bilateralFilter(rgb, 7, 30, 5)
    found: Pixels = (
        cv().pyrMeanShiftFiltering(smooth, 6, 14) if rgb.shape[0] * rgb.shape[1] <= 1_100_000 else cv().bilateralFilter(smooth, 9, 40, 9)
    )
    return found


def _ramp(wish: Wish, prompt: str, seed: int, colours: Picture | None) -> Floats:
    """Return the palette from dark to light, (steps, 3)."""
    import numpy as np

    if colours is not None:
        cv().setRNGSeed(7)
        small = cv().resize(colours.rgb, (64, 64), interpolation=cv().INTER_AREA).reshape(-1, 3).astype(np.float32)
        criteria = (cv().TERM_CRITERIA_EPS + cv().TERM_CRITERIA_MAX_ITER, 20, 0.5)
        _, _, stops = cv().kmeans(small, 6, None, criteria, 2, cv().KMEANS_PP_CENTERS)
    else:
        palette = palette_of(resolve(wish, seed, prompt))
        found = [palette.dark, palette.near, palette.foliage, palette.water, palette.far, palette.lit, *palette.sky[1:], palette.glow]
        if wish.backdrop:
            found = [palette.dark, COLOURS[wish.backdrop], palette.glow]
        stops = np.array(found, np.float32)
    order = np.argsort(stops @ np.array([0.3, 0.59, 0.11]))
    stops = stops[order]
    if float(stops[-1].mean() - stops[0].mean()) < 120:  # a palette without range would swallow the structure
        stops = np.concatenate([stops[:1] * 0.35, stops, stops[-1:] + (255 - stops[-1:]) * 0.6])
    return np.asarray(stops, np.float32)


def _painted(light: Floats, ramp: Floats, seed: int, tones: float) -> Pixels:
    import numpy as np

    from ..heavy import rng
    from ..scenes.noise import field

    height, width = light.shape
    cloth = field(rng(seed, "cloth"), width, width, height, cells=12, octaves=5, gain=0.6)
    strokes = cv().GaussianBlur(cloth, (0, 0), 2)
    high = np.linspace(0.04, -0.04, height, dtype=np.float32)[:, None]
    at = np.clip(light * 0.94 + 0.03 + high, 0, 1)
    places = np.linspace(0, 1, len(ramp))
    colour = np.stack([np.interp(at, places, ramp[:, i]) for i in range(3)], axis=2)
    return np.asarray(np.clip(np.rint(colour * (1 + 0.05 * strokes[..., None])), 0, 255), np.uint8)


def _with_edges(painted: Pixels, control: Pixels, strength: float) -> Pixels:
    """Return the painting with the control's own light and dark mixed in near its edges."""
    import numpy as np

    if strength == 0:
        return painted.copy()
    grey = cv().cvtColor(control, cv().COLOR_RGB2GRAY).astype(np.float32)
    near = cv().GaussianBlur(cv().dilate(_edges(control), np.ones((5, 5), np.uint8)).astype(np.float32) / 255, (0, 0), 1.5)
    relief = (grey - cv().GaussianBlur(grey, (0, 0), 6))[..., None]
    out = painted + relief * near[..., None] * 2.2 * strength
    return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)
