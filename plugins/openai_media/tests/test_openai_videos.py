"""The videos protocol on a server that speaks it: jobs, status checks, resumable downloads, look-ups."""

from __future__ import annotations

import base64
import time
import tracemalloc
import warnings
from collections.abc import Callable

import pytest
from wire.forms import read_form
from wire.media_bytes import image, video
from wire.openai_server import OpenAIServer

from anymedia.capabilities import load_matrix
from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendUnavailable, BadBackendResponse, ContentRefused, InvalidRequest, JobNotFound, UnknownContinuation
from anymedia.hookspecs import SubmissionRecord
from anymedia.media import Image, Video
from anymedia.requests import Continuation, ContinueVideo, GenerateVideo, Operation
from anymedia.results import Failed, Job, Outcome, Piece, Running, Succeeded
from openai_media import plugin

MakeContext = Callable[..., Context]


async def create(make: MakeContext, prompt: str = "a boat", **options: object) -> Job:
    context = make("sora-2", "generate_video", service="compatible")
    made = await plugin.generate_video(request=GenerateVideo(prompt=prompt, **options), context=context)  # type: ignore[arg-type]
    assert isinstance(made, Job)
    return made


async def finished(make: MakeContext, job: Job, operation: Operation = "generate_video") -> Outcome:
    for _ in range(10):
        state = await plugin.check_job(job=job, context=make("sora-2", operation, service="compatible"))
        if isinstance(state, Succeeded):
            return state.outcome
        assert isinstance(state, Running), state
    raise AssertionError("the job never ended")


async def collected(piece: Piece, start: int = 0) -> bytes:
    assert piece.stream is not None
    return b"".join([chunk async for chunk in piece.stream(start)])


def continued(job: Job, prompt: str = "slower", **more: object) -> ContinueVideo:
    handle = Continuation(id="sora_vid_0123456789ab", backend="openai", model="sora-2", media="video", data={"video_id": job.id})
    return ContinueVideo(prompt=prompt, continue_from=handle, **more)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_job_is_followed_to_its_end_and_streamed(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context, duration=8, size="1280x720")
    looks = [await plugin.check_job(job=job, context=make_context("sora-2", "generate_video", service="compatible")) for _ in range(3)]
    assert [(s.progress, s.note) for s in looks if isinstance(s, Running)] == [(0.0, "queued"), (0.5, "in_progress")]
    assert isinstance(looks[2], Succeeded)
    piece = looks[2].outcome.pieces[0]
    assert await collected(piece) == fake.videos.files[job.id] == video(1280, 720, 8.0, tint=0)
    assert piece.continuation is not None
    assert piece.continuation.data == {"video_id": job.id}
    assert looks[2].outcome.usage == {"seconds": "8", "size": "1280x720"}


