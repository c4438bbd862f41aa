"""A recipe at a size, which can be rendered at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..heavy import cv
from ..recipe import Recipe
from ..text import lettering
from .places import ground_layers, things_alone
from .shapes import plain, shape_layers
from .sky import sky_layers
from .space import space_layers
from .stage import Canvas, Layer, Stage, set_stage
from .weather import weather_layers

if TYPE_CHECKING:
    from ..heavy import Pixels

__all__ = ["Scene"]


class Scene:
    """Layers from back to front; ``frame(t)`` paints them at ``t`` seconds.

    Args:
        recipe: what to draw.
        width, height: pixels.
        moving: whether times other than 0 will be asked for (takes about twice the memory and preparation).
    """

    def __init__(self, recipe: Recipe, width: int, height: int, *, moving: bool = False) -> None:
        self.stage = set_stage(recipe, width, height, moving=moving)
        self._behind, self._front = _layers(self.stage)
        self._vignette = _vignette(self.stage)
        self._words = lettering(self._paint(0.0, transparent=False).rgb, recipe.texts) if recipe.texts else []

    def frame(self, t: float = 0.0) -> Pixels:
        """Return RGB pixels (height, width, 3) at a time."""
        rgb = self._paint(t, transparent=False).rgb
        for words in self._words:
            words.paint(rgb)
        return rgb

    def cut_out(self) -> tuple[Pixels, Pixels]:
        """Return RGB and alpha of everything but the sky (or the plain background)."""
        import numpy as np

        canvas = self._paint(0.0, transparent=True)
        assert canvas.cover is not None
        part = canvas.cover.astype(np.float32)[..., None] / 255
        behind = self._sky(0.0).rgb.astype(np.float32)
        straight = (canvas.rgb - behind * (1 - part)) / np.maximum(part, 1 / 255)
        rgb, alpha = np.where(part > 0, np.clip(straight, 0, 255), 0).astype(np.uint8), canvas.cover
        for words in self._words:
            words.paint(rgb, alpha)
        return rgb, alpha

    def _sky(self, t: float) -> Canvas:
        import numpy as np

        canvas = Canvas(np.zeros((self.stage.height, self.stage.width, 3), np.uint8))
        for layer in self._behind:
            layer.paint(canvas, t)
        return canvas

    def _paint(self, t: float, *, transparent: bool) -> Canvas:
        import numpy as np

        canvas = self._sky(t)
        if transparent:
            canvas.cover = np.zeros((self.stage.height, self.stage.width), np.uint8)
        for layer in self._front:
            layer.paint(canvas, t)
        if self._vignette is not None and not transparent:
            canvas.rgb = cv().multiply(canvas.rgb, self._vignette, scale=1 / 255)
        return canvas


def _layers(stage: Stage) -> tuple[list[Layer], list[Layer]]:
    if stage.recipe.place == "plain":
        return [plain(stage)], [*things_alone(stage), *shape_layers(stage)]
    if stage.recipe.place == "space":
        return space_layers(stage), shape_layers(stage)
    return sky_layers(stage), [*ground_layers(stage), *weather_layers(stage), *shape_layers(stage)]


def _vignette(stage: Stage) -> Pixels | None:
    """Return how bright each spot is kept, a little darker towards the corners; None for plain pictures."""
    import numpy as np

    if stage.recipe.place == "plain":
        return None
    y, x = np.mgrid[0 : stage.height, 0 : stage.width].astype(np.float32)
    far = np.hypot((x / stage.width - 0.5) * 2, (y / stage.height - 0.5) * 2)
    keep = 255 * (1 - 0.24 * np.clip(far - 0.45, 0, 1) ** 1.5)
    return np.repeat(np.rint(keep).astype(np.uint8)[..., None], 3, axis=2)
