"""What an agent does with media, each as one generate_media call over the real SDKs against the wire fakes."""

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
#: Backend, how its handles begin, and what going on with a video means there, the default first.
FIRST_VIDEO = [
    ("mygpu", "sora_vid_", "remix"),
    ("cloud", "veo_vid_", "extend"),
    ("google", "omni_vid_", "extend"),
    ("grok", "grok_vid_", "extend"),
    ("local", "local_vid_", "extend"),
]
VEO = {"model": "veo-3.1-generate-001"}


def small(backend: str) -> dict[str, Any]:
    """The size to ask of ``local``, which renders for real."""
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
    """Check an error, and that whoever it names can really do the call."""
    assert answer["success"] is False
    error: dict[str, Any] = answer["error"]
    assert error["code"] == code, error
    for name in error["try_backends"]:
        planned = await world.tool.plan({**fields, "backend": name})
        assert planned["success"], (name, planned)
    return error


@pytest.mark.parametrize(("backend", "prefix", "means"), FIRST_VIDEO, ids=[b for b, *_ in FIRST_VIDEO])
async def test_a_video_is_continued_where_it_was_made(world: World, backend: str, prefix: str, means: str) -> None:
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


async def test_a_remix_names_the_earlier_job_and_says_only_the_prompt(world: World) -> None:
    first = succeeded(await world.tool.generate(mode="video", prompt="waves", backend="mygpu", duration=4))
    (job,) = world.gpu.videos.jobs
    succeeded(await world.tool.generate(mode="video", prompt="Make it slow motion", continue_from=first["continuation_id"]))
    sent = world.gpu.last("POST")
    assert sent.path == f"/v1/videos/{job}/remix"
    assert json.loads(sent.body) == {"prompt": "Make it slow motion"}


async def test_a_veo_extension_passes_the_stored_video(world: World) -> None:
    first = succeeded(await world.tool.generate(mode="video", prompt="waves", backend="cloud", duration=4, **VEO))
    succeeded(await world.tool.generate(mode="video", prompt="Extend the animation", continue_from=first["continuation_id"]))
    sent = world.google.predictions.calls[-1].instance
    assert base64.b64decode(sent["video"]["bytesBase64Encoded"]) == Path(first["files"][0]["path"]).read_bytes()
    assert sent["prompt"] == "Extend the animation"


async def test_an_omni_extension_names_the_earlier_interaction(world: World) -> None:
    first = succeeded(await world.tool.generate(mode="video", prompt="waves", backend="google", duration=4))
    succeeded(await world.tool.generate(mode="video", prompt="on it goes", continue_from=first["continuation_id"]))
    before, sent = world.google.interactions.made
    assert sent.body["previous_interaction_id"] == before.id


async def test_a_grok_extension_passes_the_earlier_video(world: World) -> None:
    first = succeeded(await world.tool.generate(mode="video", prompt="waves", backend="grok", duration=4))
    succeeded(await world.tool.generate(mode="video", prompt="Continue the scene", continue_from=first["continuation_id"]))
    sent = world.grok.last("ExtendVideo")
    assert sent.video.url.partition("?")[0].removeprefix(world.grok.depot.base + "/out/") in world.grok.depot.made
    assert sent.prompt == "Continue the scene"


