"""Detect the format of a file by its headers, check its structure and reject polyglots."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs

from ..errors import InvalidRequest, Problem
from ..media import Image, Media, Video
from .audio import after_id3, read_flac, read_frames, read_ogg, read_riff
from .pictures import read_gif, read_jpeg, read_png
from .reader import Facts, Limits, Reader, refuse
from .video import brands, read_movie, read_webm

_M = TypeVar("_M", bound=Media)

#: Opens a path for reading; `paths.open_input` has the same signature once its roots are bound.
Opener = Callable[[Path], BinaryIO]

_DEFAULT_LIMITS = Limits()
#: Seconds that reading the size of a file of `SANDBOXED_FORMATS` may take.
_PROBE_SECONDS = 60.0
#: What a parser raises, besides `InvalidRequest`, for a file that is damaged.
DAMAGED = (struct.error, IndexError, ValueError, KeyError, OverflowError, ZeroDivisionError)
#: Medium -> how a sentence names it.
A_MEDIUM = {"image": "an image", "video": "a video", "audio": "an audio file"}
_ERRNO = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "there is no such file",
    errno.EISDIR: "it is a directory, not a file",
    errno.EACCES: "it may not be read (permission denied)",
    errno.EPERM: "it may not be read (permission denied)",
    errno.ELOOP: "its path contains a circle of symbolic links",
    errno.ENAMETOOLONG: "its name is too long",
}


def sniff(source: bytes | Path | BinaryIO, *, limits: Limits | None = None, format_hint: str | None = None, where: str = "$") -> Facts:
    """Return the format and properties of a media file.

    The file is read in small pieces and not decoded, except that a child process decodes AVIF, BMP and TIFF (blocking).

    Args:
        source: the bytes, a path, or an open, seekable binary file (left open, at any position).
        limits: what is accepted at all.
        format_hint: ``pcm`` for raw samples, which have no header to recognize; any other value is ignored.
        where: JSON path of the input, for the error.

    Returns:
        The facts, with width and height as displayed.

    Raises:
        InvalidRequest: unreadable, empty, of an unsupported type, damaged, truncated, followed by other data, too large,
            or built to exhaust memory. The message never quotes the file.
        UnsupportedInput: AVIF, BMP or TIFF, and the installed Pillow cannot decode it.
    """
    limits = limits or _DEFAULT_LIMITS
    if isinstance(source, Path):
        with open_plainly(source, where=where) as file:
            return sniff(file, limits=limits, format_hint=format_hint, where=where)
    try:
        facts = _read(source, limits, format_hint)
        _check(facts, limits)
    except InvalidRequest as error:
        raise error.at(where) from None
    except DAMAGED:
        raise refuse("its header is damaged").at(where) from None
    except OSError as error:
        raise _unreadable(error).at(where) from None
    return facts


def describe(media: _M, *, opener: Opener | None = None, where: str = "$") -> _M:
    """Return the same image, video or audio with the properties of its file filled in; media given by URL is returned unchanged.

    The type found in the bytes replaces a claimed MIME type and whatever the file name suggests.

    Args:
        media: the input.
        opener: opens its path; by default any readable regular file is opened.
        where: JSON path of the input, for the error.

    Raises:
        InvalidRequest: as `sniff`, or the file is of another kind (a video given as an image).
        UnsupportedInput: as `sniff`.
    """
    if media.url is not None:
        return media
    hint = "pcm" if media.format == "pcm" else None
    try:
        if media.path is None or opener is None:
            facts = sniff(media.data or media.path or b"", format_hint=hint, where=where)
        else:
            with opener(media.path) as file:
                facts = sniff(file, format_hint=hint, where=where)
        check_kind(facts, media.media, where=where)
    except InvalidRequest as error:
        name = repr(str(media))
        problems = [p if p.message.startswith(name) else attrs.evolve(p, message=f"{name}: {p.message}") for p in error.problems]
        raise InvalidRequest(problems, fix=error.fix_parts) from None
    known: dict[str, Any] = {"mime": facts.mime, "size": facts.end}
    if isinstance(media, Image | Video):
        known |= {"width": facts.width, "height": facts.height}
    if not isinstance(media, Image):
        known["seconds"] = facts.seconds
    return attrs.evolve(media, **known)


def check_kind(facts: Facts, wanted: str, *, where: str = "$") -> None:
    """Reject a file of another kind, such as a video given as an image; ``where`` is the JSON path of the input."""
    if wanted in A_MEDIUM and facts.kind != wanted:
        raise InvalidRequest([Problem(where, f"it is {A_MEDIUM[facts.kind]} ({facts.format}), not {A_MEDIUM[wanted]}")])


def open_plainly(path: Path, *, where: str = "$") -> BinaryIO:
    """Open a regular file (or a link to one) for reading without ever blocking on a pipe or a device."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise refuse("its path is not valid").at(where) from None
    except OSError as error:
        raise _unreadable(error).at(where) from None
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise refuse("it is a directory, not a file" if stat.S_ISDIR(mode) else "it is not a regular file").at(where)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _unreadable(error: OSError) -> InvalidRequest:
    return refuse(_ERRNO.get(error.errno or 0, "it cannot be read"), "give the path of a readable media file")


