"""The operations as methods with the fields of their requests, for `Router`; `SyncRouter` has their twins.

Written by ``python -m tools.operations``; a test compares it with the requests. Do not edit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from .credentials import GivenKeys
from .errors import InvalidRequest, Problem
from .execution.asked import OutputTo, checked
from .execution.engine import OnProgress
from .fields import Way
from .media import MediaInput
from .policy import Policy
from .requests import (
    ContinuationInput,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    MaskInput,
    References,
    Request,
    TaskInput,
    Transform,
)
from .results import Result

#: What every operation accepts beside the fields of its request; see `Router.execute`.
CALL_OPTIONS = ("backend", "model", "policy", "output", "overwrite", "deadline", "key", "on_progress", "keys")


def split_options(kind: type[Request], given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Router.execute` for the arguments of an operation.

    Raises:
        InvalidRequest: the request has no such field, or a value is wrong.
    """
    fields = {f.name: given[f.name] for f in attrs.fields(kind) if given.get(f.name) is not None or f.default is attrs.NOTHING}
    known = {*fields, *CALL_OPTIONS, "self"}
    unused = [name for name, value in given.items() if name not in known and value is not None and not isinstance(value, tuple)]
    if unused:
        raise InvalidRequest([Problem(f"$.{name}", f"has no meaning for {kind.kind}") for name in unused])
    return {"request": kind(**fields), **{name: given[name] for name in CALL_OPTIONS}}


