"""Small real media to send and to answer with: images of any size and colour, masks, an edit, a short video, a sound."""

from __future__ import annotations

import functools
import io
import math
import struct
import wave
from typing import Any, Literal

__all__ = ["half_mask", "painted", "picture", "sound", "video"]


@functools.lru_cache(maxsize=64)
def picture(width: int, height: int, seed: int = 0, format_name: str = "png") -> bytes:
    """Return an image file with two colours that depend on the seed.

    Args:
        width: in pixels.
        height: in pixels.
        seed: images with different seeds differ.
        format_name: png, jpeg or webp.
    """
    from PIL import Image, ImageDraw

    shades = [((seed * 67 + 40 * i) % 256, (seed * 131 + 90 * i) % 256, (seed * 29 + 150 * i) % 256) for i in (1, 2)]
    image = Image.new("RGB", (width, height), shades[0])
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=shades[1])
    out = io.BytesIO()
    image.save(out, {"jpg": "JPEG"}.get(format_name, format_name.upper()))
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def half_mask(width: int, height: int, *, left: bool = True) -> bytes:
    """Return a black and white mask (PNG): white (edit) on one half.

    Args:
        width: in pixels.
        height: in pixels.
        left: the left half is white, else the right half.
    """
    from PIL import Image

    image = Image.new("L", (width, height), 0)
    image.paste(255, (0, 0, width // 2, height) if left else (width // 2, 0, width, height))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def painted(image: bytes, mask: bytes, form: Literal["alpha", "white", "black"]) -> bytes:
    """Return an image (PNG) with the masked region painted over, as a service does that reads masks in a format.

    Args:
        image: the source.
        mask: the mask, of the same size.
        form: which part of the mask is edited, as in the matrix: transparent (``alpha``), ``white`` or ``black``.

    Raises:
        ValueError: the mask has another size than the image, or no transparency.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(image)) as first, Image.open(io.BytesIO(mask)) as second:
        if form == "alpha" and "A" not in second.getbands():
            raise ValueError("the mask has no transparency")
        region = second.getchannel("A") if form == "alpha" else second.convert("L")
        if region.size != first.size:
            raise ValueError(f"the mask is {region.size}, the image {first.size}")
        before = first.convert("RGB")
        where = region if form == "white" else ImageOps.invert(region)
        after = Image.composite(before.point(lambda value: (value + 128) % 256), before, where)
    out = io.BytesIO()
    after.save(out, "PNG")
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def sound(seconds: float = 1.0, seed: int = 0) -> bytes:
    """Return a tone as WAV, 16 bits at 16 kHz.

    Args:
        seconds: its duration.
        seed: its pitch depends on the seed.
    """
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        step = 2 * math.pi * (220 + 20 * (seed % 40)) / 16_000
        file.writeframes(b"".join(struct.pack("<h", int(9_000 * math.sin(step * i))) for i in range(int(seconds * 16_000))))
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def video(seconds: float = 2.0, width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """Return an H.264 MP4 at 24 frames a second whose brightness rises; needs PyAV.

    Args:
        seconds: its duration.
        width: in pixels.
        height: in pixels.
        seed: videos with different seeds differ.
    """
    import av
    from PIL import Image

    frames: Any = av.VideoFrame
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        count = int(seconds * 24)
        for i in range(count):
            shade = (i * 200 // count + seed * 37) % 256
            frame = Image.new("RGB", (width, height), (shade, shade, shade))
            container.mux(stream.encode(frames.from_image(frame)))
        container.mux(stream.encode())
    return out.getvalue()
