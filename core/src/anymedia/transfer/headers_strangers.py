"""What is not let in: naming the usual strangers, and files that are two things at once."""

from __future__ import annotations

from ..errors import InvalidRequest
from .headers_reader import Reader, refuse

__all__ = ["check_no_second_face", "name_stranger"]

_KNOWN: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF document", "export the page as PNG"),
    (b"PK\x03\x04", "a ZIP archive", ""),
    (b"\x1f\x8b", "a gzip archive", ""),
    (b"#EXTM3U", "a playlist, which points to other files", "give the video itself"),
    (b"ffconcat", "a playlist, which points to other files", "give the video itself"),
    (b"8BPS", "a Photoshop document", "export it as PNG"),
    (b"%!PS", "a PostScript document", "export it as PNG"),
    (b"\xff\x0a", "a JPEG XL picture", "convert it to JPEG or PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", "convert it to JPEG or PNG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", "convert it to JPEG or PNG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", "convert it to JPEG or PNG"),
    (b"\0\0\x01\0", "an icon", "convert it to PNG"),
    (b"II+\0", "a BigTIFF picture", "save it as PNG"),
    (b"MM\0+", "a BigTIFF picture", "save it as PNG"),
    (b"FORM", "an AIFF or IFF file", "convert it to WAV"),
    (b"0&\xb2u", "a Windows Media file", "convert it to MP4 or MP3"),
    (b"FLV\x01", "a Flash video", "convert it to MP4"),
    (b"<svg", "an SVG drawing", "export it as PNG"),
    (b"<!DOCTYPE", "a web page", "give the media file itself"),
    (b"<html", "a web page", "give the media file itself"),
    (b"<?xml", "an XML file", "give a media file"),
)
_TAKEN = "PNG, JPEG, WebP, GIF, AVIF, BMP, TIFF; MP4, MOV, WebM; MP3, WAV, FLAC, Ogg, Opus, M4A, AAC"


def name_stranger(reader: Reader) -> InvalidRequest:
    """Return the error for a file that is on no list, naming it where it is a usual one."""
    head = reader.upto(0, 512)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, name, fix in _KNOWN:
        if head.startswith(magic) or start[: len(magic)].lower() == magic.lower():
            return refuse(f"it is {name}, which is not taken", fix)
    if not set(head) - _TEXT:
        return refuse("it is a text file, not a media file")
    return refuse("it is not a media file of a type that is taken", f"taken are {_TAKEN}")


_TEXT = set(range(32, 256)) | {9, 10, 12, 13}
_END_OF_ZIP = b"PK\5\6"


def check_no_second_face(reader: Reader) -> None:
    """Refuse a whole media file that is a ZIP archive or a PDF as well (hidden in a comment, a box, a chunk).

    ZIP readers look for their directory within 64 KiB of the end, PDF readers for ``%PDF-`` near the start.

    Raises:
        InvalidRequest: for such a file.
    """
    if b"%PDF-" in reader.upto(0, 1024):
        raise refuse("it is a PDF document as well", "save it anew as plain media")
    reach = min(reader.size, 22 + 65535)
    begin = reader.size - reach
    tail = reader.upto(begin, reach)
    at = tail.rfind(_END_OF_ZIP)
    while at >= 0:
        if _is_directory(tail, at, begin):
            raise refuse("it is a ZIP archive as well", "save it anew as plain media")
        at = tail.rfind(_END_OF_ZIP, 0, at)


def _is_directory(tail: bytes, at: int, begin: int) -> bool:
    """Whether a ZIP's end record stands here: it says how long its directory and its own comment are."""
    record = tail[at : at + 22]
    if len(record) < 22:
        return False
    size, comment = int.from_bytes(record[12:16], "little"), int.from_bytes(record[20:22], "little")
    return at + 22 + comment <= len(tail) and size <= begin + at and record[4:8] == b"\0\0\0\0" and record[8:10] == record[10:12]
