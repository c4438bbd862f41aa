"""`anymedia models --refresh fal`: what it reads and adds, and that what it adds runs, tasks included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from wire.fal_models import ENDPOINTS
from wire.fal_server import KEY, FalServer
from wire.openrouter_snapshot import Told, run_cli

from anymedia.media import Image
from anymedia.router import Router
from anymedia.testing import picture
from fal_media import plugin
from fal_media.listing import _model

UPSCALER, LANDSCAPE = "fal-ai/painter/upscaler", "fal-ai/painter/landscape"
SHIPPED = {"fal-ai/flux-2-pro", "fal-ai/veo3.1", "fal-ai/kling-video/v3/pro/text-to-video", "fal-ai/esrgan"}


def call(fake: FalServer, folder: Path, *words: str) -> Told:
    return run_cli(fake.url, folder, *words, key=KEY, backend="fal")


def document(told: Told) -> dict[str, Any]:
    assert told.code == 0, told.err
    found: dict[str, Any] = json.loads(told.out)
    return found


def refreshed(fake: FalServer, folder: Path) -> dict[str, Any]:
    return document(call(fake, folder, "models", "--refresh", "fal", "--json"))


def test_catalogue_is_read_page_by_page_and_adds_what_is_not_shipped(fake: FalServer, tmp_path: Path) -> None:
    found = refreshed(fake, tmp_path)
    assert {UPSCALER, LANDSCAPE} <= set(found["added"])
    assert found["removed"] == []
    assert not SHIPPED & set(found["added"])
    pages = [r.query.get("cursor") for r in fake.received]
    assert pages == [None, *(str(start) for start in range(10, len(ENDPOINTS), 10))]
    rows = {row["id"]: row for row in json.loads(Path(found["path"]).read_text())["models"]}
    assert rows[UPSCALER]["transform"].keys() == {"run", "upscale"}
    assert "sync_mode" not in json.dumps(rows)


@pytest.mark.anyio
async def test_listed_task_runs(new_router: Callable[[], Router], fake: FalServer, tmp_path: Path) -> None:
    refreshed(fake, tmp_path)
    async with new_router() as router:
        image = Image(data=picture(32, 32))
        made = await router.transform("upscale", inputs={"image": image}, options={"scale": 3}, model=f"fal/{UPSCALER}")
    (sent,) = fake.requests.values()
    assert (sent.endpoint, sent.body["upscale_factor"], sent.files["image_url"]) == (UPSCALER, 3, [picture(32, 32)])
    assert (made.files[0].width, made.files[0].height) == (96, 96)


@pytest.mark.anyio
async def test_listed_model_runs_by_its_own_fields(new_router: Callable[[], Router], fake: FalServer, tmp_path: Path) -> None:
    refreshed(fake, tmp_path)
    async with new_router() as router:
        made = await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "hills", "season": "winter"})
    (sent,) = fake.requests.values()
    assert (sent.endpoint, sent.body) == (LANDSCAPE, {"prompt": "hills", "season": "winter"})
    assert made.files


def test_named_endpoints_are_read_beside_the_shipped_ones(fake: FalServer, tmp_path: Path) -> None:
    settings = f'options = {{ endpoints = ["{LANDSCAPE}"] }}\n'
    told = run_cli(fake.url, tmp_path, "models", "--refresh", "fal", "--json", key=KEY, backend="fal", settings=settings)
    found = document(told)
    assert (found["added"], found["removed"]) == ([LANDSCAPE], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"category": "image-to-3d"}, "nothing is known about results of image-to-3d"),
        ({"fields": {}}, ""),
    ],
    ids=["unknown results", "no fields"],
)
def test_model_that_cannot_be_described_is_noted_or_empty(fake: FalServer, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    fake.endpoints["fal-ai/painter/odd"] = attrs.evolve(ENDPOINTS[LANDSCAPE], **change)
    found = refreshed(fake, tmp_path)
    assert any(said in note for note in found["notes"]) is bool(said)
    assert ("fal-ai/painter/odd" in found["added"]) is not bool(said)


@pytest.mark.parametrize(
    "odd", [None, [], 1, {"schemas": None}, {"schemas": {"A": None, "B": {"properties": [1]}, "C": {"properties": {"x": 1}}}}]
)
def test_entry_of_any_shape_is_left_out_and_costs_no_other(odd: Any) -> None:
    shipped = plugin.capabilities()
    for entry in ({"openapi": {"openapi": "3", "components": odd}}, {"openapi": odd}, {"metadata": odd}):
        model = _model({"endpoint_id": "a/b", "metadata": {"category": "text-to-image"}, **entry}, shipped)
        assert not model.row
        assert model.notes[0].startswith("a/b: left out")


@pytest.mark.parametrize("kind", ["garbage", "drop", "status"])
def test_catalogue_that_cannot_be_read_leaves_the_snapshot(fake: FalServer, tmp_path: Path, kind: Any) -> None:
    path = Path(refreshed(fake, tmp_path)["path"])
    kept = path.read_bytes()
    fake.fail(kind, on="GET /v1/models", times=None)
    told = call(fake, tmp_path, "models", "--refresh", "fal")
    assert told.code == 6
    assert "Traceback" not in told.err
    assert path.read_bytes() == kept
