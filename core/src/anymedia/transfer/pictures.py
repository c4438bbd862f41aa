"""Opening pictures with Pillow: guarded first, an explicit list of formats, turned upright, never a stray error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import InvalidRequest, Problem
from .headers_reader import Facts, Limits
from .sniff import check_kind, sniff

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["PILLOW_FORMATS", "decoding", "eight_bits", "open_frames", "open_picture", "plain_colours"]

#: Format name -> Pillow's name. Pillow is never asked to guess among all it knows.
PILLOW_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF", "avif": "AVIF", "bmp": "BMP", "tiff": "TIFF"}


@contextmanager
def decoding(where: str = "$") -> Iterator[None]:
    """Turn whatever a decoder raises into InvalidRequest; its own text is not passed on.

    Raises:
        InvalidRequest: in place of any decoder's error.
    """
    from PIL import Image

    try:
        yield
    except InvalidRequest:
        raise
    except Image.DecompressionBombError:
        raise InvalidRequest([Problem(where, "it is a decompression bomb")]) from None
    except MemoryError:
        raise InvalidRequest([Problem(where, "decoding it takes more memory than is allowed.")], fix="Scale it down.") from None
    except Exception:  # noqa: BLE001 - decoders raise anything on damaged files: SyntaxError, struct.error, OSError ...
        raise InvalidRequest([Problem(where, "it is damaged: it cannot be decoded.")], fix="Save it anew.") from None


def open_picture(data: bytes, *, limits: Limits | None = None, where: str = "$", facts: Facts | None = None) -> Picture:
    """Guard, decode and turn upright a picture; of an animated one the first frame.

    Returns a loaded Pillow image in the file's own mode; ``format`` and ``info`` are the file's.

    Raises:
        InvalidRequest: refused by the guard, no picture, or not to be decoded.
    """
    from PIL import Image, ImageFile, ImageOps

    limits = limits or Limits()
    if facts is None:
        facts = sniff(data, limits=limits, where=where)
        check_kind(facts, "image", where=where)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "somebody told Pillow to accept damaged files"
    with decoding(where):
        with Image.open(io.BytesIO(data[: facts.end]), formats=[PILLOW_FORMATS[facts.format]]) as image:
            if image.width * image.height > limits.pixels:
                raise Image.DecompressionBombError
            image.load()
            upright = ImageOps.exif_transpose(image)
        found: Picture = image.copy() if upright is None else upright
        found.format = PILLOW_FORMATS[facts.format]
        return found
    raise AssertionError  # decoding() never swallows


def open_frames(data: bytes, facts: Facts, *, limits: Limits | None = None, where: str = "$") -> tuple[list[Picture], list[int]]:
    """Decode all frames of an animated picture, each whole; returns them with their durations in milliseconds.

    Raises:
        InvalidRequest: not to be decoded, or together larger than is kept in memory.
    """
    from PIL import Image

    limits = limits or Limits()
    pictures: list[Picture] = []
    durations: list[int] = []
    with decoding(where):
        if (facts.width or 0) * (facts.height or 0) * (facts.frames or 1) > limits.animation_pixels:
            raise InvalidRequest([Problem(where, "its frames together are too large to be converted.")], fix="Scale it down.")
        with Image.open(io.BytesIO(data[: facts.end]), formats=[PILLOW_FORMATS[facts.format]]) as image:
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                pictures.append(image.convert("RGBA" if facts.has_alpha else "RGB"))
                durations.append(int(image.info.get("duration", 100)) or 100)
    return pictures, durations


def eight_bits(picture: Picture) -> Picture:
    """Return a picture of one 16 or 32 bit channel as ``L``: scaled, where Pillow's own conversion would cut off."""
    from PIL import Image

    if picture.mode == "F":
        low, high = picture.getextrema()
        scale = 255.0 if float(high) <= 1.0 and float(low) >= 0.0 else 1.0  # type: ignore[arg-type]
        return picture.point(lambda v: v * scale).convert("L")
    if picture.mode == "I":
        _, most = picture.getextrema()
        return picture.point(lambda v: v * (1 / 257 if int(most) > 255 else 1)).convert("L")  # type: ignore[arg-type]
    # the high byte of each sample, wherever the machine or the file puts it
    offset = 0 if picture.mode == "I;16B" else 1
    return Image.frombytes("L", picture.size, picture.tobytes()[offset::2])


def plain_colours(picture: Picture) -> Picture:
    """Return a picture as 8-bit ``RGB`` or ``RGBA``; exact for grey, palette and RGB. CMYK goes by its profile if it has one.

    A colour profile that still holds is kept in ``info["icc_profile"]``.
    """
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I") or picture.mode == "F":
        made = eight_bits(picture).convert("RGB")
    elif picture.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in picture.info:
        made = picture.convert("RGBA")
    elif picture.mode == "CMYK":
        made, profile = _from_cmyk(picture, profile), None
    else:
        made = picture if picture.mode == "RGB" else picture.convert("RGB")
    made.info = {"icc_profile": profile} if profile else {}
    return made


def _from_cmyk(picture: Picture, profile: bytes | None) -> Picture:
    if profile:
        from PIL import ImageCms

        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError:
            turned = None  # a profile that fits no CMYK: as if there were none
        if turned is not None:
            return turned
    return picture.convert("RGB")
