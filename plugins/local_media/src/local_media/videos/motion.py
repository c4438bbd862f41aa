"""Moving over a picture, from one picture to another, on from the last frames of a film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..heavy import cv, rng
from ..words import tokens

if TYPE_CHECKING:
    from ..heavy import Floats, Pixels

__all__ = ["Move", "Passage", "drift_of", "move_from", "moved"]


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

    def says(*phrases: str) -> bool:
        return any(f" {phrase} " in line for phrase in phrases)

    zoom, right, down, turn = 1.0, 0.0, 0.0, 0.0
    if says("zoom out", "zooms out", "pull back", "pulls back", "pulling back", "zooming out", "wider", "away"):
        zoom = 0.78
    elif says("zoom", "zooms", "zoom in", "zooms in", "zooming", "push in", "closer", "approach", "approaches", "dolly"):
        zoom = 1.35
    if says("pan left", "pans left", "to the left", "left"):
        right = -0.12
    elif says("pan right", "pans right", "to the right", "right", "pan", "pans", "panning"):
        right = 0.12
    if says("tilt up", "looks up", "pan up", "upward", "upwards", "rises", "rise", "up"):
        down = -0.1
    elif says("tilt down", "looks down", "pan down", "downward", "downwards", "descends", "down"):
        down = 0.1
    if says("rotate", "rotates", "rotating", "spin", "spins", "roll", "turns"):
        turn = 10.0
    found = Move(zoom=zoom, right=right, down=down, turn=turn)
    if says("still", "static", "motionless", "locked"):
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
    matrix = np.concatenate([spin, shift[:, None]], axis=1).astype(np.float32)
    seen: Pixels = cv().warpAffine(rgb, matrix, (width, height), flags=cv().INTER_CUBIC, borderMode=cv().BORDER_REFLECT_101)
    return seen


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
            return cv().remap(rgb, across, down, cv().INTER_LINEAR, borderMode=cv().BORDER_REFLECT_101)

        ahead, behind = warp(self._first, self._there, part), warp(self._last, self._back, 1 - part)
        found: Pixels = cv().addWeighted(ahead, 1 - part, behind, part, 0)
        return found
