"""Snapshots of a service's models: what they replace, when they are stale, how they differ."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from anymedia.capabilities import CapabilityMatrix, Requirement, load_matrix, parse_matrix
from anymedia.capabilities.matrix_cache import STALE_DAYS, keep_read, on_demand_path, snapshot_path, with_listed, write_snapshot
from anymedia.cli.models import changes
from anymedia.errors import MediaError, PluginContractError
from anymedia.planning import plan
from anymedia.planning.types import BackendView
from anymedia.policy import Policy
from anymedia.requests import GenerateImage

TODAY = datetime.date(2026, 11, 30)
SHIPPED = """
schema = 1
checked = 2026-01-01
hosts = ["service.example"]
credentials = [{ names = { api_key = ["SOME_KEY"] } }]
[[models]]
id = "old"
media = "image"
rank = 7
lifecycle = { retires = 2027-01-06, certainty = "firm", source = "https://service.example/end" }
generate_image.quality = { one_of = ["low", "high"] }
[[models]]
id = "gone"
media = "image"
generate_image.prompt = { max_chars = 10 }
"""
ROWS: list[dict[str, Any]] = [
    {"id": "old", "media": "image", "generate_image": {"quality": {"one_of": ["low", "high", "max"]}}},
    {"id": "new", "media": "image", "generate_image": {"seed": {"min": 0, "max": 9}}},
]


def document(day: str = "2026-11-21", **more: Any) -> dict[str, Any]:
    return {"schema": 1, "checked": day, "models": ROWS, **more}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "capabilities.toml"
    path.write_text(SHIPPED)
    return path


def test_snapshot_absent_uses_shipped_models(shipped: Path) -> None:
    assert with_listed(load_matrix(shipped), "some") == load_matrix(shipped)


def test_snapshot_replaces_models_only(shipped: Path) -> None:
    own = load_matrix(shipped)
    path, expected = write_snapshot("some", document(), own)
    assert path == snapshot_path("some")
    found = with_listed(load_matrix(shipped), "some")
    assert found == expected
    assert [row.id for row in found.models] == ["old", "new"]
    assert found.checked == datetime.date(2026, 11, 21)
    assert (found.hosts, found.credentials) == (own.hosts, own.credentials)
    assert found.warnings == ()
    old = found.models[0]
    assert (old.rank, old.lifecycle.retires) == (7, datetime.date(2027, 1, 6))  # from the shipped file
    assert found.models[1].rank == 100


def test_listed_model_may_be_like_a_shipped_one_and_have_dates(shipped: Path) -> None:
    rows = [
        {"id": "newer", "like": "old", "aliases": ["n"], "lifecycle": {"retires": datetime.date(2028, 1, 1)}},
        {"id": "base", "media": "image", "generate_image": {"seed": {"min": 0, "max": 9}}},
        {"id": "child", "like": "base"},
    ]
    write_snapshot("some", document() | {"models": rows}, load_matrix(shipped))
    newer, base, child = with_listed(load_matrix(shipped), "some").models
    assert newer.operations["generate_image"].options.keys() == {"quality"}
    assert (newer.id, newer.rank, newer.lifecycle.retires) == ("newer", 7, datetime.date(2028, 1, 1))
    assert child.operations == base.operations


@pytest.mark.parametrize("bad", [{1, 2}, b"bytes", object()], ids=["set", "bytes", "object"])
def test_listed_row_that_is_not_json_blames_the_plugin(bad: object, shipped: Path) -> None:
    with pytest.raises(PluginContractError, match="list_models"):
        write_snapshot("some", document() | {"models": [{"id": "x", "wire": {"a": bad}}]}, load_matrix(shipped))
    assert not snapshot_path("some").exists()


def test_snapshot_keeps_shipped_requirement(shipped: Path) -> None:
    needs = 'requires = { module = "brushes", install = "pip install brushes" }'
    shipped.write_text(SHIPPED.replace("rank = 7", f"rank = 7\n{needs}"))
    write_snapshot("some", document(), load_matrix(shipped))
    old, new = with_listed(load_matrix(shipped), "some").models
    assert (old.requires, new.requires) == (Requirement(module="brushes", install="pip install brushes"), None)


def test_listed_specs_are_read_once_and_again_after_a_refresh(shipped: Path) -> None:
    own = load_matrix(shipped)
    write_snapshot("some", document(), own)
    before = with_listed(own, "some")
    assert with_listed(own, "some") is before
    write_snapshot("some", document() | {"models": ROWS[:1]}, own)
    assert [spec.id for spec in with_listed(own, "some").models] == ["old"]


def test_snapshot_belongs_to_one_instance(shipped: Path) -> None:
    own = load_matrix(shipped)
    write_snapshot("some", document(), own)
    assert with_listed(own, "another") is own


def test_model_listed_without_a_spec_keeps_the_shipped_one(shipped: Path) -> None:
    own = load_matrix(shipped)
    write_snapshot("some", document() | {"models": ROWS[1:], "kept": ["old", "unknown"]}, own)
    assert [spec.id for spec in with_listed(own, "some").models] == ["old", "new"]
    assert with_listed(own, "some").models[0] == own.models[0]


def test_listed_operation_without_a_hook_blames_the_plugin(shipped: Path) -> None:
    with pytest.raises(PluginContractError, match="list_models claims generate_image, but there is no hook"):
        write_snapshot("some", document(), load_matrix(shipped), {"capabilities"})
    assert not snapshot_path("some").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "\udcff",
        json.dumps({"schema": 1, "models": ROWS}),
        json.dumps({"schema": 1, "checked": "2026-11-21", "models": []}),
        json.dumps({"schema": 2, "checked": "2026-11-21", "models": ROWS}),
        json.dumps(document(hosts=["evil.example"])),
        json.dumps(document(credentials=[{"names": {"api_key": ["HOME"]}}])),
        json.dumps(document(disclosure="trust me")),
        json.dumps(document(models=[{"id": "x", "media": "smell"}])),
    ],
)
def test_snapshot_malformed_warns_and_uses_shipped_models(shipped: Path, text: str) -> None:
    path = snapshot_path("some")
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode(errors="surrogateescape"))
    found = with_listed(load_matrix(shipped), "some")
    assert found.models == load_matrix(shipped).models
    assert found.hosts == ("service.example",)
    assert len(found.warnings) == 1
    assert "some.json cannot be used" in found.warnings[0]


def test_write_snapshot_of_malformed_document_writes_nothing(shipped: Path) -> None:
    own = load_matrix(shipped)
    write_snapshot("some", document(), own)
    kept = snapshot_path("some").read_bytes()
    for wrong in (document(hosts=["evil.example"]), document(models=[{"id": "x", "media": "smell"}]), {"schema": 1, "models": ROWS}):
        with pytest.raises(MediaError):
            write_snapshot("some", wrong, own)
    assert snapshot_path("some").read_bytes() == kept
    assert [p.name for p in snapshot_path("some").parent.iterdir()] == ["some.json"]


def test_shipped_file_malformed_is_refused(shipped: Path) -> None:
    shipped.write_text("schema = 9")
    with pytest.raises(PluginContractError):
        with_listed(load_matrix(shipped), "other")


@pytest.mark.parametrize(("days", "stale"), [(-1, False), (0, False), (STALE_DAYS, False), (STALE_DAYS + 1, True)])
def test_plan_with_stale_snapshot_warns(shipped: Path, days: int, stale: bool) -> None:
    _, matrix = write_snapshot("some", document(), load_matrix(shipped))
    assert matrix.checked is not None
    today = matrix.checked + datetime.timedelta(days=days)
    made = plan(GenerateImage(prompt="x"), [BackendView(name="some", matrix=matrix)], Policy(), today)
    assert any("anymedia models --refresh some" in str(warning) for warning in made.warnings) is stale
    assert made.adjustments == ()


def test_shipped_matrix_is_never_stale(shipped: Path) -> None:
    assert not load_matrix(shipped).stale_on(datetime.date(2099, 1, 1))
    assert not CapabilityMatrix(models=(), stale_after_days=3).stale_on(datetime.date(2099, 1, 1))


def test_changes_list_added_removed_and_changed_models(shipped: Path) -> None:
    before = load_matrix(shipped)
    _, after = write_snapshot("some", document(), before)
    quality = {"field": "generate_image.options.quality.one_of", "before": ["high", "low"], "after": ["high", "low", "max"]}
    assert changes(before, after) == {"added": ["new"], "removed": ["gone"], "changed": [{"model": "old", **quality}]}
    assert changes(after, after) == {"added": [], "removed": [], "changed": []}


def test_changes_new_operation_counts_once_and_notes_do_not() -> None:
    one: dict[str, Any] = {"id": "m", "media": "image", "note": "a", "generate_image": {"seed": {"min": 0, "max": 9, "doc": "a"}}}
    two = {**one, "note": "b", "generate_image": {"seed": {"min": 0, "max": 9, "doc": "b"}}, "inpaint": {"seed": {"min": 0, "max": 9}}}
    before, after = (parse_matrix({"schema": 1, "models": [row]}, "x") for row in (one, two))
    found = changes(before, after)
    assert found["changed"] == [{"model": "m", "field": "operations", "before": ["generate_image"], "after": ["generate_image", "inpaint"]}]
    assert changes(before, attrs.evolve(before, checked=datetime.date(2026, 1, 1)))["changed"] == []


READ: dict[str, Any] = {"id": "read", "media": "image", "generate_image": {"seed": {"min": 0, "max": 9}}}
HOOKS = {"capabilities", "generate_image"}


@pytest.fixture
def on_demand(shipped: Path) -> CapabilityMatrix:
    shipped.write_text(SHIPPED.replace("schema = 1", "schema = 1\non_demand = true"))
    return load_matrix(shipped)


def test_model_that_was_read_is_added_to_the_instance_beside_its_list(on_demand: CapabilityMatrix) -> None:
    keep_read("some", READ, TODAY, on_demand, HOOKS)
    assert [spec.id for spec in with_listed(on_demand, "some").models] == ["old", "gone", "read"]
    assert with_listed(on_demand, "some").checked == on_demand.checked
    assert with_listed(on_demand, "another") is on_demand
    keep_read("some", READ | {"id": "other"}, TODAY, on_demand, HOOKS)
    keep_read("some", READ | {"preview": True}, TODAY, on_demand, HOOKS)
    assert [spec.id for spec in with_listed(on_demand, "some").models] == ["old", "gone", "other", "read"]
    assert with_listed(on_demand, "some").models[-1].preview


def test_refresh_forgets_what_was_read(on_demand: CapabilityMatrix) -> None:
    keep_read("some", READ, TODAY, on_demand, HOOKS)
    write_snapshot("some", document(), on_demand)
    assert [spec.id for spec in with_listed(on_demand, "some").models] == ["old", "new"]
    keep_read("some", READ, TODAY, on_demand, HOOKS)
    assert [spec.id for spec in with_listed(on_demand, "some").models] == ["old", "new", "read"]


@pytest.mark.parametrize("row", [READ | {"media": "smell"}, READ | {"wire": {"a": object()}}, READ | {"transform": {"run": {}}}])
def test_model_that_is_not_valid_is_not_kept(on_demand: CapabilityMatrix, row: dict[str, Any]) -> None:
    with pytest.raises(MediaError):
        keep_read("some", row, TODAY, on_demand, HOOKS)
    assert not on_demand_path("some").exists()


def test_models_that_were_read_are_limited_in_number(on_demand: CapabilityMatrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anymedia.capabilities.matrix_cache._READ_ON_DEMAND", 3)
    for number in range(5):
        keep_read("some", READ | {"id": f"read-{number}"}, TODAY, on_demand, HOOKS)
    assert [spec.id for spec in with_listed(on_demand, "some").models][2:] == ["read-2", "read-3", "read-4"]


def test_model_is_used_where_the_cache_cannot_be_written(on_demand: CapabilityMatrix) -> None:
    on_demand_path("some").parent.parent.mkdir(parents=True)
    on_demand_path("some").parent.write_text("a file in place of the directory")
    assert keep_read("some", READ, TODAY, on_demand, HOOKS).id == "read"
    assert with_listed(on_demand, "some") is on_demand
