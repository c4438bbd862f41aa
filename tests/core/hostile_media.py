"""Hostile files, made from whole ones or by hand: bombs, polyglots, lies, tails, playlists. None may pass the guard."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import media_samples as samples
from hostile_headers import REBUILT
from media_samples import box, encode, good, picture
from PIL import Image

SECRET = b"root:x:0:0:root:/root:/bin/sh\n"


def zip_file() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.txt", "hidden")
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int = 8, height: int = 8, *, depth: int = 8, colour: int = 2, data: bytes | None = None, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG by hand; without data, those of an 8x8 picture."""
    data = zlib.compress(b"\0" * 25 * 8) if data is None else data
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", data) + after + chunk(b"IEND", b"")


def png_bomb(width: int, height: int) -> bytes:
    """As many pixels as deflate can hold: about 1/1030 of the decoded size."""
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + 4 * width)
    body = b"".join([packer.compress(row) for _ in range(height)] + [packer.flush()])
    return png(width, height, colour=6, data=body)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def jpeg_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0")
    return patched(data, at + 5, struct.pack(">HH", height, width))


def jpeg_marker(data: bytes, new: int) -> bytes:
    return patched(data, data.index(b"\xff\xc0") + 1, bytes([new]))


def gif(width: int, height: int, frames: int, frame: tuple[int, int, int, int] | None = None, data: bytes = b"\x02\x4c\x01\x00") -> bytes:
    left, top, w, h = frame or (0, 0, width, height)
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    body = (b"," + struct.pack("<HHHHB", left, top, w, h, 0) + b"\x02" + data) * frames
    return head + body + b";"


def riff(kind: bytes, body: bytes, lie: int = 0) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body) + lie) + kind + body


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp_canvas(width: int, height: int, inner: bytes, flags: int = 0) -> bytes:
    head = struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"WEBP", webp_chunk(b"VP8X", head) + inner)


def vp8l(width: int, height: int) -> bytes:
    return webp_chunk(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + b"\0" * 20)


def bmp(width: int, height: int, bits: int = 24, packing: int = 0, body: bytes = b"\0" * 192, offset: int = 54) -> bytes:
    head = b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, len(body), 0, 0, 0, 0) + body


def tiff(entries: dict[int, int], *, after: int = 0, body: bytes = b"\0" * 192) -> bytes:
    """A TIFF with long values; tags 273 and 279 are filled in to hold the body at the end."""
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 2, 277: 3, 278: 8, 279: len(body)} | entries
    tags.setdefault(273, 8 + 2 + 12 * (len(tags) + 1) + 4)
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", after) + body


def mp4_replaced(old: bytes, new: bytes) -> bytes:
    data = samples.mp4()
    assert old in data
    return data.replace(old, new)


def mp4_field(kind: bytes, offset: int, value: bytes, name: str = "mp4") -> bytes:
    """Overwrite bytes at an offset in the body of the first box of a kind."""
    data = good(name)
    return patched(data, data.index(kind, data.index(b"meta" if name == "avif" else b"moov")) + 4 + offset, value)


