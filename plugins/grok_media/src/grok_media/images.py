"""Images: one request message, one call. The SDK's own methods refuse values that the service takes, and fail where it returns fewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from anymedia.answers.media import extract_media
from anymedia.context import Context, LoadedMedia
from anymedia.errors import UnknownContinuation
from anymedia.http import bad_answer, no_media
from anymedia.requests import Continuation, EditWithReferences, GenerateImage
from anymedia.results import Outcome, Warning

from ._answers import MODERATION_FLAG, cost_of, usage_of, withheld
from ._client import connect
from ._errors import translated
from ._inputs import Sent, upload_inputs
from ._options import chosen, number_of

__all__ = ["edit", "generate"]

_MIME = "image/jpeg"


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Generate images from a prompt; with a continuation, the earlier image is sent as the picture to edit."""
    pictures = [] if request.continue_from is None else [_continued(request.continue_from, context)]
    return await _make(request, context, pictures)


async def edit(request: EditWithReferences, context: Context) -> Outcome:
    """Edit one picture, or generate one from several: ``<IMAGE_1>`` in the prompt is the first."""
    pictures = [context.read(reference.image) for reference in request.references]
    notes = [f"Of <IMAGE_{i}>: {r.description}." for i, r in enumerate(request.references, 1) if r.description]
    # The protocol has no field for the description of a picture.
    return await _make(attrs.evolve(request, prompt=" ".join([request.prompt, *notes])), context, pictures)


def _continued(continuation: Continuation, context: Context) -> LoadedMedia:
    if not continuation.files:
        raise UnknownContinuation(f"{continuation.id!r} names no image to continue from", fix="give the image as an input instead")
    return context.read(continuation.files[0])


async def _make(request: GenerateImage | EditWithReferences, context: Context, pictures: Sequence[LoadedMedia]) -> Outcome:
    from xai_sdk.proto import image_pb2_grpc

    connection = connect(context)
    await connection.ready()
    message = _message(request, context, await upload_inputs(pictures, connection, context))
    stub = image_pb2_grpc.ImageStub(connection.channel)
    async with context.submission():
        with translated(context):
            answer = await stub.GenerateImage(message)
        return _outcome(answer, connection.base_url, context)


def _message(request: GenerateImage | EditWithReferences, context: Context, pictures: Sequence[Sent]) -> Any:
    from xai_sdk.proto import image_pb2

    message = image_pb2.GenerateImageRequest(
        prompt=request.prompt,
        model=context.model,
        n=request.n,
        format=image_pb2.ImageFormat.IMG_FORMAT_URL,  # ten images inside the answer would exceed its size limit
        user=request.extra_params.get("user"),
    )
    if aspect := chosen(request, context, "aspect_ratio"):
        message.aspect_ratio = number_of(image_pb2.ImageAspectRatio, "IMG_ASPECT_RATIO_", aspect, "aspect_ratio")
    if tier := chosen(request, context, "resolution"):
        message.resolution = number_of(image_pb2.ImageResolution, "IMG_RESOLUTION_", tier, "resolution")
    quality = chosen(request, context, "quality")
    if quality and quality != "auto":  # auto is the default, and the protocol has no number for it
        message.quality = number_of(image_pb2.ImageQuality, "IMG_QUALITY_", quality, "quality")
    contents = [
        image_pb2.ImageUrlContent(image_url=one.url, file_id=one.file_id, detail=image_pb2.ImageDetail.DETAIL_AUTO) for one in pictures
    ]
    if len(contents) == 1:
        message.image.CopyFrom(contents[0])
    else:
        message.images.extend(contents)
    return message


def _outcome(answer: Any, base_url: str, context: Context) -> Outcome:
    """Return the images of an answer. One that moderation withheld has neither an address nor bytes.

    Raises:
        ContentRefused: all of them were withheld.
        BadBackendResponse: the answer holds no image.
    """
    if answer is None:
        raise bad_answer("it is not the message that was expected")
    cost, images = cost_of(answer.usage), list(answer.images)
    there = [image for image in images if image.url or image.base64]
    found = extract_media(
        {"images": [{"url": image.url or None, "base64": image.base64 or None} for image in there]}, ["images[]"], base_url=base_url
    )
    if not found.items:
        if images and not there:
            error = withheld(context, "the image that was generated", cost)
            error.delivery = "refused"
            raise error
        raise no_media(context, {}, found, what="image")
    warnings = list(found.warnings)
    if len(there) < len(images):
        text = f"the provider's moderation withheld {len(images) - len(there)} of {len(images)} images"
        warnings.append(Warning("item_refused", text))
    if not all(image.respect_moderation for image in there):
        warnings.append(Warning("moderation_not_confirmed", MODERATION_FLAG))
    pieces = [attrs.evolve(item, mime=item.mime or _MIME).to_piece() for item in found.items]
    return Outcome(pieces=pieces, cost_usd=cost, usage=usage_of(answer.usage), warnings=warnings)
