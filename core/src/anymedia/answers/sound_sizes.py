"""The true sizes of WAV and AIFF files, whose writers leave them open (0, the largest number) or guess when they stream."""

from __future__ import annotations

import string
from typing import Literal

import attrs

from ..probe.reader import Reader

__all__ = ["Corrected", "correct_sizes"]

#: Text that short behind the sound's data was put there by a gateway; anything else is more sound than the header knows of.
_MOST_TEXT = 4096
_TEXT = frozenset(string.printable.encode())
#: Compression types of AIFF-C whose frames have one size.
_PLAIN = {b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64", b"ulaw", b"alaw", b"ULAW", b"ALAW"}


@attrs.frozen(kw_only=True)
class Corrected:
    """Where the file ends, what its header has to say, and how long it runs."""

    name: str
    end: int
    edits: tuple[tuple[int, bytes], ...]
    seconds: float


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


def correct_sizes(reader: Reader) -> Corrected | None:
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
    edits = [(at, value.to_bytes(4, sound.order)) for at, value in wanted if value < 2**32 and _differs(sound, at, value)]
    return Corrected(name="WAV" if is_wav else "AIFF", end=end, edits=tuple(edits), seconds=length / sound.block / sound.rate)


def _differs(sound: _Sound, at: int, value: int) -> bool:
    found = sound.number(at)
    # Some writers leave out the padding byte of an odd length from the total, and readers take either.
    return found != value and not (at == 4 and found + 1 == value and value % 2 == 0 and sound.length % 2 == 1)


def _walk(sound: _Sound, *, is_wav: bool) -> None:
    """Read the chunks up to the samples, and those behind them as far as they are whole."""
    reader, position = sound.reader, 12
    while position + 8 <= reader.size:
        reader.step()
        name, length, start = reader.at(position, 4), sound.number(position + 4), position + 8
        if not all(32 <= c < 127 for c in name):
            return
        if name in {b"data", b"SSND"} and not sound.start:
            sound.offset = 0 if is_wav else 8
            sound.head, sound.start, sound.length = position, start + sound.offset, max(0, length - sound.offset)
        elif name == b"fmt ":
            _wav_format(sound, start)
        elif name == b"COMM":
            _aiff_format(sound, start, length)
        if start + length > reader.size:
            return
        position = start + length + length % 2
        sound.after = min(position, reader.size)


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
    if sound.after > claimed + 1 or _is_text(sound.reader, sound.after, size):  # other chunks follow: the length is meant
        return sound.after, sound.length
    if rest < sound.block:
        return sound.after, sound.length
    return _rounded(sound, size)


def _rounded(sound: _Sound, size: int) -> tuple[int, int]:
    """Return the end of the last whole frame."""
    tail = _text_tail(sound.reader, sound.start, size)
    length = size - tail - sound.start
    length -= length % sound.block
    return sound.start + length, length


def _text_tail(reader: Reader, start: int, size: int) -> int:
    """Return how many bytes of line breaks were put behind samples whose length is not known: one or two, if any."""
    last = reader.upto(max(start, size - 2), 2)
    return 2 if last == b"\r\n" else 0


def _is_text(reader: Reader, start: int, end: int) -> bool:
    return end - start <= _MOST_TEXT and set(reader.at(start, end - start)) <= _TEXT
