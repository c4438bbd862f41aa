"""GIF, walked block by block to its exact end."""

from __future__ import annotations

from .headers_reader import Facts, Reader, refuse

__all__ = ["read_gif"]

#: The longest run one LZW code of 12 bits can stand for is under 4096 pixels.
_LZW = 4096


def read_gif(reader: Reader) -> Facts:
    """Return a GIF's facts."""
    width, height, flags = reader.le16(6), reader.le16(8), reader.at(10, 1)[0]
    position = 13 + _table(flags)
    frames, transparent = 0, False
    while True:
        reader.step(160)
        kind = reader.at(position, 1)[0]
        position += 1
        if kind == 0x3B:
            break
        if kind == 0x21:
            label = reader.at(position, 1)[0]
            if label == 0xF9:
                head = reader.at(position + 1, 2)
                transparent = transparent or bool(head[0] == 4 and head[1] & 1)
            position, _ = _sub_blocks(reader, position + 1)
        elif kind == 0x2C:
            position = _frame(reader, position, width, height)
            frames += 1
        else:
            raise refuse("a block of the GIF is damaged")
    if position != reader.size and not reader.zeros(position, reader.size):
        raise refuse(f"{reader.size - position} bytes follow after the end of the GIF", "save the picture anew")
    if not frames:
        raise refuse("the GIF holds no picture data")
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


def _frame(reader: Reader, position: int, width: int, height: int) -> int:
    left, top, w, h = (reader.le16(position + i) for i in (0, 2, 4, 6))
    if not w or not h or left + w > width or top + h > height:
        raise refuse("a frame of the GIF lies outside of its picture", "save the picture anew")
    position += 9 + _table(reader.at(position + 8, 1)[0])
    if not 1 <= reader.at(position, 1)[0] <= 11:
        raise refuse("the picture data of the GIF are damaged")
    position, data = _sub_blocks(reader, position + 1)
    if w * h > _LZW * data:
        raise refuse("its header claims more pixels than its data can hold")
    return position


def _sub_blocks(reader: Reader, position: int) -> tuple[int, int]:
    """Skip data sub-blocks; returns the position behind them and how many bytes they held."""
    total = 0
    while length := reader.at(position, 1)[0]:
        reader.step()
        position += 1 + length
        total += length
    return position + 1, total
