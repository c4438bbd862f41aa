"""The hooks. Nothing of the SDK is imported before one of them is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_matrix
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import ListedModel, SubmissionRecord
    from anymedia.requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint
    from anymedia.results import Job, JobState, Outcome


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix in capabilities.toml."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Generate images by the Images API, or a turn of a conversation by the Responses API."""
    from . import conversation, images

    if conversation.wanted(request):
        return await conversation.take_turn(request, context)
    return await images.generate(request, context)


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Change the masked region of the source."""
    from . import images

    return await images.inpaint(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Generate an image from up to 16 pictures; roles other than source are described in the prompt."""
    from . import images

    return await images.edit_with_references(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job | Outcome:
    """Start a video job from a prompt or a first frame."""
    from . import videos

    return await videos.create(request, context)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job | Outcome:
    """Remix, edit or extend an earlier video."""
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
async def cancel_job(job: Job, context: Context) -> None:
    """Delete a video job, which also stops it."""
    from . import videos

    await videos.cancel(job, context)


@hookimpl
async def find_submission(record: SubmissionRecord, context: Context) -> Job | None:
    """Search for a video job by model, prompt and time of creation; images and speech are not stored."""
    from . import videos

    return await videos.find(record, context)


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    """Return the models the provider lists, with their shutdown dates."""
    from . import listing

    return await listing.listed(context)
