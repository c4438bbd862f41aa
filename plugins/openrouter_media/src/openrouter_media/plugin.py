"""The hooks. No HTTP client is imported before one of them is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_matrix
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import ListedModel
    from anymedia.requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo
    from anymedia.results import Job, JobState, Outcome


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix in capabilities.toml; the core merges what the service's lists describe."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Generate images from a prompt; with a continuation, the earlier image is sent with it."""
    from . import images

    return await images.generate(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Generate an image from pictures; roles other than source are described in the prompt."""
    from . import images

    return await images.edit_with_references(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Start a video job from a prompt, frames or pictures."""
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
    """Check a video job once."""
    from . import videos

    return await videos.check_status(job, context)


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    """Return the models of the service's image, video and speech lists, each with its model spec."""
    from . import listing

    return await listing.listed(context)
