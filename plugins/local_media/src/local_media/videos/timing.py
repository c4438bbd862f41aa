"""Frames that came at uneven times, as phones and screen recorders write them, shown evenly: each for as long as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Generic, TypeVar

__all__ = ["ConstantRate", "rate_for"]

_T = TypeVar("_T")
#: Maximum number of frames per second that uneven ones are resampled to.
_FASTEST = 60
#: So large a part of the frames may be left out for the sake of a video's own average rate.
_LOSS = 0.05


def rate_for(times: Sequence[float], usual: Fraction) -> Fraction:
    """Return the constant rate that shows frames with these times (seconds, ascending): the usual one, unless many would be lost."""
    places = {round((time - times[0]) * float(usual)) for time in times}
    if len(places) >= (1 - _LOSS) * len(times):
        return usual
    shortest = min((b - a for a, b in itertools.pairwise(times) if b > a), default=1.0)
    return max(usual, Fraction(min(_FASTEST, round(1 / max(shortest, 1e-3)))))


class ConstantRate(Generic[_T]):
    """Goes through frames once, each with its time in seconds (None: not known), and yields them at a constant rate.

    A frame that was shown for long is repeated; one that was shown for less than half of a place is left out. Frames that came
    evenly pass as they are, whatever their container rounded.

    Args:
        frames: in the order in which they are shown.
        rate: frames a second.
        most: so many are yielded at the most, whatever the times claim.

    Attributes:
        uneven: whether any was repeated or left out so far.
    """

    def __init__(self, frames: Iterable[tuple[_T, float | None]], rate: Fraction, most: int) -> None:
        self._frames, self._rate, self._most = frames, rate, most
        self.uneven = False

    def __iter__(self) -> Iterator[_T]:
        held: list[_T] = []
        begun, given = None, 0
        for frame, time in self._frames:
            begun = time if begun is None else begun
            due = given + len(held) if time is None or begun is None else min(self._most, round((time - begun) * float(self._rate)))
            self.uneven |= due != given + len(held)
            for _ in range(due - given if held else 0):
                yield held[0]
                given += 1
            held = [frame]
        yield from held
