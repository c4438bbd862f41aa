"""Parse JPEG: every marker and scan to its end, and the data that cameras append.

Allowed after the end, but never passed on: zero padding, further complete JPEGs (multi-picture files), a complete MP4
(motion photos) and Samsung's trailer. Anything else is rejected.
"""

from __future__ import annotations

import re

from .exif import orientation_of
from .isobmff import whole_file
from .reader import Facts, Reader, refuse

__all__ = ["read_jpeg"]

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
    walk = _Walk(reader, 0)
    walk.run()
    _trailer(reader, walk.end)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[walk.components]
    return Facts(
        format="jpeg",
        mime="image/jpeg",
        kind="image",
        size=reader.size,
        end=walk.end,
        width=walk.width,
        height=walk.height,
        orientation=walk.orientation,
        frames=1,
        mode=mode,
    )


class _Walk:
    def __init__(self, reader: Reader, start: int) -> None:
        self.reader = reader
        self.start = start
        self.end = 0
        self.width = self.height = self.components = 0
        self.orientation = 1
        self._scanned = self._scans = 0
        self._blocks_per_byte = 4

    def run(self) -> None:
        reader, position = self.reader, self.start + 2
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
                break
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
        self.end = position
        self._check_plausible()

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


def _trailer(reader: Reader, position: int) -> None:
    """Reject data after the end of a JPEG, except for the kinds that cameras append."""
    while position < reader.size:
        reader.step()
        head = reader.upto(position, 12)
        if head[:3] == b"\xff\xd8\xff":
            walk = _Walk(reader, position)
            walk.run()
            position = walk.end
        elif head[:1] == b"\0" and head[4:8] != b"ftyp":
            position = _skip_zeros(reader, position)
        elif (head[4:8] == b"ftyp" and whole_file(reader, position)) or _samsung(reader, position):
            return
        else:
            raise refuse(f"{reader.size - position} bytes follow after the end of the JPEG", "save the image again")


def _skip_zeros(reader: Reader, position: int) -> int:
    begin = position
    while position < reader.size:
        part = reader.upto(position, _WINDOW)
        rest = part.lstrip(b"\0")
        position += len(part) - len(rest)
        if rest:
            break
    # Samsung's first block starts with two zero bytes: fewer than four are padding only before another JPEG
    if position - begin < 4 and position < reader.size and reader.upto(position, 3) != b"\xff\xd8\xff":
        if _samsung(reader, begin):
            return reader.size
        raise refuse(f"{reader.size - begin} bytes follow after the end of the JPEG", "save the image again")
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
