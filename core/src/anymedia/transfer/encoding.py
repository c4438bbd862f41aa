"""Writing pictures with Pillow: which format can hold what, and what is lost, said in words."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .pictures import PILLOW_FORMATS, plain_colours

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ["ALPHA_FORMATS", "LOSSLESS_FORMATS", "WRITABLE", "encode_animation", "encode_picture", "flatten", "has_alpha"]

#: Picture formats that can be written.
WRITABLE = frozenset(PILLOW_FORMATS)
#: Those that keep partial transparency.
ALPHA_FORMATS = frozenset({"png", "webp", "avif", "tiff"})
#: Those that keep every pixel (WebP written losslessly).
LOSSLESS_FORMATS = frozenset({"png", "webp", "bmp", "tiff"})

#: Quality by default, on each encoder's own scale of 0 to 100: visually lossless, far from the largest file.
_QUALITY = {"jpeg": 95, "webp": 92, "avif": 88}


def has_alpha(picture: Picture) -> bool:
    """Whether a picture has any pixel that is not opaque."""
    if picture.mode == "RGBA":
        return bool(picture.getchannel("A").histogram()[255] < picture.width * picture.height)
    return False


def flatten(picture: Picture) -> Picture:
    """Return an RGB picture; what is transparent shows white."""
    from PIL import Image

    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGB", picture.size, (255, 255, 255))
    ground.paste(picture, (0, 0), picture.getchannel("A"))
    return ground


def encode_picture(picture: Picture, fmt: str, *, quality: int | None = None, lossless: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """Write a picture (any mode) as one of `WRITABLE`; returns the bytes and what was lost, as sentences.

    Args:
        picture: it must be upright; its colour profile is kept.
        fmt: format name.
        quality: 0 to 100 on the encoder's own scale (jpeg, webp, avif).
        lossless: write WebP without loss (PNG, BMP and TIFF always are).
    """
    made, warnings = _fitted(picture, fmt)
    out = io.BytesIO()
    made.save(out, PILLOW_FORMATS[fmt], **_options(made, fmt, quality, lossless))
    return out.getvalue(), warnings


def encode_animation(
    pictures: list[Picture], durations: list[int], fmt: str, *, quality: int | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """Write an animation as png, gif, webp or avif; ``durations`` in milliseconds, one for each picture."""
    fitted = [_fitted(p, fmt) for p in pictures]
    first, *rest = [made for made, _ in fitted]
    options = _options(first, fmt, quality, lossless=False) | {"save_all": True, "append_images": rest, "duration": durations, "loop": 0}
    if fmt == "avif":
        options.pop("loop")
    out = io.BytesIO()
    first.save(out, PILLOW_FORMATS[fmt], **options)
    return out.getvalue(), fitted[0][1]


def _fitted(picture: Picture, fmt: str) -> tuple[Picture, tuple[str, ...]]:
    """Bring a picture into a mode that the format can hold; says what is lost."""
    deep = picture.mode.startswith("I") or picture.mode == "F"
    warnings: tuple[str, ...] = ("16 bits per channel were reduced to 8",) if deep else ()
    made = plain_colours(picture)
    profile = made.info.get("icc_profile")
    if fmt in {"jpeg", "bmp"} and made.mode == "RGBA":
        if has_alpha(made):
            warnings += (f"{fmt.upper()} has no transparency: what was transparent is white now",)
        made = flatten(made)
    elif fmt == "gif":
        made, more = _for_gif(made)
        warnings += more
    made.info = {"icc_profile": profile} if profile else {}
    return made, warnings


def _for_gif(picture: Picture) -> tuple[Picture, tuple[str, ...]]:
    """Reduce to 256 colours, where there are more; transparency becomes all or nothing."""
    warnings: tuple[str, ...] = ()
    if picture.mode == "RGBA" and any(picture.getchannel("A").histogram()[1:255]):
        warnings += ("GIF has no partial transparency: every pixel is now opaque or transparent",)
    if picture.getcolors(255) is None:
        warnings += ("GIF has 256 colours at most: the picture was reduced to them",)
    return picture, warnings  # Pillow's writer makes the palette, with or without transparency


def _options(picture: Picture, fmt: str, quality: int | None, lossless: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    profile = picture.info.get("icc_profile")
    if profile and fmt not in {"gif", "bmp"}:
        options["icc_profile"] = profile
    if fmt in _QUALITY:
        options["quality"] = _QUALITY[fmt] if quality is None else quality
    if fmt == "jpeg":
        options["subsampling"] = 0 if options["quality"] >= 90 else 2
    elif fmt == "webp" and lossless:
        options |= {"lossless": True, "exact": True, "quality": 60}
    elif fmt == "tiff":
        options["compression"] = "tiff_adobe_deflate"
    return options
