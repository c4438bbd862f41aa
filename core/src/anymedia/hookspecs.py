"""The hooks that a backend may implement, one Protocol each. pluggy project and marker name: ``anymedia``.

A backend is a stateless module. It implements `capabilities` and a hook for each operation that its matrix claims. The
parameters of a hook never change: new data goes into ``request`` and ``context``. The core calls the hooks of the one
backend it has chosen; hooks are never broadcast.

    capabilities                    synchronous and pure: no I/O beyond its own file, no key needed
    generate_image, inpaint,
    edit_with_references,
    generate_video, continue_video,
    generate_audio, transform       one billable submit each; returns a finished Outcome or a running Job
    check_job                       one status check of a job, no loop; required where an operation returns a Job
    cancel_job                      optional: ask the provider to cancel a job
    find_submission                 optional: look up a submit whose outcome is unknown
    list_models                     optional: the models that the provider lists right now

Each example is a complete module for one imaginary service, Acme; a test runs them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_args

import attrs
import pluggy

from .fields import Operation
from .records import frozen

if TYPE_CHECKING:
    from .capabilities import CapabilityMatrix
    from .context import Context
    from .requests import ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Transform
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
    "Transforms",
    "hookimpl",
    "hookspec",
]

_F = TypeVar("_F")
hookspec = pluggy.HookspecMarker("anymedia")
hookimpl = pluggy.HookimplMarker("anymedia")


@frozen(kw_only=True)
class SubmissionRecord:
    """What is known about a submit whose outcome is unknown: enough to look it up at the provider.

    Attributes:
        label: the text that `Context.label` gave the hook to send along, where the provider stores one.
        model: the model id.
        operation: the operation; of a task with its name (``transform.upscale``).
        prompt: the prompt that was sent.
        started_at: when the call began, in seconds since the epoch.
    """

    label: str
    model: str
    operation: str
    prompt: str
    started_at: float


@frozen(kw_only=True)
class ListedModel:
    """One model as the provider lists it now.

    Attributes:
        id: the provider's model id.
        retires: its last day, if the provider gives one (``YYYY-MM-DD``).
        data: whatever else the provider says about it (JSON).
        row: what it can do, as a model of a capability file (see `anymedia.capabilities.from_json_schema`). The core merges it
            into the instance's matrix, in place of a shipped one. Empty where the list does not say, or the shipped spec is better:
            a shipped spec is then kept, unless ``notes`` say why the model is left out.
        notes: sentences about what the list left open and what is therefore missing in ``row``.
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
        """Return the backend's capability matrix.

        Called before planning, in any process that lists or uses the backend, possibly several times and without any
        credential set. It must be synchronous and pure: no I/O beyond its own file, equal on each call. A library that
        only some models require belongs in their ``requires``: the core checks whether it is installed, and the
        matrix is the same either way.

        Returns:
            The matrix, usually read from ``capabilities.toml`` beside the module.

        Raises:
            PluginContractError: for a malformed file, as `load_matrix` raises it.

        Example:
            from pathlib import Path

            from anymedia import CapabilityMatrix, hookimpl, load_matrix


            @hookimpl
            def capabilities() -> CapabilityMatrix:
                return load_matrix(Path(__file__).with_name("capabilities.toml"))
        """


class GeneratesImages(Protocol):
    """Backends that generate images from a prompt."""

    @hookspec(firstresult=True)
    async def generate_image(self, request: GenerateImage, context: Context) -> Job | Outcome:
        """Generate images from a prompt, or continue an earlier image.

        Called once per planned call, after planning, the budget check and the journal entry. It submits once, inside
        ``async with context.submission():``; retries and fallbacks are decided by the core.

        Args:
            request: the request as the planner adapted it to the model; an option that the model does not have, or that
                the caller did not give, is None. ``request.continue_from`` is set where an earlier image is continued.
            context: credentials, settings, clients and input bytes for this call.

        Returns:
            An `Outcome` with one `Piece` for each image, or a `Job` where the provider works asynchronously.

        Raises:
            BackendError: the submit failed. Inside the submission block ``delivery`` says whether the provider may have
                accepted it; without it a failed submit may have been charged.

        Example:
            from anymedia import Context, GenerateImage, Outcome, hookimpl
            from anymedia.answers.media import extract_media
            from anymedia.errors import ContentRefused
            from anymedia.http import no_media, post_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def generate_image(request: GenerateImage, context: Context) -> Outcome:
                url = context.settings.get("base_url", ACME) + "/images"
                headers = {"x-key": context.secret("api_key").reveal()}
                body = {"prompt": request.prompt, "size": request.size, "seed": request.seed}
                async with context.submission():
                    answer = await post_json(context, url, body, headers=headers, by_code={"unsafe_prompt": ContentRefused})
                    found = extract_media(answer, ["image"])
                    if not found.items:
                        raise no_media(context, answer, found, what="image")
                return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer["id"])
        """


