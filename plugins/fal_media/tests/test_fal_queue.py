"""fal's queue as the real router speaks it: one submit, uploads, progress, results, failures, cancelling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire.fal_server import KEY, SIGNATURE, FalServer
from wire.http_server import Reply

from anymedia.errors import (
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    MediaError,
    QuotaExceeded,
    SubmissionUnknown,
)
from anymedia.media import Image
from anymedia.requests import EditWithReferences, GenerateImage, Reference
from anymedia.router import Router
from anymedia.testing import picture

pytestmark = pytest.mark.anyio
FLUX, FLUX_2 = "fal/fal-ai/flux/schnell", "fal/fal-ai/flux-2-pro"
FOX = "a red fox in the snow"


async def test_lost_answer_to_a_submit_is_unknown_and_not_repeated(router: Router, fake: FalServer) -> None:
    fake.fail("lost", on="POST /fal-ai")
    with pytest.raises(SubmissionUnknown) as lost:
        await router.generate_image(prompt=FOX, model=FLUX)
    assert lost.value.charged == "unknown"
    assert fake.submits() == len(fake.requests) == 1
    headers = fake.last("POST /fal-ai").headers
    assert not [name for name in headers if "idempotency" in name]
    assert headers["authorization"] == f"Key {KEY}"


async def test_place_in_the_queue_and_log_are_the_progress(router: Router, fake: FalServer, notes: list[str], tmp_path: Path) -> None:
    fake.waits = fake.works = 2
    await router.generate_image(prompt=FOX, model=FLUX, output=tmp_path / "fox.jpg")
    assert "place 3 in the queue" in notes
    assert "step 4 of 28" in notes
    assert {r.query["logs"] for r in fake.received if r.path.endswith("/status")} == {"1"}


async def test_result_that_comes_late_is_looked_at_again(router: Router, fake: FalServer, tmp_path: Path) -> None:
    fake.late = 2
    made = await router.generate_image(prompt=FOX, model=FLUX, output=tmp_path / "fox.jpg")
    assert made.path.is_file()
    assert fake.submits() == 1


def composition(count: int = 2) -> EditWithReferences:
    images = [Reference(image=Image(data=picture(64, 64, seed)), role="source") for seed in range(count)]
    return EditWithReferences(prompt=FOX, references=tuple(images))


async def test_files_are_uploaded_before_the_submit_and_sent_as_links(router: Router, fake: FalServer, tmp_path: Path) -> None:
    await router.execute(composition(), model=FLUX_2, output=tmp_path / "fox.jpg")
    lines = [r.line.partition(" /")[0] + " /" + r.path.split("/")[1] for r in fake.received if r.method in {"POST", "PUT"}]
    assert lines == ["POST /storage", "PUT /upload", "POST /storage", "PUT /upload", "POST /fal-ai"]
    (sent,) = fake.requests.values()
    assert sent.endpoint == "fal-ai/flux-2-pro/edit"
    assert sent.body["image_urls"] == list(fake.files)
    assert sent.files["image_urls"] == [picture(64, 64, 0), picture(64, 64, 1)]
    assert fake.refused_keys == 0
    assert {r.headers["content-type"] for r in fake.received if r.method == "PUT"} == {"image/png"}


@pytest.mark.parametrize("on", ["POST /storage", "PUT /upload"])
@pytest.mark.parametrize("kind", ["drop", "status"])
async def test_upload_that_fails_submits_nothing(router: Router, fake: FalServer, on: str, kind: Any) -> None:
    fake.fail(kind, on=on, times=None)
    with pytest.raises(BackendUnavailable) as failed:
        await router.execute(composition(1), model=FLUX_2)
    assert failed.value.charged == "no"
    assert fake.submits() == 0


async def test_queued_request_is_cancelled_by_put(new_router: Callable[[], Router], fake: FalServer) -> None:
    fake.waits = 1_000_000
    async with new_router() as router:  # which waits at its end for the answer to the submit
        call = await router.submit(GenerateImage(prompt=FOX), backend="fal", model="fal-ai/flux/schnell")
    async with new_router() as router:
        assert (await router.cancel(call.id)).state == "cancelled"
    (request,) = fake.requests.values()
    assert request.cancelled
    assert fake.last("PUT").path == f"/fal-ai/flux/requests/{request.id}/cancel"


FLAGGED = {"loc": ["body", "prompt"], "msg": "It was flagged by a content checker.", "type": "content_policy_violation"}
TOO_SMALL = {"loc": ["body", "image_url"], "msg": "The image is too small.", "type": "image_too_small", "ctx": {"min_width": 256}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (422, {"detail": [FLAGGED]}, ContentRefused),
        (422, {"detail": [TOO_SMALL]}, MediaError),
        (422, {"detail": "The image is too small."}, MediaError),
        (403, {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}, QuotaExceeded),
        (503, {"detail": "No runner is there.", "error_type": "runner_scheduling_failure"}, MediaError),
    ],
    ids=["flagged", "model error", "detail as text", "no balance", "platform error"],
)
async def test_detail_of_a_refused_submit_arrives_as_the_provider_message(
    router: Router, fake: FalServer, status: int, body: dict[str, Any], expected: type[MediaError]
) -> None:
    fake.fail("status", on="POST /fal-ai", times=None, status=status, json=body)
    with pytest.raises(expected) as refused:
        await router.generate_image(prompt=FOX, model=FLUX)
    said = body["detail"] if isinstance(body["detail"], str) else body["detail"][0]["msg"]
    assert said in refused.value.provider_message
    assert fake.submits() == 1


async def test_request_that_is_refused_in_its_result_fails_and_may_be_charged(router: Router, fake: FalServer) -> None:
    with pytest.raises(ContentRefused) as refused:
        await router.generate_image(prompt="FORBIDDEN", model=FLUX)
    assert "flagged by a content checker" in refused.value.provider_message
    assert refused.value.charged == "unknown"
    assert fake.submits() == 1


async def test_model_error_in_the_result_is_the_failure(router: Router, fake: FalServer) -> None:
    fake.results["fal-ai/flux/schnell"] = Reply.of_json({"detail": [TOO_SMALL]}, status=422)
    with pytest.raises(BackendError) as failed:
        await router.generate_image(prompt=FOX, model=FLUX)
    assert "The image is too small." in failed.value.provider_message
    assert (failed.value.code, failed.value.charged) == ("backend_error", "unknown")  # and not a job that still runs


async def test_result_without_a_file_is_an_error_with_what_it_says(router: Router, fake: FalServer) -> None:
    fake.results["fal-ai/flux/schnell"] = Reply.of_json({"images": [], "error": "The model made nothing."})
    with pytest.raises(MediaError) as failed:
        await router.generate_image(prompt=FOX, model=FLUX)
    assert "The model made nothing." in failed.value.provider_message


async def test_flagged_image_is_delivered_with_a_warning(router: Router, fake: FalServer, tmp_path: Path) -> None:
    fake.made["0.jpeg"] = (picture(64, 64, 1, "jpeg"), "image/jpeg")
    file = {"url": f"{fake.url}/results/0.jpeg?signature={SIGNATURE}", "content_type": None}
    fake.results["fal-ai/flux/schnell"] = Reply.of_json({"images": [file], "has_nsfw_concepts": [True]})
    made = await router.generate_image(prompt=FOX, model=FLUX, output=tmp_path / "fox.jpg")
    assert made.path.is_file()
    assert "flagged_unsafe" in [warning.code for warning in made.warnings]


async def test_flagged_image_that_was_withheld_is_a_refusal(router: Router, fake: FalServer) -> None:
    fake.results["fal-ai/flux/schnell"] = Reply.of_json({"images": [None], "has_nsfw_concepts": [True]})
    with pytest.raises(ContentRefused, match="has_nsfw_concepts"):
        await router.generate_image(prompt=FOX, model=FLUX)


@pytest.mark.parametrize("place", ["output", "data", "result"])
async def test_link_without_a_file_object_is_delivered(router: Router, fake: FalServer, tmp_path: Path, place: str) -> None:
    fake.made["0.jpeg"] = (picture(64, 64, 1, "jpeg"), "image/jpeg")
    link = f"{fake.url}/results/0.jpeg?signature={SIGNATURE}"
    fake.results["fal-ai/flux/schnell"] = Reply.of_json({place: [link], "seed": 3})
    made = await router.generate_image(prompt=FOX, model=FLUX, output=tmp_path / "fox.jpg")
    assert made.path.read_bytes() == fake.made["0.jpeg"][0]


async def test_one_dead_link_of_two_is_reported_when_the_job_is_resumed(router: Router, fake: FalServer, tmp_path: Path) -> None:
    fake.made["0.jpeg"] = (picture(64, 64, 1, "jpeg"), "image/jpeg")
    files = [{"url": f"{fake.url}/results/{name}.jpeg?signature={SIGNATURE}", "content_type": "image/jpeg"} for name in ("gone", "0")]
    fake.results["fal-ai/flux/schnell"] = Reply.of_json({"images": files})
    with pytest.raises(BadBackendResponse, match="expired or was removed") as first:  # fal may give another link
        await router.generate_image(prompt=FOX, n=2, model=FLUX, output=tmp_path / "fox.jpg")
    assert first.value.job_id is not None
    made = await router.resume(first.value.job_id)
    assert [file.path.read_bytes() for file in made.files] == [fake.made["0.jpeg"][0]]
    assert [warning.code for warning in made.warnings] == ["item_unreadable", "fewer_pieces"]
    assert fake.submits() == 1


async def test_signed_links_and_the_key_are_in_no_log_and_no_record(
    router: Router, fake: FalServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await router.execute(composition(1), model=FLUX_2, output=tmp_path / "fox.jpg")
    assert fake.count("GET /results") == 1
    texts = [*(record.getMessage() for record in caplog.records), *(repr(call) for call in await router.store.calls())]
    assert texts
    for hidden in (SIGNATURE, KEY):
        assert not [text for text in texts if hidden in text]
