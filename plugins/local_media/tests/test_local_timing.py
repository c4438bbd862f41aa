"""A constant rate out of any times: what came evenly passes as it is, all else is shown as long as it was."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from local_media.videos.timing import ConstantRate, rate_for

RATES = st.sampled_from([Fraction(24), Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(60), Fraction(15)])


@given(RATES, st.integers(0, 200), st.floats(0, 100), st.sampled_from([None, 3, 6]))
def test_frames_at_even_intervals_are_kept_despite_rounded_times(rate: Fraction, count: int, begin: float, digits: int | None) -> None:
    times = [begin + float(i / rate) for i in range(count)]
    timed = ConstantRate([(i, time if digits is None else round(time, digits)) for i, time in enumerate(times)], rate, most=count)
    assert list(timed) == list(range(count))
    assert not timed.uneven


@given(RATES, st.integers(0, 50))
def test_frames_without_a_time_follow_one_another(rate: Fraction, count: int) -> None:
    timed = ConstantRate([(i, None) for i in range(count)], rate, most=count)
    assert list(timed) == list(range(count)) and not timed.uneven


@given(RATES, st.lists(st.floats(0, 1.5), min_size=1, max_size=30))
def test_resampled_frame_is_the_one_shown_at_its_time(rate: Fraction, pauses: list[float]) -> None:
    times = [sum(pauses[:i]) for i in range(len(pauses))]
    places = [round(time * float(rate)) for time in times]
    timed = ConstantRate(list(enumerate(times)), rate, most=10_000)
    made = list(timed)
    assert len(made) == places[-1] + 1
    assert made == [max(i for i, place in enumerate(places) if place <= k) for k in range(len(made))]
    assert timed.uneven == (places != list(range(len(places))))


@given(st.lists(st.floats(-1e12, 1e12) | st.none(), max_size=20), st.integers(1, 50))
def test_wrong_frame_times_add_no_frames(times: list[float | None], most: int) -> None:
    made = list(ConstantRate(list(enumerate(times)), Fraction(30), most=most))
    assert len(made) <= max(most, 0) + len(times)
    assert all(a <= b for a, b in itertools.pairwise(made))


@given(RATES, st.integers(1, 100), st.lists(st.floats(-0.004, 0.004), min_size=100, max_size=100))
def test_little_unsteadiness_leaves_a_video_its_rate(rate: Fraction, count: int, off: list[float]) -> None:
    times = sorted(float(i / rate) + off[i] for i in range(count))
    assert rate_for(times, rate) == rate


@given(st.lists(st.floats(0.001, 3), max_size=50), RATES)
def test_rate_for_any_times_is_at_least_the_usual_and_sixty_at_the_most(gaps: list[float], usual: Fraction) -> None:
    times = list(itertools.accumulate(gaps, initial=0.5))
    found = rate_for(times, usual)
    assert usual <= found <= 60
    places = {round((time - times[0]) * float(found)) for time in times}
    if min(gaps, default=1) >= 1 / 30:
        assert len(places) >= 0.95 * len(times)  # hardly a frame is lost that could be seen


def test_two_frames_with_the_same_time_cause_no_division_by_zero() -> None:
    assert rate_for([1.0, 1.0, 1.0], Fraction(24)) == 24
    assert rate_for([], Fraction(24)) == 24
