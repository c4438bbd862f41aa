"""Read the orientation from an EXIF block, a small TIFF inside JPEG, PNG and WebP."""

from __future__ import annotations

__all__ = ["orientation_of"]

_ORIENTATION = 0x0112
_SHORT = 3


def orientation_of(block: bytes) -> int:
    """Return the orientation 1 to 8 of an EXIF block (with or without its ``Exif`` prefix); 1 if it has none.

    A damaged block is ignored, as decoders do: the orientation does not affect safety.
    """
    if block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1

    def number(at: int, count: int) -> int:
        return int.from_bytes(block[at : at + count], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for index in range(min(number(first, 2), 512) if first + 2 <= len(block) else 0):
        entry = first + 2 + 12 * index
        if entry + 12 > len(block):
            break
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == _SHORT:
            found = number(entry + 8, 2)
            return found if 1 <= found <= 8 else 1
    return 1
