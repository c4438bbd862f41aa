"""Each option of each distinct row, in each of its values, reaches the wire in the right field and type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from wire.forms import read_form
from wire.http_server import Received
from wire.media_bytes import image
from wire.openai_server import OpenAIServer

from anymedia.capabilities import Anything, Option, Pixels, Range
from anymedia.context import Context, LoadedMedia
from anymedia.media import Image
from anymedia.requests import (
    Continuation,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Operation,
    Reference,
    Request,
)
from openai_media import plugin

MakeContext = Callable[..., Context]
SOURCE, MASK = Image(data=image(128, 128)), Mask(image=Image(data=image(128, 128, alpha=True)))
LOADED = {
    SOURCE: LoadedMedia(data=SOURCE.data or b"", mime="image/png", filename="source.png"),
    MASK: LoadedMedia(data=getattr(MASK.image, "data", b""), mime="image/png", filename="mask.png"),
}
EARLIER = Continuation(id="sora_vid_0123456789ab", backend="openai", model="sora-2", media="video", data={"video_id": "video_0"})
MAKE: dict[Operation, Callable[..., Request]] = {
    "generate_image": lambda **o: GenerateImage(prompt="a boat", **o),
    "inpaint": lambda **o: Inpaint(prompt="a boat", source=SOURCE, mask=MASK, **o),
    "edit_with_references": lambda **o: EditWithReferences(prompt="a boat", references=(Reference(image=SOURCE),), **o),
    "generate_video": lambda **o: GenerateVideo(prompt="a boat", **o),
    "continue_video": lambda **o: ContinueVideo(prompt="a boat", continue_from=EARLIER, continue_as="extend", **o),
    "generate_audio": lambda **o: GenerateAudio(prompt="a boat", **o),
}


def arrived(received: Received) -> dict[str, Any]:
    kind = received.headers["content-type"]
    return received.json() if kind == "application/json" else read_form(kind, received.body).texts()


#: Operation -> model, every option of it at once, and what must arrive: each in its field and type.
EVERY: dict[Operation, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "generate_image": (
        "gpt-image-2.6-sunburst",
        {
            "n": 3, "size": "1536x1024", "quality": "xhigh", "background": "opaque", "output_format": "webp",
            "extra_params": {"moderation": "low", "output_compression": 60},
        },
        {
            "prompt": "a boat", "model": "gpt-image-2.6-sunburst", "n": 3, "size": "1536x1024", "quality": "xhigh",
            "background": "opaque", "output_format": "webp", "moderation": "low", "output_compression": 60,
        },
    ),
    "edit_with_references": (
        "gpt-image-2.6-sunburst",
        {"n": 2, "size": "1024x1536", "quality": "low", "output_format": "jpeg"},
        {"prompt": "a boat", "model": "gpt-image-2.6-sunburst", "n": "2", "size": "1024x1536", "quality": "low", "output_format": "jpeg"},
    ),
    "inpaint": (
        "gpt-image-2.6-sunburst",
        {"n": 2, "size": "1024x1024", "quality": "high", "output_format": "png"},
        {"prompt": "a boat", "model": "gpt-image-2.6-sunburst", "n": "2", "size": "1024x1024", "quality": "high", "output_format": "png"},
    ),
    "generate_video": (
        "sora-2", {"size": "720x1280", "duration": 8.0}, {"prompt": "a boat", "model": "sora-2", "size": "720x1280", "seconds": "8"},
    ),
    "generate_audio": (
        "gpt-4o-mini-tts",
        {"voice": "coral", "output_format": "flac", "instructions": "slowly", "speed": 1.5},
        {
            "input": "a boat", "model": "gpt-4o-mini-tts", "voice": "coral", "response_format": "flac",
            "instructions": "slowly", "speed": 1.5,
        },
    ),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("operation", EVERY)
async def test_every_option_at_once_arrives_in_its_own_field_and_type(
    fake: OpenAIServer, make_context: MakeContext, operation: Operation
) -> None:
    model, options, expected = EVERY[operation]
    context = make_context(model, operation, LOADED, service="compatible" if operation == "generate_video" else "openai")
    await getattr(plugin, operation)(request=MAKE[operation](**options), context=context)
    assert fake.count("POST") == 1
    assert arrived(fake.last("POST")) == expected


@pytest.mark.anyio
async def test_option_not_declared_by_the_model_spec_is_not_sent(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image")
    request = GenerateImage(prompt="a boat", seed=4, negative_prompt="rain", guidance_scale=3.0, aspect_ratio="1:1", resolution="1K")
    await plugin.generate_image(request=request, context=context)
    assert fake.last().json() == {"model": "gpt-image-2", "prompt": "a boat"}


@pytest.mark.anyio
async def test_option_declared_for_another_server_beyond_the_protocol_is_sent(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.videos.extra_fields, fake.videos.free_values, fake.videos.models = (
        ("seed", "negative_prompt", "guidance_scale", "fps"),
        True,
        ("wan-2.2",),
    )
    context = make_context("sora-2", "generate_video", service="compatible")
    more: dict[str, Option] = {
        "seed": Range(min=0, max=9, step=1),
        "negative_prompt": Anything(type="string"),
        "guidance_scale": Range(min=0, max=20),
    }
    options = {**context.operation.options, **more, "duration": Range(min=1, max=9, step=1), "size": Pixels()}
    context.operation = attrs.evolve(context.operation, options=options, extra_params={"fps": Range(min=1, max=60, step=1)})
    context.model = "wan-2.2"
    request = GenerateVideo(
        prompt="a boat", seed=4, negative_prompt="rain", guidance_scale=3.5, duration=5, size="832x480", extra_params={"fps": 16}
    )
    await plugin.generate_video(request=request, context=context)
    assert arrived(fake.last()) == {
        "prompt": "a boat", "model": "wan-2.2", "seconds": "5", "size": "832x480",
        "seed": "4", "negative_prompt": "rain", "guidance_scale": "3.5", "fps": "16",
    }  # fmt: skip
