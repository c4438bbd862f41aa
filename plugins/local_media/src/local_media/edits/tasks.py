"""The tasks on an image, by OpenCV alone: no model, so nothing is recognized and no detail is invented."""

from __future__ import annotations

from typing import Any

from anymedia.context import Context
from anymedia.media import Media
from anymedia.requests import Transform
from anymedia.results import Outcome, Piece

from .._errors import work
from ..heavy import cv
from ..pictures import Picture, read_picture, write_picture
from .regions import foreground

__all__ = ["transform"]

_DEFAULT_SCALE = 2


def _upscaled(picture: Picture, scale: int) -> Picture:
    """Enlarge by Lanczos interpolation, and sharpen a little: interpolation alone looks soft."""
    width, height = picture.size

    def enlarged(pixels: Any) -> Any:
        return cv().resize(pixels, (width * scale, height * scale), interpolation=cv().INTER_LANCZOS4)

    soft = enlarged(picture.rgb)
    sharp = cv().addWeighted(soft, 1.4, cv().GaussianBlur(soft, (0, 0), 0.8 * scale), -0.4, 0)
    return Picture(sharp, None if picture.alpha is None else enlarged(picture.alpha))


def _cut_out(picture: Picture) -> Picture:
    """Make transparent what GrabCut does not take for the foreground; the edge is softened by a pixel."""
    import numpy as np

    region = foreground(picture, field="$.inputs.image", instead="use an image whose subject differs from its border")
    alpha = cv().GaussianBlur(region.astype(np.float32) * 255, (0, 0), 0.8)
    return Picture(picture.rgb, np.asarray(alpha, np.uint8))


async def transform(request: Transform, context: Context) -> Outcome:
    """Do a task on an image."""
    image = request.inputs["image"]
    assert isinstance(image, Media)
    data = context.read(image).data

    def made() -> tuple[bytes, str]:
        picture = read_picture(data, "$.inputs.image")
        upscales = request.task == "upscale"
        done = _upscaled(picture, request.options.get("scale") or _DEFAULT_SCALE) if upscales else _cut_out(picture)
        return write_picture(done, request.output_format or "png", lossless=not upscales)

    encoded, mime = await work(context, made)
    return Outcome(pieces=[Piece(data=encoded, mime=mime)], cost_usd=0.0)
