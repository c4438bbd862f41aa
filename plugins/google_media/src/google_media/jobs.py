"""Check a job, or cancel it, by the kind that its data names."""

from __future__ import annotations

from anymedia.context import Context
from anymedia.errors import UnsupportedOperation
from anymedia.results import Job, JobState

from . import _interactions, veo

__all__ = ["cancel", "check_status"]


async def check_status(job: Job, context: Context) -> JobState:
    """Check a job once."""
    if job.data.get("kind") == veo.KIND:
        return await veo.check_status(job, context)
    return await _interactions.check_status(job, context)


async def cancel(job: Job, context: Context) -> None:
    """Stop an interaction.

    Raises:
        UnsupportedOperation: for a Veo operation, which the SDK has no way to stop.
    """
    if job.data.get("kind") == veo.KIND:
        raise UnsupportedOperation("a Veo operation cannot be stopped", fix="let it finish and leave its video")
    await _interactions.cancel(job, context)
