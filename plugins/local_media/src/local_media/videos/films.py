"""Spec -> frames. Everything follows from the spec's JSON and its input bytes, so any process makes the same film.

A spec holds: ``kind`` (scene, picture, passage, continuation), ``prompt``, ``negative``, ``seed``, ``width``,
``height``, ``frames`` (how many are new), ``format``, ``inputs`` (name -> key of kept bytes) and, by kind,
``recipe``, ``t`` (seconds the scene has run already) and ``past`` (what the continued video's maker noted).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ..heavy import cv
from ..pictures import Picture, read_picture
from ..recipe import Recipe
from ..words import read
from .codec import FPS
from .motion import Passage, drift_of, move_from, moved, warped

if TYPE_CHECKING:
    from ..heavy import Pixels

__all__ = ["Film", "film_of"]

#: Seconds over which a scene turns into a changed one.
_TURN = 1.5


@attrs.frozen
class Film:
    """Frames to come, and what a continuation needs to go on after them (JSON)."""

    frames: Iterator[Pixels]
    count: int
    after: dict[str, Any]


def film_of(spec: Mapping[str, Any], load: Callable[[str], bytes], tail: list[Pixels]) -> Film:
    """Return the new frames of a spec. ``tail``: the last frames of the video that is continued."""
    kind = spec["kind"]
    if kind == "scene":
        return _scene(spec, [Recipe.from_json(spec["recipe"])])
    if kind == "passage":
        return _passage(spec, load)
    if kind == "picture":
        return _picture(spec, load)
    past = spec.get("past") or {}
    if "recipe" in past:
        old = Recipe.from_json(past["recipe"])
        new = old.changed(read(spec["prompt"], spec["negative"]))
        return _scene({**spec, "t": past["t"]}, [old] if new == old else [old, new])
    return _continued(spec, tail)


def _scene(spec: Mapping[str, Any], recipes: list[Recipe]) -> Film:
    from ..scenes import Scene

    width, height, count, start = spec["width"], spec["height"], spec["frames"], float(spec.get("t", 0.0))

    def frames() -> Iterator[Pixels]:
        scenes = [Scene(recipe, width, height, moving=True) for recipe in recipes]
        for i in range(count):
            t = start + i / FPS
            part = min(1.0, (i + 1) / FPS / _TURN) if len(scenes) > 1 else 0.0
            if part in {0.0, 1.0}:
                yield scenes[round(part)].frame(t)
            else:
                part = part * part * (3 - 2 * part)
                yield cv().addWeighted(scenes[0].frame(t), 1 - part, scenes[1].frame(t), part, 0)

    return Film(frames(), count, {"recipe": recipes[-1].to_json(), "t": start + count / FPS})


def _fitted(data: bytes, spec: Mapping[str, Any], field: str) -> Pixels:
    """Return a picture at the film's size: scaled to cover it, its middle kept; on grey where it is transparent."""
    import numpy as np

    from ..images import covering

    picture = covering(read_picture(data, field), spec["width"], spec["height"])
    if picture.alpha is None:
        return picture.rgb
    part = picture.alpha.astype(np.float32)[..., None] / 255
    return np.rint(picture.rgb * part + 40 * (1 - part)).astype(np.uint8)


def _picture(spec: Mapping[str, Any], load: Callable[[str], bytes]) -> Film:
    rgb = _fitted(load(spec["inputs"]["first"]), spec, "$.first_frame")
    move, _ = move_from(spec["prompt"], spec["seed"])
    count = spec["frames"]

    def path(i: int, view: Pixels) -> Pixels:
        part = i / max(1, count - 1)
        return moved(view, move, part * part * (3 - 2 * part))

    return Film(_moving(spec, rgb, path), count, {})


def _moving(spec: Mapping[str, Any], rgb: Pixels, path: Callable[[int, Pixels], Pixels]) -> Iterator[Pixels]:
    """Yield the picture along a path, changing gradually as the prompt says, with its weather."""
    from ..edits.adjust import adjust
    from ..scenes.stage import Canvas
    from ..scenes.weather import rain, snowfall

    wish = read(spec["prompt"], spec["negative"])
    height, width = rgb.shape[:2]
    falling = []
    if "snowfall" in wish.features or "snow" in wish.features:
        falling.append(snowfall(spec["seed"], width, height))
    if "rain" in wish.features:
        falling.append(rain(spec["seed"], width, height))
    calm = attrs.evolve(wish, features=wish.features - {"snow", "snowfall", "rain"})
    changed, known = adjust(Picture(rgb), spec["prompt"], calm, spec["seed"])
    count = spec["frames"]
    for i in range(count):
        part = min(1.0, i / max(1.0, 0.75 * (count - 1)))
        view = cv().addWeighted(rgb, 1 - part, changed.rgb, part, 0) if known and part > 0 else rgb
        canvas = Canvas(path(i, view))
        if falling and i:
            canvas.rgb = canvas.rgb.copy()
            soft = min(1.0, i / FPS)
            bare = canvas.rgb.copy()
            for layer in falling:
                layer.paint(canvas, i / FPS)
            canvas.rgb = cv().addWeighted(bare, 1 - soft, canvas.rgb, soft, 0)
        yield canvas.rgb


def _passage(spec: Mapping[str, Any], load: Callable[[str], bytes]) -> Film:
    count = spec["frames"]

    def frames() -> Iterator[Pixels]:
        first = _fitted(load(spec["inputs"]["first"]), spec, "$.first_frame")
        last = _fitted(load(spec["inputs"]["last"]), spec, "$.last_frame")
        passage = Passage(first, last)
        for i in range(count):
            part = i / max(1, count - 1)
            yield passage.frame(part if part in {0.0, 1.0} else part * part * (3 - 2 * part))

    return Film(frames(), count, {})


def _continued(spec: Mapping[str, Any], tail: list[Pixels]) -> Film:
    """Continue from the last frame: as the prompt says, else with the previous motion, slowing down."""
    import numpy as np

    rgb = tail[-1]
    move, named = move_from(spec["prompt"], spec["seed"])
    count = spec["frames"]
    drift = drift_of(tail)

    def named_path(i: int, view: Pixels) -> Pixels:
        part = (i + 1) / count
        return moved(view, move, part * part * (3 - 2 * part))

    def drifting(i: int, view: Pixels) -> Pixels:
        slowed = 2.0 * FPS * (1 - math.exp(-(i + 1) / (2.0 * FPS)))
        return warped(view, _power(drift, slowed))

    still = bool(np.allclose(drift, [[1, 0, 0], [0, 1, 0]], atol=1e-6))
    if named or still:
        return Film(_moving(spec, rgb, named_path), count, {})
    return Film(_moving(spec, rgb, drifting), count, {})


def _power(step: Any, times: float) -> Any:
    """Return a 2x3 motion done so many times (a fraction is allowed)."""
    import numpy as np

    scale, angle = math.hypot(step[0, 0], step[1, 0]), math.atan2(step[1, 0], step[0, 0])
    spin = np.array([[step[0, 0], step[0, 1]], [step[1, 0], step[1, 1]]])
    gap = np.eye(2) - spin
    big = scale**times
    turned = big * np.array([[math.cos(angle * times), -math.sin(angle * times)], [math.sin(angle * times), math.cos(angle * times)]])
    if abs(np.linalg.det(gap)) < 1e-12:
        shift = step[:, 2] * times
    else:
        fixed = np.linalg.solve(gap, step[:, 2])
        shift = fixed - turned @ fixed
    return np.concatenate([turned, shift[:, None]], axis=1).astype(np.float32)
