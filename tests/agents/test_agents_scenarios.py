"""What an agent does with media beyond the original specification (tests/core/test_seed_scenarios.py), over the real SDKs."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents.conftest import half_mask
from agents.worlds import World, all_backends
from wire.media_bytes import image

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]  # a busy machine may take long to render
#: Backend, prefix of its continuation ids, and how it continues a video by default.
FIRST_VIDEO = [
    ("mygpu", "sora_vid_", "remix"),
    ("cloud", "veo_vid_", "extend"),
    ("google", "omni_vid_", "extend"),
    ("grok", "grok_vid_", "extend"),
    ("local", "local_vid_", "extend"),
]
VEO = {"model": "veo-3.1-generate-001"}


def small(backend: str) -> dict[str, Any]:
    """Return a small size for ``local``, which really renders."""
    return {"size": "64x64"} if backend == "local" else {}


@pytest.fixture
async def world(work: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    (work / "photo.png").write_bytes(image(1280, 720, "png"))
    (work / "tall.jpg").write_bytes(image(720, 1280, "jpeg"))
    (work / "mask.png").write_bytes(half_mask(1280, 720))
    (work / "ref.png").write_bytes(image(768, 768, "png"))
    async with all_backends(work, monkeypatch) as made:
        yield made


def succeeded(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["success"], answer
    json.dumps(answer, allow_nan=False)
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for file in answer["files"])
    if answer["operation"] != "generate_audio":
        assert answer["continuation_id"]
    return answer


async def failed(world: World, answer: dict[str, Any], code: str, **fields: Any) -> dict[str, Any]:
    """Return the error, after planning the call with each backend it suggests."""
    assert answer["success"] is False
    error: dict[str, Any] = answer["error"]
    assert error["code"] == code, error
    for name in error["try_backends"]:
        planned = await world.tool.plan({**fields, "backend": name})
        assert planned["success"], (name, planned)
    return error


@pytest.mark.parametrize(("backend", "prefix", "means"), FIRST_VIDEO, ids=[b for b, *_ in FIRST_VIDEO])
async def test_video_continuation_goes_to_the_backend_that_made_it(world: World, backend: str, prefix: str, means: str) -> None:
    named: dict[str, Any] = VEO if backend == "cloud" else small(backend)
    first = succeeded(
        await world.tool.generate(mode="video", prompt="waves", backend=backend, duration=1 if backend == "local" else 4, **named)
    )
    assert first["continuation_id"].startswith(prefix)
    before = world.submits()
    more = succeeded(await world.tool.generate(mode="video", prompt="Make it slow motion", continue_from=first["continuation_id"]))
    assert world.submits() == before + (backend != "local")
    assert (more["backend"], more["operation"]) == (backend, "continue_video")
    assert more["continued_as"] == means
    assert more["continuation_id"].startswith(prefix)
    assert more["continuation_id"] != first["continuation_id"]
    if means == "extend":
        assert more["files"][0]["seconds"] > first["files"][0]["seconds"]


async def test_omni_video_extension_names_the_earlier_interaction(world: World) -> None:
    first = succeeded(await world.tool.generate(mode="video", prompt="waves", backend="google", duration=4))
    succeeded(await world.tool.generate(mode="video", prompt="on it goes", continue_from=first["continuation_id"]))
    before, sent = world.google.interactions.made
    assert sent.body["previous_interaction_id"] == before.id


@pytest.mark.parametrize("backend", ["google", "local"])
async def test_image_to_video_sends_the_image_as_first_frame(world: World, backend: str) -> None:
    inline = {"image_url": "data:image/jpeg;base64," + base64.b64encode(Path("tall.jpg").read_bytes()).decode()}
    named = {"size": "48x64"} if backend == "local" else {}
    for given in ("tall.jpg", {"path": "tall.jpg"}, inline):
        fields = {"input_images": [given], "backend": backend, "duration": 1 if backend == "local" else 4, **named}
        made = succeeded(await world.tool.generate(mode="video", prompt="Animate this", **fields))
        assert made["backend"] == backend
        assert made["files"][0]["mime"] == "video/mp4"
    assert world.submits() == (0 if backend == "local" else 3)
    picture = Path("tall.jpg").read_bytes()
    if backend == "google":
        assert base64.b64decode(world.google.interactions.made[-1].blocks("image")[0]["data"]) == picture


async def test_video_reference_images_are_sent_as_subjects(world: World) -> None:
    for given in (["ref.png", {"path": "photo.png"}], "ref.png"):
        asked = {"mode": "video", "prompt": "they dance", "duration": 8, "backend": "cloud", "video_reference_images": given, **VEO}
        succeeded(await world.tool.generate(asked))
        sent = [base64.b64decode(r["image"]["bytesBase64Encoded"]) for r in world.google.predictions.calls[-1].instance["referenceImages"]]
        assert sent == [Path("ref.png").read_bytes(), Path("photo.png").read_bytes()][: len(sent)]
        assert len(sent) == (2 if isinstance(given, list) else 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"style_image_path": "ref.png", "style_description": "watercolour"},
        {"control_image_path": "ref.png", "control_type": "scribble"},
        {"subject_image_path": "ref.png", "subject_type": "animal", "subject_description": "my cat"},
    ],
    ids=["style", "control", "subject"],
)
async def test_reference_image_by_role_is_sent(world: World, fields: dict[str, Any]) -> None:
    made = succeeded(await world.tool.generate(prompt="a harbour", backend="google", **fields))
    assert (made["backend"], made["operation"]) == ("google", "edit_with_references")
    assert world.submits() == 1


@pytest.mark.parametrize(
    ("backend", "fields"),
    [
        ("google", {"mask_mode": "AUTO"}),
        ("imagen", {"mask_mode": "semantic", "segmentation_classes": [7]}),
    ],
)
async def test_mask_mode_without_a_mask_is_sent(world: World, backend: str, fields: dict[str, Any]) -> None:
    made = succeeded(await world.tool.generate(prompt="a beach", input_images=["photo.png"], backend=backend, **fields))
    assert (made["backend"], made["operation"]) == (backend, "inpaint")
    assert world.submits() == 1


async def test_seed_is_sent_to_gemini(world: World) -> None:
    made = succeeded(await world.tool.generate(prompt="a boat", seed=42, backend="google"))
    assert "seed" not in made["ignored"]
    assert b'"seed": 42' in world.google.billed()[-1].body.replace(b'"seed":42', b'"seed": 42')


async def test_unknown_audio_type_is_refused_with_the_backends_of_each_known_one(world: World) -> None:
    error = await failed(world, await world.tool.generate(mode="audio", prompt="bang", audio_type="sound_effect"), "unsupported_operation")
    assert "speech: " in error["fix"] and "openai" in error["fix"] and "music: " in error["fix"]


async def test_continuation_with_another_backend_named_is_refused(world: World) -> None:
    made = {}
    for backend in ("openai", "google", "grok", "local"):
        made[backend] = succeeded(await world.tool.generate(prompt="a boat", backend=backend, **small(backend)))["continuation_id"]
    before = world.submits()
    for own, continuation_id in made.items():
        for other in world.router.instances:
            if other == own:
                continue
            fields = {"prompt": "at night", "continue_from": continuation_id}
            error = await failed(world, await world.tool.generate(**fields, backend=other), "unsupported_input", **fields)
            assert repr(own) in error["message"]
            assert error["try_backends"] == [own]
    assert world.submits() == before


async def test_every_image_returns_a_new_continuation_id(world: World) -> None:
    for backend in ("openai", "google", "grok", "local"):
        first = succeeded(await world.tool.generate(prompt="a boat", backend=backend, **small(backend)))
        second = succeeded(await world.tool.generate(prompt="at night", continue_from=first["continuation_id"]))
        assert second["backend"] == backend
        assert second["continuation_id"] != first["continuation_id"]


async def test_every_call_in_the_guidance_succeeds(world: World) -> None:
    """The continuation ids of earlier answers are filled in."""
    import re

    from anymedia.agents.prompt import guidance

    calls = [json.loads(found) for found in re.findall(r"^- .*: `(\{.*\})`$", guidance(router=world.router), re.MULTILINE)]
    assert len(calls) >= 12
    earlier = {"ID_OF_AN_IMAGE": "", "ID_OF_A_VIDEO": ""}
    for fields in calls:
        asked = {k: earlier.get(v, v) if isinstance(v, str) else v for k, v in fields.items()}
        made = succeeded(await world.tool.generate(asked))
        if made["operation"] != "generate_audio":
            earlier["ID_OF_A_VIDEO" if fields.get("mode") == "video" else "ID_OF_AN_IMAGE"] = made["continuation_id"]


async def test_guidance_for_all_backends_is_short(world: World) -> None:
    from anymedia.agents.prompt import estimate_tokens, guidance

    named = {n: i for n, i in world.router.instances.items() if n in {"openai", "google", "grok", "openrouter", "local"}}
    assert len(named) == 5 and all(instance.usable for instance in named.values())
    assert estimate_tokens(guidance(instances=named)) < 2500
    assert estimate_tokens(guidance(instances=named, compact=True)) < 800
