"""Models that are neither shipped nor listed: read when a caller names them, from the catalogue, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from wire.fal_models import ENDPOINTS, Endpoint
from wire.fal_server import KEY, FalServer
from wire.openrouter_snapshot import Told, run_cli

from anymedia.agents import MediaTool
from anymedia.errors import BudgetExceeded, MediaError, NoBackendAvailable, UnknownModel, UnsupportedOperation
from anymedia.policy import Budget, Policy
from anymedia.requests import EditWithReferences, GenerateImage, GenerateVideo, Reference
from anymedia.router import Router
from anymedia.testing import picture

pytestmark = pytest.mark.anyio
LANDSCAPE, UPSCALER, ODD = "fal-ai/painter/landscape", "fal-ai/painter/upscaler", "fal-ai/painter/odd"
IMAGE = {"type": "string", "_fal_ui_field": "image"}


def call(fake: FalServer, folder: Path, *words: str, settings: str = "", key: str | None = KEY) -> Told:
    return run_cli(fake.url, folder, *words, key=key, backend="fal", settings=settings)


def reads(fake: FalServer) -> int:
    return fake.count("GET /v1/models")


async def test_unlisted_model_is_read_once_and_runs(new_router: Callable[[], Router], fake: FalServer) -> None:
    for _ in range(2):  # the second router has it from the cache
        async with new_router() as router:
            for _ in range(2):
                made = await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "hills", "season": "winter"})
                assert made.files
            assert LANDSCAPE in [model.model for model in router.models()]
    assert reads(fake) == 1
    assert [(r.endpoint, r.body) for r in fake.requests.values()] == [(LANDSCAPE, {"prompt": "hills", "season": "winter"})] * 4
    (asked,) = [r.query for r in fake.received if r.line == "GET /v1/models"]
    assert asked["endpoint_id"] == LANDSCAPE


async def test_unlisted_model_does_a_task_and_another_instance_is_not_changed(new_router: Callable[[], Router], fake: FalServer) -> None:
    async with new_router() as router:
        made = await router.transform("upscale", inputs={"image": picture(32, 32)}, options={"scale": 3}, model=f"fal/{UPSCALER}")
        assert (made.files[0].width, made.files[0].height) == (96, 96)
        with pytest.raises(UnknownModel):
            await router.plan(GenerateImage(prompt="x"), model=f"local/{LANDSCAPE}")
    assert reads(fake) == 1


FLUX = {
    "prompt": {"type": "string"},
    "image_size": {
        "anyOf": [{"$ref": "#/components/schemas/ImageSize"}, {"type": "string", "enum": ["square", "landscape_4_3"]}],
        "default": "square",
    },
    "num_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "output_format": {"type": "string", "enum": ["jpeg", "png"]},
    "season": {"type": "string", "enum": ["summer", "winter"]},
    "aspect_ratio": {"type": "string", "enum": ["wide", "tall"]},
}


async def test_text_to_image_model_generates_images_under_our_names(new_router: Callable[[], Router], fake: FalServer) -> None:
    fake.endpoints[ODD] = Endpoint(category="text-to-image", makes="images", fields=FLUX)
    extra = {"season": "winter", "aspect_ratio": "tall"}
    request = GenerateImage(prompt="hills", n=2, size="1024x768", seed=7, output_format="png", extra_params=extra)
    async with new_router() as router:
        made = await router.execute(request, model=f"fal/{ODD}")
    (sent,) = fake.requests.values()
    body = {"prompt": "hills", "num_images": 2, "image_size": "landscape_4_3", "seed": 7, "output_format": "png", **extra}
    assert (sent.endpoint, sent.body) == (ODD, body)
    assert len(made.files) == 2


@pytest.mark.parametrize("name", ["image_url", "image_urls"])
async def test_image_to_image_model_edits_its_source(new_router: Callable[[], Router], fake: FalServer, name: str) -> None:
    field = IMAGE if name == "image_url" else {"type": "array", "items": IMAGE}
    fields = {"prompt": {"type": "string"}, name: field}
    fake.endpoints[ODD] = Endpoint(category="image-to-image", makes="image", fields=fields, needs=("prompt", name))
    if name == "image_urls":
        fake.endpoints[ODD] = attrs.evolve(fake.endpoints[ODD], makes="images")
    async with new_router() as router:
        request = EditWithReferences(prompt="winter", references=[Reference(image=picture(32, 32), role="source")])
        await router.execute(request, model=f"fal/{ODD}")
    (sent,) = fake.requests.values()
    assert sent.files[name] == [picture(32, 32)]
    assert isinstance(sent.body[name], list) is (name == "image_urls")


@pytest.mark.parametrize(("values", "sent_as"), [(["4s", "8s"], "8s"), (["4", "8"], "8"), ([4, 8], 8)], ids=["units", "texts", "numbers"])
async def test_image_to_video_model_starts_from_a_frame(
    new_router: Callable[[], Router], fake: FalServer, values: list[Any], sent_as: Any
) -> None:
    kind = "string" if isinstance(values[0], str) else "integer"
    fields = {"prompt": {"type": "string"}, "image_url": IMAGE, "duration": {"type": kind, "enum": values, "default": values[0]}}
    fake.endpoints[ODD] = Endpoint(category="image-to-video", makes="video", fields=fields, needs=("prompt", "image_url"))
    async with new_router() as router:
        made = await router.execute(GenerateVideo(prompt="waves", duration=8, first_frame=picture(32, 32)), model=f"fal/{ODD}")
    (sent,) = fake.requests.values()
    assert (sent.files["image_url"], sent.body["duration"]) == ([picture(32, 32)], sent_as)
    assert made.files[0].seconds == pytest.approx(8, abs=0.2)


async def test_unlisted_model_without_a_price_needs_max_cost_where_a_cap_is_set(new_router: Callable[[], Router], fake: FalServer) -> None:
    capped = Policy(budget=Budget(per_request=0.5))
    async with new_router() as router:
        with pytest.raises(BudgetExceeded):
            await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "hills"}, policy=capped)
        with pytest.raises(BudgetExceeded):
            await router.execute(GenerateImage(prompt="hills"), model=f"fal/{LANDSCAPE}", policy=capped)
        assert fake.submits() == 0
        await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "hills"}, policy=capped, max_cost=0.2)
    assert fake.submits() == 1


@pytest.mark.parametrize("status", [200, 404])
async def test_model_that_the_catalogue_does_not_have_is_unknown_with_a_suggestion(
    new_router: Callable[[], Router], fake: FalServer, status: int
) -> None:
    if status == 404:
        fake.fail("status", on="GET /v1/models", times=None, status=404, json={"detail": "Model not found"})
    async with new_router() as router:
        with pytest.raises(UnknownModel, match="its provider does not list it; did you mean 'fal-ai/flux/schnell'") as unknown:
            await router.run_model("fal/fal-ai/flux/schnel", {"prompt": "x"})
    assert unknown.value.charged == "no"
    assert fake.submits() == 0


@pytest.mark.parametrize("name", ["../queue", "fal-ai/../x", "a?status=x", "a b", "a\nb", "-x", "x" * 300, "a&b=c", "a#b"])
async def test_name_that_cannot_be_an_id_is_not_sent(new_router: Callable[[], Router], fake: FalServer, name: str) -> None:
    async with new_router() as router:
        with pytest.raises(UnknownModel):
            await router.run_model(f"fal/{name}", {"prompt": "x"})
    assert fake.received == []


@pytest.mark.parametrize("kind", ["garbage", "drop", "status"])
async def test_catalogue_that_does_not_answer_is_an_error_and_nothing_is_spent(
    new_router: Callable[[], Router], fake: FalServer, kind: Any
) -> None:
    fake.fail(kind, on="GET /v1/models", times=None)
    async with new_router() as router:
        with pytest.raises(MediaError) as failed:
            await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "x"})
        assert (failed.value.charged, fake.submits()) == ("no", 0)
        fake.faults.clear()
        await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "x"})


async def test_model_that_cannot_be_described_says_why(new_router: Callable[[], Router], fake: FalServer) -> None:
    fake.endpoints[ODD] = attrs.evolve(ENDPOINTS[LANDSCAPE], category="image-to-3d")
    async with new_router() as router:
        with pytest.raises(UnsupportedOperation, match="nothing is known about results of image-to-3d"):
            await router.run_model(f"fal/{ODD}", {"prompt": "x"})
    assert fake.submits() == 0


async def test_model_is_not_read_without_a_key(new_router: Callable[[], Router], fake: FalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAL_KEY")
    async with new_router() as router:
        with pytest.raises(NoBackendAvailable, match="FAL_KEY"):
            await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "x"})
    assert fake.received == []


async def test_model_of_an_unfinished_job_is_read_again_where_the_cache_is_gone(
    new_router: Callable[[], Router], fake: FalServer, tmp_path: Path
) -> None:
    fields = {"prompt": {"type": "string"}, "duration": {"type": "string", "enum": ["4s"], "default": "4s"}}
    fake.endpoints[ODD] = Endpoint(category="text-to-video", makes="video", fields=fields)
    fake.waits = 1_000_000
    async with new_router() as router:
        call = await router.submit(GenerateVideo(prompt="waves"), model=f"fal/{ODD}")
    (tmp_path / "cache/capabilities/on-demand/fal.json").unlink()
    fake.waits = 0
    async with new_router() as router:
        made = await router.resume(call.id)
    assert made.path.suffix == ".mp4"
    assert reads(fake) == 2


async def test_agent_runs_an_unlisted_model_and_no_option_may_be_a_path(
    new_router: Callable[[], Router], fake: FalServer, tmp_path: Path
) -> None:
    async with new_router() as router:
        tool = MediaTool(router, roots=[tmp_path], base=tmp_path)
        asked: dict[str, Any] = {"task": "run", "model": f"fal/{LANDSCAPE}", "prompt": "hills"}
        refused = await tool.generate({**asked, "extra_params": {"season": "/etc/passwd"}})
        outside = await tool.generate(task="run", model=f"fal/{UPSCALER}", task_inputs={"image_url": "/etc/passwd"})
        assert [answer["success"] for answer in (refused, outside)] == [False, False]
        assert (reads(fake), fake.submits()) == (0, 0)
        answer = await tool.generate({**asked, "extra_params": {"season": "winter"}})
    assert answer["success"], answer
    assert fake.submits() == 1


def test_command_line_runs_an_unlisted_model(fake: FalServer, tmp_path: Path) -> None:
    told = call(fake, tmp_path, "run", f"fal/{LANDSCAPE}", "prompt=hills", "season=winter", "--json", "--no-wait")
    assert told.code == 0, told.err
    told = call(fake, tmp_path, "image", "hills", "-m", f"fal/{LANDSCAPE}", "--json", "--no-wait")
    assert told.code == 0, told.err
    assert [r.body for r in fake.requests.values()] == [{"prompt": "hills", "season": "winter"}, {"prompt": "hills"}]
    assert reads(fake) == 1
    assert LANDSCAPE in call(fake, tmp_path, "models", "fal").out


def test_command_line_plans_an_unlisted_model_and_spends_nothing(fake: FalServer, tmp_path: Path) -> None:
    for words in (("plan", "image", "hills", "-m", f"fal/{LANDSCAPE}"), ("plan", "run", f"fal/{UPSCALER}", "image_url=x.png")):
        (tmp_path / "x.png").write_bytes(picture(32, 32))
        told = call(fake, tmp_path, *words, "--json")
        assert told.code == 0, told.err
    assert fake.submits() == 0


def test_refresh_replaces_what_was_read_on_demand(fake: FalServer, tmp_path: Path) -> None:
    call(fake, tmp_path, "plan", "run", f"fal/{LANDSCAPE}", "prompt=x")
    fake.endpoints[LANDSCAPE] = attrs.evolve(ENDPOINTS[LANDSCAPE], fields={"prompt": {"type": "string"}})
    told = call(fake, tmp_path, "models", "--refresh", "fal", "--json")
    changed = json.loads(told.out)["changed"]
    assert {change["model"] for change in changed} == {LANDSCAPE}
    assert call(fake, tmp_path, "plan", "run", f"fal/{LANDSCAPE}", "prompt=x", "season=winter").code != 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": 1}', '{"schema": 1, "models": [{"id": "x"}]}'])
async def test_damaged_file_of_models_is_replaced(new_router: Callable[[], Router], fake: FalServer, tmp_path: Path, text: str) -> None:
    path = tmp_path / "cache/capabilities/on-demand/fal.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    async with new_router() as router:
        await router.run_model(f"fal/{LANDSCAPE}", {"prompt": "x"})
    assert [row["id"] for row in json.loads(path.read_text())["models"]][-1] == LANDSCAPE
