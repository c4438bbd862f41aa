"""The hooks. No HTTP client is imported before one of them is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_refreshed
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import ListedModel
    from anymedia.requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo
    from anymedia.results import Job, JobState, Outcome


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix that stands beside this file, with the rows of the user's snapshot where there is one."""
    return load_refreshed(Path(__file__).with_name("capabilities.toml"), "openrouter")


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Make images from words; with a continuation, the collected image goes along."""
    from . import images

    return await images.generate(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Make an image from pictures; roles other than source are put into words."""
    from . import images

    return await images.edit_with_references(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Start a video job, from words, frames or pictures."""
    from . import videos

    return await videos.create(request, context)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Continue an earlier job, or edit a video."""
    from . import videos

    return await videos.continue_video(request, context)


@hookimpl
async def generate_audio(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text."""
    from . import speech

    return await speech.speak(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    """Look once at a video job."""
    from . import videos

    return await videos.check_status(job, context)


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    """Return the models of the service's image, video and speech lists, each with its row."""
    from . import listing

    return await listing.listed(context)
