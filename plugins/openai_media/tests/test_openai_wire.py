"""Each option of each distinct row, in each of its values, reaches the wire in the right field and type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from wire.forms import read_form
from wire.http_server import Received
from wire.media_bytes import image
from wire.openai_server import OpenAIServer

from anymedia.capabilities import Anything, Choice, ModelRow, Option, Pixels, Range
from anymedia.context import Context, LoadedMedia
from anymedia.errors import MediaError
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
#: Options that go out under another name, in the protocol's own form.
WIRE_NAMES = {
    ("generate_audio", "output_format"): "response_format",
    ("generate_video", "duration"): "seconds",
    ("continue_video", "duration"): "seconds",
}
#: Options that only mean something with another one.
WITH: dict[str, dict[str, Any]] = {"output_compression": {"output_format": "webp"}}


def values_of(option: Option) -> list[Any]:
    if isinstance(option, Choice):
        return list(option.one_of)
    if isinstance(option, Range):
        middle = option.nearest((option.min + option.max) / 2)
        return [option.nearest(option.min), middle, option.nearest(option.max)]
    if isinstance(option, Pixels):
        return ["1024x1024", "3840x2160", "640x1024", "auto"]
    if isinstance(option, Anything) and option.type == "boolean":
        return [False]  # True is a turn of a conversation: another endpoint, shown elsewhere
    return ["voice_abc"]


def cases() -> Iterator[Any]:
    seen = []
    for row in plugin.capabilities().models:
        for operation, shape in row.operations.items():
            facts = (operation, shape.options, shape.extra_params)
            if facts in seen:
                continue
            seen.append(facts)
            options = [(name, o, False) for name, o in shape.options.items() if not o.fixed]
            options += [(name, o, True) for name, o in shape.extra_params.items()]
            for name, option, is_extra in options:
                for value in values_of(option):
                    yield pytest.param(row, operation, name, value, is_extra, id=f"{row.id}-{operation}-{name}-{value}")


def arrived(received: Received) -> dict[str, Any]:
    kind = received.headers["content-type"]
    return received.json() if kind == "application/json" else read_form(kind, received.body).texts()


def expected(operation: str, name: str, value: Any, *, form: bool) -> Any:
    if name == "duration":
        return f"{value:g}"
    if name == "voice_id":
        return {"id": value}
    if form:
        return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return value


@pytest.mark.anyio
@pytest.mark.parametrize(("row", "operation", "name", "value", "is_extra"), list(cases()))
async def test_an_option_arrives_in_its_field_and_type(
    fake: OpenAIServer, make_context: MakeContext, row: ModelRow, operation: Operation, name: str, value: Any, is_extra: bool
) -> None:
    given = {"extra_params": {name: value}, **WITH.get(name, {})} if is_extra else {name: value}
    request = MAKE[operation](**given)
    alive = row.lifecycle.certainty != "firm" or row.lifecycle.retires is None or row.media == "audio"
    context = make_context(row.id, operation, LOADED, service="compatible" if row.media == "video" else "openai")
    made: Any = None
    try:
        made = await getattr(plugin, operation)(request=request, context=context)
    except MediaError:
        assert not alive or operation == "continue_video"  # a retired model and an unknown video are refused by the fake
    assert fake.count("POST") == 1
    received = fake.last("POST")
    body = arrived(received)
    form = received.headers["content-type"] != "application/json"
    field = {"voice_id": "voice"}.get(name, WIRE_NAMES.get((operation, name), name))
    if (name == "n" and value == 1) or name == "responses":
        assert field not in body  # what is meant without saying so is not said
    else:
        assert body[field] == expected(operation, name, value, form=form)
    if alive and operation != "continue_video":
        assert made is not None
    if operation != "continue_video":
        assert body["model"] == row.id


@pytest.mark.anyio
async def test_what_a_row_does_not_declare_is_not_sent(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image")
    request = GenerateImage(prompt="a boat", seed=4, negative_prompt="rain", guidance_scale=3.0, aspect_ratio="1:1", resolution="1K")
    await plugin.generate_image(request=request, context=context)
    assert fake.last().json() == {"model": "gpt-image-2", "prompt": "a boat"}


@pytest.mark.anyio
async def test_what_a_row_of_another_server_declares_beyond_the_protocol_is_sent(fake: OpenAIServer, make_context: MakeContext) -> None:
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
    assert context.operation is not None
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
