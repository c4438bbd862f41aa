"""An independent decoder: what came back is opened by Pillow or PyAV, not by the core's own header reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

__all__ = ["Decoded", "decode"]


@attrs.frozen(kw_only=True)
class Decoded:
    """What a decoder made of a file: its format, pixels, seconds, and a fingerprint of the decoded content."""

    format: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    content: bytes = attrs.field(default=b"", repr=False)


def decode(path: Path, media: str) -> Decoded:
    """Decode a whole file.

    Raises:
        Exception: whatever the decoder raises for a file that is broken.
    """
    return _picture(path) if media == "image" else _stream(path, media)


def _picture(path: Path) -> Decoded:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        format_name = str(image.format).lower()
        return Decoded(format=format_name, width=image.width, height=image.height, content=image.convert("RGBA").tobytes())


def _stream(path: Path, media: str) -> Decoded:
    import hashlib

    import av

    digest = hashlib.sha256()
    with av.open(str(path)) as opened:
        container: Any = opened
        kind = "video" if media == "video" else "audio"
        stream = next(s for s in container.streams if s.type == kind)
        last = 0.0
        for frame in container.decode(stream):
            digest.update(bytes(frame.to_ndarray()))
            if frame.time is not None:
                length = 1 / float(stream.average_rate) if kind == "video" else frame.samples / frame.sample_rate
                last = float(frame.time) + length
        size = (stream.width, stream.height) if kind == "video" else (None, None)
        name = path.suffix.lower().removeprefix(".")
        return Decoded(format=name, width=size[0], height=size[1], seconds=last, content=digest.digest())