@pytest.mark.anyio
async def test_video_call_emits_no_deprecation_warning_of_the_sdk(fake: OpenAIServer, make_context: MakeContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job = await create(make_context)
        await collected((await finished(make_context, job)).pieces[0])
        await plugin.cancel_job(job=job, context=make_context("sora-2", "generate_video", service="compatible"))


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
async def test_first_frame_is_the_input_reference_file(fake: OpenAIServer, make_context: MakeContext, form: str) -> None:
    frame, data = Image(data=b"as given"), image(1280, 720, form)
    loaded = {frame: LoadedMedia(data=data, mime=f"image/{form}", filename=f"frame.{form}")}
    context = make_context("sora-2", "generate_video", loaded, service="compatible")
    job = await plugin.generate_video(request=GenerateVideo(prompt="it moves", first_frame=frame, size="1280x720"), context=context)
    assert isinstance(job, Job)
    assert fake.videos.references[job.id] == data
    received = fake.last("POST /v1/videos")
    (part,) = read_form(received.headers["content-type"], received.body).files("input_reference")
    assert (part.mime, part.filename) == (f"image/{form}", f"frame.{form}")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("way", "path", "body"),
    [
        (None, "/v1/videos/{id}/remix", {"prompt": "slower"}),
        ("remix", "/v1/videos/{id}/remix", {"prompt": "slower"}),
        ("edit", "/v1/videos/edits", {"prompt": "slower", "video": {"id": "{id}"}}),
        ("extend", "/v1/videos/extensions", {"prompt": "slower", "video": {"id": "{id}"}, "seconds": "4"}),
    ],
)
async def test_continuation_of_each_kind_has_its_own_endpoint_and_a_new_job(
    fake: OpenAIServer, make_context: MakeContext, way: str | None, path: str, body: dict[str, object]
) -> None:
    first = await create(make_context)
    await finished(make_context, first)
    context = make_context("sora-2", "continue_video", service="compatible")
    second = await plugin.continue_video(request=continued(first, continue_as=way), context=context)
    assert isinstance(second, Job)
    expected = {k: {"id": first.id} if k == "video" else v for k, v in body.items()}
    assert (fake.last("POST").path, fake.last("POST").json()) == (path.format(id=first.id), expected)
    assert second.id != first.id
    outcome = await finished(make_context, second, "continue_video")
    assert outcome.continued_as == (way or "remix")
    assert outcome.pieces[0].continuation is not None
    assert outcome.pieces[0].continuation.data["video_id"] == second.id
    assert outcome.usage["seconds"] == ("8" if way == "extend" else "4")


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["edit", "extend", None])
async def test_video_file_is_uploaded_to_be_edited_or_extended(fake: OpenAIServer, make_context: MakeContext, way: str | None) -> None:
    source, data = Video(data=b"as given"), video(320, 240, 1.0)
    loaded = {source: LoadedMedia(data=data, mime="video/mp4", filename="input.mp4")}
    context = make_context("sora-2", "continue_video", loaded, service="compatible")
    request = ContinueVideo(prompt="slower", source=source, continue_as=way, duration=12 if way == "extend" else None)  # type: ignore[arg-type]
    job = await plugin.continue_video(request=request, context=context)
    assert isinstance(job, Job)
    assert fake.videos.references[job.id] == data
    assert job.data == {"way": way or "edit"}
    received = fake.last("POST")
    texts = read_form(received.headers["content-type"], received.body).texts()
    assert texts == ({"prompt": "slower", "seconds": "12"} if way == "extend" else {"prompt": "slower"})


@pytest.mark.anyio
async def test_file_cannot_be_remixed_and_a_handle_without_a_video_id_not_be_continued(
    fake: OpenAIServer, make_context: MakeContext
) -> None:
    source = Video(data=b"x")
    context = make_context("sora-2", "continue_video", {source: LoadedMedia(data=b"x", mime="video/mp4", filename="a.mp4")})
    with pytest.raises(InvalidRequest, match="remix"):
        await plugin.continue_video(request=ContinueVideo(prompt="slower", source=source, continue_as="remix"), context=context)
    for data in ({}, {"video_id": "../files/secret"}, {"video_id": 7}):
        handle = Continuation(id="sora_vid_1", backend="openai", media="video", data=data)
        with pytest.raises(UnknownContinuation, match="sora_vid_1"):
            await plugin.continue_video(
                request=ContinueVideo(prompt="slower", continue_from=handle), context=make_context("sora-2", "continue_video")
            )
    assert fake.received == []


@pytest.mark.anyio
async def test_interrupted_download_is_resumed_at_its_offset(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context)
    piece = (await finished(make_context, job)).pieces[0]
    whole = fake.videos.files[job.id]
    fake.fail("truncate", on=f"GET /v1/videos/{job.id}/content", keep=5000)
    got = bytearray()
    assert piece.stream is not None
    with pytest.raises(BackendUnavailable):
        async for chunk in piece.stream(0):
            got += chunk
    assert 0 < len(got) <= 5000
    rest = await collected(piece, len(got))
    assert fake.last().headers["range"] == f"bytes={len(got)}-"
    assert bytes(got) + rest == whole


