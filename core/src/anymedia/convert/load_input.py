"""Load a request's inputs in the form the model accepts, transcode outputs, extract a video's last frame.

An input that fits is passed on byte for byte; others are converted. Large images, AVIF, BMP, TIFF, video and audio are
decoded in a child process, everything else outside the event loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from ..context import LoadedMedia
from ..errors import InvalidRequest, UnsupportedInput
from ..files.names import AUDIO, PICTURES, VIDEO, suffix_for
from ..media import FORMATS, Media
from ..planning.types import InputForm
from ..probe.probe import A_MEDIUM, check_kind, open_plainly, sniff
from ..probe.reader import Facts
from ..requests import Mask
from ..results import Warning
from ..threads import in_thread
from .sandbox import LARGE_PIXELS, SANDBOXED_FORMATS, run_apart, run_on_bytes

Read = Callable[[Media], Awaitable[bytes]]


async def load(
    item: Media | Mask,
    form: InputForm,
    *,
    read: Read,
    source_size: tuple[int, int] | None = None,
    where: str = "$",
) -> LoadedMedia:
    """Return an input in the form the model accepts.

    Args:
        item: an image, video or audio; or a mask with an image.
        form: allowed formats (others are converted to the first), the model's limits, the mask format.
        read: returns the bytes of a path, a URL or data; called once.
        source_size: for a mask, the (width, height) in pixels of its source, which it must match.
        where: JSON path of the input, for errors.

    Raises:
        InvalidRequest: not found, damaged, hostile, or a mask that does not match its source.
        UnsupportedInput: valid, but outside the limits of the model; the message states both.
    """
    if isinstance(item, Mask):
        if item.image is None:
            raise InvalidRequest("a mask without an image cannot be loaded")
        return await _load_mask(await read(item.image), form, source_size, where)
    name = _name(item)
    if item.size is not None and item.format is not None and item.format in form.formats:
        _check_bytes(item.size, form, name)  # before it is read; a file that is converted may become smaller
    data = await read(item)
    hint = "pcm" if item.format == "pcm" else None
    facts = await in_thread(lambda: sniff(data, format_hint=hint, where=where))
    check_kind(facts, item.media, where=where)
    _check_facts(facts, form, name)
    if facts.end < facts.size:
        data = data[: facts.end]
    if facts.kind == "image":
        return await _load_picture(data, facts, form, name, where)
    return await _load_timed(data, facts, form, name)


def _needs_child(facts: Facts) -> bool:
    """Return whether an image must be decoded in the child process."""
    return facts.format in SANDBOXED_FORMATS or (facts.width or 0) * (facts.height or 0) > LARGE_PIXELS


def _name(media: Media) -> str:
    return f"{str(media)!r}" if media.data is None else f"the given {media.media}"


def _check_facts(facts: Facts, form: InputForm, name: str) -> None:
    """Compare pixels and seconds with the model's limits."""
    if facts.width and facts.height:
        size, short, long = f"{facts.width} x {facts.height} pixels", min(facts.width, facts.height), max(facts.width, facts.height)
        if form.min_edge is not None and short < form.min_edge:
            raise UnsupportedInput(f"{name} has {size}; the model needs edges of at least {form.min_edge}.", fix="Use a larger one.")
        if form.max_edge is not None and long > form.max_edge:
            raise UnsupportedInput(f"{name} has {size}; the model accepts edges of at most {form.max_edge}.", fix="Scale it down.")
        if form.max_pixels is not None and short * long > form.max_pixels:
            total = f"{short * long} in total"
            raise UnsupportedInput(f"{name} has {size}, {total}; the model accepts at most {form.max_pixels}.", fix="Scale it down.")
        if form.max_ratio is not None and long > form.max_ratio * short:
            ratio = f"{long / short:.3g}:1"
            raise UnsupportedInput(f"{name} has {size}, {ratio}; the model accepts at most {form.max_ratio:g}:1.", fix="Crop it.")
    if form.seconds is not None and facts.seconds is not None:
        low, high = form.seconds
        if not low - 0.05 <= facts.seconds <= high + 0.05:  # containers round to their own time scale
            raise UnsupportedInput(f"{name} runs for {facts.seconds:.2f} s; the model accepts {low:g} to {high:g} s.", fix="Trim it.")


