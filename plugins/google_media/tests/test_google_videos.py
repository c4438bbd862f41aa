"""Videos through a real Router: Omni with one API key and on Agent Platform, Veo on Agent Platform."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from clocks import FastClock, in_state, until
from wire.google_server import KEY, GoogleServer
from wire.google_values import unbase64
from wire.media_bytes import image

from anymedia.errors import (
    BackendTimeout,
    BadBackendResponse,
    ContentRefused,
    JobNotFound,
    MediaError,
    QuotaExceeded,
    UnknownModel,
    UnsupportedInput,
)
from anymedia.generation_config import GenerationConfig
from anymedia.policy import Policy
from anymedia.requests import GenerateVideo, Image, Reference
from anymedia.results import Result
from anymedia.router import Router

pytestmark = pytest.mark.anyio
FIRST, LAST, THIRD = (image(112, 64, tint=n) for n in (1, 2, 3))
OMNI, VEO = "gemini-omni-1.2-flash", "veo-3.1-generate-001"


async def film(router: Router, out: str, backend: str = "google", model: str = OMNI, **more: object) -> Result:
    options = {"duration": 4, **more}
    return await router.generate_video(prompt="waves", backend=backend, model=model, output=out, **options)


def bytes_at(result: Result) -> bytes:
    return Path(result.path).read_bytes()


# ---------------------------------------------------------------- Omni with a Gemini key


async def test_video_is_made_edited_and_extended_with_one_api_key(router: Router, fake: GoogleServer, out: str) -> None:
    made = await film(router, out)
    edited = await router.continue_video(prompt="at night", continue_from=made.continuation_id, continue_as="edit", output=out)
    longer = await router.continue_video(prompt="a gull passes", continue_from=edited.continuation_id, duration=5, output=out)
    first, second, third = fake.interactions.made
    assert [i.task for i in (first, second, third)] == ["text_to_video", "edit", "extend"]
    assert [i.body.get("previous_interaction_id") for i in (first, second, third)] == [None, first.id, second.id]
    assert first.body["response_format"] == {"type": "video", "delivery": "uri", "duration": "4s"}
    assert "duration" not in second.body["response_format"]
    assert third.body["response_format"]["duration"] == "5s"
    assert all(i.body["background"] and i.body["store"] for i in (first, second, third))
    assert [r.files[0].seconds for r in (made, edited, longer)] == [4.0, 4.0, 9.0]
    assert [r.continued_as for r in (made, edited, longer)] == [None, "edit", "extend"]
    assert [bytes_at(r) for r in (made, edited, longer)] == [i.media for i in (first, second, third)]
    assert {r.headers["x-goog-api-key"] for r in fake.received} == {KEY}
    assert all(r.continuation_id and r.continuation_id.startswith("omni_vid_") for r in (made, edited, longer))


async def test_image_becomes_the_first_frame(router: Router, fake: GoogleServer, out: str, tmp_path: Path) -> None:
    (tmp_path / "first.png").write_bytes(FIRST)
    asked = {"mode": "video", "prompt": "it moves", "input_image_paths": [str(tmp_path / "first.png")], "backend": "google"}
    await router.execute(GenerationConfig.from_json(asked).to_request(), backend="google", output=out)
    sent = fake.interactions.made[-1]
    assert (sent.task, sent.pictures(), sent.text()) == ("image_to_video", [FIRST], "it moves")


async def test_first_and_a_last_frame_arrive_in_order_and_bound_the_length(router: Router, fake: GoogleServer, out: str) -> None:
    frames = {"first_frame": Image(data=FIRST), "last_frame": Image(data=LAST)}
    result = await film(router, out, duration=14, **frames)
    sent = fake.interactions.made[-1]
    assert (sent.task, sent.pictures()) == ("image_to_video", [FIRST, LAST])
    assert sent.body["response_format"]["duration"] == "10s"
    assert [(a.field, a.sent) for a in result.adjustments] == [("duration", 10)]


async def test_last_frame_alone_is_refused(router: Router, fake: GoogleServer, out: str) -> None:
    with pytest.raises(MediaError, match="needs a first one"):
        await film(router, out, last_frame=Image(data=LAST))
    assert fake.submits() == 0


async def test_reference_pictures_are_named_in_the_prompt(router: Router, fake: GoogleServer, out: str) -> None:
    references = (
        Reference(image=Image(data=FIRST), role="subject", type="animal", description="a gull"),
        Reference(image=Image(data=LAST), role="style", description="ink wash"),
    )
    await film(router, out, references=references)
    sent = fake.interactions.made[-1]
    assert (sent.task, sent.pictures()) == ("reference_to_video", [FIRST, LAST])
    assert "<IMAGE_REF_0> is the animal (a gull); <IMAGE_REF_1> is the style (ink wash). waves" in sent.text()


async def test_first_frame_with_references_leaves_the_task_to_the_tags(router: Router, fake: GoogleServer, out: str) -> None:
    references = (Reference(image=Image(data=LAST), role="subject"),)
    await film(router, out, references=references, first_frame=Image(data=FIRST))
    sent = fake.interactions.made[-1]
    assert (sent.task, sent.pictures()) == (None, [FIRST, LAST])
    assert sent.text().startswith("[# Sources <FIRST_FRAME>@Image1] [# References <IMAGE_REF_0>@Image2]")


async def test_tiers_and_shapes_reach_the_wire_in_googles_spelling(router: Router, fake: GoogleServer, out: str) -> None:
    result = await film(router, out, resolution="4K", aspect_ratio="9:16")
    shape = fake.interactions.made[-1].body["response_format"]
    assert (shape["resolution"], shape["aspect_ratio"]) == ("4k", "9:16")
    assert result.adjustments == ()
    assert result.cost.quoted_usd == (0.84, 0.84)


async def test_running_interaction_can_be_cancelled(router: Router, fake: GoogleServer, out: str) -> None:
    fake.interactions.looks = 10_000
    record = await router.submit(GenerateVideo(prompt="waves", duration=4), backend="google", output=out)
    await router.cancel(record.id)
    assert fake.interactions.made[-1].status == "cancelled"


async def test_job_is_picked_up_by_another_process(new_router: Callable[..., Router], fake: GoogleServer, out: str) -> None:
    async with new_router() as first:
        record = await first.submit(GenerateVideo(prompt="waves", duration=4), backend="google", output=out)
    async with new_router() as second:
        result = await second.resume(record.id)
    assert fake.submits() == 1
    assert bytes_at(result) == fake.interactions.made[-1].media


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        ("refused", ContentRefused, "safety filters"),
        ("failed", MediaError, "Something broke"),
        ("empty", BadBackendResponse, "some regions"),
        ("words", BadBackendResponse, "I cannot do that"),
        ("budget", QuotaExceeded, "budget"),
    ],
)
async def test_interaction_that_ends_without_a_video_says_why(
    router: Router, fake: GoogleServer, out: str, end: str, error: type[MediaError], words: str
) -> None:
    fake.interactions.next_ends.append(end)
    with pytest.raises(error, match=words):
        await film(router, out)
    assert fake.submits() == 1


async def test_failed_status_check_does_not_fail_the_job(router: Router, fake: GoogleServer, out: str) -> None:
    fake.fail("status", on="GET /v1/interactions", times=2, status=503, json={"error": {"code": 503, "message": "busy"}})
    fake.fail("drop", on="GET /v1/interactions", times=1)
    result = await film(router, out)
    assert bytes_at(result) == fake.interactions.made[-1].media
    assert fake.submits() == 1


async def test_deadline_leaves_the_job_to_be_resumed(router: Router, clock: FastClock, fake: GoogleServer, out: str) -> None:
    fake.interactions.looks = 1_000_000
    making = asyncio.create_task(film(router, out, deadline=600.0))
    await until(lambda: in_state(router, "running"))
    clock.ahead += 3600.0
    with pytest.raises(BackendTimeout) as caught:
        await making
    assert caught.value.job_id is not None
    fake.interactions.looks = 1
    assert (await router.resume(caught.value.job_id)).files
    assert fake.submits() == 1


async def test_key_follows_no_redirect_of_a_download(router: Router, fake: GoogleServer, out: str) -> None:
    with GoogleServer() as thief:
        headers = {"location": f"{thief.url}/v1/files/x:download"}
        fake.fail("status", on="GET /v1/files/out", times=None, status=302, json={}, headers=headers)
        with pytest.raises(MediaError):
            await film(router, out)
        assert not any("x-goog-api-key" in r.headers for r in thief.received)


# ---------------------------------------------------------------- Omni on Agent Platform


async def test_on_agent_platform_the_collected_video_itself_is_sent_along(router: Router, fake: GoogleServer, out: str) -> None:
    made = await film(router, out, "cloud", seed=5)
    longer = await router.continue_video(prompt="a gull passes", continue_from=made.continuation_id, duration=3, output=out)
    first, second = fake.interactions.made
    assert first.body["generation_config"]["seed"] == 5
    assert first.body["response_format"]["delivery"] == "inline"
    assert unbase64(second.blocks("video")[0]["data"]) == bytes_at(made) == first.media
    assert "previous_interaction_id" not in second.body
    assert longer.files[0].seconds == 7.0
    assert all(r.path.startswith("/v1beta1/projects/my-project/locations/us-central1/interactions") for r in fake.received)


# ---------------------------------------------------------------- Veo


async def test_image_to_video_passes_the_image_and_the_last_frame(router: Router, fake: GoogleServer, out: str) -> None:
    await film(router, out, "cloud", VEO, first_frame=Image(data=FIRST), last_frame=Image(data=LAST))
    call = fake.predictions.calls[-1]
    assert unbase64(call.instance["image"]["bytesBase64Encoded"]) == FIRST
    assert unbase64(call.instance["lastFrame"]["bytesBase64Encoded"]) == LAST
    assert call.instance["prompt"] == "waves"


async def test_veo_takes_reference_assets(router: Router, fake: GoogleServer, out: str) -> None:
    references = tuple(Reference(image=Image(data=d), role="subject") for d in (FIRST, LAST, THIRD))
    await film(router, out, "cloud", VEO, references=references)
    sent = fake.predictions.calls[-1].instance["referenceImages"]
    assert [unbase64(r["image"]["bytesBase64Encoded"]) for r in sent] == [FIRST, LAST, THIRD]
    with pytest.raises(UnsupportedInput):
        await film(router, out, "cloud", VEO, references=(Reference(image=Image(data=FIRST), role="style"),))


async def test_every_veo_option_reaches_its_field(router: Router, fake: GoogleServer, out: str) -> None:
    options = {"negative_prompt": "people", "seed": 42, "aspect_ratio": "9:16", "resolution": "1080p", "n": 2}
    extra = {"generate_audio": False, "person_generation": "allow_adult"}
    result = await film(router, out, "cloud", VEO, duration=8, extra_params=extra, **options)
    assert fake.predictions.calls[-1].parameters == {
        "negativePrompt": "people",
        "seed": 42,
        "aspectRatio": "9:16",
        "resolution": "1080p",
        "sampleCount": 2,
        "durationSeconds": 8,
        "generateAudio": False,
        "personGeneration": "allow_adult",
    }
    assert tuple(Path(f.path).read_bytes() for f in result.files) == fake.predictions.calls[-1].videos
    assert fake.submits() == 1


async def test_veo_extension_passes_the_stored_video_as_its_source(router: Router, fake: GoogleServer, out: str) -> None:
    made = await film(router, out, "cloud", VEO)
    longer = await router.continue_video(prompt="a gull passes", continue_from=made.continuation_id, output=out)
    call = fake.predictions.calls[-1]
    assert unbase64(call.instance["video"]["bytesBase64Encoded"]) == bytes_at(made) == fake.predictions.calls[0].videos[0]
    assert call.instance["prompt"] == "a gull passes"
    assert (longer.files[0].seconds, longer.continued_as) == (11.0, "extend")
    assert longer.continuation_id != made.continuation_id
    assert str(longer.continuation_id).startswith("veo_vid_")


async def test_veo_on_a_gemini_key_says_which_instance_has_it(router: Router, fake: GoogleServer, out: str) -> None:
    with pytest.raises(UnknownModel, match="service 'agent_platform'") as caught:
        await film(router, out, "google", VEO)
    assert "'cloud'" in caught.value.fix
    assert fake.received == []


async def test_veo_cannot_edit(router: Router, fake: GoogleServer, out: str) -> None:
    made = await film(router, out, "cloud", VEO)
    with pytest.raises(MediaError, match="cannot edit"):
        asked = {"continue_from": made.continuation_id, "continue_as": "edit", "backend": "cloud", "model": VEO}
        await router.continue_video(prompt="at night", output=out, **asked)
    assert fake.submits() == 1


async def test_video_that_was_kept_back_is_content_refused(router: Router, fake: GoogleServer, out: str) -> None:
    fake.predictions.next_ends += ["filtered", "error"]
    with pytest.raises(ContentRefused, match="sound unsafe") as kept_back:
        await film(router, out, "cloud", VEO)
    assert kept_back.value.charged == "unknown"
    with pytest.raises(ContentRefused, match="usage guidelines"):
        await film(router, out, "cloud", VEO)


async def test_part_of_the_videos_kept_back_is_a_warning(router: Router, fake: GoogleServer, out: str) -> None:
    fake.predictions.next_ends.append("partly")
    result = await film(router, out, "cloud", VEO, n=3)
    assert [Path(f.path).read_bytes() for f in result.files] == list(fake.predictions.calls[-1].videos[1:])
    quoted = "the provider says: \u201cVeo found the sound unsafe. Support codes: 15236754\u201d"
    assert [str(w) for w in result.warnings] == [f"1 of 3 videos were withheld; {quoted}", "3 videos were requested and 2 returned"]


@pytest.mark.parametrize(("backend", "model"), [("google", OMNI), ("cloud", VEO)])
@pytest.mark.parametrize("looks", [1, 3])
async def test_job_that_google_has_not_heard_of_yet_is_checked_again(
    router: Router, fake: GoogleServer, out: str, backend: str, model: str, looks: int
) -> None:
    fake.unseen = looks
    result = await film(router, out, backend, model)
    assert result.path.exists()
    assert (fake.unseen, fake.submits()) == (0, 1)


@pytest.mark.parametrize(("backend", "model"), [("google", OMNI), ("cloud", VEO)])
async def test_job_that_google_does_not_know_any_more_is_lost_after_a_few_status_checks(
    router: Router, fake: GoogleServer, out: str, backend: str, model: str
) -> None:
    fake.unseen = 1_000
    with pytest.raises(JobNotFound, match=r"no longer finds.*not found") as caught:
        await film(router, out, backend, model)
    assert (caught.value.charged, (await router.jobs())[0].state) == ("unknown", "lost")
    assert (fake.unseen, fake.submits()) == (1_000 - 7, 1)


async def test_veo_operation_cannot_be_stopped(router: Router, fake: GoogleServer, out: str) -> None:
    fake.predictions.looks = 10_000
    record = await router.submit(GenerateVideo(prompt="waves", duration=4), backend="cloud", model=VEO, output=out)
    with pytest.raises(MediaError, match="cannot be stopped"):
        await router.cancel(record.id)


async def test_video_is_not_written_to_a_bucket_unless_configured(router: Router, fake: GoogleServer, out: str) -> None:
    made = await film(router, out, "cloud", VEO)
    assert made.continuation_id is not None
    assert len(repr((await router.store.load_continuation(made.continuation_id)).data)) < 200
    rows = " ".join(repr(row) for row in await router.store.calls())
    assert base64.b64encode(bytes_at(made)).decode()[:40] not in rows


async def test_strict_lets_a_plain_video_pass(router: Router, fake: GoogleServer, out: str) -> None:
    result = await film(router, out, policy=Policy(strict=True, retries=0))
    assert result.adjustments == ()
