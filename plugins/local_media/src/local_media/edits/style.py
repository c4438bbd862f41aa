"""Style: the colours (Reinhard and others' transfer in Lab) and the roughness of another picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..heavy import cv
from ..pictures import Picture
from .adjust import ADJUSTMENTS, adjustments_in

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["restyle"]

_DRAWN = ("watercolour", "oil", "cartoon", "poster", "pixel", "sketch", "sepia", "grey")


def _to_lab(rgb: Pixels) -> Floats:
    import numpy as np

    found: Floats = cv().cvtColor(rgb.astype(np.float32) / 255, cv().COLOR_RGB2LAB)
    return found


def restyle(picture: Picture, style: Picture, words: str = "") -> Picture:
    """Return the picture in the style's colours and with its roughness; ``words`` may name a manner (``oil painting`` ...)."""
    import numpy as np

    rgb = picture.rgb
    named = [name for name in adjustments_in(words) if name in _DRAWN]
    for name in named:
        rgb = ADJUSTMENTS[name][1](rgb)
    rgb = rgb if named else _match_grain(rgb, style.rgb)
    lab, wanted = _to_lab(rgb), _to_lab(style.rgb)
    for channel in range(3):
        mean, spread = float(lab[..., channel].mean()), float(lab[..., channel].std())
        to_mean, to_spread = float(wanted[..., channel].mean()), float(wanted[..., channel].std())
        gain = float(np.clip(to_spread / max(spread, 1.0), 0.25, 3.0))
        lab[..., channel] = (lab[..., channel] - mean) * gain + to_mean
    lab[..., 0] = np.clip(lab[..., 0], 0, 100)
    out = np.rint(np.clip(cv().cvtColor(lab, cv().COLOR_LAB2RGB), 0, 1) * 255).astype(np.uint8)
    return Picture(out, picture.alpha)


def _roughness(rgb: Pixels) -> float:
    """Return how much fine detail a picture has, relative to its contrast."""
    import numpy as np

    scale = 512 / max(rgb.shape[:2])
    height, width = (max(1, round(edge * scale)) for edge in rgb.shape[:2])
    small = cv().resize(rgb, (width, height), interpolation=cv().INTER_AREA if scale < 1 else cv().INTER_LINEAR)
    grey = cv().cvtColor(small, cv().COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(grey - cv().GaussianBlur(grey, (0, 0), 2)).mean() / max(float(grey.std()), 4.0))


def _match_grain(rgb: Pixels, style: Pixels) -> Pixels:
    """Smooth the picture like paint where the style is smooth, sharpen it where the style is rough."""
    import numpy as np

    ratio = _roughness(style) / max(_roughness(rgb), 1e-3)
    flat = cv().edgePreservingFilter(rgb, flags=1, sigma_s=30, sigma_r=0.3)
    if ratio < 1:
        return np.asarray(cv().addWeighted(rgb, ratio * 0.6, flat, 1 - ratio * 0.6, 0), np.uint8)
    gain = min(1.2, 0.5 * (ratio - 1))
    return np.asarray(cv().addWeighted(rgb, 1 + gain, flat, -gain, 0), np.uint8)
