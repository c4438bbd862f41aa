"""Parse Ogg with Opus, Vorbis or FLAC: every page with its checksum to the exact end of the file."""

from __future__ import annotations

import zlib

from .headers_reader import Facts, Reader, refuse

__all__ = ["read_ogg"]

_FLIP = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
_NONE = 2**64 - 1


def _checksum(page: bytes) -> int:
    """Return Ogg's CRC: zlib's with all bits mirrored and without its inversions."""
    mirrored = zlib.crc32(page.translate(_FLIP), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def read_ogg(reader: Reader) -> Facts:
    """Return an Ogg's facts; video in Ogg is rejected."""
    position, serial, codec, hertz, skip, granule = 0, b"", "", 0, 0, 0
    total, chained = 0.0, 0
    while position < reader.size:
        reader.step(30)
        head = reader.at(position, 27)
        if head[:5] != b"OggS\0":
            raise refuse("something follows after the end of the Ogg, or a page of it is damaged")
        table = reader.at(position + 27, head[26])
        length = 27 + head[26] + sum(table)
        page = reader.at(position, length)
        if _checksum(page[:22] + b"\0\0\0\0" + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise refuse("a checksum in the Ogg is wrong: the file is damaged")
        if head[5] & 2:
            if codec:
                total += max(0, granule - skip) / hertz
                chained += 1
            if chained and page[14:18] == serial:
                raise refuse("the pages of the Ogg are out of order")
            serial, granule = page[14:18], 0
            codec, hertz, skip = _codec(page[27 + head[26] :])
        elif page[14:18] != serial:
            raise refuse("the Ogg contains several streams at a time, or is damaged")
        found = int.from_bytes(head[6:14], "little")
        granule = max(granule, found if found != _NONE else 0)
        position += length
    if not codec or not granule:
        raise refuse("the Ogg contains no audio")
    seconds = total + max(0, granule - skip) / hertz
    name, mime = ("opus", "audio/opus") if codec == "opus" else ("ogg", "audio/ogg")
    return Facts(format=name, mime=mime, kind="audio", size=reader.size, end=reader.size, seconds=seconds, mode=codec)


def _codec(first: bytes) -> tuple[str, int, int]:
    """Return (codec, samples per second, samples to skip) from a stream's first packet."""
    if first[:8] == b"OpusHead" and len(first) >= 19:
        return "opus", 48_000, int.from_bytes(first[10:12], "little")
    if first[:7] == b"\x01vorbis" and len(first) >= 16:
        hertz = int.from_bytes(first[12:16], "little")
        if hertz:
            return "vorbis", hertz, 0
    if first[:5] == b"\x7fFLAC" and len(first) >= 31:
        hertz = int.from_bytes(first[27:30], "big") >> 4
        if hertz:
            return "flac", hertz, 0
    raise refuse("the Ogg contains something other than Opus, Vorbis or FLAC audio", "convert it to MP3, WAV or MP4")
