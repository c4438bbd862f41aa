"""The small picture a host is shown: at most 768 pixels an edge and under 200 KB."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

__all__ = ["MAX_BYTES", "MAX_EDGE", "preview_of"]

MAX_EDGE = 768
MAX_BYTES = 200_000
#: Files larger than this are not decoded for a preview.
_MOST = 100_000_000


async def preview_of(path: Path, mime: str, roots: Sequence[Path]) -> tuple[bytes, str] | None:
    """Return a JPEG or (with transparency) WebP preview of an image file and its mime type; None where there is none to be had.

    ``roots``: where it must lie. What a host is shown is read like an input: by now the name may be a link to the outside.
    """
    if not mime.startswith("image/"):
        return None
    try:
        return await asyncio.to_thread(_make, path, roots)
    except Exception:  # noqa: BLE001 - a preview is a courtesy; the file is there all the same
        return None


def _make(path: Path, roots: Sequence[Path]) -> tuple[bytes, str] | None:
    import io

    from PIL import Image

    from ..convert.images import open_picture
    from ..files.paths import open_input

    with open_input(path, roots) as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        return None
    picture = open_picture(data)
    picture.thumbnail((MAX_EDGE, MAX_EDGE), Image.Resampling.LANCZOS)
    see_through = picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info
    flat = picture.convert("RGBA" if see_through else "RGB")
    for quality, edge in ((85, MAX_EDGE), (70, MAX_EDGE), (60, 512), (50, 320)):
        flat.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        flat.save(out, "WEBP" if see_through else "JPEG", quality=quality)
        if out.tell() < MAX_BYTES:
            return out.getvalue(), "image/webp" if see_through else "image/jpeg"
    return None