class Inpaints(Protocol):
    """Backends that edit a region of an image."""

    @hookspec(firstresult=True)
    async def inpaint(self, request: Inpaint, context: Context) -> Job | Outcome:
        """Edit the masked region of an image, or extend the image (``edit_mode="outpaint"``).

        Called as `generate_image` is.

        Args:
            request: ``request.source`` is always set; where an image is continued, it is that image. Except for
                outpainting, ``request.mask`` is always set, in the format that the matrix declares. Both are handles:
                ``context.read`` returns their bytes.
            context: credentials, settings, clients and input bytes for this call.

        Returns:
            An `Outcome` with one `Piece` for each image, or a `Job`.

        Raises:
            BackendError: as for `generate_image`.

        Example:
            from anymedia import Context, Inpaint, Outcome, hookimpl
            from anymedia.answers.media import extract_media
            from anymedia.http import no_media, post_form

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def inpaint(request: Inpaint, context: Context) -> Outcome:
                url = context.settings.get("base_url", ACME) + "/edits"
                headers = {"x-key": context.secret("api_key").reveal()}
                files = {"image": context.read(request.source), "mask": context.read(request.mask)}
                async with context.submission():
                    answer = await post_form(context, url, {"prompt": request.prompt}, files=files, headers=headers)
                    found = extract_media(answer, ["image"])
                    if not found.items:
                        raise no_media(context, answer, found, what="image")
                return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer["id"])
        """


class EditsWithReferences(Protocol):
    """Backends that create an image from a prompt and reference images."""

    @hookspec(firstresult=True)
    async def edit_with_references(self, request: EditWithReferences, context: Context) -> Job | Outcome:
        """Create an image from a prompt and reference images.

        Called as `generate_image` is.

        Args:
            request: ``request.references`` holds at least one image, each with its role (source, style, control, subject)
                and, where given, its type and description. Where an image is continued, it is the last source, and counts as one. A mask
                applies to the first source.
            context: credentials, settings, clients and input bytes for this call.

        Returns:
            An `Outcome` with one `Piece` for each image, or a `Job`.

        Raises:
            BackendError: as for `generate_image`.

        Example:
            import base64

            from anymedia import Context, EditWithReferences, Outcome, hookimpl
            from anymedia.answers.media import extract_media
            from anymedia.http import no_media, post_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
                url = context.settings.get("base_url", ACME) + "/compositions"
                headers = {"x-key": context.secret("api_key").reveal()}
                pictures = [(r, base64.b64encode(context.read(r.image).data).decode()) for r in request.references]
                images = [{"role": r.role, "about": r.description, "data": data} for r, data in pictures]
                async with context.submission():
                    answer = await post_json(context, url, {"prompt": request.prompt, "images": images}, headers=headers)
                    found = extract_media(answer, ["image"])
                    if not found.items:
                        raise no_media(context, answer, found, what="image")
                return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer["id"])
        """


class GeneratesVideos(Protocol):
    """Backends that generate videos."""

    @hookspec(firstresult=True)
    async def generate_video(self, request: GenerateVideo, context: Context) -> Job | Outcome:
        """Generate a video from a prompt, from frames or from reference images.

        Called as `generate_image` is.

        Args:
            request: ``request.duration`` is in seconds; ``first_frame``, ``last_frame`` and ``references`` are set where
                the caller gave them.
            context: credentials, settings, clients and input bytes for this call; send ``context.label`` along where the
                provider stores such a text, so that `find_submission` can find the submit again.

        Returns:
            Usually a `Job` that any process can resume from its id and data alone, which `check_job` then checks.

        Raises:
            BackendError: as for `generate_image`.

        Example:
            from anymedia import Context, GenerateVideo, Job, hookimpl
            from anymedia.http import post_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def generate_video(request: GenerateVideo, context: Context) -> Job:
                url = context.settings.get("base_url", ACME) + "/videos"
                headers = {"x-key": context.secret("api_key").reveal()}
                body = {"prompt": request.prompt, "seconds": request.duration, "label": context.label}
                async with context.submission():
                    answer = await post_json(context, url, body, headers=headers)
                return Job(id=answer["id"])
        """


