"""Names of media files: suffixes, portable names, default names derived from a prompt; the formats that can be written."""

from __future__ import annotations

import datetime
import importlib.util
import re
import unicodedata
import urllib.parse
from pathlib import PurePath

from ..media import FORMATS

PICTURES = frozenset({"png", "jpeg", "webp", "gif", "avif", "bmp", "tiff"})
VIDEO = frozenset({"mp4", "mov", "webm"})
AUDIO = frozenset({"wav", "mp3", "flac", "opus", "m4a", "aac"})


def formats_available() -> frozenset[str]:
    """Return the formats that `transform.transcode` can write with what is installed; imports nothing."""
    if importlib.util.find_spec("av") is None:
        return PICTURES
    return PICTURES | VIDEO | AUDIO


#: Suffixes of a format, the usual one first. Formats not listed use their own name.
_SUFFIXES: dict[str, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg"),
    "tiff": (".tiff", ".tif"),
    "mp4": (".mp4", ".m4v"),
    "mov": (".mov", ".qt"),
    "ogg": (".ogg", ".oga"),
    "opus": (".opus", ".ogg", ".oga"),
}

#: All suffixes of media files, in lower case with the dot.
MEDIA_SUFFIXES: frozenset[str] = frozenset(s for name in FORMATS for s in _SUFFIXES.get(name, (f".{name}",)))

#: Device names of Windows, which cannot be file names there, with any suffix.
_DEVICES = r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?"
#: Maximum length of a file name in bytes; leaves room for a number and a suffix below the usual limit of 255.
_MAX_NAME = 200


def is_media_name(name: str) -> bool:
    """Return whether a name has the suffix of a supported media file."""
    return PurePath(name).suffix.lower() in MEDIA_SUFFIXES


def plain_name(name: str) -> str:
    """Return a name in a form that is equal for names that look alike.

    It has one kind of space, quote, dash and colon, composed letters in lower case, no quotes around it, no escapes and nothing
    invisible; bytes that are not UTF-8 are read as Windows-1252, as old archives have them.
    """
    if not name.isascii():
        name = name.encode("utf-8", "surrogateescape").decode("cp1252", "replace") if _LONE.search(name) else name
    folded = unicodedata.normalize("NFKC", urllib.parse.unquote_plus(name)).translate(_ONE_MARK).casefold()
    return " ".join("".join(c for c in folded if unicodedata.category(c) != "Cf").strip("\"'").split())


#: Undecodable bytes of a name, as Python shows them.
_LONE = re.compile("[\udc80-\udcff]")
_ONE_MARK = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc\u2032`\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u2033", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | dict.fromkeys("\u02d0\u2236\ua789", ":")
    | {"\\": "", "_": " "}
)


def suffix_for(format_name: str) -> str:
    """Return the usual suffix of a format with its dot (``jpeg`` -> ``.jpg``)."""
    return _SUFFIXES.get(format_name, (f".{format_name}",))[0]


def fits_suffix(suffix: str, format_name: str) -> bool:
    """Return whether a suffix (with its dot, in any case) belongs to a format."""
    return suffix.lower() in _SUFFIXES.get(format_name, (f".{format_name}",))


def name_problem(name: str) -> str | None:
    """Return why a text cannot name a new file or directory on every operating system, or None if it can."""
    if not name or name in {".", ".."}:
        return "is empty"
    if not (name.isascii() and name.isprintable()) and any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in name):
        return "contains control characters or invisible characters"
    found = next((c for c in '<>:"/\\|?*' if c in name), None)
    if found is not None:
        return f"contains {found!r}"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space, or ends with a dot"
    if re.fullmatch(_DEVICES, name):
        return "is the name of a device on Windows"
    if len(name.encode()) > _MAX_NAME:
        return f"is longer than {_MAX_NAME} bytes"
    return None


def made_up_stem(prompt: str, date: datetime.date) -> str:
    """Return a default file name without suffix and number: ``2026-11-21-red-fox``; accents are removed, other characters skipped."""
    plain = unicodedata.normalize("NFKD", prompt[:400]).encode("ascii", "ignore").decode()
    slug = ""
    for word in re.findall(r"[a-z0-9]+", plain.lower()):
        if slug and len(slug) + len(word) >= 40:
            break
        slug = f"{slug}-{word[:40]}".strip("-")
    return f"{date.isoformat()}-{slug or 'media'}"
