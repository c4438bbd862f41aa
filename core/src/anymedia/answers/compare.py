"""Compare what was returned with what was requested: it is paid for, so a difference is a warning, never an error.

`differences` compares the facts of the files, `lost_transparency` and `changed_outside_mask` their decoded pixels, and
`mask_polarity` checks a mask before it is sent. Each difference has a code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..media import format_of
from ..results import MediaFile, Warning

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from ..masks import MaskPlane

#: Seconds, and parts of the length, by which a video or sound may differ from what was asked without a warning.
_SECONDS, _SECONDS_PART = 0.6, 0.02
#: Part by which an aspect ratio may differ: edges are rounded to multiples of 16 by most models.
_RATIO_PART = 0.03
#: A pixel counts as changed where one of its channels differs by more than this (0 to 255): recompression stays below it.
CHANGED_STEP = 24
#: A mask counts as not honoured where more than this part of the protected pixels changed.
CHANGED_PART = 0.05
#: Pixels around a mask that may change: models blend its edge.
_EDGE = 16
#: Formats that are asked for by one name and recognized by another, since one contains the other.
_SAME = {("ogg", "opus"), ("opus", "ogg"), ("aac", "m4a"), ("m4a", "mp4"), ("mp4", "mov")}
#: Strokes of one colour do not spread further (standard deviation of a channel, 0 to 255).
_STROKE_SPREAD = 32
_OPAQUE_FORMATS = {"jpeg", "bmp"}


def other_count(asked: int, received: int, what: str = "image") -> tuple[Warning, ...]:
    """Warn where fewer pieces were returned than requested, or more, which may cost more."""
    if received == asked:
        return ()
    code = "fewer_pieces" if received < asked else "more_pieces"
    return (Warning(code, f"{asked} {what}{'s were' if asked != 1 else ' was'} requested and {received or 'none'} returned"),)


def differences(request: Mapping[str, Any], file: MediaFile, *, converted_to: str | None = None) -> tuple[Warning, ...]:
    """Compare a file's facts with the request that was sent.

    Args:
        request: the fields as they were sent: ``size`` (``1024x1024``), ``aspect_ratio`` (``16:9``), ``duration`` (seconds),
            ``output_format``; whatever is missing or ``auto`` is not compared.
        file: the received file, with its size after its EXIF orientation.
        converted_to: the format that the core converted it to, if it did; then that is compared.
    """
    return tuple(_differences(request, file, converted_to or request.get("output_format")))


def _differences(request: Mapping[str, Any], file: MediaFile, wanted: Any) -> Iterator[Warning]:
    came = format_of(file.mime)
    if wanted and came and wanted not in {came, "auto"} and (wanted, came) not in _SAME:
        yield Warning("format_differs", f"{wanted} was requested and {came} was returned")
    if file.width and file.height:
        returned = f"{file.width}x{file.height}"
        size = re.fullmatch(r"([0-9]{1,5}) ?[xX\u00d7*] ?([0-9]{1,5})", str(request.get("size") or ""))
        width, height = map(int, size.groups()) if size else (0, 0)
        ratio = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,4})?):([0-9]{1,4}(?:\.[0-9]{1,4})?)", str(request.get("aspect_ratio") or ""))
        wide, high = map(float, ratio.groups()) if ratio else (0.0, 0.0)
        if width and height:  # where both were sent, the size is compared
            if (width, height) != (file.width, file.height):
                yield Warning("size_differs", f"{width}x{height} pixels were requested and {returned} were returned")
        elif ratio and wide and high and abs(file.width * high / (file.height * wide) - 1) > _RATIO_PART:
            yield Warning("aspect_ratio_differs", f"{ratio[0]} was requested and {returned} pixels were returned")
    try:
        seconds = float(request.get("duration") or 0)
    except (TypeError, ValueError):
        return
    if not seconds or not file.seconds or request.get("kind") == "continue_video":
        return  # what is appended to an earlier video comes with it
    if abs(file.seconds - seconds) > max(_SECONDS, _SECONDS_PART * seconds):
        yield Warning("duration_differs", f"{seconds:g} s were requested and {file.seconds:.1f} s were returned")


def lost_transparency(picture: Picture | bytes, *, asked: bool) -> tuple[Warning, ...]:
    """Warn where transparency was asked for, by ``background`` or by a source that has some, and every pixel is opaque."""
    if not asked:
        return ()
    from ..convert.images import is_transparent

    shown = _decoded(picture)
    if is_transparent(shown):
        return ()
    why = f"; {shown.format} cannot hold transparency" if (shown.format or "").lower() in _OPAQUE_FORMATS else ""
    text = f"a transparent background was requested and an opaque picture was returned{why}"
    return (Warning("transparency_lost", text),)


def _decoded(picture: Picture | bytes) -> Picture:
    from ..convert.images import open_picture

    return open_picture(picture) if isinstance(picture, bytes) else picture


def changed_outside_mask(source: Picture | bytes, received: Picture | bytes, mask: MaskPlane) -> tuple[Warning, ...]:
    """Warn where a model changed what the mask protects, measured on decoded pixels at the size that was sent.

    A pixel counts as changed where a channel differs by more than `CHANGED_STEP` of 255, so that a model's own encoder is no
    change; `_EDGE` pixels around the mask are left out, since models blend there. More than `CHANGED_PART` of the protected
    pixels changed means that the mask was not honoured.

    Args:
        source: the picture as it was sent.
        received: what came back.
        mask: white (255) = edit, at the size that was sent.

    Returns:
        ``mask_not_honoured``, or ``mask_not_compared`` where the sizes differ; nothing where the mask was honoured.
    """
    before, after = _decoded(source), _decoded(received)
    if before.size != after.size or before.size != mask.size:
        sizes = f"{before.width}x{before.height} pixels were sent and {after.width}x{after.height} were returned"
        return (Warning("mask_not_compared", f"whether the mask was honoured was not measured: {sizes}"),)
    part = _changed_part(before, after, mask)
    if part is None or part <= CHANGED_PART:
        return ()
    text = f"the mask was not honoured: {part:.0%} of the pixels that it protects were changed"
    return (Warning("mask_not_honoured", f"{text} (protect='exact' copies them back from the source)"),)


def _changed_part(before: Picture, after: Picture, mask: MaskPlane) -> float | None:
    """Return which part of the protected pixels changed; None where the mask protects none beyond its edge."""
    from PIL import ImageChops

    from ..masks import bands

    plane, changed, count = mask.picture(), 0, 0
    for box in bands(plane):
        protected = ImageChops.invert(_grown(plane, box, _EDGE))
        count += protected.histogram()[255]
        red, green, blue = ImageChops.difference(_on_white(before.crop(box)), _on_white(after.crop(box))).split()
        steps = ImageChops.lighter(ImageChops.lighter(red, green), blue).point(lambda step: 255 if step > CHANGED_STEP else 0)
        changed += ImageChops.darker(steps, protected).histogram()[255]
    return changed / count if count else None


def _grown(plane: Picture, box: tuple[int, int, int, int], by: int) -> Picture:
    """Return a box of a mask, its white regions ``by`` pixels larger on each side.

    Pillow's `MaxFilter` takes seconds for a megapixel, and no other thread runs meanwhile.
    """
    from PIL import ImageChops

    left, top, right, bottom = box
    grown = plane.crop((left - by, top - by, right + by, bottom + by))  # black beyond the mask
    for x, y in ((1, 0), (0, 1)):
        reach, wanted = 1, 2 * by + 1
        while reach < wanted:
            step = min(reach, wanted - reach)
            moved = grown.crop((x * step, y * step, grown.width + x * step, grown.height + y * step))
            grown, reach = ImageChops.lighter(grown, moved), reach + step
    return grown.crop((0, 0, right - left, bottom - top))


def _on_white(picture: Picture) -> Picture:
    """Return the colours that are seen; those of transparent pixels do not count."""
    from ..convert.images import flatten, plain_colours

    return flatten(plain_colours(picture))


def mask_polarity(mask: Picture | bytes) -> tuple[Warning, ...]:
    """Warn where a mask looks like opaque strokes on a transparent layer, as canvas editors export them.

    Transparency means "edit" by the convention that such a file follows, so the strokes would be kept and all else
    edited. A mask whose colours say the same as its transparency (`anymedia.masks.convert` writes such ones) is clear.
    """
    from PIL import Image, ImageChops, ImageStat

    from ..convert.images import is_transparent

    picture = _decoded(mask)
    if not is_transparent(picture):
        return ()

    shown = picture.convert("RGBA")
    opaque = shown.getchannel("A").point(lambda value: 255 if value >= 128 else 0)
    strokes = opaque.histogram()[255]
    if not strokes or strokes > 0.5 * shown.width * shown.height:
        return ()  # a layer with holes: they are intended
    colours = Image.merge("RGB", shown.split()[:3])
    inside, hidden = ImageStat.Stat(colours, opaque), ImageStat.Stat(colours, ImageChops.invert(opaque))
    if max(inside.stddev) > _STROKE_SPREAD or min(hidden.mean) > max(inside.mean) + _STROKE_SPREAD:
        return ()  # the picture itself with a part cut free; or the hidden colours say the same as the transparency
    text = (
        "the mask looks like opaque strokes on a transparent layer; transparent means edit, so the strokes are kept and all else is"
        " edited. If the strokes mark what to edit, give a mask that is white there and black elsewhere, without transparency"
    )
    return (Warning("mask_maybe_inverted", text),)
