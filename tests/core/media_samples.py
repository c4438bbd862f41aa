"""Really encoded files of every supported kind, made by Pillow and PyAV; nothing here is a header only."""

from __future__ import annotations

import functools
import io
import math
import struct
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

SIZE = (48, 32)
_PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8", "prores_ks": "yuv422p10le"}


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture with different corners, so that turning it is seen."""
    base = Image.linear_gradient("L").resize(size)
    rgb = Image.merge("RGB", (base, base.transpose(Image.Transpose.FLIP_LEFT_RIGHT), base.rotate(180)))
    rgb.paste((255, 0, 0), (0, 0, size[0] // 4, size[1] // 4))
    if mode == "I;16":
        values = np.arange(size[0] * size[1], dtype=np.uint16).reshape(size[1], size[0]) * 40
        return Image.fromarray(values)
    if mode in {"RGBA", "LA"}:
        out = rgb.convert(mode)
        out.putalpha(Image.linear_gradient("L").resize(size))
        return out
    return rgb.convert(mode)


def encode(image: Image.Image, fmt: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def frames(count: int = 3, mode: str = "RGB") -> list[Image.Image]:
    return [picture(mode).rotate(40 * i) for i in range(count)]


def animated(fmt: str, mode: str = "RGB", **options: Any) -> bytes:
    first, *rest = frames(mode=mode)
    return encode(first, fmt, save_all=True, append_images=rest, **options)


def _video_frames(stream: Any, count: int) -> Any:
    for index in range(count):
        values = np.zeros((stream.height, stream.width, 3), dtype=np.uint8)
        values[:, : (index * 7) % stream.width] = (200, 40, 90)
        yield av.VideoFrame.from_ndarray(values, format="rgb24")


def _tone(rate: int, seconds: float, layout: str, fmt: str = "fltp") -> Any:
    count = int(rate * seconds)
    wave = (0.4 * np.sin(2 * math.pi * 440 * np.arange(count) / rate)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = rate
    yield from av.AudioResampler(format=fmt, layout=layout, rate=rate).resample(frame)


def movie(
    container: str,
    video: str | None = "libx264",
    audio: str | None = None,
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
    rate: int = 48000,
    layout: str = "mono",
    stream_options: dict[str, str] | None = None,
) -> bytes:
    """A video, a sound or both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"  # a real file: "fast start" opens it again
        # In a thread that ends with the work: for root, SVT-AV1 makes the thread it is called in a real-time one (FIFO, 99),
        # as every process would be that is started from there, and all others on the machine wait for these.
        with ThreadPoolExecutor(1) as alone:
            alone.submit(
                _write_movie, path, container, video, audio, seconds, size, options or {}, rate, layout, stream_options or {}
            ).result()
        return path.read_bytes()


def _write_movie(
    path: Path,
    container: str,
    video: str | None,
    audio: str | None,
    seconds: float,
    size: tuple[int, int],
    options: dict[str, str],
    rate: int,
    layout: str,
    stream_options: dict[str, str],
) -> None:
    with av.open(str(path), "w", format=container, options=options) as file:
        streams: list[tuple[Any, Any]] = []
        if video:
            picture_stream: Any = file.add_stream(video, rate=Fraction(24), options=stream_options)
            picture_stream.width, picture_stream.height = size
            picture_stream.pix_fmt = _PIXELS.get(video, "yuv420p")
            streams.append((picture_stream, lambda: _video_frames(picture_stream, round(24 * seconds))))
        if audio:
            sound: Any = file.add_stream(audio, rate=rate, layout=layout)
            if audio == "vorbis":
                sound.codec_context.options = {"strict": "experimental"}
            streams.append((sound, lambda: _tone(rate, seconds, layout, sound.codec_context.format.name)))
        for stream, produce in streams:
            for frame in produce():
                for packet in stream.encode(frame):
                    file.mux(packet)
            for packet in stream.encode(None):
                file.mux(packet)


def remux(data: bytes, container: str) -> bytes:
    """The same coded sound or video in another container."""
    out = io.BytesIO()
    source: Any
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format=container) as file:
        stream = file.add_stream_from_template(source.streams[0])
        for packet in source.demux(source.streams[0]):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    return out.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def streamed_wav(data: bytes) -> bytes:
    """As speech services stream it: both lengths unknown."""
    at = data.index(b"data") + 4
    return data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]


def id3(data: bytes) -> bytes:
    text = b"TIT2" + struct.pack(">I", 6) + b"\0\0" + b"\x03title"
    padding = b"\0" * 40
    length = len(text) + len(padding)
    return b"ID3\x04\0\0" + bytes([0, 0, length >> 7, length & 127]) + text + padding + data


def png_with(data: bytes, kind: bytes, body: bytes) -> bytes:
    """Put one more chunk behind the header (C2PA puts ``caBX`` there)."""
    import zlib

    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]


def webp_with(data: bytes, kind: bytes, body: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(data) + len(chunk) - 8) + data[8:] + chunk


