"""Parse WebM: EBML elements to the exact end of the file; tracks for size, duration and codecs."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import attrs

from .reader import Facts, Reader, refuse

_DOCTYPE = 0x4282
SEGMENT, _INFO, _TRACKS, CLUSTER = 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TOP = {_INFO, _TRACKS, CLUSTER, 0x114D9B74, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0xEC, 0xBF}
_ATTACHMENTS = 0x1941A469
#: Those of a cluster that are neither blocks nor its timestamp.
_IN_CLUSTER = {0xA7, 0xAB, 0xEC, 0xBF, 0x5854, 0xAF}
_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP = 0xE7, 0xA3, 0xA0
#: All that may follow the header.
_KNOWN = {SEGMENT, _ATTACHMENTS, _TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP} | _TOP | _IN_CLUSTER
_CODECS = {b"V_VP8", b"V_VP9", b"V_AV1", b"A_OPUS", b"A_VORBIS"}
OPEN = -1
#: Minimum average size of a block with its header, in bytes.
_BLOCK = 8


def read_webm(reader: Reader) -> Facts:
    """Return a WebM's facts; other Matroska files are rejected."""
    head = _element(reader, 0)
    doctype = b""
    position = head.start
    while position < head.end:
        inner = _element(reader, position)
        if inner.number == _DOCTYPE:
            doctype = reader.at(inner.start, min(16, inner.end - inner.start)).rstrip(b"\0")
        position = inner.end
    if doctype != b"webm":
        raise refuse("it is a Matroska file, but not WebM", "convert it to MP4 or WebM")
    segment = _element(reader, head.end)
    if segment.number != SEGMENT:
        raise refuse("it starts like a WebM but has no contents")
    end = reader.size if segment.end == OPEN else segment.end
    if end < reader.padding():
        raise refuse(f"{reader.size - end} bytes follow after the end of the WebM", "save the video again")
    walk = _Walk(reader)
    return walk.facts(walk.run(segment.start, end))


@attrs.frozen
class _Element:
    number: int
    start: int
    end: int


def _element(reader: Reader, position: int, worth: int = 64) -> _Element:
    """Read an element's header; ``end`` is `OPEN` if its length is unspecified (live recordings)."""
    reader.step(worth)
    first = reader.at(position, 1)[0]
    width = 9 - first.bit_length()
    if width > 4:
        raise refuse("something follows after the end of the WebM, or a part of it is damaged")
    number = int.from_bytes(reader.at(position, width), "big")
    position += width
    first = reader.at(position, 1)[0]
    width = 9 - first.bit_length()
    if width > 8:
        raise refuse("a part of the WebM is damaged")
    length = int.from_bytes(reader.at(position, width), "big") & (1 << 7 * width) - 1
    position += width
    if length == (1 << 7 * width) - 1:
        if number not in {SEGMENT, CLUSTER}:
            raise refuse("a part of the WebM is damaged")
        return _Element(number, position, OPEN)
    if position + length > reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    return _Element(number, position, position + length)


def elements(reader: Reader) -> Iterator[_Element]:
    """Yield the elements of a file up to one that is unknown; those whose length is unspecified are entered."""
    element = _element(reader, 0)
    while element.end < reader.size:
        element = _element(reader, element.start if element.end == OPEN else element.end, 16)
        if element.number not in _KNOWN:
            return
        yield element


