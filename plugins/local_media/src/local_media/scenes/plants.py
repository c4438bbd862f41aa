"""Trees, palms, cacti, flowers: drawn at four times the size on a strip, so that their edges are smooth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..heavy import cv
from .noise import line
from .palettes import Colour, mix
from .stage import Stage
from .strips import Strip, make_strip

if TYPE_CHECKING:
    import numpy as np

    from ..heavy import Floats

__all__ = ["Stamp", "cactus", "flowers", "leafy", "palm", "pine", "rows_of"]

#: Draws one plant on a grey mask: (mask, x and y of its foot, height in pixels, chance).
Stamp = Callable[[Any, float, float, float, Any], None]
_SHIFT = 4


def _fill(mask: Any, points: Any, value: int = 255) -> None:
    import numpy as np

    cv().fillPoly(mask, [np.rint(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)], value, cv().LINE_AA, _SHIFT)


def _stroke(mask: Any, points: Any, width: float) -> None:
    import numpy as np

    pts = np.rint(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)
    cv().polylines(mask, [pts], False, 255, max(1, round(width)), cv().LINE_AA, _SHIFT)


def pine(mask: Any, x: float, y: float, height: float, chance: Any) -> None:
    """Draw a conifer: tiers of drooping branches on a thin trunk."""
    import numpy as np

    _stroke(mask, [(x, y), (x, y - height * 0.9)], height * 0.028)
    tiers = max(5, min(13, round(height / 9)))
    left, right = [], []
    for tier in range(tiers):
        part = tier / tiers
        wide = height * 0.21 * (part**0.85 + 0.04) * (0.8 + 0.4 * chance.random(2))
        low = y - height * (1 - part) + height * 0.92 / tiers
        notch = low - height * 0.05
        left += [(x - wide[0], low + height * 0.02), (x - wide[0] * 0.42, notch)]
        right += [(x + wide[1], low + height * 0.02), (x + wide[1] * 0.42, notch)]
    _fill(mask, np.array([(x, y - height), *left, (x, y - height * 0.05), *reversed(right)]))


def leafy(mask: Any, x: float, y: float, height: float, chance: Any) -> None:
    """Draw a broad tree: a trunk and a crown of many small discs."""
    import numpy as np

    _fill(
        mask,
        [(x - height * 0.035, y), (x - height * 0.015, y - height * 0.5), (x + height * 0.015, y - height * 0.5), (x + height * 0.035, y)],
    )
    centre = np.array([x, y - height * 0.63])
    for angle, far, size in chance.random((max(26, round(height / 2)), 3)):
        reach = np.sqrt(far) * height * 0.3
        at = centre + np.array([math.cos(angle * 6.283) * 1.05, math.sin(angle * 6.283)]) * reach
        radius = height * (0.05 + 0.06 * size)
        cv().circle(mask, tuple(int(v * 16) for v in at), int(radius * 16), 255, -1, cv().LINE_AA, _SHIFT)


def palm(mask: Any, x: float, y: float, height: float, chance: Any) -> None:
    """Draw a palm: a bent trunk and feathered fronds."""
    import numpy as np

    lean = height * (0.4 * float(chance.random()) - 0.14)
    t = np.linspace(0, 1, 24)
    trunk = np.stack([x + lean * t**2, y - height * 0.74 * t], axis=1)
    thick = height * (0.024 - 0.011 * t)[:, None] * [1, 0]
    _fill(mask, np.concatenate([trunk - thick, (trunk + thick)[::-1]]))
    crown = trunk[-1]
    for angle in np.linspace(-0.5, 3.64, 11) + 0.1 * chance.standard_normal(11):
        reach = height * (0.46 + 0.1 * float(chance.random()))
        t_frond = np.linspace(0, 1, 40)
        rise = (0.2 + 0.8 * math.sin(angle)) * 0.95 * t_frond - 0.5 * t_frond**2.4
        rib = crown + np.stack([math.cos(angle) * t_frond, -rise], axis=1) * reach
        along = np.gradient(rib, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1)
        wide = (np.sin(np.pi * np.clip(t_frond * 0.95 + 0.05, 0, 1)) ** 0.7 * height * 0.045)[:, None]
        for side in (-1, 1):
            tips = rib + along * wide * 1.1 + side * across * wide + np.array([0, 1]) * wide * 0.7
            for start, tip in zip(rib[::1], tips, strict=True):
                _stroke(mask, [start, tip], height * 0.005)
        _stroke(mask, rib, height * 0.008)


def cactus(mask: Any, x: float, y: float, height: float, chance: Any) -> None:
    """Draw a saguaro with two arms."""
    import numpy as np

    thick = height * 0.13
    _stroke(mask, [(x, y), (x, y - height)], thick)
    for side in (-1, 1):
        at, reach, up = y - height * (0.35 + 0.2 * float(chance.random())), height * 0.22, height * (0.25 + 0.15 * float(chance.random()))
        elbow = np.array([(x, at), (x + side * reach * 0.8, at), (x + side * reach, at - reach * 0.25), (x + side * reach, at - up)])
        _stroke(mask, elbow, thick * 0.7)


def _ground(stage: Stage, name: str, tall: float) -> Floats:
    rise = line(stage.rng("rise", name), stage.period, stage.columns, cells=5, octaves=4, gain=0.4, jagged=False)
    return (1 - rise) * tall


def rows_of(
    stage: Stage,
    stamp: Stamp,
    name: str,
    *,
    base: int,
    height: float,
    spacing: float,
    colour: Colour,
    speed: float,
    filled: bool = True,
    clearing: bool = False,
) -> Strip:
    """Return a row of plants, ``height`` pixels tall, on slightly uneven ground; below it is filled if ``filled``.

    ``spacing`` in plant heights; ``clearing`` leaves the middle of the picture open.
    """
    import numpy as np

    chance = stage.rng("row", name)
    rise = height * 0.35
    top = round(base - height * 1.25 - rise)
    rows = max(2, (stage.height if filled else base) - top)
    ground = _ground(stage, name, rise) + height * 1.25
    if clearing:
        x = np.linspace(-1, 1, stage.width)
        dip = np.interp(np.arange(stage.columns) % stage.width, np.arange(stage.width), 1 - np.abs(x) ** 2.2)
        ground = ground + dip.astype(np.float32) * height * 0.5
    mask = np.zeros((rows, stage.columns), np.uint8)
    if filled:
        mask[:] = np.clip(np.arange(rows)[:, None] - ground[None] + 0.5, 0, 1) * 255
    _stamp_all(stage, stamp, mask, ground, height, spacing, chance, clearing)
    alpha: Floats = mask.astype(np.float32) / np.float32(255)
    shade = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    tint = np.array(colour, np.float32)
    painted = tint + (np.array(mix(colour, stage.palette.dark, 0.55), np.float32) - tint) * np.minimum(1, shade * 1.5)
    painted = np.broadcast_to(painted, (rows, stage.columns, 3)).copy()
    if stage.recipe.has("snow"):
        _frost(stage, painted, mask)
    skip = max(0, -top)
    return make_strip(stage, painted[skip:], alpha[skip:], top + skip, speed)


def _stamp_all(
    stage: Stage, stamp: Stamp, mask: Any, ground: Floats, height: float, spacing: float, chance: np.random.Generator, clearing: bool
) -> None:
    x = 0.0
    while x < stage.period:
        grown = height * (0.55 + 0.45 * float(chance.random()))
        here = int(x)
        x += height * spacing * (0.5 + float(chance.random()))
        middle = abs((here % stage.width) / stage.width - 0.5) < 0.27 + 0.08 * float(chance.random())
        if here >= stage.columns + height or (clearing and middle):
            continue
        foot = float(ground[min(here, stage.columns - 1)]) + grown * 0.06
        stamp(mask, here, foot, grown, chance)
        if stage.moving and (here < height or here > stage.period - height):
            stamp(mask, here + (stage.period if here < height else -stage.period), foot, grown, chance)


def _frost(stage: Stage, painted: Floats, mask: Any) -> None:
    """Put snow on what looks up."""
    import numpy as np

    step = max(1, round(2 * stage.unit))
    upper = mask.astype(np.float32) - np.roll(mask, step, axis=0)
    part = np.clip(upper / 255, 0, 1)[..., None] * 0.4
    painted += (np.array(stage.palette.snow[0], np.float32) - painted) * part


def flowers(stage: Stage, *, base: int, speed: float) -> Strip:
    """Return flowers and blades of grass, larger towards the bottom edge."""
    import numpy as np

    chance = stage.rng("flowers")
    rows = stage.height - base
    colour = np.zeros((rows, stage.columns, 3), np.float32)
    alpha = np.zeros((rows, stage.columns), np.float32)
    dim = 1 - 0.7 * stage.palette.night
    tints = np.array([(226, 54, 48), (250, 208, 70), (246, 240, 236), (168, 96, 200), (240, 120, 160)], np.float32) * dim
    main = int(chance.integers(0, len(tints)))
    count = round(620 * stage.columns / stage.width)
    for x, y, pick, size in chance.random((count, 4))[np.argsort(chance.random(count))]:
        at = (float(x * stage.columns), rows * (0.08 + 0.92 * y**0.7))
        near = at[1] / rows
        radius = (1.0 + 5.2 * near**1.6 * (0.6 + 0.4 * size)) * stage.unit
        tint = tints[main if pick < 0.7 else int(pick * 997) % len(tints)] * (0.75 + 0.25 * size)
        spot = (round(at[0] * 16), round(at[1] * 16))
        stem = mix(stage.palette.foliage, stage.palette.lit, 0.2)
        foot = (spot[0] + round(radius * 6), spot[1] + round(radius * 60))
        cv().line(colour, spot, foot, stem, max(1, round(radius * 0.35)), cv().LINE_AA, _SHIFT)
        cv().line(alpha, spot, foot, 0.9, max(1, round(radius * 0.35)), cv().LINE_AA, _SHIFT)
        axes = (round(radius * 16), round(radius * 0.72 * 16))
        cv().ellipse(colour, spot, axes, 0, 0, 360, [float(v) for v in tint], -1, cv().LINE_AA, _SHIFT)
        cv().ellipse(alpha, spot, axes, 0, 0, 360, 1.0, -1, cv().LINE_AA, _SHIFT)
    cover: Floats = np.clip(alpha, 0, 1).astype(np.float32)
    return make_strip(stage, colour, cover, base, speed)
