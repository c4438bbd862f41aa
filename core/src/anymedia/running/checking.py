"""What came back against what was asked: it is paid for, so a difference is told, not thrown away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..media import format_of
from ..results import MediaFile

__all__ = ["mismatches"]

#: How many seconds a video or sound may differ from what was asked without a word.
_SECONDS = 0.6


def mismatches(request: Mapping[str, Any], file: MediaFile, transcode_to: str | None) -> list[str]:
    """Return a sentence for each way in which a file differs from the request that was sent."""
    said = []
    wanted = transcode_to or request.get("output_format")
    came = format_of(file.mime)
    if wanted and came and wanted != came and (wanted, came) != ("ogg", "opus"):  # Opus lies in an Ogg file
        said.append(f"{wanted} was asked for and {came} came back")
    size = re.fullmatch(r"([0-9]+)x([0-9]+)", str(request.get("size", "")))
    if size and file.width and (int(size[1]), int(size[2])) != (file.width, file.height):
        said.append(f"{size[0]} pixels were asked for and {file.width}x{file.height} came back")
    seconds = request.get("duration")
    appended = request.get("kind") == "continue_video"
    if seconds and file.seconds and not appended and abs(file.seconds - float(seconds)) > _SECONDS:
        said.append(f"{float(seconds):g} s were asked for and {file.seconds:.1f} s came back")
    return said
