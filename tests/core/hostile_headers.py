"""Hostile files whose headers were rebuilt: what is hidden behind a second header, multiplied by edits, or claimed by no data."""

from __future__ import annotations

import struct
from collections.abc import Callable

from media_samples import box, encode, good, picture

#: Boxes with something before their inner boxes, in bytes.
_BEFORE = {b"meta": 4, b"stsd": 8, b"dref": 8}
_TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def within(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Rebuild the boxes on a path, and change what is in the last one; all lengths stay right."""
    out, at = b"", 0
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        length = length or len(data) - at
        if kind == path[0]:
            begin = at + 8 + _BEFORE.get(kind, 0)
            body = data[begin : at + length]
            out += box(kind, data[at + 8 : begin] + (within(body, path[1:], change) if path[1:] else change(body)))
        else:
            out += data[at : at + length]
        at += length
    return out


def part(data: bytes, kind: bytes) -> bytes:
    """The first box of a kind in some bytes."""
    at = data.index(kind) - 4
    return data[at : at + struct.unpack(">I", data[at : at + 4])[0]]


def _huge(entry: bytes) -> bytes:
    at = entry.index(b"avc1") + 28
    return entry[:at] + struct.pack(">HH", 60_000, 60_000) + entry[at + 4 :]


def _elsewhere(data: bytes) -> bytes:
    return data.replace(b"url \0\0\0\x01", b"url \0\0\0\x00")


def _edits(count: int, length: int) -> bytes:
    rows = struct.pack(">IiI", length, 0, 0x10000) * count
    return within(good("mp4"), (b"moov", b"trak"), lambda b: b.replace(part(b, b"edts"), b"") + box(
        b"edts", box(b"elst", struct.pack(">II", 0, count) + rows)
    ))  # fmt: skip


def _samples(count: int, name: str = "mp4") -> bytes:
    """So many samples of no length in time, all of one size, none of them there."""
    data = within(good(name), (*_TABLE, b"stts"), lambda _: struct.pack(">IIII", 0, 1, count, 0))
    return within(data, (*_TABLE, b"stsz"), lambda _: struct.pack(">III", 0, 1, count))


def _many_times(edits: int, samples: int) -> bytes:
    """All samples are there, and each moment plays all of them: what a reader keeps is one times the other."""
    data = within(_edits(edits, 1), (*_TABLE, b"stts"), lambda _: struct.pack(">IIII", 0, 1, samples, 0))
    return data + box(b"free", b"\0" * samples)


def _fragment() -> bytes:
    """A fragment that claims a sample for each number there is, with nothing said of any."""
    run = box(b"trun", struct.pack(">II", 0, 0x7FFFFFFF))
    track = box(b"traf", box(b"tfhd", struct.pack(">II", 0, 1)) + run)
    return good("mp4 fragmented") + box(b"moof", box(b"mfhd", b"\0" * 8) + track) + box(b"mdat", b"x")


def _ebml(number: int, body: bytes) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + (1 << 56 | len(body)).to_bytes(8, "big") + body


def _webm(before: bytes) -> bytes:
    data = good("webm vp8")
    at = data.index(b"\x18\x53\x80\x67")
    return data[:at] + _ebml(0x18538067, before + data[at + 12 :])


def _scans() -> bytes:
    """A progressive picture whose last refinement is repeated: each costs a few bytes and a walk over all pixels."""
    data = encode(picture(size=(640, 480)), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 300 + data[-2:]


def _long_flac() -> bytes:
    """Its last frame says that two thousand million came before; every checksum is right."""
    from anymedia.probe.audio import _CRC8, CRC16

    head = b"\xff\xf8\x39\x08" + b"\xfd\xbd\xbf\xbf\xbf\xbf"
    crc = 0
    for byte in head:
        crc = _CRC8[crc ^ byte]
    frame = head + bytes([crc]) + b"\0\0\0"
    crc = 0
    for byte in frame:
        crc = (crc << 8 & 0xFF00) ^ CRC16[crc >> 8 ^ byte]
    return good("flac") + frame + struct.pack(">H", crc)


def _long_opus() -> bytes:
    from anymedia.probe.audio import _checksum

    data = good("opus")
    at = data.rindex(b"OggS")
    page = data[at : at + 6] + struct.pack("<Q", 48_000 * 720_000) + data[at + 14 : at + 22] + b"\0" * 4 + data[at + 26 :]
    return data[:at] + page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def _avif_twice(kind: bytes) -> bytes:
    return within(good("avif"), (b"meta",), lambda b: b + part(b, kind))


REBUILT: dict[str, Callable[[], bytes]] = {
    # a second header says something else than the first
    "mp4 with a second form of 60000x60000": lambda: within(good("mp4"), (*_TABLE, b"stsd"), lambda b: b + _huge(b)),
    "mp4 with a second track of 60000x60000": lambda: within(good("mp4"), (b"moov",), lambda b: b + _huge(part(b, b"trak"))),
    "mp4 with a first track of 60000x60000": lambda: within(good("mp4"), (b"moov",), lambda b: _huge(part(b, b"trak")) + b),
    "mp4 with a second track whose data are elsewhere": lambda: within(good("mp4"), (b"moov",), lambda b: b + _elsewhere(part(b, b"trak"))),
    "mp4 whose data are elsewhere, behind a decoy": lambda: within(
        good("mp4"), (b"moov", b"trak", b"mdia"), lambda b: _elsewhere(b) + part(b, b"minf")
    ),
    "mp4 with two tables of forms": lambda: within(good("mp4"), _TABLE, lambda b: _huge(part(b, b"stsd")) + b),
    "mp4 with two clocks": lambda: within(good("mp4"), _TABLE, lambda b: b + part(b, b"stts")),
    "mp4 of an alias": lambda: within(good("mp4"), (*_TABLE[:4], b"dinf", b"dref"), lambda _: box(b"alis", b"\0\0\0\0" + b"\0" * 100)),
    "mp4 of 65 tracks": lambda: within(good("mp4"), (b"moov",), lambda b: b + part(b, b"trak") * 64),
    "avif with two primary items": lambda: _avif_twice(b"pitm"),
    "avif with two tables of places": lambda: _avif_twice(b"iloc"),
    "avif with two tables of properties": lambda: _avif_twice(b"iprp"),
    "avif whose animation is larger": lambda: within(
        good("avif animated"), (*_TABLE, b"stsd"), lambda b: b[:32] + struct.pack(">HH", 9000, 9000) + b[36:]
    ),
    # multiplied
    "mp4 cut together to 200 hours": lambda: _edits(1000, 720_000),
    "mp4 cut together of 900000 moments": lambda: _edits(900_000, 1),
    "mp4 of many samples cut together many times": lambda: _many_times(9_000, 40_000),
    "mp4 of 134 million samples": lambda: _samples(2**27),
    "m4a of 134 million samples": lambda: _samples(2**27, "m4a"),
    "mp4 with a fragment of 2000 million samples": _fragment,
    "jpeg of 300 scans": _scans,
    "webm of 20000 empty elements": lambda: _webm(b"\xec\x80" * 20_000),
    "webm whose header is of empty elements": lambda: _webm(_ebml(0x1549A966, b"\xec\x80" * 20_000)),
    "webm with attachments": lambda: _webm(_ebml(0x1941A469, _ebml(0x61A7, b"root:x:0:0:root:/root:/bin/sh\n"))),
    # claimed by no data
    "flac whose last frame is the 2000 millionth": _long_flac,
    "opus of 200 hours": _long_opus,
}
