"""The hooks. Nothing of the SDK is imported before one of them is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anymedia.capabilities import CapabilityMatrix, load_matrix
from anymedia.hookspecs import hookimpl

if TYPE_CHECKING:
    from anymedia.context import Context
    from anymedia.hookspecs import ListedModel
    from anymedia.requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint
    from anymedia.results import Job, JobState, Outcome


def _speaks(context: Context, api: str) -> bool:
    return bool(context.spec.wire.get("api") == api)


@hookimpl
def capabilities() -> CapabilityMatrix:
    """Return the matrix in capabilities.toml."""
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    """Generate one image with a Gemini image model (or a turn of a chat), or several with Imagen."""
    if _speaks(context, "imagen"):
        from . import imagen

        return await imagen.generate(request, context)
    from . import images

    return await images.generate(request, context)


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Edit a region: with edit_image and a mask reference, or on Gemini image models with a guidance picture and words."""
    if _speaks(context, "imagen"):
        from . import imagen

        return await imagen.inpaint(request, context)
    from . import images

    return await images.inpaint(request, context)


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Generate an image from pictures: with edit_image and typed references, or on Gemini image models with pictures and words."""
    if _speaks(context, "imagen"):
        from . import imagen

        return await imagen.edit_with_references(request, context)
    from . import images

    return await images.edit_with_references(request, context)


@hookimpl
async def generate_video(request: GenerateVideo, context: Context) -> Job:
    """Start a video with Veo or Omni."""
    if _speaks(context, "veo"):
        from . import veo

        return await veo.generate(request, context)
    from . import omni

    return await omni.generate(request, context)


@hookimpl
async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Extend a video with Veo; extend or edit one with Omni."""
    if _speaks(context, "veo"):
        from . import veo

        return await veo.continue_video(request, context)
    from . import omni

    return await omni.continue_video(request, context)


@hookimpl
async def generate_audio(request: GenerateAudio, context: Context) -> Outcome:
    """Speak a text, or make music."""
    from . import audio

    return await (audio.make_music if _speaks(context, "lyria") else audio.speak)(request, context)


@hookimpl
async def check_job(job: Job, context: Context) -> JobState:
    """Check an interaction or a Veo operation once."""
    from . import jobs

    return await jobs.check_status(job, context)


@hookimpl
async def cancel_job(job: Job, context: Context) -> None:
    """Stop an interaction; a Veo operation cannot be stopped."""
    from . import jobs

    await jobs.cancel(job, context)


@hookimpl
async def list_models(context: Context) -> tuple[ListedModel, ...]:
    """Return the models the service lists now."""
    from . import listing

    return await listing.listed(context)
