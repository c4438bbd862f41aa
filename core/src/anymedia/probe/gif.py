"""Parse GIF: every block to the exact end of the file."""

from __future__ import annotations

import struct

from .reader import Facts, Reader, refuse

__all__ = ["read_gif"]

#: A 12-bit LZW code represents fewer pixels than this.
_LZW = 4096
#: Minimum average sizes of a frame, an extension and a sub-block in bytes: screen recordings have hundreds of frames
#: without any change.
_FRAME, _EXTENSION, _BLOCK = 64, 32, 16


def read_gif(reader: Reader) -> Facts:
    """Return a GIF's facts."""
    width, height, flags = reader.le16(6), reader.le16(8), reader.at(10, 1)[0]
    position = 13 + _table(flags)
    frames, transparent = 0, False
    while (kind := (head := reader.upto(position, 19))[:1]) != b";":
        if kind == b"!":
            reader.step(_EXTENSION)
            transparent = transparent or (head[1:3] == b"\xf9\x04" and bool(head[3] & 1))
            position = _after_blocks(reader, position + 2)
        elif kind == b",":
            reader.step(_FRAME)
            position = _frame(reader, head, position, width, height)
            frames += 1
        else:
            raise refuse("a block of the GIF is damaged" if head else "the file is truncated: the GIF has no end")
    position += 1
    if position != reader.size and not reader.zeros(position, reader.size):
        raise refuse(f"{reader.size - position} bytes follow after the end of the GIF", "save the image again")
    if not frames:
        raise refuse("the GIF contains no image data")
    return Facts(
        format="gif",
        mime="image/gif",
        kind="image",
        size=reader.size,
        end=position,
        width=width,
        height=height,
        frames=frames,
        has_alpha=transparent,
        mode="P",
    )


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _frame(reader: Reader, head: bytes, position: int, width: int, height: int) -> int:
    """Check the frame that begins with ``head``; return the position of its end."""
    left, top, w, h, flags = struct.unpack_from("<HHHHB", head, 1)
    if not w or not h or left + w > width or top + h > height:
        raise refuse("a frame of the GIF lies outside the image", "save the image again")
    start = position + 10 + _table(flags)
    if not 1 <= reader.at(start, 1)[0] <= 11:
        raise refuse("the image data of the GIF are damaged")
    end = _after_blocks(reader, start + 1)
    if w * h > _LZW * (end - start):
        raise refuse("its header claims more pixels than its data can hold")
    return end


def _after_blocks(reader: Reader, position: int) -> int:
    """Return the position after a sequence of length-prefixed sub-blocks, which ends with an empty one."""
    while length := reader.at(position, 1)[0]:
        reader.step(_BLOCK)
        position += 1 + length
    return position + 1
