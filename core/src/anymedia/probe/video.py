"""Parse MP4, MOV, M4A and WebM to the exact end of the file; tracks for size, duration, codecs and external references.

The former three consist of boxes, the latter of EBML elements.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import attrs

from .reader import Facts, Reader, refuse

#: Boxes allowed at the top level of a file; C2PA and similar metadata use ``uuid``.
_TOP = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"udta", b"sidx", b"ssix"}
_TOP |= {b"mfra", b"pdin", b"prft", b"emsg", b"pnot", b"PICT", b"imda", b"meco", b"sefd"}
_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
#: Handlers of tracks with pictures: video and image sequences.
_PICTURES = {b"vide", b"pict"}
_LOCKED = {b"encv", b"enca", b"drmi", b"drms"}
#: Boxes that must not be repeated: a parser that uses the first and one that uses the last would see different files.
_ONCE = {b"mvhd", b"mvex", b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr", b"minf", b"dinf", b"dref", b"stbl", b"stsd"}
_ONCE |= {b"stts", b"stsz", b"stz2", b"stsc", b"stco", b"co64"}
#: Maximum edits of a track; and of samples times edits, because an edit list multiplies the entries a demuxer keeps in memory.
_MOST_EDITS, _MOST_ENTRIES = 10_000, 20_000_000
_TOO_MANY_EDITS = "the edit list of the video is far too long"
#: Minimum average size of a box with its contents, in bytes.
_BOX = 32


@attrs.frozen
class Box:
    """One box: its type, the start of its body, and its end."""

    kind: bytes
    start: int
    end: int


@attrs.frozen
class Element:
    """One element: its number, the start of its body, and its end."""

    number: int
    start: int
    end: int


def boxes(reader: Reader, start: int, end: int, *, top: bool = False) -> Iterator[Box]:
    """Yield the boxes that fill the range exactly; at the ``top`` level the last ``mdat`` may have an unspecified length."""
    filled = reader.padding() if top else end
    while start < min(filled, end):
        reader.step(_BOX)
        if end - start < 8:
            if not top and not any(reader.at(start, end - start)):
                return  # QuickTime ends a list of atoms with four zero bytes
            raise refuse("the file is truncated, or something follows after its end")
        length, kind, body = reader.u32(start), reader.at(start + 4, 4), start + 8
        if length == 1:
            length, body = int.from_bytes(reader.at(start + 8, 8), "big"), start + 16
        elif length == 0 and top and kind == b"mdat":
            length = end - start
        if length < body - start:
            raise refuse("a box in it is damaged")
        if start + length > end:
            raise refuse("the file is truncated: it ends before its contents do")
        yield Box(kind, body, start + length)
        start += length


def brands(reader: Reader, at: int) -> list[bytes]:
    """Return the major brand and the compatible brands of the ``ftyp`` box at a position."""
    length = reader.u32(at)
    if not 16 <= length <= 1024:
        raise refuse("the header of the file is invalid")
    found = reader.at(at + 8, length - 8)
    return [found[i : i + 4] for i in range(0, len(found), 4) if i != 4]


def whole_file(reader: Reader, position: int) -> bool:
    """Return whether the rest of the file is exactly one complete MP4 (a motion photo)."""
    kinds = [box.kind for box in boxes(reader, position, reader.size, top=True)]
    return kinds[:1] == [b"ftyp"] and b"moov" in kinds and b"mdat" in kinds and set(kinds) <= _TOP


def read_movie(reader: Reader) -> Facts:
    """Return the facts of an MP4, MOV or M4A; one that is protected, or refers to other files, is rejected."""
    major = brands(reader, 0)[0] if reader.at(4, 4) == b"ftyp" else b""
    if major in _HEIC:
        raise refuse("it is a HEIC image, which is not supported", "convert it to JPEG or PNG")
    found: dict[bytes, list[Box]] = {kind: [] for kind in _TOP}
    end = 0
    for box in boxes(reader, 0, reader.size, top=True):
        end = box.end
        if box.kind not in _TOP:
            raise refuse("something follows after the end of the video, or a box in it is damaged")
        found[box.kind].append(box)
    if len(found[b"moov"]) > 1:
        raise refuse("the video has two headers")
    if not found[b"moov"]:
        raise refuse("the video has no header: it is truncated, or only a fragment")
    if not any(box.end > box.start for box in (*found[b"mdat"], *found[b"imda"])):
        raise refuse("the video contains no data")
    return _facts(reader.size, end, _Movie(reader, found[b"moov"][0], found[b"moof"]), mov=major in {b"", b"qt  "})


def _facts(size: int, end: int, movie: _Movie, *, mov: bool) -> Facts:
    videos = [t for t in movie.tracks if t.handler in _PICTURES]
    sounds = [t for t in movie.tracks if t.handler == b"soun"]
    if not videos and not sounds:
        raise refuse("the file contains neither video nor audio")
    codec = (videos or sounds)[0].codec.decode("ascii", "replace").strip()
    name = "mov" if mov else "mp4" if videos else "m4a"
    found = Facts(format=name, kind="video" if videos else "audio", size=size, end=end, seconds=movie.seconds, mode=codec)
    if not videos:
        return found
    main = max(videos, key=lambda t: t.width * t.height)  # whichever track a decoder picks, it is not larger
    return attrs.evolve(found, width=main.width, height=main.height, orientation=main.orientation, frames=main.samples or None)


@attrs.define
class _Track:
    handler: bytes = b""
    codec: bytes = b""
    width: int = 0
    height: int = 0
    orientation: int = 1
    scale: int = 0
    duration: int = 0
    samples: int = 0
    number: int = 0
    edits: int = 0
    edited: int = 0  # in units of the movie's time scale


class _Movie:
    """The tracks and the duration that the header states."""

    def __init__(self, reader: Reader, movie: Box, moofs: list[Box]) -> None:
        self.reader = reader
        inner = self._inside(movie)
        if inner.keys() & {b"cmov", b"rmra"}:
            raise refuse("the video's header is compressed, or refers to other files")
        scale, duration = self._times(inner[b"mvhd"]) if b"mvhd" in inner else (0, 0)
        self.seconds = duration / scale if scale else 0.0
        self.tracks = [self._track(box) for box in boxes(reader, movie.start, movie.end) if box.kind == b"trak"]
        if len(self.tracks) > 64:
            raise refuse("the video has too many tracks")
        units = _fragment_units(reader, moofs, inner.get(b"mvex")) if moofs else {}
        for track in self.tracks:
            if track.samples > reader.size:
                raise refuse("its header claims more samples than its data can hold")
            if track.edits * track.samples > _MOST_ENTRIES:
                raise refuse(_TOO_MANY_EDITS)
            if track.handler in _PICTURES | {b"soun"} and track.scale:
                self.seconds = max(self.seconds, (track.duration + units.get(track.number, 0)) / track.scale)
            if track.edited and scale:
                self.seconds = max(self.seconds, track.edited / scale)

    def _inside(self, outer: Box | None) -> dict[bytes, Box]:
        """Return the boxes inside a box; those in `_ONCE` must not be repeated."""
        found: dict[bytes, Box] = {}
        for box in boxes(self.reader, outer.start, outer.end) if outer is not None else ():
            if box.kind in found and box.kind in _ONCE:
                raise refuse("the header of the video contains a duplicate box")
            found[box.kind] = box
        return found

    def _times(self, box: Box) -> tuple[int, int]:
        """Return the time scale (units per second) and the duration in units of an ``mvhd`` or ``mdhd`` box; 0 if unknown."""
        at, width = (20, 8) if self.reader.at(box.start, 1) == b"\1" else (12, 4)
        duration = int.from_bytes(self.reader.at(box.start + at + 4, width), "big")
        return self.reader.u32(box.start + at), 0 if duration == 256**width - 1 else duration

    def _track(self, outer: Box) -> _Track:
        track, inner = _Track(), self._inside(outer)
        if head := inner.get(b"tkhd"):
            wide = self.reader.at(head.start, 1) == b"\1"
            track.number = self.reader.u32(head.start + (20 if wide else 12))
            track.orientation = self._rotation(head.start + (52 if wide else 40))
        if edits := self._inside(inner.get(b"edts")).get(b"elst"):
            self._edits(track, edits)
        media = self._inside(inner.get(b"mdia"))
        if handler := media.get(b"hdlr"):
            track.handler = self.reader.at(handler.start + 8, 4)
        if times := media.get(b"mdhd"):
            track.scale, track.duration = self._times(times)
        about = self._inside(media.get(b"minf"))
        for entry in self._entries(self._inside(about.get(b"dinf")).get(b"dref")):
            if not self.reader.at(entry.start, 4)[3] & 1:
                raise refuse("the video's data are in another file")
        samples = self._inside(about.get(b"stbl"))
        for entry in self._entries(samples.get(b"stsd")):
            self._entry(track, entry)
        if clock := samples.get(b"stts"):
            self._clock(track, clock)
        for kind, width in ((b"stco", 4), (b"co64", 8)):
            if kind in samples:
                self._offsets(samples[kind], width)
        return track

    def _entries(self, table: Box | None) -> Iterator[Box]:
        """Return the boxes in a table, which follow its version and its count."""
        return boxes(self.reader, table.start + 8, table.end) if table is not None else iter(())

    def _edits(self, track: _Track, box: Box) -> None:
        """Add up the edits: playback may be longer than the samples."""
        wide = self.reader.at(box.start, 1) == b"\1"
        track.edits = self.reader.u32(box.start + 4)
        if track.edits > _MOST_EDITS:
            raise refuse(_TOO_MANY_EDITS)
        for first, *_ in self._table(box, track.edits, ">Qqi" if wide else ">Iii"):
            track.edited += first if first != (2**64 - 1 if wide else 2**32 - 1) else 0

    def _rotation(self, at: int) -> int:
        a, b, c, d = (int.from_bytes(self.reader.at(at + i, 4), "big", signed=True) >> 16 for i in (0, 4, 12, 16))
        return {(0, 1, -1, 0): 6, (-1, 0, 0, -1): 3, (0, -1, 1, 0): 8}.get((a, b, c, d), 1)

    def _entry(self, track: _Track, entry: Box) -> None:
        """Read one sample description of a track; usually there is only one."""
        track.codec = track.codec or entry.kind
        if entry.kind in _LOCKED:
            raise refuse("the video is copy-protected")
        if track.handler in _PICTURES:
            width, height = self.reader.u16(entry.start + 24), self.reader.u16(entry.start + 26)
            if not width or not height:
                raise refuse("the header of the video has no picture size")
            track.width, track.height = max(track.width, width), max(track.height, height)

    def _clock(self, track: _Track, box: Box) -> None:
        """Add up the durations of the samples: the header may state less than there is."""
        total = 0
        for samples, units in self._table(box, self.reader.u32(box.start + 4), ">II"):
            track.samples += samples
            total += samples * units
        track.duration = max(track.duration, total)

    def _table(self, box: Box, count: int, form: str) -> Iterator[tuple[int, ...]]:
        """Yield the rows of a table, which follow its version and its count."""
        width, position = struct.calcsize(form), box.start + 8
        if position + width * count > box.end:
            raise refuse("a table in the video is damaged")
        while count:
            rows = min(count, 4096)
            yield from struct.iter_unpack(form, self.reader.at(position, rows * width))
            position, count = position + rows * width, count - rows

    def _offsets(self, box: Box, width: int) -> None:
        """Check that the first and the last chunk lie inside the file."""
        count = self.reader.u32(box.start + 4)
        if box.start + 8 + width * count > box.end:
            raise refuse("a table in the video is damaged")
        for index in (count - 1, 0) if count else ():
            if int.from_bytes(self.reader.at(box.start + 8 + width * index, width), "big") >= self.reader.size:
                raise refuse("the file is truncated: it ends before its contents do")


def _fragment_units(reader: Reader, moofs: list[Box], extends: Box | None) -> dict[int, int]:
    """Return the duration of each track over all fragments, in the track's own units: a fragmented MP4 states them there.

    ``extends`` is the ``mvex`` box, which states the default durations of samples.
    """
    inner = boxes(reader, extends.start, extends.end) if extends is not None else ()
    defaults = {reader.u32(box.start + 4): reader.u32(box.start + 12) for box in inner if box.kind == b"trex"}
    total: dict[int, int] = {}
    samples = 0
    for moof in moofs:
        for box in boxes(reader, moof.start, moof.end):
            if box.kind == b"traf":
                number, units, count = _track_fragment(reader, box, defaults)
                total[number] = total.get(number, 0) + units
                samples += count
                if samples > reader.size:
                    raise refuse("its header claims more samples than its data can hold")
    return total


def _track_fragment(reader: Reader, outer: Box, defaults: dict[int, int]) -> tuple[int, int, int]:
    """Return a fragment's track number, its duration in units, and its number of samples."""
    number, default, units, samples = 0, 0, 0, 0
    for box in boxes(reader, outer.start, outer.end):
        if box.kind == b"tfhd":
            flags, number = reader.u32(box.start) & 0xFFFFFF, reader.u32(box.start + 4)
            default = defaults.get(number, 0)
            if flags & 0x08:
                default = reader.u32(box.start + 8 + (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0))
        elif box.kind == b"trun":
            units += _run_units(reader, box, default)
            samples += reader.u32(box.start + 4)
    return number, units, samples


