"""The hooks. Nothing of the SDK is imported before one of them is called. The provider cannot cancel a job, so there is no hook for it."""

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
    """Return the matrix in capabilities.toml."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Generate images from a prompt, or continue an earlier one."""
    from . import images

    return await images.generate(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Edit one picture, or generate one from several."""
    from . import images

    return await images.edit(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Start a video from a prompt, frames or reference pictures."""
    from . import videos

    return await videos.generate(request, context)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Extend a video (the default), or edit it and keep its length."""
    from . import videos

    return await videos.continue_video(request, context)


@hookimpl
async def generate_audio(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text."""
    from . import speech

    return await speech.speak(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    """Check a video once."""
    from . import videos

    return await videos.check_status(job, context)


@hookimpl
async def find_submission(record: SubmissionRecord, context: Context) -> Outcome | None:
    """Look up a finished video that the provider stored under the call's label (option ``keep_videos``)."""
    from . import stored

    return await stored.find(record, context)
