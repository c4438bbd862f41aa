"""Parse PNG: every chunk with its checksum to the exact end of the file."""

from __future__ import annotations

import zlib

from .exif import orientation_of
from .reader import Facts, Reader, refuse

__all__ = ["read_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour type -> (samples per pixel, allowed bit depths, Pillow's mode).
_COLOURS = {
    0: (1, {1, 2, 4, 8, 16}, "L"),
    2: (3, {8, 16}, "RGB"),
    3: (1, {1, 2, 4, 8}, "P"),
    4: (2, {8, 16}, "LA"),
    6: (4, {8, 16}, "RGBA"),
}
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_BLOCK = 64 * 1024
#: Maximum compression ratio of deflate.
_DEFLATE = 1032


def read_png(reader: Reader) -> Facts:
    """Return a PNG's facts; every chunk's checksum is verified."""
    if reader.at(8, 8) != b"\0\0\0\rIHDR":
        raise refuse("it starts like a PNG but has no header chunk")
    width, height = reader.u32(16), reader.u32(20)
    depth, colour, packing, filtering, interlace = reader.at(24, 5)
    samples, depths, mode = _COLOURS.get(colour, (0, set(), ""))
    if depth not in depths or packing or filtering or interlace > 1:
        raise refuse("it starts like a PNG but its header is invalid")
    walk = _Walk(reader)
    walk.run()
    # the frames of an animation are at most as large as the canvas; only the still image must be in IDAT
    need = height * ((width * samples * depth + 7) // 8)
    if need > _DEFLATE * walk.data + 64:
        raise refuse("its header claims more pixels than its data can hold")
    if depth == 1 and colour == 0:
        mode = "1"
    elif depth == 16:
        mode = "I;16" if colour == 0 else f"{mode};16"
    alpha = colour in {4, 6} or walk.transparency
    return Facts(
        format="png",
        mime="image/png",
        kind="image",
        size=reader.size,
        end=reader.size,
        width=width,
        height=height,
        orientation=walk.orientation,
        frames=walk.frames,
        has_alpha=alpha,
        mode=mode,
        bits=depth,
    )


class _Walk:
    """One pass over the chunks, and what it found."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.orientation = 1
        self.frames = 1
        self.data = 0
        self.transparency = False
        self._palette = False
        self._left_data = False

    def run(self) -> None:
        position, kind = 8, b""
        while kind != b"IEND":
            self.reader.step(400)
            length = self.reader.u32(position)
            kind = self.reader.at(position + 4, 4)
            self._check(position, length, kind)
            self._note(position + 8, length, kind)
            position += 12 + length
        if position != self.reader.size:
            raise refuse(f"{self.reader.size - position} bytes follow after the end of the PNG", "save the image again")
        if not self.data:
            raise refuse("the PNG contains no image data")

    def _check(self, position: int, length: int, kind: bytes) -> None:
        if length > 0x7FFFFFFF or not kind.isalpha():
            raise refuse("a chunk of the PNG is damaged")
        if not kind[0] & 0x20 and kind not in _CRITICAL:
            raise refuse("the PNG needs an extension that is not part of the format", "save it as a standard PNG")
        if position + 12 + length > self.reader.size:
            raise refuse("the file is truncated: it ends before its contents do")
        if (kind == b"IHDR") != (position == 8) or (kind == b"IEND" and length):
            raise refuse("the chunks of the PNG are out of order")
        crc, at, end = zlib.crc32(kind), position + 8, position + 8 + length
        while at < end:
            part = self.reader.at(at, min(_BLOCK, end - at))
            crc = zlib.crc32(part, crc)
            at += len(part)
        if crc != self.reader.u32(end):
            raise refuse("a checksum in the PNG is wrong: the file is damaged")

    def _note(self, start: int, length: int, kind: bytes) -> None:
        if kind == b"IDAT":
            if self._left_data:
                raise refuse("the chunks of the PNG are out of order")
            self.data += length
            return
        self._left_data = self.data > 0
        if kind == b"PLTE":
            if self._palette or length % 3 or not 3 <= length <= 768:
                raise refuse("the palette of the PNG is damaged")
            self._palette = True
        elif kind == b"tRNS":
            self.transparency = True
        elif kind == b"acTL" and length == 8:
            self.frames = max(1, self.reader.u32(start))
        elif kind == b"eXIf" and length <= _BLOCK:
            self.orientation = orientation_of(self.reader.at(start, length))
