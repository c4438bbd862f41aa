"""Odd but valid files, as phones, cameras, browsers, speech services and other encoders write them. Each must pass."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from media_samples import _icc, animated, box, encode, exif, good, id3, movie, picture, png_with
from PIL import Image, PngImagePlugin

XMP = b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"/><?xpacket end="w"?>'


def interlaced() -> bytes:
    """Adam7, written by hand: no encoder here offers it."""
    pixels = np.asarray(picture())
    raw = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        raw += b"".join(b"\0" + row.tobytes() for row in pixels[y::dy, x::dx])
    height, width = pixels.shape[:2]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)


def with_texts() -> bytes:
    """A PNG with texts, times, densities and the chunks of colour management."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "a program")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_text("Comment", "long " * 2000, zip=True)
    data = encode(picture("RGBA"), "PNG", pnginfo=info, dpi=(300, 300), exif=exif(1), icc_profile=_icc())
    for kind, body in ((b"tIME", b"\x07\xea\x0b\x1b\0\0\0"), (b"gAMA", b"\0\0\xb1\x8f"), (b"sBIT", b"\x08" * 4)):
        data = png_with(data, kind, body)
    return data


def by_opencv(suffix: str, values: Any = None) -> bytes:
    done, data = cv2.imencode(suffix, np.asarray(picture())[:, :, ::-1] if values is None else values)
    assert done
    return bytes(data)


def deep() -> Any:
    return (np.asarray(picture()).astype(np.uint16) * 257)[:, :, ::-1]


def jpeg_of_a_phone() -> bytes:
    return encode(
        picture(size=(640, 480)), "JPEG", progressive=True, exif=exif(6), icc_profile=_icc(), xmp=XMP, comment=b"a comment", dpi=(72, 72)
    )


def flac_with_a_picture() -> bytes:
    data, cover = good("flac"), encode(picture(), "JPEG")
    body = struct.pack(">I", 3) + struct.pack(">I", 10) + b"image/jpeg" + struct.pack(">IIIIII", 0, 48, 32, 24, 0, len(cover)) + cover
    block = b"\x06" + len(body).to_bytes(3, "big") + body
    return data[:42] + block + data[42:]


def id3_with_a_picture(version: int = 3) -> bytes:
    """A tag as players write it: a title, a cover, padding; the sound behind it has a variable rate."""
    cover = encode(picture(size=(300, 300)), "JPEG", quality=95)
    body = b"\0image/jpeg\0\x03\0" + cover
    frames = (
        b"TIT2" + struct.pack(">I", 6) + b"\0\0" + b"\x00title" + b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body + b"\0" * 2048
    )
    size = bytes(len(frames) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + frames


def m4a_with_a_cover() -> bytes:
    """As music shops write it: the tags stand in ``moov``, and the data offsets are moved by their length."""
    cover = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + encode(picture(), "JPEG")))
    tags = box(b"udta", box(b"meta", b"\0" * 4 + box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9) + box(b"ilst", cover)))
    data = good("m4a")  # its header comes last, so nothing moves
    at = data.index(b"moov") - 4
    length = struct.unpack(">I", data[at : at + 4])[0]
    assert at + length == len(data)
    return data[:at] + box(b"moov", data[at + 8 :] + tags)


def chained() -> bytes:
    """Two Ogg files one after the other, the second with a serial number of its own: as web radios send it."""
    from anymedia.probe.audio import _checksum

    data, again, at = good("opus"), b"", 0
    while at < len(data):
        count = data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        page = data[at : at + 14] + b"\x07\x07\x07\x07" + data[at + 18 : at + 22] + b"\0" * 4 + data[at + 26 : end]
        again += page[:22] + struct.pack("<I", _checksum(page)) + page[26:]
        at = end
    return data + again


def wav_of(riff: int, length: int) -> bytes:
    """A WAV whose writer could not know how long it would be."""
    data = good("wav")
    at = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", riff) + data[8:at] + struct.pack("<I", length) + data[at + 4 :]


def wav_with_chunks() -> bytes:
    data = good("wav")
    more = b"bext" + struct.pack("<I", 602) + b"\0" * 602 + b"id3 " + struct.pack("<I", 10) + b"ID3\x03\0\0\0\0\0\0"
    return b"RIFF" + struct.pack("<I", len(data) + len(more) - 8) + data[8:] + more


