"""Water: what stands above, mirrored, broken by ripples that are finer far away, with the light's glitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..heavy import cv
from .noise import field, smoothstep
from .stage import Canvas, Stage

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["Water", "water"]


@attrs.frozen
class Water:
    """Rows ``top`` to ``bottom`` mirror what is above; two wave fields drift against each other."""

    top: int
    bottom: int
    columns: Floats
    rows: Floats
    waves: tuple[Floats, Floats]
    reach: Floats
    tint: Pixels
    keep: Pixels
    glitter: Floats
    glow: Floats
    speed: float

    def paint(self, canvas: Canvas, t: float) -> None:
        """Mirror the canvas above the water into it."""
        import numpy as np

        rough = self._rough(t)
        lift = rough * self.reach
        above = canvas.rgb[: self.top]
        sway = self.columns + lift * 0.35
        mirrored = cv().remap(
            above, sway, np.clip(self.rows + lift, 0, self.top - 1), cv().INTER_LINEAR, borderMode=cv().BORDER_REFLECT_101
        )
        seen = cv().add(cv().multiply(mirrored, self.keep, scale=1 / 255), self.tint)
        crest = cv().convertScaleAbs(rough, alpha=9, beta=0)
        seen = cv().add(seen, cv().merge([crest, crest, crest]))
        sparks = np.clip(rough * 1.9 - 0.35, 0, 1.4) * self.glitter
        light = np.clip(sparks[..., None] * self.glow, 0, 255).astype(np.uint8)
        canvas.rgb[self.top : self.bottom] = cv().add(seen, light)
        if canvas.cover is not None:
            canvas.cover[self.top : self.bottom] = 255

    def _rough(self, t: float) -> Floats:
        import numpy as np

        first, second = self.waves
        if t == 0:
            return first + second
        return np.asarray(_drift(first, self.speed * t) + _drift(second, -0.7 * self.speed * t), np.float32)


def _drift(waves: Floats, shift: float) -> Floats:
    """Return the waves moved sideways; they repeat after their own width."""
    import numpy as np

    whole = int(np.floor(shift))
    part = shift - whole
    near = np.roll(waves, -whole, axis=1)
    return np.asarray(near * (1 - part) + np.roll(near, -1, axis=1) * part, np.float32)


def water(stage: Stage, *, top: int, bottom: int, choppy: float = 1.0) -> Water:
    """Return water between two rows; ``choppy`` 1 is a calm lake, 2.5 the open sea."""
    import numpy as np

    rows, columns = bottom - top, stage.width
    near = (np.arange(rows, dtype=np.float32) + 1)[:, None] / rows
    waves = []
    for name, cells in (("a", 5), ("b", 8)):
        flat = field(stage.rng("waves", name), columns, columns, 420, cells=cells, octaves=6, gain=0.62, stretch=0.09)
        depth = np.asarray((1 - 1 / (1 + 7 * near[:, 0])) / 0.875 * 410, np.float32)  # perspective: far rows are squeezed together
        squeezed = cv().remap(flat, *_grid(columns, depth), cv().INTER_LINEAR)
        waves.append(np.asarray(squeezed * 0.62, np.float32))
    x = np.arange(columns, dtype=np.float32)[None]
    path = np.exp(-(((x - stage.light[0]) / ((0.05 + 0.16 * near) * columns * 0.9)) ** 2))
    shines = stage.recipe.has("sun") or stage.recipe.has("moon")
    strength = (0.95 if stage.palette.night < 0.9 else 0.6) if shines else 0.12
    deep = 0.22 + 0.4 * smoothstep(near, 0.0, 1.15)
    tint = deep[..., None] * np.array(stage.palette.water, np.float32)
    grain = stage.rng("grain").random((rows, columns, 1), np.float32)
    mirror_rows = np.broadcast_to(top - 1 - np.arange(rows, dtype=np.float32)[:, None] * 0.92, (rows, columns))
    return Water(
        top,
        bottom,
        np.broadcast_to(x, (rows, columns)).astype(np.float32),
        np.abs(mirror_rows).astype(np.float32),
        (waves[0], waves[1]),
        np.broadcast_to((2.0 + 30 * near**1.1) * choppy * stage.unit, (rows, columns)).astype(np.float32),
        (np.broadcast_to(tint, (rows, columns, 3)) + grain).astype(np.uint8),
        np.broadcast_to(((1 - deep) * 255)[..., None], (rows, columns, 3)).astype(np.uint8),
        np.asarray(path * strength * 255 * (0.35 + 0.65 * (1 - near)), np.float32),
        np.asarray(np.array(stage.palette.glow, np.float32) / 255, np.float32),
        16 * stage.unit * choppy,
    )


def _grid(columns: int, depth: Floats) -> tuple[Floats, Floats]:
    import numpy as np

    x = np.broadcast_to(np.arange(columns, dtype=np.float32)[None], (len(depth), columns))
    y = np.broadcast_to(depth.astype(np.float32)[:, None], (len(depth), columns))
    return np.ascontiguousarray(x), np.ascontiguousarray(y)
