"""What a media file may be called: suffixes, safe names, names made up from a prompt."""

from __future__ import annotations

import datetime
import re
import unicodedata

from ..media import FORMATS

__all__ = ["MEDIA_SUFFIXES", "fits_suffix", "made_up_stem", "name_problem", "suffix_for"]

#: Suffixes that a format may carry, the usual one first. Unlisted formats carry their own name.
_SUFFIXES: dict[str, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg"),
    "tiff": (".tiff", ".tif"),
    "mp4": (".mp4", ".m4v"),
    "mov": (".mov", ".qt"),
    "ogg": (".ogg", ".oga"),
    "opus": (".opus", ".ogg", ".oga"),
}

#: Every suffix a media file may carry, in lower case with its dot.
MEDIA_SUFFIXES: frozenset[str] = frozenset(s for name in FORMATS for s in _SUFFIXES.get(name, (f".{name}",)))

#: Device names of Windows, which are no file names there, whatever their suffix.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
#: Longest file name in bytes: room is left for a number and a suffix below the usual limit of 255.
_MAX_NAME = 200


def suffix_for(format_name: str) -> str:
    """Return the usual suffix of a format, with its dot (``jpeg`` -> ``.jpg``)."""
    return _SUFFIXES.get(format_name, (f".{format_name}",))[0]


def fits_suffix(suffix: str, format_name: str) -> bool:
    """Whether a suffix (with its dot, any case) is one that the format may carry."""
    return suffix.lower() in _SUFFIXES.get(format_name, (f".{format_name}",))


def name_problem(name: str) -> str | None:
    """Say what keeps a text from being the name of a new file or folder on every system, or None if nothing does."""
    if not name or name in {".", ".."}:
        return "is empty"
    if not (name.isascii() and name.isprintable()) and any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in name):
        return "contains control characters or invisible marks"
    found = next((c for c in '<>:"/\\|?*' if c in name), None)
    if found is not None:
        return f"contains {found!r}"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space, or ends with a dot"
    if _DEVICES.fullmatch(name):
        return "is the name of a device on Windows"
    if len(name.encode()) > _MAX_NAME:
        return f"is longer than {_MAX_NAME} bytes"
    return None


def made_up_stem(prompt: str, date: datetime.date, *, fallback: str = "media") -> str:
    """Return a file name without suffix and number, made from a date and a prompt: ``2026-11-21-red-fox``.

    Words beyond ASCII are left out; if none remains, ``fallback`` stands in.
    """
    plain = unicodedata.normalize("NFKD", prompt[:400]).encode("ascii", "ignore").decode()
    slug = ""
    for word in re.findall(r"[a-z0-9]+", plain.lower()):
        if slug and len(slug) + len(word) >= 40:
            break
        slug = f"{slug}-{word[:40]}".strip("-")
    return f"{date.isoformat()}-{slug or fallback}"
