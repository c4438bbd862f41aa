"""The flat requests of an agent, as JSON, down to the call they become."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from wire.grok_server import GrokServer
from wire.media_bytes import image

from anymedia.errors import InvalidRequest, UnknownContinuation, UnsupportedInput, UnsupportedOperation
from anymedia.generation_config import GenerationConfig
from anymedia.results import Result
from anymedia.router import Router

pytestmark = pytest.mark.anyio


async def ask(router: Router, tmp_path: Path, **given: Any) -> Result:
    config = GenerationConfig.from_json({"output_path": f"{tmp_path}/", **given})
    return await router.execute(config.to_request(), backend=config.backend, model=config.model, output=config.output_path)


async def test_input_image_for_a_video_is_its_first_frame(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    frame.write_bytes(image(128, 72))
    result = await ask(router, tmp_path, prompt="it moves", media_type="video", duration=2, backend="grok", input_image_paths=[str(frame)])
    sent = fake.last("GenerateVideo")
    assert base64.b64decode(sent.image.image_url.partition(",")[2]) == frame.read_bytes()
    assert result.operation == "generate_video"


async def test_continuing_a_video_extends_it_by_its_stored_url(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first = await ask(router, tmp_path, prompt="waves", media_type="video", duration=2, backend="grok")
    result = await ask(router, tmp_path, prompt="go on", media_type="video", continue_from=first.continuation_id)
    assert fake.last("ExtendVideo").video.url.partition("?")[0].removeprefix(fake.depot.base + "/out/") in fake.depot.made
    assert result.to_json()["continued_as"] == "extend"
    assert result.to_json()["model"] == "grok-imagine-video"


async def test_continuing_an_image_with_another_picture_needs_no_mask_and_loses_nothing(
    router: Router, fake: GrokServer, tmp_path: Path
) -> None:
    first = await ask(router, tmp_path, prompt="a fox", backend="grok")
    hat = tmp_path / "hat.png"
    hat.write_bytes(image(64, 64, tint=5))
    await ask(router, tmp_path, prompt="with that hat", continue_from=first.continuation_id, input_image_paths=[str(hat)])
    sent = [base64.b64decode(content.image_url.partition(",")[2]) for content in fake.last("GenerateImage").images]
    assert sent == [hat.read_bytes(), first.path.read_bytes()]


async def test_mask_for_grok_is_refused_and_nothing_is_sent(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    for name, alpha in (("room.png", False), ("mask.png", True)):
        (tmp_path / name).write_bytes(image(64, 64, alpha=alpha))
    with pytest.raises((UnsupportedInput, UnsupportedOperation)) as caught:
        await ask(
            router, tmp_path, prompt="a lamp", backend="grok", mask_path=str(tmp_path / "mask.png"),
            input_image_paths=[str(tmp_path / "room.png")],
        )  # fmt: skip
    assert "local" in caught.value.to_json()["try_backends"]
    assert (fake.calls, fake.http.received) == ([], [])


async def test_option_that_grok_does_not_accept_is_omitted_and_reported(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await ask(
        router, tmp_path, prompt="a fox", backend="grok", negative_prompt="blur", seed=7, guidance_scale=4, background="opaque"
    )
    assert set(result.to_json()["ignored"]) == {"negative_prompt", "seed", "guidance_scale", "background"}
    with pytest.raises(UnsupportedOperation, match="strict"):
        await router.execute(
            GenerationConfig(prompt="a fox", negative_prompt="blur").to_request(),
            backend="grok",
            policy=router.policy.but(strict=True),
            output=f"{tmp_path}/",
        )
    assert fake.count("GenerateImage") == 1


async def test_style_image_is_refused_where_only_sources_are_taken(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    style = tmp_path / "style.png"
    style.write_bytes(image(64, 64))
    with pytest.raises(UnsupportedInput, match="does not accept a style reference"):
        await ask(router, tmp_path, prompt="a fox", backend="grok", style_image_path=str(style))
    assert fake.calls == []


async def test_unknown_continuation_and_one_of_sound_are_refused(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    with pytest.raises(UnknownContinuation):
        await ask(router, tmp_path, prompt="go on", media_type="video", continue_from="grok_vid_000000000000")
    with pytest.raises(InvalidRequest):
        await ask(router, tmp_path, prompt="go on", media_type="audio", continue_from="grok_vid_000000000000")
    assert fake.calls == []
