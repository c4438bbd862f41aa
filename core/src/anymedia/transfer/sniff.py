"""What bytes are, from their headers and their structure: the guard before any decoder sees a file.

The type comes from the bytes, never from a name or a claim. Every format is walked to its exact end, so that
nothing else can ride along; sizes and running times are capped. Formats: see the ``headers_*`` rooms.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs

from ..errors import InvalidRequest, Problem
from ..media import Image, Media, Video
from .headers_audio import after_id3, read_aac, read_mp3
from .headers_avif import read_avif
from .headers_bmp import read_bmp
from .headers_flac import read_flac
from .headers_gif import read_gif
from .headers_isobmff import brands, is_movie, read_movie
from .headers_jpeg import read_jpeg
from .headers_ogg import read_ogg
from .headers_png import SIGNATURE, read_png
from .headers_reader import Facts, Kind, Limits, Reader, refuse
from .headers_riff import read_riff
from .headers_strangers import check_no_second_face, name_stranger
from .headers_tiff import read_tiff
from .headers_webm import read_webm

__all__ = ["Facts", "Kind", "Limits", "Opener", "check_kind", "describe", "open_plainly", "sniff"]

_M = TypeVar("_M", bound=Media)

#: Opens a path for reading; the hardened path walk has the same shape.
Opener = Callable[[Path], BinaryIO]

_USUAL = Limits()
_DAMAGED = (struct.error, IndexError, ValueError, KeyError, OverflowError, ZeroDivisionError)
_ARTICLE = {"image": "an image", "video": "a video", "audio": "a sound"}
_ERRNO = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "there is no such file",
    errno.EISDIR: "it is a directory, not a file",
    errno.EACCES: "it may not be read (permission denied)",
    errno.EPERM: "it may not be read (permission denied)",
    errno.ELOOP: "its path runs in a circle of links",
    errno.ENAMETOOLONG: "its name is too long",
}


def sniff(source: bytes | Path | BinaryIO, *, limits: Limits | None = None, told: str | None = None, where: str = "$") -> Facts:
    """Return what a file is; it is read piece by piece, and never decoded.

    Args:
        source: the bytes, a path, or an open binary file that can seek (left open, at any position).
        limits: what is let in at all.
        told: ``pcm`` for headerless samples, which no byte gives away; anything else is ignored.
        where: the JSON path for the error.

    Raises:
        InvalidRequest: unreadable, empty, of an unknown type, damaged, truncated, with something behind its end,
            too large, or made to exhaust memory. The message never repeats what is in the file.
    """
    limits = limits or _USUAL
    if isinstance(source, Path):
        with open_plainly(source, where=where) as file:
            return sniff(file, limits=limits, told=told, where=where)
    try:
        facts = _read(Reader(source), limits, told)
        _check(facts, limits)
    except InvalidRequest as error:
        raise _located(error, where) from None
    except _DAMAGED:
        raise _located(refuse("its header is damaged"), where) from None
    except OSError as error:
        raise _located(_unreadable(error), where) from None
    return facts


def describe(media: _M, *, opener: Opener | None = None, limits: Limits | None = None, where: str = "$") -> _M:
    """Return the same image, video or audio with its facts filled in; one given by URL comes back unchanged.

    What the bytes say replaces a claimed mime type and whatever a file's name suggests.

    Raises:
        InvalidRequest: as `sniff`, and when it is of another kind than asked for (a video given as an image).
    """
    if media.url is not None:
        return media
    told = "pcm" if media.format == "pcm" else None
    try:
        if media.data is not None:
            facts = sniff(media.data, limits=limits, told=told, where=where)
        elif opener is None:
            assert media.path is not None
            facts = sniff(media.path, limits=limits, told=told, where=where)
        else:
            assert media.path is not None
            with opener(media.path) as file:
                facts = sniff(file, limits=limits, told=told, where=where)
        check_kind(facts, media.media, where=where)
    except InvalidRequest as error:
        raise _named(error, media) from None
    known: dict[str, Any] = {"mime": facts.mime, "size": facts.size}
    if isinstance(media, Image | Video):
        known |= {"width": facts.width, "height": facts.height}
    if not isinstance(media, Image):
        known["seconds"] = facts.seconds
    return attrs.evolve(media, **known)


def check_kind(facts: Facts, wanted: str, *, where: str = "$") -> None:
    """Refuse a video given as an image, and the like.

    Raises:
        InvalidRequest: when ``facts`` are of another kind than ``wanted`` (image, video or audio).
    """
    if wanted in _ARTICLE and facts.kind != wanted:
        raise InvalidRequest([Problem(where, f"it is {_ARTICLE[facts.kind]} ({facts.format}), not {_ARTICLE[wanted]}")])


def open_plainly(path: Path, *, where: str = "$") -> BinaryIO:
    """Open a regular file for reading; never waits on a pipe or a device.

    Raises:
        InvalidRequest: when there is no such file, it may not be read, or it is no regular file.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise _located(refuse("its path is not a valid one"), where) from None
    except OSError as error:
        raise _located(_unreadable(error), where) from None
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise _located(refuse("it is a directory, not a file" if stat.S_ISDIR(mode) else "it is not a regular file"), where)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _unreadable(error: OSError) -> InvalidRequest:
    return refuse(_ERRNO.get(error.errno or 0, "it cannot be read"), "give the path of a readable media file")


