"""The seven scenarios and what surrounds them: a real Router, the real SDK, the fake on the loopback."""

from __future__ import annotations

import asyncio
import base64
import datetime
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from clocks import FastClock, in_state, until
from PIL import Image as Pillow
from wire.forms import read_form
from wire.http_server import Received, Reply
from wire.media_bytes import image, video
from wire.openai_server import KEY, OpenAIServer
from wire.openai_videos import Videos

from anymedia.agents.responses import error_answer
from anymedia.errors import (
    BackendTimeout,
    BadBackendResponse,
    ContentRefused,
    JobNotFound,
    MediaError,
    ModelRetired,
    SubmissionUnknown,
    UnknownContinuation,
    UnsupportedInput,
    UnsupportedOperation,
)
from anymedia.policy import Policy
from anymedia.requests import GenerateImage, GenerateVideo, Reference
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import loaded_registry

TODAY = datetime.date(2026, 11, 21)
pytestmark = pytest.mark.anyio


@pytest.fixture
def gpu() -> Iterator[OpenAIServer]:
    """A self-hosted server with the videos protocol and one model."""
    videos = Videos(models=("wan-2.2",), free_values=True, extra_fields=("seed",))
    with OpenAIServer(any_key=True, videos=videos) as server:
        yield server


@pytest.fixture
def new_router(fake: OpenAIServer, gpu: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Router]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    like = {"like": "sora-2", "generate_video": {"seed": {"min": 0, "max": 2**31 - 1, "step": 1}}}
    instances = {
        "openai": InstanceSettings(name="openai", plugin="openai", service="openai", base_url=fake.base_url),
        "mygpu": InstanceSettings(name="mygpu", plugin="openai", service="compatible", base_url=gpu.base_url, models={"wan-2.2": like}),
    }
    settings = Settings(instances=instances, state_dir=tmp_path / "state")

    def make() -> Router:  # its store is a file, so that one router can resume what another left
        return Router(settings=settings, registry=loaded_registry(), today=lambda: TODAY, policy=Policy(retries=0), clock=FastClock())

    return make


@pytest.fixture
async def router(new_router: Callable[..., Router]) -> AsyncIterator[Router]:
    async with new_router() as made:
        yield made


