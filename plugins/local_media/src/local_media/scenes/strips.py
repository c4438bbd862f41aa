"""A strip: drawn once, laid over the picture at any sideways shift, below the pixel too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from ..heavy import cv
from .stage import Canvas, Stage

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["Strip", "make_strip", "over"]


def over(canvas: Canvas, colour: Pixels, inverse: Pixels, top: int, left: int = 0) -> None:
    """Lay premultiplied colour (h, w, 3) over the canvas at a place; ``inverse`` is 255 minus its alpha, thrice."""
    height, width = colour.shape[:2]
    y0, y1, x0, x1 = max(0, top), min(canvas.rgb.shape[0], top + height), max(0, left), min(canvas.rgb.shape[1], left + width)
    if y0 >= y1 or x0 >= x1:
        return
    colour, inverse = colour[y0 - top : y1 - top, x0 - left : x1 - left], inverse[y0 - top : y1 - top, x0 - left : x1 - left]
    part = canvas.rgb[y0:y1, x0:x1]
    canvas.rgb[y0:y1, x0:x1] = cv().add(cv().multiply(part, inverse, scale=1 / 255), colour)
    if canvas.cover is not None:
        behind = canvas.cover[y0:y1, x0:x1]
        canvas.cover[y0:y1, x0:x1] = 255 - cv().multiply(255 - behind, inverse[..., 0], scale=1 / 255)


@attrs.frozen
class Strip:
    """Premultiplied colour and inverse alpha, (rows, columns, 3) each, from row ``top``; moves ``speed`` px/s to the left.

    From ``solid`` rows down the strip hides everything behind it.
    """

    colour: Pixels
    inverse: Pixels
    top: int
    solid: int
    speed: float
    period: int
    width: int

    def paint(self, canvas: Canvas, t: float) -> None:
        """Lay it over the canvas, shifted by where it is at ``t`` seconds."""
        colour, inverse = self._window(t)
        if self.solid > 0:
            over(canvas, colour[: self.solid], inverse[: self.solid], self.top)
        bottom = canvas.rgb[self.top + self.solid : self.top + colour.shape[0]]
        bottom[:] = colour[self.solid : self.solid + bottom.shape[0]]
        if canvas.cover is not None:
            canvas.cover[self.top + self.solid : self.top + colour.shape[0]] = 255

    def _window(self, t: float) -> tuple[Pixels, Pixels]:
        import numpy as np

        if self.speed == 0 or t == 0:
            return self.colour[:, : self.width], self.inverse[: max(self.solid, 1), : self.width]
        shift = (self.speed * t) % self.period
        whole = math.floor(shift)
        pick = np.arange(whole, whole + self.width + 1)
        move = np.array([[1, 0, whole - shift], [0, 1, 0]], np.float32)
        size = self.width

        def cut(strip: Pixels) -> Pixels:
            piece = np.take(strip, pick, axis=1, mode="wrap") if whole + size + 1 > strip.shape[1] else strip[:, whole : whole + size + 1]
            moved: Pixels = cv().warpAffine(piece, move, (size, piece.shape[0]), flags=cv().INTER_LINEAR, borderMode=cv().BORDER_REPLICATE)
            return moved

        return cut(self.colour), cut(self.inverse[: max(self.solid, 1)])


def make_strip(stage: Stage, colour: Floats, alpha: Floats, top: int, speed: float = 0.0) -> Strip:
    """Make a strip of straight colour (rows, columns, 3; 0 to 255) and alpha (rows, columns; 0 to 1).

    ``speed`` in pixels per second of a 720-pixel picture.
    """
    import numpy as np

    rows = alpha.min(axis=1) < 0.999
    solid = int(np.nonzero(rows)[0].max()) + 1 if rows.any() else 0
    if speed == 0 or not stage.moving:
        colour, alpha, speed = colour[:, : stage.width], alpha[:, : stage.width], 0.0
    grain = stage.rng("grain").random(colour.shape[:2], np.float32)[..., None]  # hides the bands of slow gradients
    painted = np.clip(colour * alpha[..., None] + grain - 0.5 * (alpha[..., None] < 1), 0, 255).astype(np.uint8)
    inverse = np.repeat(np.rint((1 - alpha) * 255).astype(np.uint8)[..., None], 3, axis=2)
    painted = np.minimum(painted, 255 - inverse) if solid else painted
    return Strip(painted, inverse, top, solid, speed * stage.unit, stage.period, stage.width)