@pytest.mark.parametrize("backend", ["mygpu", "cloud", "google", "grok", "local"])
async def test_an_image_becomes_a_video(world: World, backend: str) -> None:
    inline = {"image_url": "data:image/jpeg;base64," + base64.b64encode(Path("tall.jpg").read_bytes()).decode()}
    named: dict[str, Any] = VEO if backend == "cloud" else {"size": "48x64"} if backend == "local" else {}
    for given in ("tall.jpg", {"path": "tall.jpg"}, inline):
        fields = {"input_images": [given], "backend": backend, "duration": 1 if backend == "local" else 4, **named}
        made = succeeded(await world.tool.generate(mode="video", prompt="Animate this", **fields))
        assert made["backend"] == backend
        assert made["files"][0]["mime"] == "video/mp4"
    assert world.submits() == (0 if backend == "local" else 3)
    picture = Path("tall.jpg").read_bytes()
    if backend == "mygpu":
        assert b'name="input_reference"' in world.gpu.last("POST").body
        assert picture in world.gpu.last("POST").body
    elif backend == "cloud":
        assert base64.b64decode(world.google.predictions.calls[-1].instance["image"]["bytesBase64Encoded"]) == picture
    elif backend == "google":
        assert base64.b64decode(world.google.interactions.made[-1].blocks("image")[0]["data"]) == picture
    elif backend == "grok":
        assert base64.b64decode(world.grok.last("GenerateVideo").image.image_url.partition(",")[2]) == picture


async def test_pictures_that_a_video_refers_to_reach_the_backend(world: World) -> None:
    for given in (["ref.png", {"path": "photo.png"}], "ref.png"):
        asked = {"mode": "video", "prompt": "they dance", "duration": 8, "backend": "cloud", "video_reference_images": given, **VEO}
        succeeded(await world.tool.generate(asked))
        sent = [base64.b64decode(r["image"]["bytesBase64Encoded"]) for r in world.google.predictions.calls[-1].instance["referenceImages"]]
        assert sent == [Path("ref.png").read_bytes(), Path("photo.png").read_bytes()][: len(sent)]
        assert len(sent) == (2 if isinstance(given, list) else 1)


async def test_inpainting_by_a_mask_reaches_the_edit_endpoint(world: World) -> None:
    made = succeeded(
        await world.tool.generate(
            mode="image", mask_path="mask.png", input_images=["photo.png"], prompt="Replace the sky", backend="openai"
        )
    )
    assert made["operation"] == "inpaint"
    assert world.openai.last("POST").path == "/v1/images/edits"
    assert b'name="mask"' in world.openai.last("POST").body


async def test_inpainting_takes_a_transparent_background(world: World) -> None:
    succeeded(
        await world.tool.generate(
            mask_path="mask.png", input_images=["photo.png"], prompt="a cup", background="transparent", backend="openai"
        )
    )
    assert b'name="background"\r\n\r\ntransparent' in world.openai.last("POST").body


async def test_a_backend_without_masks_says_so_and_names_who_takes_them(world: World) -> None:
    fields = {"prompt": "Replace the sky", "mask_path": "mask.png", "input_images": ["photo.png"]}
    error = await failed(world, await world.tool.generate(**fields, backend="grok"), "unsupported_operation", **fields)
    assert {"openai", "local"} <= set(error["try_backends"])
    assert "grok" in error["message"]
    assert world.submits() == 0


@pytest.mark.parametrize("backend", ["google", "imagen"])
@pytest.mark.parametrize(
    "fields",
    [
        {"style_image_path": "ref.png", "style_description": "watercolour"},
        {"control_image_path": "ref.png", "control_type": "scribble"},
        {"subject_image_path": "ref.png", "subject_type": "animal", "subject_description": "my cat"},
    ],
    ids=["style", "control", "subject"],
)
async def test_a_picture_with_a_part_to_play_reaches_the_backend(world: World, backend: str, fields: dict[str, Any]) -> None:
    made = succeeded(await world.tool.generate(prompt="a harbour", backend=backend, **fields))
    assert (made["backend"], made["operation"]) == (backend, "edit_with_references")
    assert world.submits() == 1


@pytest.mark.parametrize(
    ("backend", "fields"),
    [
        ("google", {"mask_mode": "AUTO"}),
        ("imagen", {"mask_mode": "AUTO"}),
        ("imagen", {"mask_mode": "semantic", "segmentation_classes": [7]}),
    ],
)
async def test_the_backend_finds_the_region_itself(world: World, backend: str, fields: dict[str, Any]) -> None:
    made = succeeded(await world.tool.generate(prompt="a beach", input_images=["photo.png"], backend=backend, **fields))
    assert (made["backend"], made["operation"]) == (backend, "inpaint")
    assert world.submits() == 1


