"""Polling a job: wasted seconds x polls compared with the theoretical optimum, on a simulated clock.

    python benchmarks/waiting.py [--jobs 20000]

For any schedule, mean wasted time x mean number of polls is bounded below (up to a few per cent, when polls are few) by
1/2 (integral of sqrt(survival x density))^2. The duration of a job is drawn at random; each strategy polls until the job is done.
"after 50 jobs" and "after 8 jobs" know that many past durations and the median and 95th percentile of the matrix; "cold" knows only
the latter; "nothing known" neither. Limits: 1.25 x the bound after 50 jobs, 1.5 x cold, at most 9 polls per job.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator
from statistics import NormalDist

import attrs

from anymedia.capabilities import TypicalSeconds
from anymedia.execution.poll_schedule import Schedule

Sampler = Callable[[random.Random], float]
#: Job age in seconds -> seconds until the next poll; called with age 0 for the first.
Strategy = Callable[[float], float]


@attrs.frozen
class Scenario:
    """Durations of one kind of job: sampler, survival function, density, and the relevant range of ages."""

    name: str
    draw: Sampler
    survival: Callable[[float], float]
    density: Callable[[float], float]
    ages: tuple[float, float]

    def bound(self, steps: int = 8000) -> float:
        """Return 1/2 (integral of sqrt(S f))^2, in seconds."""
        low, high = self.ages
        step = (high - low) / steps
        middles = (low + (i + 0.5) * step for i in range(steps))
        return 0.5 * (sum(math.sqrt(max(0.0, self.survival(t) * self.density(t))) for t in middles) * step) ** 2

    def typical(self) -> TypicalSeconds:
        """Return the median and 95th percentile, as in a matrix."""
        return TypicalSeconds(median=self._age_at(0.5), p95=self._age_at(0.05))

    def _age_at(self, alive: float) -> float:
        low, high = self.ages
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.survival(middle) > alive else (low, middle)
        return low


def _log_normal(name: str, *humps: tuple[float, float, float]) -> Scenario:
    """Return a mixture of log-normals, each (weight, median, spread)."""
    laws = [(weight, NormalDist(math.log(median), spread)) for weight, median, spread in humps]

    def draw(rng: random.Random) -> float:
        law = rng.choices([law for _, law in laws], [weight for weight, _ in laws])[0]
        return math.exp(rng.gauss(law.mean, law.stdev))

    return Scenario(
        name,
        draw,
        lambda t: sum(weight * (1 - law.cdf(math.log(t))) for weight, law in laws),
        lambda t: sum(weight * law.pdf(math.log(t)) for weight, law in laws) / t,
        (min(m * math.exp(-6 * s) for _, m, s in humps), max(m * math.exp(6 * s) for _, m, s in humps)),
    )


def _queued(name: str, law: NormalDist, share: float, mean_wait: float) -> Scenario:
    """Return a normal distribution in which a share of the jobs first waits in a queue (exponential)."""
    rate, sigma = 1 / mean_wait, law.stdev

    def waited(t: float) -> float:
        z = (t - law.mean) / sigma
        return math.exp(-rate * (t - law.mean) + (rate * sigma) ** 2 / 2) * NormalDist().cdf(z - rate * sigma)

    return Scenario(
        name,
        lambda rng: max(1.0, rng.gauss(law.mean, sigma)) + (rng.expovariate(rate) if rng.random() < share else 0.0),
        lambda t: (1 - share) * (1 - law.cdf(t)) + share * (1 - law.cdf(t) + waited(t)),
        lambda t: (1 - share) * law.pdf(t) + share * rate * waited(t),
        (max(1.0, law.mean - 5 * sigma), law.mean + 5 * sigma + 12 * mean_wait * (share > 0)),
    )


def scenarios() -> list[Scenario]:
    """Return the simulated kinds of jobs."""
    steady = NormalDist(91, 0.15 * 91)
    return [
        _queued("steady, mean 91 s, cv 0.15", steady, 0.0, 60.0),
        _queued("the same, 15 % wait in a queue", steady, 0.15, 60.0),
        Scenario("anything from 20 to 180 s", lambda rng: rng.uniform(20, 180), lambda t: (180 - t) / 160, lambda t: 1 / 160, (20, 180)),
        _log_normal("image, median 12 s", (1, 12, 0.3)),
        _log_normal("image, median 25 s, wide", (1, 25, 0.6)),
        _log_normal("video, median 105 s", (1, 105, 0.4)),
        _log_normal("long video, median 300 s", (1, 300, 0.35)),
        _log_normal("two kinds, 30 s and 120 s", (0.6, 30, 0.2), (0.4, 120, 0.15)),
    ]


def one_job(strategy: Strategy, duration: float) -> tuple[float, int]:
    """Return (wasted seconds, polls) of one job."""
    age, polls = strategy(0.0), 1
    while age < duration:
        age += strategy(age)
        polls += 1
    return age - duration, polls


def measure(strategies: Iterator[Strategy], draw: Sampler, jobs: int, per_strategy: int, rng: random.Random) -> tuple[float, float]:
    """Return (mean wasted seconds, mean polls) over many jobs, with a new strategy every ``per_strategy`` jobs."""
    wasted = polls = 0.0
    for start in range(0, jobs, per_strategy):
        strategy = next(strategies)
        for _ in range(min(per_strategy, jobs - start)):
            w, n = one_job(strategy, draw(rng))
            wasted, polls = wasted + w, polls + n
    return wasted / jobs, polls / jobs


def of_schedule(schedule: Schedule) -> Strategy:
    """Return a schedule as a strategy."""
    return lambda age: schedule.next(age) if age else schedule.first()


def adaptive(scenario: Scenario, past: int, typical: TypicalSeconds | None, rng: random.Random) -> Iterator[Strategy]:
    """Yield schedules that each know ``past`` durations."""
    while True:
        yield of_schedule(Schedule([scenario.draw(rng) for _ in range(past)], typical))


def _always(strategy: Strategy) -> Iterator[Strategy]:
    while True:
        yield strategy


def _fixed(interval: float) -> Strategy:
    return lambda age: interval


def _exponential(age: float) -> float:
    """Return 1 s, then 1.5 times the previous interval, at most 30 s; stateless, computed from the age."""
    passed, wait = 0.0, 1.0
    while passed + 1e-9 < age:
        passed, wait = passed + wait, min(30.0, wait * 1.5)
    return wait


def rows(scenario: Scenario, jobs: int, seed: int = 20) -> list[tuple[str, float, float]]:
    """Return (strategy, mean wasted seconds, mean polls) for one scenario."""
    typical = scenario.typical()
    known: list[tuple[str, int, TypicalSeconds | None]] = [
        ("after 50 jobs", 50, typical),
        ("after 8 jobs", 8, typical),
        ("cold", 0, typical),
        ("nothing known", 0, None),
    ]
    found = []
    for name, past, says in known:
        rng = random.Random(seed)
        found.append((name, *measure(adaptive(scenario, past, says, rng), scenario.draw, jobs, 50 if past else jobs, rng)))
    fixed = [(f"fixed {every} s", _fixed(every)) for every in (1, 10, 20)]
    for name, strategy in [*fixed, ("exponential", _exponential)]:
        found.append((name, *measure(_always(strategy), scenario.draw, jobs, jobs, random.Random(seed))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Polling a job, compared with the optimum.")
    parser.add_argument("--jobs", type=int, default=20_000, help="number of simulated jobs per line")
    jobs = parser.parse_args().jobs
    bars = {"after 50 jobs": 1.25, "cold": 1.5}
    for scenario in scenarios():
        bound = scenario.bound()
        print(f"\n{scenario.name} (bound {bound:.1f} s)\n  {'strategy':<15} wasted s   polls   x bound")
        for name, wasted, polls in rows(scenario, jobs):
            ratio = wasted * polls / bound
            verdict = (
                "" if name not in bars else "  met" if ratio <= bars[name] and polls <= 9 else f"  missed (limit {bars[name]} and 9 polls)"
            )
            print(f"  {name:<15} {wasted:8.2f} {polls:7.1f} {ratio:9.2f}{verdict}")


if __name__ == "__main__":
    main()
