"""Images: one request message, one call. The SDK's own methods refuse values the service takes, and fail where it makes fewer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import attrs

from anymedia.context import Context, LoadedMedia
from anymedia.errors import ContentRefused, UnknownContinuation
from anymedia.requests import Continuation, EditWithReferences, GenerateImage
from anymedia.results import Outcome, Piece

from ._answers import bad_answer, cost_of, usage_of
from ._client import connect
from ._errors import translated
from ._inputs import Sent, bring
from ._options import chosen, number_of

__all__ = ["edit", "generate"]

_MIME = "image/jpeg"


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Make images from words; what is gone on from is sent as the picture to edit."""
    pictures = [] if request.continue_from is None else [_continued(request.continue_from, context)]
    return await _make(request, context, pictures)


async def edit(request: EditWithReferences, context: Context) -> Outcome:
    """Edit one picture, or make one from several: ``<IMAGE_1>`` in the prompt is the first."""
    pictures = [context.read(reference.image) for reference in request.references]
    said = [f"Of <IMAGE_{i}>: {r.description}." for i, r in enumerate(request.references, 1) if r.description]
    # The protocol has no field for what is said of a picture.
    return await _make(attrs.evolve(request, prompt=" ".join([request.prompt, *said])), context, pictures)


def _continued(continuation: Continuation, context: Context) -> LoadedMedia:
    if not continuation.files:
        raise UnknownContinuation(f"{continuation.id!r} names no image to go on from", fix="give the image as an input instead")
    return context.read(continuation.files[0])


async def _make(request: GenerateImage | EditWithReferences, context: Context, pictures: Sequence[LoadedMedia]) -> Outcome:
    from xai_sdk.proto import image_pb2_grpc

    connection = connect(context)
    await connection.ready()
    message = _message(request, context, await bring(pictures, connection, context))
    stub = image_pb2_grpc.ImageStub(connection.channel)
    async with context.submission():
        with translated(context):
            answer = await stub.GenerateImage(message)
        return _outcome(answer, request.n, context)


def _message(request: GenerateImage | EditWithReferences, context: Context, pictures: Sequence[Sent]) -> Any:
    from xai_sdk.proto import image_pb2

    message = image_pb2.GenerateImageRequest(
        prompt=request.prompt,
        model=context.model,
        n=request.n,
        format=image_pb2.ImageFormat.IMG_FORMAT_URL,  # ten images in the answer itself would be more than it may hold
        user=request.extra_params.get("user"),
    )
    if aspect := chosen(request, context, "aspect_ratio"):
        message.aspect_ratio = number_of(image_pb2.ImageAspectRatio, "IMG_ASPECT_RATIO_", aspect, "aspect_ratio")
    if tier := chosen(request, context, "resolution"):
        message.resolution = number_of(image_pb2.ImageResolution, "IMG_RESOLUTION_", tier, "resolution")
    quality = chosen(request, context, "quality")
    if quality and quality != "auto":  # left out it is auto, for which the protocol has no number
        message.quality = number_of(image_pb2.ImageQuality, "IMG_QUALITY_", quality, "quality")
    contents = [
        image_pb2.ImageUrlContent(image_url=one.url, file_id=one.file_id, detail=image_pb2.ImageDetail.DETAIL_AUTO) for one in pictures
    ]
    if len(contents) == 1:
        message.image.CopyFrom(contents[0])
    else:
        message.images.extend(contents)
    return message


def _outcome(answer: Any, asked: int, context: Context) -> Outcome:
    """Return what came. A picture that moderation held back is a part of the answer without an address.

    Raises:
        ContentRefused: when all of them were held back.
        BadBackendResponse: for an answer without a picture.
    """
    if answer is None:
        raise bad_answer("it is not the message that was expected")
    cost = cost_of(answer.usage)
    allowed = [image for image in answer.images if image.respect_moderation]
    held_back = len(answer.images) - len(allowed)
    if not answer.images:
        raise bad_answer("it holds no image")
    if not allowed:
        raise _held_back(context, cost)
    warnings = []
    if held_back:
        warnings.append(f"the provider's moderation held {held_back} of {len(answer.images)} images back")
    if len(answer.images) < asked:
        warnings.append(f"{asked} images were asked for and {len(answer.images)} came")
    pieces = [_piece(image) for image in allowed]
    return Outcome(pieces=pieces, cost_usd=cost, usage=usage_of(answer.usage), warnings=warnings)


def _held_back(context: Context, cost: float | None) -> ContentRefused:
    error = ContentRefused(
        f"the moderation of '{context.backend}/{context.model}' held back what was made",
        reason="moderation of the output",
        fix="change the prompt or the inputs; the same again will most likely be held back again",
        delivery="refused",
    )
    error.charged, error.cost_usd = "yes" if cost else "unknown", cost or None  # billed as usual, third parties say
    return error


def _piece(image: Any) -> Piece:
    if image.url:
        return Piece(url=image.url, mime=_MIME)
    try:
        data = base64.b64decode(image.base64.rpartition(",")[2], validate=True)
    except binascii.Error:
        raise bad_answer("an image in it is not valid base64") from None
    if not data:
        raise bad_answer("an image in it has neither bytes nor an address")
    return Piece(data=data, mime=_MIME)