def black_and_white(where: numpy.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(numpy.where(where, 255, 0).astype("uint8")).save(out, "PNG")
    return out.getvalue()


def edit_of(fake: OpenAIServer) -> tuple[dict[str, str], dict[str, bytes]]:
    received = fake.last("POST")
    assert received.path == "/v1/images/edits"
    form = read_form(received.headers["content-type"], received.body)
    return form.texts(), {p.name: p.data for p in form.parts if p.filename is not None}


def edited_region(files: dict[str, bytes]) -> numpy.ndarray[Any, Any]:
    mask = Pillow.open(io.BytesIO(files["mask"]))
    assert mask.format == "PNG"
    alpha: numpy.ndarray[Any, Any] = numpy.asarray(mask.convert("RGBA").getchannel("A"))
    assert set(numpy.unique(alpha)) <= {0, 255}
    region: numpy.ndarray[Any, Any] = alpha == 0
    return region


WANTED = numpy.zeros((192, 256), bool)
WANTED[20:90, 130:250] = True


async def test_inpainting_with_mask_and_source(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    source = tmp_path / "room.png"
    source.write_bytes(image(256, 192))
    result = await router.inpaint(
        prompt="a lamp", source=source, mask=black_and_white(WANTED), backend="openai", output=tmp_path / "lamp.png"
    )
    texts, files = edit_of(fake)
    assert texts == {"prompt": "a lamp", "model": "gpt-image-2.6-sunburst", "output_format": "png"}
    assert files["image[]"] == source.read_bytes()
    assert numpy.array_equal(edited_region(files), WANTED)
    assert result.path.read_bytes() == fake.images.made[-1]
    assert result.continuation_id is not None
    assert result.continuation_id.startswith("gpt_img_")
    assert [a for a in result.adjustments if a.field == "mask"] == []
    assert fake.count("POST") == 1


async def test_inpainting_with_a_transparent_background(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    result = await router.inpaint(
        prompt="remove it", source=image(256, 192), mask=black_and_white(WANTED), background="transparent", backend="openai",
        output=tmp_path / "cut.webp", output_format="webp",
    )  # fmt: skip
    texts, _ = edit_of(fake)
    assert (texts["background"], texts["output_format"]) == ("transparent", "webp")
    answered = Pillow.open(io.BytesIO(result.path.read_bytes()))
    assert (answered.format, answered.mode) == ("WEBP", "RGBA")
    assert numpy.array_equal(numpy.asarray(answered.getchannel("A")) == 0, WANTED)
    assert result.path.read_bytes() == fake.images.made[-1]


async def test_transparent_background_and_jpeg_exclude_each_other_and_one_gives_way(
    router: Router, fake: OpenAIServer, tmp_path: Path
) -> None:
    result = await router.generate_image(
        prompt="a sticker", background="transparent", output_format="jpeg", backend="openai", output=f"{tmp_path}/"
    )
    assert fake.last("POST").json()["output_format"] == "png"
    assert [(a.field, a.asked, a.sent) for a in result.adjustments] == [("output_format", "jpeg", "png")]
    assert "transparency" in result.adjustments[0].why


async def test_mask_with_a_continuation_and_no_source_edits_the_continued_image(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    first = await router.generate_image(prompt="a room", size="1024x1024", backend="openai", output=tmp_path / "room.png")
    wanted = numpy.zeros((1024, 1024), bool)
    wanted[100:200, 300:900] = True
    second = await router.inpaint(
        prompt="a lamp", mask=black_and_white(wanted), continue_from=first.continuation_id, output=tmp_path / "lamp.png"
    )
    _, files = edit_of(fake)
    assert files["image[]"] == first.path.read_bytes()
    assert numpy.array_equal(edited_region(files), wanted)
    assert second.continuation_id not in {None, first.continuation_id}
    assert fake.count("POST") == 2


async def test_remix_from_a_continuation_id_gives_a_new_one(router: Router, gpu: OpenAIServer, tmp_path: Path) -> None:
    first = await router.generate_video(prompt="waves", duration=4, size="1280x720", backend="mygpu", output=tmp_path / "waves.mp4")
    assert first.provenance.model == "wan-2.2"
    assert first.continuation_id is not None
    assert first.continuation_id.startswith("sora_vid_")
    assert first.path.read_bytes() == next(iter(gpu.videos.files.values()))
    second = await router.continue_video(prompt="slower", continue_from=first.continuation_id, output=tmp_path / "slower.mp4")
    remix = gpu.last("POST")
    assert remix.path == f"/v1/videos/{next(iter(gpu.videos.jobs))}/remix"
    assert remix.json() == {"prompt": "slower"}
    assert second.continued_as == "remix"
    assert second.continuation_id not in {None, first.continuation_id}
    third = await router.continue_video(
        prompt="on", continue_from=second.continuation_id, continue_as="extend", duration=8, output=tmp_path / "on.mp4"
    )
    assert gpu.last("POST").path == "/v1/videos/extensions"
    assert gpu.last("POST").json()["seconds"] == "8"
    assert third.continued_as == "extend"
    assert third.files[0].seconds == pytest.approx(12, abs=0.2)
    assert gpu.count("POST") == 3


async def test_image_to_video_sends_the_image_as_input_reference(router: Router, gpu: OpenAIServer, tmp_path: Path) -> None:
    frame = tmp_path / "frame.jpg"
    frame.write_bytes(image(720, 1280, "jpeg"))
    result = await router.generate_video(prompt="it moves", first_frame=frame, backend="mygpu", seed=7, output=tmp_path / "moves.mp4")
    received = gpu.last("POST")
    form = read_form(received.headers["content-type"], received.body)
    (part,) = form.files("input_reference")
    assert (part.data, part.mime) == (frame.read_bytes(), "image/jpeg")
    assert form.texts()["seed"] == "7"
    assert result.files[0].mime == "video/mp4"
    assert KEY not in str(received.headers)


async def test_negative_prompt_generates_normally_and_is_reported_as_ignored(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a boat", negative_prompt="people", backend="openai", output=tmp_path / "boat.png")
    assert fake.last("POST").json() == {"prompt": "a boat", "model": "gpt-image-2.6-sunburst", "output_format": "png"}
    assert [(a.field, a.kind, a.asked, a.sent) for a in result.adjustments] == [("negative_prompt", "ignored", "people", None)]
    assert result.to_json()["ignored"] == ["negative_prompt"]


async def test_unknown_continuation_id_is_a_clear_error(router: Router, fake: OpenAIServer, gpu: OpenAIServer) -> None:
    for call in (router.generate_image, router.continue_video):
        with pytest.raises(UnknownContinuation, match="sora_vid_doesnotexist") as caught:
            await call(prompt="more", continue_from="sora_vid_doesnotexist")
        assert caught.value.code == "unknown_continuation"
    assert fake.received == gpu.received == []


async def test_sora_at_its_maker_is_refused_before_any_network_with_its_date_and_who_can_make_video(
    router: Router, fake: OpenAIServer
) -> None:
    with pytest.raises(ModelRetired, match="2026-09-24") as caught:
        await router.generate_video(prompt="waves", backend="openai", model="sora-2")
    assert "mygpu" in caught.value.try_backends
    assert fake.received == []
    plan = await router.plan(GenerateVideo(prompt="waves"))
    assert plan.chosen.backend == "mygpu"


async def test_multi_turn_goes_on_in_the_providers_conversation(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    first = await router.generate_image(
        prompt="a boat", extra_params={"responses": True}, backend="openai", model="gpt-image-2.6-flare", output=tmp_path / "a.png"
    )
    second = await router.generate_image(prompt="at night", continue_from=first.continuation_id, output=tmp_path / "b.png")
    posts = [r for r in fake.received if r.method == "POST"]
    assert [r.path for r in posts] == ["/v1/responses"] * 2
    assert posts[1].json()["previous_response_id"] in fake.images.turns
    assert second.provenance.model == "gpt-image-2.6-flare"  # continued by the model that made it
    assert second.path.read_bytes() == fake.images.made[-1]
    assert "Revised: at night" in second.texts
    one_more = await router.generate_image(prompt="and rain", continue_from=second.continuation_id, output=tmp_path / "c.png")
    assert fake.last("POST").json()["previous_response_id"] != posts[1].json()["previous_response_id"]
    assert len({first.continuation_id, second.continuation_id, one_more.continuation_id}) == 3


async def test_turn_of_a_conversation_makes_one_image_and_that_is_planned(router: Router, fake: OpenAIServer) -> None:
    request = GenerateImage(prompt="a boat", n=3, extra_params={"responses": True})
    plan = await router.plan(request, backend="openai")
    assert [getattr(call.request, "n", None) for call in plan.calls] == [1]
    assert [(a.field, a.kind, a.asked, a.sent) for a in plan.adjustments] == [("n", "snapped", 3, 1)]
    with pytest.raises(UnsupportedOperation, match="strict"):
        await router.plan(request, backend="openai", policy=Policy(strict=True))
    assert fake.received == []


async def test_image_without_a_conversation_is_continued_by_editing_its_file(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    first = await router.generate_image(prompt="a boat", backend="openai", output=tmp_path / "a.png")
    second = await router.generate_image(prompt="at night", continue_from=first.continuation_id, output=tmp_path / "b.png")
    texts, files = edit_of(fake)
    assert texts["prompt"] == "at night"
    assert files == {"image[]": first.path.read_bytes()}
    assert second.continuation_id != first.continuation_id


async def test_edit_sends_the_continued_image_once_behind_the_sources_and_counts_it(
    router: Router, fake: OpenAIServer, tmp_path: Path
) -> None:
    first = await router.generate_image(prompt="a boat", backend="openai", output=tmp_path / "a.png")
    style, source = image(64, 64, tint=5), image(96, 64)
    for given, expected in (([style], [first.path.read_bytes(), style]), ([style, source], [source, first.path.read_bytes(), style])):
        references = [Reference(image=p, role="style" if p is style else "source") for p in given]
        await router.edit_with_references(
            prompt="at night", references=references, continue_from=first.continuation_id, output=f"{tmp_path}/"
        )
        received = fake.last("POST")
        form = read_form(received.headers["content-type"], received.body)
        assert [p.data for p in form.parts if p.filename is not None] == expected
        assert f"from picture {len(expected)}" in form.texts()["prompt"]
    sixteen = [image(64, 64 + 16 * i) for i in range(16)]
    before = fake.count("POST")
    with pytest.raises(UnsupportedInput, match="including the continued image, not 17"):
        await router.edit_with_references(prompt="all", references=sixteen, continue_from=first.continuation_id)
    assert fake.count("POST") == before


async def test_format_no_model_writes_is_transcoded_and_reported_while_others_stay_verbatim(
    router: Router, fake: OpenAIServer, tmp_path: Path
) -> None:
    result = await router.generate_image(prompt="a boat", output_format="avif", backend="openai", output=tmp_path / "boat.avif")
    assert [(a.field, a.kind, a.asked) for a in result.adjustments] == [("output_format", "transcoded", "avif")]
    assert Pillow.open(io.BytesIO(result.path.read_bytes())).format == "AVIF"
    verbatim = await router.generate_image(prompt="a boat", output_format="png", backend="openai", output=tmp_path / "boat.png")
    assert verbatim.adjustments == ()
    assert b"credentials" in verbatim.path.read_bytes()
    assert verbatim.path.read_bytes() == fake.images.made[-1]


async def test_lost_reply_of_an_image_is_never_sent_again(router: Router, fake: OpenAIServer, tmp_path: Path) -> None:
    fake.fail("lost", on="POST", times=None)
    with pytest.raises(SubmissionUnknown, match="not sent again") as caught:
        await router.generate_image(prompt="a boat", backend="openai", output=tmp_path / "boat.png", policy=Policy(retries=2))
    assert fake.count("POST") == 1
    assert caught.value.charged == "unknown"
    (row,) = await router.jobs()
    assert row.state == "unknown"


async def test_lost_reply_of_a_video_is_found_at_the_server_and_followed_to_its_end(
    router: Router, gpu: OpenAIServer, tmp_path: Path
) -> None:
    gpu.fail("lost", on="POST")
    result = await router.generate_video(prompt="waves", backend="mygpu", output=tmp_path / "waves.mp4")
    assert gpu.count("POST") == 1
    assert result.path.read_bytes() == next(iter(gpu.videos.files.values()))


async def test_deadline_leaves_the_job_to_be_resumed(new_router: Callable[..., Router], gpu: OpenAIServer, tmp_path: Path) -> None:
    gpu.videos.looks = 10**6
    async with new_router() as router:
        request = GenerateVideo(prompt="waves")
        making = asyncio.create_task(router.execute(request, backend="mygpu", output=tmp_path / "waves.mp4", deadline=600.0))
        await until(lambda: in_state(router, "running"))
        router._engine.clock.ahead += 3600.0  # type: ignore[attr-defined]
        with pytest.raises(BackendTimeout) as caught:
            await making
    gpu.videos.looks = 0
    assert caught.value.job_id is not None
    async with new_router() as router:
        result = await router.resume(caught.value.job_id)
    assert result.path.exists()
    assert gpu.count("POST") == 1


async def test_job_that_one_of_the_servers_machines_has_not_heard_of_is_checked_again(
    router: Router, gpu: OpenAIServer, tmp_path: Path
) -> None:
    gpu.fail("status", on="GET /v1/videos/video", times=2, status=404, json={"error": {"message": "No such video."}})
    result = await router.generate_video(prompt="waves", backend="mygpu", output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(gpu.videos.files.values()))
    assert gpu.count("POST") == 1


async def test_job_its_server_no_longer_knows_is_lost_after_a_few_status_checks(router: Router, gpu: OpenAIServer, tmp_path: Path) -> None:
    gpu.fail("status", on="GET /v1/videos/video", times=None, status=404, json={"error": {"message": "No such video."}})
    with pytest.raises(JobNotFound, match=r"no longer finds.*No such video") as caught:
        await router.generate_video(prompt="waves", backend="mygpu", output=tmp_path / "waves.mp4")
    assert (caught.value.charged, (await router.jobs())[0].state) == ("unknown", "lost")
    assert (gpu.count("POST"), gpu.count("GET /v1/videos/video")) == (1, 7)


async def test_video_that_was_made_and_is_gone_before_it_was_fetched_is_paid_for(
    new_router: Callable[..., Router], gpu: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Videos, "_content", lambda *_: Reply(status=503))
    async with new_router() as router:
        with pytest.raises(MediaError) as caught:
            await router.generate_video(prompt="waves", backend="mygpu", output=tmp_path / "waves.mp4")
        assert (caught.value.charged, (await router.jobs())[0].state) == ("yes", "collecting")
    gpu.videos.jobs.clear()
    async with new_router() as router:
        with pytest.raises(JobNotFound, match="no longer finds") as gone:
            await router.resume(str(caught.value.job_id))
        assert (gone.value.charged, (await router.jobs())[0].state) == ("yes", "lost")
    assert gpu.count("POST") == 1


async def test_refused_prompt_is_a_refusal_and_costs_nothing(router: Router, fake: OpenAIServer) -> None:
    with pytest.raises(ContentRefused) as caught:
        await router.generate_image(prompt="FORBIDDEN", backend="openai")
    assert (caught.value.reason, caught.value.backend, caught.value.model) == ("violence", "openai", "gpt-image-2.6-sunburst")
    assert (await router.store.spend()).committed_usd == 0


async def test_picture_that_no_model_accepts_is_refused_before_any_network(router: Router, fake: OpenAIServer) -> None:
    with pytest.raises(UnsupportedInput):
        await router.generate_video(prompt="waves", last_frame=image(720, 1280), backend="mygpu")
    assert fake.received == []


@pytest.mark.parametrize(
    ("answered", "received"),
    [("iVBORw0KGgo%%%!", b"iVBORw0KGgo%%%!"), (base64.b64encode(b"\x89PNG\r\n\x1a\nnothing").decode(), b"\x89PNG\r\n\x1a\nnothing")],
    ids=["not base64", "not a picture"],
)
async def test_paid_answer_that_cannot_be_read_is_kept_and_named_to_the_local_user_only(
    router: Router, fake: OpenAIServer, tmp_path: Path, answered: str, received: bytes
) -> None:
    fake.fail("status", on="POST", times=None, status=200, json={"created": 1, "data": [{"b64_json": answered}]})
    with pytest.raises(BadBackendResponse) as caught:
        await router.generate_image(prompt="a boat", backend="openai", output=f"{tmp_path}/out/")
    error = caught.value
    assert Path(error.kept).read_bytes() == received
    assert Path(error.kept).stat().st_mode & 0o077 == 0
    assert error.kept in str(error)
    assert error.action is not None
    assert error.action.action == "export"
    (copied,) = await router.export(error.action.run_id, tmp_path / "copy.bin")
    assert copied.path.read_bytes() == received
    assert error.charged in {"unknown", "yes"}
    assert error.kept not in json.dumps(error_answer(error))
    assert str(error.job_id) in error_answer(error)["error"]["fix"]
    for _ in range(2):
        with pytest.raises(BadBackendResponse) as again:
            await router.resume(str(error.job_id))
        assert (again.value.kept, again.value.action, again.value.charged) == (error.kept, error.action, error.charged)
    assert fake.count("POST") == 1


FORMS: dict[str, Callable[[bytes, str], Reply]] = {
    "link in an object": lambda body, url: Reply.of_json({"url": f"{url}/film"}),
    "link alone": lambda body, url: Reply(body=f"{url}/film.mp4\n".encode(), headers={"content-type": "text/plain"}),
    "base64 in an object": lambda body, url: Reply.of_json({"data": base64.b64encode(body).decode()}),
    "no address for the content": lambda body, url: Reply.of_json({"error": {"message": "no such route"}}, status=404),
}


@pytest.mark.parametrize("form", FORMS)
async def test_video_that_a_gateway_hands_out_in_another_form_is_delivered(
    new_router: Callable[..., Router], gpu: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    plain = gpu._handler

    def answered(received: Received) -> Reply:
        reply = plain(received)
        assert isinstance(reply, Reply)
        if received.path.startswith("/film"):
            return Reply(body=next(iter(gpu.videos.files.values())), headers={"content-type": "video/mp4"})
        if received.path.endswith("/content"):
            return FORMS[form](reply.body, gpu.url)
        if reply.status == 200 and reply.body[:1] == b"{":
            job = json.loads(reply.body)
            link = {"metadata": {"url": f"{gpu.url}/film.mp4"}} if job.get("status") == "completed" else {}
            return Reply.of_json({"code": "success", "message": "", "data": {**job, **link}})
        return reply

    monkeypatch.setattr(gpu, "_handler", answered)
    async with new_router() as router:
        made = await router.generate_video(prompt="waves", backend="mygpu", output=tmp_path / "waves.mp4")
    assert made.path.read_bytes() == next(iter(gpu.videos.files.values()))
    assert sum(received.method == "POST" for received in gpu.received) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        {"b64_json": base64.b64encode(b"<html>Bad gateway</html>").decode()},
        {"b64_json": base64.b64encode(bytes(90)).decode()},
        {"b64_json": base64.b64encode(video(64, 64, 0.5)).decode()},
        {"url": "/files/gone.png"},
    ],
    ids=["web page", "zeros", "video", "dead link"],
)
async def test_image_beside_one_that_cannot_be_used_is_delivered(
    router: Router, fake: OpenAIServer, tmp_path: Path, damaged: dict[str, str]
) -> None:
    good = image(64, 48)
    body = {"created": 1, "data": [damaged, {"b64_json": base64.b64encode(good).decode()}]}
    fake.fail("status", on="POST /v1/images", status=200, json=body)
    made = await router.generate_image(prompt="a fox", n=2, backend="openai", output=tmp_path / "fox.png")
    assert [file.path.read_bytes() for file in made.files] == [good]
    assert [warning.code for warning in made.warnings] == ["item_unreadable", "fewer_pieces"]
    assert fake.count("POST") == 1
