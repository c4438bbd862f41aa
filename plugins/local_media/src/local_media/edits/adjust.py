"""Keyword adjustments of a picture: light, colour, season, weather, drawing styles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..heavy import cv, to_pixels
from ..pictures import Picture
from ..recipe import resolve
from ..scenes.palettes import PALETTES, palette_of
from ..scenes.stage import Canvas
from ..scenes.weather import rain, snowfall
from ..text import draw_texts
from ..vocabulary import COLOURS
from ..words import Wish, tokens

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["ADJUSTMENTS", "adjust", "adjustment_words", "adjustments_in", "graded"]


def _gamma(rgb: Pixels, power: float) -> Pixels:
    import numpy as np

    table = np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)
    return table[rgb]


def _lab(rgb: Pixels) -> Any:
    import numpy as np

    return cv().cvtColor(rgb.astype(np.float32) / 255, cv().COLOR_RGB2LAB)


def _rgb(lab: Any) -> Pixels:
    import numpy as np

    return to_pixels(cv().cvtColor(lab.astype(np.float32), cv().COLOR_LAB2RGB) * 255)


def _contrast(rgb: Pixels, factor: float) -> Pixels:
    import numpy as np

    return to_pixels((rgb.astype(np.float32) - 127.5) * factor + 127.5)


def _saturation(rgb: Pixels, factor: float) -> Pixels:
    lab = _lab(rgb)
    lab[..., 1:] *= factor
    return _rgb(lab)


def _shift(rgb: Pixels, a: float, b: float) -> Pixels:
    lab = _lab(rgb)
    lab[..., 1] += a
    lab[..., 2] += b
    return _rgb(lab)


def _sepia(rgb: Pixels) -> Pixels:
    import numpy as np

    matrix = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)
    return to_pixels(rgb.astype(np.float32) @ matrix.T)


def _grey(rgb: Pixels) -> Pixels:
    found: Pixels = cv().cvtColor(cv().cvtColor(rgb, cv().COLOR_RGB2GRAY), cv().COLOR_GRAY2RGB)
    return found


def _sketch(rgb: Pixels) -> Pixels:
    grey, _ = cv().pencilSketch(cv().cvtColor(rgb, cv().COLOR_RGB2BGR), sigma_s=50, sigma_r=0.08, shade_factor=0.03)
    found: Pixels = cv().cvtColor(grey, cv().COLOR_GRAY2RGB)
    return found


def _watercolour(rgb: Pixels) -> Pixels:
    found: Pixels = cv().stylization(rgb, sigma_s=60, sigma_r=0.42)
    return _saturation(found, 1.15)


def _oil(rgb: Pixels) -> Pixels:
    import numpy as np

    size = max(3, round(min(rgb.shape[:2]) / 110)) | 1
    out = cv().medianBlur(rgb, min(size, 15))
    out = cv().bilateralFilter(out, 9, 40, 7)
    relief = cv().filter2D(cv().cvtColor(rgb, cv().COLOR_RGB2GRAY), cv().CV_32F, np.array([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]], np.float32))
    relief = cv().GaussianBlur(relief, (0, 0), 1.4)
    return _saturation(np.clip(out + 0.35 * relief[..., None], 0, 255).astype(np.uint8), 1.25)


def _cartoon(rgb: Pixels) -> Pixels:
    import numpy as np

    flat = cv().edgePreservingFilter(rgb, flags=1, sigma_s=40, sigma_r=0.35)
    flat = (np.rint(flat.astype(np.float32) / 36) * 36).clip(0, 255).astype(np.uint8)
    grey = cv().medianBlur(cv().cvtColor(rgb, cv().COLOR_RGB2GRAY), 5)
    lines = cv().adaptiveThreshold(grey, 255, cv().ADAPTIVE_THRESH_MEAN_C, cv().THRESH_BINARY, 9, 5)
    found: Pixels = cv().bitwise_and(flat, cv().cvtColor(lines, cv().COLOR_GRAY2RGB))
    return _saturation(found, 1.3)


def _poster(rgb: Pixels) -> Pixels:
    import numpy as np

    return to_pixels(np.rint(cv().bilateralFilter(rgb, 9, 60, 9).astype(np.float32) / 64) * 64)


def _pixelated(rgb: Pixels) -> Pixels:
    height, width = rgb.shape[:2]
    cell = max(2, min(height, width) // 72)
    small = cv().resize(rgb, (max(1, width // cell), max(1, height // cell)), interpolation=cv().INTER_AREA)
    found: Pixels = cv().resize(small, (width, height), interpolation=cv().INTER_NEAREST)
    return found


def _blue_sky(rgb: Pixels) -> Pixels:
    """Repaint what looks like sky: smooth, joined to the upper edge, no darker than most of the picture."""
    import numpy as np

    part = _sky_part(rgb)
    height = rgb.shape[0]
    stops = np.array(PALETTES["day"].sky, np.float32)
    rows = np.linspace(0, 1, height)
    lowest = max(0.15, float(np.flatnonzero(part.max(axis=1) > 0.5).max(initial=0)) / height)
    blue = np.stack([np.interp(rows / lowest, np.linspace(0, 1, len(stops)), stops[:, i]) for i in range(3)], axis=1)[:, None]
    grey = cv().cvtColor(rgb, cv().COLOR_RGB2GRAY).astype(np.float32)
    detail = (grey - cv().GaussianBlur(grey, (0, 0), max(2.0, height / 24)))[..., None]
    wanted = np.clip(blue + detail * 0.9, 0, 255)
    return to_pixels(rgb + (wanted - rgb) * part[..., None])


def _sky_part(rgb: Pixels) -> Floats:
    import numpy as np

    size = (max(8, rgb.shape[1] // 4), max(8, rgb.shape[0] // 4))
    small = cv().GaussianBlur(cv().resize(rgb, size, interpolation=cv().INTER_AREA), (0, 0), 1)
    lab = cv().cvtColor(small, cv().COLOR_RGB2LAB).astype(np.float32)
    step = np.hypot(*(np.gradient(lab[..., 0], axis=i) for i in (0, 1)))
    tilt = np.abs(np.gradient(lab[..., 1])[0]) + np.abs(np.gradient(lab[..., 2])[0])
    calm = ((step < 9) & (tilt < 7)).astype(np.uint8)
    calm = cv().erode(calm, np.ones((3, 3), np.uint8))
    _, labels = cv().connectedComponents(calm)
    tops = np.unique(labels[:2])
    sky = np.isin(labels, tops[tops > 0]).astype(np.uint8)
    sky[round(size[1] * 0.85) :] = 0
    sky = cv().morphologyEx(cv().dilate(sky, np.ones((3, 3), np.uint8)), cv().MORPH_CLOSE, np.ones((9, 9), np.uint8))
    found: Floats = cv().GaussianBlur(cv().resize(sky.astype(np.float32), (rgb.shape[1], rgb.shape[0])), (0, 0), 2)
    return np.clip(found, 0, 1)


_Change = Callable[[Any], Any]
#: Name -> (words, change of RGB pixels), in the order in which they are applied.
ADJUSTMENTS: dict[str, tuple[tuple[str, ...], _Change]] = {
    "blue sky": (("blue sky", "clear sky", "blue skies"), _blue_sky),
    "brighter": (("brighter", "brighten", "lighter", "lighten", "bright"), lambda x: _gamma(x, 0.68)),
    "darker": (("darker", "darken", "dim", "moody"), lambda x: _gamma(x, 1.55)),
    "warmer": (("warmer", "warm", "golden", "cosy", "cozy"), lambda x: _shift(x, 5, 16)),
    "cooler": (("cooler", "cool", "cold", "colder", "bluish"), lambda x: _shift(x, -3, -16)),
    "contrast": (("contrast", "dramatic", "punchy", "crisp"), lambda x: _contrast(x, 1.4)),
    "soft": (
        ("soft", "softer", "dreamy", "blur", "blurred", "blurry"),
        lambda x: cv().GaussianBlur(x, (0, 0), max(1.5, min(x.shape[:2]) / 160)),
    ),
    "sharper": (("sharper", "sharpen", "sharp", "detailed"), lambda x: cv().addWeighted(x, 1.9, cv().GaussianBlur(x, (0, 0), 2), -0.9, 0)),
    "vivid": (("vivid", "saturated", "colorful", "colourful", "vibrant"), lambda x: _saturation(x, 1.55)),
    "faded": (("faded", "desaturated", "muted", "pastel"), lambda x: _saturation(x, 0.5)),
    "watercolour": (("watercolor", "watercolour", "aquarelle"), _watercolour),
    "oil": (("oil painting", "oil", "painterly", "impressionist", "painting"), _oil),
    "cartoon": (("cartoon", "comic", "anime", "toon"), _cartoon),
    "poster": (("poster", "posterize", "posterise", "pop art"), _poster),
    "pixel": (("pixel art", "pixelated", "pixel", "mosaic"), _pixelated),
    "sketch": (("sketch", "pencil", "drawing", "charcoal"), _sketch),
    "sepia": (("sepia", "vintage", "antique"), _sepia),
    "grey": (("black and white", "monochrome", "grayscale", "greyscale", "noir"), _grey),
    "negative": (("negative", "inverted", "invert"), lambda x: 255 - x),
    "mirrored": (("mirror", "mirrored", "flip", "flipped"), lambda x: x[:, ::-1].copy()),
}


def adjustments_in(prompt: str) -> list[str]:
    """Return the names of the adjustments that a prompt asks for."""
    line = f" {' '.join(tokens(prompt))} "
    return [name for name, (words, _) in ADJUSTMENTS.items() if any(f" {word} " in line for word in words)]


def adjustment_words(prompt: str) -> list[str]:
    """Return the words and phrases of the adjustments that a prompt asks for."""
    return [word for name in adjustments_in(prompt) for word in ADJUSTMENTS[name][0]]


def graded(rgb: Pixels, target: tuple[tuple[float, float, float], ...], light: float, strength: float = 0.7) -> Pixels:
    """Return the picture in the mood of a few colours: its greys are laid along them, its light scaled by ``light``."""
    import numpy as np

    lab = _lab(rgb)
    stops = np.array(sorted(target, key=sum), np.float32)
    line = np.stack([np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(stops)), stops[:, i]) for i in range(3)], axis=1)
    tones = _lab(np.rint(line).astype(np.uint8)[None])[0]
    lab[..., 0] *= light
    index = np.clip(lab[..., 0] * 2.55, 0, 255).astype(np.uint8)
    lab[..., 1:] += (tones[index][..., 1:] - lab[..., 1:]) * strength * 0.75
    return _rgb(lab)


_LIGHT = {"dawn": 1.0, "day": 1.12, "sunset": 0.9, "dusk": 0.62, "night": 0.4, "storm": 0.72}


def adjust(picture: Picture, prompt: str, wish: Wish, seed: int) -> tuple[Picture, bool]:
    """Return the picture as the prompt's keywords change it, and whether any word was known.

    Without a known word the colours are graded by the letters of the prompt, so that something does change.
    """
    rgb = picture.rgb
    asked = adjustments_in(prompt)
    known = bool(asked) or not wish.is_empty
    if not known:
        palette = palette_of(resolve(wish, seed, prompt))
        return Picture(graded(rgb, (palette.dark, palette.near, palette.far, palette.sky[-1]), 1.0, 0.45), picture.alpha), False
    if wish.time and not (wish.time == "day" and "blue sky" in asked):
        palette = PALETTES[wish.time]
        rgb = graded(
            rgb,
            (palette.dark, palette.near, palette.far, palette.sky[-1], palette.glow),
            _LIGHT[wish.time],
            1.1 if wish.time in {"night", "dusk"} else 0.7,
        )
    if wish.tint or wish.backdrop:
        rgb = graded(rgb, ((10, 10, 14), COLOURS[wish.tint or wish.backdrop or "blue"], (250, 250, 246)), 1.0, 0.85)
    if wish.season:
        rgb = _season(rgb, wish.season)
    for name in asked:
        rgb = ADJUSTMENTS[name][1](rgb)
    rgb = _weather(rgb, wish, seed)
    if wish.texts:
        rgb = rgb.copy()
        draw_texts(rgb, wish.texts)
    return Picture(rgb, picture.alpha), True


def _season(rgb: Pixels, season: str) -> Pixels:
    """Turn the leaves: what is green becomes fresh, brown or pale."""
    import numpy as np

    if season == "winter":
        return _gamma(_saturation(_shift(rgb, 0, -6), 0.55), 0.82)
    hsv = cv().cvtColor(rgb, cv().COLOR_RGB2HSV).astype(np.float32)
    green = np.exp(-(((hsv[..., 0] - 52) / 24) ** 2)) * np.clip(hsv[..., 1] / 90, 0, 1)
    hsv[..., 0] += green * {"autumn": -36, "spring": -6, "summer": 2}[season]
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + green * {"autumn": 0.35, "spring": 0.4, "summer": 0.25}[season]), 0, 255)
    turned: Pixels = cv().cvtColor(np.clip(hsv, 0, [179, 255, 255]).astype(np.uint8), cv().COLOR_HSV2RGB)
    return _shift(turned, 3, 6) if season == "autumn" else _gamma(turned, 0.93)


def _weather(rgb: Pixels, wish: Wish, seed: int) -> Pixels:
    import numpy as np

    height, width = rgb.shape[:2]
    if "fog" in wish.features:
        low = np.linspace(0.25, 0.75, height, dtype=np.float32)[:, None, None]
        rgb = np.rint(rgb + (np.array([214, 218, 222], np.float32) - rgb) * low).astype(np.uint8)
    canvas = Canvas(rgb.copy())
    if wish.features & {"snowfall"} or (wish.season == "winter" and "snow" in wish.features):
        snowfall(seed, width, height).paint(canvas, 0.0)
    if "rain" in wish.features:
        canvas.rgb = _saturation(_gamma(canvas.rgb, 1.2), 0.75)
        rain(seed, width, height).paint(canvas, 0.0)
    return canvas.rgb