def _check_bytes(count: int, form: InputForm, name: str) -> None:
    if form.max_bytes is not None and count > form.max_bytes:
        raise UnsupportedInput(f"{name} has {count} bytes; the model accepts at most {form.max_bytes}.", fix="Make it smaller.")


def _loaded(data: bytes, fmt: str, facts: Facts, warnings: tuple[Warning | str, ...] = ()) -> LoadedMedia:
    return LoadedMedia(
        data=data,
        mime=FORMATS[fmt] if fmt != facts.format else facts.mime,
        filename=f"{facts.kind}{suffix_for(fmt)}",
        width=facts.width,
        height=facts.height,
        seconds=facts.seconds,
        warnings=warnings,
    )


async def _load_picture(data: bytes, facts: Facts, form: InputForm, name: str, where: str) -> LoadedMedia:
    from .images import convert_picture, is_plain

    cut = _cut(facts)
    if is_plain(facts) and (not form.formats or facts.format in form.formats):
        _check_bytes(len(data), form, name)
        return _loaded(data, facts.format, facts, cut)
    formats = list(form.formats)
    if _needs_child(facts):
        report, made = await run_on_bytes("picture", {"formats": formats, "max_bytes": form.max_bytes}, data)
        return _loaded(made, str(report["format"]), facts, (*cut, *report["warnings"]))
    made, fmt, lost = await asyncio.to_thread(convert_picture, data, formats, max_bytes=form.max_bytes, where=where)
    return _loaded(made, fmt, facts, (*cut, *lost))


def _cut(facts: Facts) -> tuple[Warning, ...]:
    """Return a warning about what follows after the end of a file, such as the video of a motion photo: it is not sent."""
    if facts.end == facts.size:
        return ()
    such = " (such as a motion photo's video)" if facts.format == "jpeg" else ""
    text = f"{facts.size - facts.end} bytes after the end of the {facts.format.upper()} {facts.kind} were not sent{such}"
    return (Warning("trailing_bytes_not_sent", text),)


async def _load_timed(data: bytes, facts: Facts, form: InputForm, name: str) -> LoadedMedia:
    """Load video or audio unchanged, or converted if PyAV is installed."""
    if not form.formats or facts.format in form.formats:
        _check_bytes(len(data), form, name)
        return _loaded(data, facts.format, facts, _cut(facts))
    from .video import AUDIO_TARGETS, VIDEO_TARGETS

    known = VIDEO_TARGETS if facts.kind == "video" else AUDIO_TARGETS
    target = next((f for f in form.formats if f in known), None)
    accepted = ", ".join(form.formats)
    if target is None or facts.format == "pcm":
        raise UnsupportedInput(f"{name} is {facts.format}; the model accepts {accepted}.", fix="Convert it.")
    _need_av(f"{name} is {facts.format}; the model accepts {accepted}. Converting it", "Convert it, or run: pip install av")
    args = {"from": facts.format, "to": target, "quality": None, "pcm_rate": 0}
    report, made = await run_on_bytes("transcode", args, data, seconds=1800)
    _check_bytes(len(made), form, name)
    return _loaded(made, target, facts, (*_cut(facts), *report["warnings"]))


