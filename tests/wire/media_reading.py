"""Media as an independent decoder sees them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

__all__ = ["grey", "opened"]


def opened(data: bytes | Path) -> Image.Image:
    """Decode a picture, whole."""
    found = Image.open(io.BytesIO(data if isinstance(data, bytes) else data.read_bytes()))
    found.load()
    return found


def grey(data: bytes) -> bytes:
    """Return a picture's brightness, a byte a pixel."""
    return opened(data).convert("L").tobytes()
