"""The scenarios of the original specification, under their own names, as `generate_media` calls over the real SDKs.

The servers on the loopback speak the providers' protocols. Sora's models were shut down by their provider on 2026-09-24, so the
backend ``mygpu`` is a compatible server; ``cloud`` is Google's Agent Platform with Veo, ``imagen`` a server with Imagen.
"""

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

from anymedia.agents import generate_media, guidance

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
VEO = {"backend": "cloud", "model": "veo-3.1-generate-001"}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "photo.png").write_bytes(image(1280, 720, "png"))
    (work / "tall.jpg").write_bytes(image(720, 1280, "jpeg"))
    (work / "mask.png").write_bytes(half_mask(1280, 720))
    (work / "ref.png").write_bytes(image(768, 768, "png"))
    async with all_backends(work, monkeypatch) as made:
        yield made


async def made(world: World, **fields: Any) -> dict[str, Any]:
    """Return the answer to a call that must succeed with files and, except for audio, a continuation id."""
    answer = await generate_media(router=world.router, **fields)
    assert answer["success"], answer
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for file in answer["files"])
    assert answer["continuation_id"]
    return answer


async def refused(world: World, code: str, **fields: Any) -> dict[str, Any]:
    """Return the error of a call that must be refused before anything is sent."""
    before = world.submits()
    answer = await generate_media(router=world.router, **fields)
    assert (answer["success"], world.submits()) == (False, before)
    assert answer["error"]["code"] == code, answer
    error: dict[str, Any] = answer["error"]
    return error


def sent_to_imagen(world: World) -> dict[str, Any]:
    """Return the body of the last billed request to the Imagen server."""
    body: dict[str, Any] = json.loads(world.imagen.billed()[-1].body)
    return body