class ContinuesVideos(Protocol):
    """Backends that continue a video."""

    @hookspec(firstresult=True)
    async def continue_video(self, request: ContinueVideo, context: Context) -> Job | Outcome:
        """Continue an earlier video (``request.continue_from``) or a video file (``request.source``).

        Called as `generate_image` is. A continuation only ever reaches the backend instance that made it.

        Args:
            request: ``request.continue_from.data`` is what the backend returned in `ContinuationData`; ``continue_as``
                is extend, edit or remix where the caller chose.
            context: credentials, settings, clients and input bytes for this call.

        Returns:
            A `Job` or an `Outcome`. The outcome's ``continued_as`` says whether the video was extended, edited or remixed.

        Raises:
            BackendError: as for `generate_image`.

        Example:
            from anymedia import Context, ContinueVideo, Job, hookimpl
            from anymedia.http import post_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def continue_video(request: ContinueVideo, context: Context) -> Job:
                url = context.settings.get("base_url", ACME) + "/videos"
                headers = {"x-key": context.secret("api_key").reveal()}
                body = {"prompt": request.prompt, "extends": request.continue_from.data["id"], "label": context.label}
                async with context.submission():
                    answer = await post_json(context, url, body, headers=headers)
                return Job(id=answer["id"])
        """


class GeneratesAudio(Protocol):
    """Backends that generate speech or music."""

    @hookspec(firstresult=True)
    async def generate_audio(self, request: GenerateAudio, context: Context) -> Job | Outcome:
        """Speak the prompt, or make music from it (``request.audio_type``).

        Called as `generate_image` is.

        Args:
            request: ``request.prompt`` is the text to speak, or the description of the music.
            context: credentials, settings, clients and input bytes for this call.

        Returns:
            An `Outcome` with one `Piece`, or a `Job`.

        Raises:
            BackendError: as for `generate_image`.

        Example:
            from anymedia import Context, GenerateAudio, Outcome, hookimpl
            from anymedia.answers.media import extract_media
            from anymedia.http import no_media, post_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def generate_audio(request: GenerateAudio, context: Context) -> Outcome:
                url = context.settings.get("base_url", ACME) + "/speech"
                headers = {"x-key": context.secret("api_key").reveal()}
                async with context.submission():
                    answer = await post_json(context, url, {"text": request.prompt, "voice": request.voice}, headers=headers)
                    found = extract_media(answer, ["audio"])
                    if not found.items:
                        raise no_media(context, answer, found, what="audio")
                return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer["id"])
        """


class Transforms(Protocol):
    """Backends that work on media: upscale, remove the background, restore, describe ..."""

    @hookspec(firstresult=True)
    async def transform(self, request: Transform, context: Context) -> Job | Outcome:
        """Do a task that the matrix declares, such as ``[models.transform.upscale]``.

        Called as `generate_image` is.

        Args:
            request: ``request.task`` is the task; ``request.inputs`` has its images, masks, videos and audio by role, several of
                one role as a tuple; ``request.options`` are the options that the matrix declares.
            context: credentials, settings, clients and input bytes for this call.

        Returns:
            An `Outcome` with one `Piece` for each file, or with ``data`` where the task's ``output`` is ``json`` or ``text``; or
            a `Job`.

        Raises:
            BackendError: as for `generate_image`.

        Example:
            from anymedia import Context, Outcome, Transform, hookimpl
            from anymedia.answers.media import extract_media
            from anymedia.http import no_media, post_form

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def transform(request: Transform, context: Context) -> Outcome:
                url = context.settings.get("base_url", ACME) + f"/{request.task}"
                headers = {"x-key": context.secret("api_key").reveal()}
                files = {"image": context.read(request.inputs["image"])}
                async with context.submission():
                    answer = await post_form(context, url, request.options, files=files, headers=headers)
                    found = extract_media(answer, ["image"])
                    if not found.items and request.task != "describe":
                        raise no_media(context, answer, found, what="image")
                if request.task == "describe":
                    return Outcome(data=answer["text"], request_id=answer["id"])
                return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer["id"])
        """