def motion_photo() -> bytes:
    return encode(picture(), "JPEG") + mp4()


def samsung() -> bytes:
    block = b"\0\0\x0a\x0a" + struct.pack("<I", 4) + b"name" + b"value"
    head = b"SEFH" + struct.pack("<II", 107, 1) + b"\0\0\x0a\x0a" + struct.pack("<II", len(block), len(block))
    return encode(picture(), "JPEG") + block + head + struct.pack("<I", len(head)) + b"SEFT"


@functools.cache
def mp4() -> bytes:
    return movie("mp4", audio="aac")


def _more(make: Callable[[], bytes], suffix: bytes) -> Callable[[], bytes]:
    return lambda: make() + suffix


def _icc() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@functools.cache
def good(name: str) -> bytes:
    return GOOD[name][1]()


#: name -> (format that sniff must find, how to make it). Names are for people.
GOOD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png": ("png", lambda: encode(picture(), "PNG")),
    "png rgba": ("png", lambda: encode(picture("RGBA"), "PNG")),
    "png grey": ("png", lambda: encode(picture("L"), "PNG")),
    "png grey alpha": ("png", lambda: encode(picture("LA"), "PNG")),
    "png palette": ("png", lambda: encode(picture("P"), "PNG", transparency=0)),
    "png one bit": ("png", lambda: encode(picture("1"), "PNG")),
    "png 16 bit": ("png", lambda: encode(picture("I;16"), "PNG")),
    "png 1x1": ("png", lambda: encode(picture(size=(1, 1)), "PNG")),
    "png 20000x1": ("png", lambda: encode(picture(size=(20000, 1)), "PNG")),
    "png white 4000": ("png", lambda: encode(Image.new("L", (4000, 4000), 255), "PNG")),
    "png mask rgba 4096": ("png", lambda: encode(Image.new("RGBA", (4096, 4096)), "PNG")),
    "png exif": ("png", lambda: encode(picture(), "PNG", exif=exif(6))),
    "png icc": ("png", lambda: encode(picture(), "PNG", icc_profile=_icc())),
    "png c2pa": ("png", lambda: png_with(encode(picture(), "PNG"), b"caBX", b"jumb" * 100)),
    "png animated": ("png", lambda: animated("PNG")),
    "jpeg": ("jpeg", lambda: encode(picture(), "JPEG")),
    "jpeg grey": ("jpeg", lambda: encode(picture("L"), "JPEG")),
    "jpeg cmyk": ("jpeg", lambda: encode(picture("CMYK"), "JPEG")),
    "jpeg progressive": ("jpeg", lambda: encode(picture(size=(640, 480)), "JPEG", progressive=True)),
    "jpeg best": ("jpeg", lambda: encode(picture(size=(640, 480)), "JPEG", quality=100, subsampling=0)),
    "jpeg blank": ("jpeg", lambda: encode(Image.new("RGB", (4000, 3000)), "JPEG", quality=1)),
    "jpeg blank progressive": ("jpeg", lambda: encode(Image.new("RGB", (4000, 3000)), "JPEG", quality=1, progressive=True, optimize=True)),
    "jpeg restart markers": ("jpeg", lambda: encode(picture(size=(640, 480)), "JPEG", restart_marker_blocks=2)),
    "jpeg exif": ("jpeg", lambda: encode(picture(), "JPEG", exif=exif(6))),
    "jpeg multi picture": ("jpeg", lambda: animated("MPO")),
    "jpeg aligned multi picture": ("jpeg", lambda: encode(picture(), "JPEG") + b"\0\0" + encode(picture("L"), "JPEG")),
    "jpeg zero padded": ("jpeg", _more(lambda: encode(picture(), "JPEG"), b"\0" * 512)),
    "jpeg motion photo": ("jpeg", motion_photo),
    "jpeg samsung": ("jpeg", samsung),
    "webp lossy": ("webp", lambda: encode(picture(), "WEBP")),
    "webp lossless": ("webp", lambda: encode(picture(), "WEBP", lossless=True)),
    "webp alpha": ("webp", lambda: encode(picture("RGBA"), "WEBP")),
    "webp lossless alpha": ("webp", lambda: encode(picture("RGBA"), "WEBP", lossless=True)),
    "webp exif": ("webp", lambda: encode(picture(), "WEBP", exif=exif(8))),
    "webp c2pa": ("webp", lambda: webp_with(encode(picture(), "WEBP", exif=exif(1)), b"C2PA", b"jumb" * 33)),
    "webp animated": ("webp", lambda: animated("WEBP")),
    "webp blank": ("webp", lambda: encode(Image.new("RGB", (4000, 3000)), "WEBP", quality=0)),
    "gif": ("gif", lambda: encode(picture("P"), "GIF")),
    "gif transparent": ("gif", lambda: encode(picture("P"), "GIF", transparency=0)),
    "gif animated": ("gif", lambda: animated("GIF", duration=100, loop=0)),
    "gif blank": ("gif", lambda: encode(Image.new("P", (4000, 3000)), "GIF")),
    "avif": ("avif", lambda: encode(picture(), "AVIF")),
    "avif alpha": ("avif", lambda: encode(picture("RGBA"), "AVIF")),
    "avif exif": ("avif", lambda: encode(picture(), "AVIF", exif=exif(6))),
    "avif animated": ("avif", lambda: animated("AVIF")),
    "bmp": ("bmp", lambda: encode(picture(), "BMP")),
    "bmp one bit": ("bmp", lambda: encode(picture("1"), "BMP")),
    "bmp palette": ("bmp", lambda: encode(picture("P"), "BMP")),
    "bmp rgba": ("bmp", lambda: encode(picture("RGBA"), "BMP")),
    "tiff": ("tiff", lambda: encode(picture(), "TIFF")),
    "tiff lzw": ("tiff", lambda: encode(picture(), "TIFF", compression="tiff_lzw")),
    "tiff deflate": ("tiff", lambda: encode(picture("RGBA"), "TIFF", compression="tiff_adobe_deflate")),
    "tiff jpeg": ("tiff", lambda: encode(picture(), "TIFF", compression="jpeg")),
    "tiff 16 bit": ("tiff", lambda: encode(picture("I;16"), "TIFF")),
    "tiff cmyk": ("tiff", lambda: encode(picture("CMYK"), "TIFF")),
    "tiff fax": ("tiff", lambda: encode(picture("1"), "TIFF", compression="group4")),
    "tiff pages": ("tiff", lambda: animated("TIFF")),
    "mp4": ("mp4", lambda: movie("mp4")),
    "mp4 with sound": ("mp4", mp4),
    "mp4 fast start": ("mp4", lambda: movie("mp4", audio="aac", options={"movflags": "faststart"})),
    "mp4 fragmented": ("mp4", lambda: movie("mp4", audio="aac", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"})),
    "mp4 hevc": ("mp4", lambda: movie("mp4", "libx265", stream_options={"x265-params": "log-level=none"})),
    "mp4 av1": ("mp4", lambda: movie("mp4", "libsvtav1", size=(64, 64))),
    "mp4 mpeg4": ("mp4", lambda: movie("mp4", "mpeg4")),
    "mp4 c2pa": ("mp4", _more(mp4, box(b"uuid", b"\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c\x92\x97\x58\x28\x87\x7e\xc4\x81" + b"jumb" * 40))),
    "mov": ("mov", lambda: movie("mov", audio="aac")),
    "mov mjpeg": ("mov", lambda: movie("mov", "mjpeg")),
    "webm vp8": ("webm", lambda: movie("webm", "libvpx")),
    "webm vp9 opus": ("webm", lambda: movie("webm", "libvpx-vp9", audio="libopus")),
    "webm live": ("webm", lambda: movie("webm", "libvpx", options={"live": "1"})),
    "webm sound": ("webm", lambda: movie("webm", None, audio="libopus")),
    "mp3": ("mp3", lambda: movie("mp3", None, audio="libmp3lame", options={"id3v2_version": "0"})),
    "mp3 tagged": ("mp3", lambda: id3(movie("mp3", None, audio="libmp3lame", options={"id3v2_version": "0"}))),
    "mp3 id3v1": ("mp3", _more(lambda: movie("mp3", None, audio="libmp3lame"), b"TAG" + b"\0" * 125)),
    "mp3 22 kHz": ("mp3", lambda: movie("mp3", None, audio="libmp3lame", rate=22050)),
    "mp3 stereo": ("mp3", lambda: movie("mp3", None, audio="libmp3lame", layout="stereo", rate=44100)),
    "wav": ("wav", lambda: movie("wav", None, audio="pcm_s16le")),
    "wav float": ("wav", lambda: movie("wav", None, audio="pcm_f32le")),
    "wav 24 bit stereo": ("wav", lambda: movie("wav", None, audio="pcm_s24le", layout="stereo")),
    "wav mu-law": ("wav", lambda: movie("wav", None, audio="pcm_mulaw", rate=8000)),
    "wav streamed": ("wav", lambda: streamed_wav(movie("wav", None, audio="pcm_s16le"))),
    "flac": ("flac", lambda: movie("flac", None, audio="flac")),
    "flac long": ("flac", lambda: movie("flac", None, audio="flac", seconds=5, layout="stereo")),
    "ogg vorbis": ("ogg", lambda: movie("ogg", None, audio="vorbis", layout="stereo")),
    "ogg flac": ("ogg", lambda: remux(good("flac"), "ogg")),
    "opus": ("opus", lambda: movie("ogg", None, audio="libopus")),
    "m4a": ("m4a", lambda: movie("ipod", None, audio="aac")),
    "m4a in mp4": ("m4a", lambda: movie("mp4", None, audio="aac")),
    "aac": ("aac", lambda: movie("adts", None, audio="aac")),
}
