"""An independent decoder: what came back is opened by Pillow or PyAV, not by the core's own header reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

__all__ = ["Decoded", "container", "decode"]


@attrs.frozen(kw_only=True)
class Decoded:
    """What a decoder made of a file: its format, pixels, seconds, and a fingerprint of the decoded content."""

    format: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    content: bytes = attrs.field(default=b"", repr=False)


#: Names of one and the same container: the decoder's, and those of formats that share it.
_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "mov": "mp4", "m4a": "mp4", "matroska,webm": "webm", "opus": "ogg"}


def container(name: str | None) -> str | None:
    """Return the one name of a format's container."""
    return None if name is None else _CONTAINERS.get(name, name)


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
    with av.open(str(path)) as found:
        opened: Any = found
        kind = "video" if media == "video" else "audio"
        stream = next(s for s in opened.streams if s.type == kind)
        last = 0.0
        for frame in opened.decode(stream):
            digest.update(frame.to_image().tobytes() if kind == "video" else b"".join(bytes(plane) for plane in frame.planes))
            if frame.time is not None:
                length = 1 / float(stream.average_rate) if kind == "video" else frame.samples / frame.sample_rate
                last = float(frame.time) + length
        size = (stream.width, stream.height) if kind == "video" else (None, None)
        return Decoded(
            format=str(container(opened.format.name)),
            width=size[0],
            height=size[1],
            seconds=last,
            content=digest.digest(),
        )
