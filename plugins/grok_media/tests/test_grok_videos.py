"""Videos: which call each wish becomes, going on, looks, ends. A real Router, the real SDK, the fake behind real sockets."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from clocks import FastClock, in_state, until
from wire.grok_server import GrokServer
from wire.media_bytes import image, video
from xai_sdk.proto import video_pb2

from anymedia.errors import BackendError, BackendTimeout, ContentRefused, JobNotFound, UnknownContinuation, UnsupportedInput
from anymedia.requests import ContinueVideo, GenerateVideo, Reference
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]


def bytes_of(url: str) -> bytes:
    head, _, body = url.partition(";base64,")
    assert head.startswith("data:")
    return base64.b64decode(body)


def seconds_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.duration or 0) / 1_000_000


async def test_video_is_made_from_words_with_the_options_asked_for(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_video(
        prompt="waves", duration=4, aspect_ratio="9:16", resolution="720p", extra_params={"generate_audio": False}, backend="grok",
        output=tmp_path / "waves.mp4",
    )  # fmt: skip
    sent = fake.last("GenerateVideo")
    assert (sent.prompt, sent.model, sent.duration, sent.generate_audio) == ("waves", "grok-imagine-video-1.5", 4, False)
    assert sent.aspect_ratio == video_pb2.VIDEO_ASPECT_RATIO_9_16
    assert sent.resolution == video_pb2.VIDEO_RESOLUTION_720P
    assert not sent.HasField("storage_options")  # nothing is kept at the provider unless the settings ask for it
    job = next(iter(fake.videos.jobs.values()))
    assert result.path.read_bytes() == job.data
    assert result.continuation_id is not None
    assert result.continuation_id.startswith("grok_vid_")
    assert result.cost.actual_usd == pytest.approx(0.2)
    assert result.cost.quoted_usd == (0.56, 0.56)
    assert fake.count("GenerateVideo") == 1


async def test_first_frame_is_passed_on(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    frame = image(128, 72)
    result = await router.generate_video(prompt="it moves", first_frame=frame, duration=2, backend="grok", output=tmp_path / "v.mp4")
    sent = fake.last("GenerateVideo")
    assert bytes_of(sent.image.image_url) == frame
    assert not sent.HasField("last_frame")
    assert len(sent.reference_images) == 0
    assert result.adjustments == ()


async def test_first_and_last_frame_are_sent_in_separate_fields(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first, last = image(128, 72, tint=1), image(128, 72, tint=2)
    await router.generate_video(
        prompt="from here to there", first_frame=first, last_frame=last, duration=2, backend="grok", output=f"{tmp_path}/"
    )
    sent = fake.last("GenerateVideo")
    assert (bytes_of(sent.image.image_url), bytes_of(sent.last_frame.image_url)) == (first, last)
    assert sent.model == "grok-imagine-video-1.5"


async def test_last_frame_chooses_the_model_that_takes_one(router: Router, fake: GrokServer) -> None:
    with pytest.raises(UnsupportedInput, match="does not accept a last frame"):
        await router.plan(GenerateVideo(prompt="x", last_frame=image(64, 64)), backend="grok", model="grok-imagine-video")  # type: ignore[arg-type]
    assert fake.calls == []


async def test_references_keep_their_order_and_a_style_is_put_into_words(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    who, how = image(96, 96, tint=1), image(64, 96, tint=2)
    references = [
        Reference(image=who, role="subject", description="the dog"),
        Reference(image=how, role="style"),
    ]
    result = await router.generate_video(
        prompt="it runs", references=references, duration=2, resolution="1080p", backend="grok", output=f"{tmp_path}/"
    )
    sent = fake.last("GenerateVideo")
    assert [bytes_of(content.image_url) for content in sent.reference_images] == [who, how]
    assert sent.prompt == "it runs Of <IMAGE_1>, keep: the dog. Take the style, and only the style, from <IMAGE_2>."
    assert sent.resolution == video_pb2.VIDEO_RESOLUTION_720P
    assert {(a.field, a.kind) for a in result.adjustments} == {("resolution", "snapped"), ("references", "emulated")}


async def test_many_large_references_are_all_uploaded_so_that_their_order_holds(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    import numpy
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.fromarray(numpy.full((1400, 1400, 3), 90, "uint8")).save(out, "PNG", compress_level=0)
    large, small = out.getvalue(), image(64, 64)
    pictures = [small, large, large, large]
    references = [Reference(image=data, role="subject") for data in pictures]
    await router.generate_video(prompt="together", references=references, duration=2, backend="grok", output=f"{tmp_path}/")
    sent = fake.last("GenerateVideo")
    assert [fake.depot.files[content.file_id].data for content in sent.reference_images] == pictures
    assert all(call.metadata.get("authorization") == f"Bearer {fake.key}" for call in fake.calls)


async def test_continuation_passes_the_stored_url_to_the_extension(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first = await router.generate_video(prompt="waves", duration=3, backend="grok", model="grok-imagine-video", output=tmp_path / "a.mp4")
    second = await router.continue_video(prompt="a gull", duration=2, continue_from=first.continuation_id, output=tmp_path / "b.mp4")
    sent = fake.last("ExtendVideo")
    assert (sent.prompt, sent.model, sent.duration) == ("a gull", "grok-imagine-video", 2)
    assert sent.video.url == f"{fake.depot.base}/out/{next(iter(fake.depot.made))}?Expires=86400&Signature={fake.depot.signature}"
    assert fake.count("GenerateVideo", "ExtendVideo") == 2
    assert second.continued_as == "extend"
    assert seconds_of(second.path) == pytest.approx(5, abs=0.2)  # one clip, the old and the new
    assert second.continuation_id not in {None, first.continuation_id}
    third = await router.continue_video(prompt="it lands", duration=1, continue_from=second.continuation_id, output=tmp_path / "c.mp4")
    assert seconds_of(third.path) == pytest.approx(6, abs=0.2)
    assert any("2 s at least" in str(warning) for warning in third.warnings)


async def test_editing_passes_the_stored_url_as_the_video_of_a_new_one(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    first = await router.generate_video(prompt="waves", duration=3, backend="grok", model="grok-imagine-video", output=tmp_path / "a.mp4")
    second = await router.continue_video(
        prompt="at night", continue_as="edit", duration=9, continue_from=first.continuation_id, output=tmp_path / "b.mp4"
    )
    sent = fake.last("GenerateVideo")
    assert sent.video.url.startswith(f"{fake.depot.base}/out/{next(iter(fake.depot.made))}?")
    assert not sent.HasField("duration")
    assert fake.count("ExtendVideo") == 0
    assert second.continued_as == "edit"
    assert seconds_of(second.path) == pytest.approx(3, abs=0.2)
    assert [(a.field, a.kind) for a in second.adjustments] == [("duration", "ignored")]


async def test_clip_of_another_model_is_continued_by_the_one_that_can_extend_it(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    for maker in ("grok-imagine-video-1.5", "grok-imagine-video-1.5-lite"):
        first = await router.generate_video(prompt="waves", duration=2, backend="grok", model=maker, output=f"{tmp_path}/")
        second = await router.continue_video(prompt="a gull", duration=2, continue_from=first.continuation_id, output=f"{tmp_path}/")
        assert fake.last("ExtendVideo").model == "grok-imagine-video"
        assert second.provenance.model == "grok-imagine-video"


async def test_video_file_is_extended_or_edited_as_well(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    clip = video(160, 96, 3.0)
    result = await router.continue_video(prompt="go on", source=clip, duration=2, backend="grok", output=f"{tmp_path}/")
    assert bytes_of(fake.last("ExtendVideo").video.url) == clip
    assert result.continued_as == "extend"
    result = await router.continue_video(prompt="bluer", source=clip, continue_as="edit", backend="grok", output=f"{tmp_path}/")
    assert bytes_of(fake.last("GenerateVideo").video.url) == clip
    assert result.continued_as == "edit"


async def test_video_too_long_to_edit_is_refused_before_it_costs_anything(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    clip = video(160, 96, 10.0)
    with pytest.raises(UnsupportedInput, match=r"0 to 8.7 s of video to edit, not 10 s"):
        await router.continue_video(prompt="bluer", source=clip, continue_as="edit", backend="grok", output=f"{tmp_path}/")
    assert fake.calls == []


async def test_limit_on_which_sources_differ_is_the_wider_one_with_a_warning(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.continue_video(prompt="go on", source=video(160, 96, 20.0), duration=2, backend="grok", output=f"{tmp_path}/")
    assert any("2 to 15 s is sure, and this one has 20 s" in str(warning) for warning in result.warnings)
    with pytest.raises(UnsupportedInput, match="2 to 30 s, not 31 s"):
        await router.plan(ContinueVideo(prompt="go on", source=video(160, 96, 31.0)), backend="grok")  # type: ignore[arg-type]


async def test_24_hours_are_counted_on_the_clock_of_the_router(router: Router, fake: GrokServer, clock: Any, tmp_path: Path) -> None:
    clock.ahead = 7 * 86400
    first = await router.generate_video(prompt="waves", duration=2, backend="grok", output=tmp_path / "a.mp4")
    assert first.continuation_id is not None
    kept = await router.store.load_continuation(first.continuation_id)
    assert kept.expires_at == pytest.approx(clock.now() + 86400, abs=60)


async def test_after_24_hours_a_continuation_is_a_clear_error(router: Router, fake: GrokServer, clock: Any, tmp_path: Path) -> None:
    first = await router.generate_video(prompt="waves", duration=2, backend="grok", output=tmp_path / "a.mp4")
    clock.ahead = 24 * 3600 - 60
    await router.plan(ContinueVideo(prompt="more", continue_from=first.continuation_id))  # type: ignore[arg-type]
    clock.ahead = 24 * 3600 + 60
    with pytest.raises(UnknownContinuation, match="expired"):
        await router.continue_video(prompt="more", continue_from=first.continuation_id, output=tmp_path / "b.mp4")
    assert fake.count("ExtendVideo") == 0


async def test_url_that_expired_early_is_reported_in_the_providers_words_without_its_signature(
    router: Router, fake: GrokServer, tmp_path: Path
) -> None:
    first = await router.generate_video(prompt="waves", duration=2, backend="grok", output=tmp_path / "a.mp4")
    fake.depot.expire()
    with pytest.raises(UnknownContinuation, match="403 Forbidden") as caught:
        await router.continue_video(prompt="more", continue_from=first.continuation_id, output=tmp_path / "b.mp4")
    assert fake.depot.signature not in f"{caught.value}{caught.value.to_json()}"
    assert "source" in caught.value.fix
    assert fake.count("ExtendVideo") == 1


async def test_progress_is_the_providers(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    seen: list[float | None] = []
    fake.videos.looks_needed = 4
    async with new_router(on_progress=lambda progress: seen.append(progress.fraction)) as router:
        await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert [fraction for fraction in seen if fraction is not None] == [0.0, 0.25, 0.5, 0.75]


async def test_started_video_is_resumed_by_its_request_id(
    new_router: NewRouter, clock: FastClock, fake: GrokServer, tmp_path: Path
) -> None:
    fake.videos.looks_needed = 1_000_000
    async with new_router() as first:
        request = GenerateVideo(prompt="waves", duration=1)
        making = asyncio.create_task(first.execute(request, backend="grok", output=tmp_path / "waves.mp4", deadline=600.0))
        await until(lambda: in_state(first, "running"))
        clock.ahead += 3600.0
        with pytest.raises(BackendTimeout) as caught:
            await making
    fake.videos.looks_needed = 0
    assert caught.value.job_id is not None
    async with new_router() as second:
        result = await second.resume(caught.value.job_id)
    job_id, job = next(iter(fake.videos.jobs.items()))
    assert result.path == tmp_path / "waves.mp4"
    assert result.path.read_bytes() == job.data
    assert fake.last("GetDeferredVideo").request_id == job_id
    assert fake.count("GenerateVideo") == 1


async def test_failed_status_check_is_repeated(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail("status", on="GetDeferredVideo", times=1, code="UNAVAILABLE")
    fake.fail("garbage", on="GetDeferredVideo", times=1)
    fake.fail("lost", on="GetDeferredVideo", times=1)
    result = await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert result.files
    assert fake.count("GenerateVideo") == 1


@pytest.mark.parametrize(
    ("prompt", "kind", "words", "charged"),
    [
        ("BLOCKED", ContentRefused, "withheld the video", "yes"),
        ("UNSAFE", ContentRefused, "violates usage guidelines", "unknown"),
        ("BROKEN", BackendError, r"\(internal_error\); the provider says: .The video could not be rendered", "unknown"),
        ("LATE", BackendError, "dropped the job", "unknown"),
    ],
)
async def test_job_that_ends_badly_says_how(
    router: Router, fake: GrokServer, tmp_path: Path, prompt: str, kind: type[BackendError], words: str, charged: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        await router.generate_video(prompt=prompt, duration=1, backend="grok", output=f"{tmp_path}/")
    assert caught.value.charged == charged
    spent, row = await router.store.spend(), (await router.jobs())[0]
    assert row.quote_usd is not None
    assert spent.reserved_usd == 0
    assert spent.committed_usd == pytest.approx(0.05 if charged == "yes" else row.quote_usd[1])  # the ticks of the answer, where it has any
    assert (caught.value.backend, caught.value.model) == ("grok", "grok-imagine-video-1.5")
    assert fake.count("GenerateVideo") == 1


@pytest.mark.parametrize("details", ["Request not found.", "The model of this request was not found."])
async def test_job_the_provider_has_not_heard_of_yet_is_checked_again(
    router: Router, fake: GrokServer, tmp_path: Path, details: str
) -> None:
    fake.fail("status", on="GetDeferredVideo", times=2, code="NOT_FOUND", details=details)
    result = await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert result.path.read_bytes() == next(iter(fake.videos.jobs.values())).data
    assert (fake.count("GenerateVideo"), fake.count("GetDeferredVideo")) == (1, 2 + fake.videos.looks_needed + 1)


async def test_job_the_provider_forgot_is_lost_after_a_few_status_checks(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.fail("status", on="GetDeferredVideo", times=None, code="NOT_FOUND", details="Request not found.")
    with pytest.raises(JobNotFound, match=r"no longer finds the job 'req_\w+'.*not found") as caught:
        await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert (caught.value.charged, (await router.jobs())[0].state) == ("unknown", "lost")
    assert (fake.count("GenerateVideo"), fake.count("GetDeferredVideo")) == (1, 7)


@pytest.mark.parametrize(("code", "times"), [("INVALID_ARGUMENT", 4), ("FAILED_PRECONDITION", 4), ("UNIMPLEMENTED", 12)])
async def test_refused_status_check_fails_without_losing_the_job(
    router: Router, fake: GrokServer, tmp_path: Path, code: str, times: int
) -> None:
    fake.fail("status", on="GetDeferredVideo", times=times, code=code, details="not like this")
    result = await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert result.path.exists()
    assert fake.count("GenerateVideo") == 1


async def test_kept_video_is_continued_by_its_file_and_outlives_its_url(
    new_router: NewRouter, fake: GrokServer, clock: Any, tmp_path: Path
) -> None:
    async with new_router(keep_videos=7 * 86400) as router:
        first = await router.generate_video(prompt="waves", duration=2, backend="grok", output=tmp_path / "a.mp4")
        assert fake.last("GenerateVideo").storage_options.expires_after == 7 * 86400
        fake.depot.expire()
        clock.ahead = 3 * 86400
        await router.continue_video(prompt="more", duration=2, continue_from=first.continuation_id, output=tmp_path / "b.mp4")
        assert fake.last("ExtendVideo").video.file_id == next(iter(fake.depot.files))
        clock.ahead = 8 * 86400
        with pytest.raises(UnknownContinuation, match="expired"):
            await router.continue_video(prompt="more", continue_from=first.continuation_id, output=tmp_path / "c.mp4")


async def test_lost_start_is_found_again_by_the_name_of_its_kept_file(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    from anymedia.errors import SubmissionUnknown

    fake.fail("lost", on="GenerateVideo")
    async with new_router(keep_videos=86400) as router:
        with pytest.raises(SubmissionUnknown) as caught:
            await router.generate_video(prompt="waves", duration=2, backend="grok", output=tmp_path / "waves.mp4")
        assert caught.value.job_id is not None
        job_id, job = next(iter(fake.videos.jobs.items()))  # it did arrive, and is finished meanwhile
        job.looks = 99
        fake.videos.GetDeferredVideo(video_pb2.GetDeferredVideoRequest(request_id=job_id), None)
        result = await router.resume(caught.value.job_id)
    assert result.path.read_bytes() == job.data
    assert fake.count("GenerateVideo") == 1


async def test_video_that_could_not_be_kept_comes_with_a_warning(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    fake.videos.storage_fails = True
    async with new_router(keep_videos=86400) as router:
        result = await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert any("could not store the video: storage is full" in str(warning) for warning in result.warnings)
