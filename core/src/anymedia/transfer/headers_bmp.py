"""BMP: an uncompressed picture whose length follows from its header."""

from __future__ import annotations

from .headers_reader import Facts, Reader, refuse

__all__ = ["read_bmp"]

_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6


def read_bmp(reader: Reader) -> Facts:
    """Return a BMP's facts; only uncompressed ones are taken."""
    offset, header = reader.le32(10), reader.le32(14)
    if header not in {12, 40, 52, 56, 64, 108, 124} or offset < 14 + header or offset > 14 + header + 16 + 1024:
        raise refuse("it starts like a BMP but its header makes no sense")
    if header == 12:
        width, height, planes, bits, packing = reader.le16(18), reader.le16(20), reader.le16(22), reader.le16(24), 0
    else:
        width = int.from_bytes(reader.at(18, 4), "little", signed=True)
        height = abs(int.from_bytes(reader.at(22, 4), "little", signed=True))
        planes, bits, packing = reader.le16(26), reader.le16(28), reader.le32(30)
    if planes != 1 or bits not in {1, 4, 8, 16, 24, 32} or width < 1 or height < 1:
        raise refuse("it starts like a BMP but its header makes no sense")
    if packing not in {_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS}:
        raise refuse("the BMP is compressed, which few programs read", "save it as PNG")
    end = offset + ((width * bits + 31) // 32 * 4) * height
    if header == 124 and reader.le32(14 + 116):
        start, length = 14 + reader.le32(14 + 112), reader.le32(14 + 116)
        if start < end or length > 4 * 1024**2:
            raise refuse("the colour profile of the BMP is damaged")
        end = start + length
    if end > reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    if not reader.zeros(end, min(reader.size, end + 4)) or reader.size > end + 4:
        raise refuse(f"{reader.size - end} bytes follow after the end of the BMP", "save the picture anew")
    alpha = packing == _ALPHA_BITFIELDS or (header >= 56 and bits == 32 and reader.le32(66) != 0)
    return Facts(
        format="bmp",
        mime="image/bmp",
        kind="image",
        size=reader.size,
        end=end,
        width=width,
        height=height,
        frames=1,
        has_alpha=alpha,
        mode={1: "1", 4: "P", 8: "P"}.get(bits, "RGBA" if alpha else "RGB"),
    )
