"""Where a container ends, by its own structure: one function for each format, all reading one window at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from ..errors import InvalidRequest
from ..probe.audio import _mp3_frame, after_id3, read_flac
from ..probe.pictures import _after_blocks, _table, _Walk, read_jpeg
from ..probe.reader import Reader

__all__ = ["END_OF"]

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
#: Elements of a WebM below its segment and below a cluster.
_WEBM = {0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0xEC, 0xBF}
_WEBM |= {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF}

#: So many blanks behind a FLAC are looked at.
_MOST_BLANKS = 8


def _png(reader: Reader) -> int:
    position, kind = 8, b""
    while kind != b"IEND":
        reader.step(400)
        length, kind = reader.u32(position), reader.at(position + 4, 4)
        position += 12 + length
    return position


def _jpeg(reader: Reader) -> int:
    """Return the end of the picture, or of a known trailer that belongs to it (the gain map of an HDR photo)."""
    walk = _Walk(reader, 0)
    walk.run()
    try:
        read_jpeg(reader)
    except InvalidRequest:
        return walk.end
    return reader.size


def _gif(reader: Reader) -> int | None:
    position = 13 + _table(reader.at(10, 1)[0])
    while (kind := reader.at(position, 1)) != b";":
        reader.step(32)
        if kind == b"!":
            position = _after_blocks(reader, position + 2)
        elif kind == b",":
            position = _after_blocks(reader, position + 11 + _table(reader.at(position + 9, 1)[0]))
        else:
            return None
    return position + 1


def _webp(reader: Reader) -> int:
    length = reader.le32(4)
    return 8 + length + length % 2 if 8 + length + length % 2 <= reader.size else 8 + length


def _boxes(reader: Reader) -> int | None:
    """MP4, MOV, M4A and AVIF: the end of the last whole box, once a header was among them."""
    position, kinds = 0, set()
    while position + 8 <= reader.size:
        reader.step(32)
        length, kind = reader.u32(position), reader.at(position + 4, 4)
        if not all(32 <= c < 127 for c in kind):
            break
        if length == 1 and position + 16 <= reader.size:
            length = int.from_bytes(reader.at(position + 8, 8), "big")
        elif length == 0 and kind == b"mdat":
            length = reader.size - position
        if length < 8 or position + length > reader.size:
            break
        kinds.add(kind)
        position += length
    return position if kinds & {b"moov", b"meta"} and kinds & {b"mdat", b"imda", b"idat", b"moof"} else None


def _ogg(reader: Reader) -> int | None:
    position = 0
    while reader.upto(position, 5) == b"OggS\0":
        reader.step(30)
        segments = reader.at(position + 26, 1)[0]
        length = 27 + segments + sum(reader.at(position + 27, segments))
        if position + length > reader.size:
            break
        position += length
    return position or None


def _mp3(reader: Reader) -> int | None:
    def length(position: int) -> int:
        try:
            return _mp3_frame(reader.at(position, 4))[0]
        except InvalidRequest:
            return 0

    return _frames(reader, length)


def _aac(reader: Reader) -> int | None:
    def length(position: int) -> int:
        head = reader.upto(position, 7)
        if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            return 0
        found = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return found if found >= 8 else 0

    return _frames(reader, length)


def _frames(reader: Reader, length: Callable[[int], int]) -> int | None:
    """Walk frames to the last whole one, and a tag behind it."""
    position, frames = after_id3(reader), 0
    while (step := length(position)) and position + step <= reader.size:
        reader.step(8)
        position, frames = position + step, frames + 1
    if frames < 2:
        return None
    if reader.upto(position, 8) == b"APETAGEX":
        has_head = reader.le32(position + 20) & 0x80000000
        position += reader.le32(position + 12) + (32 if has_head else 0)
    if reader.upto(position, 3) == b"TAG" and position + 128 <= reader.size:
        position += 128
    return min(position, reader.size)


def _webm(reader: Reader) -> int | None:
    """Walk elements; one whose length was left open is entered."""
    position, clusters = 0, 0
    while position + 2 <= reader.size:
        reader.step(16)
        number, start, length = _element(reader, position)
        known = number in _WEBM or number == _SEGMENT or (number == 0x1A45DFA3 and position == 0)
        if not known or (length is not None and start + length > reader.size):
            break
        clusters += number == _CLUSTER
        if number == _SEGMENT and length is not None:
            return start + length
        position = start if length is None else start + length
    return position if clusters else None


def _element(reader: Reader, position: int) -> tuple[int, int, int | None]:
    """Return an element's number, where its body starts, and its length; None where that was left open."""
    width = 9 - reader.at(position, 1)[0].bit_length()
    number = int.from_bytes(reader.upto(position, width), "big") if width <= 4 else 0
    position += width
    first = reader.upto(position, 1) or b"\0"
    width = 9 - first[0].bit_length()
    if width > 8:
        return 0, position, None
    length = int.from_bytes(reader.upto(position, width), "big") & (1 << 7 * width) - 1
    return number, position + width, None if length == (1 << 7 * width) - 1 else length


def _flac(reader: Reader) -> int | None:
    """Return where the last frame ends; only line breaks and blanks after it can be distinguished from a frame."""
    size = reader.size
    tail = reader.upto(max(0, size - _MOST_BLANKS), _MOST_BLANKS)
    blanks = len(tail) - len(tail.rstrip(b"\r\n\t "))
    try:
        for count in range(blanks + 1):
            reader.size = size - count
            with contextlib.suppress(InvalidRequest):
                read_flac(reader, after_id3(reader))
                return size - count
    finally:
        reader.size = size
    return None


#: Format name -> the function that finds the end. A TIFF has none: its parts may stand in any order.
END_OF: Mapping[str, Callable[[Reader], int | None]] = {
    "png": _png,
    "jpeg": _jpeg,
    "gif": _gif,
    "webp": _webp,
    "mp4": _boxes,
    "mov": _boxes,
    "m4a": _boxes,
    "avif": _boxes,
    "ogg": _ogg,
    "opus": _ogg,
    "mp3": _mp3,
    "aac": _aac,
    "webm": _webm,
    "flac": _flac,
}
