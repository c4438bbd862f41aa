"""Things in the landscape: islands, shores, boats, balloons, birds, houses, lighthouses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from ..heavy import cv
from .noise import field, line, smoothstep
from .palettes import Colour, mix
from .stage import Canvas, Layer, Stage
from .strips import Strip, make_strip, over

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["Sprite", "balloon", "balloons", "birds", "boat", "house", "island", "lighthouse", "shore", "sprite"]

_SCALE = 4


@attrs.frozen
class Sprite:
    """A small picture that moves along a path: ``place(t)`` gives its top left corner."""

    colour: Pixels
    inverse: Pixels
    place: Callable[[float], tuple[float, float]]
    mirror: float = 0.0

    def paint(self, canvas: Canvas, t: float) -> None:
        """Lay it over the canvas; with ``mirror``, its paler reflection below."""
        import numpy as np

        x, y = self.place(t)
        colour, inverse = _nudge(self.colour, x % 1, y % 1, 0), _nudge(self.inverse, x % 1, y % 1, 255)
        left, top = math.floor(x), math.floor(y)
        if self.mirror:
            pale = np.rint(colour[::-1] * self.mirror).astype(np.uint8)
            thin = (255 - (255 - inverse[::-1].astype(np.float32)) * self.mirror).astype(np.uint8)
            over(canvas, pale, thin, top + colour.shape[0] - 2, left)
        over(canvas, colour, inverse, top, left)


def _nudge(picture: Pixels, dx: float, dy: float, empty: int) -> Pixels:
    """Return a picture moved by less than a pixel."""
    import numpy as np

    if dx == 0 and dy == 0:
        return picture
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (picture.shape[1] + 1, picture.shape[0] + 1)
    moved: Pixels = cv().warpAffine(picture, move, size, borderMode=cv().BORDER_CONSTANT, borderValue=(empty,) * 3)
    return moved


def sprite(
    draw: Callable[[Any, Any, float], None], width: float, height: float, place: Callable[[float], tuple[float, float]], mirror: float = 0.0
) -> Sprite:
    """Draw a sprite at four times its size. ``draw(colour, alpha, scale)`` gets float pictures and pixels per unit."""
    import numpy as np

    size = (max(3, math.ceil(width)), max(3, math.ceil(height)))
    colour = np.zeros((size[1] * _SCALE, size[0] * _SCALE, 3), np.float32)
    alpha = np.zeros(colour.shape[:2], np.float32)
    draw(colour, alpha, float(_SCALE))
    colour = cv().resize(colour * alpha[..., None], size, interpolation=cv().INTER_AREA)
    alpha = cv().resize(alpha, size, interpolation=cv().INTER_AREA)
    inverse = np.repeat(np.rint((1 - alpha) * 255).astype(np.uint8)[..., None], 3, axis=2)
    return Sprite(np.clip(colour, 0, 255).astype(np.uint8), inverse, place, mirror)


def polygon(colour: Any, alpha: Any, points: Any, tint: Colour) -> None:
    """Fill a polygon in both pictures."""
    import numpy as np

    pts = [np.rint(np.asarray(points, np.float64) * 16).astype(np.int32)]
    cv().fillPoly(colour, pts, tint, cv().LINE_8, 4)
    cv().fillPoly(alpha, pts, 1.0, cv().LINE_8, 4)


def island(stage: Stage) -> Strip:
    """Return a low, hazy coast on the horizon, with open sea beside it."""
    import numpy as np

    chance = stage.rng("island")
    tall = max(2, round(stage.horizon * 0.16))
    rise = line(chance, stage.period, stage.columns, cells=6, octaves=7, gain=0.48)
    where = line(stage.rng("coast"), stage.period, stage.columns, cells=4, octaves=1, jagged=False)
    height = tall * np.clip(rise * 1.2, 0, 1) * smoothstep(where, 0.45, 0.75)
    alpha = np.clip(np.arange(tall)[:, None] - (tall - height)[None] + 0.5, 0, 1) * (height > 0.5)[None]
    haze = np.linspace(0, 1, tall, dtype=np.float32)[:, None, None]
    base = np.array(mix(stage.palette.far, stage.palette.near, 0.25), np.float32)
    colour = base + (np.array(stage.palette.sky[-1], np.float32) - base) * (0.2 + 0.35 * haze)
    return make_strip(stage, np.broadcast_to(colour, (tall, stage.columns, 3)).copy(), alpha.astype(np.float32), stage.horizon - tall, 2.0)


def shore(stage: Stage) -> Strip:
    """Return wet and dry sand with a line of foam along the bottom edge."""
    import numpy as np

    rows = round(stage.height * 0.24)
    edge = line(stage.rng("shore"), stage.period, stage.columns, cells=4, octaves=4, gain=0.4, jagged=False) * rows * 0.5
    depth = np.arange(rows, dtype=np.float32)[:, None] - edge[None]
    unit = stage.unit
    dry = smoothstep(depth, 20 * unit, 60 * unit)[..., None]
    lit, shade = (np.array(c, np.float32) for c in stage.palette.sand)
    grain = field(stage.rng("sand"), stage.period, stage.columns, rows, cells=40, octaves=6, gain=0.8, stretch=0.4)[..., None]
    wet = shade * 0.72 + np.array(stage.palette.water, np.float32) * 0.28
    colour = wet + (lit * 0.94 - wet) * dry + 7 * grain
    foam = np.exp(-(((depth - 3 * unit) / (4.5 * unit)) ** 2))[..., None] * (0.75 + 0.25 * grain)
    white = np.array(mix((255, 255, 255), stage.palette.dark, 0.55 * stage.palette.night), np.float32)
    colour = colour + (white - colour) * np.clip(foam, 0, 1)
    alpha = smoothstep(depth, -8 * unit, 2 * unit)
    return make_strip(stage, np.clip(colour, 0, 255).astype(np.float32), alpha, stage.height - rows, 12)


def boat(stage: Stage) -> Sprite:
    """Return a sailing boat that rocks and slowly crosses."""
    chance = stage.rng("boat")
    unit = stage.unit
    size = (stage.height - stage.horizon) * 0.34
    dark = stage.palette.dark
    sail = (
        mix((246, 240, 228), stage.palette.sky[-1], 0.25) if stage.palette.night < 0.8 else mix((120, 130, 160), stage.palette.sky[2], 0.3)
    )

    def draw(colour: Any, alpha: Any, scale: float) -> None:
        s = size * scale
        polygon(colour, alpha, [(0.5 * s, 0.02 * s), (0.5 * s, 0.78 * s), (0.12 * s, 0.74 * s)], sail)
        polygon(colour, alpha, [(0.53 * s, 0.1 * s), (0.53 * s, 0.76 * s), (0.84 * s, 0.76 * s)], mix(sail, dark, 0.22))
        polygon(colour, alpha, [(0.5 * s, 0), (0.53 * s, 0), (0.53 * s, 0.84 * s), (0.5 * s, 0.84 * s)], dark)
        polygon(
            colour,
            alpha,
            [(0.08 * s, 0.81 * s), (0.94 * s, 0.81 * s), (0.82 * s, 0.98 * s), (0.2 * s, 0.98 * s)],
            mix(dark, (120, 60, 44), 0.35),
        )

    start = stage.width * (0.25 + 0.4 * float(chance.random()))
    row = stage.horizon + (stage.height - stage.horizon) * 0.3 - size

    def place(t: float) -> tuple[float, float]:
        lap = stage.width + 2 * size
        return (start + 9 * unit * t + size) % lap - size, row + 1.6 * unit * math.sin(1.3 * t)

    return sprite(draw, size, size, place, mirror=0.35)


_BALLOON_COLOURS: tuple[Colour, ...] = ((214, 62, 52), (244, 178, 60), (52, 120, 190), (238, 230, 214), (120, 70, 160))


def balloons(stage: Stage) -> list[Layer]:
    """Return three hot air balloons at different distances."""
    chance = stage.rng("balloons")
    found: list[Layer] = []
    for index, scale in enumerate((0.11, 0.16, 0.25)):
        tall = stage.height * scale
        pick = chance.integers(0, len(_BALLOON_COLOURS), 2)
        x, y = (float(v) for v in chance.random(2))
        found.append(_balloon(stage, tall, index, (int(pick[0]), int(pick[0] + 1 + pick[1] % 4) % len(_BALLOON_COLOURS)), (x, y)))
    return found


def balloon(stage: Stage) -> Layer:
    """Return one hot air balloon that fills the picture's height."""
    pick = stage.rng("balloons").integers(0, len(_BALLOON_COLOURS), 2)
    pair = (int(pick[0]), int(pick[0] + 1 + pick[1] % 4) % len(_BALLOON_COLOURS))
    tall = min(stage.height * 0.9, stage.width * 1.2)
    found = _balloon(stage, tall, 2, pair, (0.5, 0.0))
    left, top = (stage.width - tall * 0.7) / 2, (stage.height - tall) / 2
    return attrs.evolve(found, place=lambda t: (left, top + 4 * stage.unit * math.sin(0.45 * t)))


