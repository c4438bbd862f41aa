"""Videos: made as jobs, looked at until they are done, continued without touching what is there."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest
from tiers import quick_first

from anymedia.errors import BackendError, InvalidRequest
from anymedia.media import Image, Video
from anymedia.requests import ContinueVideo, GenerateVideo
from anymedia.results import Failed, Job, Running, Succeeded

pytestmark = pytest.mark.anyio

SIZE = "256x144"


def _said(outcome: Any) -> str:
    return " ".join(map(str, outcome.warnings))


@pytest.mark.parametrize(("name", "codec"), quick_first([("mp4", "h264"), ("webm", "vp9")]))
@pytest.mark.parametrize("duration", quick_first([0.5, 1.3]))
async def test_a_video_has_the_size_length_and_format_that_was_asked_for(
    local: Any, eyes: Any, name: str, codec: str, duration: float
) -> None:
    av: Any = pytest.importorskip("av")

    piece = await local.piece(GenerateVideo(prompt="sea at sunset", size=SIZE, duration=duration, seed=1, output_format=name))
    assert piece.mime == f"video/{name}"
    frames = eyes.frames(piece.data)
    assert len(frames) == round(duration * 24)
    assert frames[0].shape == (144, 256, 3)
    with av.open(io.BytesIO(piece.data)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in {codec, "libvpx-vp9"}
        assert stream.average_rate == 24
        assert container.duration / 1e6 == pytest.approx(duration, abs=0.05)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({"resolution": "360p"}, (640, 360)),
        ({"resolution": "360p", "aspect_ratio": "9:16"}, (360, 640)),
        ({"resolution": "480p", "aspect_ratio": "1:1"}, (480, 480)),
        ({}, (1280, 720)),
        ({"resolution": "1080p", "aspect_ratio": "21:9"}, (1920, 822)),
    ],
)
async def test_resolution_and_ratio_give_the_size(local: Any, eyes: Any, more: Any, size: Any) -> None:
    frame = eyes.frames((await local.piece(GenerateVideo(prompt="city", duration=0.1, seed=1, **more))).data)[0]
    assert (frame.shape[1], frame.shape[0]) == size


@pytest.mark.exhaustive
async def test_a_scene_moves_and_its_seed_decides(local: Any, eyes: Any) -> None:
    first, again, other = [
        eyes.frames((await local.piece(GenerateVideo(prompt="mountain lake", size=SIZE, duration=1, seed=seed))).data) for seed in (3, 3, 4)
    ]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert np.abs(first[0].astype(int) - other[0]).mean() > 3
    assert np.abs(first[0].astype(int) - first[-1]).mean() > 0.5


@pytest.mark.exhaustive
async def test_a_negative_prompt_takes_things_out_of_the_video(local: Any, eyes: Any) -> None:
    request = GenerateVideo(prompt="meadow with flowers, day", size=SIZE, duration=0.1, seed=2)
    plain, bare = [eyes.frames((await local.piece(r)).data)[0] for r in (request, attrs.evolve(request, negative_prompt="flowers"))]
    assert np.abs(plain[110:].astype(int) - bare[110:]).mean() > 2


@pytest.mark.exhaustive
async def test_the_first_frame_is_the_picture_and_the_camera_moves_as_told(local: Any, eyes: Any, photo: Any) -> None:
    first = eyes.image(photo)

    async def film(prompt: str) -> Any:
        return eyes.frames((await local.piece(GenerateVideo(prompt=prompt, first_frame=first, duration=1, seed=1))).data)

    def thing(frame: Any) -> tuple[float, float]:
        """Return how large the red box is and where it stands."""
        red = (frame[..., 0].astype(int) - frame[..., 1] > 90) & (frame[..., 2] < 110)
        return float(red.sum()), float(np.nonzero(red)[1].mean())

    closer = await film("zoom in")
    assert closer[0].shape == (160, 240, 3)
    assert np.abs(closer[0].astype(int) - photo).mean() < 3
    area, x = thing(closer[0])
    assert thing(closer[-1])[0] > 1.4 * area
    assert thing((await film("the camera pulls back"))[-1])[0] < 0.8 * area
    assert thing((await film("pan right"))[-1])[1] < x - 8
    assert thing((await film("pan left"))[-1])[1] > x + 8


@pytest.mark.exhaustive
async def test_words_about_weather_and_light_change_the_picture_gradually(local: Any, eyes: Any, photo: Any) -> None:
    async def film(prompt: str) -> Any:
        return eyes.frames((await local.piece(GenerateVideo(prompt=prompt, first_frame=eyes.image(photo), duration=1, seed=1))).data)

    night = await film("still camera, night falls")
    assert np.abs(night[0].astype(int) - photo).mean() < 3
    assert night[-1].mean() < 0.6 * photo.mean()
    snow = await film("still camera, snow falls")
    assert (snow[-1].min(axis=2) > 235).sum() > (snow[0].min(axis=2) > 235).sum() + 20


@pytest.mark.exhaustive
async def test_first_and_last_frame_are_met_and_joined_by_motion(local: Any, eyes: Any) -> None:
    """A thing on the left, then on the right: in the middle of the way it stands in the middle."""
    chance = np.random.default_rng(5)
    ground = chance.integers(60, 120, (36, 64, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    first, last = ground.copy(), ground.copy()
    first[50:90, 80:120], last[50:90, 96:136] = (250, 240, 60), (250, 240, 60)
    request = GenerateVideo(prompt="it moves", first_frame=eyes.image(first), last_frame=eyes.image(last), size=SIZE, duration=1, seed=1)
    frames = eyes.frames((await local.piece(request)).data)
    assert np.abs(frames[0].astype(int) - first).mean() < 4
    assert np.abs(frames[-1].astype(int) - last).mean() < 4

    def middle(frame: Any) -> float:
        return float(np.nonzero((frame[..., 0] > 200) & (frame[..., 2] < 120))[1].mean())

    assert middle(frames[0]) == pytest.approx(99.5, abs=2)
    assert middle(frames[12]) == pytest.approx(107.5, abs=4)
    assert middle(frames[-1]) == pytest.approx(115.5, abs=2)


async def test_a_last_frame_alone_is_refused(local: Any, eyes: Any, photo: Any) -> None:
    with pytest.raises(InvalidRequest, match="needs a first frame"):
        await local.run(GenerateVideo(prompt="x", last_frame=eyes.image(photo)))


async def test_first_frame_that_is_not_a_picture_is_refused(local: Any) -> None:
    with pytest.raises(InvalidRequest, match="cannot be decoded"):
        await local.run(GenerateVideo(prompt="x", first_frame=Image(data=b"nothing", mime="image/png")))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["mp4", "webm"])
async def test_going_on_keeps_the_old_frames_bit_for_bit_and_the_scene_runs_on(local: Any, eyes: Any, name: str) -> None:
    first = await local.piece(GenerateVideo(prompt="sailboat on the sea", size=SIZE, duration=2, seed=1, output_format=name))
    earlier, files = eyes.earlier(first, "video", "landscape-video")
    outcome = await local.run(ContinueVideo(prompt="go on", continue_from=earlier, duration=1.5), files=files)
    assert (outcome.continued_as, outcome.warnings) == ("extend", ())
    old, new = eyes.frames(first.data), eyes.frames(outcome.pieces[0].data)
    assert len(new) == 48 + 36
    assert all((a == b).all() for a, b in zip(old, new, strict=False))
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(new)]
    keyframes = [steps[23], steps[71]]
    assert steps[47] < 1.8 * max(keyframes)  # the seam is no more than any other keyframe
    again, files = eyes.earlier(outcome.pieces[0], "video", "landscape-video")
    third = eyes.frames((await local.run(ContinueVideo(prompt="on", continue_from=again, duration=1), files=files)).pieces[0].data)
    assert len(third) == 48 + 36 + 24
    assert all((a == b).all() for a, b in zip(new, third, strict=False))
    straight = eyes.frames((await local.piece(GenerateVideo(prompt="sailboat on the sea", size=SIZE, duration=4.5, seed=1))).data)
    assert np.abs(straight[-1].astype(int) - third[-1]).mean() < 4  # as if it had been made in one go


@pytest.mark.exhaustive
async def test_a_continuation_follows_its_prompt(local: Any, eyes: Any) -> None:
    first = await local.piece(GenerateVideo(prompt="mountains, day", size=SIZE, duration=0.5, seed=1))
    earlier, files = eyes.earlier(first, "video", "landscape-video")
    frames = eyes.frames(
        (await local.run(ContinueVideo(prompt="night falls", continue_from=earlier, duration=2), files=files)).pieces[0].data
    )
    assert np.abs(frames[12].astype(int) - frames[11]).mean() < 6
    assert frames[-1].mean() < 0.5 * frames[0].mean()
    bare = await local.run(
        ContinueVideo(prompt="night falls", negative_prompt="moon, stars", continue_from=earlier, duration=2), files=files
    )
    dark = eyes.frames(bare.pieces[0].data)[-1]
    assert dark[:60].max() < frames[-1][:60].max() - 40


@pytest.mark.exhaustive
async def test_film_over_a_picture_continues_its_motion(local: Any, eyes: Any, photo: Any) -> None:
    request = GenerateVideo(prompt="pan right slowly", first_frame=eyes.image(photo), size="240x160", duration=1, seed=1)
    first = await local.piece(request)
    earlier, files = eyes.earlier(first, "video", "landscape-video")
    outcome = await local.run(ContinueVideo(prompt="zoom out", continue_from=earlier, duration=1), files=files)
    old, new = eyes.frames(first.data), eyes.frames(outcome.pieces[0].data)
    assert outcome.warnings == ()
    assert len(new) == 48
    assert all((a == b).all() for a, b in zip(old, new, strict=False))
    assert np.abs(new[24].astype(int) - new[23]).mean() < 8
    assert np.abs(new[47].astype(int) - new[24]).mean() > 2


def _foreign(name: str, codec: str, *, rate: int = 15, sound: bool = False, size: tuple[int, int] = (160, 120)) -> bytes:
    """Return a video from another hand: the camera moves two pixels a frame over soft spots."""
    av: Any = pytest.importorskip("av")
    cv2: Any = pytest.importorskip("cv2")

    file = io.BytesIO()
    with av.open(file, "w", format=name) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = 4_000_000
        track = out.add_stream("aac", rate=44100) if sound else None
        chance = np.random.default_rng(1)
        coarse = chance.integers(40, 216, (size[1] // 8, size[0] // 8 + 12, 3)).astype(np.uint8)
        ground = cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        for i in range(rate):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ground[:, 2 * i : 2 * i + size[0]]), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None:
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
            noise.sample_rate = 44100
            out.mux(track.encode(noise))
            out.mux(track.encode(None))
    return file.getvalue()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "codec", "sound"), [("mp4", "mpeg4", False), ("mp4", "libx264", True), ("mov", "libx264", False)])
async def test_foreign_video_is_reencoded_and_reported(local: Any, eyes: Any, name: str, codec: str, sound: bool) -> None:
    data = _foreign(name, codec, sound=sound)
    outcome = await local.run(ContinueVideo(prompt="go on", source=Video(data=data, mime=f"video/{name}"), duration=1))
    assert "re-encoded" in _said(outcome)
    assert ("its sound was left out" in _said(outcome)) == sound
    old, new = eyes.frames(data), eyes.frames(outcome.pieces[0].data)
    assert len(new) == 30  # 15 frames a second, as it was
    assert all(np.abs(a.astype(int) - b).mean() < 4 for a, b in zip(old, new, strict=False))
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(new)]
    assert steps[14] < 1.3 * np.median(steps[:14])  # the seam is a step like any other
    assert steps[28] > 0.3 * np.median(steps[:14])  # it still moves at the end


@pytest.mark.exhaustive
async def test_frames_that_came_at_uneven_times_are_each_shown_as_long_as_they_were(local: Any, eyes: Any) -> None:
    av: Any = pytest.importorskip("av")
    file, shown = io.BytesIO(), [(0, 40), (20, 80), (1020, 120), (1040, 160), (2000, 200)]  # milliseconds, brightness
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for at, level in shown:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    outcome = await local.run(ContinueVideo(prompt="go on", source=Video(data=file.getvalue(), mime="video/mp4"), duration=1))
    assert "came at uneven times" in _said(outcome)
    with av.open(io.BytesIO(outcome.pieces[0].data)) as made:
        levels = [(frame.time, float(frame.to_ndarray(format="gray").mean())) for frame in made.decode(video=0)]
    for (at, level), until in itertools.zip_longest(shown, [at for at, _ in shown[1:]], fillvalue=2015):
        for moment in (at / 1000 + 0.005, until / 1000 - 0.005):
            seen = [brightness for begun, brightness in levels if begun <= moment][-1]
            assert abs(seen - level) < 12, (moment, seen, level)


@pytest.mark.exhaustive
async def test_video_in_another_format_is_reencoded(local: Any, eyes: Any) -> None:
    first = await local.piece(GenerateVideo(prompt="sea", size=SIZE, duration=0.5, seed=1))
    earlier, files = eyes.earlier(first, "video", "landscape-video")
    outcome = await local.run(ContinueVideo(prompt="on", continue_from=earlier, duration=0.5, output_format="webm"), files=files)
    assert "re-encoded" in _said(outcome)
    assert len(eyes.frames(outcome.pieces[0].data)) == 24


@pytest.mark.parametrize("data", [b"", b"no video", b"\0\0\0\x18ftypmp42" + b"\0" * 100])
async def test_file_that_is_not_a_video_is_refused_before_any_work(local: Any, data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        await local.start(ContinueVideo(prompt="x", source=Video(data=data, mime="video/mp4")))


# Jobs


@pytest.mark.exhaustive
async def test_a_job_tells_how_far_it_is_and_keeps_the_event_loop_free(local: Any) -> None:
    from local_media import plugin

    job = await local.start(GenerateVideo(prompt="mountain lake at sunset", resolution="480p", duration=3, seed=1))
    assert isinstance(job, Job)
    seen: list[Any] = []
    while isinstance(state := await plugin.check_job(job, local.context("generate_video")), Running):
        seen.append(state.progress)
        await asyncio.sleep(0.02)
    assert isinstance(state, Succeeded)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2  # a loop that waits for the work never sees it half done


@pytest.mark.exhaustive
async def test_job_is_resumed_by_another_process_from_its_json_alone(local: Any, eyes: Any, photo: Any) -> None:
    """The handle goes through JSON into a fresh interpreter, which knows nothing but the state directory."""
    import subprocess
    import sys

    request = GenerateVideo(prompt="zoom in", first_frame=eyes.image(photo), size=SIZE, duration=0.5, seed=1)
    job = await local.start(request)
    here = await local.wait(job)
    code = """
