"""Deep space: stars, glowing gas, a planet with a lit side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..heavy import cv
from .noise import field, smoothstep
from .sky import Backdrop, Stars
from .stage import Layer, Stage
from .strips import Strip, make_strip
from .things import sprite

if TYPE_CHECKING:
    from ..heavy import Floats

__all__ = ["space_layers"]

_GASES = (
    ((226, 84, 150), (74, 60, 196)),
    ((60, 190, 214), (124, 60, 190)),
    ((244, 150, 80), (150, 40, 110)),
    ((80, 210, 160), (40, 80, 190)),
)


def space_layers(stage: Stage) -> list[Layer]:
    """Return a night without a ground."""
    import numpy as np

    dark = np.empty((stage.height, stage.width, 3), np.uint8)
    dark[:] = (5, 6, 16)
    return [Backdrop(dark), _gas(stage, 0), _gas(stage, 1), _stars(stage), _planet(stage)]


def _gas(stage: Stage, index: int) -> Strip:
    import numpy as np

    chance = stage.rng("gas")
    colours = _GASES[int(chance.integers(0, len(_GASES)))]
    rough = field(stage.rng("gas", str(index)), stage.period, stage.columns, stage.height, cells=4, octaves=8, gain=0.56)
    veins = 1 - np.abs(field(stage.rng("veins", str(index)), stage.period, stage.columns, stage.height, cells=5, octaves=8, gain=0.58))
    alpha = smoothstep(rough + 0.5 * (veins - 0.6), 0.05, 1.25) * 0.85
    first, second = (np.array(c, np.float32) for c in (colours if index == 0 else colours[::-1]))
    colour = second + (first - second) * np.clip(veins, 0, 1)[..., None] ** 2
    return make_strip(stage, np.asarray(colour * (0.7 + 0.5 * np.clip(rough, 0, 1))[..., None], np.float32), alpha, 0, speed=3 + 3 * index)


def _stars(stage: Stage) -> Stars:
    import numpy as np

    chance = stage.rng("stars")
    sets = []
    for tint in ((210, 226, 255), (255, 236, 210)):
        sky: Floats = np.zeros((stage.height, stage.width, 3), np.float32)
        for x, y, size, light in chance.random((320, 4)):
            at = (round(x * stage.width * 16), round(y * stage.height * 16))
            radius = (0.5 + 2.0 * size**8) * max(0.6, stage.unit)
            level = float(0.25 + 0.75 * light**2)
            cv().circle(sky, at, round(radius * 16), [c * level for c in tint], -1, cv().LINE_AA, 4)
        glow = cv().GaussianBlur(sky, (0, 0), 3 * stage.unit + 0.5)
        sets.append(np.clip(sky + 1.2 * glow, 0, 255).astype(np.uint8))
    return Stars((sets[0], sets[1]))


def _planet(stage: Stage) -> Layer:
    import numpy as np

    chance = stage.rng("planet")
    radius = min(stage.width, stage.height) * float(chance.uniform(0.2, 0.3))
    tints = np.array([(222, 178, 130), (120, 84, 72)] if chance.random() < 0.5 else [(110, 170, 220), (40, 62, 120)], np.float32)

    def draw(colour: Floats, alpha: Floats, scale: float) -> None:
        size = colour.shape[0]
        y, x = (np.mgrid[0:size, 0:size].astype(np.float32) - size / 2) / (radius * scale)
        far = np.hypot(x, y)
        bands = field(stage.rng("bands"), size * 2, size, size, cells=3, octaves=6, stretch=0.22)
        depth = np.sqrt(np.clip(1 - far**2, 0, 1))
        light = np.clip(-0.62 * x - 0.5 * y + 0.6 * depth, 0.02, 1) ** 0.8
        mixed = tints[1] + (tints[0] - tints[1]) * np.clip(0.5 + 0.8 * bands, 0, 1)[..., None]
        rim = np.clip(1 - depth, 0, 1)[..., None] ** 3 * light[..., None] * np.array([120, 170, 255], np.float32) * 0.6
        colour[:] = np.clip(mixed * light[..., None] + rim, 0, 255)
        alpha[:] = far <= 1

    side = 2 * radius + 4
    left = stage.width * float(chance.uniform(0.48, 0.66)) - radius
    top = stage.height * float(chance.uniform(0.42, 0.6)) - radius
    return sprite(draw, side, side, lambda t: (left - 3 * stage.unit * t, top))