class _Walk:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.width = self.height = 0
        self.alpha = False
        self.codecs: list[bytes] = []
        self._scale = 1_000_000
        self._claimed = 0.0
        self._last = 0
        self._clusters = 0
        self._filled = reader.padding()

    def run(self, position: int, end: int) -> int:
        """Read the elements; return where the last one ends."""
        while position < min(end, self._filled):
            element = _element(self.reader, position)
            if element.number not in _TOP:
                kind = "it carries attached files" if element.number == _ATTACHMENTS else "a part of the WebM is damaged"
                raise refuse(kind)
            if element.end > end:
                raise refuse("a part of the WebM is damaged")
            if element.number == CLUSTER:
                position = self._cluster(element, end)
                continue
            if element.number == _INFO:
                self._info(element)
            elif element.number == _TRACKS:
                for track in self._children(element):
                    if track.number == 0xAE:
                        self._track(track)
            position = element.end
        return position

    def facts(self, end: int) -> Facts:
        if not self._clusters or not self.codecs:
            raise refuse("the WebM contains no data")
        seconds = max(self._claimed, float(self._last)) * self._scale / 1e9
        if not 0 <= seconds < 1e9:
            raise refuse("the header of the WebM is invalid")
        return Facts(
            format="webm",
            mime="video/webm" if self.width else "audio/webm",
            size=self.reader.size,
            end=end,
            width=self.width or None,
            height=self.height or None,
            seconds=seconds,
            has_alpha=self.alpha,
            mode=self.codecs[0].decode("ascii"),
        )

    def _children(self, outer: _Element, worth: int = 64) -> Iterator[_Element]:
        position = outer.start
        while position < outer.end:
            inner = _element(self.reader, position, worth)
            if inner.end == OPEN or inner.end > outer.end:
                raise refuse("a part of the WebM is damaged")
            yield inner
            position = inner.end

    def _number(self, element: _Element) -> int:
        if element.end - element.start > 8:
            raise refuse("a part of the WebM is damaged")
        return int.from_bytes(self.reader.at(element.start, element.end - element.start), "big")

    def _info(self, outer: _Element) -> None:
        for element in self._children(outer):
            if element.number == 0x2AD7B1:
                self._scale = self._number(element)
            elif element.number == 0x4489:
                raw = self.reader.at(element.start, min(8, element.end - element.start))
                self._claimed = struct.unpack(">f" if len(raw) == 4 else ">d", raw)[0]

    def _track(self, outer: _Element) -> None:
        for element in self._children(outer):
            if element.number == 0x86:
                codec = self.reader.at(element.start, min(32, element.end - element.start)).rstrip(b"\0")
                if codec not in _CODECS:
                    raise refuse("the WebM uses a codec that WebM does not allow", "convert it to MP4 or WebM")
                self.codecs.append(codec)
            elif element.number == 0x6D80:
                raise refuse("the WebM is compressed or encrypted in a way that is not supported")
            elif element.number == 0xE0:
                self._picture(element)

    def _picture(self, outer: _Element) -> None:
        for element in self._children(outer):
            if element.number == 0xB0:
                self.width = max(self.width, self._number(element))
            elif element.number == 0xBA:
                self.height = max(self.height, self._number(element))
            elif element.number == 0x53C0:
                self.alpha = bool(self._number(element))

    def _cluster(self, cluster: _Element, end: int) -> int:
        """Read the timestamps of a cluster's blocks; return the position of its end, found by parsing if it is unspecified."""
        self._clusters += 1
        position, begin = cluster.start, 0
        limit = end if cluster.end == OPEN else cluster.end
        while position < (limit if cluster.end != OPEN else min(limit, self._filled)):
            element = _element(self.reader, position, _BLOCK)
            if cluster.end == OPEN and element.number in _TOP - {0xEC, 0xBF}:
                return position
            if element.end == OPEN or element.end > limit:
                raise refuse("a part of the WebM is damaged")
            if element.number == _TIMESTAMP:
                begin = self._number(element)
                self._last = max(self._last, begin)
            elif element.number == _SIMPLE_BLOCK:
                self._block(element, begin)
            elif element.number == _BLOCK_GROUP:
                for inner in self._children(element, _BLOCK):
                    if inner.number == 0xA1:
                        self._block(inner, begin)
            elif element.number not in _IN_CLUSTER:
                raise refuse("a part of the WebM is damaged")
            position = element.end
        return position

    def _block(self, element: _Element, begin: int) -> None:
        width = 9 - self.reader.at(element.start, 1)[0].bit_length()
        offset = int.from_bytes(self.reader.at(element.start + width, 2), "big", signed=True)
        self._last = max(self._last, begin + offset)
