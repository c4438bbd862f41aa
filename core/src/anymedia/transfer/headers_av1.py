"""The size in an AV1 sequence header: what the coded data really need, whatever the file around them says."""

from __future__ import annotations

__all__ = ["sequence_size"]

_SEQUENCE, _DELIMITER = 1, 2


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits; IndexError where there are none left."""
        if count > self._left:
            raise IndexError
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def uvlc(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros >= 32:
                return 0xFFFFFFFF
        return self.take(zeros) + (1 << zeros) - 1


def sequence_size(data: bytes) -> tuple[int, int] | None:
    """Return the largest (width, height) that a coded AV1 stream may use; None if none is found at its start.

    Layout: AV1 Bitstream and Decoding Process Specification, 5.3 (OBU) and 5.5 (sequence header).
    """
    try:
        payload = _find_sequence(data)
        return None if payload is None else _size(_Bits(payload))
    except IndexError:
        return None


def _find_sequence(data: bytes) -> bytes | None:
    at = 0
    for _ in range(8):
        head = data[at]
        kind, extension, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        at += 1 + extension
        length, shift = 0, 0
        if not sized:
            length = len(data) - at
        while sized:
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift > 35:
                return None
        if kind == _SEQUENCE:
            return data[at : at + length]
        if kind != _DELIMITER:
            return None
        at += length
    return None


def _size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile and still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _operating_points(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1


def _operating_points(bits: _Bits) -> None:
    timing = decoder_model = 0
    delay = 0
    if bits.take(1):
        timing = 1
        bits.take(64)
        if bits.take(1):
            bits.uvlc()
        decoder_model = bits.take(1)
        if decoder_model:
            delay = bits.take(5) + 1
            bits.take(32 + 10)
    initial = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if timing and decoder_model and bits.take(1):
            bits.take(2 * delay + 1)
        if initial and bits.take(1):
            bits.take(4)
