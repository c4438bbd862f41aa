"""One canonical mask: 8 bits per pixel, white (255) = edit, black (0) = keep.

Masks of either polarity are read, checked against the source image, converted for a model and used to restore protected
pixels. Pillow is imported only when a function runs. Resampling is always nearest neighbour: a mask has no grey values.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import attrs

from .errors import InvalidRequest, OutputMismatch, Problem

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Format for a model: PNG with transparency (transparent = edit), white = edit, black = edit, or white on black as a picture.
MaskFormat = Literal["alpha", "white", "black", "guidance"]
#: Meaning of a mask file; ``auto``: transparency if there is any, else white = edit.
Convention = Literal["auto", "alpha", "white", "black"]


@attrs.frozen
class MaskPlane:
    """A canonical mask: ``width`` x ``height`` bytes, row by row, each 255 (edit) or 0 (keep)."""

    width: int
    height: int
    pixels: bytes = attrs.field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def picture(self) -> Picture:
        """Return it as a Pillow image of mode ``L``."""
        from PIL import Image

        return Image.frombytes("L", self.size, self.pixels)


@attrs.frozen
class Pasted:
    """The result of `paste_back`.

    Attributes:
        data: a PNG whose protected pixels are the source's, bit for bit.
        difference: mean absolute difference (0 to 255) of the protected pixels before they were copied back.
        warnings: changes to the result before the pixels were copied (scaled, another format), as sentences.
    """

    data: bytes = attrs.field(repr=lambda d: f"<{len(d)} bytes>")
    difference: float
    warnings: tuple[str, ...] = ()


def read_mask(
    data: bytes, source_size: tuple[int, int] | None = None, *, convention: Convention = "auto", where: str = "$.mask"
) -> MaskPlane:
    """Read a mask image of any mode and either polarity.

    Any alpha below 255 means the transparency convention (transparent = edit), else white = edit. Values between are
    split at the middle. EXIF orientation is applied.

    Args:
        data: the bytes of the image.
        source_size: (width, height) of the source as shown, which the mask must have; None: not checked.
        convention: its meaning, if known.
        where: the JSON path for the error: not an image, another size, or a mask that selects nothing or everything.
    """
    from .convert.images import open_picture

    picture = open_picture(data, where=where)
    plane = _plane(_edited(picture, convention))
    if source_size is not None:
        _check_size(plane, source_size, where)
    white = plane.pixels.count(255)
    if not white:
        raise _wrong(where, "the mask is empty: it marks no pixel for editing", "make the region white, or transparent")
    if white == len(plane.pixels):
        raise _wrong(where, "the mask covers everything, so nothing is protected", "edit without a mask instead")
    return plane


def _check_size(mask: MaskPlane, source: tuple[int, int], where: str = "$.mask") -> None:
    if mask.size != source:
        raise _wrong(where, f"the mask has {_words(mask.size)}, its source {_words(source)}", "give a mask of the source's size")


def _wrong(where: str, text: str, fix: str) -> InvalidRequest:
    return InvalidRequest([Problem(where, f"{text}.")], fix=f"{fix[0].upper()}{fix[1:]}.")


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"


def _edited(picture: Picture, convention: Convention) -> Picture:
    """Return an ``L`` image that is bright in the region to edit."""
    from PIL import Image, ImageChops

    from .convert.images import alpha_of, is_transparent

    if convention == "alpha" or (convention == "auto" and is_transparent(picture)):
        alpha = alpha_of(picture)
        return Image.new("L", picture.size, 0) if alpha is None else ImageChops.invert(alpha)
    grey = _grey(picture)
    return ImageChops.invert(grey) if convention == "black" else grey


def _grey(picture: Picture) -> Picture:
    """Return the brightness in 8 bits; 16 bit samples are scaled down, not cut off."""
    from .convert.images import eight_bits, is_deep

    if is_deep(picture):
        return eight_bits(picture)
    if picture.mode in {"P", "PA", "CMYK", "LAB", "HSV", "YCbCr"} or "transparency" in picture.info:
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    return picture.convert("L")


def _plane(picture: Picture) -> MaskPlane:
    """Split an ``L`` image at the middle: 128 and above is edit."""
    return MaskPlane(picture.width, picture.height, picture.point(_CUT).tobytes())


_CUT = [0] * 128 + [255] * 128


def convert(mask: MaskPlane, form: MaskFormat) -> bytes:
    """Return the mask as PNG in the format of a model.

    ``alpha``: RGBA, alpha 0 in the region to edit and 255 in the rest; its colours are white on black, so that readers
    of either convention agree. ``white`` and ``black``: 8-bit grey. ``guidance``: an RGB image, white on black.
    """
    from PIL import Image, ImageChops

    plane = mask.picture()
    if form == "alpha":
        plane = Image.merge("RGBA", (plane, plane, plane, ImageChops.invert(plane)))
    elif form == "guidance":
        plane = Image.merge("RGB", (plane, plane, plane))
    elif form == "black":
        plane = ImageChops.invert(plane)
    return _png(plane)


def _png(picture: Picture, icc: bytes | None = None) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", icc_profile=icc)
    return out.getvalue()


def outside_difference(original: Picture | bytes, result: Picture | bytes, mask: MaskPlane | bytes) -> float:
    """Return the mean absolute difference (0 to 255) of the colours of the protected pixels.

    A result of another size but the same aspect ratio is scaled to the source's first. The mask may be given as an image file,
    source and result as files or as pictures of `anymedia.convert.images.open_picture`.

    Raises:
        OutputMismatch: the result has another aspect ratio than the source.
    """
    plane = _as_plane(mask)
    before, after, _ = _pair(original, result, plane)
    return _difference(before, after, plane)


def paste_back(original: bytes, result: bytes, mask: MaskPlane | bytes) -> Pasted:
    """Copy the protected pixels of the source back into a result, exactly; the result is always PNG.

    The source has 8 bits per channel, as it was sent; a lossy result is decoded once without further loss. A result of
    another size but the same aspect ratio is scaled to the source's; alpha and colour profile of the source are kept.
    The mask may be given as an image.

    Raises:
        OutputMismatch: the result has another aspect ratio than the source, so that pixels cannot be copied back exactly.
    """
    plane = _as_plane(mask)
    before, after, warnings = _pair(original, result, plane)
    difference = _difference(before, after, plane)
    mode = "RGBA" if "A" in before.mode + after.mode else "RGB"
    icc = before.info.get("icc_profile")
    made = after if after.mode == mode else after.convert(mode)
    from PIL import ImageChops

    region = plane.picture()
    for box in bands(made):
        made.paste(before.crop(box).convert(mode), box, ImageChops.invert(region.crop(box)))
    return Pasted(_png(made, icc), difference, warnings)


def _as_plane(mask: MaskPlane | bytes) -> MaskPlane:
    return mask if isinstance(mask, MaskPlane) else read_mask(mask)


def _pair(original: Picture | bytes, result: Picture | bytes, mask: MaskPlane) -> tuple[Picture, Picture, tuple[str, ...]]:
    """Return source and result as RGB or RGBA of the same size, and the changes to the result."""
    from PIL import Image

    from .convert.images import open_picture, plain_colours

    before = plain_colours(open_picture(original, where="$.source") if isinstance(original, bytes) else original)
    _check_size(mask, before.size)
    shown = open_picture(result, where="$.result") if isinstance(result, bytes) else result
    warnings: list[str] = []
    if shown.format not in {"PNG", "BMP", "TIFF", None}:
        warnings.append(f"the result was {shown.format}; it is PNG after the protected pixels were copied back exactly")
    after = plain_colours(shown)
    if after.size != before.size:
        if not _same_shape(before.size, after.size):
            raise OutputMismatch(
                f"the result has {_words(after.size)}, its source {_words(before.size)}: protected pixels cannot be copied back.",
                fix="Ask for the source's size or aspect ratio.",
            )
        warnings.append(f"the result was scaled from {_words(after.size)} to the source's {_words(before.size)}")
        after = after.resize(before.size, Image.Resampling.LANCZOS)
    return before, after, tuple(warnings)


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have the same aspect ratio, up to the rounding of edges (half a percent)."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= 0.005


#: Rows that are compared at a time: a difference of whole pictures would take as much memory as both, and hold up other threads.
ROWS = 512


def bands(picture: Picture) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes of at most `ROWS` rows that cover a picture."""
    for top in range(0, picture.height, ROWS):
        yield 0, top, picture.width, min(top + ROWS, picture.height)


def _difference(before: Picture, after: Picture, mask: MaskPlane) -> float:
    from PIL import ImageChops, ImageStat

    total, count, region = 0.0, 0, mask.picture()
    for box in bands(before):
        delta = ImageChops.difference(before.crop(box).convert("RGB"), after.crop(box).convert("RGB"))
        found = ImageStat.Stat(delta, ImageChops.invert(region.crop(box)))
        if found.count[0]:
            total, count = total + sum(found.sum), count + sum(found.count)
    return total / count if count else 0.0
