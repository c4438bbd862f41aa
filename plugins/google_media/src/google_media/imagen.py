"""Pictures by Imagen's typed endpoint (``:predict``): generate_images, and edit_image with typed references.

Google shut its Imagen models down in 2026; an endpoint that still has one is reached through an instance whose settings
list it (see the README). The SDK calls both methods deprecated, "not before Jan. 1 2027".
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from anymedia.answers.envelopes import quote
from anymedia.context import Context, LoadedMedia
from anymedia.errors import InvalidRequest, Problem
from anymedia.requests import EditWithReferences, GenerateImage, Inpaint, Mask, Reference
from anymedia.results import ContinuationData, Outcome, Piece

from ._client import call_options, connect, on_agent_platform
from ._errors import bad_answer, translated
from ._refusals import filtered

__all__ = ["edit_with_references", "generate", "inpaint"]

_INSIDE = {"insertion": "EDIT_MODE_INPAINT_INSERTION", "removal": "EDIT_MODE_INPAINT_REMOVAL", "background_swap": "EDIT_MODE_BGSWAP"}
#: The SDK's MaskReferenceMode has no AUTO; the core makes it foreground, or semantic where classes are given.
_CONTROLS = {"canny": "CANNY", "edges": "CANNY", "scribble": "SCRIBBLE", "face_mesh": "FACE_MESH"}


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Generate pictures from a prompt."""
    from google.genai import types

    extra = request.extra_params
    config = types.GenerateImagesConfig(
        **_common(request, context),
        image_size=request.resolution if context.takes("resolution") else None,
        enhance_prompt=extra.get("enhance_prompt"),
    )
    return await _send(context, lambda models: models.generate_images(model=context.model, prompt=request.prompt, config=config))


async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Change the masked region, or fill the masked border of an enlarged picture."""
    assert request.source is not None
    inside = _INSIDE[request.extra_params.get("inpaint_mode", "insertion")]
    mode = "EDIT_MODE_OUTPAINT" if request.edit_mode == "outpaint" else inside
    references = [_raw(1, context.read(request.source))]
    if request.mask is not None:
        references.append(_mask(2, request.mask, request, context))
    return await _edit(request, context, request.prompt, references, mode)


async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Generate a picture from a source, styles, a structure and subjects, with or without a mask."""
    ordered = sorted(request.references, key=lambda r: r.role != "source")
    references = []
    if request.mask is not None:
        # A mask belongs to the raw picture before it; the core makes sure that there is one.
        references = [_raw(1, context.read(ordered[0].image)), _mask(2, request.mask, request, context)]
        ordered = ordered[1:]
    notes = []
    for number, reference in enumerate(ordered, len(references) + 1):
        references.append(_typed(number, reference, context.read(reference.image), request))
        notes.append(_pointer(number, reference))
    prompt = " ".join([request.prompt, *(note for note in notes if note)])
    mode = "EDIT_MODE_DEFAULT" if request.mask is None else _INSIDE["insertion"]
    return await _edit(request, context, prompt, references, mode)


async def _edit(request: Inpaint | EditWithReferences, context: Context, prompt: str, references: list[Any], mode: str) -> Outcome:
    from google.genai import types

    config = types.EditImageConfig(
        **_common(request, context), edit_mode=types.EditMode(mode), base_steps=request.extra_params.get("base_steps")
    )

    def call(models: Any) -> Awaitable[Any]:
        found: Awaitable[Any] = models.edit_image(model=context.model, prompt=prompt, reference_images=references, config=config)
        return found

    return await _send(context, call)


def _common(request: GenerateImage | Inpaint | EditWithReferences, context: Context) -> dict[str, Any]:
    """Return the fields that both configurations have."""

    def taken(name: str) -> Any:
        return getattr(request, name) if context.takes(name) else None

    form = taken("output_format")
    return {
        "http_options": call_options(context),
        "number_of_images": request.n,
        "negative_prompt": taken("negative_prompt"),
        "guidance_scale": taken("guidance_scale"),
        "seed": taken("seed"),
        "aspect_ratio": taken("aspect_ratio"),
        "output_mime_type": None if form is None else f"image/{form}",
        "person_generation": request.extra_params.get("person_generation"),
        "add_watermark": request.extra_params.get("add_watermark"),
        "include_rai_reason": True,
    }


