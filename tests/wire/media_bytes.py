"""Real media for the fakes to answer with: images by Pillow, video and sound by PyAV. Small, true, and cached."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

__all__ = ["image", "sound", "video", "with_mark"]

_CODECS = {"mp3": "libmp3lame", "aac": "aac", "flac": "flac", "opus": "libopus", "wav": "pcm_s16le"}
_CONTAINERS = {"mp3": "mp3", "aac": "adts", "flac": "flac", "opus": "ogg", "wav": "wav"}


@functools.lru_cache(maxsize=64)
def image(width: int, height: int, form: str = "png", *, alpha: bool = False, tint: int = 0) -> bytes:
    """Return a picture: a gradient coloured by ``tint``; with ``alpha`` its right half is fully transparent."""
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((width, height))
    flat = Image.new("L", (width, height), tint * 37 % 256)
    picture = Image.merge("RGB", (ramp, flat, Image.new("L", (width, height), 128)))
    if alpha:
        opaque = Image.new("L", (width, height), 255)
        opaque.paste(0, (width // 2, 0, width, height))
        picture.putalpha(opaque)
    out = io.BytesIO()
    picture.save(out, form.upper(), **({"compress_level": 1} if form == "png" else {}))
    return out.getvalue()


def with_mark(png: bytes, mark: str) -> bytes:
    """Return a PNG with a text chunk before its image data, as content credentials would sit there."""
    body = b"tEXt" + b"credentials\x00" + mark.encode("latin-1", "replace")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


@functools.lru_cache(maxsize=32)
def video(width: int, height: int, seconds: float, *, fps: int = 8, tint: int = 0) -> bytes:
    """Return an H.264 MP4 of that size and length: a flat colour that changes over time."""
    import av
    from PIL import Image

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "40"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(round(seconds * fps)):
            colour = (tint * 37 % 256, index * 5 % 256, 90)
            frame: Any = av.VideoFrame.from_image(Image.new("RGB", (width, height), colour))  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


@functools.lru_cache(maxsize=32)
def sound(form: str, seconds: float, *, rate: int = 24_000) -> bytes:
    """Return a quiet 440 Hz tone, mono: mp3, aac, flac, opus (in Ogg), wav, or pcm (raw 16-bit little endian)."""
    import numpy

    wave = numpy.sin(numpy.arange(round(seconds * rate)) * (440 * 2 * numpy.pi / rate)) * 6000
    samples = wave.astype("<i2")
    if form == "pcm":
        return bytes(samples.tobytes())
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=_CONTAINERS[form]) as container:
        stream: Any = container.add_stream(_CODECS[form], rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate, frame_size=stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    return out.getvalue()
