"""When to check the state of a running job next, without I/O.

A status check has a cost (``cost``: the seconds of waiting that it is worth), and so has the time that passes after the job is
done. With the hazard h(t) of finishing at age t, the best interval is sqrt(2 cost / h(t)), and no schedule has a mean wasted time
x mean number of checks much below (integral of sqrt(survival x density))^2 / 2. A fixed interval is several times worse, and
exponential back-off worse still. `benchmarks/waiting.py` prints the figures.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ..capabilities import TypicalSeconds

#: With nothing known at all (images take seconds, videos minutes): median and the spread of the logarithm.
_UNKNOWN = (75.0, 0.65)
_Z95 = 1.6449
_SPREADS = (0.05, 1.5)
#: How many earlier jobs the matrix's figure counts as, and its share when there are plenty.
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

        A schedule that checks after equal steps of it is the best one; the size of the step sets how often it checks.
        """
        steps = (math.sqrt(died / max(1e-12, alive)) for died, alive in self._steps())
        return list(itertools.accumulate(steps, initial=0.0))

    def difficulty(self) -> float:
        """Return the integral of sqrt(survival x density): half its square bounds wasted time x checks from below."""
        return sum(math.sqrt(died * alive) for died, alive in self._steps())

    def _steps(self) -> Iterator[tuple[float, float]]:
        """Yield, for each step between two points, the share of jobs that end in it times its length, and the share that still runs."""
        for (start, before), (end, after) in itertools.pairwise(zip(self.times, self.survival, strict=True)):
            yield max(0.0, before - after) * (end - start), (before + after) / 2


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


#: Bounds of an interval in seconds; only a provider's own hint goes beyond.
SHORTEST, LONGEST = 0.5, 20.0
#: By default the cost is chosen so that a job gets about this many status checks (and one), however long such jobs last.
_CHECKS = 6.5
#: The first check is when this share of jobs is done: early while little is known about them, later otherwise.
_FIRST_COLD, _FIRST_KNOWN, _KNOWN_JOBS = 0.02, 0.05, 20
#: For long jobs, which the longest interval would check too often while few are done, at most this share.
_FIRST_LATEST = 0.12
#: With nothing known, an additional first check comes this early, in seconds: the job may be of a fast kind.
_FIRST_UNKNOWN = 2.0
#: Past this share something is out of the ordinary, and the interval grows with the age.
_LATE, _LATE_STEP = 0.98, 0.06


#: Maximum pause in seconds that a provider can ask for.
LONGEST_HINT = 120.0


def bounded_hint(seconds: object) -> float | None:
    """Return the pause that a provider asks for (``Retry-After``, poll-after) in seconds, at most `LONGEST_HINT`.

    Zero, a negative value and anything but a number mean that it asks for none.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return None
    return min(float(seconds), LONGEST_HINT)


def duration_key(backend: str, model: str, seconds: float | None = None) -> str:
    """Return the key under which durations are kept: backend, model, and the length of the media in whole seconds."""
    return f"{backend}/{model}" if seconds is None else f"{backend}/{model}/{round(seconds)}s"


class Schedule:
    """When to check one job.

    Args:
        durations: how long earlier jobs of its kind took, in seconds.
        typical: what the matrix says, used while there are few earlier jobs.
        cost: how many seconds of waiting one check is worth; by default, a job gets about seven checks.
    """

    def __init__(self, durations: Iterable[float] = (), typical: TypicalSeconds | None = None, *, cost: float | None = None) -> None:
        past = tuple(durations)
        life = estimate(past, typical)
        self.cost = (life.difficulty() / _CHECKS) ** 2 / 2 if cost is None else cost
        if not 0 < self.cost < math.inf:
            raise ValueError(f"the cost of a status check is a number of seconds above 0, not {cost!r}")
        known = min(1.0, len(past) / _KNOWN_JOBS)
        self._times = life.times
        self._checks = [effort / math.sqrt(2 * self.cost) for effort in life.effort()]
        low = life.quantile(_FIRST_COLD + (_FIRST_KNOWN - _FIRST_COLD) * known)
        self._start = max(SHORTEST, self._worth_checking(low, life.quantile(_FIRST_LATEST)))
        self._late = max(self._start, life.quantile(_LATE))
        self._first = self._start if past or typical is not None else _FIRST_UNKNOWN

    def first(self, hint: float | None = None) -> float:
        """Return the pause in seconds between the submit and the first check; ``hint``: the pause that the provider asks for."""
        return max(self._first, _floor(hint))

    def next(self, elapsed: float, hint: float | None = None) -> float:
        """Return the pause in seconds before the next check of a job of an age in seconds, at least what the provider asks for."""
        if elapsed < self._start:
            due = self._first if elapsed < self._first else self._start
            return max(due - elapsed, SHORTEST, _floor(hint))
        wait = _LATE_STEP * elapsed
        if elapsed < self._late:
            wait = min(self._age_of(self._checks_by(elapsed) + 1) - elapsed, max(wait, self._late - elapsed))
        return max(min(max(wait, SHORTEST), LONGEST), _floor(hint))

    def _worth_checking(self, age: float, latest: float) -> float:
        """Return the first age from a given one, up to the latest, whose best interval is at most the longest."""
        while age < latest and self._age_of(self._checks_by(age) + 1) > age + LONGEST:
            age = min(age + LONGEST / 4, latest)
        return age

    def _checks_by(self, age: float) -> float:
        """Return how many checks (with a fraction) the best schedule has made by an age."""
        return _interpolate(age, self._times, self._checks)

    def _age_of(self, checks: float) -> float:
        return math.inf if checks >= self._checks[-1] else _interpolate(checks, self._checks, self._times)


def _floor(hint: float | None) -> float:
    return hint if hint is not None and 0 < hint < math.inf else 0.0


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    i = min(max(bisect.bisect_right(xs, x), 1), len(xs) - 1)
    step = xs[i] - xs[i - 1]
    share = min(max((x - xs[i - 1]) / step, 0.0), 1.0) if step > 0 else 1.0
    return ys[i - 1] + share * (ys[i] - ys[i - 1])


class PollBudget:
    """A token bucket per key, so that many jobs of one account together stay under a rate per second; ``burst``: at once after a pause."""

    def __init__(self, rate: float = 3.0, burst: int = 6) -> None:
        if not 0 < rate < math.inf or burst < 1:
            raise ValueError("a poll budget needs a rate above 0 and a burst of at least 1")
        self.rate, self.burst = rate, burst
        self._full_at: dict[str, float] = {}

    def reserve(self, key: str, now: float) -> float:
        """Reserve the next check under a key, and return how many seconds to wait before making it (0: now)."""
        full_at = max(self._full_at.get(key, now), now) + 1 / self.rate
        self._full_at[key] = full_at
        return max(0.0, full_at - now - self.burst / self.rate)
