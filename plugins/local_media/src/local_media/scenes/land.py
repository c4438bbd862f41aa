"""Ridges, hills and dunes: profiles filled with colour, relief, haze and snow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .noise import field, line, smoothstep
from .palettes import Colour, mix
from .stage import Layer, Stage
from .strips import Strip, make_strip

if TYPE_CHECKING:
    from ..heavy import Floats

__all__ = ["desert_layers", "hill", "hill_layers", "mountain_layers", "ridge"]


def _body(profile: Floats, rows: int) -> tuple[Floats, Floats]:
    """Return (alpha, depth below the profile in rows) of everything below a profile (rows from the strip's top)."""
    import numpy as np

    depth = np.arange(rows, dtype=np.float32)[:, None] - profile[None]
    return np.clip(depth + 0.5, 0, 1).astype(np.float32), depth


def ridge(stage: Stage, name: str, *, base: int, height: float, distance: float, speed: float, snow: bool) -> Strip:
    """Return a mountain ridge: rocky relief lit from the light's side, snow on its heights, haze at its foot.

    ``base``: the row of its foot; ``height`` in rows; ``distance``: 0 near to 1 far.
    """
    import numpy as np

    chance = stage.rng("ridge", name)
    top = max(0, round(base - height))
    rows = base - top
    cells = 8 + int(chance.integers(0, 4))
    crest = line(chance, stage.period, stage.columns, cells=cells, octaves=8, gain=0.47)
    crest = np.clip((crest - 0.2) / 0.58, 0.02, None)
    crest = np.where(crest > 0.72, 0.72 + 0.28 * (1 - np.exp(-(crest - 0.72) / 0.28)), crest).astype(np.float32)  # no flat tops
    profile = (1 - crest) * rows * 0.96
    alpha, depth = _body(profile, rows)
    relief = _relief(stage, name, depth, profile)
    rock = mix(stage.palette.near, stage.palette.far, 0.25 + 0.75 * distance)
    lit = mix(rock, stage.palette.lit, 0.42 * (1 - 0.55 * distance))
    dark = mix(rock, stage.palette.dark, 0.38 * (1 - distance))
    colour = _blend(dark, lit, relief)
    if snow:
        colour = _snow(stage, chance, colour, depth, profile, relief, rows, distance)
    haze = smoothstep(np.arange(rows) / rows, 0.25, 1.05)[:, None, None] * (0.25 + 0.55 * distance)
    colour += (np.array(mix(stage.palette.sky[-1], stage.palette.far, 0.35), np.float32) - colour) * haze
    return make_strip(stage, colour, alpha, top, speed)


def _relief(stage: Stage, name: str, depth: Floats, profile: Floats) -> Floats:
    """Return how light each spot is, 0 to 1: faces that fall away from the crest, with gullies."""
    import numpy as np

    rows, columns = depth.shape
    chance = stage.rng("relief", name)
    side = 1.0 if stage.light[0] > stage.width / 2 else -1.0
    rough = field(chance, stage.period, columns, rows, cells=16, octaves=7, gain=0.6, stretch=1.15)
    step = max(1, round(3 * stage.unit))
    slope = np.roll(rough, (-step, int(side) * step), axis=(0, 1)) - rough
    wide = max(3, round(26 * stage.unit)) | 1
    smooth = np.convolve(np.pad(profile, wide, mode="wrap"), np.ones(wide) / wide, mode="same")[wide:-wide]
    faces = np.tanh(np.gradient(smooth) * side * 1.6)[None] * np.exp(-depth / (rows * 0.55))
    return np.asarray(np.clip(0.46 + 0.36 * faces + 0.8 * slope, 0, 1), np.float32)


def _blend(dark: Colour, light: Colour, part: Floats) -> Floats:
    import numpy as np

    low, high = np.array(dark, np.float32), np.array(light, np.float32)
    return np.asarray(low + (high - low) * part[..., None], np.float32)


def _snow(
    stage: Stage, chance: object, colour: Floats, depth: Floats, profile: Floats, relief: Floats, rows: int, distance: float
) -> Floats:
    import numpy as np

    winter = 2.2 if stage.recipe.has("snow") else 1.0
    edge = field(
        stage.rng("snowline", str(rows)), stage.period, depth.shape[1], depth.shape[0], cells=40, octaves=5, gain=0.65, stretch=1.8
    )
    altitude = 1 - (depth + profile[None]) / rows
    line_at = 0.62 - 0.3 * (winter - 1)
    part = smoothstep(altitude + 0.16 * edge + 0.2 * (relief - 0.5), line_at, line_at + 0.07)
    lit, shade = stage.palette.snow
    white = _blend(
        mix(shade, stage.palette.far, 0.5 * distance), mix(lit, stage.palette.far, 0.35 * distance), smoothstep(relief, 0.2, 0.75)
    )
    return np.asarray(colour + (white - colour) * part[..., None], np.float32)


def mountain_layers(stage: Stage) -> list[Layer]:
    """Return ridges from the farthest to the nearest."""
    horizon = stage.horizon
    snow = stage.recipe.season != "autumn" or stage.recipe.has("snow")
    far = ridge(stage, "far", base=horizon, height=horizon * 0.42, distance=1.0, speed=1.5, snow=False)
    mid = ridge(stage, "mid", base=horizon, height=horizon * 0.56, distance=0.6, speed=3, snow=snow)
    near = ridge(stage, "near", base=horizon, height=horizon * 0.34, distance=0.25, speed=6, snow=stage.recipe.has("snow"))
    return [far, mid, near]


def hill(stage: Stage, name: str, *, base: int, height: float, distance: float, speed: float, bottom: int | None = None) -> Strip:
    """Return a rounded green (or snowy) hill with soft light and mown stripes; its strip goes down to ``bottom``."""
    import numpy as np

    chance = stage.rng("hill", name)
    top = max(0, round(base - height))
    rows = (bottom or base) - top
    crest = line(chance, stage.period, stage.columns, cells=4, octaves=4, gain=0.32, jagged=False)
    crest = 1 / (1 + np.exp(-(crest - 0.5) * 9))  # never flat, so that the light changes everywhere
    profile = (1 - crest) * min(height, rows) * 0.9
    alpha, depth = _body(profile, rows)
    side = 1.0 if stage.light[0] > stage.width / 2 else -1.0
    slope = np.tanh(np.gradient(profile) * side * 2.2)[None]
    texture = field(stage.rng("grass", name), stage.period, stage.columns, rows, cells=48, octaves=5, gain=0.7, stretch=0.3)
    part = np.clip(0.45 + 0.3 * slope + 0.16 * texture - 0.25 * depth / max(rows, 1), 0, 1)
    if stage.recipe.has("snow"):
        colour = _blend(stage.palette.snow[1], stage.palette.snow[0], part)
    else:
        green = mix(stage.palette.foliage, stage.palette.far, 0.7 * distance)
        colour = _blend(mix(green, stage.palette.dark, 0.4 * (1 - distance)), mix(green, stage.palette.lit, 0.34), part)
    rim = np.exp(-np.clip(depth, 0, None) / (5 * stage.unit + 1))[..., None] * (0.35 if stage.palette.night < 0.8 else 0.12)
    colour += (np.array(stage.palette.lit, np.float32) - colour) * rim
    haze = np.array(mix(stage.palette.sky[-1], stage.palette.far, 0.3), np.float32)
    colour += (haze - colour) * (0.55 * distance * smoothstep(np.arange(rows) / max(rows, 1), 0.0, 1.0))[:, None, None]
    return make_strip(stage, np.asarray(colour, np.float32), alpha, top, speed)


def hill_layers(stage: Stage, *, mountains: bool = True) -> list[Layer]:
    """Return rolling hills down to the bottom edge, with pale mountains behind."""
    horizon, height = stage.horizon, stage.height
    layers: list[Layer] = []
    if mountains:
        layers.append(ridge(stage, "far", base=horizon, height=horizon * 0.3, distance=1.0, speed=1.5, snow=False))
    room = height - horizon
    for index, (low, tall, distance, speed) in enumerate(((0.1, 0.5, 0.8, 3), (0.4, 0.5, 0.45, 6), (0.75, 0.5, 0.12, 10))):
        base = horizon + round(room * low)
        layers.append(hill(stage, str(index), base=base, height=room * tall, distance=distance, speed=speed, bottom=height))
    return layers


def _dune(stage: Stage, name: str, *, base: int, height: float, distance: float, speed: float) -> Strip:
    """Return a dune: a crest, a lit side and a shaded side, ripples that follow the slope."""
    import numpy as np

    chance = stage.rng("dune", name)
    top = max(0, round(base - height))
    rows = stage.height - top
    crest = line(chance, stage.period, stage.columns, cells=5, octaves=2, gain=0.25, jagged=False)
    profile = (1 - 1 / (1 + np.exp(-(crest - 0.5) * 7))) * height * 0.9
    alpha, depth = _body(profile, rows)
    side = 1.0 if stage.light[0] > stage.width / 2 else -1.0
    bend = field(stage.rng("bend", name), stage.period, stage.columns, rows, cells=6, octaves=3, stretch=0.8)
    slope = np.tanh(np.gradient(profile) * side * 3 + 0.5 * bend)
    reach = np.clip(depth / (height * 0.9), 0, 1)
    x = np.arange(stage.columns, dtype=np.float32)[None]
    waves = np.sin((depth * 0.5 / (0.35 + reach) + 6 * bend) / (1.6 * stage.unit) + 0.02 * x / stage.unit)
    part = np.clip(0.5 + 0.5 * slope * (1 - 0.5 * reach) + 0.07 * waves * (1 - distance) - 0.12 * reach, 0, 1)
    lit, shade = stage.palette.sand
    colour = _blend(mix(shade, stage.palette.far, 0.55 * distance), mix(lit, stage.palette.far, 0.45 * distance), part)
    return make_strip(stage, colour, alpha, top, speed)


def desert_layers(stage: Stage) -> list[Layer]:
    """Return dunes, the nearest last."""
    room = stage.height - stage.horizon
    layers: list[Layer] = [ridge(stage, "far", base=stage.horizon + 2, height=stage.horizon * 0.2, distance=1.0, speed=1.5, snow=False)]
    for index, (low, tall, distance, speed) in enumerate(((0.08, 0.35, 0.85, 3), (0.3, 0.42, 0.5, 6), (0.72, 0.62, 0.1, 10))):
        base = stage.horizon + round(room * low)
        layers.append(_dune(stage, str(index), base=base, height=room * tall, distance=distance, speed=speed))
    return layers
