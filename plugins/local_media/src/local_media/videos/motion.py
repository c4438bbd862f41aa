"""Moving over a picture, from one picture to another, on from the last frames of a film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..heavy import cv, rng
from ..vocabulary import MOVES
from ..words import tokens

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

#: Steps by which a camera comes closer at most so as not to see beyond an edge: 1.005 to this power is 2.7.
_MOST_STEPS = 200
__all__ = ["Move", "Passage", "drift_of", "move_from", "moved", "warped"]


@attrs.frozen(kw_only=True)
class Move:
    """How the camera moves in all: zoom factor, shift in picture widths and heights, turn in degrees."""

    zoom: float = 1.0
    right: float = 0.0
    down: float = 0.0
    turn: float = 0.0

    @property
    def still(self) -> bool:
        """Whether nothing moves."""
        return self == Move()


def move_from(prompt: str, seed: int) -> tuple[Move, bool]:
    """Return the camera's move, and whether the prompt named it; by default a slow zoom in, drifting to one side."""
    line = f" {' '.join(tokens(prompt))} "

    def says(move: str) -> bool:
        return any(f" {phrase} " in line for phrase in MOVES[move])

    zoom, right, down, turn = 1.0, 0.0, 0.0, 0.0
    if says("out"):
        zoom = 0.78
    elif says("in"):
        zoom = 1.35
    if says("left"):
        right = -0.12
    elif says("right"):
        right = 0.12
    if says("up"):
        down = -0.1
    elif says("down"):
        down = 0.1
    if says("turn"):
        turn = 10.0
    found = Move(zoom=zoom, right=right, down=down, turn=turn)
    if says("still"):
        return Move(), True
    if not found.still:
        return (attrs.evolve(found, zoom=1.12) if found.zoom == 1.0 else found), True
    side = 1 if rng(seed, "move").random() < 0.5 else -1
    return Move(zoom=1.14, right=0.03 * side, down=-0.015), False


def moved(rgb: Pixels, move: Move, part: float) -> Pixels:
    """Return a picture as the camera sees it after ``part`` (0 to 1) of a move; 0 is the very same picture."""
    import numpy as np

    if part == 0 or move.still:
        return rgb
    height, width = rgb.shape[:2]
    scale = math.exp(math.log(move.zoom) * part)
    angle = math.radians(move.turn * part)
    scale *= 1 + abs(math.sin(angle)) * 0.6 if move.turn else 1
    centre = np.array([width / 2 - 0.5, height / 2 - 0.5])
    spin = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shift = centre - spin @ centre - np.array([move.right * width, move.down * height]) * part
    return warped(rgb, np.concatenate([spin, shift[:, None]], axis=1), closer=move.zoom >= 1)