import asyncio, json, sys
from anymedia.context import Context
from anymedia.results import Job, Running, Succeeded
from local_media import plugin
given = json.load(sys.stdin)
async def main():
    job = Job(**given["job"])
    context = Context(backend="local", settings={"state_dir": given["state"]})
    while isinstance(state := await plugin.check_job(job, context), Running):
        await asyncio.sleep(0.05)
    assert isinstance(state, Succeeded), state
    sys.stdout.buffer.write(state.outcome.pieces[0].data)
asyncio.run(main())
"""
    text = json.dumps({"job": {"id": job.id, "data": dict(job.data)}, "state": str(local.state)})

    def elsewhere() -> bytes:
        return subprocess.run([sys.executable, "-c", code], input=text.encode(), capture_output=True, check=True, timeout=60).stdout

    made = await asyncio.to_thread(elsewhere)
    there, old = eyes.frames(made), eyes.frames(here.pieces[0].data)
    assert len(there) == 12
    assert all((a == b).all() for a, b in zip(old, there, strict=True))


async def test_a_job_whose_inputs_are_gone_fails_for_good_and_says_so(local: Any, eyes: Any, photo: Any) -> None:
    from local_media import plugin

    job = await local.start(GenerateVideo(prompt="zoom in", first_frame=eyes.image(photo), size=SIZE, duration=0.5, seed=1))
    await local.wait(job)
    for path in local.state.iterdir():
        path.unlink()
    lost = attrs.evolve(job, id="0" * 32)
    with pytest.raises(BackendError, match="no longer kept"):
        await local.wait(lost)
    assert isinstance(await plugin.check_job(lost, local.context("generate_video")), Failed)


async def test_a_cancelled_job_stops_and_stays_stopped(local: Any) -> None:
    from local_media import plugin

    job = await local.start(GenerateVideo(prompt="city at night", resolution="360p", duration=60, seed=1))
    await plugin.cancel_job(job, local.context("generate_video"))
    with pytest.raises(BackendError, match="was cancelled"):
        await local.wait(job)
    from local_media.videos import jobs

    worker = jobs._workers[job.id]
    await asyncio.to_thread(worker.thread.join, 100)  # the frame under way is finished first
    assert worker.outcome is None
    assert not worker.thread.is_alive()


async def test_a_submission_is_found_again_by_its_label(local: Any) -> None:
    from anymedia.hookspecs import SubmissionRecord
    from local_media import plugin

    request = GenerateVideo(prompt="sea", size=SIZE, duration=0.2, seed=1)
    job = await local.start(request, label="call-17")
    record = SubmissionRecord(label="call-17", model="landscape-video", operation="generate_video", prompt="sea", started_at=0.0)
    found = await plugin.find_submission(record, local.context("generate_video"))
    assert isinstance(found, Job)
    assert (found.id, dict(found.data)) == (job.id, dict(job.data))
    await local.wait(found)
    assert await plugin.find_submission(attrs.evolve(record, label="call-18"), local.context("generate_video")) is None


async def test_kept_inputs_are_private_and_pruned_after_a_week(local: Any, eyes: Any, photo: Any) -> None:
    import os

    request = GenerateVideo(prompt="zoom in", first_frame=eyes.image(photo), size=SIZE, duration=0.1, seed=1)
    job = await local.start(request)
    await local.wait(job)
    kept = local.state / job.data["inputs"]["first"]
    assert kept.read_bytes() == request.first_frame.data  # type: ignore[union-attr]
    assert kept.stat().st_mode & 0o077 == 0
    assert local.state.stat().st_mode & 0o077 == 0
    week = time.time() - 8 * 24 * 3600
    os.utime(kept, (week, week))
    await local.wait(await local.start(GenerateVideo(prompt="sea", size=SIZE, duration=0.1, seed=1)))
    assert not kept.exists()


@pytest.mark.parametrize("form", quick_first(["mp4", "webm"]))
async def test_frames_stay_evenly_spaced_through_a_chain_of_continuations(local: Any, eyes: Any, form: str) -> None:
    av: Any = pytest.importorskip("av")

    piece = await local.piece(GenerateVideo(prompt="waves", size="64x64", duration=0.5, seed=1, output_format=form))
    for count in (24, 36, 48):
        earlier, files = eyes.earlier(piece, "video", "landscape-video")
        before = eyes.frames(piece.data)
        piece = await local.piece(ContinueVideo(prompt="waves", continue_from=earlier, continue_as="extend", duration=0.5), files=files)
        after = eyes.frames(piece.data)
        assert all((old == new).all() for old, new in zip(before, after, strict=False))
        with av.open(io.BytesIO(piece.data)) as container:
            stream = container.streams.video[0]
            times = sorted(float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.pts is not None)
        assert len(after) == len(times) == count
        assert times == pytest.approx([n / 24 for n in range(count)], abs=0.0011)  # WebM counts in milliseconds


@pytest.mark.parametrize(("prompt", "drifts"), [("on it goes", True), ("pan left", False), ("zoom in", False), ("zoom out", False)])
async def test_continued_video_shows_its_sun_once(local: Any, eyes: Any, prompt: str, drifts: bool) -> None:
    """A sun near the edge, towards which the camera moves: what lies beyond the edge is not a mirror image."""
    av: Any = pytest.importorskip("av")

    picture = np.full((144, 256, 3), (40, 90, 180), np.uint8)
    picture[60:] = np.random.default_rng(1).integers(30, 120, (84, 256, 1), np.uint8)
    y, x = np.mgrid[0:144, 0:256]
    picture[(y - 30) ** 2 + (x - 24) ** 2 < 100] = (255, 240, 120)
    film = await local.piece(GenerateVideo(prompt="pan left", first_frame=Image(data=eyes.png(picture)), duration=0.5, seed=1))
    piece = await local.piece(ContinueVideo(prompt=prompt, source=Video(data=film.data), duration=1.0))
    for frame in av.open(io.BytesIO(piece.data)).decode(video=0):
        rgb = frame.to_ndarray(format="rgb24").astype(int)
        bright = ((rgb[..., 0] > 190) & (rgb[..., 2] < 190)).astype(np.uint8)
        columns = np.flatnonzero(bright[:60].sum(axis=0) > 3)
        assert len(columns) == 0 or np.diff(columns).max(initial=1) <= 3  # one sun