def top_boxes(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        found.append(data[at : at + length])
        at += length
    return found


def without(data: bytes, kind: bytes) -> bytes:
    return b"".join(b for b in top_boxes(data) if b[4:8] != kind)


def webm_doctype(name: bytes) -> bytes:
    return good("webm vp8").replace(b"webm", name, 1)


def ogg_with(first: bytes) -> bytes:
    """One page, its checksum right."""
    from anymedia.probe.audio import _checksum

    page = b"OggS\0\x02" + struct.pack("<QIII", 48_000, 1, 0, 0) + bytes([1, len(first)]) + first
    return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def exif_zip() -> bytes:
    """A JPEG whose last segment before the scan is a comment that holds a whole ZIP, which ends near the file's end."""
    data = encode(picture(), "JPEG")
    archive = zip_file()
    return data[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(archive)) + archive + data[2:]


MP3_FRAME = b"\xff\xfb\x90\x00" + SECRET * 14
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"

HOSTILE: dict[str, Callable[[], bytes]] = REBUILT | {
    # bombs
    "png 50000x50000": lambda: png(50_000, 50_000),
    "png of the largest numbers": lambda: png(2**31 - 1, 2**31 - 1),
    "png bomb of 81 megapixels": lambda: png_bomb(9000, 9000),
    "png bomb of 16 bits": lambda: png(9000, 8000, depth=16, colour=6, data=b"\0" * 700_000),
    "png one pixel too wide": lambda: png(65_536, 1),
    "jpeg 65500x65500": lambda: jpeg_size(good("jpeg"), 65_500, 65_500),
    "jpeg that claims 9000x9000": lambda: jpeg_size(good("jpeg"), 9000, 9000),
    "gif 65535x65535": lambda: gif(65_535, 65_535, 1),
    "gif 9000x9000 of a few bytes": lambda: gif(9000, 9000, 1),
    "gif of endless frames": lambda: gif(4, 4, 20_000),
    "gif of empty extensions": lambda: gif(4, 4, 1)[:19] + b"!\xfe\0" * 30_000 + gif(4, 4, 1)[19:],
    "gif of many large frames": lambda: gif(4000, 4000, 200, (0, 0, 1, 1)),
    "webp 16384x16384": lambda: riff(b"WEBP", vp8l(16_384, 16_384)),
    "webp lossless of 81 megapixels": lambda: riff(b"WEBP", vp8l(9000, 9000)),
    "webp lossy of 81 megapixels": lambda: patched(good("webp lossy"), 26, struct.pack("<HH", 9000, 9000)),
    "avif that claims 30000x30000": lambda: mp4_field(b"ispe", 4, struct.pack(">II", 30_000, 30_000), "avif"),
    "bmp 30000x30000": lambda: bmp(30_000, 30_000),
    "bmp of the largest numbers": lambda: bmp(2**31 - 1, 2**31 - 1),
    "bmp of negative width": lambda: bmp(-8, 8),
    "tiff 30000x30000": lambda: tiff({256: 30_000, 257: 30_000}),
    "tiff that claims 9000x9000": lambda: tiff({256: 9000, 257: 9000, 259: 8}),
    "tiff fax bomb of 81 megapixels, 32 bits": lambda: tiff({256: 9000, 257: 9000, 259: 4, 258: 32, 277: 4}),
    "mp4 of 60000x60000": lambda: mp4_field(b"avc1", 24, struct.pack(">HH", 60_000, 60_000)),
    "mp4 of 200 hours": lambda: mp4_field(b"mvhd", 16, struct.pack(">I", 720_000_000)),
    "mp4 that hides 200 hours in its table": lambda: mp4_field(b"stts", 8, struct.pack(">II", 24, 2**31)),
    "webm of 60000x60000": lambda: good("webm vp8").replace(b"\xb0\x81\x40\xba\x81\x30", b"\xb0\x82\xea\x60\xba\x81\x30"),
    "png of tiny chunks": lambda: png(before=chunk(b"prVt", b"") * 60_000),
    # lies
    "png larger than its data": lambda: png(3000, 3000),
    "png with a wrong checksum": lambda: patched(good("png"), 50, b"\x55\xaa\x55"),
    "png with two headers": lambda: png(before=chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))),
    "png without data": lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""),
    "png whose data are torn apart": lambda: png(after=chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", b"x")),
    "png with an unknown needed chunk": lambda: png(before=chunk(b"CgBI", b"\0\0\0\0")),
    "png of colour type 5": lambda: png(colour=5),
    "png of no size": lambda: png(0, 8),
    "png with an end that holds something": lambda: good("png")[:-12] + chunk(b"IEND", SECRET),
    "png with a chunk of 2 GiB": lambda: patched(good("png"), 33, b"\x7f\xff\xff\xff"),
    "jpeg with two headers": lambda: good("jpeg")[:2] + good("jpeg")[good("jpeg").index(b"\xff\xc0") :][:19] + good("jpeg")[2:],
    "jpeg of 12 bits": lambda: patched(good("jpeg"), good("jpeg").index(b"\xff\xc0") + 4, b"\x0c"),
    "jpeg arithmetic": lambda: jpeg_marker(good("jpeg"), 0xC9),
    "jpeg lossless": lambda: jpeg_marker(good("jpeg"), 0xC3),
    "jpeg of no height": lambda: jpeg_size(good("jpeg"), 48, 0),
    "jpeg without a scan": lambda: good("jpeg")[: good("jpeg").index(b"\xff\xda")] + b"\xff\xd9",
    "webp whose headers disagree": lambda: webp_canvas(4000, 4000, vp8l(8, 8)),
    "webp with two pictures": lambda: webp_canvas(8, 8, vp8l(8, 8) * 2),
    "webp with a frame outside": lambda: webp_canvas(
        8, 8, webp_chunk(b"ANMF", struct.pack("<I", 9)[:3] * 2 + b"\x07\0\0" * 2 + b"\0" * 4 + vp8l(8, 8)), 2
    ),
    "webp whose length lies": lambda: patched(good("webp lossy"), 4, struct.pack("<I", 1000)),
    "webp shorter than it is": lambda: patched(good("webp lossy"), 4, struct.pack("<I", 100)),
    "avif smaller than its coded picture": lambda: mp4_field(b"ispe", 4, struct.pack(">II", 1, 1), "avif"),
    "avif whose data lie outside": lambda: good("avif")[:-100],
    "gif with a frame outside": lambda: gif(4, 4, 1, (2, 2, 4, 4)),
    "gif without a picture": lambda: gif(4, 4, 0),
    "gif without an end": lambda: good("gif")[:-1],
    "bmp compressed": lambda: bmp(8, 8, 8, 1),
    "bmp shorter than it says": lambda: bmp(80, 80),
    "tiff in a circle": lambda: tiff({}, after=8),
    "tiff whose data lie outside": lambda: tiff({279: 5000}),
    "tiff with 10 million strips": lambda: patched(tiff({}), 8 + 2 + 12 * 5 + 4, struct.pack("<I", 10_000_000)),
    "tiff compressed in an unknown way": lambda: tiff({259: 9999}),
    "tiff of one tile of 3600 megapixels": lambda: tiff({322: 60_000, 323: 60_000, 324: 8, 325: 192}),
    "tiff of 64 bits": lambda: tiff({258: 64}),
    "mp4 with its data elsewhere": lambda: mp4_replaced(b"url \0\0\0\x01", b"url \0\0\0\x00"),
    "mp4 whose samples lie outside": lambda: mp4_field(b"stco", 8, b"\x7f\xff\xff\xff"),
    "mp4 without a header": lambda: without(good("mp4"), b"moov"),
    "mp4 without data": lambda: without(good("mp4"), b"mdat"),
    "mp4 with two headers": lambda: good("mp4") + next(b for b in top_boxes(good("mp4")) if b[4:8] == b"moov"),
    "mp4 copy-protected": lambda: mp4_replaced(b"avc1\0\0\0\0\0\0", b"encv\0\0\0\0\0\0"),
    "mp4 of no size": lambda: mp4_field(b"avc1", 24, b"\0\0\0\0"),
    "mp4 with a box of nothing in it": lambda: good("mp4") + b"\0\0\0\x04free",
    "mp4 with an unknown box": lambda: good("mp4") + box(b"evil", SECRET),
    "mov with a compressed header": lambda: box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"cmov", b"\0" * 30)) + box(b"mdat", b"x"),
    "mov that points elsewhere": lambda: box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", b"\0" * 30)) + box(b"mdat", b"x"),
    "webm of infinite length": lambda: patched(
        good("webm vp8"), good("webm vp8").index(b"\x44\x89\x88") + 3, struct.pack(">d", float("inf"))
    ),
    "webm of no number": lambda: patched(good("webm vp8"), good("webm vp8").index(b"\x44\x89\x88") + 3, struct.pack(">d", float("nan"))),
    "webm of another codec": lambda: good("webm vp8").replace(b"V_VP8", b"V_RAW"),
    "matroska": lambda: webm_doctype(b"mkv\0"),
    "wav of an odd block": lambda: patched(good("wav"), 32, b"\x07\0"),
    "wav of no channels": lambda: patched(good("wav"), 22, b"\0\0"),
    "wav compressed": lambda: patched(good("wav"), 20, b"\x55\0"),
    "wav longer than it is": lambda: patched(good("wav"), 4, struct.pack("<I", 10**6)),
    "flac with a wrong last frame": lambda: good("flac")[:-2] + b"\0\0",
    "flac without sound": lambda: good("flac")[:42],
    "ogg with a wrong checksum": lambda: patched(good("opus"), 60, b"\xee\xee"),
    "ogg with video": lambda: ogg_with(b"\x80theora" + b"\0" * 40),
    "ogg with text": lambda: ogg_with(b"OpusTags" + SECRET),
    "mp3 of one frame that is text": lambda: MP3_FRAME[:417],
    "mp3 of a tag alone": lambda: b"ID3\x04\0\0\0\0\0\x10" + b"\0" * 16,
    "mp3 whose tag claims 200 MB": lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + good("mp3"),
    "mp3 with fewer frames than promised": lambda: good("mp3")[: 384 * 3],
    "aac of one frame that is text": lambda: b"\xff\xf1\x50\x80\x03\xff\xfc" + SECRET[:24],
    # two things at once, and tails
    "png with a zip behind": lambda: good("png") + zip_file(),
    "png with a zip in a chunk": lambda: png(after=chunk(b"prVt", zip_file())),
    "png with a pdf in a chunk": lambda: png(before=chunk(b"tEXt", b"a\0%PDF-1.4\n1 0 obj")),
    "jpeg with a zip in a comment": exif_zip,
    "jpeg with a zip behind": lambda: good("jpeg") + zip_file(),
    "jpeg with a pdf in a comment": lambda: good("jpeg")[:2] + b"\xff\xfe\x00\x10%PDF-1.4 x\n\n\n\n" + good("jpeg")[2:],
    "gif with a zip in a comment": lambda: good("gif")[:-1] + b"!\xfe" + bytes([len(zip_file())]) + zip_file() + b"\0;",
    "webp with a zip in a chunk": lambda: samples.webp_with(good("webp exif"), b"JUNK", zip_file()),
    "bmp with a secret behind": lambda: good("bmp") + SECRET,
    "tiff with a secret behind": lambda: good("tiff") + SECRET * 2,
    "tiff with a secret in between": lambda: tiff({273: 8 + 2 + 12 * 9 + 4}, body=b"\0" * 192) + SECRET * 2,
    "avif with a secret behind": lambda: good("avif") + SECRET,
    "mp4 with a zip behind": lambda: good("mp4") + zip_file(),
    "mp4 with a zip in a free box": lambda: good("mp4") + box(b"free", zip_file()),
    "mp4 with a secret behind": lambda: good("mp4") + SECRET,
    "webm with a secret behind": lambda: good("webm vp8") + SECRET,
    "mp3 with a secret behind": lambda: good("mp3") + SECRET,
    "flac with a secret behind": lambda: good("flac") + SECRET,
    "opus with a secret behind": lambda: good("opus") + SECRET,
    # other formats
    "a playlist": lambda: PLAYLIST,
    "a playlist with a mark": lambda: b"\xef\xbb\xbf" + PLAYLIST,
    "a concat list": lambda: b"ffconcat version 1.0\nfile 'file:///etc/passwd'\n",
    "a plain concat list": lambda: b"file 'file:///etc/passwd'\n",
    "avi with a playlist": lambda: riff(b"AVI ", b"LIST" + struct.pack("<I", len(PLAYLIST)) + PLAYLIST),
    "a playlist in a mp4 box": lambda: box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", PLAYLIST),
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
    "eps with a preview": lambda: b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 100) + b"\0" * 18 + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "a drawing, packed": lambda: gzip.compress(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "a drawing behind a comment": lambda: b"<!-- x -->\n<svg><image href='file:///etc/passwd'/></svg>",
    "a windows drawing": lambda: b"\xd7\xcd\xc6\x9a" + b"\0" * 40,
    "a heic": lambda: box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", b"\0" * 40) + box(b"mdat", b"x"),
    "a manifest of segments": lambda: b"<MPD><BaseURL>file:///etc/</BaseURL></MPD>",
    "a session description": lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "a tag before a playlist": lambda: samples.id3(PLAYLIST),
    "a tag before a web page": lambda: samples.id3(b"<html><script src=x></script></html>"),
    "a tag before a picture": lambda: samples.id3(good("png")),
    "a playlist in a mp4 brand": lambda: box(b"ftyp", b"isom\0\0\0\0" + PLAYLIST[:60]),
    "qoi": lambda: b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 4, 0) + b"\0" * 20,
    "pdf": lambda: b"%PDF-1.4\n",
    "html": lambda: b"<!doctype html><img src=x>",
    "psd": lambda: b"8BPS\0\x01" + b"\0" * 60,
    "fits": lambda: b"SIMPLE  =                    T" + b" " * 100,
    "jpeg 2000": lambda: encode(Image.new("RGB", (8, 8)), "JPEG2000"),
    "icon": lambda: encode(Image.new("RGB", (16, 16)), "ICO"),
    "targa": lambda: encode(Image.new("RGB", (16, 16)), "TGA"),
    "pcx": lambda: encode(Image.new("RGB", (16, 16)), "PCX"),
    "ppm": lambda: b"P6 99999 99999 255\n" + b"\0" * 30,
    "xbm": lambda: b"#define a_width 99999\n#define a_height 99999\n",
    "etc passwd": lambda: SECRET * 20,
    "a program": lambda: b"\x7fELF\x02\x01\x01" + b"\0" * 60,
    "nothing": lambda: b"",
    "one byte": lambda: b"\xff",
    "zeros": lambda: b"\0" * 4096,
}