def _read(source: bytes | BinaryIO, limits: Limits, hint: str | None) -> Facts:
    reader = Reader(source)
    size = reader.size
    if not size:
        raise refuse("it is empty (0 bytes)")
    if size > limits.bytes:
        raise refuse(f"it has {size} bytes; the maximum is {limits.bytes}")
    if hint == "pcm":
        return Facts(format="pcm", size=size, end=size, mode="pcm")
    if (fmt := _sandboxed_format(reader)) is not None:
        reject_polyglot(reader)
        return _probe(source, fmt, size, limits)
    facts = _parse(reader)
    reject_polyglot(reader)
    if facts.orientation >= 5:
        return attrs.evolve(facts, width=facts.height, height=facts.width)
    return facts


def _sandboxed_format(reader: Reader) -> str | None:
    """Return the format of a file that only the child process may parse, by its signature; None for any other file."""
    head = reader.upto(0, 16)
    if head.startswith(b"BM"):
        return "bmp"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "tiff"
    if head[4:8] == b"ftyp" and {b"avif", b"avis"} & set(brands(reader, 0)):
        return "avif"
    return None


def _probe(source: bytes | BinaryIO, fmt: str, size: int, limits: Limits) -> Facts:
    """Let Pillow read the facts: in a child process, which also decodes the image, unless this is the child."""
    from ..convert.sandbox import in_sandbox, run_apart  # decoding is a layer above

    if in_sandbox():
        from ..convert.images import probe_picture

        return probe_picture(source, fmt, size, limits=limits, decode=False)
    with tempfile.TemporaryFile() as copy, tempfile.TemporaryFile() as sink:  # a copy: the child moves the file position
        if isinstance(source, bytes):
            copy.write(source)
        else:
            source.seek(0)
            shutil.copyfileobj(source, copy)
        args = {"format": fmt, "limits": attrs.asdict(limits)}
        return Facts(**run_apart("probe", args, copy, sink, seconds=_PROBE_SECONDS))


def _parse(reader: Reader) -> Facts:
    """Parse the format that the first bytes show."""
    head = reader.upto(0, HEAD)
    # Another RIFF file, and what starts like a frame of an MP3 and is none, are named by their parsers.
    read = _READERS.get(format_of_head(head) or "") or (read_riff if head[:4] == b"RIFF" else _read_sound if head[:1] == b"\xff" else None)
    if read is None:
        raise unsupported_format_error(reader)
    return read(reader)


def _read_sound(reader: Reader) -> Facts:
    start = after_id3(reader)
    head = reader.upto(start, 4)
    return read_flac(reader, start) if head == b"fLaC" else read_frames(reader, start, _frame_format(head) or "mp3")


