"""Seeded noise that repeats sideways after a period."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..heavy import cv

if TYPE_CHECKING:
    import numpy as np

    from ..heavy import Floats

__all__ = ["field", "line", "smoothstep"]


def smoothstep(x: Any, low: float = 0.0, high: float = 1.0) -> Floats:
    """Return 0 below ``low``, 1 above ``high``, and a smooth rise between."""
    import numpy as np

    t = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _octave(chance: np.random.Generator, cells: int, period: int, columns: int, rows: int, stretch: float) -> Floats:
    """Return one octave, (rows, columns), about -1 to 1: random grid points, joined by cubics."""
    import numpy as np

    cell = period / cells
    across = min(cells, math.ceil(columns / cell) + 1)
    down = max(1, math.ceil(rows / (cell * stretch)))
    grid = chance.standard_normal((down + 5, cells)).astype(np.float32) * 0.6
    picked = np.take(grid, range(-2, across + 3), axis=1, mode="wrap")
    width = round(picked.shape[1] * cell)
    height = max(rows + 1, round(grid.shape[0] * cell * stretch))
    big = cv().resize(picked, (width, height), interpolation=cv().INTER_CUBIC)
    left, top = round(2 * cell), min(round(2 * cell * stretch), height - rows)
    found: Floats = big[top : top + rows, left : left + columns]
    if found.shape[1] < columns:  # rounding left it a column short
        found = np.pad(found, ((0, 0), (0, columns - found.shape[1])), mode="edge")
    return found


def field(
    chance: np.random.Generator,
    period: int,
    columns: int,
    rows: int,
    *,
    cells: int = 4,
    octaves: int = 5,
    gain: float = 0.5,
    stretch: float = 1.0,
) -> Floats:
    """Return fractal noise, (rows, columns), about -1 to 1, that repeats after ``period`` columns.

    ``cells``: grid points per period in the coarsest octave; ``stretch`` above 1 draws it out downwards.
    """
    import numpy as np

    total = np.zeros((rows, columns), np.float32)
    weight, sum_of = 1.0, 0.0
    for octave in range(octaves):
        count = cells << octave
        if period / count < 2:
            break
        total += weight * _octave(chance, count, period, columns, rows, stretch)
        sum_of += weight * weight
        weight *= gain
    return total / (math.sqrt(sum_of) * 1.3) if sum_of else total  # a period too short for any octave has none


def line(
    chance: np.random.Generator, period: int, columns: int, *, cells: int = 6, octaves: int = 7, gain: float = 0.5, jagged: bool = True
) -> Floats:
    """Return a fractal profile of ``columns`` numbers, 0 to 1, that repeats after ``period``; jagged or rounded."""
    import numpy as np

    x = np.arange(columns, dtype=np.float64) / period
    total = np.zeros(columns)
    weight = 1.0
    for octave in range(octaves):
        count = cells << octave
        if period / count < 2:
            break
        grid = chance.random(count)
        at = x * count
        low = np.floor(at).astype(int)
        part = at - low
        if not jagged:
            part = part * part * (3 - 2 * part)
        total += weight * (grid[low % count] * (1 - part) + grid[(low + 1) % count] * part)
        weight *= gain
    whole = (1 - gain**octaves) / (1 - gain) if gain != 1 else octaves
    return np.asarray(total / whole, np.float32)
