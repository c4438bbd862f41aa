"""Overlays: what a provider said about its models, on disk and in plans."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import attrs
import pytest
from core.planning_matrices import LOCAL, PIXELS, matrix

from anymedia.capabilities.overlay import DEMOTED_SECONDS, Overlay, OverlayStore
from anymedia.errors import RequestError
from anymedia.planning import BackendView, Default, Planner
from anymedia.policy import Policy
from anymedia.requests import GenerateImage

TODAY = datetime.date(2026, 11, 21)
NOW = 1_795_000_000.0
FOX = GenerateImage(prompt="a fox")
MATRIX = matrix(PIXELS)


@pytest.fixture
def overlays(tmp_path: Path) -> OverlayStore:
    return OverlayStore(tmp_path / "overlays")


def planner(overlay: Overlay, *prefer: str, now: float = NOW, default: str | None = None) -> Planner:
    corrected = overlay.correct(MATRIX)
    view = BackendView(name="pix", matrix=corrected, demoted=overlay.demoted(corrected, now))
    own = None if default is None else Default(name=default, setting="[defaults] image")
    return Planner(views=[view, BackendView(name="local", matrix=matrix(LOCAL))], policy=Policy(prefer=prefer), today=TODAY, default=own)


def test_refusal_demotes_model_until_a_day_later(overlays: OverlayStore) -> None:
    overlays.refuse("pix-1", "pix-0", "no such model", NOW)
    found = overlays.load("pix-1")
    assert list(found.demoted(MATRIX, NOW)) == list(found.demoted(MATRIX, NOW + DEMOTED_SECONDS - 1)) == ["pix-0"]
    assert found.demoted(MATRIX, NOW + DEMOTED_SECONDS) == {}
    assert found.demoted(MATRIX, NOW - 10) == {}  # the clock was set back
    assert overlays.load("pix-2") == Overlay()
    overlays.accept("pix-1", "pix-0")
    assert overlays.load("pix-1").demoted(MATRIX, NOW) == {}


def test_refusal_older_than_a_day_is_dropped_on_the_next_write(overlays: OverlayStore) -> None:
    overlays.refuse("pix", "pix-0", "gone", NOW)
    overlays.refuse("pix", "pix-2", "gone", NOW + DEMOTED_SECONDS)
    assert list(overlays.load("pix").refusals) == ["pix-2"]


def test_demoted_model_is_explained_and_not_chosen_suggested_or_an_alternative(overlays: OverlayStore) -> None:
    overlays.refuse("pix", "pix-0", "no such model", NOW)
    own = planner(overlays.load("pix"))
    found = own.plan(FOX)
    assert found.chosen.model == "pix-2"
    assert [str(candidate) for candidate in found.alternatives] == ["local/scene"]
    (reason,) = next(r.reasons for r in found.rejected if r.candidate.model == "pix-0")
    assert reason.code == "demoted"
    assert "the provider refused it for this account on 2026-11-18 11:06 UTC (no such model)" in reason.text
    assert "not chosen automatically until 2026-11-19 11:06 UTC" in reason.text
    overlays.refuse("pix", "pix-2", "no such model", NOW)
    with pytest.raises(RequestError) as caught:
        planner(overlays.load("pix")).plan(attrs.evolve(FOX, quality="high"), backend="pix")
    assert "pix" not in caught.value.try_backends
    assert "pix-0" not in caught.value.fix and "pix-2" not in caught.value.fix


def test_demoted_model_named_by_caller_or_default_is_tried_with_warning(overlays: OverlayStore) -> None:
    overlays.refuse("pix", "pix-2", "no such model", NOW)
    overlay = overlays.load("pix")
    for found in (planner(overlay).plan(FOX, model="pix-2"), planner(overlay, default="pix/pix-2").plan(FOX)):
        assert found.chosen.model == "pix-2"
        assert "model_demoted" in [warning.code for warning in found.warnings]
    assert planner(overlay, "pix/pix-2").plan(FOX).chosen.model == "pix-0"  # an order: the next is tried


def test_list_without_model_demotes_it_and_gives_shutdown_dates_and_new_ids(overlays: OverlayStore) -> None:
    day = datetime.date(2026, 11, 20)
    overlay = overlays.list_models("pix", {"pix-0": day, "pix-9": None}, NOW)
    assert overlay == overlays.load("pix")
    assert overlay.unknown_to(MATRIX) == ["pix-9"]
    corrected = overlay.correct(MATRIX).model("pix-0")
    assert corrected is not None
    assert (corrected.lifecycle.retires, corrected.lifecycle.certainty) == (day, "firm")
    own = planner(overlay)
    assert own.plan(FOX).chosen.backend == "local"
    codes = {r.candidate.model: r.reasons[0].code for r in own.plan(FOX).rejected}
    assert codes == {"pix-0": "retired", "pix-1": "retired", "pix-2": "demoted"}
    assert own.plan(FOX, model="pix-2").chosen.model == "pix-2"
    assert planner(overlay, now=NOW + 31 * 86_400).plan(FOX).chosen.model == "pix-2"  # the list is outdated


def test_list_of_other_models_only_demotes_none(overlays: OverlayStore) -> None:
    overlay = overlays.list_models("pix", {"chat-1": None}, NOW)
    assert overlay.demoted(MATRIX, NOW) == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"refusals": {"a": 3}, "listed": {}, "listed_at": 0}', '{"refusals": [], "x": 1}', "\0"]
)
def test_overlay_damaged_is_empty_and_replaced(overlays: OverlayStore, text: str) -> None:
    overlays.directory.mkdir()
    (overlays.directory / "pix.json").write_text(text)
    assert overlays.load("pix") == Overlay()
    overlays.refuse("pix", "pix-0", "gone", NOW)
    assert list(overlays.load("pix").refusals) == ["pix-0"]
    assert [path.name for path in overlays.directory.iterdir()] == ["pix.json"]


def test_overlay_unwritable_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    OverlayStore(tmp_path / "file" / "overlays").refuse("pix", "pix-0", "gone", NOW)
    assert "cannot be written" in caplog.text


def test_overlay_round_trips_as_json(overlays: OverlayStore) -> None:
    overlays.list_models("pix", {"a": TODAY, "b": None}, NOW)
    overlays.refuse("pix", "b", "gone", NOW)
    stored = json.loads((overlays.directory / "pix.json").read_text())
    assert stored == {"refusals": {"b": [NOW, "gone"]}, "listed": {"a": "2026-11-21", "b": None}, "listed_at": NOW}


def test_overlays_in_a_directory_that_may_not_be_searched_are_empty(overlays: OverlayStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.stat", forbidden)
    assert overlays.load_for(object()) == Overlay()
