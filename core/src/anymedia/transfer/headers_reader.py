"""What all header readers share: bounded reading, limits, facts, and how a file is refused.

A reader never holds more than one window of a file, and no message repeats what is in the file.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

import attrs

from ..errors import InvalidRequest, Problem

__all__ = ["Facts", "Kind", "Limits", "Reader", "refuse"]

Kind = Literal["image", "video", "audio"]

_WINDOW = 64 * 1024
#: No single read is larger than this; whatever is larger is walked in steps.
MAX_READ = 1024 * 1024
#: Bytes by which parts may be smaller, all together, than the step of each is worth.
_FREE = 96_000
#: So many parts has no file of the longest running time that is taken; walking them is a matter of seconds.
_MOST_PARTS = 2_000_000


@attrs.frozen(kw_only=True)
class Limits:
    """What is let in at all, whatever a model takes.

    Attributes:
        bytes: size of a file.
        pixels: width x height of one picture or video frame; the default is just under where Pillow warns.
        edge: longest edge in pixels (also what JPEG can hold).
        frames: pictures in an animated image.
        total_pixels: pixels of all frames of an animated image together.
        animation_pixels: the same, where all frames must be held in memory to convert them.
        seconds: running time.
        free_bytes, inflation: a picture whose decoded bytes exceed ``free_bytes`` must not be more than
            ``inflation`` times larger decoded than its file: what only a decompression bomb is.
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
    """What a file is, read from its headers and its structure alone.

    Attributes:
        format: a name of `anymedia.media.FORMATS`.
        mime: its mime type.
        kind: ``image``, ``video`` or ``audio`` (an MP4 with sound alone is audio).
        size: bytes in all.
        end: bytes that belong to it; less than ``size`` where a camera put something behind a JPEG.
        width, height: pixels as shown, after orientation (readers give them as stored, `sniff` turns them).
        orientation: the EXIF number 1 to 8 (1: as stored); for video 1, 3, 6 or 8 from the rotation.
        frames: pictures in it, where known without decoding (images: 1 or more; video and audio: None if unknown).
        seconds: running time of video and audio.
        has_alpha: whether pixels can be transparent.
        mode: how pixels are stored, in Pillow's words (``RGB``, ``P``, ``CMYK``, ``I;16`` ...), or a codec's name.
        bits: bits per sample, for images.
    """

    format: str
    mime: str
    kind: Kind
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


def refuse(text: str, fix: str = "") -> InvalidRequest:
    """Make the error for a file that is not let in; the location is put in by `sniff`."""
    return InvalidRequest([Problem("$", f"{text}." if fix else text)], fix=fix and f"{fix[0].upper()}{fix[1:]}.")


class Reader:
    """Random reads of bytes or of an open binary file, one window at a time.

    `step` counts chunks, boxes and frames over the whole walk, so that no file is made of endless small ones.
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
        """Return ``count`` bytes from ``position``, or fewer where the file ends."""
        if count > MAX_READ:
            raise refuse("a header in it is too large")
        if position < 0:
            raise refuse("an offset in it lies outside of the file")
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
        """Return exactly ``count`` bytes from ``position``; a file that ends before is refused."""
        found = self.upto(position, count)
        if len(found) < count:
            raise refuse("the file is truncated: it ends before its contents do")
        return found

    def u16(self, position: int) -> int:
        """Return a big-endian 16 bit number."""
        return int.from_bytes(self.at(position, 2), "big")

    def u32(self, position: int) -> int:
        """Return a big-endian 32 bit number."""
        return int.from_bytes(self.at(position, 4), "big")

    def le16(self, position: int) -> int:
        """Return a little-endian 16 bit number."""
        return int.from_bytes(self.at(position, 2), "little")

    def le32(self, position: int) -> int:
        """Return a little-endian 32 bit number."""
        return int.from_bytes(self.at(position, 4), "little")

    def step(self, worth: int = 64) -> None:
        """Count one chunk, box or frame; ``worth`` is how many bytes such a one has at least, on average over a file."""
        self._steps += worth
        self._parts += 1
        if self._steps > _FREE + self.size or self._parts > _MOST_PARTS:
            raise refuse("it consists of far too many tiny parts")

    def zeros(self, start: int, end: int) -> bool:
        """Whether everything from ``start`` to ``end`` is zero bytes."""
        while start < end:
            part = self.at(start, min(_WINDOW, end - start))
            if part.count(0) != len(part):
                return False
            start += len(part)
        return True
