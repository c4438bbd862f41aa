"""Other ways in which callers write the values of some fields: enumeration names, suffixes, ``480p`` or ``512*512`` as a size."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .fields import check_aspect_ratio, check_size, check_text
from .media import format_of

_PROVIDER_WORDS: Mapping[str, Mapping[str, str | None]] = {
    "control_type_": {"default": None, "canny": "edges", "scribble": "scribble", "face_mesh": "face_mesh"},
    "subject_type_": {"default": None, "person": "person", "animal": "animal", "product": "product"},
    "mask_mode_": {"default": None} | {mode: mode for mode in ("user_provided", "foreground", "background", "semantic")},
    "edit_mode_": {"default": None, "inpaint_insertion": "inpaint", "outpaint": "outpaint"},
}


def without_prefix(value: Any) -> Any:
    """Return the word for an enumeration name such as ``CONTROL_TYPE_CANNY``; any other value as it is."""
    if isinstance(value, str):
        for prefix, words in _PROVIDER_WORDS.items():
            if value.lower().startswith(prefix):
                return words.get(value.lower().removeprefix(prefix), value)
    return value


def format_name(text: Any) -> Any:
    """Return a file format under its name in `anymedia.media.FORMATS` (``.JPG`` -> ``jpeg``); what is not text as it is."""
    if not isinstance(text, str):
        return text
    name = text.strip().lower().removeprefix(".")
    name = format_of(name) or name
    others = {"jpg": "jpeg", "jpe": "jpeg", "tif": "tiff", "oga": "ogg", "wave": "wav", "m4v": "mp4", "qt": "mov"}
    return others.get(name, name)


def _read_size(text: str) -> tuple[str, str]:
    """Return the field that a text given as ``size`` belongs to, and the value as that field writes it.

    ``480p`` is a resolution, ``16x9`` (no common divisor, neither side above 32) an aspect ratio, ``512*512`` a size, ``500`` a square
    of that edge.
    """
    compact = re.sub(r"\s*[x*×]\s*", "x", text.strip().lower())
    if re.fullmatch(r"[1-9][0-9]{2,3}p|[1-9][0-9]?k", compact):
        return "resolution", compact.replace("k", "K")
    if ":" in compact:
        return "aspect_ratio", compact
    if re.fullmatch(r"[1-9][0-9]{2,4}", compact):
        return "size", f"{compact}x{compact}"
    if sides := re.fullmatch(r"([1-9][0-9]?)x([1-9][0-9]?)", compact):
        width, height = int(sides[1]), int(sides[2])
        if max(width, height) <= 32 and math.gcd(width, height) == 1:
            return "aspect_ratio", f"{width}:{height}"
    return "size", compact


def _read_aspect_ratio(text: str) -> tuple[str, str]:
    """Return a text given as ``aspect_ratio`` as that field writes it (``16x9`` -> ``16:9``)."""
    return "aspect_ratio", re.sub(r"\s*[x*×:]\s*", ":", text.strip().lower())


#: Field -> a function that returns the field that a text given as it belongs to, and the value as that field writes it.
SHAPE_READERS: Mapping[str, Callable[[str], tuple[str, str]]] = {"size": _read_size, "aspect_ratio": _read_aspect_ratio}


def size_problem(value: Any) -> str | None:
    """Return what is wrong with a size in any of its spellings, or None."""
    field, text = _read_size(value) if isinstance(value, str) and len(value) < 100 else ("size", value)
    problem = {"size": check_size, "aspect_ratio": check_aspect_ratio, "resolution": check_text}[field](text)
    return check_size(value) if problem is not None and field == "size" else problem


def aspect_ratio_problem(value: Any) -> str | None:
    """Return what is wrong with an aspect ratio in any of its spellings, or None."""
    return check_aspect_ratio(_read_aspect_ratio(value)[1] if isinstance(value, str) and len(value) < 100 else value)
