"""What all layers share: the size, the horizon, the light, the palette. And the canvas they paint on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from ..heavy import rng
from ..recipe import Recipe
from .palettes import Palette, palette_of

if TYPE_CHECKING:
    import numpy as np

    from ..heavy import Pixels

__all__ = ["Canvas", "Layer", "Stage", "set_stage"]


@attrs.frozen(kw_only=True)
class Stage:
    """Size in pixels, the horizon's row, where the light stands, and how wide the strips are.

    ``unit`` is 1 for a 720-pixel picture: lengths scale with it. ``columns`` is how much of the ``period`` is
    drawn: all of it for a moving picture, the picture's own width for a still.
    """

    recipe: Recipe
    palette: Palette
    width: int
    height: int
    period: int
    columns: int
    horizon: int
    light: tuple[float, float]
    moving: bool

    @property
    def unit(self) -> float:
        """Length scale."""
        return math.sqrt(self.width * self.height) / 960

    def rng(self, *names: str) -> np.random.Generator:
        """Return the chance of one layer."""
        return rng(self.recipe.seed, *names)


@attrs.define
class Canvas:
    """The picture being painted: RGB, and how far it covers what is behind (None: all of it)."""

    rgb: Pixels
    cover: Pixels | None = None


class Layer(Protocol):
    """Something that paints itself at a time (in seconds)."""

    def paint(self, canvas: Canvas, t: float) -> None:
        """Paint over what is there."""


_HORIZON = {"sea": 0.5, "beach": 0.5, "city": 0.66, "forest": 0.6, "meadow": 0.55, "desert": 0.55}


def set_stage(recipe: Recipe, width: int, height: int, *, moving: bool) -> Stage:
    """Decide where things stand."""
    chance = rng(recipe.seed, "stage")
    jitter: Any = chance.random(3)
    high = _HORIZON.get(recipe.place, 0.64 if recipe.has("water") else 0.6)
    horizon = round(height * (high + 0.05 * (jitter[0] - 0.5)))
    low = recipe.time in {"dawn", "sunset", "dusk"}
    light_x = width * (0.22 + 0.56 * jitter[1])
    light_y = horizon * ((0.74 if low else 0.26) + 0.1 * (jitter[2] - 0.5))
    if recipe.place in {"sea", "beach"} and low:
        light_y = horizon * 0.84
    period = math.ceil(2 * width / 256) * 256
    return Stage(
        recipe=recipe,
        palette=palette_of(recipe),
        width=width,
        height=height,
        period=period,
        columns=period if moving else width,
        horizon=max(1, min(height - 1, horizon)),
        light=(light_x, light_y),
        moving=moving,
    )