@pytest.mark.anyio
async def test_server_that_cannot_start_in_the_middle_is_reported(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.videos.ranges = False
    job = await create(make_context)
    piece = (await finished(make_context, job)).pieces[0]
    with pytest.raises(ValueError, match="cannot start at byte 100"):
        await collected(piece, 100)


@pytest.mark.anyio
async def test_redirected_download_is_followed_without_the_key(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context)
    piece = (await finished(make_context, job)).pieces[0]
    with OpenAIServer(any_key=True) as storage:
        storage.videos.jobs[job.id], storage.videos.files[job.id] = {"id": job.id, "status": "completed"}, b"the file"
        where = {"location": f"{storage.base_url}/videos/{job.id}/content"}
        fake.fail("status", on=f"GET /v1/videos/{job.id}/content", status=302, json={}, headers=where)
        assert await collected(piece) == b"the file"
        assert "authorization" in fake.last().headers
        assert "authorization" not in storage.last().headers


@pytest.mark.anyio
async def test_redirected_download_is_resumed_at_its_offset(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context)
    piece = (await finished(make_context, job)).pieces[0]
    with OpenAIServer(any_key=True) as storage:
        storage.videos.jobs[job.id], storage.videos.files[job.id] = {"id": job.id, "status": "completed"}, b"the file"
        where = {"location": f"{storage.base_url}/videos/{job.id}/content"}
        fake.fail("status", on=f"GET /v1/videos/{job.id}/content", times=None, status=307, json={}, headers=where)
        assert await collected(piece, 4) == b"file"
        storage.videos.ranges = False
        with pytest.raises(ValueError, match="cannot start at byte 4"):
            await collected(piece, 4)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "place", ["private", "http://169.254.169.254/latest/meta-data/", "http://[::1]:1/", "data:video/mp4,x", "file:///etc/passwd", "//["]
)
async def test_download_that_is_redirected_into_the_machine_or_its_network_is_not_followed(
    fake: OpenAIServer, make_context: MakeContext, place: str
) -> None:
    job = await create(make_context)
    context = make_context("sora-2", "generate_video", service="compatible", fetch_allow=())
    piece = (await finished(lambda *_, **__: context, job)).pieces[0]
    with OpenAIServer(any_key=True) as inside:
        where = {"location": inside.base_url if place == "private" else place}
        fake.fail("status", on=f"GET /v1/videos/{job.id}/content", times=None, status=302, json={}, headers=where)
        with pytest.raises(BadBackendResponse):
            await collected(piece)
        assert inside.received == []


@pytest.mark.anyio
async def test_download_is_sent_on_within_its_own_server_but_not_without_end(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context)
    piece = (await finished(make_context, job)).pieces[0]
    path = f"/v1/videos/{job.id}/content"
    fake.fail("status", on=f"GET {path}", status=302, json={}, headers={"location": path})
    assert await collected(piece) == fake.videos.files[job.id]
    assert "authorization" in fake.last().headers
    before = len(fake.received)
    fake.fail("status", on=f"GET {path}", times=None, status=302, json={}, headers={"location": path})
    with pytest.raises(BadBackendResponse, match="redirects more than"):
        await collected(piece)
    assert len(fake.received) - before < 10


@pytest.mark.anyio
async def test_long_file_passes_through_in_little_memory(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context)
    piece = (await finished(make_context, job)).pieces[0]
    fake.videos.files[job.id] = bytes(60_000_000)
    assert piece.stream is not None
    size, peak = 0, 0
    tracemalloc.start()
    try:
        async for chunk in piece.stream(0):
            size += len(chunk)
            if size == len(chunk):
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert size == 60_000_000
    assert peak < 20_000_000  # the fake's own copies are counted too: it is in this process


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
async def test_job_that_ends_badly_is_over(fake: OpenAIServer, make_context: MakeContext, status: str) -> None:
    job = await create(make_context)
    fake.videos.jobs[job.id] |= {"status": status, "error": {"code": "gpu_lost", "message": "the worker died"}}
    fake.videos.looks = 10**6
    body = {**fake.videos.jobs[job.id]}
    fake.fail("status", on=f"GET /v1/videos/{job.id}", status=200, json=body)
    state = await plugin.check_job(job=job, context=make_context("sora-2", "generate_video", service="compatible"))
    assert isinstance(state, Failed)
    assert "the worker died" in state.error.message


