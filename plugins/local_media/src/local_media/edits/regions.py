"""Regions of a picture as boolean masks, (height, width), True = edit."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from anymedia.errors import InvalidRequest, Problem

from ..heavy import cv
from ..pictures import Picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..heavy import Floats, Pixels

    Region = npt.NDArray[np.bool_]

__all__ = ["bounds", "feather", "foreground", "read_mask"]

_GIVE_A_MASK = "give a mask image instead of a mode"
#: GrabCut works on a picture no larger than this; its edge is then carried over to the full size.
_WORK_EDGE = 480


def read_mask(data: bytes, size: tuple[int, int]) -> Region:
    """Read a white-is-edit mask of a given (width, height).

    Raises:
        InvalidRequest: when it cannot be decoded, has another size or selects nothing.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            grey = np.asarray(opened.convert("L"))
    except Exception as error:
        raise InvalidRequest([Problem("$.mask", f"the mask cannot be decoded ({type(error).__name__})")]) from error
    if (grey.shape[1], grey.shape[0]) != size:
        raise InvalidRequest([Problem("$.mask", f"is {grey.shape[1]}x{grey.shape[0]}, but the picture is {size[0]}x{size[1]}")])
    region: Region = grey >= 128
    if not region.any():
        raise InvalidRequest([Problem("$.mask", "selects nothing", "paint white, or transparent, what is to change")])
    return region


def bounds(region: Region) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) of the smallest box around a region."""
    import numpy as np

    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def feather(region: Region, pixels: float) -> Floats:
    """Return weights, 0 to 1: 0 outside the region, rising to 1 within ``pixels`` inside it."""
    import numpy as np

    framed = np.pad(region.astype(np.uint8), 1, mode="edge")  # the picture's own border does not count as an edge of the region
    inside = cv().distanceTransform(framed, cv().DIST_L2, 5)[1:-1, 1:-1]
    t = np.clip(inside / max(pixels, 1e-6), 0, 1)
    return np.asarray(np.where(region, np.maximum(t * t * (3 - 2 * t), 0.02), 0), np.float32)


def foreground(picture: Picture, margin: float = 0.03, *, field: str = "$.mask", instead: str = _GIVE_A_MASK) -> Region:
    """Find the thing in front by GrabCut: what differs from the picture's border.

    ``margin``: how much of each edge (0 to 0.5) is background for certain. A picture with transparency is cut by its alpha.
    ``field``, ``instead``: the JSON path to what was asked for, and what to do where nothing is found.

    Raises:
        InvalidRequest: when nothing stands out.
    """
    import numpy as np

    if picture.alpha is not None and (picture.alpha < 128).any() and (picture.alpha >= 128).any():
        return np.asarray(picture.alpha >= 128)
    width, height = picture.size
    scale = min(1.0, _WORK_EDGE / max(width, height))
    small = cv().resize(picture.rgb, (max(8, round(width * scale)), max(8, round(height * scale))), interpolation=cv().INTER_AREA)
    found = _grab(small, margin)
    if found.mean() < 0.002 or found.mean() > 0.985:
        raise InvalidRequest([Problem(field, "no foreground stands out from the border of this picture", instead)])
    grown = cv().resize(found.astype(np.float32), (width, height), interpolation=cv().INTER_LINEAR)
    if scale < 1:
        guide = cv().cvtColor(picture.rgb, cv().COLOR_RGB2GRAY).astype(np.float32) / 255
        grown = _guided(guide, grown, max(2, round(1.5 / scale)))
    return np.asarray(grown >= 0.5)


def _seeds(small: Pixels, margin: float) -> Any:
    """Return GrabCut's starting mask from how far each pixel's colour is from the colours of the border."""
    import numpy as np

    lab = cv().cvtColor(cv().GaussianBlur(small, (0, 0), 1.2), cv().COLOR_RGB2LAB).astype(np.float32)
    rim = max(2, round(min(small.shape[:2]) * max(margin, 0.02)))
    border = np.concatenate(
        [lab[:rim].reshape(-1, 3), lab[:, :rim].reshape(-1, 3), lab[:, -rim:].reshape(-1, 3), lab[-rim:].reshape(-1, 3)]
    )
    cv().setRNGSeed(7)
    criteria = (cv().TERM_CRITERIA_EPS + cv().TERM_CRITERIA_MAX_ITER, 20, 0.5)
    _, _, centres = cv().kmeans(border, min(5, len(border)), None, criteria, 2, cv().KMEANS_PP_CENTERS)
    away = np.min(np.linalg.norm(lab[:, :, None] - centres[None, None], axis=3), axis=2)
    level = np.clip(away * 255 / max(float(away.max()), 1e-3), 0, 255).astype(np.uint8)
    cut, _ = cv().threshold(level, 0, 255, cv().THRESH_BINARY + cv().THRESH_OTSU)
    seeds = np.where(level > cut, cv().GC_PR_FGD, cv().GC_PR_BGD).astype(np.uint8)
    seeds[:rim] = seeds[:, :rim] = seeds[:, -rim:] = cv().GC_BGD
    touching = level > max(cut, 60)  # what stands out may stand on the lower edge
    seeds[-rim:] = np.where(touching[-rim:], cv().GC_PR_FGD, cv().GC_BGD)
    return seeds if float(away.max()) > 6 else None


def _grab(small: Pixels, margin: float) -> Region:
    import numpy as np

    seeds = _seeds(small, margin)
    if seeds is None or not (seeds == cv().GC_PR_FGD).any():
        return np.zeros(small.shape[:2], np.bool_)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv().setRNGSeed(7)
    cv().grabCut(small, seeds, None, *models, 4, cv().GC_INIT_WITH_MASK)
    found = np.isin(seeds, (cv().GC_FGD, cv().GC_PR_FGD)).astype(np.uint8)
    found = cv().morphologyEx(found, cv().MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv().connectedComponentsWithStats(found)
    if count > 1:
        areas = stats[:, cv().CC_STAT_AREA].copy()
        areas[0] = 0
        found = np.isin(labels, np.flatnonzero(areas >= 0.08 * areas.max())).astype(np.uint8)
    contours, _ = cv().findContours(found, cv().RETR_CCOMP, cv().CHAIN_APPROX_NONE)
    return np.asarray(found > 0) if not contours else _without_pinholes(found)


def _without_pinholes(found: Any) -> Region:
    """Fill holes smaller than one part in 200 of what was found."""
    import numpy as np

    count, labels, stats, _ = cv().connectedComponentsWithStats(1 - found)
    small = [i for i in range(1, count) if stats[i, cv().CC_STAT_AREA] < found.sum() / 200]
    return np.asarray((found > 0) | np.isin(labels, small)) if small else np.asarray(found > 0)


def _guided(guide: Floats, rough: Floats, radius: int) -> Floats:
    """Return a rough mask drawn to the guide picture's edges (the guided filter of He, Sun and Tang)."""
    import numpy as np

    size = (2 * radius + 1, 2 * radius + 1)

    def mean(values: Any) -> Any:
        return cv().boxFilter(values, -1, size)

    mean_guide, mean_rough = mean(guide), mean(rough)
    slope = (mean(guide * rough) - mean_guide * mean_rough) / (mean(guide * guide) - mean_guide**2 + 1e-3)
    return np.asarray(mean(slope) * guide + mean(mean_rough - slope * mean_guide), np.float32)
