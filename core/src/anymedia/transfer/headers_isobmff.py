"""MP4, MOV and M4A: boxes walked to the exact end, tracks read for size, running time and outside references."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .headers_fragments import fragment_seconds
from .headers_reader import Facts, Reader, refuse

__all__ = ["Box", "boxes", "brands", "is_movie", "read_movie", "sequence_frames", "whole_file"]

#: What may stand at the top of a file; C2PA and the like come in ``uuid``.
_TOP = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"udta", b"sidx", b"ssix"}
_TOP |= {b"mfra", b"pdin", b"prft", b"emsg", b"pnot", b"PICT", b"imda", b"meco", b"sefd"}
_OLD_MOV = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
#: Handlers of tracks of pictures: video, and an animated AVIF.
_PICTURES = {b"vide", b"pict"}
_LOCKED = {b"encv", b"enca", b"drmi", b"drms"}


@attrs.frozen
class Box:
    """One box: its type, where its body starts, where it ends."""

    kind: bytes
    start: int
    end: int


def boxes(reader: Reader, start: int, end: int, *, top: bool = False) -> Iterator[Box]:
    """Walk the boxes that fill ``start`` to ``end`` exactly; only a file's last ``mdat`` may leave its length open."""
    while start < end:
        reader.step()
        if end - start < 8:
            if not top and reader.zeros(start, end):
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
    """Return the major brand and the compatible ones of the ``ftyp`` box at a position."""
    length = reader.u32(at)
    if not 16 <= length <= 1024:
        raise refuse("the header of the file makes no sense")
    found = reader.at(at + 8, length - 8)
    return [found[i : i + 4] for i in range(0, len(found), 4) if i != 4]


def is_movie(head: bytes) -> bool:
    """Whether a file that starts so may be an MP4 or a MOV."""
    return head[4:8] == b"ftyp" or (head[4:8] in _OLD_MOV and len(head) >= 8)


def whole_file(reader: Reader, position: int) -> bool:
    """Whether one whole MP4 fills the file from a position on (a motion photo)."""
    kinds = [box.kind for box in boxes(reader, position, reader.size, top=True)]
    return kinds[:1] == [b"ftyp"] and b"moov" in kinds and b"mdat" in kinds and set(kinds) <= _TOP


def read_movie(reader: Reader) -> Facts:
    """Return the facts of an MP4, MOV or M4A."""
    major = brands(reader, 0)[0] if reader.at(4, 4) == b"ftyp" else b""
    if major in _HEIC:
        raise refuse("it is a HEIC picture, which is not taken", "convert it to JPEG or PNG")
    movie, media, moofs = None, [], []
    for box in boxes(reader, 0, reader.size, top=True):
        if box.kind not in _TOP:
            raise refuse("something follows after the end of the video, or a box in it is damaged")
        if box.kind == b"moov":
            if movie is not None:
                raise refuse("the video has two headers")
            movie = box
        elif box.kind in {b"mdat", b"imda"}:
            media.append(box)
        elif box.kind == b"moof":
            moofs.append(box)
    if movie is None:
        raise refuse("the video has no header: it is truncated, or a fragment of one")
    if not any(box.end > box.start for box in media):
        raise refuse("the video holds no data")
    return _facts(reader, _Movie(reader, movie, moofs), mov=major in {b"", b"qt  "})


def sequence_frames(reader: Reader) -> int:
    """Return how many pictures the tracks of an animated AVIF hold, at least 1."""
    for box in boxes(reader, 0, reader.size, top=True):
        if box.kind == b"moov":
            return max([1, *(t.samples for t in _Movie(reader, box, []).tracks)])
    return 1


def _facts(reader: Reader, movie: _Movie, *, mov: bool) -> Facts:
    videos = [t for t in movie.tracks if t.handler in _PICTURES]
    sounds = [t for t in movie.tracks if t.handler == b"soun"]
    if not videos and not sounds:
        raise refuse("the file holds neither video nor sound")
    size = reader.size
    codec = (videos or sounds)[0].codec.decode("ascii", "replace").strip()
    if not videos:
        name, mime = ("mov", "video/quicktime") if mov else ("m4a", "audio/mp4")
        return Facts(format=name, mime=mime, kind="audio", size=size, end=size, seconds=movie.seconds, mode=codec)
    main = videos[0]
    name, mime = ("mov", "video/quicktime") if mov else ("mp4", "video/mp4")
    return Facts(
        format=name,
        mime=mime,
        kind="video",
        size=size,
        end=size,
        width=main.width,
        height=main.height,
        orientation=main.orientation,
        frames=main.samples or None,
        seconds=movie.seconds,
        mode=codec,
    )


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


