"""The hooks. Nothing of the SDK is imported before one of them is called. The provider cannot cancel a job, so nor can we."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_matrix
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import SubmissionRecord
    from anymedia.requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo
    from anymedia.results import Job, JobState, Outcome


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix that stands beside this file."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Make images from text, or continue an earlier one."""
    from . import images

    return await images.generate(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Edit one picture, or make one from several."""
    from . import images

    return await images.edit(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Start a video from words, frames or reference pictures."""
    from . import videos

    return await videos.generate(request, context)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Extend a video by what comes next (the default), or edit it at its length."""
    from . import videos

    return await videos.continue_video(request, context)


@hookimpl
async def generate_audio(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text."""
    from . import speech

    return await speech.speak(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    """Look once at a video."""
    from . import videos

    return await videos.check_status(job, context)


@hookimpl
async def find_submission(record: SubmissionRecord, context: Context) -> Outcome | None:
    """Look for a finished video that was kept at the provider under the call's label (option ``keep_videos``)."""
    from . import stored

    return await stored.find(record, context)
