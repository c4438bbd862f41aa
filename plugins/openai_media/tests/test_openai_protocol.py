"""Fake and plugin against the SDK itself: it accepts every answer strictly, and we send what its own methods send."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from wire.forms import read_form
from wire.http_server import Received
from wire.media_bytes import image, video
from wire.openai_server import OpenAIServer

from anymedia.context import Context, LoadedMedia
from anymedia.media import Image, Video
from anymedia.requests import Continuation, ContinueVideo, GenerateVideo, Inpaint, Mask
from openai_media import plugin

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MakeContext = Callable[..., Context]
pytestmark = pytest.mark.anyio


@pytest.fixture
async def sdk(fake: OpenAIServer) -> AsyncIterator[AsyncOpenAI]:
    """The SDK as it comes, but refusing every answer that differs from its published types."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=fake.base_url, api_key=fake.key, max_retries=0, _strict_response_validation=True)
    async with client:
        yield client


async def test_sdk_accepts_the_fakes_images_strictly(sdk: AsyncOpenAI) -> None:
    made = await sdk.images.generate(
        model="gpt-image-2.5-flare", prompt="a boat", n=2, size="1536x864", quality="xhigh", background="opaque"
    )
    assert made.data is not None
    assert len(made.data) == 2
    assert made.usage is not None
    edited = await sdk.images.edit(
        model="gpt-image-2.6-flare",
        image=[("a.png", image(64, 64), "image/png"), ("b.webp", image(64, 64, "webp"), "image/webp")],
        mask=("m.png", image(64, 64, alpha=True), "image/png"),
        prompt="a lamp",
        complexity="low",
        output_format="jpeg",
    )
    assert edited.output_format == "jpeg"
    single = await sdk.images.edit(model="gpt-image-2", image=("a.png", image(64, 64), "image/png"), prompt="a lamp")
    assert single.data is not None


async def test_sdk_accepts_the_fakes_conversation_strictly(sdk: AsyncOpenAI) -> None:
    first = await sdk.responses.create(model="gpt-6-sol", input="a boat", tools=[{"type": "image_generation", "quality": "low"}])
    assert [item.type for item in first.output] == ["image_generation_call", "message"]
    second = await sdk.responses.create(
        model="gpt-6-sol", input="at night", previous_response_id=first.id, tools=[{"type": "image_generation"}]
    )
    assert second.previous_response_id == first.id
    refused = await sdk.responses.create(model="gpt-6-sol", input="FORBIDDEN", tools=[{"type": "image_generation"}])
    item = refused.output[0]
    assert item.type == "image_generation_call"
    assert item.status == "failed"
    assert item.error is not None
    assert item.error.code == "moderation_blocked"


async def test_sdk_accepts_the_fakes_models_and_speech_strictly(sdk: AsyncOpenAI, fake: OpenAIServer) -> None:
    models = [model async for model in await sdk.models.list()]
    assert {m.id: m.shutdown_date for m in models}["tts-1"] == "2027-01-06"
    sound = await sdk.audio.speech.create(model="tts-1", voice="nova", input="Good morning.")
    assert sound.content == fake.spoken[-1]


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
async def test_sdk_accepts_the_fakes_videos_strictly(sdk: AsyncOpenAI, fake: OpenAIServer) -> None:
    fake.videos.looks = 1
    made = await sdk.videos.create(model="sora-2", prompt="a boat", seconds="4", size="720x1280")
    assert (await sdk.videos.retrieve(made.id)).status == "queued"
    done = await sdk.videos.retrieve(made.id)
    assert done.status == "completed"
    assert (await sdk.videos.download_content(made.id)).content == fake.videos.files[made.id]
    remixed = await sdk.videos.remix(made.id, prompt="slower")
    assert remixed.remixed_from_video_id == made.id
    page = await sdk.videos.list(limit=1, order="desc")
    assert len(page.data) == 1
    assert len([v async for v in page]) == 2
    assert (await sdk.videos.delete(made.id)).deleted