def _run_units(reader: Reader, box: Box, default: int) -> int:
    flags, count = reader.u32(box.start) & 0xFFFFFF, reader.u32(box.start + 4)
    if not flags & 0x100:
        return count * default
    width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
    first = box.start + 8 + (4 if flags & 0x01 else 0) + (4 if flags & 0x04 else 0)
    if first + width * count > box.end:
        raise refuse("a table in the video is damaged")
    units = 0
    for index in range(count):
        reader.step(4)
        units += reader.u32(first + width * index)
    return units


_DOCTYPE = 0x4282
SEGMENT, _INFO, _TRACKS, CLUSTER = 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TOP_ELEMENTS = {_INFO, _TRACKS, CLUSTER, 0x114D9B74, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0xEC, 0xBF}
_ATTACHMENTS = 0x1941A469
#: Those of a cluster that are neither blocks nor its timestamp.
_IN_CLUSTER = {0xA7, 0xAB, 0xEC, 0xBF, 0x5854, 0xAF}
_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP = 0xE7, 0xA3, 0xA0
#: All that may follow the header.
_KNOWN = {SEGMENT, _ATTACHMENTS, _TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP} | _TOP_ELEMENTS | _IN_CLUSTER
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
    walk = _WebM(reader)
    return walk.facts(walk.run(segment.start, end))


