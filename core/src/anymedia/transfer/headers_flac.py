"""Parse FLAC: every metadata block, and the first and the last frame with their checksums."""

from __future__ import annotations

from .headers_reader import Facts, Reader, refuse

__all__ = ["read_flac"]


def _table(polynomial: int, width: int) -> list[int]:
    top, mask, found = 1 << width - 1, (1 << width) - 1, []
    for value in range(256):
        value <<= width - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        found.append(value)
    return found


#: Maximum distance in bytes from the end at which the last frame is searched.
_REACH = 256 * 1024
_CRC8 = _table(0x07, 8)
_CRC16 = _table(0x8005, 16)


def read_flac(reader: Reader, position: int = 0) -> Facts:
    """Return a FLAC's facts; ``position`` is that of ``fLaC`` (after an ID3 tag, if there is one)."""
    position += 4
    hertz = samples = bits = block = 0
    largest = 0
    last, first = False, True
    while not last:
        reader.step()
        kind, length = reader.at(position, 1)[0], int.from_bytes(reader.at(position + 1, 3), "big")
        last, kind, position = bool(kind & 0x80), kind & 0x7F, position + 4
        if first != (kind == 0) or kind > 6 or position + length > reader.size or (first and length != 34):
            raise refuse("the header of the FLAC is invalid, or it is truncated")
        if first:
            block = reader.u16(position + 2)
            largest = int.from_bytes(reader.at(position + 7, 3), "big")
            packed = int.from_bytes(reader.at(position + 10, 8), "big")
            hertz, bits, samples = packed >> 44, (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
            first = False
        position += length
    if not hertz or (reader.size > position and not _frame_head(reader.upto(position, 32))) or position >= reader.size:
        raise refuse("the FLAC contains no audio")
    samples = max(samples, _reach_of(_last_frame(reader, position, largest), block))  # the header may state fewer, or none
    return Facts(
        format="flac",
        mime="audio/flac",
        kind="audio",
        size=reader.size,
        end=reader.size,
        seconds=samples / hertz,
        mode="flac",
        bits=bits,
    )


def _frame_head(data: bytes) -> int:
    """Return the length of a frame header whose checksum is valid, or 0."""
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xFE != 0xF8 or data[3] & 1 or data[2] >> 4 == 0 or data[2] & 15 == 15:
        return 0
    lead = data[4]
    extra = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    if lead >= 0x80 and (extra < 1 or extra > 6):
        return 0
    length = 5 + extra
    length += {6: 1, 7: 2}.get(data[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(data[2] & 15, 0)
    if length >= len(data):
        return 0
    crc = 0
    for byte in data[:length]:
        crc = _CRC8[crc ^ byte]
    return length + 1 if crc == data[length] else 0


def _reach_of(head: bytes, block: int) -> int:
    """Return the number of samples up to the end of a frame; ``block``: samples per frame with a fixed block size."""
    length = _frame_head(head)
    lead, extra = head[4], 0 if head[4] < 0x80 else 7 - (head[4] ^ 0xFF).bit_length()
    number = lead if not extra else lead & (0x3F >> extra)
    for byte in head[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    code = head[2] >> 4
    if code in {6, 7}:
        own = int.from_bytes(head[5 + extra : 5 + extra + code - 5], "big") + 1
    else:
        own = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    assert length
    return own + (number if head[1] & 1 else number * block)


def _last_frame(reader: Reader, first: int, largest: int) -> bytes:
    """Return the start of the valid frame that ends at the end of the file. Zero padding is not allowed in FLAC."""
    reach = min(reader.size - first, largest or _REACH, _REACH)
    tail = reader.at(reader.size - reach, reach)
    at, work = len(tail), 2 * _REACH
    while work > 0:
        at = tail.rfind(b"\xff", 0, at)
        while at >= 0 and not _frame_head(tail[at : at + 32]):
            at = tail.rfind(b"\xff", 0, at)
        if at < 0:
            break
        crc = 0
        work -= len(tail) - at
        for byte in tail[at:-2]:
            crc = (crc << 8 & 0xFF00) ^ _CRC16[crc >> 8 ^ byte]
        if crc == int.from_bytes(tail[-2:], "big"):
            return tail[at : at + 32]
    raise refuse("the FLAC is truncated, or something follows after its end")
