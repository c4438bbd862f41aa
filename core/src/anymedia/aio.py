"""The one-line functions for code with ``await``: ``await anymedia.aio.image("a red fox in snow")``.

Written by ``python -m tools.operations``; a test compares it with the requests. Do not edit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .credentials import GivenKeys
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
    Reference,
    References,
    listed,
)
from .results import Result
from .sync_router import ask

__all__ = ["edit", "image", "music", "speech", "video"]


# fmt: off
@checked
async def image(
    prompt: str, *, continue_from: ContinuationInput | None = None, n: int = 1, size: str | tuple[int, int] | None = None,
    aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None, quality: str | None = None,
    background: str | None = None, negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None,
    output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
    model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False, deadline: float | None = None,
    key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
) -> Result:
    """Generate an image.

        anymedia.image("a red fox in snow").show()

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
    return await ask(GenerateImage, locals())


@checked
async def edit(
    image: MediaInput, prompt: str, *, mask: MaskInput | None = None, edit_mode: Literal["inpaint", "outpaint"] = "inpaint",
    protect: Literal["exact"] | None = None, references: References = (), continue_from: ContinuationInput | None = None, n: int = 1,
    size: str | tuple[int, int] | None = None, aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None,
    quality: str | None = None, background: str | None = None, negative_prompt: str | None = None, seed: int | None = None,
    guidance_scale: float | None = None, output_format: str | None = None, extra_params: Mapping[str, Any] | None = None,
    backend: str | Sequence[str] | None = None, model: str | None = None, policy: Policy | None = None, output: OutputTo = None,
    overwrite: bool = False, deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None,
    keys: GivenKeys | None = None,
) -> Result:
    """Edit an image: change a region (``mask``), extend it (``edit_mode="outpaint"``), or use references.

        anymedia.edit("fox.png", "make it winter", output="winter.png")

    Args:
        image: the image to edit.
        prompt: what to make.
        mask: which region of the first source to change.
        edit_mode: inpaint or outpaint.
        protect: exact: copy back the pixels outside the mask.
        references: reference images with their roles.
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
    given = dict(locals())
    given["source"] = given.pop("image")
    if (mask is not None or edit_mode == "outpaint") and not listed(references):
        return await ask(Inpaint, given, {"source": "$.image"})
    given["references"] = (Reference(image=given.pop("source")), *(others := listed(references, "subject")))
    names = {"references[0]": "$.image"} | {f"references[{n}]": f"$.references[{n - 1}]" for n in range(1, len(others) + 1)}
    return await ask(EditWithReferences, {**given, "edit_mode": None}, names)


@checked
async def video(
    prompt: str, *, n: int = 1, first_frame: MediaInput | None = None, last_frame: MediaInput | None = None,
    continue_from: ContinuationInput | None = None, source: MediaInput | None = None, continue_as: Way | None = None,
    references: References = (), duration: float | None = None, size: str | tuple[int, int] | None = None,
    aspect_ratio: str | tuple[int, int] | None = None, resolution: str | None = None, quality: str | None = None,
    negative_prompt: str | None = None, seed: int | None = None, guidance_scale: float | None = None, output_format: str | None = None,
    extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None, model: str | None = None,
    policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False, deadline: float | None = None, key: str | None = None,
    on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
) -> Result:
    """Generate a video, or continue an earlier one (``continue_from``, ``source``).

        anymedia.video("waves at sunset", first_frame=image, duration=4)

    Args:
        prompt: what to make.
        n: how many videos.
        first_frame: the first frame.
        last_frame: the last frame.
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
    given = dict(locals())
    if continue_from is None and source is None:
        return await ask(GenerateVideo, given)
    return await ask(ContinueVideo, given if n != 1 else {**given, "n": None})


@checked
async def speech(
    prompt: str, *, voice: str | None = None, speed: float | None = None, instructions: str | None = None, seed: int | None = None,
    output_format: str | None = None, extra_params: Mapping[str, Any] | None = None, backend: str | Sequence[str] | None = None,
    model: str | None = None, policy: Policy | None = None, output: OutputTo = None, overwrite: bool = False, deadline: float | None = None,
    key: str | None = None, on_progress: OnProgress | None = None, keys: GivenKeys | None = None,
) -> Result:
    """Speak a text.

        anymedia.speech("Hello.")

    Args:
        prompt: the text to speak.
        voice: voice name.
        speed: 1.0 is normal.
        instructions: how to speak or play.
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
    return await ask(GenerateAudio, {**locals(), "audio_type": "speech"})


@checked
async def music(
    prompt: str, *, duration: float | None = None, instructions: str | None = None, negative_prompt: str | None = None,
    seed: int | None = None, output_format: str | None = None, extra_params: Mapping[str, Any] | None = None,
    backend: str | Sequence[str] | None = None, model: str | None = None, policy: Policy | None = None, output: OutputTo = None,
    overwrite: bool = False, deadline: float | None = None, key: str | None = None, on_progress: OnProgress | None = None,
    keys: GivenKeys | None = None,
) -> Result:
    """Generate music.

        anymedia.music("calm piano", duration=20)

    Args:
        prompt: what to make.
        duration: seconds (music).
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
    return await ask(GenerateAudio, {**locals(), "audio_type": "music"})
