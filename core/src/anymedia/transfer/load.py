"""A request's inputs become bytes: guarded, upright, within the model's limits, in a format it takes.

What is fine already goes out byte for byte. Heavy decoding happens off the event loop; large pictures, video and
sound are decoded in a child process.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable

from ..context import LoadedMedia
from ..errors import InvalidRequest, UnsupportedInput
from ..media import FORMATS, Media
from ..planning.types import InputForm
from ..requests import Mask
from .headers_reader import Facts, Limits
from .media_process import LARGE_PIXELS, run_on_bytes
from .names import suffix_for
from .sniff import check_kind, sniff

__all__ = ["load"]

Read = Callable[[Media], Awaitable[bytes]]


async def load(
    item: Media | Mask,
    form: InputForm,
    *,
    read: Read,
    source_size: tuple[int, int] | None = None,
    limits: Limits | None = None,
    where: str = "$",
) -> LoadedMedia:
    """Return an input as the model takes it.

    Args:
        item: an image, video or audio; or a mask that has an image.
        form: allowed formats (the first is what others are converted to), limits, a mask's format.
        read: gives the bytes of a path, a URL or data; called once.
        source_size: for a mask, (width, height) of its source, which it must have.
        limits: what is let in at all.
        where: the JSON path for errors.

    Raises:
        InvalidRequest: no such media, damaged, hostile, or a mask that does not fit.
        UnsupportedInput: whole and well, but outside of what the model takes: says the limit and the fact.
    """
    if isinstance(item, Mask):
        if item.image is None:
            raise InvalidRequest("a mask without an image has no bytes to load")
        return await _load_mask(await read(item.image), form, source_size, limits, where)
    data = await read(item)
    facts = sniff(data, limits=limits, told="pcm" if item.format == "pcm" else None, where=where)
    check_kind(facts, item.media, where=where)
    name = _name(item)
    _check_facts(facts, form, name)
    if facts.kind == "image":
        return await _load_picture(data, facts, form, name, where)
    return await _load_timed(data, facts, form, name)


def _apart(facts: Facts) -> bool:
    """Whether a picture is decoded in a child: a large one, and any TIFF, whose decoder writes to the terminal."""
    return facts.format == "tiff" or (facts.width or 0) * (facts.height or 0) > LARGE_PIXELS


def _name(media: Media) -> str:
    return f"{str(media)!r}" if media.data is None else f"the {media.media} given"


def _check_facts(facts: Facts, form: InputForm, name: str) -> None:
    """Hold pixels and seconds against the model's limits."""
    if facts.width and facts.height:
        size, short, long = f"{facts.width} x {facts.height} pixels", min(facts.width, facts.height), max(facts.width, facts.height)
        if form.min_edge is not None and short < form.min_edge:
            raise UnsupportedInput(f"{name} has {size}; the model takes no edge under {form.min_edge}.", fix="Give a larger one.")
        if form.max_edge is not None and long > form.max_edge:
            raise UnsupportedInput(f"{name} has {size}; the model takes no edge over {form.max_edge}.", fix="Scale it down.")
        if form.max_pixels is not None and short * long > form.max_pixels:
            raise UnsupportedInput(f"{name} has {size}, {short * long} in all; the model takes {form.max_pixels}.", fix="Scale it down.")
        if form.max_ratio is not None and long > form.max_ratio * short:
            ratio = f"{long / short:.3g}:1"
            raise UnsupportedInput(f"{name} has {size}, {ratio}; the model takes {form.max_ratio:g}:1 at most.", fix="Crop it.")
    if form.seconds is not None and facts.seconds is not None:
        low, high = form.seconds
        if not low - 0.05 <= facts.seconds <= high + 0.05:  # containers round to their own clock
            raise UnsupportedInput(f"{name} runs for {facts.seconds:.2f} s; the model takes {low:g} to {high:g} s.", fix="Cut it.")


def _check_bytes(data: bytes, form: InputForm, name: str) -> None:
    if form.max_bytes is not None and len(data) > form.max_bytes:
        raise UnsupportedInput(f"{name} has {len(data)} bytes; the model takes {form.max_bytes} at most.", fix="Make it smaller.")


def _loaded(data: bytes, fmt: str, kind: str, facts: Facts, warnings: tuple[str, ...] = ()) -> LoadedMedia:
    return LoadedMedia(
        data=data,
        mime=FORMATS[fmt] if fmt != facts.format else facts.mime,
        filename=f"{kind}{suffix_for(fmt)}",
        width=facts.width,
        height=facts.height,
        seconds=facts.seconds,
        warnings=warnings,
    )


async def _load_picture(data: bytes, facts: Facts, form: InputForm, name: str, where: str) -> LoadedMedia:
    from .converting import convert_picture, is_plain

    if is_plain(facts) and (not form.formats or facts.format in form.formats):
        data = data[: facts.end]
        _check_bytes(data, form, name)
        return _loaded(data, facts.format, "image", facts)
    formats = list(form.formats)
    if _apart(facts):
        report, made = await run_on_bytes("picture", {"formats": formats, "max_bytes": form.max_bytes}, data)
        return _loaded(made, str(report["format"]), "image", facts, tuple(report["warnings"]))
    done = await asyncio.to_thread(convert_picture, data, formats, max_bytes=form.max_bytes, where=where)
    return _loaded(done.data, done.format, "image", facts, done.warnings)


async def _load_timed(data: bytes, facts: Facts, form: InputForm, name: str) -> LoadedMedia:
    """Video and sound go out as they are, or are converted where PyAV is there."""
    if not form.formats or facts.format in form.formats:
        _check_bytes(data, form, name)
        return _loaded(data, facts.format, facts.kind, facts)
    from .transform_av import AUDIO_TARGETS, VIDEO_TARGETS

    known = VIDEO_TARGETS if facts.kind == "video" else AUDIO_TARGETS
    target = next((f for f in form.formats if f in known), None)
    taken = ", ".join(form.formats)
    if target is None or facts.format == "pcm":
        raise UnsupportedInput(f"{name} is {facts.format}; the model takes {taken}.", fix="Convert it.")
    if importlib.util.find_spec("av") is None:
        fix = "Convert it, or run: pip install 'anymedia[video]'"
        raise UnsupportedInput(f"{name} is {facts.format}; the model takes {taken}, and PyAV is not installed to convert it.", fix=fix)
    args = {"from": facts.format, "to": target, "quality": None, "pcm_rate": 0}
    report, made = await run_on_bytes("transcode", args, data, seconds=1800)
    _check_bytes(made, form, name)
    return _loaded(made, target, facts.kind, facts, tuple(report["warnings"]))


async def _load_mask(data: bytes, form: InputForm, size: tuple[int, int] | None, limits: Limits | None, where: str) -> LoadedMedia:
    from ..masks import MaskFormat, convert, read_mask

    facts = sniff(data, limits=limits, where=where)
    check_kind(facts, "image", where=where)
    wanted: MaskFormat = form.mask_format or "white"  # type: ignore[assignment]
    if _apart(facts):
        report, made = await run_on_bytes("mask", {"source_size": size, "form": wanted, "resize": False}, data)
        width, height = int(report["width"]), int(report["height"])
    else:
        plane = await asyncio.to_thread(read_mask, data, size, where=where)
        made, (width, height) = await asyncio.to_thread(convert, plane, wanted), plane.size
    _check_bytes(made, form, "the mask")
    return LoadedMedia(data=made, mime="image/png", filename="mask.png", width=width, height=height)
