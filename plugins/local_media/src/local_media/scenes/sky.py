"""The sky: gradient, sun and moon, stars, clouds, aurora, rainbow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from ..heavy import cv
from .noise import field, line, smoothstep
from .stage import Canvas, Layer, Stage
from .strips import Strip, make_strip, over

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["moon", "rainbow", "sky_layers", "sun"]


def gradient(stops: tuple[tuple[float, float, float], ...], rows: int) -> Floats:
    """Return a smooth vertical gradient (rows, 3) through the colour stops."""
    import numpy as np

    at = np.linspace(0, 1, rows) ** 1.15
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(at, places, [s[i] for s in stops]) for i in range(3)], axis=1).astype(np.float32)


@attrs.frozen
class Backdrop:
    """A picture that does not move."""

    rgb: Pixels

    def paint(self, canvas: Canvas, t: float) -> None:
        """Cover everything, except that a transparent picture stays open here."""
        canvas.rgb[:] = self.rgb


def _distance(stage: Stage, squash: float = 1.0) -> Floats:
    import numpy as np

    y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32)
    return np.asarray(np.hypot(x - stage.light[0], (y - stage.light[1]) * squash), np.float32)


def backdrop(stage: Stage) -> Backdrop:
    """Return the sky's colours with the light's glow; below the horizon it becomes haze."""
    import numpy as np

    rgb = np.empty((stage.height, stage.width, 3), np.float32)
    rgb[: stage.horizon] = gradient(stage.palette.sky, stage.horizon)[:, None]
    rgb[stage.horizon :] = stage.palette.sky[-1]
    has = stage.recipe.has
    if has("sun") or has("moon") or stage.recipe.time == "dusk":
        far = _distance(stage, 1.25) / (960 * stage.unit)
        wide, strength = (0.42, 0.75) if has("sun") else (0.22, 0.4)
        glow = (np.exp(-((far / wide) ** 2)) * 0.45 + np.exp(-((far / (wide * 0.32)) ** 2)) * 0.4) * strength
        rgb += (np.array(stage.palette.glow, np.float32) - rgb) * glow[..., None]
    if has("sun"):
        _disc(stage, rgb, 0.040 if stage.recipe.time == "day" else 0.052)
    rgb += stage.rng("grain").random(rgb.shape[:2], np.float32)[..., None] - 0.5
    return Backdrop(np.clip(rgb, 0, 255).astype(np.uint8))


def _disc(stage: Stage, rgb: Floats, radius: float) -> None:
    import numpy as np

    edge = np.clip(radius * 960 * stage.unit / 2 - _distance(stage) + 0.5, 0, 1)[..., None]
    white = np.array([255, 250, 232], np.float32)
    rgb += (white - rgb) * edge * 0.95


@attrs.frozen
class Moon:
    """The moon with its seas, cut out once."""

    colour: Pixels
    inverse: Pixels
    left: int
    top: int

    def paint(self, canvas: Canvas, t: float) -> None:
        """Lay it over the sky."""
        over(canvas, self.colour, self.inverse, self.top, self.left)


def moon(stage: Stage) -> Moon:
    """Return a full moon where the light stands."""
    import numpy as np

    radius = max(3, round(30 * stage.unit))
    size = 2 * radius + 3
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) - radius - 1) / radius
    far = np.hypot(x, y)
    alpha = np.clip((1 - far) * radius + 0.5, 0, 1)
    seas = smoothstep(field(stage.rng("moon"), size, size, size, cells=3, octaves=4), -0.1, 0.7)
    light = (0.97 - 0.22 * seas) * (1 - 0.12 * far**2)
    colour = light[..., None] * np.array([250, 246, 232], np.float32)
    inverse = np.repeat(np.rint((1 - alpha) * 255).astype(np.uint8)[..., None], 3, axis=2)
    left, top = round(stage.light[0]) - radius, round(stage.light[1]) - radius
    return Moon(np.clip(colour * alpha[..., None], 0, 255).astype(np.uint8), inverse, left, top)


def sun(stage: Stage) -> Moon:
    """Return the sun's disc by itself, for pictures without a sky."""
    import numpy as np

    radius = max(4, round(0.3 * min(stage.width, stage.height)))
    size = 2 * radius + 3
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) - radius - 1) / radius
    far = np.hypot(x, y)
    alpha = np.maximum(np.clip((0.62 - far) * radius + 0.5, 0, 1), 0.7 * np.exp(-((np.clip(far - 0.6, 0, None) / 0.17) ** 2)) * (far < 1))
    colour = np.array([255, 244, 206], np.float32) * alpha[..., None]
    inverse = np.repeat(np.rint((1 - alpha) * 255).astype(np.uint8)[..., None], 3, axis=2)
    return Moon(np.clip(colour, 0, 255).astype(np.uint8), inverse, stage.width // 2 - radius, stage.height // 2 - radius)


@attrs.frozen
class Stars:
    """Stars that twinkle: two sets of points, out of step."""

    sets: tuple[Pixels, Pixels]

    def paint(self, canvas: Canvas, t: float) -> None:
        """Add their light."""
        for index, points in enumerate(self.sets):
            level = 0.82 + 0.18 * math.sin(2.6 * t + 2.2 * index)
            part = canvas.rgb[: points.shape[0]]
            canvas.rgb[: points.shape[0]] = cv().addWeighted(part, 1.0, points, level, 0)


def stars(stage: Stage) -> Stars:
    """Return stars, thinner towards the horizon, with a band like the Milky Way."""
    import numpy as np

    chance = stage.rng("stars")
    rows, columns = stage.horizon, stage.width
    strength = {"night": 1.0, "dusk": 0.5}.get(stage.recipe.time, 0.35)
    sets = []
    for index in range(2):
        sky = np.zeros((rows, columns), np.float32)
        count = int(190 * strength)
        for x, y, size, light in chance.random((count, 4)):
            at = (round(x * columns * 16), round(y * y * rows * 0.97 * 16))
            radius = (0.5 + 1.5 * size**6) * max(0.6, stage.unit)
            cv().circle(sky, at, round(radius * 16), float(0.2 + 0.8 * light**2) * (1 - 0.7 * y * y), -1, cv().LINE_AA, 4)
        tints = 1 + 0.12 * (np.array([0.6, 0.2, -0.2]) if index else np.array([-0.5, 0, 0.9]))
        rgb = sky[..., None] * tints * 255 * strength
        if index == 0 and stage.recipe.time == "night":
            rgb += _milky_way(stage)[..., None] * np.array([46, 48, 62])
        sets.append(np.clip(rgb, 0, 255).astype(np.uint8))
    return Stars((sets[0], sets[1]))


def _milky_way(stage: Stage) -> Floats:
    import numpy as np

    y, x = np.mgrid[0 : stage.horizon, 0 : stage.width].astype(np.float32) / stage.height
    lean = 0.75 + 0.3 * float(stage.rng("milky").random())
    away = (y - 0.25) * lean + (x - stage.width / stage.height * 0.5) * 0.55
    dust = field(stage.rng("dust"), stage.period, stage.width, stage.horizon, cells=10, octaves=6, gain=0.65)
    return np.asarray(np.exp(-((away / 0.16) ** 2)) * np.clip(0.75 + 0.6 * dust, 0, 1.6), np.float32)


def clouds(stage: Stage) -> Strip:
    """Return drifting clouds: denser in storms, flatter towards the horizon, lit from the light's side."""
    import numpy as np

    stormy = stage.recipe.time == "storm"
    rows, columns = stage.horizon, stage.columns
    chance = stage.rng("clouds")
    flat = field(chance, stage.period, columns, rows, cells=6, octaves=8, gain=0.56, stretch=0.38)
    depth = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    level = (-0.35 if stormy else 0.12) + float(chance.random()) * (0.1 if stormy else 0.22)
    alpha = smoothstep(flat - 0.35 * (depth - 0.45), level, level + 0.75) * (1 - smoothstep(depth, 0.86, 1.0))
    step = max(1, round(7 * stage.unit))
    relief = np.clip((flat - np.roll(flat, -step, axis=0)) * 1.6 + 0.5, 0, 1)
    shade = np.clip(0.62 * relief + 0.38 * (1 - smoothstep(flat, level + 0.2, level + 1.3)), 0, 1)[..., None]
    lit, dim = (np.array(c, np.float32) for c in stage.palette.cloud)
    colour = dim + (lit - dim) * shade
    haze = np.array(stage.palette.sky[-1], np.float32)
    colour += (haze - colour) * (0.5 * depth**2)[..., None]
    return make_strip(stage, colour, alpha * (0.96 if stormy else 0.88), 0, speed=9 if stormy else 5)


def aurora(stage: Stage) -> Strip:
    """Return curtains of green light with violet tops."""
    import numpy as np

    rows, columns = stage.horizon, stage.columns
    y = np.arange(rows, dtype=np.float32)[:, None] / rows
    total = np.zeros((rows, columns, 3), np.float32)
    alpha = np.zeros((rows, columns), np.float32)
    for index in range(3):
        chance = stage.rng("aurora", str(index))
        foot = 0.45 + 0.22 * index * 0.6 + 0.22 * (line(chance, stage.period, columns, cells=4, octaves=3, jagged=False) - 0.5)
        rays = 0.4 + 0.9 * line(chance, stage.period, columns, cells=64, octaves=3, gain=0.7, jagged=False)
        reach = 0.18 + 0.34 * line(chance, stage.period, columns, cells=8, octaves=4, jagged=False)
        up = (foot[None] - y) / reach[None]
        light = np.exp(-2.4 * np.clip(up, 0, None)) * smoothstep(up, -0.14, 0.1) * rays[None]
        mixing = np.clip(up, 0, 1)[..., None]
        total += light[..., None] * (np.array([70, 240, 150]) * (1 - mixing) + np.array([160, 80, 220]) * mixing)
        alpha += light
    alpha = np.clip(alpha, 0, 1)
    colour = total / np.maximum(alpha, 1e-3)[..., None]
    return make_strip(stage, np.clip(colour, 0, 255).astype(np.float32), (alpha * 0.8).astype(np.float32), 0, speed=12)


def rainbow(stage: Stage) -> Strip:
    """Return a rainbow opposite the light."""
    import numpy as np

    y, x = np.mgrid[0 : stage.horizon, 0 : stage.width].astype(np.float32)
    away = stage.width * (0.75 if stage.light[0] < stage.width / 2 else 0.25)
    far = np.hypot(x - away, y - stage.horizon * 1.15) / (stage.height * 0.5)
    at = (far - 0.93) / 0.14
    hue = np.clip(1 - at, 0, 1) * 135
    hsv = np.stack([hue, np.full_like(hue, 190), np.full_like(hue, 255)], axis=2).astype(np.uint8)
    colour = cv().cvtColor(hsv, cv().COLOR_HSV2RGB).astype(np.float32)
    alpha = 0.42 * np.exp(-(((at - 0.5) / 0.42) ** 4)) * smoothstep(1 - y / stage.horizon, 0.0, 0.25)
    return make_strip(stage, colour, alpha.astype(np.float32), 0)


def sky_layers(stage: Stage) -> list[Layer]:
    """Return what is above the land, back to front."""
    has = stage.recipe.has
    layers: list[Layer] = [backdrop(stage)]
    if has("stars"):
        layers.append(stars(stage))
    if has("moon"):
        layers.append(moon(stage))
    if has("aurora"):
        layers.append(aurora(stage))
    if has("clouds"):
        layers.append(clouds(stage))
    if has("rainbow"):
        layers.append(rainbow(stage))
    return layers
