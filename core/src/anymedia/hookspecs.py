"""The hooks, one Protocol each: what a backend may implement. Project and marker name: ``anymedia``.

A backend is a stateless module. It implements `capabilities` and the operations its matrix claims. Every operation
hook takes exactly ``(request, context)``, for ever: growth goes into those two objects. Hooks are called for the
one chosen backend only, never broadcast.

    capabilities                    sync, pure, no I/O, no key needed
    generate_image, inpaint,
    edit_with_references,
    generate_video, continue_video,
    generate_audio                  one billable submit each; a finished Outcome or a running Job
    check_job                       one look at a job, no loop
    cancel_job                      optional: ask the provider to stop
    find_submission                 optional: look up a submit whose outcome is unknown
    list_models                     optional: what the provider lists right now (discovery, drift)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

import attrs
import pluggy

from .operations import Operation

if TYPE_CHECKING:
    from .capabilities import CapabilityMatrix
    from .context import Context
    from .requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint
    from .results import Job, JobState, Outcome

__all__ = [
    "HOOKS",
    "CancelsJobs",
    "ChecksJobs",
    "ContinuesVideos",
    "EditsWithReferences",
    "FindsSubmissions",
    "GeneratesAudio",
    "GeneratesImages",
    "GeneratesVideos",
    "HasCapabilities",
    "Inpaints",
    "ListedModel",
    "ListsModels",
    "SubmissionRecord",
    "hookimpl",
    "hookspec",
]

_F = TypeVar("_F")
hookspec = pluggy.HookspecMarker("anymedia")
hookimpl = pluggy.HookimplMarker("anymedia")


@attrs.frozen(kw_only=True)
class SubmissionRecord:
    """What is known of a submit whose outcome is not: enough to look it up at the provider.

    ``label`` is the text `Context.label` gave the hook to send along where the provider keeps one;
    ``started_at`` is seconds since the epoch.
    """

    label: str
    model: str
    operation: Operation
    prompt: str
    started_at: float


@attrs.frozen(kw_only=True)
class ListedModel:
    """One model as the provider lists it now.

    Attributes:
        id: the provider's id of it.
        retires: its last day, if the provider says (``YYYY-MM-DD``).
        data: whatever else the provider says (JSON).
        row: what it can do, as a row of a capability file; empty where the list does not say. A backend whose lists
            say it can have its matrix refreshed.
        notes: sentences on what the list left open, and was therefore left out of the row.
    """

    id: str
    retires: str | None = None
    data: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    row: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    notes: tuple[str, ...] = ()


class HasCapabilities(Protocol):
    """Implemented by every backend."""

    @hookspec(firstresult=True)
    def capabilities(self) -> CapabilityMatrix:
        """Return the backend's capability matrix: sync, pure, equal on each call, no I/O beyond its own file.

        What a model requires beside the plugin stands in its row, and the core looks whether it is installed: the matrix is
        the same either way.
        """


class GeneratesImages(Protocol):
    """Backends that make images from words."""

    @hookspec(firstresult=True)
    async def generate_image(self, request: GenerateImage, context: Context) -> Job | Outcome:
        """Make images from a prompt, or go on with an earlier image (``request.continue_from``)."""


class Inpaints(Protocol):
    """Backends that change a region of an image."""

    @hookspec(firstresult=True)
    async def inpaint(self, request: Inpaint, context: Context) -> Job | Outcome:
        """Change the masked region of ``request.source``, or extend it (``edit_mode="outpaint"``).

        But for outpainting ``request.mask`` is set always, in the form that the row takes.

        A continued image is the source by then: it is set always.
        """


class EditsWithReferences(Protocol):
    """Backends that make an image from words and pictures."""

    @hookspec(firstresult=True)
    async def edit_with_references(self, request: EditWithReferences, context: Context) -> Job | Outcome:
        """Make an image from a prompt and ``request.references``, each with its role.

        A continued image is among them by then, as the last source. A mask applies to the first source.
        """


class GeneratesVideos(Protocol):
    """Backends that make videos."""

    @hookspec(firstresult=True)
    async def generate_video(self, request: GenerateVideo, context: Context) -> Job | Outcome:
        """Make a video from words, frames or references."""


class ContinuesVideos(Protocol):
    """Backends that go on from a video."""

    @hookspec(firstresult=True)
    async def continue_video(self, request: ContinueVideo, context: Context) -> Job | Outcome:
        """Go on from ``request.continue_from`` or ``request.source``; the outcome says what that meant."""


class GeneratesAudio(Protocol):
    """Backends that speak or make music."""

    @hookspec(firstresult=True)
    async def generate_audio(self, request: GenerateAudio, context: Context) -> Job | Outcome:
        """Speak ``request.prompt``, or make music from it."""


class ChecksJobs(Protocol):
    """Implemented by every backend whose operations may return a Job."""

    @hookspec(firstresult=True)
    async def check_job(self, job: Job, context: Context) -> JobState:
        """Look once at a job. Raise for a look that failed; return Failed only when the job is over for good.

        For a job that the provider does not find raise JobNotFound, each time: it may be there a moment later. The core
        looks again for a minute, and then gives it up.
        """


class CancelsJobs(Protocol):
    """Backends whose provider can stop a job."""

    @hookspec(firstresult=True)
    async def cancel_job(self, job: Job, context: Context) -> None:
        """Ask the provider to stop a job."""


class FindsSubmissions(Protocol):
    """Backends that can look up a submit whose outcome is unknown."""

    @hookspec(firstresult=True)
    async def find_submission(self, record: SubmissionRecord, context: Context) -> Job | Outcome | None:
        """Look it up by list, label or file name. None means not found, and never licenses a resubmission."""


class ListsModels(Protocol):
    """Backends that can ask the provider which models there are."""

    @hookspec(firstresult=True)
    async def list_models(self, context: Context) -> tuple[ListedModel, ...]:
        """Return the provider's current models; never needed to plan."""


_SPECS = (
    HasCapabilities,
    GeneratesImages,
    Inpaints,
    EditsWithReferences,
    GeneratesVideos,
    ContinuesVideos,
    GeneratesAudio,
    ChecksJobs,
    CancelsJobs,
    FindsSubmissions,
    ListsModels,
)
#: Hook name -> the Protocol that specifies it.
HOOKS: Mapping[str, type] = {name: spec for spec in _SPECS for name in vars(spec) if not name.startswith("_")}
assert set(get_args(Operation)) <= set(HOOKS)