async def test_a_negative_prompt_is_forwarded_where_it_is_taken(world: World) -> None:
    made = succeeded(await world.tool.generate(prompt="a boat", negative_prompt="blurry, low quality", backend="imagen"))
    assert made["ignored"] == []
    assert b"blurry, low quality" in world.imagen.billed()[-1].body


async def test_a_negative_prompt_is_reported_as_ignored_where_it_is_not(world: World) -> None:
    made = succeeded(await world.tool.generate(prompt="a boat", negative_prompt="blurry", backend="openai"))
    assert made["ignored"] == ["negative_prompt"]
    assert b"blurry" not in world.openai.last("POST").body


@pytest.mark.parametrize("backend", ["google", "imagen"])
async def test_a_seed_reaches_the_backend(world: World, backend: str) -> None:
    made = succeeded(await world.tool.generate(prompt="a boat", seed=42, backend=backend))
    assert "seed" not in made["ignored"]
    assert b'"seed": 42' in getattr(world, backend).billed()[-1].body.replace(b'"seed":42', b'"seed": 42')


async def test_an_unknown_continuation_id_is_a_clear_error(world: World) -> None:
    for fields in ({"mode": "video"}, {"mode": "image"}, {}):
        error = await failed(
            world, await world.tool.generate(prompt="on", continue_from="sora_vid_doesnotexist", **fields), "unknown_continuation"
        )
        assert "sora_vid_doesnotexist" in error["message"]
    assert world.submits() == 0


async def test_sound_cannot_be_continued(world: World) -> None:
    error = await failed(
        world, await world.tool.generate(mode="audio", prompt="on", continue_from="local_vid_0123456789ab"), "invalid_request"
    )
    assert "audio cannot be continued" in error["message"]
    assert world.submits() == 0


async def test_a_kind_of_sound_nobody_makes_is_refused_naming_who_makes_what(world: World) -> None:
    error = await failed(world, await world.tool.generate(mode="audio", prompt="bang", audio_type="sound_effect"), "unsupported_operation")
    assert "speech: " in error["fix"] and "openai" in error["fix"] and "music: " in error["fix"]


async def test_no_continuation_is_sent_to_another_backend_whatever_is_asked(world: World) -> None:
    made = {}
    for backend in ("openai", "google", "grok", "local"):
        made[backend] = succeeded(await world.tool.generate(prompt="a boat", backend=backend, **small(backend)))["continuation_id"]
    before = world.submits()
    for home, handle in made.items():
        for other in world.router.instances:
            if other == home:
                continue
            fields = {"prompt": "at night", "continue_from": handle}
            error = await failed(world, await world.tool.generate(**fields, backend=other), "unsupported_input", **fields)
            assert repr(home) in error["message"]
            assert error["try_backends"] == [home]
    assert world.submits() == before


async def test_every_image_and_video_gives_a_new_handle(world: World) -> None:
    for backend in ("openai", "google", "grok", "local"):
        first = succeeded(await world.tool.generate(prompt="a boat", backend=backend, **small(backend)))
        second = succeeded(await world.tool.generate(prompt="at night", continue_from=first["continuation_id"]))
        assert second["backend"] == backend
        assert second["continuation_id"] != first["continuation_id"]


async def test_the_examples_of_the_guidance_work(world: World) -> None:
    """Every call in the guidance is carried out, with the ids of earlier answers put in."""
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


async def test_the_guidance_for_all_backends_is_short(world: World) -> None:
    from anymedia.agents.prompt import estimate_tokens, guidance

    named = {n: i for n, i in world.router.instances.items() if n in {"openai", "google", "grok", "openrouter", "local"}}
    assert len(named) == 5 and all(instance.usable for instance in named.values())
    assert estimate_tokens(guidance(instances=named)) < 2500
    assert estimate_tokens(guidance(instances=named, compact=True)) < 800
