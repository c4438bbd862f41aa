"""What goes out is what the SDK's own methods send; and the fake takes from the SDK's own methods what the service takes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from wire.grok_server import GrokServer
from wire.media_bytes import image, video
from xai_sdk import AsyncClient

from anymedia.requests import Reference
from anymedia.router import Router

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sdk(fake: GrokServer) -> AsyncIterator[Any]:
    client = AsyncClient(api_key=fake.key, api_host=fake.host, use_insecure_channel=True)
    yield client
    await client.close()


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


async def test_image_is_sent_as_the_sdk_would_send_it(router: Router, fake: GrokServer, sdk: Any, tmp_path: Path) -> None:
    pictures = [image(64, 64, tint=i) for i in range(2)]
    await router.edit_with_references(
        prompt="mix", references=pictures, aspect_ratio="4:3", resolution="2k", quality="medium", backend="grok", output=f"{tmp_path}/"
    )
    ours = fake.last("GenerateImage")
    await sdk.image.sample(
        prompt="mix", model="grok-imagine-image-2.0", image_urls=[data_url(p) for p in pictures], aspect_ratio="4:3", resolution="2k",
        quality="medium",
    )  # fmt: skip
    assert ours == fake.last("GenerateImage")
    await router.edit_with_references(prompt="edit", references=pictures[:1], backend="grok", output=f"{tmp_path}/")
    ours = fake.last("GenerateImage")
    await sdk.image.sample(prompt="edit", model="grok-imagine-image-2.0", image_url=data_url(pictures[0]))
    assert ours == fake.last("GenerateImage")


async def test_video_is_sent_as_the_sdk_would_send_it(router: Router, fake: GrokServer, sdk: Any, tmp_path: Path) -> None:
    first, last, other = (image(64, 64, tint=i) for i in range(3))
    await router.generate_video(
        prompt="go", first_frame=first, last_frame=last, references=[Reference(image=other, role="subject")], duration=2,
        aspect_ratio="1:1", resolution="480p", backend="grok", output=f"{tmp_path}/",
    )  # fmt: skip
    ours = fake.last("GenerateVideo")
    await sdk.video.start(
        prompt="go", model="grok-imagine-video-1.5", image_url=data_url(first), last_frame_url=data_url(last),
        reference_image_urls=[data_url(other)], duration=2, aspect_ratio="1:1", resolution="480p",
    )  # fmt: skip
    assert ours == fake.last("GenerateVideo")


async def test_extension_is_sent_as_the_sdk_would_send_it(router: Router, fake: GrokServer, sdk: Any, tmp_path: Path) -> None:
    clip = video(160, 96, 3.0)
    await router.continue_video(prompt="go on", source=clip, duration=2, backend="grok", output=f"{tmp_path}/")
    ours = fake.last("ExtendVideo")
    await sdk.video.extend_start(prompt="go on", model="grok-imagine-video", video_url=data_url(clip, "video/mp4"), duration=2)
    assert ours == fake.last("ExtendVideo")


async def test_every_call_carries_the_key_and_names_the_sdk(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert {call.metadata["authorization"] for call in fake.calls} == {f"Bearer {fake.key}"}
    assert all(call.metadata["xai-sdk-version"].startswith("python/1.") for call in fake.calls)


async def test_fake_serves_the_sdks_own_way_through_a_video(fake: GrokServer, sdk: Any) -> None:
    import datetime

    made = await sdk.video.generate(prompt="waves", model="grok-imagine-video", duration=2, interval=datetime.timedelta(milliseconds=10))
    longer = await sdk.video.extend(
        prompt="a gull", model="grok-imagine-video", video_url=made.url, duration=2, interval=datetime.timedelta(milliseconds=10)
    )
    assert (made.duration, longer.duration) == (2, 4)
    assert made.cost_usd == pytest.approx(0.1)


async def test_fake_holds_back_as_the_sdk_expects_it(fake: GrokServer, sdk: Any) -> None:
    made = await sdk.image.sample(prompt="BLOCKED", model="grok-imagine-image")
    assert not made.respect_moderation
    with pytest.raises(ValueError, match="did not respect moderation"):
        _ = made.url


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("image.sample", {"model": "grok-imagine-image", "quality": "low"}, "quality is not supported"),
        ("image.sample", {"model": "grok-4"}, "does not exist"),
        ("image.sample", {"model": "grok-imagine-image", "image_url": "data:image/png;base64,AAAA"}, "Unsupported image format"),
        ("image.sample", {"model": "grok-imagine-image", "image_file_id": "file_none"}, "not found"),
        ("video.start", {"model": "grok-imagine-video", "resolution": "1080p"}, "resolution is not supported"),
        ("video.start", {"model": "grok-imagine-video", "duration": 16}, "duration must be between 1 and 15"),
        ("video.start", {"model": "grok-imagine-video", "last_frame_url": "data:,"}, "last_frame is not supported"),
        ("video.extend_start", {"model": "grok-imagine-video-1.5", "video_url": "data:,"}, "does not support video extension"),
        ("video.extend_start", {"model": "grok-imagine-video", "video_url": "https://media.example/a.mp4"}, "Failed to fetch"),
    ],
)
async def test_fake_refuses_what_the_service_is_documented_to_refuse(
    fake: GrokServer, sdk: Any, method: str, arguments: dict[str, Any], words: str
) -> None:
    group, _, name = method.partition(".")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(getattr(sdk, group), name)(prompt="x", **arguments)
    assert words in caught.value.details()


async def test_fake_refuses_another_key(fake: GrokServer) -> None:
    client = AsyncClient(api_key="another", api_host=fake.host, use_insecure_channel=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.image.sample(prompt="x", model="grok-imagine-image")
    await client.close()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
