"""How long a job will probably take: survival, estimated from past jobs and from what the matrix says.

Past jobs count as a mixture of log-normal humps, one each, as wide as its neighbours are far; without any, the
matrix's median and 95th percentile make one log-normal hump; with few, both are mixed.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .capabilities import TypicalSeconds

__all__ = ["Lifetime", "estimate"]

#: With nothing known at all (images take seconds, videos minutes): median and the spread of the logarithm.
_UNKNOWN = (75.0, 0.65)
_Z95 = 1.6449
_SPREADS = (0.05, 1.5)
#: How many past jobs the matrix's word is worth, and what is left of it when there are plenty.
_PRIOR_JOBS, _PLENTY, _PRIOR_LEFT = 4, 20, 0.02
#: At most this many humps (quantiles of the past), and points in time; a few thousand steps in all.
_HUMPS, _POINTS = 40, 160
#: A hump's half width is this share of the distance over which a share of all jobs lie.
_NEIGHBOURS, _WIDTH, _LEAST_WIDTH = 0.15, 0.35, 0.02


@attrs.frozen
class _Hump:
    weight: float
    centre: float
    width: float


@attrs.frozen
class Lifetime:
    """A job's estimated life: points in time (seconds, ascending) and the share of jobs still running at each."""

    times: Sequence[float]
    survival: Sequence[float]

    def quantile(self, share: float) -> float:
        """Return the age in seconds by which this share of jobs has finished."""
        at = bisect.bisect_left(self.survival, share - 1.0, key=lambda alive: -alive)
        return self.times[min(at, len(self.times) - 1)]

    def effort(self) -> list[float]:
        """Return the integral of the square root of the hazard from the first point to each (square root of seconds).

        A schedule that looks after equal steps of it is the best one; its size sets how often it looks.
        """
        total = [0.0]
        for i in range(len(self.times) - 1):
            step, died = self.times[i + 1] - self.times[i], max(0.0, self.survival[i] - self.survival[i + 1])
            alive = max(1e-12, (self.survival[i] + self.survival[i + 1]) / 2)
            total.append(total[-1] + math.sqrt(died * step / alive))
        return total

    def difficulty(self) -> float:
        """Return the integral of sqrt(survival x density): half its square bounds wasted time x looks from below."""
        found = 0.0
        for i in range(len(self.times) - 1):
            step, died = self.times[i + 1] - self.times[i], max(0.0, self.survival[i] - self.survival[i + 1])
            found += math.sqrt(died * step * (self.survival[i] + self.survival[i + 1]) / 2)
        return found


def estimate(durations: Iterable[float], typical: TypicalSeconds | None) -> Lifetime:
    """Estimate the life of a job from the durations of past ones (seconds) and the matrix's typical time."""
    logs = sorted(math.log(max(seconds, 0.05)) for seconds in durations if math.isfinite(seconds))
    prior = _prior(typical)
    if not logs:
        return _tabulate([prior])
    share = _PRIOR_JOBS / (_PRIOR_JOBS + len(logs)) if len(logs) < _PLENTY else _PRIOR_LEFT
    return _tabulate([*_humps(logs, 1 - share, prior.width), attrs.evolve(prior, weight=share)])


def _prior(typical: TypicalSeconds | None) -> _Hump:
    if typical is None or not 0 < typical.median < math.inf:
        median, spread = _UNKNOWN
    else:
        ratio = max(typical.p95 / typical.median, 1.0)
        median, spread = typical.median, min(max(math.log(ratio) / _Z95, _SPREADS[0]), _SPREADS[1])
    return _Hump(1.0, math.log(median), spread)


def _humps(logs: list[float], weight: float, prior_width: float) -> list[_Hump]:
    if len(logs) > _HUMPS:
        logs = [logs[int((i + 0.5) * len(logs) / _HUMPS)] for i in range(_HUMPS)]
    count = len(logs)
    if count < 5:  # too few to tell their spread
        return [_Hump(weight / count, each, 0.7 * prior_width) for each in logs]
    reach = max(2, round(_NEIGHBOURS * count))
    found = []
    for i, centre in enumerate(logs):
        first = max(0, min(i - reach // 2, count - 1 - reach))
        found.append(_Hump(weight / count, centre, max(_LEAST_WIDTH, _WIDTH * (logs[first + reach] - logs[first]))))
    return found


def _tabulate(humps: list[_Hump]) -> Lifetime:
    low = min(hump.centre - 4 * hump.width for hump in humps)
    high = max(hump.centre + 4 * hump.width for hump in humps)
    points = [low + (high - low) * i / _POINTS for i in range(_POINTS + 1)]
    scaled = [(hump.weight / 2, hump.centre, 1 / (hump.width * math.sqrt(2))) for hump in humps]
    erfc = math.erfc
    return Lifetime([math.exp(p) for p in points], [sum(w * erfc((p - c) * s) for w, c, s in scaled) for p in points])