def reference_images(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent_to_imagen(world)["instances"][0]["referenceImages"]
    return found


async def test_sora_video_remix(world: World) -> None:
    first = await made(world, mode="video", prompt="waves", backend="mygpu", duration=4)
    (job,) = world.gpu.videos.jobs
    more = await made(world, mode="video", continue_from=first["continuation_id"], prompt="Make it slow motion")
    sent = world.gpu.last("POST")
    assert (sent.path, json.loads(sent.body)) == (f"/v1/videos/{job}/remix", {"prompt": "Make it slow motion"})
    assert more["continued_as"] == "remix"
    assert more["continuation_id"].startswith("sora_vid_")
    assert more["continuation_id"] != first["continuation_id"]


async def test_grok_video_extension(world: World) -> None:
    first = await made(world, mode="video", prompt="waves", backend="grok", duration=4)
    more = await made(world, mode="video", continue_from=first["continuation_id"], prompt="Continue the scene")
    sent = world.grok.last("ExtendVideo")
    assert sent.video.url.partition("?")[0].removeprefix(world.grok.depot.base + "/out/") in world.grok.depot.made
    assert sent.prompt == "Continue the scene"
    assert more["continuation_id"].startswith("grok_vid_")


async def test_veo_video_extension(world: World) -> None:
    first = await made(world, mode="video", prompt="waves", duration=4, **VEO)
    more = await made(world, mode="video", continue_from=first["continuation_id"], prompt="Extend the animation")
    sent = world.google.predictions.calls[-1].instance
    assert base64.b64decode(sent["video"]["bytesBase64Encoded"]) == Path(first["files"][0]["path"]).read_bytes()
    assert sent["prompt"] == "Extend the animation"
    assert more["continuation_id"].startswith("veo_vid_")


async def test_invalid_continuation_id(world: World) -> None:
    for fields in ({"mode": "video"}, {"mode": "image"}, {}):
        error = await refused(world, "unknown_continuation", prompt="on", continue_from="sora_vid_doesnotexist", **fields)
        assert "sora_vid_doesnotexist" in error["message"]


async def test_audio_continuation_blocked(world: World) -> None:
    error = await refused(world, "invalid_request", mode="audio", prompt="on", continue_from="local_vid_0123456789ab")
    assert error["message"].startswith("$.continue_from: audio cannot be continued")


async def test_sora_image_to_video(world: World) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(Path("tall.jpg").read_bytes()).decode()
    await made(world, mode="video", input_images=[{"image_url": url}], prompt="Animate this", backend="mygpu", duration=4)
    body = world.gpu.last("POST").body
    assert b'name="input_reference"' in body and Path("tall.jpg").read_bytes() in body


async def test_veo_image_to_video(world: World) -> None:
    await made(world, mode="video", input_images=["tall.jpg"], prompt="Animate this", duration=4, **VEO)
    sent = world.google.predictions.calls[-1].instance
    assert base64.b64decode(sent["image"]["bytesBase64Encoded"]) == Path("tall.jpg").read_bytes()


async def test_grok_image_to_video(world: World) -> None:
    await made(world, mode="video", input_images=[{"path": "tall.jpg"}], prompt="Animate this", backend="grok", duration=4)
    sent = world.grok.last("GenerateVideo").image.image_url
    assert base64.b64decode(sent.partition(",")[2]) == Path("tall.jpg").read_bytes()


async def test_openai_mask_based_inpainting(world: World) -> None:
    answer = await made(world, mode="image", mask_path="mask.png", input_images=["photo.png"], prompt="Replace the sky", backend="openai")
    sent = world.openai.last("POST")
    assert (answer["operation"], sent.path) == ("inpaint", "/v1/images/edits")
    assert b'name="mask"' in sent.body and b"Replace the sky" in sent.body


async def test_inpainting_with_background_control(world: World) -> None:
    await made(world, mask_path="mask.png", input_images=["photo.png"], prompt="a cup", background="transparent", backend="openai")
    assert b'name="background"\r\n\r\ntransparent' in world.openai.last("POST").body


async def test_unsupported_backend_for_inpainting(world: World) -> None:
    fields = {"prompt": "Replace the sky", "mask_path": "mask.png", "input_images": ["photo.png"]}
    error = await refused(world, "unsupported_operation", **fields, backend="grok")
    assert "grok" in error["message"]
    assert {"openai", "local"} <= set(error["try_backends"])


async def test_style_transfer(world: World) -> None:
    await made(world, prompt="a harbour", style_image_path="ref.png", style_description="watercolour", backend="imagen")
    (sent,) = reference_images(world)
    assert sent["referenceType"] == "REFERENCE_TYPE_STYLE"
    assert sent["styleImageConfig"] == {"style_description": "watercolour"}


@pytest.mark.parametrize(("control_type", "sent_as"), [("scribble", "CONTROL_TYPE_SCRIBBLE"), ("CONTROL_TYPE_CANNY", "CONTROL_TYPE_CANNY")])
async def test_structural_control(world: World, control_type: str, sent_as: str) -> None:
    await made(world, prompt="a harbour", control_image_path="ref.png", control_type=control_type, backend="imagen")
    (sent,) = reference_images(world)
    assert sent["referenceType"] == "REFERENCE_TYPE_CONTROL"
    assert sent["controlImageConfig"]["controlType"] == sent_as


@pytest.mark.parametrize("subject_type", ["animal", "SUBJECT_TYPE_ANIMAL"])
async def test_subject_consistency(world: World, subject_type: str) -> None:
    fields = {"subject_image_path": "ref.png", "subject_type": subject_type, "subject_description": "my cat"}
    await made(world, prompt="a harbour", backend="imagen", **fields)
    (sent,) = reference_images(world)
    assert sent["referenceType"] == "REFERENCE_TYPE_SUBJECT"
    assert sent["subjectImageConfig"] == {"subject_type": "SUBJECT_TYPE_ANIMAL", "subject_description": "my cat"}


@pytest.mark.parametrize("mask_mode", ["AUTO", "MASK_MODE_FOREGROUND"])
async def test_semantic_mask_inpainting(world: World, mask_mode: str) -> None:
    answer = await made(world, prompt="a beach", input_images=["photo.png"], mask_mode=mask_mode, backend="imagen")
    assert answer["operation"] == "inpaint"
    (mask,) = [sent for sent in reference_images(world) if sent["referenceType"] == "REFERENCE_TYPE_MASK"]
    assert mask["maskImageConfig"]["maskMode"] == "MASK_MODE_FOREGROUND"


async def test_negative_prompt_forwarded_to_google(world: World) -> None:
    answer = await made(world, prompt="a boat", negative_prompt="blurry, low quality", backend="imagen")
    assert sent_to_imagen(world)["parameters"]["negativePrompt"] == "blurry, low quality"
    assert answer["ignored"] == []


async def test_unsupported_parameter_silently_ignored(world: World) -> None:
    """It is ignored, but not silently: the answer says so."""
    answer = await made(world, prompt="a boat", negative_prompt="blurry", backend="openai")
    assert answer["ignored"] == ["negative_prompt"]
    assert b"blurry" not in world.openai.last("POST").body


async def test_seed_reproducibility(world: World) -> None:
    answer = await made(world, prompt="a boat", seed=42, backend="imagen")
    assert sent_to_imagen(world)["parameters"]["seed"] == 42
    assert "seed" not in answer["ignored"]


async def test_agent_receives_editing_guidance(world: World) -> None:
    text = guidance(router=world.router)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table and all(name in text for name in ("openai", "google", "grok", "local"))
    for feature in ("continue_from", "input_images", "mask_path", "style_image_path", "control_image_path", "subject_image_path"):
        assert any(feature in line for line in text.splitlines()), feature
