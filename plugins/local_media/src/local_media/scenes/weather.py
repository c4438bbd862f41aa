"""Rain, snowfall and fog, over a scene or over any picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..heavy import cv, rng
from .noise import field, smoothstep
from .palettes import Colour, mix
from .stage import Canvas, Layer, Stage
from .strips import make_strip, over

if TYPE_CHECKING:
    from ..heavy import Floats

__all__ = ["Falling", "fog", "rain", "snowfall", "weather_layers"]


@attrs.frozen
class Falling:
    """Flakes or drops that fall and come back at the top. Columns of ``drops``: x, y (0 to 1), depth (0 far to 1 near)."""

    drops: Floats
    colour: Colour
    width: int
    height: int
    unit: float
    streak: bool

    def paint(self, canvas: Canvas, t: float) -> None:
        """Draw all of them on a mask and lay it over."""
        import numpy as np

        mask = np.zeros((self.height, self.width), np.uint8)
        x, y, depth = self.drops.T
        if self.streak:
            self._rain(mask, x, y, depth, t)
        else:
            self._snow(mask, x, y, depth, t)
        inverse = cv().merge([255 - mask] * 3)
        flat = np.array(self.colour, np.float32) / 255
        colour = cv().merge([cv().multiply(mask, 1, scale=float(part)) for part in flat])
        over(canvas, colour, inverse, 0)

    def _rain(self, mask: object, x: Floats, y: Floats, depth: Floats, t: float) -> None:
        import numpy as np

        fall = (0.9 + 0.9 * depth) * t
        px, py = ((x - 0.12 * fall) % 1) * self.width * 1.2 - 0.1 * self.width, ((y + fall) % 1) * self.height * 1.2 - 0.1 * self.height
        reach = (14 + 36 * depth) * self.unit
        for light in (0, 1, 2):
            pick = (depth * 2.999).astype(int) == light
            ends = np.stack([np.stack([px, py], 1), np.stack([px + 0.13 * reach, py - reach], 1)], axis=1)[pick]
            lines = np.rint(ends * 16).astype(np.int32)
            cv().polylines(mask, list(lines), False, 44 + 34 * light, max(1, round((0.6 + 0.5 * light) * self.unit)), cv().LINE_AA, 4)

    def _snow(self, mask: object, x: Floats, y: Floats, depth: Floats, t: float) -> None:
        import numpy as np

        fall = (0.05 + 0.13 * depth) * t
        sway = 0.012 * np.sin(1.1 * t + 40 * x)
        px, py = ((x + sway + 0.02 * t * depth) % 1) * self.width, ((y + fall) % 1) * self.height * 1.1 - 0.05 * self.height
        radius = (0.7 + 3.4 * depth**3) * self.unit
        for at_x, at_y, r, d in zip(px, py, radius, depth, strict=True):
            centre = (round(float(at_x) * 16), round(float(at_y) * 16))
            cv().circle(mask, centre, max(8, round(float(r) * 16)), int(130 + 110 * d), -1, cv().LINE_AA, 4)


def _falling(seed: int, width: int, height: int, unit: float, colour: Colour, count: int, *, streak: bool) -> Falling:
    import numpy as np

    drops = rng(seed, "rain" if streak else "snowfall").random((count, 3)).astype(np.float32)
    return Falling(drops, colour, width, height, unit, streak)


def rain(seed: int, width: int, height: int, colour: Colour = (206, 216, 226)) -> Falling:
    """Return rain for a picture of that size."""
    return _falling(seed, width, height, (width * height) ** 0.5 / 960, colour, 420, streak=True)


def snowfall(seed: int, width: int, height: int, colour: Colour = (250, 250, 255)) -> Falling:
    """Return falling snow for a picture of that size."""
    return _falling(seed, width, height, (width * height) ** 0.5 / 960, colour, 420, streak=False)


def fog(stage: Stage) -> Layer:
    """Return drifting banks of fog around the horizon."""
    import numpy as np

    top = round(stage.horizon * 0.62)
    rows = round((stage.height - top) * 0.7)
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    drift = field(stage.rng("fog"), stage.period, stage.columns, rows, cells=5, octaves=5, gain=0.5, stretch=0.3)
    alpha = np.clip(0.5 + 0.42 * drift, 0, 0.9) * smoothstep(y, 0, 0.35) * (1 - smoothstep(y, 0.45, 1))
    colour = np.array(mix(stage.palette.sky[-1], stage.palette.cloud[0], 0.3), np.float32)
    return make_strip(stage, np.broadcast_to(colour, (rows, stage.columns, 3)).copy(), alpha.astype(np.float32), top, speed=7)


def weather_layers(stage: Stage) -> list[Layer]:
    """Return what falls or drifts in front of the land."""
    recipe = stage.recipe
    layers: list[Layer] = []
    if recipe.has("fog") and recipe.place != "forest":  # there it hangs between the trees
        layers.append(fog(stage))
    if recipe.has("snowfall"):
        layers.append(snowfall(recipe.seed, stage.width, stage.height, mix((255, 255, 255), stage.palette.snow[0], 0.6)))
    if recipe.has("rain"):
        layers.append(rain(recipe.seed, stage.width, stage.height, mix((214, 222, 230), stage.palette.sky[-1], 0.4)))
    return layers