#: Format name -> what reads its facts.
_READERS: dict[str, Callable[[Reader], Facts]] = {
    "png": read_png,
    "jpeg": read_jpeg,
    "gif": read_gif,
    "webm": read_webm,
    "flac": read_flac,
    **dict.fromkeys(("webp", "wav"), read_riff),
    **dict.fromkeys(("ogg", "opus"), read_ogg),
    **dict.fromkeys(("mp4", "mov", "m4a", "avif", "heic"), read_movie),
    **dict.fromkeys(("mp3", "aac"), _read_sound),
}


def has_media_signature(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of an image, a video or a sound, supported or not.

    Signatures of two bytes (MP3 frames) do not count: too many other files begin so.
    """
    return head[:4] == b"RIFF" or (format_of_head(head) is not None and _frame_format(head) is None)


#: The number of bytes that is enough to recognize any of the formats.
HEAD = 32
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
)
_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def format_of_head(head: bytes | memoryview) -> str | None:
    """Return the format name that the first `HEAD` bytes of a file show, or None.

    ``aiff`` and ``heic`` are recognized too, although no model takes them as they are.
    """
    start = bytes(head[:HEAD])
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if start[:4] == b"RIFF":
        return {b"WEBP": "webp", b"WAVE": "wav"}.get(start[8:12])
    if start[:4] == b"FORM":
        return "aiff" if start[8:12] in {b"AIFF", b"AIFC"} else None
    if start[:4] == b"OggS":
        return "opus" if b"OpusHead" in start else "ogg"
    if start[4:8] == b"ftyp":
        return _by_brand(start[8:12])
    if start[4:8] in _QUICKTIME:
        return "mov"
    if start[:2] == b"BM" and start[6:10] == b"\0\0\0\0":
        return "bmp"
    return _frame_format(start)


def _by_brand(brand: bytes) -> str:
    if brand in {b"avif", b"avis"}:
        return "avif"
    if brand[:3] in {b"hei", b"hev", b"mif", b"msf"}:
        return "heic"
    return {b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a"}.get(brand, "mp4")


def _frame_format(start: bytes) -> str | None:
    """Tell MP3 from AAC by the header of the first frame."""
    if len(start) < 4 or start[0] != 0xFF:
        return None
    if start[1] & 0xF6 == 0xF0:
        return "aac"
    is_layer_3 = start[1] & 0xE0 == 0xE0 and start[1] >> 3 & 3 != 1 and start[1] >> 1 & 3 == 1
    return "mp3" if is_layer_3 and start[2] >> 4 not in {0, 15} and start[2] >> 2 & 3 != 3 else None


#: Magic bytes of well-known unsupported formats, what to call them, and what to do instead.
_UNSUPPORTED: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF document", "export the page as PNG"),
    (b"PK\x03\x04", "a ZIP archive", ""),
    (b"\x1f\x8b", "a gzip archive", ""),
    (b"#EXTM3U", "a playlist, which refers to other files", "give the video itself"),
    (b"ffconcat", "a playlist, which refers to other files", "give the video itself"),
    (b"8BPS", "a Photoshop document", "export it as PNG"),
    (b"%!PS", "a PostScript document", "export it as PNG"),
    (b"\xff\x0a", "a JPEG XL image", "convert it to JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", "convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image", "convert it to JPEG or PNG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image", "convert it to JPEG or PNG"),
    (b"\0\0\x01\0", "an icon", "convert it to PNG"),
    (b"II+\0", "a BigTIFF image", "save it as PNG"),
    (b"MM\0+", "a BigTIFF image", "save it as PNG"),
    (b"FORM", "an AIFF or IFF file", "convert it to WAV"),
    (b"0&\xb2u", "a Windows Media file", "convert it to MP4 or MP3"),
    (b"FLV\x01", "a Flash video", "convert it to MP4"),
    (b"<svg", "an SVG drawing", "export it as PNG"),
    (b"<!DOCTYPE", "a web page", "give the media file itself"),
    (b"<html", "a web page", "give the media file itself"),
    (b"<?xml", "an XML file", "give a media file"),
)
_SUPPORTED = "PNG, JPEG, WebP, GIF, AVIF, BMP, TIFF; MP4, MOV, WebM; MP3, WAV, FLAC, Ogg, Opus, M4A, AAC"
_TEXT = set(range(32, 256)) | {9, 10, 12, 13}
_END_OF_ZIP = b"PK\5\6"


def unsupported_format_error(reader: Reader) -> InvalidRequest:
    """Return the error for an unsupported file, with the name of its format if it is a well-known one."""
    head = reader.upto(0, 512)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, name, fix in _UNSUPPORTED:
        if head.startswith(magic) or start[: len(magic)].lower() == magic.lower():
            return refuse(f"it is {name}, which is not supported", fix)
    if not set(head) - _TEXT:
        return refuse("it is a text file, not a media file")
    return refuse("it is not a media file of a supported type", f"supported: {_SUPPORTED}")


def reject_polyglot(reader: Reader) -> None:
    """Reject a polyglot: a media file that is also a ZIP archive or a PDF (in a comment, a box or a chunk).

    ZIP readers search for their directory within 64 KiB of the end, PDF readers for ``%PDF-`` near the start.
    """
    if b"%PDF-" in reader.upto(0, 1024):
        raise refuse("it is also a PDF document", "save it again as plain media")
    reach = min(reader.size, 22 + 65535)
    begin = reader.size - reach
    tail = reader.upto(begin, reach)
    at = tail.rfind(_END_OF_ZIP)
    while at >= 0:
        if _is_zip_end(tail, at, begin):
            raise refuse("it is also a ZIP archive", "save it again as plain media")
        at = tail.rfind(_END_OF_ZIP, 0, at)


def _is_zip_end(tail: bytes, at: int, begin: int) -> bool:
    """Return whether a ZIP's end-of-directory record is at this position; it holds the lengths of the directory and the comment."""
    record = tail[at : at + 22]
    if len(record) < 22:
        return False
    size, comment = int.from_bytes(record[12:16], "little"), int.from_bytes(record[20:22], "little")
    return at + 22 + comment <= len(tail) and size <= begin + at and record[4:8] == b"\0\0\0\0" and record[8:10] == record[10:12]


def _check(facts: Facts, limits: Limits) -> None:
    """Apply the limits that hold for every format."""
    if facts.width is not None and facts.height is not None:
        _check_pixels(facts, facts.width, facts.height, limits)
    if facts.seconds is not None and facts.seconds > limits.seconds:
        raise refuse(f"it runs for {facts.seconds:.0f} s; the maximum is {limits.seconds:.0f} s")
    if facts.kind == "image" and (facts.frames or 1) > limits.frames:
        raise refuse(f"it has {facts.frames} frames; the maximum is {limits.frames}")


def _check_pixels(facts: Facts, width: int, height: int, limits: Limits) -> None:
    size = f"{width} x {height} pixels"
    if width < 1 or height < 1:
        raise refuse("its header is invalid")
    if max(width, height) > limits.edge:
        raise refuse(f"it has {size}; the maximum for an edge is {limits.edge}")
    pixels = width * height
    if pixels > limits.pixels:
        raise refuse(f"it has {size}, {pixels / 1e6:.0f} million; the maximum is {limits.pixels / 1e6:.0f} million", "scale it down")
    if facts.kind != "image":
        return
    if pixels * (facts.frames or 1) > limits.total_pixels:
        raise refuse(f"its {facts.frames} frames of {size} exceed the maximum of {limits.total_pixels / 1e6:.0f} million pixels")
    decoded = pixels * _pixel_bytes(facts)
    if decoded > limits.free_bytes and decoded > limits.inflation * facts.end:
        raise refuse(f"it is a decompression bomb: {facts.end} bytes that would decode to {decoded}", "scale it down")


def _pixel_bytes(facts: Facts) -> int:
    if facts.format == "webp":
        return 4  # its decoder always uses four
    samples = {"1": 1, "L": 1, "P": 1, "I": 1, "LA": 2, "CMYK": 4, "RGBA": 4}.get(facts.mode.split(";")[0], 4 if facts.has_alpha else 3)
    return samples * ((facts.bits + 7) // 8)
