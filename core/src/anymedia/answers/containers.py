"""Repair containers that are imperfect but whole: cut what follows after their end, correct the sizes of streamed sound.

`find_repair` reads only the structure, one window at a time, and says what to change; `repair_bytes` and `repair_file`
do it, the latter in place. Whether the rest of a file is sound is for the probe to say. A file is changed only where its
own structure shows the end, so paid output is never shortened by a guess.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import attrs

from ..errors import InvalidRequest
from ..probe.reader import Reader
from ..results import Warning
from .container_ends import END_OF
from .signatures import HEAD, format_of_head
from .sound_sizes import correct_sizes

__all__ = ["Edit", "Repair", "find_repair", "repair_bytes", "repair_file"]


@attrs.frozen
class Edit:
    """Bytes to write over a file's own, at an offset."""

    offset: int
    data: bytes


@attrs.frozen(kw_only=True)
class Repair:
    """What to change in a file.

    Attributes:
        size: bytes that the file has.
        end: bytes that belong to it; what follows is cut.
        edits: sizes to correct.
        warnings: what is wrong with it, for the caller.
    """

    size: int
    end: int
    edits: tuple[Edit, ...] = ()
    warnings: tuple[Warning, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to change."""
        return self.end != self.size or bool(self.edits)


def find_repair(source: bytes | BinaryIO | Path) -> Repair:
    """Say what has to be changed in a file so that it ends where its container does and its sizes are true.

    Args:
        source: the bytes, an open binary file that can seek (left open, at any position), or a path.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return find_repair(file)
    reader = Reader(source)
    nothing = Repair(size=reader.size, end=reader.size)
    name = format_of_head(reader.upto(0, HEAD))
    if name in {"wav", "aiff"}:
        return _sound(reader, nothing)
    find = END_OF.get(name or "")
    end = None if find is None else _end(reader, find)
    if end is None or end >= reader.size:
        return nothing
    return attrs.evolve(nothing, end=end, warnings=(_cut(reader.size - end, str(name)),))


def _end(reader: Reader, find: Callable[[Reader], int | None]) -> int | None:
    """Return where a container ends; None where its structure does not show it."""
    try:
        return find(reader)
    except (InvalidRequest, ValueError, IndexError):
        return None


def _sound(reader: Reader, nothing: Repair) -> Repair:
    try:
        found = correct_sizes(reader)
    except (InvalidRequest, ValueError, IndexError):
        return nothing
    if found is None:
        return nothing
    warnings = []
    if found.edits:
        text = f"the {found.name} file's header gave a wrong length, as streamed sound does; it was corrected to {found.seconds:.3f} s"
        warnings.append(Warning("audio_sizes_corrected", text))
    if found.end < reader.size:
        warnings.append(_cut(reader.size - found.end, found.name))
    edits = tuple(Edit(offset, data) for offset, data in found.edits)
    return attrs.evolve(nothing, end=found.end, edits=edits, warnings=tuple(warnings))


def _cut(count: int, name: str) -> Warning:
    what = "1 byte" if count == 1 else f"{count} bytes"
    return Warning("trailing_bytes_removed", f"{what} after the end of the {name.upper()} file were removed")


def repair_bytes(data: bytes) -> tuple[bytes, tuple[Warning, ...]]:
    """Return a file's bytes repaired, and what was wrong; the very same object where nothing was."""
    repair = find_repair(data)
    if not repair.is_needed:
        return data, repair.warnings
    if not repair.edits:
        return data[: repair.end], repair.warnings
    made = bytearray(memoryview(data)[: repair.end])
    for edit in repair.edits:
        made[edit.offset : edit.offset + len(edit.data)] = edit.data
    return bytes(made), repair.warnings


def repair_file(target: Path | int) -> tuple[Warning, ...]:
    """Repair a file in place; it is neither copied nor read into memory.

    Args:
        target: its path, or a file descriptor that can be read, written and truncated (left open).

    Returns:
        What was wrong with it; after any warning its size and checksum are others than before.

    Raises:
        OSError: it cannot be read or written.
    """
    descriptor = os.dup(target) if isinstance(target, int) else os.open(target, os.O_RDWR | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "r+b") as file:
        repair = find_repair(file)
        for edit in repair.edits:
            file.seek(edit.offset)
            file.write(edit.data)
        if repair.end < repair.size:
            file.truncate(repair.end)
        return repair.warnings
