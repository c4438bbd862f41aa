"""How long a fragmented MP4 runs: its durations stand in the fragments, not in the header."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .headers_reader import Reader, refuse

__all__ = ["fragment_seconds"]


class _Part(Protocol):
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


def fragment_seconds(reader: Reader, moofs: Iterable[_Part], defaults: dict[int, int]) -> dict[int, int]:
    """Return each track's running time over all fragments, in the track's own units.

    Args:
        reader: the file.
        moofs: its ``moof`` boxes.
        defaults: track number -> default sample duration, from ``trex``.
    """
    total: dict[int, int] = {}
    samples = 0
    for moof in moofs:
        for kind, start, end in _inner(reader, moof.start, moof.end):
            if kind == b"traf":
                number, units, count = _track_fragment(reader, start, end, defaults)
                total[number] = total.get(number, 0) + units
                samples += count
                if samples > reader.size:
                    raise refuse("its header claims more pictures or sound than its data can hold")
    return total


def _inner(reader: Reader, start: int, end: int) -> Iterable[tuple[bytes, int, int]]:
    while start < end:
        reader.step(32)
        length, kind = reader.u32(start), reader.at(start + 4, 4)
        if length < 8 or start + length > end:
            raise refuse("a box in it is damaged")
        yield kind, start + 8, start + length
        start += length


def _track_fragment(reader: Reader, start: int, end: int, defaults: dict[int, int]) -> tuple[int, int, int]:
    """Return a track's number, the time its fragment takes, and how many samples it has."""
    number, default, units, samples = 0, 0, 0, 0
    for kind, at, stop in _inner(reader, start, end):
        if kind == b"tfhd":
            flags, number = reader.u32(at) & 0xFFFFFF, reader.u32(at + 4)
            default = defaults.get(number, 0)
            if flags & 0x08:
                default = reader.u32(at + 8 + (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0))
        elif kind == b"trun":
            units += _run(reader, at, stop, default)
            samples += reader.u32(at + 4)
    return number, units, samples


def _run(reader: Reader, at: int, stop: int, default: int) -> int:
    flags, count = reader.u32(at) & 0xFFFFFF, reader.u32(at + 4)
    if not flags & 0x100:
        return count * default
    width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
    first = at + 8 + (4 if flags & 0x01 else 0) + (4 if flags & 0x04 else 0)
    if first + width * count > stop:
        raise refuse("a table in the video is damaged")
    units = 0
    for index in range(count):
        reader.step(4)
        units += reader.u32(first + width * index)
    return units
