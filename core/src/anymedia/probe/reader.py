"""Shared parts of the header parsers: bounded reading, limits, facts, and errors.

At most one window of a file is in memory, and messages never quote the file.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

import attrs

from ..errors import InvalidRequest, Problem
from ..media import FORMATS

Kind = Literal["image", "video", "audio"]

_WINDOW = 64 * 1024
#: Maximum size of a single read in bytes; anything larger is read in steps.
MAX_READ = 1024 * 1024
#: Bytes by which the parts of a file may fall short, in total, of the minimum average passed to `Reader.step`.
_FREE = 96_000
#: More parts than any file of the maximum duration has; parsing them takes seconds.
_MOST_PARTS = 2_000_000


@attrs.frozen(kw_only=True)
class Limits:
    """Limits for every file, independent of the model.

    Attributes:
        bytes: file size.
        pixels: width x height of an image or video frame; the default is just below the limit at which Pillow warns.
        edge: longest edge in pixels (also the maximum of JPEG).
        frames: frames of an animated image.
        total_pixels: pixels of all frames of an animated image in total.
        animation_pixels: the same, when all frames must be in memory for conversion.
        seconds: duration.
        free_bytes: an image whose decoded size in bytes exceeds this is rejected as a decompression bomb if its decoded
            size is more than ``inflation`` times its file size.
        inflation: see ``free_bytes``.
    """

    bytes: int = 4 * 1024**3
    pixels: int = 89_000_000
    edge: int = 65_535
    frames: int = 10_000
    total_pixels: int = 2_000_000_000
    animation_pixels: int = 300_000_000
    seconds: float = 4 * 3600.0
    free_bytes: int = 256 * 1024**2
    inflation: int = 250


@attrs.frozen(kw_only=True)
class Facts:
    """Format and properties of a file, read from its headers and structure.

    Attributes:
        format: a name of `anymedia.media.FORMATS`.
        mime: its MIME type, by default that of the format.
        kind: ``image``, ``video`` or ``audio`` (an MP4 without video is audio), by default that of the MIME type.
        size: file size in bytes.
        end: position of the end of the media; less than ``size`` if a camera has appended data to a JPEG.
        width, height: pixels as displayed, after orientation (parsers return them as stored, `sniff` swaps them).
        orientation: the EXIF number 1 to 8 (1: as stored); for video 1, 3, 6 or 8 from the rotation.
        frames: number of frames, if known without decoding (images: at least 1; video and audio: None if unknown).
        seconds: duration of video and audio.
        has_alpha: whether pixels can be transparent.
        mode: Pillow's mode of an image (``RGB``, ``P``, ``CMYK``, ``I;16`` ...), or the codec of video and audio.
        bits: bits per sample, for images.
    """

    format: str
    mime: str = attrs.Factory(lambda self: FORMATS[self.format], takes_self=True)
    kind: Kind = attrs.Factory(lambda self: self.mime.partition("/")[0], takes_self=True)
    size: int
    end: int
    width: int | None = None
    height: int | None = None
    orientation: int = 1
    frames: int | None = None
    seconds: float | None = None
    has_alpha: bool = False
    mode: str = ""
    bits: int = 8


class TooManyParts(InvalidRequest):
    """A file consists of far too many tiny parts."""


def refuse(text: str, fix: str = "") -> InvalidRequest:
    """Return the error for a rejected file; `sniff` fills in the location."""
    return InvalidRequest([Problem("$", f"{text}." if fix else text)], fix=fix and f"{fix[0].upper()}{fix[1:]}.")


class Reader:
    """Random reads of bytes or of an open binary file, one window at a time.

    `step` counts chunks, boxes and frames, so that a file of endless tiny parts is rejected.
    """

    def __init__(self, source: bytes | BinaryIO) -> None:
        self._bytes = source if isinstance(source, bytes) else None
        self._file = None if isinstance(source, bytes) else source
        self.size = len(source) if isinstance(source, bytes) else source.seek(0, 2)
        self._start = 0
        self._window = b""
        self._steps = 0
        self._parts = 0

    def upto(self, position: int, count: int) -> bytes:
        """Return ``count`` bytes from ``position``, or fewer at the end of the file."""
        if count > MAX_READ:
            raise refuse("a header in it is too large")
        if position < 0:
            raise refuse("an offset in it lies outside the file")
        if self._bytes is not None:
            return self._bytes[position : position + count]
        assert self._file is not None
        inside = position - self._start
        if inside < 0 or inside + count > len(self._window):
            if position >= self.size:
                return b""
            self._file.seek(position)
            self._window = self._file.read(max(count, _WINDOW))
            self._start, inside = position, 0
        return self._window[inside : inside + count]

    def at(self, position: int, count: int) -> bytes:
        """Return exactly ``count`` bytes from ``position``; a file that ends earlier is rejected."""
        found = self.upto(position, count)
        if len(found) < count:
            raise refuse("the file is truncated: it ends before its contents do")
        return found

    def u16(self, position: int) -> int:
        """Return a big-endian 16-bit number."""
        return int.from_bytes(self.at(position, 2), "big")

    def u32(self, position: int) -> int:
        """Return a big-endian 32-bit number."""
        return int.from_bytes(self.at(position, 4), "big")

    def le16(self, position: int) -> int:
        """Return a little-endian 16-bit number."""
        return int.from_bytes(self.at(position, 2), "little")

    def le32(self, position: int) -> int:
        """Return a little-endian 32-bit number."""
        return int.from_bytes(self.at(position, 4), "little")

    def step(self, worth: int = 64) -> None:
        """Count one chunk, box or frame; ``worth`` is the minimum average size of such a part in bytes."""
        self._steps += worth
        self._parts += 1
        if self._steps > _FREE + self.size or self._parts > _MOST_PARTS:
            raise TooManyParts("it consists of far too many tiny parts")

    def padding(self) -> int:
        """Return where the zeros at the end begin, with which copying in blocks fills up a file; its size if there are none."""
        end = self.size
        while end > 0:
            part = self.at(max(0, end - _WINDOW), min(_WINDOW, end))
            if rest := part.rstrip(b"\0"):
                return end - len(part) + len(rest)
            end -= len(part)
        return 0
