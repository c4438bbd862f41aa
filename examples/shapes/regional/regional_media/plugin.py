"""A job whose status is asked for at an address that the service returns, on one of its regional hosts; the result is a signed link."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anymedia import (
    CapabilityMatrix,
    Context,
    Failed,
    GenerateImage,
    Job,
    JobState,
    Outcome,
    Piece,
    Running,
    Succeeded,
    hookimpl,
    load_matrix,
)
from anymedia.answers.media import ExtractedMedia
from anymedia.errors import JobNotFound
from anymedia.http import failed_job, get_json, no_media, post_json


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Job:
    url = context.settings.get("base_url", "https://api.regional.example") + f"/v1/{context.model}"
    width, height = request.size.split("x") if request.size else (None, None)
    body = {"prompt": request.prompt, "width": width and int(width), "height": height and int(height), "seed": request.seed}
    async with context.submission():
        answer = await post_json(context, url, body, headers=_key(context))
        if not isinstance(answer.get("id"), str) or not isinstance(answer.get("polling_url"), str):
            raise no_media(context, answer, ExtractedMedia(), what="polling_url")
    # Another process may check the job: what it needs is stored with the job. The key is sent to `hosts` of the matrix only.
    return Job(id=answer["id"], data={"poll": answer["polling_url"]})


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    answer = await get_json(context, job.data["poll"], headers=_key(context), by_code={"404": JobNotFound})
    return _state(answer, context)


def _state(answer: dict[str, Any], context: Context) -> JobState:
    match answer["status"]:
        case "Ready":
            return Succeeded(outcome=Outcome(pieces=[Piece(url=answer["result"]["sample"])], request_id=answer["id"]))
        case "Request Moderated":  # whether it is charged is documented nowhere: `failed_job` says so
            return Failed(error=failed_job(context, answer, kind="content", request_id=answer["id"]))
        case "Error":
            return Failed(error=failed_job(context, answer, request_id=answer["id"]))
    return Running(progress=answer.get("progress"))


def _key(context: Context) -> dict[str, str]:
    return {"x-key": context.secret("api_key").reveal()}
