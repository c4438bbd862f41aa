"""Repair containers that are imperfect but whole: cut what follows after their end, correct the sizes of streamed sound.

`find_repair` reads only the structure, one window at a time, and says what to change; `repair_bytes` and `repair_file`
do it, the latter in place. Whether the rest of a file is sound is for the probe to say. A file is changed only where its
own structure shows the end, so paid output is never shortened by a guess.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import attrs

from ..errors import InvalidRequest
from ..probe.audio import CRC16, REACH, after_id3, chunks, frame_head, frames, pages, read_flac
from ..probe.pictures import has_camera_trailer, jpeg_end, png_chunks, read_gif
from ..probe.probe import DAMAGED, HEAD, format_of_head
from ..probe.reader import Reader, TooManyParts
from ..probe.video import CLUSTER, OPEN, SEGMENT, boxes, elements
from ..results import Warning

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Repair:
    """What to change in a file.

    Attributes:
        size: bytes that the file has.
        end: bytes that belong to it; what follows is cut.
        edits: sizes to correct: offset, and the bytes to write over the file's own.
        warnings: what is wrong with it, for the caller.
        seconds: how long a WAV or an AIFF runs, if that is known.
    """

    size: int
    end: int
    edits: tuple[tuple[int, bytes], ...] = ()
    warnings: tuple[Warning, ...] = ()
    seconds: float | None = None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to change."""
        return self.end != self.size or bool(self.edits)


def find_repair(source: bytes | BinaryIO) -> Repair:
    """Say what has to be changed in a file (left at any position) so that it ends where its container does and its sizes are true."""
    reader = Reader(source)
    nothing = Repair(size=reader.size, end=reader.size)
    name = format_of_head(reader.upto(0, HEAD)) or ""
    if name in {"wav", "aiff"}:
        return _attempt(_correct_sizes, reader) or nothing
    end = _attempt(_END_OF.get(name, lambda _: None), reader)
    edit = _attempt(_webp_size, reader) if name == "webp" else _missing_end(source, name) if (end or 1 << 62) > reader.size else None
    if edit is not None:
        text = f"the {name.upper()} file's length or end was missing or wrong and was corrected; the picture may be incomplete"
        end = reader.size if edit[0] >= reader.size else 8 + int.from_bytes(edit[1], "little")
        return attrs.evolve(nothing, end=end, edits=(edit,), warnings=(Warning("container_corrected", text),))
    if end is None or end >= reader.size:
        return nothing
    return attrs.evolve(nothing, end=end, warnings=(_cut(reader.size - end, name),))


def _attempt(find: Callable[[Reader], _T | None], reader: Reader) -> _T | None:
    """Return what is found in a container; None where its structure does not show it."""
    try:
        return find(reader)
    except (InvalidRequest, *DAMAGED):
        return None


def sound_seconds(source: bytes | BinaryIO) -> float | None:
    """Return how long a WAV or an AIFF runs; None where it has no samples whose size is known."""
    found = _attempt(_correct_sizes, Reader(source))
    return None if found is None else found.seconds


def _cut(count: int, name: str) -> Warning:
    what = "1 byte" if count == 1 else f"{count} bytes"
    return Warning("trailing_bytes_removed", f"{what} after the end of the {name.upper()} file were removed")


def _missing_end(source: bytes | BinaryIO, name: str) -> tuple[int, bytes] | None:
    """Return what to add to a picture that lacks only its end marker, or a part of it."""
    end = _ENDS.get(name)
    if end is None:
        return None
    if isinstance(source, bytes):
        data = source
    else:
        source.seek(0)
        data = source.read(_MOST_WITHOUT_END)
    given = next(count for count in reversed(range(len(end))) if data.endswith(end[:count]))
    whole = data + end[given:]
    return (len(data), end[given:]) if _attempt(_END_OF[name], Reader(whole)) == len(whole) else None


def _webp_size(reader: Reader) -> tuple[int, bytes] | None:
    """Return the correct size for a WebP whose chunks are whole and whose header says another one."""
    position, ends = 12, {0}
    for _, start, length in _until_damaged(chunks(reader, 12, reader.size)):
        position = start + length
        position += position % 2 and position < reader.size
        ends |= {position, position + 1}
    claimed = 8 + reader.le32(4)
    return None if claimed in ends or not 12 < position <= reader.size else (4, (position - 8).to_bytes(4, "little"))


