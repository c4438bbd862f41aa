"""Plain shapes and the plain background."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..heavy import cv
from ..vocabulary import COLOURS
from .noise import field
from .palettes import Colour, mix
from .sky import Backdrop
from .stage import Layer, Stage
from .things import sprite

if TYPE_CHECKING:
    from ..words import Shape

__all__ = ["outline", "plain", "shape_layers"]

_BRIGHT: tuple[Colour, ...] = tuple(COLOURS[name] for name in ("red", "amber", "teal", "blue", "violet", "pink", "green", "orange"))


def plain(stage: Stage) -> Layer:
    """Return a backdrop: the named colour as it is, or a soft two-tone one where none is named."""
    import numpy as np

    y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32)
    if stage.recipe.backdrop is not None:
        rgb = np.broadcast_to(np.array(COLOURS[stage.recipe.backdrop], np.uint8), (stage.height, stage.width, 3)).copy()
        return Backdrop(rgb)
    part = (
        (0.4 * x / stage.width + 0.6 * y / stage.height)
        + 0.12 * field(stage.rng("paper"), stage.period, stage.width, stage.height, cells=4, octaves=3)
    )[..., None]
    top, low = (np.array(mix(c, (250, 248, 244), 0.72), np.float32) for c in (stage.palette.sky[1], stage.palette.sky[-1]))
    grain = stage.rng("grain").random(part.shape, np.float32) - 0.5
    return Backdrop(np.clip(top + (low - top) * np.clip(part, 0, 1) + grain, 0, 255).astype(np.uint8))


def outline(kind: str) -> Any:
    """Return a shape's outline within -1 to 1, (points, 2); circles and rings as polygons."""
    import numpy as np

    def around(count: int, turn: float = -math.pi / 2) -> Any:
        angle = np.arange(count) * 2 * math.pi / count + turn
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    if kind == "star":
        points = around(10)
        points[1::2] *= 0.42
        return points
    if kind == "heart":
        t = np.linspace(0, 2 * math.pi, 96, endpoint=False)
        x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x / 17, -(y + 2.5) / 17], axis=1)
    if kind == "cross":
        a = 0.34
        return np.array([(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)])
    if kind == "square":
        return np.array([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)])
    if kind == "rectangle":
        return np.array([(-1, -0.56), (1, -0.56), (1, 0.56), (-1, 0.56)])
    if kind == "diamond":
        return around(4) * [0.78, 1]
    return around({"triangle": 3, "hexagon": 6}.get(kind, 128))


def shape_layers(stage: Stage) -> list[Layer]:
    """Return every shape, evenly spread, none over another while there is room."""
    wanted = [shape for shape in stage.recipe.shapes for _ in range(shape.count)]
    if not wanted:
        return []
    chance = stage.rng("shapes")
    columns = max(1, math.ceil(math.sqrt(len(wanted) * stage.width / stage.height)))
    rows = math.ceil(len(wanted) / columns)
    cell = (stage.width / columns, stage.height / rows)
    layers: list[Layer] = []
    for index, shape in enumerate(wanted):
        row, column = divmod(index, columns)
        in_row = min(columns, len(wanted) - row * columns)
        radius = min(cell) * float(chance.uniform(0.3, 0.4))
        room = (cell[0] / 2 - radius * 1.05, cell[1] / 2 - radius * 1.05)
        shift = chance.uniform(-0.7, 0.7, 2) * room
        x = stage.width / 2 + (column - (in_row - 1) / 2) * cell[0] + float(shift[0])
        y = (row + 0.5) * cell[1] + float(shift[1])
        colour = COLOURS[shape.colour] if shape.colour else _BRIGHT[int(chance.integers(0, len(_BRIGHT)))]
        layers.append(_shape(shape, colour, (x, y), radius, float(chance.uniform(0, 6.28)), stage))
    return layers


def _shape(shape: Shape, colour: Colour, at: tuple[float, float], radius: float, phase: float, stage: Stage) -> Layer:
    def draw(picture: Any, alpha: Any, scale: float) -> None:
        import numpy as np

        centre = picture.shape[0] / 2
        points = [np.rint((outline(shape.kind) * radius * scale + centre) * 16).astype(np.int32)]
        picture[:] = colour
        cv().fillPoly(alpha, points, 1.0, cv().LINE_8, 4)
        if shape.kind == "ring":
            inner = [np.rint((outline("circle") * radius * 0.62 * scale + centre) * 16).astype(np.int32)]
            cv().fillPoly(alpha, inner, 0.0, cv().LINE_8, 4)

    size = 2 * radius + 4
    left, top = round(at[0] - size / 2), round(at[1] - size / 2)
    bob = 6 * stage.unit
    return sprite(draw, size, size, lambda t: (left, top + bob * (math.sin(1.2 * t + phase) - math.sin(phase))))
