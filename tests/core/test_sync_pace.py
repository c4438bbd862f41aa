"""A disk is judged by how long it took of late: the event loop waits for quick ones alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.files import atomic_writer as pace

_devices = itertools.count(-1, -1)  # no disk has these numbers
_quick, _slow = st.floats(0.0, 0.0004), st.floats(0.01, 30.0)


def test_disk_that_was_never_synced_is_not_taken_for_quick() -> None:
    assert not pace.is_quick(next(_devices))


@given(_quick, _slow, _quick)
def test_one_slow_sync_makes_no_slow_disk_and_one_quick_one_a_quick_disk(first: float, slow: float, last: float) -> None:
    device = next(_devices)
    pace.note(device, slow)
    assert not pace.is_quick(device)
    for seconds in (first, slow, last):
        pace.note(device, seconds)
        assert pace.is_quick(device)


@given(st.floats(0.0001, 0.0004), st.lists(_slow, min_size=4))
def test_disk_that_stays_slow_is_soon_left_to_threads(before: float, slow: list[float]) -> None:
    device = next(_devices)
    for seconds in (before, *slow):
        pace.note(device, seconds)
    assert not pace.is_quick(device)


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_clock_too_coarse_to_tell_leaves_a_disk_quick(seconds: float) -> None:
    device = next(_devices)
    pace.note(device, seconds)
    assert pace.is_quick(device)
