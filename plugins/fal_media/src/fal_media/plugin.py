"""The hooks of the fal backend; each imports its modules when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_matrix
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import ListedModel
    from anymedia.requests import EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Transform
    from anymedia.results import Job, JobState


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix in capabilities.toml; the core merges what `list_models` describes."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Job:
    """Queue an image."""
    from .queue import submit

    return await submit(request, context)


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Job:
    """Queue a masked edit."""
    from .queue import submit

    return await submit(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Job:
    """Queue an edit of several images."""
    from .queue import submit

    return await submit(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Queue a video."""
    from .queue import submit

    return await submit(request, context)


@hookimpl
async def generate_audio(request: GenerateAudio, context: Context) -> Job:
    """Queue speech or music."""
    from .queue import submit

    return await submit(request, context)


@hookimpl
async def transform(request: Transform, context: Context) -> Job:
    """Queue a task, or a model by its own inputs."""
    from .queue import submit

    return await submit(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    """Check a queued request; once it is completed, read its result."""
    from .queue import check

    return await check(job, context)


@hookimpl
async def cancel_job(job: Job, context: Context) -> None:
    """Ask to take a request out of the queue, or to stop it."""
    from .queue import cancel

    await cancel(job, context)


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    """Return the active models of the catalogue, each with its schema as a spec."""
    from .listing import listed

    return await listed(context, capabilities())
