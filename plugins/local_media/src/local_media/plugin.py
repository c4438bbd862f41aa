"""The hooks of the local backend; each imports its modules when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_matrix
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import SubmissionRecord
    from anymedia.requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Transform
    from anymedia.results import Job, JobState, Outcome

__all__ = [
    "cancel_job",
    "capabilities",
    "check_job",
    "continue_video",
    "edit_with_references",
    "find_submission",
    "generate_audio",
    "generate_image",
    "generate_video",
    "inpaint",
    "transform",
]


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Draw a scene from the keywords of a prompt, or continue an earlier picture."""
    from .images import generate

    return await generate(request, context)


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Erase or repaint the masked region, or extend the picture."""
    from .images import inpaint

    return await inpaint(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Adjust a source, or apply a style, a structure or subjects."""
    from .images import edit

    return await edit(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Start rendering a video."""
    from .videos.requests import start_video

    return await start_video(request, context)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Start rendering the continuation of a video."""
    from .videos.requests import start_continuation

    return await start_continuation(request, context)


@hookimpl
async def generate_audio(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text, or make music."""
    from .sounds.requests import make_sound

    return await make_sound(request, context)


@hookimpl
async def transform(request: Transform, context: Context) -> Outcome:
    """Enlarge an image, or cut out its foreground."""
    from .edits.tasks import transform

    return await transform(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    """Check a rendering; resume it if no process is rendering it."""
    from .videos.jobs import check_status

    return await check_status(job, context)


@hookimpl
async def cancel_job(job: Job, context: Context) -> None:
    """Stop a rendering."""
    from .videos.jobs import cancel

    await cancel(job, context)


@hookimpl
async def find_submission(record: SubmissionRecord, context: Context) -> Job | Outcome | None:
    """Find a rendering whose process died before it was recorded."""
    from .videos.jobs import find

    return await find(record, context)
