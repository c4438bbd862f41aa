"""What a caller does, from end to end: a real Router, the fake on the loopback; planned by a snapshot taken from the fake."""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from clocks import in_state, until
from PIL import Image as Pillow
from wire.media_bytes import image, video
from wire.openrouter_server import OpenRouterServer

from anymedia.errors import BackendError, BackendTimeout, RequestError, UnknownContinuation, UnsupportedInput, UnsupportedOperation
from anymedia.policy import Policy
from anymedia.requests import GenerateImage, GenerateVideo, Reference
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]
STRICT = Policy(strict=True, retries=0)
SUNBURST = "openai/gpt-image-2.5-sunburst"


def sent(fake: OpenRouterServer) -> dict[str, object]:
    body: dict[str, object] = fake.last("POST").json()
    return body


def pictures(fake: OpenRouterServer, field: str = "input_references", kind: str = "image_url") -> list[bytes]:
    found = fake.last("POST").json()[field]
    assert all(v["type"] == kind for v in found)
    return [base64.b64decode(v[kind]["url"].partition(",")[2]) for v in found]


async def test_image_is_planned_without_the_network_made_and_paid_once(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    request = GenerateImage(prompt="a lighthouse", size="1536x1024", quality="xhigh", background="opaque", output_format="webp")
    plan = await fresh.plan(request, backend="openrouter", model=SUNBURST)
    assert fake.received == []
    result = await fresh.run(plan, output=tmp_path / "light.webp")
    options = {"size": "1536x1024", "quality": "xhigh", "background": "opaque", "output_format": "webp"}
    assert sent(fake) == {"model": SUNBURST, "prompt": "a lighthouse", **options}
    assert fake.last("POST").path == "/api/v1/images"
    assert fake.count("POST") == 1
    assert result.path.read_bytes() == fake.made[-1]
    assert (result.files[0].mime, result.files[0].width, result.files[0].height) == ("image/webp", 1536, 1024)
    assert result.cost.actual_usd == 0.05
    assert result.provenance.request_ids[0].startswith("gen-")
    assert result.continuation_id is not None
    assert result.continuation_id.startswith("or_img_")
    assert result.adjustments == ()


async def test_fewer_images_than_requested_are_reported(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.most_images = 2
    result = await fresh.generate_image(prompt="cats", n=3, model=f"openrouter/{SUNBURST}", output=f"{tmp_path}/")
    assert sent(fake)["n"] == 3
    assert [file.path.read_bytes() for file in result.files] == fake.made
    assert any("3 images were requested and 2 returned" in str(w) for w in result.warnings)


async def test_more_images_than_one_call_makes_are_made_by_several(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    result = await fresh.generate_image(
        prompt="cats", n=2, model="openrouter/google/gemini-3.1-flash-lite-image", aspect_ratio="16:9", output=f"{tmp_path}/"
    )
    assert fake.count("POST") == 2
    assert len(result.files) == 2
    assert [(a.field, a.kind) for a in result.adjustments] == [("n", "bridged")]


async def test_edit_sends_its_pictures_and_puts_roles_into_words(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    source, style = image(96, 64), image(64, 64, "jpeg", tint=5)
    references = (Reference(image=style, role="style", description="loose brushwork"), Reference(image=source))
    result = await fresh.edit_with_references(
        prompt="at night", references=references, model=f"openrouter/{SUNBURST}", output=tmp_path / "night.png"
    )
    assert pictures(fake) == [source, style]
    assert sent(fake)["prompt"] == "at night\nTake the style, and only the style, from picture 2: loose brushwork."
    assert [(a.field, a.kind) for a in result.adjustments] == [("references", "emulated")]
    assert fake.count("POST") == 1


async def test_continuing_an_image_sends_the_collected_file(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    first = await fresh.generate_image(prompt="a boat", model=f"openrouter/{SUNBURST}", output=tmp_path / "boat.png")
    second = await fresh.generate_image(prompt="a red one", continue_from=first.continuation_id, output=tmp_path / "red.png")
    assert pictures(fake) == [first.path.read_bytes()]
    assert second.continuation_id not in {None, first.continuation_id}
    style = image(64, 64, "jpeg", tint=5)
    styled = Reference(image=style, role="style")
    third = await fresh.edit_with_references(
        prompt="at night", references=[styled], continue_from=second.continuation_id, output=tmp_path / "night.png"
    )
    assert pictures(fake) == [second.path.read_bytes(), style]
    assert third.continuation_id != second.continuation_id


async def test_mask_is_refused_before_anything_is_sent(fresh: Router, fake: OpenRouterServer) -> None:
    with pytest.raises(UnsupportedOperation):
        await fresh.inpaint(prompt="a lamp", source=image(64, 64), mask=image(64, 64, alpha=True), backend="openrouter")
    with pytest.raises(UnsupportedInput, match="mask"):
        await fresh.edit_with_references(
            prompt="a lamp", references=(Reference(image=image(64, 64)),), mask=image(64, 64, alpha=True), backend="openrouter"
        )
    assert fake.received == []


async def test_seed_that_the_list_does_not_name_is_ignored_with_a_report_and_refused_by_strict(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path
) -> None:
    result = await fresh.generate_image(prompt="a boat", seed=7, model=f"openrouter/{SUNBURST}", output=tmp_path / "boat.png")
    assert "seed" not in sent(fake)
    assert [(a.field, a.kind, a.asked, a.sent) for a in result.adjustments] == [("seed", "ignored", 7, None)]
    with pytest.raises(RequestError, match="seed"):
        await fresh.generate_image(prompt="a boat", seed=7, model=f"openrouter/{SUNBURST}", policy=STRICT)
    kept = await fresh.generate_image(prompt="a boat", seed=7, model="openrouter/painter/odd", output=f"{tmp_path}/", policy=STRICT)
    assert sent(fake)["seed"] == 7
    assert kept.adjustments == ()
    assert fake.count("POST") == 2


async def test_duration_that_the_list_does_not_name_snaps_and_says_so_and_strict_refuses(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path
) -> None:
    result = await fresh.generate_video(prompt="waves", duration=7, model="openrouter/google/veo-3.1", output=f"{tmp_path}/")
    assert sent(fake)["duration"] == 6
    assert [(a.field, a.kind, a.asked, a.sent) for a in result.adjustments] == [("duration", "snapped", 7, 6)]
    assert result.files[0].seconds == pytest.approx(6, abs=0.3)
    with pytest.raises(RequestError, match="duration"):
        await fresh.generate_video(prompt="waves", duration=7, model="openrouter/google/veo-3.1", policy=STRICT)
    assert fake.count("POST") == 1


async def test_video_starts_and_ends_on_the_given_frames(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    first, last = image(128, 72), image(128, 72, "jpeg", tint=3)
    result = await fresh.generate_video(
        prompt="a wave breaks", first_frame=first, last_frame=last, duration=4, resolution="1080p", aspect_ratio="9:16", seed=11,
        extra_params={"generate_audio": False}, model="openrouter/google/veo-3.1", output=tmp_path / "wave.mp4",
    )  # fmt: skip
    body = sent(fake)
    assert pictures(fake, "frame_images") == [first, last]
    assert [v["frame_type"] for v in body["frame_images"]] == ["first_frame", "last_frame"]  # type: ignore[attr-defined]
    rest = {k: v for k, v in body.items() if k != "frame_images"}
    assert rest == {
        "model": "google/veo-3.1", "prompt": "a wave breaks", "duration": 4, "resolution": "1080p", "aspect_ratio": "9:16", "seed": 11,
        "generate_audio": False,
    }  # fmt: skip
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert result.cost.actual_usd == 0.4
    assert result.provenance.request_ids == (f"gen-{next(iter(fake.videos.jobs))[-20:]}",)
    assert fake.count("POST") == 1


async def test_frames_together_with_references_are_refused_rather_than_one_being_dropped(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path
) -> None:
    cast = {"model": "openrouter/painter/cast", "references": (Reference(image=image(64, 64), role="subject"),)}
    with pytest.raises(RequestError, match="drops reference pictures"):
        await fresh.generate_video(prompt="she walks", first_frame=image(64, 64), **cast)
    with pytest.raises(RequestError, match="drops reference pictures"):
        await fresh.generate_video(prompt="she walks", last_frame=image(64, 64), **cast)
    assert fake.received == []
    await fresh.generate_video(prompt="she walks", output=tmp_path / "walk.mp4", **cast)
    assert pictures(fake) == [image(64, 64)]


async def test_job_left_by_one_router_is_resumed_by_another(
    new_router: NewRouter, snapshot: None, fake: OpenRouterServer, tmp_path: Path
) -> None:
    fake.videos.states = ("in_progress",)
    request = GenerateVideo(prompt="waves", duration=4)
    async with new_router() as first:
        film = {"backend": "openrouter", "model": "google/veo-3.1", "output": tmp_path / "waves.mp4"}
        making = asyncio.create_task(first.execute(request, deadline=600.0, **film))
        await until(lambda: in_state(first, "running"))
        first._engine.clock.ahead += 3600.0  # type: ignore[attr-defined]
        with pytest.raises(BackendTimeout) as left:
            await making
    fake.videos.states = ("completed",)
    assert left.value.job_id is not None
    async with new_router() as second:
        result = await second.resume(left.value.job_id)
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert fake.count("POST") == 1


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
async def test_job_that_ends_badly_says_how_in_the_services_words(fresh: Router, fake: OpenRouterServer, state: str) -> None:
    fake.videos.states = ("pending", state)
    with pytest.raises(BackendError, match=f"{state}.*the scene is too long") as ended:
        await fresh.generate_video(prompt="waves", model="openrouter/google/veo-3.1")
    assert ended.value.charged == "no"
    assert ended.value.retry is False
    assert fake.count("POST") == 1


@pytest.mark.parametrize("polling", ["relative", "absolute", "elsewhere", "wrong", "none"])
async def test_wherever_the_polling_link_points_the_job_is_followed_at_the_service(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, polling: str
) -> None:
    fake.videos.polling = polling  # type: ignore[assignment]
    fake.videos.states = ("pending", "in_progress", "queued-somewhere-new", "completed")
    result = await fresh.generate_video(prompt="waves", model="openrouter/google/veo-3.1", output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert fake.elsewhere.received == []
    assert fake.count("POST") == 1


async def test_spec_that_allows_it_continues_an_earlier_job(
    new_router: NewRouter, snapshot: None, fake: OpenRouterServer, tmp_path: Path
) -> None:
    table = {
        "painter/cast": {
            "like": "painter/cast",
            "continuation_prefix": "cast_vid",
            "continue_video": {"continue_from": {"ways": ["extend"]}},
        }
    }
    async with new_router(models=table) as router:
        first = await router.generate_video(prompt="she walks", model="openrouter/painter/cast", output=tmp_path / "one.mp4")
        second = await router.continue_video(prompt="she runs", continue_from=first.continuation_id, output=tmp_path / "two.mp4")
        job = next(iter(fake.videos.jobs))
        assert sent(fake) == {"model": "painter/cast", "prompt": "she runs", "previous_job_id": job}
        assert second.continued_as == "extend"
        assert second.continuation_id not in {None, first.continuation_id}
        with pytest.raises(UnsupportedOperation, match="remix"):
            await router.continue_video(prompt="again", continue_from=first.continuation_id, continue_as="remix")
        with pytest.raises(UnknownContinuation):
            await router.continue_video(prompt="again", continue_from="cast_vid_ffffffffffff")
    assert fake.count("POST") == 2


async def test_video_that_is_sent_along_is_edited_and_nothing_else(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    film = video(64, 36, 1.0)
    edited = {"source": film, "model": "openrouter/black-forest-labs/flux-video-edit"}
    result = await fresh.continue_video(prompt="in snow", output=tmp_path / "snow.mp4", **edited)
    assert pictures(fake, kind="video_url") == [film]
    assert result.continued_as == "edit"
    with pytest.raises(RequestError, match="edited, not continued"):
        await fresh.continue_video(prompt="longer", continue_as="extend", **edited)
    assert fake.count("POST") == 1


async def test_speech_says_its_format_always(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    model = "openrouter/openai/gpt-4o-mini-tts-2025-12-15"
    result = await fresh.generate_audio(prompt="Good evening.", voice="coral", speed=1.5, model=model, output=tmp_path / "hello.mp3")
    options = {"voice": "coral", "speed": 1.5, "response_format": "mp3"}
    assert sent(fake) == {"model": model.partition("/")[2], "input": "Good evening.", **options}
    assert result.path.read_bytes() == fake.made[-1]
    assert result.cost.actual_usd is None
    assert fake.count("POST") == 1


async def test_voice_is_sent_where_one_is_needed_and_none_where_the_list_names_none(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path
) -> None:
    await fresh.generate_audio(prompt="Hello.", model="openrouter/openai/gpt-4o-mini-tts-2025-12-15", output=f"{tmp_path}/")
    assert sent(fake)["voice"] == "alloy"
    told = await fresh.generate_audio(prompt="Hello.", voice="alloy", model="openrouter/painter/one-voice", output=f"{tmp_path}/")
    assert "voice" not in sent(fake)
    assert [(a.field, a.kind) for a in told.adjustments] == [("voice", "ignored")]


@pytest.mark.parametrize(
    ("said", "rate", "warned"),
    [("audio/pcm;rate=24000;channels=1", 24_000, False), ("audio/pcm; rate=16000", 16_000, False), ("audio/pcm", 24_000, True)],
)
async def test_raw_samples_become_wav_at_the_rate_the_type_says(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, said: str, rate: int, warned: bool
) -> None:
    fake.pcm_type = said
    result = await fresh.generate_audio(
        prompt="Hello.", output_format="wav", model="openrouter/openai/gpt-4o-mini-tts-2025-12-15", output=tmp_path / "hello.wav"
    )
    assert sent(fake)["response_format"] == "pcm"
    with wave.open(io.BytesIO(result.path.read_bytes())) as opened:
        assert (opened.getframerate(), opened.getnchannels(), opened.getsampwidth()) == (rate, 1, 2)
        assert opened.readframes(opened.getnframes()) == fake.made[-1]
    assert any("sampling rate" in str(w) for w in result.warnings) is warned
    assert result.adjustments == ()


async def test_shipped_model_specs_generate_an_image_and_a_video(router: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    picture = await router.generate_image(prompt="a boat", aspect_ratio="21:9", output=tmp_path / "boat.png")
    assert picture.provenance.model == "google/gemini-3.1-flash-lite-image"
    assert Pillow.open(io.BytesIO(picture.path.read_bytes())).size == (64, 27)
    film = await router.generate_video(prompt="waves", duration=8, output=tmp_path / "waves.mp4")
    assert film.provenance.model == "google/veo-3.1"
    assert film.cost.quoted_usd == (1.6, 3.2)
    quote = (
        await router.plan(
            GenerateVideo(prompt="waves", duration=5, resolution="1080p", first_frame=image(64, 64)),
            model="openrouter/x-ai/grok-imagine-video-1.5-lite",
        )
    ).quote
    assert quote.usd == (0.71, 0.71)