class ChecksJobs(Protocol):
    """Implemented by every backend whose operations may return a Job."""

    @hookspec(firstresult=True)
    async def check_job(self, job: Job, context: Context) -> JobState:
        """Check the status of a job once.

        Called repeatedly until the job has ended, possibly in another process than the one that submitted; the core
        decides when. It must not wait, loop or submit.

        Args:
            job: the handle that the operation returned, as it was stored.
            context: credentials, settings and clients.

        Returns:
            `Running`, `Succeeded` with the outcome, or `Failed` where the provider says that the job has failed for good.

        Raises:
            JobNotFound: the provider does not find the job. Raise it each time: a new job may appear a moment later. The
                core checks again for at least a minute.
            BackendError: this status check failed. The core checks again later; the job is not lost.

        Example:
            from anymedia import Context, ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded, hookimpl
            from anymedia.errors import BadBackendResponse, JobNotFound
            from anymedia.http import get_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def check_job(job: Job, context: Context) -> JobState:
                url = context.settings.get("base_url", ACME) + f"/videos/{job.id}"
                headers = {"x-key": context.secret("api_key").reveal()}
                answer = await get_json(context, url, headers=headers, by_code={"404": JobNotFound})
                if answer["status"] == "failed":
                    return Failed(error=BadBackendResponse(answer["reason"]))
                if answer["status"] != "done":
                    return Running(progress=answer["progress"])
                piece = Piece(url=answer["url"], continuation=ContinuationData(data={"id": job.id}))
                return Succeeded(outcome=Outcome(pieces=[piece], continued_as="extend" if answer["extends"] else None))
        """


class CancelsJobs(Protocol):
    """Backends whose provider can cancel a job."""

    @hookspec(firstresult=True)
    async def cancel_job(self, job: Job, context: Context) -> None:
        """Ask the provider to cancel a job. Optional.

        Called by ``router.cancel`` and ``anymedia jobs cancel`` for a job that has not ended.

        Args:
            job: the handle that the operation returned, as it was stored.
            context: credentials, settings and clients.

        Returns:
            None, once the provider has accepted the request.

        Raises:
            UnsupportedOperation: the provider cannot cancel this job.
            BackendError: the request failed; the job may still be running.

        Example:
            from anymedia import Context, Job, hookimpl
            from anymedia.http import stop

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def cancel_job(job: Job, context: Context) -> None:
                headers = {"x-key": context.secret("api_key").reveal()}
                url = context.settings.get("base_url", ACME) + f"/videos/{job.id}"
                await stop(context, url, headers=headers)
        """


class FindsSubmissions(Protocol):
    """Backends that can look up a submit whose outcome is unknown."""

    @hookspec(firstresult=True)
    async def find_submission(self, record: SubmissionRecord, context: Context) -> Job | Outcome | None:
        """Look up a submit whose answer was lost. Optional.

        Called after a submit ended without an answer, and when such a call is resumed. It must not submit.

        Args:
            record: the label, model, operation, prompt and start time of the submit.
            context: credentials, settings and clients.

        Returns:
            The `Job` or `Outcome` of that submit and of no other, or None where it is not found. None never permits a
            second submit: the provider may not list it yet.

        Raises:
            BackendError: the look-up failed; the call remains unknown.

        Example:
            from anymedia import Context, Job, SubmissionRecord, hookimpl
            from anymedia.http import get_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def find_submission(record: SubmissionRecord, context: Context) -> Job | None:
                url = context.settings.get("base_url", ACME) + "/videos"
                headers = {"x-key": context.secret("api_key").reveal()}
                listed = await get_json(context, url, headers=headers)
                return next((Job(id=video["id"]) for video in listed["videos"] if video["label"] == record.label), None)
        """


class ListsModels(Protocol):
    """Backends that can ask the provider which models there are."""

    @hookspec(firstresult=True)
    async def list_models(self, context: Context) -> tuple[ListedModel, ...]:
        """Return the models that the provider lists now. Optional.

        Called by ``anymedia models --refresh``; and with ``on_demand`` in the matrix for a model that a caller names and that is not known.

        Args:
            context: credentials, settings and clients. ``context.model`` is the only model that is wanted, or empty for all.

        Returns:
            One `ListedModel` for each model of the provider; for one that it does not have, none.

        Raises:
            BackendError: the provider did not return its list.

        Example:
            from anymedia import Context, ListedModel, hookimpl
            from anymedia.http import get_json

            ACME = "https://api.acme.example/v1"


            @hookimpl
            async def list_models(context: Context) -> tuple[ListedModel, ...]:
                url = context.settings.get("base_url", ACME) + "/models"
                headers = {"x-key": context.secret("api_key").reveal()}
                listed = await get_json(context, url, headers=headers)
                return tuple(ListedModel(id=model["id"], retires=model["last_day"]) for model in listed["models"])
        """


#: Hook name -> the Protocol that specifies it.
HOOKS: Mapping[str, type] = {
    name: spec
    for spec in list(globals().values())
    if isinstance(spec, type) and Protocol in spec.__bases__
    for name in vars(spec)
    if not name.startswith("_")
}
assert set(get_args(Operation)) <= set(HOOKS)
