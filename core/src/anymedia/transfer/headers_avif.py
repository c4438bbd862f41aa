"""AVIF: the boxes of a picture file, its true size from the coded data, and animated sequences."""

from __future__ import annotations

from .headers_av1 import sequence_size
from .headers_isobmff import Box, boxes, read_sequence
from .headers_reader import Facts, Reader, refuse

__all__ = ["read_avif"]

_TOP = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"uuid", b"moov", b"idat"}
_ONCE = {b"pitm", b"iloc", b"iinf", b"iprp", b"idat", b"iref", b"hdlr"}
#: irot: quarter turns against the clock -> EXIF orientation.
_TURNS = {0: 1, 1: 8, 2: 3, 3: 6}


def read_avif(reader: Reader) -> Facts:
    """Return an AVIF's facts; for a sequence ``frames`` counts its pictures."""
    meta, movie = None, False
    for box in boxes(reader, 0, reader.size, top=True):
        if box.kind not in _TOP:
            raise refuse("something follows after the end of the AVIF, or a box in it is damaged")
        if box.kind == b"meta" and meta is None:
            meta = box
        movie = movie or box.kind == b"moov"
    if meta is None:
        raise refuse("the AVIF has no header: it is truncated")
    picture = _Picture(reader, meta)
    moving = read_sequence(reader) if movie else None
    if moving is not None:
        if moving.width > picture.width or moving.height > picture.height:
            raise refuse("the two headers of the AVIF disagree on its size")
        for start in moving.first:
            picture.check_coded(start, reader.size - start)
    return Facts(
        format="avif",
        mime="image/avif",
        kind="image",
        size=reader.size,
        end=reader.size,
        width=picture.width,
        height=picture.height,
        orientation=picture.orientation,
        frames=1 if moving is None else moving.frames,
        has_alpha=picture.alpha,
        mode="RGBA" if picture.alpha else "RGB",
    )


class _Picture:
    """The primary item: size, turning, transparency."""

    def __init__(self, reader: Reader, meta: Box) -> None:
        self.reader = reader
        inner: dict[bytes, Box] = {}
        for box in boxes(reader, meta.start + 4, meta.end):
            if box.kind in inner and box.kind in _ONCE:
                raise refuse("the AVIF says the same thing twice in its header")
            inner[box.kind] = box
        for need in (b"pitm", b"iloc", b"iinf", b"iprp"):
            if need not in inner:
                raise refuse("the header of the AVIF makes no sense")
        at = inner[b"pitm"].start
        self.item = reader.u16(at + 4) if reader.at(at, 1) == b"\0" else reader.u32(at + 4)
        properties, links = self._properties(inner[b"iprp"])
        self.alpha = any(p.kind == b"auxC" and b"alpha" in reader.upto(p.start, min(80, p.end - p.start)) for p in properties)
        own = [properties[i - 1] for i in links.get(self.item, []) if 0 < i <= len(properties)]
        sizes = [p for p in own if p.kind == b"ispe"]
        if not sizes:
            raise refuse("the AVIF does not say how large its picture is")
        self.width, self.height = reader.u32(sizes[0].start + 4), reader.u32(sizes[0].start + 8)
        turn = next((reader.at(p.start, 1)[0] & 3 for p in own if p.kind == b"irot"), 0)
        mirror = next((reader.at(p.start, 1)[0] & 1 for p in own if p.kind == b"imir"), None)
        self.orientation = _TURNS[turn] if mirror is None else _MIRRORED[turn, mirror]
        self._data(inner[b"iloc"], inner.get(b"idat"))
        if not any(p.kind == b"av1C" for p in properties):
            raise refuse("the picture in the AVIF is not coded as AV1")

    def _properties(self, outer: Box) -> tuple[list[Box], dict[int, list[int]]]:
        properties: list[Box] = []
        links: dict[int, list[int]] = {}
        for box in boxes(self.reader, outer.start, outer.end):
            if box.kind == b"ipco":
                properties = list(boxes(self.reader, box.start, box.end))
            elif box.kind == b"ipma":
                links |= self._links(box)
        return properties, links

    def _links(self, box: Box) -> dict[int, list[int]]:
        reader, at = self.reader, box.start
        wide_items, wide_links = reader.at(at, 1)[0] >= 1, reader.at(at + 3, 1)[0] & 1
        count, at = reader.u32(at + 4), at + 8
        found: dict[int, list[int]] = {}
        for _ in range(count):
            reader.step()
            item = reader.u32(at) if wide_items else reader.u16(at)
            at += 4 if wide_items else 2
            number, at = reader.at(at, 1)[0], at + 1
            width = 2 if wide_links else 1
            raw = reader.at(at, number * width)
            mask = 0x7FFF if wide_links else 0x7F
            found[item] = [int.from_bytes(raw[i : i + width], "big") & mask for i in range(0, len(raw), width)]
            at += number * width
        return found

    def _data(self, box: Box, idat: Box | None) -> None:
        """Every item's data must lie inside the file; no coded picture (a tile, a transparency) may be larger than the whole."""
        for _, start, length in _Locations(self.reader, box).items():
            begin = start + (idat.start if idat is not None and start < idat.start and length <= idat.end - idat.start else 0)
            if start + length > self.reader.size:
                raise refuse("the file is truncated: it ends before its contents do")
            self.check_coded(begin, length)

    def check_coded(self, start: int, length: int) -> None:
        """Refuse an AV1 stream whose pictures are larger than the file says."""
        size = sequence_size(self.reader.upto(start, min(length, 256)))
        if size is not None and (size[0] > self.width or size[1] > self.height):
            raise refuse("the two headers of the AVIF disagree on its size")


class _Locations:
    """The ``iloc`` box: where each item's data are."""

    def __init__(self, reader: Reader, box: Box) -> None:
        self.reader, self.at = reader, box.start
        self.version = reader.at(box.start, 1)[0]

    def items(self) -> list[tuple[int, int, int]]:
        reader = self.reader
        sizes, more = reader.at(self.at + 4, 2)
        offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
        index_size = more & 15 if self.version else 0
        if not {offset_size, length_size, base_size, index_size} <= {0, 4, 8}:
            raise refuse("the header of the AVIF makes no sense")
        self.at += 6
        found = []
        for _ in range(self._take(4 if self.version == 2 else 2)):
            reader.step()
            item = self._take(4 if self.version == 2 else 2)
            self.at += 2 if self.version else 0
            reference, base = self._take(2), self._take(base_size)
            if reference:
                raise refuse("the AVIF's data are in another file, to which it points")
            for _ in range(self._take(2)):
                reader.step()
                self.at += index_size
                offset, length = self._take(offset_size), self._take(length_size)
                found.append((item, base + offset, length))
        return found

    def _take(self, count: int) -> int:
        self.at += count
        return int.from_bytes(self.reader.at(self.at - count, count), "big")


#: (quarter turns against the clock, mirror axis) -> EXIF orientation, the turn coming first.
_MIRRORED = {(0, 0): 4, (0, 1): 2, (1, 0): 5, (1, 1): 7, (2, 0): 2, (2, 1): 4, (3, 0): 7, (3, 1): 5}
