"""A process killed at any moment of a paid call: nothing billed twice, nothing lost in silence, no file half written."""

import itertools
from pathlib import Path
from typing import Literal

import pytest
from core.killing import TRANSITIONS, killed
from tiers import quick_first

DEATHS = sorted(
    [*itertools.product(TRANSITIONS, ("before", "after")), ("stored", "after")], key=lambda death: death != ("submitting", "after")
)


@pytest.mark.parametrize(("transition", "when"), quick_first(DEATHS))
def test_killed_at_a_transition_a_video_is_billed_once_and_collected(tmp_path: Path, transition: str, when: str) -> None:
    toll = killed(tmp_path, kind="video", jobs=1, can_list=True, kills=1, at=f"{transition}:{when}")
    assert toll.kills == 1
    assert (toll.submits, toll.billed_twice, toll.damaged) == (toll.submits, 0, 0)
    if (transition, when) == ("submitting", "after"):
        assert (toll.submits, toll.flagged) == (0, 1)  # whether it was sent is not known, so it is flagged, not sent again
    else:
        assert (toll.submits, toll.done, toll.lost) == (1, 1, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["image", "video"])
def test_process_killed_at_random_without_a_look_up_flags_every_loss(tmp_path: Path, kind: Literal["image", "video"]) -> None:
    toll = killed(tmp_path, kind=kind, jobs=3, can_list=False, kills=5, seed=3)
    assert (toll.billed_twice, toll.lost, toll.undelivered, toll.damaged) == (0, 0, 0, 0)
    assert toll.done + toll.flagged + toll.unsent == 3  # of one that died before it sent anything, the row says just that


@pytest.mark.exhaustive
def test_process_killed_at_random_with_a_look_up_loses_nothing_paid(tmp_path: Path) -> None:
    toll = killed(tmp_path, kind="video", jobs=3, can_list=True, kills=5, seed=5)
    assert (toll.billed_twice, toll.lost, toll.undelivered, toll.damaged) == (0, 0, 0, 0)
    assert toll.done >= toll.submits


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["image", "video"])
def test_killed_on_a_full_disk_what_was_stored_is_delivered_and_every_other_loss_is_flagged(
    tmp_path: Path, kind: Literal["image", "video"]
) -> None:
    toll = killed(tmp_path, kind=kind, jobs=3, can_list=False, kills=6, seed=7, full=True)
    assert (toll.billed_twice, toll.lost, toll.undelivered, toll.damaged) == (0, 0, 0, 0)


@pytest.mark.parametrize("at", quick_first(["queued:after", "queued:before"]))
def test_killed_between_two_attempts_a_refused_call_is_sent_again_unless_the_refusal_was_not_recorded(tmp_path: Path, at: str) -> None:
    toll = killed(tmp_path, kind="image", jobs=1, can_list=False, kills=1, at=at, refusals=1)
    assert (toll.kills, toll.billed_twice, toll.damaged, toll.lost) == (1, 0, 0, 0)
    assert (toll.submits, toll.done, toll.flagged) == ((1, 1, 0) if at == "queued:after" else (0, 0, 1))


def test_image_killed_after_its_artifact_was_stored_is_delivered_without_a_look_up(tmp_path: Path) -> None:
    toll = killed(tmp_path, kind="image", jobs=1, can_list=False, kills=1, at="stored:after")
    assert (toll.kills, toll.submits, toll.done, toll.undelivered, toll.damaged) == (1, 1, 1, 0, 0)


@pytest.mark.soak
@pytest.mark.parametrize("can_list", [True, False], ids=["with a look-up", "without"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_killed_a_thousand_times_nothing_is_billed_twice_or_lost(tmp_path: Path, kind: Literal["image", "video"], can_list: bool) -> None:
    for seed in range(50):
        toll = killed(tmp_path / str(seed), kind=kind, jobs=20, can_list=can_list, kills=20, seed=seed)
        assert (toll.billed_twice, toll.lost, toll.undelivered, toll.damaged) == (0, 0, 0, 0), seed