class _Movie:
    """What the header says: tracks, and how long they run."""

    def __init__(self, reader: Reader, movie: Box, moofs: list[Box]) -> None:
        self.reader = reader
        self.tracks: list[_Track] = []
        self.seconds = 0.0
        defaults: dict[int, int] = {}
        for box in boxes(reader, movie.start, movie.end):
            if box.kind == b"mvhd":
                scale, duration = self._times(box)
                self.seconds = max(self.seconds, duration / scale if scale else 0.0)
            elif box.kind == b"trak":
                self.tracks.append(self._track(box))
            elif box.kind == b"mvex":
                for inner in boxes(reader, box.start, box.end):
                    if inner.kind == b"trex":
                        defaults[reader.u32(inner.start + 4)] = reader.u32(inner.start + 12)
            elif box.kind in {b"cmov", b"rmra"}:
                raise refuse("the video's header is compressed, or points to other files")
        if len(self.tracks) > 64:
            raise refuse("the video has too many tracks")
        units = fragment_seconds(reader, moofs, defaults) if moofs else {}
        for track in self.tracks:
            if track.handler in _PICTURES | {b"soun"} and track.scale:
                self.seconds = max(self.seconds, (track.duration + units.get(track.number, 0)) / track.scale)

    def _times(self, box: Box) -> tuple[int, int]:
        """Return (units per second, duration in units) of an ``mvhd`` or ``mdhd``; an unknown duration is 0."""
        if self.reader.at(box.start, 1) == b"\1":
            scale, duration = self.reader.u32(box.start + 20), int.from_bytes(self.reader.at(box.start + 24, 8), "big")
            return scale, 0 if duration == 2**64 - 1 else duration
        duration = self.reader.u32(box.start + 16)
        return self.reader.u32(box.start + 12), 0 if duration == 2**32 - 1 else duration

    def _track(self, outer: Box) -> _Track:
        track = _Track()
        for box in boxes(self.reader, outer.start, outer.end):
            if box.kind == b"tkhd":
                wide = self.reader.at(box.start, 1) == b"\1"
                track.number = self.reader.u32(box.start + (20 if wide else 12))
                track.orientation = self._rotation(box.start + (52 if wide else 40))
            elif box.kind == b"mdia":
                self._media(track, box)
        return track

    def _rotation(self, at: int) -> int:
        a, b, c, d = (int.from_bytes(self.reader.at(at + i, 4), "big", signed=True) >> 16 for i in (0, 4, 12, 16))
        return {(0, 1, -1, 0): 6, (-1, 0, 0, -1): 3, (0, -1, 1, 0): 8}.get((a, b, c, d), 1)

    def _media(self, track: _Track, outer: Box) -> None:
        inner = {box.kind: box for box in boxes(self.reader, outer.start, outer.end)}
        if b"hdlr" in inner:
            track.handler = self.reader.at(inner[b"hdlr"].start + 8, 4)
        if b"mdhd" in inner:
            track.scale, track.duration = self._times(inner[b"mdhd"])
        if b"minf" not in inner:
            return
        for box in boxes(self.reader, inner[b"minf"].start, inner[b"minf"].end):
            if box.kind == b"dinf":
                self._references(box)
            elif box.kind == b"stbl":
                self._samples(track, box)

    def _references(self, outer: Box) -> None:
        for box in boxes(self.reader, outer.start, outer.end):
            if box.kind != b"dref":
                continue
            for entry in boxes(self.reader, box.start + 8, box.end):
                if not self.reader.at(entry.start, 4)[3] & 1:
                    raise refuse("the video's data are in another file, to which it points")

    def _samples(self, track: _Track, outer: Box) -> None:
        for box in boxes(self.reader, outer.start, outer.end):
            if box.kind == b"stsd":
                entry = next(boxes(self.reader, box.start + 8, box.end), None)
                if entry is None:
                    continue
                track.codec = entry.kind
                if entry.kind in _LOCKED:
                    raise refuse("the video is copy-protected")
                if track.handler in _PICTURES:
                    track.width, track.height = self.reader.u16(entry.start + 24), self.reader.u16(entry.start + 26)
                    if not track.width or not track.height:
                        raise refuse("the video does not say how large its picture is")
            elif box.kind == b"stts":
                self._clock(track, box)
            elif box.kind in {b"stco", b"co64"}:
                self._offsets(box, 4 if box.kind == b"stco" else 8)

    def _clock(self, track: _Track, box: Box) -> None:
        """Add up the samples' own durations: a header may claim less than there is."""
        total, count = 0, self.reader.u32(box.start + 4)
        if box.start + 8 + 8 * count > box.end:
            raise refuse("a table in the video is damaged")
        for index in range(count):
            self.reader.step(4)
            samples = self.reader.u32(box.start + 8 + 8 * index)
            track.samples += samples
            total += samples * self.reader.u32(box.start + 12 + 8 * index)
        track.duration = max(track.duration, total)

    def _offsets(self, box: Box, width: int) -> None:
        """The data that the tables point to must be in the file."""
        count = self.reader.u32(box.start + 4)
        if box.start + 8 + width * count > box.end:
            raise refuse("a table in the video is damaged")
        for index in {0, count - 1} if count else ():
            if int.from_bytes(self.reader.at(box.start + 8 + width * index, width), "big") >= self.reader.size:
                raise refuse("the file is truncated: it ends before its contents do")
