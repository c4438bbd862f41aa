"""The small picture a host is shown: at most 768 pixels an edge and under 200 KB."""

from __future__ import annotations

import asyncio
from pathlib import Path

__all__ = ["MAX_BYTES", "MAX_EDGE", "preview_of"]

MAX_EDGE = 768
MAX_BYTES = 200_000
#: Files larger than this are not decoded for a preview.
_MOST = 100_000_000


async def preview_of(path: Path, mime: str) -> tuple[bytes, str] | None:
    """Return a JPEG or (with transparency) WebP preview of an image file and its mime type; None where there is none to be had."""
    if not mime.startswith("image/"):
        return None
    try:
        return await asyncio.to_thread(_make, path)
    except Exception:  # noqa: BLE001 - a preview is a courtesy; the file is there all the same
        return None


def _make(path: Path) -> tuple[bytes, str] | None:
    import io

    from PIL import Image

    from ..transfer.pictures import open_picture

    if path.stat().st_size > _MOST:
        return None
    picture = open_picture(path.read_bytes())
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
