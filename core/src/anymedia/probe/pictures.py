"""Parse PNG, GIF and JPEG to the end of the picture, and the orientation in an EXIF block.

What follows the end (a line break, what cameras and editors append, a motion photo's video) is not looked at and not passed on.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from ..errors import InvalidRequest
from .reader import Facts, Reader, refuse
from .video import whole_file

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
    walk = _Chunks(reader)
    end = walk.run()
    # the frames of an animation are at most as large as the canvas; only the still image must be in IDAT
    need = height * ((width * samples * depth + 7) // 8)
    if need > _DEFLATE * walk.data + 64:
        raise refuse("its header claims more pixels than its data can hold")
    if depth == 1 and colour == 0:
        mode = "1"
    elif depth == 16:
        mode = "I;16" if colour == 0 else f"{mode};16"
    return Facts(
        format="png",
        size=reader.size,
        end=end,
        width=width,
        height=height,
        orientation=walk.orientation,
        frames=walk.frames,
        has_alpha=colour in {4, 6} or walk.transparency,
        mode=mode,
        bits=depth,
    )


def png_chunks(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """Yield where each chunk of a PNG ends, and its type."""
    position, kind = 8, b""
    while kind != b"IEND":
        reader.step(400)
        length, kind = reader.u32(position), reader.at(position + 4, 4)
        position += 12 + length
        yield position, kind


class _Chunks:
    """One pass over the chunks, and what it found."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.orientation = 1
        self.frames = 1
        self.data = 0
        self.transparency = False
        self._palette = False
        self._left_data = False

    def run(self) -> int:
        """Check the chunks; return where the last one ends."""
        position = 8
        for end, kind in png_chunks(self.reader):
            self._check(position, end, kind)
            self._note(position + 8, end - position - 12, kind)
            position = end
        if not self.data:
            raise refuse("the PNG contains no image data")
        return position

    def _check(self, position: int, end: int, kind: bytes) -> None:
        length = end - position - 12
        if length > 0x7FFFFFFF or not kind.isalpha():
            raise refuse("a chunk of the PNG is damaged")
        if not kind[0] & 0x20 and kind not in _CRITICAL:
            raise refuse("the PNG needs an extension that is not part of the format", "save it as a standard PNG")
        if end > self.reader.size:
            raise refuse("the file is truncated: it ends before its contents do")
        if (kind == b"IHDR") != (position == 8) or (kind == b"IEND" and length):
            raise refuse("the chunks of the PNG are out of order")
        crc, at = zlib.crc32(kind), position + 8
        while at < end - 4:
            part = self.reader.at(at, min(_BLOCK, end - 4 - at))
            crc = zlib.crc32(part, crc)
            at += len(part)
        if crc != self.reader.u32(end - 4):
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


#: A 12-bit LZW code represents fewer pixels than this.
_LZW = 4096
#: Minimum average sizes of a frame, an extension and a sub-block in bytes: screen recordings have hundreds of frames
#: without any change.
_FRAME, _EXTENSION, _SUB_BLOCK = 64, 32, 16


def read_gif(reader: Reader) -> Facts:
    """Return a GIF's facts."""
    width, height, flags = reader.le16(6), reader.le16(8), reader.at(10, 1)[0]
    position = 13 + _table(flags)
    frames, transparent = 0, False
    while (kind := (head := reader.upto(position, 19))[:1]) != b";":
        if kind == b"!":
            reader.step(_EXTENSION)
            transparent = transparent or (head[1:3] == b"\xf9\x04" and bool(head[3] & 1))
            position = _after_blocks(reader, position + 2)
        elif kind == b",":
            reader.step(_FRAME)
            position = _frame(reader, head, position, width, height)
            frames += 1
        else:
            raise refuse("a block of the GIF is damaged" if head else "the file is truncated: the GIF has no end")
    position += 1
    if not frames:
        raise refuse("the GIF contains no image data")
    return Facts(format="gif", size=reader.size, end=position, width=width, height=height, frames=frames, has_alpha=transparent, mode="P")


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _frame(reader: Reader, head: bytes, position: int, width: int, height: int) -> int:
    """Check the frame that begins with ``head``; return the position of its end."""
    left, top, w, h, flags = struct.unpack_from("<HHHHB", head, 1)
    if not w or not h or left + w > width or top + h > height:
        raise refuse("a frame of the GIF lies outside the image", "save the image again")
    start = position + 10 + _table(flags)
    if not 1 <= reader.at(start, 1)[0] <= 11:
        raise refuse("the image data of the GIF are damaged")
    end = _after_blocks(reader, start + 1)
    if w * h > _LZW * (end - start):
        raise refuse("its header claims more pixels than its data can hold")
    return end


