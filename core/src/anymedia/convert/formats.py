"""The media formats that can be written with what is installed."""

from __future__ import annotations

import importlib.util

__all__ = ["AUDIO", "PICTURES", "VIDEO", "formats_available"]

PICTURES = frozenset({"png", "jpeg", "webp", "gif", "avif"})
VIDEO = frozenset({"mp4", "mov", "webm"})
AUDIO = frozenset({"wav", "mp3", "flac", "opus", "m4a", "aac"})


def formats_available() -> frozenset[str]:
    """Return the formats that `transform.transcode` can write with what is installed; imports nothing."""
    if importlib.util.find_spec("av") is None:
        return PICTURES
    return PICTURES | VIDEO | AUDIO
