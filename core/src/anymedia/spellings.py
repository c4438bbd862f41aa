"""Other ways in which callers write the values of some fields: enumeration names, suffixes, ``480p`` or ``square`` as a size, ``"2"``."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

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


def plain_value(value: Any, wanted: type) -> Any:
    """Return the number or flag that a text writes (``"2"``, ``"true"``), and a whole number for ``2.0``; any other value as it is."""
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    if wanted is bool:
        return {"true": True, "false": False}.get(text.lower(), value)
    if number := re.fullmatch(r"(-?[0-9]{1,15})(\.[0-9]{1,15})?", text):
        return int(number[1]) if wanted is int and not (number[2] or "").strip(".0") else float(text) if wanted is float else value
    return value


@functools.cache
def _kinds(cls: type) -> Mapping[str, type]:
    kinds = {"int": int, "float": float, "bool": bool}
    return {field.name: kinds[kind] for field in attrs.fields(cls) if (kind := str(field.type).removesuffix(" | None")) in kinds}


#: Fields that hold one word, around which blanks mean nothing.
_WORDS = frozenset(
    {"mode", "media_type", "backend", "model", "quality", "resolution", "background", "output_format", "voice", "continue_as"}
)


def plain_fields(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a class with the numbers and flags that are written as text, and words without blanks around them."""
    kinds = _kinds(cls)
    words = {key: value.strip() or value for key, value in given.items() if key in _WORDS and isinstance(value, str)}
    return {**given, **words, **{key: plain_value(value, kinds[key]) for key, value in given.items() if key in kinds}}


#: Words for a shape -> the aspect ratio of an image and of a video.
_SHAPES = {
    **dict.fromkeys(("square",), ("1:1", "1:1")),
    **dict.fromkeys(("landscape", "horizontal"), ("3:2", "16:9")),
    **dict.fromkeys(("wide", "widescreen"), ("16:9", "16:9")),
    **dict.fromkeys(("portrait", "vertical", "tall"), ("2:3", "9:16")),
}
#: Words for a number of lines -> the tier.
_TIERS = {"hd": "720p", "fullhd": "1080p", "fhd": "1080p", "qhd": "1440p", "uhd": "4K", "ultrahd": "4K"}


def _shape(text: str, media: str) -> str | None:
    """Return the aspect ratio that a word means: ``landscape``, ``portrait_9_16``, ``Square HD``."""
    found = re.fullmatch(r"([a-z]+)[\s_-]*(?:hd|\(?([0-9]{1,2})[:x_/\s-]+([0-9]{1,2})\)?)?", text.strip().lower())
    if found is None or found[1] not in _SHAPES:
        return None
    if not found[2]:
        return _SHAPES[found[1]][media == "video"]
    low, high = sorted((int(found[2]), int(found[3])))
    return f"{low}:{high}" if found[1] in {"portrait", "vertical", "tall"} else f"{high}:{low}"


def _read_size(text: str, media: str) -> tuple[str, str]:
    """Return the field that a text given as ``size`` belongs to, and the value as that field writes it.

    ``480p`` and ``HD`` are resolutions, ``16x9`` (no common divisor, neither side above 32) and ``landscape`` aspect ratios, ``512*512`` a
    size, ``500`` a square of that edge.
    """
    compact = re.sub(r"\s*[x*×]\s*", "x", text.strip().lower())
    if media == "image" and re.fullmatch(r"square[\s_-]*hd", compact):
        return "size", "1024x1024"
    if (ratio := _shape(text, media)) is not None:
        return "aspect_ratio", ratio
    if (tier := _TIERS.get(re.sub(r"[\s_-]", "", compact))) is not None:
        return "resolution", tier
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


def _read_aspect_ratio(text: str, media: str) -> tuple[str, str]:
    """Return a text given as ``aspect_ratio`` as that field writes it (``16x9`` -> ``16:9``, ``square`` -> ``1:1``)."""
    return "aspect_ratio", _shape(text, media) or re.sub(r"\s*[x*×:/]\s*", ":", text.strip().lower())


def _read_resolution(text: str, _: str) -> tuple[str, str]:
    """Return a text given as ``resolution`` as that field writes it (``Full HD`` and ``1080`` -> ``1080p``)."""
    compact = re.sub(r"[\s_-]", "", text.lower())
    return "resolution", _TIERS.get(compact) or (f"{compact}p" if re.fullmatch(r"[1-9][0-9]{2,3}", compact) else text)


#: Field -> a function that returns the field that a text given as it belongs to, and the value as that field writes it; it takes the
#: medium as well.
SHAPE_READERS: Mapping[str, Callable[[str, str], tuple[str, str]]] = {
    "size": _read_size,
    "aspect_ratio": _read_aspect_ratio,
    "resolution": _read_resolution,
}


def size_problem(value: Any) -> str | None:
    """Return what is wrong with a size in any of its spellings, or None."""
    field, text = _read_size(value, "image") if isinstance(value, str) and len(value) < 100 else ("size", value)
    problem = {"size": check_size, "aspect_ratio": check_aspect_ratio, "resolution": check_text}[field](text)
    return check_size(value) if problem is not None and field == "size" else problem


def aspect_ratio_problem(value: Any) -> str | None:
    """Return what is wrong with an aspect ratio in any of its spellings, or None."""
    return check_aspect_ratio(_read_aspect_ratio(value, "image")[1] if isinstance(value, str) and len(value) < 100 else value)