async def _load_mask(data: bytes, form: InputForm, size: tuple[int, int] | None, where: str) -> LoadedMedia:
    from ..answers.compare import mask_polarity
    from ..masks import MaskFormat, convert, read_mask

    warnings: tuple[Warning, ...] = ()
    facts = await in_thread(lambda: sniff(data, where=where))
    check_kind(facts, "image", where=where)
    wanted: MaskFormat = form.mask_format or "white"  # type: ignore[assignment]
    if _needs_child(facts):
        report, made = await run_on_bytes("mask", {"source_size": size, "form": wanted}, data)
        width, height = int(report["width"]), int(report["height"])
    else:
        plane = await asyncio.to_thread(read_mask, data, size, where=where)
        made, (width, height) = await asyncio.to_thread(convert, plane, wanted), plane.size
        warnings = await asyncio.to_thread(mask_polarity, data)
    _check_bytes(len(made), form, "the mask")
    return LoadedMedia(data=made, mime="image/png", filename="mask.png", width=width, height=height, warnings=warnings)


def _need_av(work: str, fix: str = "Run: pip install av") -> None:
    if importlib.util.find_spec("av") is None:
        raise UnsupportedInput(f"{work} needs PyAV, which is not installed.", fix=fix)


@attrs.frozen(kw_only=True)
class Transcoded:
    """A transcoded file, with a sentence for each loss."""

    path: Path
    warnings: tuple[str, ...] = ()


def transcode(path: Path, to_format: str, *, quality: int | None = None, pcm_rate: int | None = None) -> Transcoded:
    """Write a file in another format, as a new file in the same directory (mode 0600); the original is kept. Blocks.

    Args:
        path: any file that `sniff` accepts. A file that already has the format is returned unchanged.
        to_format: one of `formats.formats_available`.
        quality: 0 to 100 for pictures (default: visually lossless), the encoder's CRF for video.
        pcm_rate: sample rate in Hz, for raw 16-bit mono samples.

    Raises:
        UnsupportedInput: it cannot be converted to that format, or PyAV is not installed.
    """
    with open_plainly(path) as file:
        facts = sniff(file, format_hint="pcm" if pcm_rate else None)
    if facts.format == to_format:
        return Transcoded(path=path)
    _check_target(facts, to_format)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem[:80]}-", suffix=suffix_for(to_format))
    os.close(number)
    target = Path(name)
    try:
        warnings = _write(path, target, facts, to_format, quality, pcm_rate or 24_000)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Transcoded(path=target, warnings=tuple(warnings))


def _check_target(facts: Facts, to_format: str) -> None:
    allowed = {"image": PICTURES, "video": VIDEO | AUDIO, "audio": AUDIO}[facts.kind]
    if to_format not in allowed:
        fix = f"Use one of: {', '.join(sorted(allowed))}."
        raise UnsupportedInput(f"{A_MEDIUM[facts.kind]} ({facts.format}) cannot be written as {to_format}", fix=fix)
    if facts.kind != "image":
        _need_av(f"writing {to_format}")


def _write(path: Path, target: Path, facts: Facts, to_format: str, quality: int | None, pcm_rate: int) -> list[str]:
    args = {"from": facts.format, "to": to_format, "quality": quality, "pcm_rate": pcm_rate}
    with open_plainly(path) as source, target.open("r+b") as sink:
        if facts.kind != "image":
            return list(run_apart("transcode", args, source, sink, seconds=1800)["warnings"])
        pixels = (facts.width or 0) * (facts.height or 0) * (facts.frames or 1)
        if facts.format in SANDBOXED_FORMATS or pixels > LARGE_PIXELS:
            return list(run_apart("transcode_picture", args, source, sink)["warnings"])
        from .images import transcode_picture

        data, warnings = transcode_picture(source.read(), to_format, quality)
        sink.write(data)
        return list(warnings)


def last_frame(path: Path) -> bytes:
    """Return the last frame of a video as PNG, upright. Blocks; a child process decodes the video."""
    with open_plainly(path) as source, tempfile.TemporaryFile() as sink:
        facts = sniff(source)
        check_kind(facts, "video")
        _need_av("a video's last frame")
        run_apart("last_frame", {"from": facts.format}, source, sink)
        sink.seek(0)
        return sink.read()