@pytest.mark.anyio
@pytest.mark.parametrize("bare", [False, True], ids=["whole", "bare"])
async def test_job_refused_by_moderation_says_so_with_and_without_a_code(fake: OpenAIServer, make_context: MakeContext, bare: bool) -> None:
    fake.videos.bare = bare
    job = await create(make_context, prompt="FORBIDDEN")
    states = [await plugin.check_job(job=job, context=make_context("sora-2", "generate_video", service="compatible")) for _ in range(3)]
    assert isinstance(states[-1], Failed)
    assert isinstance(states[-1].error, ContentRefused) is not bare  # this server gives no code with its words
    assert "blocked" in states[-1].error.message


@pytest.mark.anyio
@pytest.mark.parametrize("status", [404, 405, 410])
@pytest.mark.parametrize("error", [{"message": "No such video."}, {"message": "No.", "code": "model_not_found"}], ids=["plain", "coded"])
async def test_job_unknown_to_its_server_is_not_found_rather_than_failed(
    fake: OpenAIServer, make_context: MakeContext, status: int, error: dict[str, str]
) -> None:
    fake.fail("status", on="GET /v1/videos/", status=status, json={"error": error})
    with pytest.raises(JobNotFound, match=f"does not know the job; .*{error['message']}"):
        await plugin.check_job(job=Job(id="video_gone"), context=make_context("sora-2", "generate_video", service="compatible"))


@pytest.mark.anyio
@pytest.mark.parametrize("status", [400, 409, 422])
async def test_refused_status_check_fails_without_ending_the_job(fake: OpenAIServer, make_context: MakeContext, status: int) -> None:
    fake.fail("status", on="GET /v1/videos/", status=status, json={"error": {"message": "not like this"}})
    with pytest.raises(InvalidRequest, match="not like this"):
        await plugin.check_job(job=Job(id="video_1"), context=make_context("sora-2", "generate_video", service="compatible"))


