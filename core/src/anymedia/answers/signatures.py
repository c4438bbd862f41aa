"""Recognize a format by the first bytes of a file, without reading the rest."""

from __future__ import annotations

__all__ = ["HEAD", "format_of_head"]

#: So many bytes are enough to recognize any of the formats.
HEAD = 32

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
)
_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def format_of_head(head: bytes | memoryview) -> str | None:
    """Return the format name that the first `HEAD` bytes of a file show, or None.

    ``aiff`` and ``heic`` are recognized too, although no model takes them as they are.
    """
    start = bytes(head[:HEAD])
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if start[:4] == b"RIFF":
        return {b"WEBP": "webp", b"WAVE": "wav"}.get(start[8:12])
    if start[:4] == b"FORM":
        return "aiff" if start[8:12] in {b"AIFF", b"AIFC"} else None
    if start[:4] == b"OggS":
        return "opus" if b"OpusHead" in start else "ogg"
    if start[4:8] == b"ftyp":
        return _by_brand(start[8:12])
    if start[4:8] in _QUICKTIME:
        return "mov"
    if start[:2] == b"BM" and start[6:10] == b"\0\0\0\0":
        return "bmp"
    return _frames(start)


def _by_brand(brand: bytes) -> str:
    if brand in {b"avif", b"avis"}:
        return "avif"
    if brand[:3] in {b"hei", b"hev", b"mif", b"msf"}:
        return "heic"
    return {b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a"}.get(brand, "mp4")


def _frames(start: bytes) -> str | None:
    """Tell MP3 from AAC by the header of the first frame."""
    if len(start) < 4 or start[0] != 0xFF:
        return None
    if start[1] & 0xF6 == 0xF0:
        return "aac"
    is_layer_3 = start[1] & 0xE0 == 0xE0 and start[1] >> 3 & 3 != 1 and start[1] >> 1 & 3 == 1
    return "mp3" if is_layer_3 and start[2] >> 4 not in {0, 15} and start[2] >> 2 & 3 != 3 else None