def _located(error: InvalidRequest, where: str) -> InvalidRequest:
    return InvalidRequest([attrs.evolve(p, path=where) for p in error.problems], fix=error.fix)


def _named(error: InvalidRequest, media: Media) -> InvalidRequest:
    """Put the file's name before what is wrong with it."""
    name = repr(str(media))
    told = [p if p.message.startswith(name) else attrs.evolve(p, message=f"{name}: {p.message}") for p in error.problems]
    return InvalidRequest(told, fix=error.fix)


def _read(reader: Reader, limits: Limits, told: str | None) -> Facts:
    size = reader.size
    if not size:
        raise refuse("it is empty (0 bytes)")
    if size > limits.bytes:
        raise refuse(f"it has {size} bytes; {limits.bytes} are the most that is taken")
    if told == "pcm":
        return Facts(format="pcm", mime="audio/pcm", kind="audio", size=size, end=size, mode="pcm")
    facts = _parse(reader, reader.upto(0, 16))
    check_no_second_face(reader)
    if facts.orientation >= 5:
        return attrs.evolve(facts, width=facts.height, height=facts.width)
    return facts


def _parse(reader: Reader, head: bytes) -> Facts:
    """Go by the magic bytes; what is on no list is refused by name where it is known."""
    for magic, read in _MAGIC:
        if head.startswith(magic):
            return read(reader)
    if is_movie(head):
        if head[4:8] == b"ftyp" and {b"avif", b"avis"} & set(brands(reader, 0)):
            return read_avif(reader)
        return read_movie(reader)
    if head.startswith(b"ID3") or head[:1] == b"\xff":
        return _sound(reader, after_id3(reader))
    raise name_stranger(reader)


def _sound(reader: Reader, start: int) -> Facts:
    head = reader.upto(start, 4)
    if head == b"fLaC":
        return read_flac(reader, start)
    if len(head) == 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return read_aac(reader, start)
    return read_mp3(reader, start)


_MAGIC: tuple[tuple[bytes, Callable[[Reader], Facts]], ...] = (
    (SIGNATURE, read_png),
    (b"\xff\xd8\xff", read_jpeg),
    (b"RIFF", read_riff),
    (b"GIF87a", read_gif),
    (b"GIF89a", read_gif),
    (b"BM", read_bmp),
    (b"II*\0", read_tiff),
    (b"MM\0*", read_tiff),
    (b"\x1aE\xdf\xa3", read_webm),
    (b"fLaC", read_flac),
    (b"OggS", read_ogg),
)


def _check(facts: Facts, limits: Limits) -> None:
    """The caps that hold whatever the format."""
    if facts.width is not None and facts.height is not None:
        _check_pixels(facts, facts.width, facts.height, limits)
    if facts.seconds is not None and facts.seconds > limits.seconds:
        raise refuse(f"it runs for {facts.seconds:.0f} s; {limits.seconds:.0f} s are the most that is taken")
    if facts.kind == "image" and (facts.frames or 1) > limits.frames:
        raise refuse(f"it has {facts.frames} frames; {limits.frames} are the most that is taken")


def _check_pixels(facts: Facts, width: int, height: int, limits: Limits) -> None:
    size = f"{width} x {height} pixels"
    if width < 1 or height < 1:
        raise refuse("its header makes no sense")
    if max(width, height) > limits.edge:
        raise refuse(f"it has {size}; an edge may have {limits.edge} at most")
    pixels = width * height
    if pixels > limits.pixels:
        raise refuse(
            f"it has {size}, {pixels / 1e6:.0f} million; {limits.pixels / 1e6:.0f} million are the most that is taken", "scale it down"
        )
    if facts.kind != "image":
        return
    if pixels * (facts.frames or 1) > limits.total_pixels:
        raise refuse(f"its {facts.frames} frames of {size} are more than is taken")
    decoded = pixels * _pixel_bytes(facts)
    if decoded > limits.free_bytes and decoded > limits.inflation * facts.end:
        raise refuse(f"it is a decompression bomb: {facts.end} bytes that would become {decoded}", "scale it down")


def _pixel_bytes(facts: Facts) -> int:
    if facts.format == "webp":
        return 4  # its decoder always works with four
    samples = {"1": 1, "L": 1, "P": 1, "I": 1, "LA": 2, "CMYK": 4, "RGBA": 4}.get(facts.mode.split(";")[0], 4 if facts.has_alpha else 3)
    return samples * ((facts.bits + 7) // 8)
