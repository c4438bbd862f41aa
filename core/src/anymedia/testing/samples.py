"""Small real media to send: pictures of any size and colour, masks, a short video."""

from __future__ import annotations

import functools
import io
from typing import Any

__all__ = ["half_mask", "picture", "video"]


@functools.lru_cache(maxsize=64)
def picture(width: int, height: int, seed: int = 0, format_name: str = "png") -> bytes:
    """Return a picture of two colours that depend on the seed, in an image format."""
    from PIL import Image, ImageDraw

    shades = [((seed * 67 + 40 * i) % 256, (seed * 131 + 90 * i) % 256, (seed * 29 + 150 * i) % 256) for i in (1, 2)]
    image = Image.new("RGB", (width, height), shades[0])
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=shades[1])
    out = io.BytesIO()
    image.save(out, {"jpg": "JPEG"}.get(format_name, format_name.upper()))
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def half_mask(width: int, height: int, *, left: bool = True) -> bytes:
    """Return a black and white mask: white (edit) on one half."""
    from PIL import Image

    image = Image.new("L", (width, height), 0)
    image.paste(255, (0, 0, width // 2, height) if left else (width // 2, 0, width, height))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def video(seconds: float = 2.0, width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """Return a short H.264 MP4 whose brightness rises; needs PyAV."""
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
