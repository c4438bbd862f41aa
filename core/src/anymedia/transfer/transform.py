"""Files in another format: pictures by Pillow, video and sound by PyAV where it is installed; a video's last frame."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest, Problem, UnsupportedInput
from .formats import AUDIO, PICTURES, VIDEO
from .headers_reader import Facts
from .media_process import LARGE_PIXELS, run_apart
from .names import suffix_for
from .sniff import check_kind, open_plainly, sniff
from .transform_picture import transcode_picture

__all__ = ["Transcoded", "decode_facts", "last_frame", "transcode"]

_ARTICLE = {"image": "an image", "video": "a video", "audio": "a sound"}


@attrs.frozen(kw_only=True)
class Transcoded:
    """A new file, and what was lost on the way, as sentences."""

    path: Path
    warnings: tuple[str, ...] = ()


def transcode(path: Path, to_format: str, *, quality: int | None = None, pcm_rate: int | None = None) -> Transcoded:
    """Write a file in another format, as a new file beside it (mode 0600); the old one stays. Blocks.

    A picture is turned upright; transparency is laid on white where the target has none, animations stay
    animations where it can hold them: ``warnings`` say what was lost. Video and sound go through a child process;
    streams that the target can hold are copied without loss.

    Args:
        path: any file that `sniff` lets in. In its own format already, it is returned as it is.
        to_format: one of `anymedia.transfer.formats.formats_available`.
        quality: 0 to 100 for pictures (default: visually lossless), the encoder's CRF for video.
        pcm_rate: for headerless 16 bit mono samples their rate in Hz.

    Raises:
        InvalidRequest: refused by the guard, or not to be decoded.
        UnsupportedInput: it cannot become that format, or PyAV is missing.
    """
    with open_plainly(path) as file:
        facts = sniff(file, told="pcm" if pcm_rate else None)
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
            f"{_ARTICLE[facts.kind]} ({facts.format}) cannot be written as {to_format}", fix=f"Take one of {sorted(allowed)}."
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
        if (facts.width or 0) * (facts.height or 0) * (facts.frames or 1) > LARGE_PIXELS:
            return list(run_apart("transcode_picture", args, source, sink)["warnings"])
        data, warnings = transcode_picture(source.read(), to_format, quality)
        sink.write(data)
        return list(warnings)


def last_frame(path: Path) -> bytes:
    """Return the last picture of a video as PNG, upright. Blocks; the decoding is done in a child process.

    Raises:
        InvalidRequest: refused by the guard, no video, or not to be decoded.
        UnsupportedInput: PyAV is missing.
    """
    with open_plainly(path) as source, tempfile.TemporaryFile() as sink:
        facts = sniff(source)
        check_kind(facts, "video")
        if importlib.util.find_spec("av") is None:
            raise UnsupportedInput("a video's last frame needs PyAV, which is not installed.", fix="Run: pip install 'anymedia[video]'")
        run_apart("last_frame", {"from": facts.format}, source, sink)
        sink.seek(0)
        return sink.read()


def decode_facts(path: Path) -> dict[str, Any]:
    """Return what decoders find in a file, independently of `sniff`: width, height, frames, seconds, mode. For tests and doubts.

    Pictures are counted and sized by Pillow; video and sound are decoded to the end by PyAV.

    Raises:
        InvalidRequest: neither can decode it.
    """
    from .pictures import PILLOW_FORMATS

    try:
        from PIL import Image

        with Image.open(path, formats=list(PILLOW_FORMATS.values())) as image:
            frames = getattr(image, "n_frames", 1)
            image.load()
            return {"width": image.width, "height": image.height, "frames": frames, "mode": image.mode}
    except (OSError, SyntaxError, ValueError):
        return _decode_av(path)


def _decode_av(path: Path) -> dict[str, Any]:
    from .transform_av import need_av

    av = need_av()
    try:
        # No protocol at all: a playlist that poses as a film leads nowhere.
        with open_plainly(path) as source, av.open(source, options={"protocol_whitelist": "pipe"}) as file:
            found: dict[str, Any] = {"seconds": file.duration / 1_000_000 if file.duration else None}
            if file.streams.video:
                stream = file.streams.video[0]
                frames = sum(1 for _ in file.decode(stream))
                return found | {"width": stream.width, "height": stream.height, "frames": frames, "mode": stream.codec_context.name}
            samples = sum(frame.samples for frame in file.decode(audio=0))
            rate = file.streams.audio[0].sample_rate
            return found | {"decoded_seconds": samples / rate, "rate": rate, "mode": file.streams.audio[0].codec_context.name}
    except (av.FFmpegError, IndexError):
        raise InvalidRequest([Problem("$", "no decoder can read it")]) from None