def _balloon(stage: Stage, tall: float, index: int, pick: tuple[int, int], at: tuple[float, float]) -> Sprite:
    import numpy as np

    fade = (0.4, 0.2, 0.0)[index]
    dim = 0.45 * stage.palette.night
    tints = [mix(mix(_BALLOON_COLOURS[p], stage.palette.far, fade), stage.palette.dark, dim) for p in pick]

    def draw(colour: Any, alpha: Any, scale: float) -> None:
        s = tall * scale
        y, x = np.mgrid[0 : colour.shape[0], 0 : colour.shape[1]] / s
        v = np.clip(y / 0.74, 0, 1)
        half = (
            0.33
            * np.sqrt(np.clip(1 - ((v - 0.42) / np.where(v < 0.42, 0.42, 0.62)) ** 2, 0, 1))
            * np.where(v > 0.42, 1 - 0.1 * (v - 0.42), 1)
        )
        u = (x - 0.35) / np.maximum(half, 1e-4)
        inside = (np.abs(u) <= 1) & (y < 0.74)
        gore = np.floor((np.arcsin(np.clip(u, -1, 1)) / np.pi + 0.5) * 10) % 2
        light = (0.62 + 0.38 * np.sqrt(np.clip(1 - u**2, 0, 1)) + 0.12 * u * (1 if stage.light[0] > stage.width / 2 else -1))[..., None]
        body = np.where(gore[..., None] > 0, np.array(tints[0]), np.array(tints[1])) * light
        colour[inside], alpha[inside] = np.clip(body, 0, 255)[inside], 1
        basket = mix((96, 62, 40), stage.palette.dark, dim)
        for dx in (-0.06, 0.06):
            polygon(
                colour,
                alpha,
                [
                    ((0.35 + 2 * dx) * s, 0.72 * s),
                    ((0.36 + 2 * dx) * s, 0.72 * s),
                    ((0.355 + dx * 0.8) * s, 0.9 * s),
                    ((0.345 + dx * 0.8) * s, 0.9 * s),
                ],
                basket,
            )
        polygon(colour, alpha, [(0.29 * s, 0.88 * s), (0.41 * s, 0.88 * s), (0.4 * s, 0.99 * s), (0.3 * s, 0.99 * s)], basket)

    left = (index * 0.3 + 0.08 + 0.2 * at[0]) * stage.width
    top = (0.06 + 0.24 * at[1]) * stage.horizon
    unit = stage.unit

    def place(t: float) -> tuple[float, float]:
        lap = stage.width + 2 * tall
        return (left + (2 + index) * unit * t + tall) % lap - tall, top + 5 * unit * math.sin(0.45 * t + index) - 5 * unit * math.sin(index)

    return sprite(draw, tall * 0.7, tall, place)


