"""Spec -> finished file: the frames, the old video before them, what a continuation will need."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.media import mime_of
from anymedia.results import ContinuationData, Outcome, Piece, Warning

from ..text import misdrawn
from .codec import FPS, Encoder, Footage, frame_times, probe, read_frames, read_timed_frames
from .films import film_of
from .joining import fits, join
from .timing import ConstantRate, rate_for

if TYPE_CHECKING:
    from ..heavy import Pixels

__all__ = ["render"]

#: How many of the last frames show how a video was moving.
_TAIL = 7


@attrs.frozen
class Desk:
    """What a rendering is given: kept bytes by name, and a function called with each frame (which may stop it)."""

    load: Callable[[str], bytes]
    tick: Callable[[int, int], None]


def render(spec: Mapping[str, Any], load: Callable[[str], bytes], tick: Callable[[int, int], None]) -> Outcome:
    """Render a spec.

    Args:
        spec: see `films`.
        load: gives kept bytes by their key.
        tick: told (frames done, frames in all) after each frame; whatever it raises stops the rendering.
    """
    desk = Desk(load, tick)
    if spec["kind"] == "continuation":
        return _continued(spec, desk)
    film = film_of(spec, load, [])
    encoder = Encoder(spec["width"], spec["height"], spec["format"])
    for done, frame in enumerate(film.frames, 1):
        encoder.add(frame)
        tick(done, film.count)
    return _outcome(spec, encoder.finish(), film.after, None, ())


def _outcome(spec: Mapping[str, Any], data: bytes, after: dict[str, Any], way: str | None, warnings: tuple[str, ...]) -> Outcome:
    piece = Piece(
        data=data,
        mime=mime_of(spec["format"]),
        continuation=ContinuationData(data=after),
        text=None if spec.get("seeded", True) else f"seed {spec['seed']}",
    )
    texts = tuple((spec.get("recipe") or {}).get("texts", ()))
    unused = [Warning("ignored_words", text) for text in spec.get("ignored", ())]
    said = (*unused, *spec.get("warnings", ()), *misdrawn(texts), *warnings)
    return Outcome(pieces=(piece,), continued_as=way, cost_usd=0.0, warnings=said)


def _continued(spec: Mapping[str, Any], desk: Desk) -> Outcome:
    old = desk.load(spec["inputs"]["video"])
    footage = probe(old)
    if footage.container == spec["format"] and fits(footage):
        return _appended(spec, desk, old, footage)
    return _reencoded(spec, desk, old, footage)


def _appended(spec: Mapping[str, Any], desk: Desk, old: bytes, footage: Footage) -> Outcome:
    """Copy the old packets, encode only what is new."""
    past = spec.get("past") or {}
    tail = [] if "recipe" in past else list(deque(_watched(read_frames(old), desk), _TAIL))
    scale = Fraction(footage.rate) / FPS
    film = film_of(
        {**spec, "width": footage.width, "height": footage.height, "frames": max(1, round(spec["frames"] * scale))}, desk.load, tail
    )
    encoder = Encoder(footage.width, footage.height, spec["format"], footage.rate)
    for done, frame in enumerate(film.frames, 1):
        encoder.add(frame)
        desk.tick(done, film.count)
    return _outcome(spec, join(old, encoder.finish(), spec["format"]), film.after, "extend", ())


def _watched(frames: Iterator[Pixels], desk: Desk) -> Iterator[Pixels]:
    """Go through the frames of an old video, and stop when the rendering is to stop."""
    for frame in frames:
        desk.tick(0, 0)
        yield frame


def _reencoded(spec: Mapping[str, Any], desk: Desk, old: bytes, footage: Footage) -> Outcome:
    """Decode the old video, encode old and new together, and say so."""
    rate = rate_for(frame_times(old), footage.rate)
    expected = max(1, round(footage.seconds * rate))
    fresh = max(1, round(spec["frames"] * rate / FPS))
    tail: deque[Pixels] = deque(maxlen=_TAIL)
    encoder: Encoder | None = None
    timed = ConstantRate(read_timed_frames(old), rate, most=expected + 1)
    for done, frame in enumerate(_even(timed), 1):
        encoder = encoder or Encoder(frame.shape[1], frame.shape[0], spec["format"], rate)
        encoder.add(frame)
        tail.append(frame)
        desk.tick(min(done, expected), expected + fresh)
    if encoder is None:
        raise ValueError("the video has no frames")
    height, width = tail[-1].shape[:2]
    film = film_of({**spec, "width": width, "height": height, "frames": fresh}, desk.load, list(tail))
    for count, frame in enumerate(film.frames, 1):
        encoder.add(frame)
        desk.tick(expected + count, expected + fresh)
    why = f"the given video ({footage.codec} in {footage.container}) was not encoded like those made here, so its frames were re-encoded"
    silent = ("its sound was left out",) if footage.sound else ()
    held = (f"its frames came at uneven times and are {float(rate):g} a second now, each shown as long as it was",)
    return _outcome(spec, encoder.finish(), film.after, "extend", (why, *(held if timed.uneven else ()), *silent))


def _even(frames: Iterable[Pixels]) -> Iterator[Pixels]:
    """Make odd edges even by repeating the last row or column, which the encoder needs."""
    import numpy as np

    for frame in frames:
        down, across = frame.shape[0] % 2, frame.shape[1] % 2
        yield np.pad(frame, ((0, down), (0, across), (0, 0)), mode="edge") if down or across else frame