#: AVIF, BMP and TIFF that their decoder accepts in the child process: only the pixels it decodes are passed on.
#: Files of formats whose end is known, with something behind it: it is cut off, whatever it is.
TRAILED = {
    "png with a secret behind": lambda: good("png") + SECRET,
    "gif with a secret behind": lambda: good("gif") + SECRET,
    "webp with a secret behind": lambda: good("webp lossy") + SECRET,
    "wav with a secret behind": lambda: good("wav") + SECRET,
    "png with line breaks behind": lambda: good("png") + b"\r\n\n",
    "gif with a web page behind": lambda: good("gif") + b"<html><script>alert(1)</script></html>",
    "webp with a vendor's block behind": lambda: good("webp lossy") + b"VNDR" + bytes(40),
    "wav with a tag behind": lambda: good("wav") + b"TAG" + bytes(125),
    "jpeg with a secret behind zeros": lambda: good("jpeg") + b"\0" * 64 + SECRET,
    "jpeg with a broken jpeg behind": lambda: good("jpeg") + good("jpeg")[:300],
    "jpeg with a broken mp4 behind": lambda: good("jpeg motion photo")[:-40],
    "jpeg with a false samsung trailer": lambda: good("jpeg") + SECRET + good("jpeg samsung")[-70:],
    "jpeg with a secret behind": lambda: good("jpeg") + SECRET,
    "jpeg with line breaks behind": lambda: good("jpeg") + b"\r\n\n",
    "jpeg of a motion photo": lambda: good("jpeg motion photo"),
}
TOLERATED = {
    name: HOSTILE.pop(name)
    for name in (
        "avif whose animation is larger",
        "avif smaller than its coded picture",
        "avif with a secret behind",
        "bmp with a secret behind",
        "tiff in a circle",
        "tiff whose data lie outside",
        "tiff of one tile of 3600 megapixels",
        "tiff with a secret behind",
        "tiff with a secret in between",
    )
}