def _lead(reader: Reader) -> int:
    """Return how many line breaks or bytes of a byte order mark stand before a file."""
    head = reader.upto(0, 2 * HEAD)
    rest = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return len(head) - len(rest) if format_of_head(head) is None and format_of_head(rest) is not None else 0


def _led(count: int) -> tuple[Warning, ...]:
    return (Warning("leading_bytes_removed", f"{count} bytes before the start of the file were removed"),)


def repair_bytes(data: bytes) -> tuple[bytes, tuple[Warning, ...]]:
    """Return a file's bytes repaired, and what was wrong; the very same object where nothing was."""
    if count := _lead(Reader(data)):
        rest, warnings = repair_bytes(data[count:])
        return rest, (*_led(count), *warnings)
    repair = find_repair(data)
    if not repair.is_needed:
        return data, repair.warnings
    if not repair.edits:
        return data[: repair.end], repair.warnings
    made = bytearray(memoryview(data)[: repair.end])
    for offset, new in repair.edits:
        made[offset : offset + len(new)] = new
    return bytes(made), repair.warnings


def repair_file(target: Path | int) -> tuple[Warning, ...]:
    """Repair a file in place, given its path or a descriptor (left open); it is neither copied nor read into memory.

    Returns:
        What was wrong with it; after any warning its size and checksum are others than before.
    """
    descriptor = os.dup(target) if isinstance(target, int) else os.open(target, os.O_RDWR | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "r+b") as file:
        if count := _lead(Reader(file)):
            _shift(file, count)
        repair = find_repair(file)
        for offset, new in repair.edits:
            file.seek(offset)
            file.write(new)
        if repair.end < repair.size:
            file.truncate(repair.end)
        return (*(_led(count) if count else ()), *repair.warnings)


def _shift(file: BinaryIO, count: int) -> None:
    """Remove the first bytes of a file in place."""
    position = count
    while part := (file.seek(position), file.read(1 << 20))[1]:
        file.seek(position - count)
        file.write(part)
        position += len(part)
    file.truncate(position - count)