@pytest.mark.anyio
async def test_server_that_answers_only_what_it_must_will_do(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.videos.bare = True
    fake.videos.states = ("pending", "warming_up", "rendering")
    fake.videos.looks = 3
    job = await create(make_context)
    notes = []
    for _ in range(3):
        state = await plugin.check_job(job=job, context=make_context("sora-2", "generate_video", service="compatible"))
        assert isinstance(state, Running)
        notes.append((state.note, state.progress))
    assert notes == [("pending", None), ("warming_up", None), ("rendering", None)]
    assert await collected((await finished(make_context, job)).pieces[0]) == fake.videos.files[job.id]


@pytest.mark.anyio
async def test_pause_that_a_server_asks_for_reaches_the_core(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.videos.poll_after_ms = 2500
    job = await create(make_context)
    state = await plugin.check_job(job=job, context=make_context("sora-2", "generate_video", service="compatible"))
    assert isinstance(state, Running)
    assert (job.poll_after, state.poll_after) == (2.5, 2.5)


@pytest.mark.anyio
async def test_server_that_takes_only_json_is_given_json(fake: OpenAIServer, make_context: MakeContext) -> None:
    import attrs

    fake.videos.json_only = True
    frame = Image(data=b"as given")
    context = make_context("sora-2", "generate_video", {frame: LoadedMedia(data=b"\x89PNG", mime="image/png", filename="f.png")})
    context.spec = attrs.evolve(context.spec, wire={"json": True})
    await plugin.generate_video(request=GenerateVideo(prompt="it moves", first_frame=frame, duration=4), context=context)
    assert fake.last("POST").json() == {
        "prompt": "it moves",
        "model": "sora-2",
        "seconds": "4",
        "input_reference": {"image_url": "data:image/png;base64,iVBORw=="},
    }


@pytest.mark.anyio
async def test_cancelling_deletes_the_job(fake: OpenAIServer, make_context: MakeContext) -> None:
    job = await create(make_context)
    await plugin.cancel_job(job=job, context=make_context("sora-2", "generate_video", service="compatible"))
    assert fake.last().line == f"DELETE /v1/videos/{job.id}"
    assert fake.videos.jobs == {}


def record(prompt: str = "a boat", started_at: float | None = None, operation: Operation = "generate_video") -> SubmissionRecord:
    return SubmissionRecord(
        label="job_1", model="sora-2", operation=operation, prompt=prompt, started_at=time.time() if started_at is None else started_at
    )


@pytest.mark.anyio
async def test_submit_whose_answer_was_lost_is_found_again_in_the_list(fake: OpenAIServer, make_context: MakeContext) -> None:
    for i in range(130):  # more than a page
        fake.videos._open_job(f"another {i}", "sora-2", "4", "720x1280")
    before = time.time()
    fake.fail("lost", on="POST /v1/videos")
    with pytest.raises(Exception, match="no answer came back"):
        await create(make_context, prompt="the lost boat")
    (lost,) = [j for j in fake.videos.jobs.values() if j["prompt"] == "the lost boat"]
    lost["created_at"] -= 5  # a clock that is a little behind
    context = make_context("sora-2", "generate_video", service="compatible")
    found = await plugin.find_submission(record=record("the lost boat", before), context=context)
    assert found is not None
    assert found.id == lost["id"]
    assert fake.count("POST") == 1


@pytest.mark.anyio
async def test_job_that_may_belong_to_another_submit_is_not_adopted(fake: OpenAIServer, make_context: MakeContext) -> None:
    context = make_context("sora-2", "generate_video", service="compatible")
    assert await plugin.find_submission(record=record(), context=context) is None
    old = fake.videos._open_job("a boat", "sora-2", "4", "720x1280")
    old["created_at"] -= 3600
    fake.videos._open_job("a boat", "sora-2-pro", "4", "720x1280")
    assert await plugin.find_submission(record=record(), context=context) is None
    fake.videos._open_job("a boat", "sora-2", "4", "720x1280")
    fake.videos._open_job("a boat", "sora-2", "4", "720x1280")
    assert await plugin.find_submission(record=record(), context=context) is None
    assert await plugin.find_submission(record=record(operation="generate_image"), context=context) is None


@pytest.mark.anyio
async def test_server_without_a_list_finds_nothing(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.fail("status", on="GET /v1/videos", times=None, status=404, json={"error": {"message": "no such route"}})
    context = make_context("sora-2", "generate_video", service="compatible")
    assert await plugin.find_submission(record=record(), context=context) is None


def test_matrix_is_read_once() -> None:
    assert plugin.capabilities() is plugin.capabilities()
    assert load_matrix.cache_info().hits >= 1


@pytest.mark.anyio
@pytest.mark.parametrize("state", [{"id": "v1", "status": "completed"}, {"created": 1}], ids=["a job that is done", "no job"])
async def test_video_in_the_answer_to_the_submit_is_delivered(
    fake: OpenAIServer, make_context: MakeContext, state: dict[str, object]
) -> None:
    made = video(160, 90, 1.0)
    body = {**state, "data": [{"b64_json": base64.b64encode(made).decode()}]}
    fake.fail("status", on="POST /v1/videos", status=200, json=body)
    context = make_context("sora-2", "generate_video", service="compatible")
    outcome = await plugin.generate_video(request=GenerateVideo(prompt="a boat"), context=context)
    assert isinstance(outcome, Outcome)
    assert [(piece.data, piece.mime) for piece in outcome.pieces] == [(made, "video/mp4")]


@pytest.mark.anyio
async def test_id_of_a_job_is_one_part_of_the_path_whatever_it_holds(fake: OpenAIServer, make_context: MakeContext) -> None:
    with pytest.raises(JobNotFound):
        await plugin.check_job(job=Job(id="../models?ü 1"), context=make_context("sora-2", "generate_video", service="compatible"))
    assert fake.received[-1].path == "/v1/videos/..%2Fmodels%3F%C3%BC%201"