def warped(rgb: Pixels, matrix: Any, *, closer: bool = True) -> Pixels:
    """Return a picture moved by a 2x3 matrix, nothing of it mirrored.

    Args:
        rgb: the picture.
        matrix: where each pixel goes.
        closer: whether the camera comes closer where it would see beyond an edge; otherwise the edge is continued there, blurred.
    """
    import numpy as np

    height, width = rgb.shape[:2]
    whole = np.concatenate([np.asarray(matrix, np.float64), [[0, 0, 1]]])
    middle = np.array([[1, 0, width / 2 - 0.5], [0, 1, height / 2 - 0.5], [0, 0, 1]])
    nearer = middle @ np.diag([1.005, 1.005, 1.0]) @ np.linalg.inv(middle)
    for _ in range(_MOST_STEPS if closer else 0):
        if _covers(whole, width, height):
            break
        whole = nearer @ whole
    size, sharp = (width, height), cv().INTER_CUBIC
    seen: Pixels = cv().warpAffine(rgb, whole[:2], size, flags=sharp, borderMode=cv().BORDER_REPLICATE)
    if _covers(whole, width, height):
        return seen
    inside = cv().warpAffine(np.full((height, width), 255, np.uint8), whole[:2], size, flags=cv().INTER_LINEAR)
    soft = cv().resize(cv().GaussianBlur(cv().resize(seen, (max(2, width // 8), max(2, height // 8))), (0, 0), 6), size)
    part = (cv().GaussianBlur(255 - inside, (0, 0), 2).astype(np.float32) / 255 * (inside < 255))[..., None]
    return np.asarray(np.rint(seen + (soft.astype(np.float32) - seen) * part), np.uint8)


def _covers(whole: Any, width: int, height: int) -> bool:
    """Whether every pixel of the moved picture comes from the picture itself."""
    import numpy as np

    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]], np.float64)
    x, y, _ = np.linalg.inv(whole) @ corners
    return bool((x > -1).all() and (x < width).all() and (y > -1).all() and (y < height).all())


def drift_of(frames: Sequence[Pixels]) -> Any:
    """Return the mean motion per frame of the last frames as a 2x3 matrix; standing still where none is found."""
    import numpy as np

    still = np.array([[1, 0, 0], [0, 1, 0]], np.float64)
    if len(frames) < 2:
        return still
    first, last = (cv().cvtColor(f, cv().COLOR_RGB2GRAY) for f in (frames[0], frames[-1]))
    points = cv().goodFeaturesToTrack(first, 300, 0.01, 8)
    if points is None or len(points) < 12:
        return still
    there, good, _ = cv().calcOpticalFlowPyrLK(first, last, points, None)
    keep = good.ravel() == 1
    if keep.sum() < 12:
        return still
    cv().setRNGSeed(7)
    whole, inliers = cv().estimateAffinePartial2D(points[keep], there[keep], ransacReprojThreshold=1.5)
    if whole is None or inliers.mean() < 0.5:
        return still
    steps = len(frames) - 1
    scale = math.hypot(whole[0, 0], whole[1, 0])
    angle = math.atan2(whole[1, 0], whole[0, 0]) / steps
    scale = min(max(scale ** (1 / steps), 0.99), 1.01)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cos, -sin, whole[0, 2] / steps], [sin, cos, whole[1, 2] / steps]])


class Passage:
    """From one picture to another along the optical flow between them, both ways, blended."""

    def __init__(self, first: Pixels, last: Pixels) -> None:
        self._first, self._last = first, last
        a, b = (cv().cvtColor(p, cv().COLOR_RGB2GRAY) for p in (first, last))
        self._there = self._trusted(a, b)
        self._back = self._trusted(b, a)

    @staticmethod
    def _trusted(a: Any, b: Any) -> Floats:
        """Return the flow, calmed where going there and back does not lead back."""
        import numpy as np

        engine = cv().DISOpticalFlow_create(cv().DISOPTICAL_FLOW_PRESET_MEDIUM)
        there, back = engine.calc(a, b, None), engine.calc(b, a, None)
        y, x = np.mgrid[0 : a.shape[0], 0 : a.shape[1]].astype(np.float32)
        returned = cv().remap(back, x + there[..., 0], y + there[..., 1], cv().INTER_LINEAR, borderMode=cv().BORDER_REPLICATE)
        miss = np.linalg.norm(there + returned, axis=2)
        trust = np.exp(-((miss / (2.5 + 0.05 * np.linalg.norm(there, axis=2))) ** 2)).astype(np.float32)
        trust = cv().GaussianBlur(trust, (0, 0), 4)
        return np.asarray(there * trust[..., None], np.float32)

    def frame(self, part: float) -> Pixels:
        """Return the picture at ``part`` of the way: 0 is the first picture, 1 the last, exactly."""
        import numpy as np

        if part <= 0:
            return self._first
        if part >= 1:
            return self._last
        y, x = np.mgrid[0 : self._first.shape[0], 0 : self._first.shape[1]].astype(np.float32)

        def warp(rgb: Pixels, flow: Floats, amount: float) -> Any:
            across, down = x - flow[..., 0] * amount, y - flow[..., 1] * amount
            return cv().remap(rgb, across, down, cv().INTER_LINEAR, borderMode=cv().BORDER_REPLICATE)

        ahead, behind = warp(self._first, self._there, part), warp(self._last, self._back, 1 - part)
        found: Pixels = cv().addWeighted(ahead, 1 - part, behind, part, 0)
        return found