# fmt: off
class Operations:
    """The operations."""

    async def _ask(self, kind: type[Request], given: dict[str, Any]) -> Result:
        raise NotImplementedError

    @checked
    async def generate_image(
        self, prompt: str, *, continue_from: ContinuationInput | None = None, n: int = 1, size: str | tuple[int, int] | None = None,
        aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None, quality: str | None = None,
        background: str | None = None, negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None,
        output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
        model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False,
        deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Generate an image from text, or continue an earlier one (multi-turn).

            router.generate_image("a red fox in snow", size="1024x1024", n=2, output="foxes/")

        Args:
            prompt: what to make.
            continue_from: continuation id of an earlier image.
            n: how many images.
            size: WIDTHxHEIGHT in pixels, or auto.
            aspect_ratio: W:H, or auto.
            resolution: tier such as 1K, 2K, 4K.
            quality: quality level, as the model names it.
            background: transparent, opaque or auto.
            negative_prompt: what to avoid.
            seed: for reproducible results.
            guidance_scale: how closely to follow the prompt.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            extra_params: provider-only options, as the model declares them.
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(GenerateImage, locals())

    @checked
    async def inpaint(
        self, prompt: str, *, source: MediaInput | None = None, mask: MaskInput | None = None,
        edit_mode: Literal["inpaint", "outpaint"] = "inpaint", protect: Literal["exact"] | None = None,
        continue_from: ContinuationInput | None = None, n: int = 1, size: str | tuple[int, int] | None = None,
        aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None, quality: str | None = None,
        background: str | None = None, negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None,
        output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
        model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False,
        deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Change a region of an image (``inpaint``), or extend it beyond its edges (``outpaint``).

            router.inpaint("a wooden bench", source="park.png", mask="mask.png", protect="exact")

        Args:
            prompt: what to make.
            source: the image to change.
            mask: which region to change.
            edit_mode: inpaint or outpaint.
            protect: exact: copy back the pixels outside the mask.
            continue_from: continuation id of an earlier image.
            n: how many images.
            size: WIDTHxHEIGHT in pixels, or auto.
            aspect_ratio: W:H, or auto.
            resolution: tier such as 1K, 2K, 4K.
            quality: quality level, as the model names it.
            background: transparent, opaque or auto.
            negative_prompt: what to avoid.
            seed: for reproducible results.
            guidance_scale: how closely to follow the prompt.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            extra_params: provider-only options, as the model declares them.
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(Inpaint, locals())

    @checked
    async def edit_with_references(
        self, prompt: str, *, references: References = (), mask: MaskInput | None = None, protect: Literal["exact"] | None = None,
        continue_from: ContinuationInput | None = None, n: int = 1, size: str | tuple[int, int] | None = None,
        aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None, quality: str | None = None,
        background: str | None = None, negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None,
        output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
        model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False,
        deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Generate an image from text and images: sources to edit, a style, a structure, subjects; optionally with a mask.

            router.edit_with_references("the cat on a beach", references=["cat.png", "beach.png"])

        Args:
            prompt: what to make.
            references: reference images with their roles.
            mask: which region of the first source to change.
            protect: exact: copy back the pixels outside the mask.
            continue_from: continuation id of an earlier image.
            n: how many images.
            size: WIDTHxHEIGHT in pixels, or auto.
            aspect_ratio: W:H, or auto.
            resolution: tier such as 1K, 2K, 4K.
            quality: quality level, as the model names it.
            background: transparent, opaque or auto.
            negative_prompt: what to avoid.
            seed: for reproducible results.
            guidance_scale: how closely to follow the prompt.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            extra_params: provider-only options, as the model declares them.
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(EditWithReferences, locals())

    @checked
    async def generate_video(
        self, prompt: str, *, n: int = 1, first_frame: MediaInput | None = None, last_frame: MediaInput | None = None,
        references: References = (), duration: float | None = None, size: str | tuple[int, int] | None = None,
        aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None, quality: str | None = None,
        negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None, output_format: str | None = None,
        extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None, model: str | None = None,
        policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False, deadline: float | None = None,
        key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Generate a video from text, from a first (and last) frame, or from reference images.

            router.generate_video("waves at sunset", first_frame="beach.png", duration=4)

        Args:
            prompt: what to make.
            n: how many videos.
            first_frame: the first frame.
            last_frame: the last frame.
            references: reference images with their roles.
            duration: seconds.
            size: WIDTHxHEIGHT in pixels, or auto.
            aspect_ratio: W:H, or auto.
            resolution: tier such as 720p, 1080p, 4K.
            quality: quality level, as the model names it.
            negative_prompt: what to avoid.
            seed: for reproducible results.
            guidance_scale: how closely to follow the prompt.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            extra_params: provider-only options, as the model declares them.
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(GenerateVideo, locals())

    @checked
    async def continue_video(
        self, prompt: str, *, continue_from: ContinuationInput | None = None, source: MediaInput | None = None,
        continue_as: Way | None = None, references: References = (), duration: float | None = None,
        size: str | tuple[int, int] | None = None, aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None,
        quality: str | None = None, negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None,
        output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
        model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False,
        deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Continue an earlier video: extend appends, edit keeps the length, remix renders it again.

            router.continue_video("night falls", continue_from=result, continue_as="extend")

        Args:
            prompt: what to make.
            continue_from: continuation id of an earlier video.
            source: a video file to continue, instead of an id.
            continue_as: extend, edit or remix.
            references: reference images with their roles.
            duration: seconds.
            size: WIDTHxHEIGHT in pixels, or auto.
            aspect_ratio: W:H, or auto.
            resolution: tier such as 720p, 1080p, 4K.
            quality: quality level, as the model names it.
            negative_prompt: what to avoid.
            seed: for reproducible results.
            guidance_scale: how closely to follow the prompt.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            extra_params: provider-only options, as the model declares them.
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(ContinueVideo, locals())

    @checked
    async def generate_audio(
        self, prompt: str, *, audio_type: Literal["speech", "music"] = "speech", duration: float | None = None, voice: str | None = None,
        speed: float | None = None, instructions: str | None = None, negative_prompt: str | None = None, seed: int | None = None,
        output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
        model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False,
        deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Generate speech from a text, or music.

            router.generate_audio("Hello.", voice="alloy", output_format="mp3")

        Args:
            prompt: what to make.
            audio_type: speech or music.
            duration: seconds (music).
            voice: voice name.
            speed: 1.0 is normal.
            instructions: how to speak or play.
            negative_prompt: what to avoid.
            seed: for reproducible results.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            extra_params: provider-only options, as the model declares them.
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(GenerateAudio, locals())

    @checked
    async def transform(
        self, task: str, inputs: Mapping[str, TaskInput], *, prompt: str = "", options: Mapping[str, Any] | None = None,
        output_format: str | None = None, backend: str | Sequence[str] | None = None, model: str | None = None,
        policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False, deadline: float | None = None,
        key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
    ) -> Result:
        """Work on media as a task of a model says, such as ``upscale`` or ``remove_background``.

            router.transform("upscale", {"image": "fox.png"}, options={"scale": 4})

        Args:
            task: the task, as the model declares it.
            inputs: the inputs by role: ``image``, ``mask``, ``video``, ``audio`` and those that the model names.
            prompt: what to make, for a task that takes a prompt.
            options: options of the task, as the model declares them.
            output_format: file format (png, jpeg, webp, mp4, wav ...).
            backend: which backend, or several to choose from; by default the best one.
            model: which model, also as ``backend/model``.
            policy: what is allowed: budget, fallback, roots.
            output: a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.
            overwrite: whether an existing file may be replaced.
            deadline: seconds after which waiting ends; the job can be resumed.
            key: a run key, such as an order number: a repeat returns the result of the first request.
            on_progress: called with each progress event.
            keys: API keys by backend, for this call only; they win over the environment and the settings.
        """
        return await self._ask(Transform, locals())
