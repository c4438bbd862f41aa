"""Transcode files: images with Pillow, video and audio with PyAV if it is installed; extract a video's last frame."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

import attrs

from ..errors import UnsupportedInput
from ..files.names import AUDIO, PICTURES, VIDEO, suffix_for
from ..probe.probe import check_kind, open_plainly, sniff
from ..probe.reader import Facts
from .sandbox import LARGE_PIXELS, SANDBOXED_FORMATS, run_apart

__all__ = ["Transcoded", "last_frame", "transcode"]

_ARTICLE = {"image": "an image", "video": "a video", "audio": "an audio file"}


@attrs.frozen(kw_only=True)
class Transcoded:
    """A transcoded file, with a sentence for each loss."""

    path: Path
    warnings: tuple[str, ...] = ()


def transcode(path: Path, to_format: str, *, quality: int | None = None, pcm_rate: int | None = None) -> Transcoded:
    """Write a file in another format, as a new file in the same directory (mode 0600); the original is kept. Blocks.

    Images are written upright. Where the target does not support transparency, transparent pixels become white; animations
    stay animations if the target supports them. Video and audio are processed in a child process; streams the target
    supports are copied without loss.

    Args:
        path: any file that `sniff` accepts. A file that already has the format is returned unchanged.
        to_format: one of `formats.formats_available`.
        quality: 0 to 100 for pictures (default: visually lossless), the encoder's CRF for video.
        pcm_rate: sample rate in Hz, for raw 16-bit mono samples.

    Returns:
        The new file, with a warning for each loss.

    Raises:
        InvalidRequest: rejected by `sniff`, or it cannot be decoded.
        UnsupportedInput: it cannot be converted to that format, or PyAV is not installed.
    """
    with open_plainly(path) as file:
        facts = sniff(file, format_hint="pcm" if pcm_rate else None)
    if facts.format == to_format:
        return Transcoded(path=path)
    _check_target(facts, to_format)
    target = _new_file(path, to_format)
    try:
        warnings = _write(path, target, facts, to_format, quality, pcm_rate or 24_000)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Transcoded(path=target, warnings=tuple(warnings))


def _check_target(facts: Facts, to_format: str) -> None:
    allowed = {"image": PICTURES, "video": VIDEO | AUDIO, "audio": AUDIO}[facts.kind]
    if to_format not in allowed:
        raise UnsupportedInput(
            f"{_ARTICLE[facts.kind]} ({facts.format}) cannot be written as {to_format}", fix=f"Use one of {sorted(allowed)}."
        )
    if facts.kind != "image" and importlib.util.find_spec("av") is None:
        raise UnsupportedInput(f"writing {to_format} needs PyAV, which is not installed.", fix="Run: pip install 'anymedia[video]'")


def _new_file(path: Path, to_format: str) -> Path:
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem[:80]}-", suffix=suffix_for(to_format))
    os.close(number)
    return Path(name)


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
    """Return the last frame of a video as PNG, upright. Blocks; a child process decodes the video.

    Raises:
        InvalidRequest: rejected by `sniff`, not a video, or it cannot be decoded.
        UnsupportedInput: PyAV is not installed.
    """
    with open_plainly(path) as source, tempfile.TemporaryFile() as sink:
        facts = sniff(source)
        check_kind(facts, "video")
        if importlib.util.find_spec("av") is None:
            raise UnsupportedInput("a video's last frame needs PyAV, which is not installed.", fix="Run: pip install 'anymedia[video]'")
        run_apart("last_frame", {"from": facts.format}, source, sink)
        sink.seek(0)
        return sink.read()
