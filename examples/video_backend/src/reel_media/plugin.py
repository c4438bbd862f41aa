"""An anymedia backend for videos from Reel: submit, check a job once, cancel it, look up a lost submit."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anymedia import (
    CapabilityMatrix,
    Context,
    ContinuationData,
    ContinueVideo,
    Failed,
    GenerateVideo,
    Job,
    JobState,
    ListedModel,
    Outcome,
    Piece,
    Running,
    SubmissionRecord,
    Succeeded,
    hookimpl,
    load_matrix,
)
from anymedia.answers.media import ExtractedMedia
from anymedia.errors import BadBackendResponse, ContentRefused, JobNotFound
from anymedia.http import get_json, no_media, post_json, stop

CODES = {"unsafe_prompt": ContentRefused}


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "seconds": request.duration,
        "resolution": request.resolution,
        "seed": request.seed,
        **request.extra_params,
    }
    if request.first_frame is not None:
        body["first_frame"] = base64.b64encode(context.read(request.first_frame).data).decode()
    return await _submit(context, body)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job:
    assert request.continue_from is not None  # the matrix accepts no other source
    return await _submit(context, {"prompt": request.prompt, "seconds": request.duration, "extends": request.continue_from.data["id"]})


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    url = f"{_base(context)}/videos/{job.id}"
    return _state(await get_json(context, url, headers=_key(context), by_code={"404": JobNotFound}), context)


@hookimpl
async def cancel_job(job: Job, context: Context) -> None:
    await stop(context, f"{_base(context)}/videos/{job.id}/cancel", method="POST", headers=_key(context))


@hookimpl
async def find_submission(record: SubmissionRecord, context: Context) -> Job | None:
    """Find the submit by its label, which Reel stores and lists."""
    listed = await get_json(context, f"{_base(context)}/videos", headers=_key(context))
    return next((Job(id=v["id"]) for v in listed["videos"] if v["label"] == record.label), None)


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    listed = await get_json(context, f"{_base(context)}/models", headers=_key(context))
    return tuple(ListedModel(id=model["id"]) for model in listed["models"])


async def _submit(context: Context, body: Mapping[str, Any]) -> Job:
    async with context.submission():
        body = {**body, "label": context.label}
        answer = await post_json(context, f"{_base(context)}/videos", body, headers=_key(context), by_code=CODES)
        if not isinstance(answer.get("id"), str):
            raise no_media(context, answer, ExtractedMedia(), what="id of a video", by_code=CODES)
    return Job(id=answer["id"])


def _state(answer: Mapping[str, Any], context: Context) -> JobState:
    if answer["status"] in {"failed", "canceled"}:
        return Failed(error=BadBackendResponse(f"the video {answer['status']}: {answer.get('reason', 'no reason')}"))
    if answer["status"] != "done":
        return Running(progress=answer.get("progress"))
    piece = Piece(url=answer["url"], continuation=ContinuationData(data={"id": answer["id"]}))
    return Succeeded(outcome=Outcome(pieces=[piece], continued_as="extend" if answer.get("extends") else None))


def _base(context: Context) -> str:
    return str(context.settings.get("base_url", "https://api.reel.example/v1"))


def _key(context: Context) -> dict[str, str]:
    return {"x-key": context.secret("api_key").reveal()}
