"""Bytes <-> pixels: read any picture upright as 8-bit RGB with its alpha; write png, jpeg, webp, avif, gif."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.errors import InvalidRequest, Problem
from anymedia.media import mime_of

if TYPE_CHECKING:
    from .heavy import Pixels

__all__ = ["Picture", "parse_size", "read_picture", "write_picture"]

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "MPO")


@attrs.frozen(eq=False)
class Picture:
    """RGB pixels (height, width, 3) and alpha (height, width), or None when it is opaque."""

    rgb: Pixels
    alpha: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.rgb.shape[1]), int(self.rgb.shape[0])


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of ``WIDTHxHEIGHT``."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise InvalidRequest([Problem("$.size", f"expected WIDTHxHEIGHT, got {text!r:.40}")])
    return int(found[1]), int(found[2])


def read_picture(data: bytes, path: str = "$.source") -> Picture:
    """Read a picture: upright, its first frame, 8 bits per channel.

    Raises:
        InvalidRequest: when it cannot be decoded; ``path`` names the request's field.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            upright = ImageOps.exif_transpose(opened)
            return _pixels(upright)
    except InvalidRequest:
        raise
    except Exception as error:
        raise InvalidRequest([Problem(path, f"the picture cannot be decoded ({type(error).__name__})")]) from error


def _pixels(image: Any) -> Picture:
    import numpy as np

    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, np.float64)
        top = 65535.0 if grey.max(initial=0) > 255 else 255.0
        flat = np.clip(grey / top * 255, 0, 255).astype(np.uint8)
        return Picture(np.repeat(flat[..., None], 3, axis=2))
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return Picture(rgba[..., :3].copy(), rgba[..., 3].copy())
    return Picture(np.asarray(image.convert("RGB")).copy())


def write_picture(picture: Picture, name: str = "png", *, lossless: bool = False) -> tuple[bytes, str]:
    """Return a picture's bytes in a format, and the mime type. ``lossless`` matters to webp alone."""
    import numpy as np
    from PIL import Image

    if picture.alpha is not None:
        image = Image.fromarray(np.dstack([picture.rgb, picture.alpha]))
    else:
        image = Image.fromarray(np.ascontiguousarray(picture.rgb))
    options: dict[str, Any] = {
        "png": {"compress_level": 6},
        "jpeg": {"quality": 92, "subsampling": 0},
        "webp": {"lossless": True, "exact": True, "quality": 60} if lossless else {"quality": 90, "method": 4},
        "avif": {"quality": 82, "speed": 8},
        "gif": {},
    }[name]
    if name == "jpeg":
        image = image.convert("RGB")
    out = io.BytesIO()
    image.save(out, name.upper(), **options)
    return out.getvalue(), mime_of(name)