#: What a picture ends with, and up to which size, in bytes, one is read to add it.
_ENDS = {"png": b"\0\0\0\0IEND\xaeB`\x82", "jpeg": b"\xff\xd9", "gif": b"\0;"}
_MOST_WITHOUT_END = 1 << 28
#: Text that short behind the sound's data was put there by a gateway; anything else is more sound than the header knows of.
_MOST_TEXT = 4096
_TEXT = frozenset(string.printable.encode())
_TAGS = (b"TAG", b"ID3", b"APETAGEX")
#: Compression types of AIFF-C whose frames have one size.
_PLAIN = {b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64", b"ulaw", b"alaw", b"ULAW", b"ALAW"}


@attrs.define
class _Sound:
    """One walk over the chunks."""

    reader: Reader
    order: Literal["little", "big"]
    block: int = 0  # bytes of one frame of samples
    rate: float = 0.0
    frames_at: int | None = None  # where AIFF counts its frames
    start: int = 0  # of the samples; 0: none were found
    head: int = 0  # of the chunk that holds them
    length: int = 0
    offset: int = 0  # bytes of that chunk before the samples
    after: int = 0  # where the last chunk that is whole ends

    def number(self, position: int) -> int:
        return int.from_bytes(self.reader.at(position, 4), self.order)


def _correct_sizes(reader: Reader) -> Repair | None:
    """Return what a WAV or an AIFF should say; None where it has no samples whose size can be known."""
    is_wav = reader.at(0, 4) == b"RIFF"
    sound = _Sound(reader, "little" if is_wav else "big")
    _walk(sound, is_wav=is_wav)
    if not sound.start or not sound.block or not sound.rate:
        return None
    end, length = _true_end(sound)
    if length <= 0:
        return None
    whole = length + sound.offset
    wanted = [(4, end - 8), (sound.head + 4, whole)]
    if sound.frames_at is not None:
        wanted.append((sound.frames_at, length // sound.block))
    edits = tuple([(at, value.to_bytes(4, sound.order)) for at, value in wanted if value < 2**32 and _differs(sound, at, value)])
    name, seconds, warnings = "WAV" if is_wav else "AIFF", length / sound.block / sound.rate, []
    if edits:
        text = f"the {name} file's header gave a wrong length, as streamed sound does; it was corrected to {seconds:.3f} s"
        warnings.append(Warning("audio_sizes_corrected", text))
    if end < reader.size:
        warnings.append(_cut(reader.size - end, name))
    return Repair(size=reader.size, end=end, edits=edits, warnings=tuple(warnings), seconds=seconds)


def _differs(sound: _Sound, at: int, value: int) -> bool:
    found = sound.number(at)
    # Some writers leave out the padding byte of an odd length from the total, and readers take either.
    return found != value and not (at == 4 and found + 1 == value and value % 2 == 0 and sound.length % 2 == 1)


def _walk(sound: _Sound, *, is_wav: bool) -> None:
    """Read the chunks up to the samples, and those behind them as far as they are whole."""
    size = sound.reader.size
    for name, start, length in _until_damaged(chunks(sound.reader, 12, size, sound.order)):
        if name in {b"data", b"SSND"} and not sound.start:
            sound.offset = 0 if is_wav else 8
            sound.head, sound.start, sound.length = start - 8, start + sound.offset, max(0, length - sound.offset)
        elif name == b"fmt ":
            _wav_format(sound, start)
        elif name == b"COMM":
            _aiff_format(sound, start, length)
        if start + length > size:
            return
        sound.after = min(start + length + length % 2, size)


def _wav_format(sound: _Sound, start: int) -> None:
    tag = sound.reader.le16(start)
    sound.rate, sound.block = float(sound.reader.le32(start + 4)), sound.reader.le16(start + 12)
    if tag not in {1, 3, 6, 7, 0xFFFE}:
        sound.block = 1  # compressed: no frame to round to


def _aiff_format(sound: _Sound, start: int, length: int) -> None:
    reader = sound.reader
    channels, bits = reader.u16(start), reader.u16(start + 6)
    exponent, mantissa = reader.u16(start + 8) & 0x7FFF, int.from_bytes(reader.at(start + 10, 8), "big")
    sound.rate = mantissa * 2.0 ** (exponent - 16383 - 63) if 0 < exponent < 16383 + 64 else 0.0
    kind = reader.at(start + 18, 4) if length >= 22 else b"NONE"
    sound.block = channels * ((bits + 7) // 8) if kind in _PLAIN else 1
    sound.frames_at = start + 2 if kind in _PLAIN else None


def _true_end(sound: _Sound) -> tuple[int, int]:
    """Return where the file ends and how many bytes of samples there are."""
    size, claimed = sound.reader.size, sound.start + sound.length
    if sound.length == 0 or claimed > size:  # left open, or more than there is
        return _rounded(sound, size)
    rest = size - sound.after
    if rest <= 0:
        return size, sound.length
    last = sound.reader.upto(sound.after, _MOST_TEXT)
    is_added = rest <= _MOST_TEXT and (set(last) <= _TEXT or last.startswith(_TAGS))
    if sound.after > claimed + 1 or is_added or rest < sound.block:  # other chunks follow, or what was added: the length is correct
        return sound.after, sound.length
    return _rounded(sound, size)


def _rounded(sound: _Sound, size: int) -> tuple[int, int]:
    """Return the end of the last whole frame of samples of unknown length, which a line break may follow."""
    has_break = sound.reader.upto(max(sound.start, size - 2), 2) == b"\r\n"
    length = size - 2 * has_break - sound.start
    length -= length % sound.block
    return sound.start + length, length


#: Bytes of the headers of a BMP.
_BMP_HEAD = 54
#: The most ends of a FLAC file that are tried: a checksum of 16 bits may match by chance.
_MOST_ENDS = 4


def _until_damaged(parts: Iterator[_T]) -> Iterator[_T]:
    """Yield the parts of a container up to the first one that is damaged."""
    try:
        yield from parts
    except TooManyParts:
        raise
    except InvalidRequest:
        return


def _jpeg(reader: Reader) -> int:
    """Return the end of the picture, or of a known trailer that belongs to it (the gain map of an HDR photo)."""
    position = jpeg_end(reader, 0)
    with contextlib.suppress(InvalidRequest):
        while reader.upto(position, 3) == b"\xff\xd8\xff":  # further pictures: a gain map, the other eye
            position = jpeg_end(reader, position)
    rest = reader.upto(position, _MOST_TEXT)
    is_padding = position + len(rest) == reader.size and not rest.strip(b"\0")
    return reader.size if not is_padding and has_camera_trailer(reader, position) else position


def _bmp(reader: Reader) -> int | None:
    length = reader.le32(2)
    return length if length > _BMP_HEAD else None


def _webp(reader: Reader) -> int:
    length = reader.le32(4)
    return 8 + length + length % 2 if 8 + length + length % 2 <= reader.size else 8 + length


def _boxes(reader: Reader) -> int | None:
    """MP4, MOV, M4A and AVIF: the end of the last whole box, once a header was among them."""
    position, kinds = 0, set()
    for box in _until_damaged(boxes(reader, 0, reader.size, top=True)):
        if not all(32 <= c < 127 for c in box.kind):
            break
        kinds.add(box.kind)
        position = box.end
    return position if kinds & {b"moov", b"meta"} and kinds & {b"mdat", b"imda", b"idat", b"moof"} else None


def _ogg(reader: Reader) -> int | None:
    return sum(len(page) for page in _until_damaged(pages(reader, reader.size))) or None


def _frames(name: str, reader: Reader) -> int | None:
    """Walk the frames of an MP3 or an AAC to the last whole one, and a tag behind it."""
    position, count = after_id3(reader), 0
    for end, _ in _until_damaged(frames(reader, position, reader.size, name)):
        if end > reader.size:
            break
        position, count = end, count + 1
    if count < 2:
        return None
    if reader.upto(position, 8) == b"APETAGEX":
        has_head = reader.le32(position + 20) & 0x80000000
        position += reader.le32(position + 12) + (32 if has_head else 0)
    if reader.upto(position, 3) == b"TAG" and position + 128 <= reader.size:
        position += 128
    return min(position, reader.size)


def _webm(reader: Reader) -> int | None:
    position, clusters = 0, 0
    for element in _until_damaged(elements(reader)):
        if element.number == SEGMENT and element.end != OPEN:
            return element.end
        clusters += element.number == CLUSTER
        position = element.start if element.end == OPEN else element.end
    return position if clusters else None


def _flac(reader: Reader) -> int | None:
    """Return where the last frame ends, by its checksum; the header does not say it."""
    size = reader.size
    for end in itertools.chain((size,), _flac_ends(reader)):
        reader.size = end
        try:
            return read_flac(reader, after_id3(reader)).end
        except InvalidRequest:
            continue
        finally:
            reader.size = size
    return None


def _flac_ends(reader: Reader) -> Iterator[int]:
    """Yield where the last frame may end: first where only what a gateway adds follows, then the others from the last one."""
    start = max(0, reader.size - REACH - _MOST_TEXT)
    tail = reader.at(start, reader.size - start)
    at = tail.rfind(b"\xff")
    while at >= 0 and not frame_head(tail[at : at + 32]):
        at = tail.rfind(b"\xff", 0, at)
    crc, found = 0, []
    for position in range(at, len(tail)) if at >= 0 else ():
        crc = (crc << 8 & 0xFF00) ^ CRC16[crc >> 8 ^ tail[position]]
        if not crc and position > at + 6:
            found.append(position + 1)
    added = [end for end in found if _is_added(tail[end:])]
    yield from (start + end for end in (*added, *reversed(found[-_MOST_ENDS:])))


def _is_added(rest: bytes) -> bool:
    return set(rest) <= _TEXT or len(set(rest)) < 2 or rest.startswith(_TAGS)


#: Format name -> the function that finds the end. A TIFF has none: its parts may be in any order.
_END_OF: Mapping[str, Callable[[Reader], int | None]] = {
    "png": lambda reader: max(end for end, _ in png_chunks(reader)),
    "jpeg": _jpeg,
    "gif": lambda reader: read_gif(reader).end,
    "webp": _webp,
    "bmp": _bmp,
    **dict.fromkeys(("mp4", "mov", "m4a", "avif"), _boxes),
    **dict.fromkeys(("ogg", "opus"), _ogg),
    "mp3": functools.partial(_frames, "mp3"),
    "aac": functools.partial(_frames, "aac"),
    "webm": _webm,
    "flac": _flac,
}