def still_screen() -> bytes:
    """Eight hundred pictures in each of which a pixel or two changed."""
    pictures = []
    for index in range(800):
        one = Image.new("P", (64, 48), 1)
        one.putpixel((index % 64, index // 64), 2)
        pictures.append(one)
    return encode(pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=100)


def flac_streamed() -> bytes:
    """Its encoder could not go back and say how long it became."""
    data = bytearray(good("flac long"))
    packed = int.from_bytes(data[18:26], "big")
    data[18:26] = (packed >> 36 << 36).to_bytes(8, "big")
    return bytes(data)


def _mov_with_sound(codec: str) -> Callable[[], bytes]:
    return lambda: movie("mov", audio=codec)


_DASH = {"movflags": "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx"}

#: name -> (format that sniff must find, how to make it).
ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png interlaced": ("png", interlaced),
    "png with texts and colours": ("png", with_texts),
    "png of opencv": ("png", lambda: by_opencv(".png")),
    "png of 16 bits a colour": ("png", lambda: by_opencv(".png", deep())),
    "png animated with transparency": ("png", lambda: animated("PNG", "RGBA", duration=80, loop=0)),
    "jpeg of a phone": ("jpeg", jpeg_of_a_phone),
    "jpeg of opencv": ("jpeg", lambda: by_opencv(".jpg")),
    "jpeg of a large profile": ("jpeg", lambda: encode(picture(), "JPEG", icc_profile=_icc() + b"\0" * 150_000)),
    "jpeg of a video encoder": ("jpeg", lambda: movie("image2pipe", "mjpeg", seconds=1 / 24)),
    "webp of opencv": ("webp", lambda: by_opencv(".webp")),
    "webp animated with transparency": ("webp", lambda: animated("WEBP", "RGBA", lossless=True, duration=40)),
    "webp with a profile and xmp": ("webp", lambda: encode(picture("RGBA"), "WEBP", icc_profile=_icc(), xmp=XMP, exif=exif(1))),
    "gif with a comment": ("gif", lambda: encode(picture("P"), "GIF", comment=b"made by hand " * 40)),
    "gif of a still screen": ("gif", still_screen),
    "gif of a video encoder": ("gif", lambda: movie("gif", "gif", seconds=0.5)),
    "avif of opencv": ("avif", lambda: by_opencv(".avif")),
    "avif of 4:4:4": ("avif", lambda: encode(picture(size=(200, 120)), "AVIF", subsampling="4:4:4", quality=90, icc_profile=_icc())),
    "bmp of opencv": ("bmp", lambda: by_opencv(".bmp")),
    "tiff of opencv": ("tiff", lambda: by_opencv(".tiff")),
    "tiff of 16 bits a colour": ("tiff", lambda: by_opencv(".tiff", deep())),
    "tiff with xmp and a profile": ("tiff", lambda: encode(picture(), "TIFF", icc_profile=_icc(), exif=exif(6), dpi=(300, 300))),
    "tiff big endian": ("tiff", lambda: encode(Image.new("I;16B", (8, 8), 300), "TIFF")),
    "mp4 in segments with an index": ("mp4", lambda: movie("mp4", audio="aac", seconds=2, options=_DASH)),
    "mp4 of vp9 and opus": ("mp4", lambda: movie("mp4", "libvpx-vp9", audio="libopus")),
    "mp4 with mp3 sound": ("mp4", lambda: movie("mp4", audio="libmp3lame", rate=44100)),
    "mov of prores": ("mov", lambda: movie("mov", "prores_ks")),
    "mov with plain samples": ("mov", _mov_with_sound("pcm_s16le")),
    "webm with its index first": ("webm", lambda: movie("webm", "libvpx", audio="libopus", options={"cues_to_front": "1"})),
    "webm of vorbis": ("webm", lambda: movie("webm", "libvpx", audio="vorbis", rate=44100, layout="stereo")),
    "wav of six channels": ("wav", lambda: movie("wav", None, audio="pcm_s16le", layout="5.1")),
    "wav of 32 bits": ("wav", lambda: movie("wav", None, audio="pcm_s32le")),
    "wav a-law": ("wav", lambda: movie("wav", None, audio="pcm_alaw", rate=8000)),
    "wav with broadcast chunks": ("wav", wav_with_chunks),
    "wav of a pipe": ("wav", lambda: wav_of(0x7FFFF024, 0x7FFFF000)),
    "wav of a pipe, 32 bits": ("wav", lambda: wav_of(0xFFFFFFFF, 0xFFFFFFDB)),
    "wav of no lengths": ("wav", lambda: wav_of(0, 0)),
    "flac with a picture": ("flac", flac_with_a_picture),
    "flac streamed": ("flac", flac_streamed),
    "flac of 24 bits": ("flac", lambda: movie("flac", None, audio="flac", rate=96000, layout="5.1")),
    "mp3 of a variable rate with a cover": (
        "mp3",
        lambda: id3_with_a_picture() + movie("mp3", None, audio="libmp3lame", options={"id3v2_version": "0", "write_id3v1": "1"}),
    ),
    "mp3 with an old and a new tag": (
        "mp3", lambda: movie("mp3", None, audio="libmp3lame", options={"id3v2_version": "3", "write_id3v1": "1"}),
    ),
    "mp3 of 8 kHz": ("mp3", lambda: movie("mp3", None, audio="libmp3lame", rate=8000)),
    "opus of six channels": ("opus", lambda: movie("ogg", None, audio="libopus", layout="5.1")),
    "opus chained": ("opus", chained),
    "m4a with a cover": ("m4a", m4a_with_a_cover),
    "m4a lossless": ("m4a", lambda: movie("ipod", None, audio="alac")),
    "aac with a tag": ("aac", lambda: id3(good("aac"))),
    "aac of six channels": ("aac", lambda: movie("adts", None, audio="aac", layout="5.1")),
}  # fmt: skip