def _after_blocks(reader: Reader, position: int) -> int:
    """Return the position after a sequence of length-prefixed sub-blocks, which ends with an empty one."""
    while length := reader.at(position, 1)[0]:
        reader.step(_SUB_BLOCK)
        position += 1 + length
    return position + 1


_ORIENTATION = 0x0112
_SHORT = 3


def orientation_of(block: bytes) -> int:
    """Return the orientation 1 to 8 of an EXIF block (with or without its ``Exif`` prefix); 1 if it has none.

    A damaged block is ignored, as decoders do: the orientation does not affect safety.
    """
    if block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1

    def number(at: int, count: int) -> int:
        return int.from_bytes(block[at : at + count], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for index in range(min(number(first, 2), 512) if first + 2 <= len(block) else 0):
        entry = first + 2 + 12 * index
        if entry + 12 > len(block):
            break
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == _SHORT:
            found = number(entry + 8, 2)
            return found if 1 <= found <= 8 else 1
    return 1


#: Baseline, extended and progressive Huffman: supported by all decoders.
_FRAMES = {0xC0, 0xC1, 0xC2}
_ODD_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_WINDOW = 64 * 1024
#: Encoders write about ten; each can make a decoder process the whole image again for a few bytes.
_MOST_SCANS = 100
_TOO_ODD = "the JPEG uses a rarely supported variant (lossless, arithmetic or 12-bit)"


def read_jpeg(reader: Reader) -> Facts:
    """Return a JPEG's facts; ``end`` is the end of the (first) image."""
    walk = _Walk(reader)
    end = walk.run(0)
    return Facts(
        format="jpeg",
        size=reader.size,
        end=end,
        width=walk.width,
        height=walk.height,
        orientation=walk.orientation,
        frames=1,
        mode={1: "L", 3: "RGB", 4: "CMYK"}[walk.components],
    )


def jpeg_end(reader: Reader, start: int) -> int:
    """Return where a JPEG that starts at ``start`` ends."""
    return _Walk(reader).run(start)


class _Walk:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.width = self.height = self.components = 0
        self.orientation = 1
        self._scanned = self._scans = 0
        self._blocks_per_byte = 4

    def run(self, start: int) -> int:
        """Read the segments and scans; return where the picture ends."""
        reader, position = self.reader, start + 2
        while True:
            reader.step()
            if reader.at(position, 1) != b"\xff":
                raise refuse("the markers of the JPEG are damaged")
            marker = reader.at(position + 1, 1)[0]
            if marker == 0xFF:
                position += 1
                continue
            position += 2
            if marker == 0xD9:
                self._check_plausible()
                return position
            if marker == 0x01 or 0xD0 <= marker <= 0xD7:
                continue
            if marker < 0xC0 or marker == 0xD8:
                raise refuse("the markers of the JPEG are damaged")
            length = reader.u16(position)
            if length < 2 or position + length > reader.size:
                raise refuse("the file is truncated: it ends before its contents do")
            self._segment(marker, position + 2, length - 2)
            position += length
            if marker == 0xDA:
                position = self._scan(position)

    def _segment(self, marker: int, start: int, length: int) -> None:
        if marker in _ODD_FRAMES:
            raise refuse(_TOO_ODD, "save it as an ordinary JPEG")
        if marker in _FRAMES:
            self._frame(marker, start, length)
        elif marker == 0xDA and not self.width:
            raise refuse("the JPEG has no header before its data")
        elif marker == 0xE1 and self.reader.upto(start, 6) == b"Exif\0\0":
            self.orientation = orientation_of(self.reader.at(start, length))

    def _frame(self, marker: int, start: int, length: int) -> None:
        if self.width:
            raise refuse("the JPEG has two headers")
        depth, components = self.reader.at(start, 1)[0], self.reader.at(start + 5, 1)[0]
        self.height, self.width = self.reader.u16(start + 1), self.reader.u16(start + 3)
        if depth != 8:
            raise refuse(_TOO_ODD, "save it as an ordinary JPEG")
        if components not in {1, 3, 4} or length != 6 + 3 * components or not self.width or not self.height:
            raise refuse("the header of the JPEG is invalid")
        self.components = components
        self._blocks_per_byte = 8 if marker == 0xC2 else 4

    def _scan(self, position: int) -> int:
        """Return the end of a scan's data: the next marker that is neither stuffing nor a restart."""
        begin = position
        self._scans += 1
        if self._scans > _MOST_SCANS:
            raise refuse("the JPEG has far too many scans", "save it as an ordinary JPEG")
        while True:
            part = self.reader.upto(position, _WINDOW)
            found = _MARKER.search(part)
            if found:
                self._scanned += position + found.start() - begin
                return position + found.start()
            if position + len(part) >= self.reader.size:
                raise refuse("the file is truncated: the JPEG has no end")
            position += len(part) - 1  # the last byte may be the first half of a marker

    def _check_plausible(self) -> None:
        if not self.width or not self._scanned:
            raise refuse("the JPEG contains no image data")
        # An 8x8 block takes at least two bits (one in a progressive first scan); chroma may be subsampled 4x4.
        if (self.width * self.height) // (64 * 16) > self._scanned * self._blocks_per_byte:
            raise refuse("its header claims more pixels than its data can hold")


def has_camera_trailer(reader: Reader, end: int) -> bool:
    """Return whether what follows after the end of a JPEG is of the kinds that cameras append."""
    try:
        return _is_trailer(reader, end)
    except InvalidRequest:
        return False


def _is_trailer(reader: Reader, position: int) -> bool:
    while position < reader.size:
        reader.step()
        head = reader.upto(position, 12)
        if head[:3] == b"\xff\xd8\xff":
            position = jpeg_end(reader, position)
            continue
        if head[4:8] == b"ftyp":
            return whole_file(reader, position)
        if head[:1] != b"\0" or _samsung(reader, position):
            return _samsung(reader, position)
        begin, position = position, _after_zeros(reader, position)
        if position - begin < 4 and position < reader.size and reader.upto(position, 3) != b"\xff\xd8\xff":
            return False  # so few zeros are padding only before another JPEG
    return True


def _after_zeros(reader: Reader, position: int) -> int:
    while part := reader.upto(position, _WINDOW):
        rest = part.lstrip(b"\0")
        position += len(part) - len(rest)
        if rest:
            break
    return position


def _samsung(reader: Reader, start: int) -> bool:
    """Return whether the rest of the file is one Samsung trailer: blocks, their directory, ``SEFT``."""
    if reader.size - start < 24 or reader.at(reader.size - 4, 4) != b"SEFT":
        return False
    length = reader.le32(reader.size - 8)
    head = reader.size - 8 - length
    if head < start or reader.upto(head, 4) != b"SEFH":
        return False
    count = reader.le32(head + 8)
    if length != 12 + 12 * count or not 0 < count <= 256:
        return False
    covered = 0
    for index in range(count):
        back, size = reader.le32(head + 16 + 12 * index), reader.le32(head + 20 + 12 * index)
        if size > back:
            return False
        covered = max(covered, back)
    return head - covered == start