def sent(received: Received) -> tuple[Any, ...]:
    """What a request says, apart from boundaries and the headers that name the client."""
    kind = received.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        form = read_form(kind, received.body)
        return (received.line, dict(received.query), form.texts(), [(p.name, p.filename, p.mime, p.data) for p in form.parts if p.filename])
    return (received.line, dict(received.query), received.json() if received.body else None, kind)


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
async def test_we_send_what_the_sdks_own_video_methods_send(sdk: AsyncOpenAI, fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.videos.looks = 0
    frame = Image(data=b"as given")
    source = Video(data=b"as given")
    clip = video(320, 240, 1.0)
    loaded = {
        frame: LoadedMedia(data=image(720, 1280), mime="image/png", filename="frame.png"),
        source: LoadedMedia(data=clip, mime="video/mp4", filename="input.mp4"),
    }

    def context(operation: Any) -> Context:
        return make_context("sora-2", operation, loaded, service="compatible")

    async def same(theirs: Any, ours: Any) -> Any:
        await theirs
        said = sent(fake.last())
        made = await ours
        assert sent(fake.last()) == said
        return made

    film, go_on = plugin.generate_video, plugin.continue_video
    job = await same(
        sdk.videos.create(model="sora-2", prompt="a boat", seconds="8", size="720x1280"),
        film(request=GenerateVideo(prompt="a boat", duration=8, size="720x1280"), context=context("generate_video")),
    )
    await same(
        sdk.videos.create(model="sora-2", prompt="a boat", input_reference=("frame.png", image(720, 1280), "image/png")),
        film(request=GenerateVideo(prompt="a boat", first_frame=frame), context=context("generate_video")),
    )
    await same(sdk.videos.retrieve(job.id), plugin.check_job(job=job, context=context("generate_video")))
    handle = Continuation(id="sora_vid_1", backend="openai", media="video", data={"video_id": job.id})
    await same(
        sdk.videos.remix(job.id, prompt="slower"),
        go_on(request=ContinueVideo(prompt="slower", continue_from=handle), context=context("continue_video")),
    )
    await same(
        sdk.videos.edit(prompt="slower", video=("input.mp4", clip, "video/mp4")),
        go_on(request=ContinueVideo(prompt="slower", source=source, continue_as="edit"), context=context("continue_video")),
    )
    await same(
        sdk.videos.extend(prompt="slower", seconds="8", video=("input.mp4", clip, "video/mp4")),
        go_on(request=ContinueVideo(prompt="slower", source=source, continue_as="extend", duration=8), context=context("continue_video")),
    )
    await sdk.videos.delete(job.id)
    said = sent(fake.last())
    again = await film(request=GenerateVideo(prompt="a boat"), context=context("generate_video"))
    await plugin.cancel_job(job=again, context=context("generate_video"))
    assert sent(fake.last()) == (said[0].replace(job.id, again.id), *said[1:])


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
async def test_sdks_own_methods_refuse_what_is_published_which_is_why_they_are_not_used(sdk: AsyncOpenAI, fake: OpenAIServer) -> None:
    with pytest.raises(RuntimeError, match="to be bytes"):
        await sdk.videos.edit(prompt="slower", video={"id": "video_1"})
    with pytest.raises(RuntimeError, match="to be bytes"):
        await sdk.videos.extend(prompt="slower", seconds="4", video={"id": "video_1"})
    with pytest.raises(RuntimeError, match="to be bytes"):
        await sdk.videos.create(prompt="slower", input_reference={"image_url": "https://example/a.png"})
    assert fake.received == []


async def test_edit_is_sent_as_the_sdks_own_method_sends_it(sdk: AsyncOpenAI, fake: OpenAIServer, make_context: MakeContext) -> None:
    source, mask = Image(data=b"as given"), Mask(image=Image(data=b"as given"))
    loaded = {
        source: LoadedMedia(data=image(64, 64), mime="image/png", filename="source.png"),
        mask: LoadedMedia(data=image(64, 64, alpha=True), mime="image/png", filename="mask.png"),
    }
    await sdk.images.edit(
        model="gpt-image-2.6-flare",
        prompt="a lamp",
        image=[("source.png", image(64, 64), "image/png")],
        mask=("mask.png", image(64, 64, alpha=True), "image/png"),
        background="transparent",
        output_format="webp",
        output_compression=40,
        complexity="low",
        n=2,
    )
    said = sent(fake.last())
    request = Inpaint(
        prompt="a lamp",
        source=source,
        mask=mask,
        background="transparent",
        output_format="webp",
        n=2,
        extra_params={"output_compression": 40, "complexity": "low"},
    )
    await plugin.inpaint(request=request, context=make_context("gpt-image-2.6-flare", "inpaint", loaded))
    assert sent(fake.last()) == said


async def test_requests_are_distinguished_by_the_providers_id(fake: OpenAIServer, sdk: AsyncOpenAI) -> None:
    made = await sdk.images.with_raw_response.generate(model="gpt-image-2", prompt="a boat")
    assert re.fullmatch(r"req_[0-9a-f]{32}", made.headers["x-request-id"])