@attrs.frozen
class Birds:
    """A flock whose wings beat."""

    places: Floats
    colour: Colour
    unit: float
    width: int

    def paint(self, canvas: Canvas, t: float) -> None:
        """Draw each bird as two bent wings."""
        import numpy as np

        for x, y, size, phase in self.places:
            at = ((x + 24 * self.unit * t + 40) % (self.width + 80) - 40, y + 4 * self.unit * math.sin(0.8 * t + phase))
            wing = size * (0.25 + 0.3 * math.sin(5 * t + phase))
            arc = np.array([(-size, wing * 0.4), (-size * 0.45, -wing), (0, 0), (size * 0.45, -wing), (size, wing * 0.4)]) + at
            pts = [np.rint(arc * 16).astype(np.int32)]
            thick = max(1, round(size * 0.16))
            cv().polylines(canvas.rgb, pts, False, self.colour, thick, cv().LINE_AA, 4)
            if canvas.cover is not None:
                cv().polylines(canvas.cover, pts, False, 255, thick, cv().LINE_AA, 4)


def birds(stage: Stage) -> Birds:
    """Return a loose flock in the upper sky."""
    import numpy as np

    chance = stage.rng("birds")
    count = 9
    spread = np.abs(np.arange(count) - count // 2)
    x = stage.width * 0.3 + np.arange(count) * 34 * stage.unit + chance.normal(0, 9, count) * stage.unit
    y = stage.horizon * 0.3 + spread * 15 * stage.unit + chance.normal(0, 6, count) * stage.unit
    size = chance.uniform(7, 12, count) * stage.unit
    dark = mix(stage.palette.dark, stage.palette.sky[1], 0.15)
    return Birds(np.stack([x, y, size, chance.uniform(0, 6, count)], axis=1).astype(np.float32), dark, stage.unit, stage.width)


def house(stage: Stage) -> Sprite:
    """Return a cabin with lit windows at the foot of the land."""
    chance = stage.rng("house")
    size = stage.height * (0.13 if stage.recipe.place in {"mountains", "forest"} else 0.15)
    wall = mix(mix((150, 96, 62), stage.palette.near, 0.3), stage.palette.dark, 0.6 * stage.palette.night)
    roof = stage.palette.snow[0] if stage.recipe.has("snow") else mix((120, 52, 44), stage.palette.dark, 0.3 + 0.5 * stage.palette.night)
    glow = mix((255, 214, 130), wall, 0.75 * (1 - max(0.15, stage.palette.night)))

    def draw(colour: Any, alpha: Any, scale: float) -> None:
        s = size * scale
        polygon(colour, alpha, [(0.12 * s, 0.46 * s), (1.08 * s, 0.46 * s), (1.08 * s, 0.99 * s), (0.12 * s, 0.99 * s)], wall)
        polygon(
            colour,
            alpha,
            [(0.82 * s, 0.1 * s), (0.94 * s, 0.1 * s), (0.94 * s, 0.5 * s), (0.82 * s, 0.5 * s)],
            mix(wall, stage.palette.dark, 0.4),
        )
        polygon(colour, alpha, [(0.0 * s, 0.5 * s), (0.28 * s, 0.14 * s), (0.92 * s, 0.14 * s), (1.2 * s, 0.5 * s)], roof)
        for left in (0.22, 0.82):
            polygon(
                colour,
                alpha,
                [(left * s, 0.6 * s), ((left + 0.16) * s, 0.6 * s), ((left + 0.16) * s, 0.78 * s), (left * s, 0.78 * s)],
                glow,
            )
        polygon(
            colour,
            alpha,
            [(0.52 * s, 0.62 * s), (0.68 * s, 0.62 * s), (0.68 * s, 0.99 * s), (0.52 * s, 0.99 * s)],
            mix(wall, stage.palette.dark, 0.55),
        )

    left = stage.width * (0.18 + 0.5 * float(chance.random()))
    low = 0.2 * (stage.height - stage.horizon) if not stage.recipe.has("water") or stage.recipe.place == "hills" else 0.0
    top = stage.horizon + low - size + 2
    return sprite(draw, size * 1.2, size, lambda t: (left - 6 * stage.unit * t, top))


def lighthouse(stage: Stage) -> Sprite:
    """Return a striped lighthouse on a rock."""
    size = stage.height * 0.4
    dim = 0.6 * stage.palette.night
    white, red = mix((244, 240, 234), stage.palette.dark, dim), mix((200, 52, 46), stage.palette.dark, dim)
    rock = mix(stage.palette.near, stage.palette.dark, 0.6)
    lamp = (255, 226, 150) if stage.palette.night > 0.3 else mix(stage.palette.glow, white, 0.4)
    right = stage.light[0] < stage.width / 2

    def draw(colour: Any, alpha: Any, scale: float) -> None:
        s = size * scale
        stone = [(0.0, 1.0), (0.06, 0.9), (0.14, 0.87), (0.2, 0.8), (0.4, 0.78), (0.5, 0.86), (0.62, 0.9), (0.7, 1.0)]
        polygon(colour, alpha, [(x * s, y * s) for x, y in stone], rock)
        for band in range(6):
            y0, y1 = 0.18 + 0.105 * band, 0.18 + 0.105 * (band + 1)
            w0, w1 = 0.055 + 0.0055 * band, 0.055 + 0.0055 * (band + 1)
            tint = red if band % 2 else white
            polygon(
                colour,
                alpha,
                [((0.3 - w0) * s, y0 * s), ((0.3 + w0) * s, y0 * s), ((0.3 + w1) * s, y1 * s), ((0.3 - w1) * s, y1 * s)],
                tint,
            )
            shade = mix(tint, stage.palette.dark, 0.3)
            polygon(
                colour,
                alpha,
                [((0.3 + w0 * 0.3) * s, y0 * s), ((0.3 + w0) * s, y0 * s), ((0.3 + w1) * s, y1 * s), ((0.3 + w1 * 0.3) * s, y1 * s)],
                shade,
            )
        polygon(colour, alpha, [(0.23 * s, 0.165 * s), (0.37 * s, 0.165 * s), (0.37 * s, 0.185 * s), (0.23 * s, 0.185 * s)], rock)
        polygon(colour, alpha, [(0.26 * s, 0.09 * s), (0.34 * s, 0.09 * s), (0.34 * s, 0.165 * s), (0.26 * s, 0.165 * s)], lamp)
        polygon(colour, alpha, [(0.245 * s, 0.09 * s), (0.3 * s, 0.03 * s), (0.355 * s, 0.09 * s)], red)

    left = stage.width * (0.72 if right else 0.08)
    top = stage.horizon + (stage.height - stage.horizon) * 0.24 - size
    return sprite(draw, size * 0.7, size, lambda t: (left, top), mirror=0.3)
