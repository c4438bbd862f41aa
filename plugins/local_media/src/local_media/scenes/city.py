"""A skyline: rows of buildings with windows, the nearer the darker; more windows are lit by night."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .palettes import mix
from .stage import Stage
from .strips import Strip, make_strip

if TYPE_CHECKING:
    import numpy as np

    from ..heavy import Floats

__all__ = ["city_layers"]


def city_layers(stage: Stage) -> list[Strip]:
    """Return three rows of buildings down to the horizon (or the bottom edge, where there is no water)."""
    bottom = stage.horizon if stage.recipe.has("water") else stage.height
    rows = ((0.62, 0.75, 2.0), (0.52, 0.4, 4.0), (0.34, 0.08, 8.0))
    return [_row(stage, str(i), bottom, stage.horizon * tall, depth, speed) for i, (tall, depth, speed) in enumerate(rows)]


def _row(stage: Stage, name: str, bottom: int, height: float, distance: float, speed: float) -> Strip:
    import numpy as np

    chance = stage.rng("city", name)
    top = max(0, round(stage.horizon - height))
    rows = bottom - top
    colour = np.zeros((rows, stage.columns, 3), np.float32)
    alpha = np.zeros((rows, stage.columns), np.float32)
    wall = mix(mix(stage.palette.near, stage.palette.dark, 0.35), stage.palette.far, 0.85 * distance)
    ground = stage.horizon - top
    x = 0.0
    while x < stage.period:
        wide = stage.unit * float(chance.uniform(26, 74)) * (1.1 - 0.4 * distance)
        tall = ground * float(np.clip(chance.beta(1.6, 2.2) * 1.15 + 0.12, 0.12, 0.98))
        left, right = round(x), min(round(x + wide), stage.period)
        x += wide * float(chance.uniform(0.82, 1.06))
        kind = chance.random(3)
        lights = chance.random((64, 32))
        if left < stage.columns:
            _building(stage, colour, alpha, (left, min(right, stage.columns), round(ground - tall)), wall, distance, kind, lights)
    haze = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 2 * 0.4 * distance
    colour += (np.array(stage.palette.sky[-1], np.float32) - colour) * haze
    return make_strip(stage, colour, alpha, top, speed)


def _building(
    stage: Stage,
    colour: Floats,
    alpha: Floats,
    box: tuple[int, int, int],
    wall: tuple[float, float, float],
    distance: float,
    kind: np.ndarray[tuple[int], np.dtype[np.float64]],
    lights: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    import numpy as np

    left, right, top = box
    side = mix(wall, stage.palette.dark, 0.3 * (1 - distance))
    lit = mix(wall, stage.palette.lit, 0.16 + 0.12 * float(kind[1]))
    split = left + round((right - left) * (0.36 if stage.light[0] < stage.width / 2 else 0.64))
    first, second = (lit, side) if stage.light[0] < stage.width / 2 else (side, lit)
    colour[top:, left:split], colour[top:, split:right] = first, second
    alpha[top:, left:right] = 1
    if kind[0] > 0.55 and right - left > 8:  # a smaller storey on top, and a mast
        inset, rise = (right - left) // 4, round((right - left) * 0.35)
        colour[max(0, top - rise) : top, left + inset : right - inset] = side
        alpha[max(0, top - rise) : top, left + inset : right - inset] = 1
        if kind[0] > 0.8:
            middle, thin = (left + right) // 2, max(1, round(1.6 * stage.unit))
            mast = max(0, top - rise - round((right - left) * 0.9))
            colour[mast:top, middle : middle + thin] = side
            alpha[mast:top, middle : middle + thin] = 1
    step_x, step_y = max(3, round(8 * stage.unit)), max(4, round(11 * stage.unit))
    night = stage.palette.night
    glass = np.array(mix(mix(wall, stage.palette.sky[2], 0.35), stage.palette.dark, 0.25), np.float32)
    for row, y in enumerate(range(top + step_y // 2, colour.shape[0] - step_y, step_y)):
        for column, x in enumerate(range(left + step_x // 2, right - step_x // 2, step_x)):
            light = lights[row % 64, column % 32]
            if light < 0.62 * night:
                warm = np.array((255, 206 + 30 * light, 120 + 90 * light), np.float32) * (0.62 + 0.38 * (1 - distance))
            elif night < 0.9:
                warm = glass
            else:
                continue
            colour[y : y + max(1, step_y // 2), x : x + max(1, step_x // 2)] = warm
