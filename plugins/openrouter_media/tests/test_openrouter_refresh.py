"""`anymedia models --refresh openrouter`, called as a program: what it asks, keeps, shows; and what is planned by it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiers import quick_first
from wire.http_server import closed_port
from wire.openrouter_catalog import enum
from wire.openrouter_server import KEY, OpenRouterServer
from wire.openrouter_snapshot import Told, refresh, run_cli

from anymedia.requests import GenerateImage
from anymedia.router import Router

NewRouter = Callable[..., Router]
SNAPSHOT = "cache/capabilities/openrouter.json"
SUNBURST = "openai/gpt-image-2.5-sunburst"


def document(told: Told) -> dict[str, Any]:
    assert told.code == 0, told.err
    found: dict[str, Any] = json.loads(told.out)
    return found


def models(fake: OpenRouterServer, folder: Path) -> dict[str, Any]:
    found = document(run_cli(fake, folder, "models", "openrouter", "--json"))["models"]
    return {model["model"]: model for model in found}


def test_list_becomes_model_specs_without_a_key(fake: OpenRouterServer, tmp_path: Path) -> None:
    before = models(fake, tmp_path)
    assert fake.received == []
    told = document(refresh(fake, tmp_path, "--json"))
    assert all("authorization" not in r.headers and r.method == "GET" for r in fake.received)
    assert told["path"] == str(tmp_path / SNAPSHOT)
    after = models(fake, tmp_path)
    assert (
        sorted(after.keys() - before.keys())
        == told["added"]
        == sorted(["painter/cast", "painter/odd", "painter/one-voice", "painter/two-houses", "painter/upscaler"])
    )
    assert told["removed"] == []
    assert after.keys() == {*fake.image_models, *fake.video_models, *fake.speech_models}
    assert after[SUNBURST]["operations"] == ["generate_image", "edit_with_references"]
    assert after["openai/gpt-4o-mini-tts-2025-12-15"]["lifecycle"]["retires"] == "2027-01-06"  # no list says this: it is kept


def test_key_is_sent_to_the_service(fake: OpenRouterServer, tmp_path: Path) -> None:
    assert refresh(fake, tmp_path, key=KEY).code == 0
    assert {r.headers["authorization"] for r in fake.received} == {f"Bearer {KEY}"}
    assert KEY not in (tmp_path / SNAPSHOT).read_text()


def test_refresh_is_shown_as_a_difference(fake: OpenRouterServer, tmp_path: Path) -> None:
    assert refresh(fake, tmp_path).code == 0
    del fake.video_models["heygen/heygen-video-1"]
    fake.video_models["google/veo-3.1"].entry["supported_durations"] = [4, 6, 8, 12]
    fake.video_models["google/veo-3.1"].entry["seed"] = None
    fake.image_models["bytedance-seed/seedream-5"] = fake.image_models.pop("bytedance-seed/seedream-4.5")
    fake.image_models["bytedance-seed/seedream-5"].id = "bytedance-seed/seedream-5"
    told = refresh(fake, tmp_path)
    lines = told.err.splitlines()
    assert [line for line in lines if line.startswith(("+", "-"))] == [
        "+ openrouter/bytedance-seed/seedream-5",
        "- openrouter/bytedance-seed/seedream-4.5",
        "- openrouter/heygen/heygen-video-1",
    ]
    assert [line for line in lines if line.startswith("~")] == [
        "~ openrouter/google/veo-3.1  generate_video.options.duration.one_of: [4, 6, 8] -> [12, 4, 6, 8]",
        "~ openrouter/google/veo-3.1  generate_video.options.seed.max: 2147483647 -> none",
        "~ openrouter/google/veo-3.1  generate_video.options.seed.min: 0 -> none",
        "~ openrouter/google/veo-3.1  generate_video.options.seed.step: 1 -> none",
    ]
    assert "  note: google/veo-3.1: seed: left open; not offered" in lines
    assert lines[-1].startswith("1 added, 2 removed, 1 changed; listed on ")
    assert told.out.strip() == str(tmp_path / SNAPSHOT)
    again = document(refresh(fake, tmp_path, "--json"))
    assert (again["added"], again["removed"], again["changed"]) == ([], [], [])


def test_fact_missing_in_the_lists_is_noted_and_not_offered(fake: OpenRouterServer, tmp_path: Path) -> None:
    notes = document(refresh(fake, tmp_path, "--json"))["notes"]
    for said in (
        "painter/odd: quality: the list leaves open whether it is taken; not offered",
        "painter/odd: resolution: described as 'lattice', which is not known here; not offered",
        "painter/two-houses: seed: taken by some of its endpoints only; not offered",
        f"{SUNBURST}: output_format: svg cannot be asked for here; not offered",
        "google/veo-3.1: supported_sizes: left open; size is not offered",
        "painter/one-voice: supported_voices: left open; no voice is offered, the provider's own is used",
    ):
        assert said in notes
    rows = {row["id"]: row for row in json.loads((tmp_path / SNAPSHOT).read_text())["models"]}
    assert rows["painter/odd"]["generate_image"].keys() & {"quality", "resolution", "seed"} == {"seed"}
    assert "seed" not in rows["painter/two-houses"]["generate_image"]
    assert rows["painter/two-houses"]["generate_image"]["n"]["max"] == 2  # what both endpoints take


@pytest.mark.parametrize("path", quick_first(["/api/v1/images/models", "/api/v1/videos/models", "/api/v1/models"]))
@pytest.mark.parametrize("kind", quick_first(["garbage", "drop", "status"]))
def test_list_that_cannot_be_fetched_leaves_the_snapshot(fake: OpenRouterServer, tmp_path: Path, path: str, kind: str) -> None:
    assert refresh(fake, tmp_path).code == 0
    kept = (tmp_path / SNAPSHOT).read_bytes()
    more: dict[str, Any] = {"status": 500, "json": {"error": {"code": 500, "message": "oops"}}} if kind == "status" else {}
    fake.fail(kind, on=f"GET {path}", times=None, **more)
    told = refresh(fake, tmp_path)
    assert told.code == 6
    assert "Traceback" not in told.err
    assert (tmp_path / SNAPSHOT).read_bytes() == kept


def test_list_is_asked_for_twice_before_giving_up(fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.fail("drop", on="GET /api/v1/videos/models", times=1)
    assert refresh(fake, tmp_path).code == 0


def test_model_whose_endpoints_cannot_be_read_is_left_out_and_named(fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.fail("status", on=f"GET /api/v1/images/models/{SUNBURST}", times=None, status=404, json={"error": {"code": 404, "message": "no"}})
    told = document(refresh(fake, tmp_path, "--json"))
    assert told["removed"] == [SUNBURST]
    assert any(note.startswith(f"{SUNBURST}: left out") for note in told["notes"])


def test_closed_port_is_reported(tmp_path: Path) -> None:
    told = refresh(f"http://127.0.0.1:{closed_port()}/api/v1", tmp_path)
    assert told.code == 6
    assert "could not be reached" in told.err
    assert not (tmp_path / SNAPSHOT).exists()


def test_hostile_lists_neither_break_nor_steer(fake: OpenRouterServer, tmp_path: Path) -> None:
    good = fake.image_models[SUNBURST]
    good.endpoints[0]["supported_parameters"] |= {"evil\u001b[31m": enum("\u202e", 3), "model": enum("other"), "provider": enum("x")}
    fake.image_models["../../etc/passwd"] = type(good)("../../etc/passwd", good.endpoints)
    fake.video_models["google/veo-3.1"].entry |= {"supported_durations": ["six", -4, True, 8], "pricing_skus": {"second": "free"}}
    told = refresh(fake, tmp_path)
    assert told.code == 0, told.err
    assert "\u001b" not in told.err + told.out
    assert "passwd" not in told.err
    rows = {row["id"]: row for row in json.loads((tmp_path / SNAPSHOT).read_text())["models"]}
    assert rows["google/veo-3.1"]["generate_video"]["duration"] == {"one_of": [8]}
    assert "prices" not in rows["google/veo-3.1"]
    assert rows[SUNBURST]["generate_image"]["extra_params"]["provider"]["type"] == "object"
    assert "model" not in rows[SUNBURST]["generate_image"]["extra_params"]


def test_refresh_without_a_name_updates_every_usable_backend_and_a_name_needs_one_with_lists(
    fake: OpenRouterServer, tmp_path: Path
) -> None:
    assert run_cli(fake, tmp_path, "models", "--refresh").code == 4  # no backend has a key
    assert document(run_cli(fake, tmp_path, "models", "--refresh", "--json", key=KEY))["backend"] == "openrouter"
    local = run_cli(fake, tmp_path, "models", "--refresh", "local")
    assert local.code == 4
    assert "cannot list its models" in local.err
    assert "did you mean 'openrouter'" in run_cli(fake, tmp_path, "models", "--refresh", "openruoter").err


def test_third_party_server_does_not_define_the_plugins_models(fake: OpenRouterServer, tmp_path: Path) -> None:
    told = refresh(fake, tmp_path, service="compatible")
    assert told.code == 2
    assert "is a compatible server" in told.err
    assert fake.received == []


def test_damaged_snapshot_is_reported_and_the_shipped_specs_are_used(fake: OpenRouterServer, tmp_path: Path) -> None:
    shipped = models(fake, tmp_path).keys()
    assert refresh(fake, tmp_path).code == 0
    for spoilt in ('{"schema": 1', "[]", '{"schema": 1, "checked": "2026-11-21", "hosts": ["evil.example"], "models": []}'):
        (tmp_path / SNAPSHOT).write_text(spoilt)
        assert models(fake, tmp_path).keys() == shipped
        plan = run_cli(fake, tmp_path, "plan", "image", "a boat", "-b", "openrouter", "--json", key=KEY)
        assert "cannot be used" in plan.out, plan.err


@pytest.mark.anyio
async def test_snapshot_older_than_30_days_warns_on_every_plan(new_router: NewRouter, snapshot: None, fake: OpenRouterServer) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    for days, stale in ((0, False), (30, False), (31, True), (400, True)):
        async with new_router(today=today + datetime.timedelta(days=days)) as router:
            plan = await router.plan(GenerateImage(prompt="a boat"), backend="openrouter", model="painter/odd")
        assert any(f"{days} days old" in w.text and "--refresh openrouter" in w.text for w in plan.warnings) is stale
    assert fake.received == []