def _image(loaded: LoadedMedia) -> Any:
    from google.genai import types

    # Any other nesting is accepted by the SDK and silently sends an empty picture.
    return types.Image(image_bytes=loaded.data, mime_type=loaded.mime)


def _raw(number: int, loaded: LoadedMedia) -> Any:
    from google.genai import types

    return types.RawReferenceImage(reference_id=number, reference_image=_image(loaded))


def _mask(number: int, mask: Mask, request: Inpaint | EditWithReferences, context: Context) -> Any:
    from google.genai import types

    config = types.MaskReferenceConfig(
        mask_mode=types.MaskReferenceMode(f"MASK_MODE_{mask.mode.upper()}"),
        segmentation_classes=list(mask.classes) or None,
        mask_dilation=request.extra_params.get("mask_dilation"),
    )
    picture = None if mask.image is None else _image(context.read(mask))
    return types.MaskReferenceImage(reference_id=number, reference_image=picture, config=config)


def _typed(number: int, reference: Reference, loaded: LoadedMedia, request: EditWithReferences) -> Any:
    from google.genai import types

    common = {"reference_id": number, "reference_image": _image(loaded)}
    if reference.role == "style":
        return types.StyleReferenceImage(**common, config=types.StyleReferenceConfig(style_description=reference.description))
    if reference.role == "control":
        kind = types.ControlReferenceType(f"CONTROL_TYPE_{_CONTROLS[reference.type]}") if reference.type else None
        compute = request.extra_params.get("compute_control_image")
        config = types.ControlReferenceConfig(control_type=kind, enable_control_image_computation=compute)
        return types.ControlReferenceImage(**common, config=config)
    if reference.role == "subject":
        subject = types.SubjectReferenceType(f"SUBJECT_TYPE_{reference.type.upper()}") if reference.type else None
        about = types.SubjectReferenceConfig(subject_type=subject, subject_description=reference.description)
        return types.SubjectReferenceImage(**common, config=about)
    return types.RawReferenceImage(**common)


def _pointer(number: int, reference: Reference) -> str:
    """Name a reference by its id in square brackets, as the endpoint expects in a prompt."""
    about = f"{reference.description} " if reference.description else ""
    if reference.role == "style":
        return f"In the style of {about}[{number}]."
    if reference.role == "subject":
        return f"With the {reference.type or 'subject'} {about}[{number}]."
    if reference.role == "control":
        return f"Following the {reference.type or 'control'} image {about}[{number}]."
    return f"Of {about}[{number}]." if about else ""


async def _send(context: Context, call: Callable[[Any], Awaitable[Any]]) -> Outcome:
    if not on_agent_platform(context):
        text = "Imagen's endpoint is available in Agent Platform mode only"
        raise InvalidRequest([Problem("$", text)], fix='set options = { mode = "agent_platform" } in the settings of the instance')
    connection = await connect(context)
    async with context.submission():
        with translated(context):
            with warnings.catch_warnings():  # about the method's end; nothing is awaited in here
                warnings.simplefilter("ignore")
                pending = call(connection.aio.models)
            response = await pending
    return _read(response, context)


def _read(response: Any, context: Context) -> Outcome:
    made = list(response.generated_images or ())
    good = [m.image for m in made if m.image is not None and m.image.image_bytes]
    withheld = [m.rai_filtered_reason for m in made if m.rai_filtered_reason]
    if not good:
        if withheld or not made:
            raise filtered(context, "; ".join(withheld))  # an answer without any: Imagen filters everything so, and says nothing
        raise bad_answer("it holds no image")
    pieces = [Piece(data=i.image_bytes, mime=i.mime_type, continuation=ContinuationData()) for i in good]
    notes = [f"{len(withheld)} of {len(made)} images were withheld; {quote('; '.join(withheld))}"] if withheld else []
    return Outcome(pieces=tuple(pieces), warnings=tuple(notes))