def _element(reader: Reader, position: int, worth: int = 64) -> Element:
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
        return Element(number, position, OPEN)
    if position + length > reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    return Element(number, position, position + length)


def elements(reader: Reader) -> Iterator[Element]:
    """Yield the elements of a file up to one that is unknown; those whose length is unspecified are entered."""
    element = _element(reader, 0)
    while element.end < reader.size:
        element = _element(reader, element.start if element.end == OPEN else element.end, 16)
        if element.number not in _KNOWN:
            return
        yield element


class _WebM:
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
            if element.number not in _TOP_ELEMENTS:
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

    def _children(self, outer: Element, worth: int = 64) -> Iterator[Element]:
        position = outer.start
        while position < outer.end:
            inner = _element(self.reader, position, worth)
            if inner.end == OPEN or inner.end > outer.end:
                raise refuse("a part of the WebM is damaged")
            yield inner
            position = inner.end

    def _number(self, element: Element) -> int:
        if element.end - element.start > 8:
            raise refuse("a part of the WebM is damaged")
        return int.from_bytes(self.reader.at(element.start, element.end - element.start), "big")

    def _info(self, outer: Element) -> None:
        for element in self._children(outer):
            if element.number == 0x2AD7B1:
                self._scale = self._number(element)
            elif element.number == 0x4489:
                raw = self.reader.at(element.start, min(8, element.end - element.start))
                self._claimed = struct.unpack(">f" if len(raw) == 4 else ">d", raw)[0]

    def _track(self, outer: Element) -> None:
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

    def _picture(self, outer: Element) -> None:
        for element in self._children(outer):
            if element.number == 0xB0:
                self.width = max(self.width, self._number(element))
            elif element.number == 0xBA:
                self.height = max(self.height, self._number(element))
            elif element.number == 0x53C0:
                self.alpha = bool(self._number(element))

    def _cluster(self, cluster: Element, end: int) -> int:
        """Read the timestamps of a cluster's blocks; return the position of its end, found by parsing if it is unspecified."""
        self._clusters += 1
        position, begin = cluster.start, 0
        limit = end if cluster.end == OPEN else cluster.end
        while position < (limit if cluster.end != OPEN else min(limit, self._filled)):
            element = _element(self.reader, position, _BLOCK)
            if cluster.end == OPEN and element.number in _TOP_ELEMENTS - {0xEC, 0xBF}:
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

    def _block(self, element: Element, begin: int) -> None:
        width = 9 - self.reader.at(element.start, 1)[0].bit_length()
        offset = int.from_bytes(self.reader.at(element.start + width, 2), "big", signed=True)
        self._last = max(self._last, begin + offset)
