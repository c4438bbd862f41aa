"""Names of operations, roles and mask modes, how a request field is declared, and other ways to write its values.

The roles are used by the planner, the docs, the tool schemas and the conformance kit, so they are written once, as
attrs metadata of the request classes.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from .credentials import Secret
from .errors import InvalidRequest, Problem, did_you_mean, shown
from .formatting import in_digits
from .media import FORMATS, format_of, path_of
from .strict_json import plain_problems, text_problem

Operation = Literal["generate_image", "inpaint", "edit_with_references", "generate_video", "continue_video", "generate_audio", "transform"]
ReferenceRole = Literal["source", "style", "control", "subject"]
MaskMode = Literal["user_provided", "foreground", "background", "semantic"]
Way = Literal["extend", "edit", "remix"]

#: Request fields with images, videos, masks or continuations; all other fields except prompt are options.
INPUTS = frozenset({"source", "mask", "references", "first_frame", "last_frame", "continue_from", "inputs"})

REFERENCE_ROLES: tuple[ReferenceRole, ...] = ("source", "style", "control", "subject")
MASK_MODES: tuple[MaskMode, ...] = ("user_provided", "foreground", "background", "semantic")


_T = TypeVar("_T")
Role = Literal["intent", "adjustable", "advisory"]
Check = Callable[[Any], str | None]

#: Maximum length of a text, in characters; a model's own, lower limit is in its matrix.
MAX_TEXT = 200_000
_MAX_DEPTH = 20
_MAX_ITEMS = 100
_MAX_PATH = 4096
_MAX_CLASS = 10_000
#: Keys of an image given as an object, one of which it has.
IMAGE_KEYS = frozenset({"path", "image_url", "url"})


def _field(role: Role, doc: str, check: Check | None = None, default: Any = None, converter: Callable[[Any], Any] | None = None) -> Any:
    metadata = {"role": role, "doc": doc, "check": check}
    if converter is not None:
        convert = converter
        converter = attrs.Converter(lambda value, field: converted(value, convert, field.name), takes_field=True)  # type: ignore[assignment]
    return attrs.field(default=default, metadata=metadata, converter=converter)


def converted(value: Any, converter: Callable[[Any], _T], name: str) -> _T:
    """Return the converted value of a field; a problem of the value is located at the field."""
    try:
        return converter(value)
    except InvalidRequest as error:
        raise error.at(f"$.{name}") from None


#: Declares a field that is honoured, or the candidate is rejected.
intent = functools.partial(_field, "intent")
#: Declares a field that may change to the nearest allowed value; the change is always reported.
adjustable = functools.partial(_field, "adjustable")
#: Declares a field that is sent if supported and else omitted, which is always reported.
advisory = functools.partial(_field, "advisory")


def role_of(field: attrs.Attribute[Any]) -> Role:
    """Return the role a request field was declared with."""
    role: Role = field.metadata["role"]
    return role


def is_set(request: attrs.AttrsInstance, name: str) -> bool:
    """Return whether a request field differs from its default (a field without a default is always set)."""
    field: attrs.Attribute[Any] = getattr(attrs.fields(type(request)), name)
    return bool(getattr(request, name) != unset_value(field))


def unset_value(field: attrs.Attribute[Any]) -> Any:
    """Return the default value of a request field; ``attrs.NOTHING`` if it must be set."""
    factory = getattr(field.default, "factory", None)
    return factory() if factory else field.default


@functools.cache
def _names(cls: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))  # type: ignore[arg-type]


def names_of(thing: attrs.AttrsInstance) -> tuple[str, ...]:
    """Return the names of a record's fields, in order."""
    return _names(type(thing))


@functools.cache
def _checks(cls: Hashable) -> tuple[tuple[str, bool, Check], ...]:
    """Return the name, whether None means unset, and the check of each field that has a check."""
    found = [(field.name, field.default is None, field.metadata["check"]) for field in attrs.fields(cls)]  # type: ignore[arg-type]
    return tuple((name, optional, check) for name, optional, check in found if check is not None)


def check_request(request: Any) -> None:
    """Run each field's check; raise one InvalidRequest that lists every problem with its path."""
    problems = []
    for name, optional, check in _checks(type(request)):  # type: ignore[arg-type]
        value = getattr(request, name)
        if value is None:
            if not optional:
                problems.append(Problem(f"$.{name}", "is missing"))
        elif message := check(value):
            problems.append(Problem(f"$.{name}", message))
    if problems:
        raise InvalidRequest(problems)


def check_text(value: Any) -> str | None:
    """A non-empty text of limited length, without NUL bytes."""
    if not isinstance(value, str):
        return f"expected text, got {type(value).__name__}"
    if not value.strip():
        return "must not be empty"
    if len(value) > MAX_TEXT:
        return f"is {len(value)} characters long; at most {MAX_TEXT} are allowed"
    return text_problem(value)


def check_size(value: Any) -> str | None:
    """``WIDTHxHEIGHT`` in pixels, or ``auto``."""
    if value == "auto":
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", value):
        return f"expected WIDTHxHEIGHT in pixels like '1024x1024', or 'auto', got {shown(value)}{_size_meant(value)}"
    return None


def _size_meant(value: Any) -> str:
    """Return ``; write '64x64'`` for a size in another notation."""
    edges = re.findall(r"\d+", value) if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    pixels = [int(edge) for edge in edges if (len(edge) < 20 if isinstance(edge, str) else type(edge) is int and edge < 10**9)]
    if not 0 < len(pixels) == len(edges) < 3 or (isinstance(value, str) and not re.fullmatch(r"\d+(\D{1,4}\d+)?", value.strip())):
        return ""
    if not all(0 < edge < 1_000_000 for edge in pixels):
        return "; an edge has 1 to 999999 pixels"
    return f"; write '{pixels[0]}x{pixels[-1]}'"


def check_aspect_ratio(value: Any) -> str | None:
    """``W:H`` (decimals allowed), or ``auto``."""
    if value == "auto":
        return None
    number = r"(?:[1-9][0-9]{0,3}|0)(?:\.[0-9]{1,4})?"
    if not isinstance(value, str) or not re.fullmatch(f"{number}:{number}", value) or 0.0 in map(float, value.split(":")):
        meant = re.fullmatch(r"(\d+) *[x*×/] *(\d+)", value) if isinstance(value, str) else None
        return f"expected W:H like '16:9', or 'auto', got {shown(value)}" + (f"; write '{meant[1]}:{meant[2]}'" if meant else "")
    return None


def check_format(value: Any) -> str | None:
    """A known file format."""
    if isinstance(value, str) and value in FORMATS:
        return None
    near = did_you_mean(value[:60], FORMATS) if isinstance(value, str) else ""
    return f"expected one of {', '.join(FORMATS)}, got {shown(value)}{near}"


def check_path(value: Any) -> str | None:
    """A path of a local file, or its ``file:`` URL (any other URL goes into ``input_images``)."""
    if not isinstance(value, str | Path):
        return f"expected a file path, got {type(value).__name__}"
    text = path_of(str(value))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", text):
        return "expected a file path, not a URL"
    if len(text) > _MAX_PATH:
        return f"is longer than {_MAX_PATH} characters"
    return "expected a file path" if text.strip() in {"", "."} else check_text(text)


def check_output(value: Any) -> str | None:
    """A path to write to: a file or a directory."""
    return None if value in {".", "./"} else check_path(value)


#: The name of a task; the name of an input or option of a task, which may be a field of the provider.
TASK_NAME, OPTION_NAME = r"[a-z][a-z0-9_]{0,59}", r"[A-Za-z_][A-Za-z0-9_-]{0,79}"


def check_task(value: Any) -> str | None:
    """The name of a task."""
    fits = isinstance(value, str) and re.fullmatch(TASK_NAME, value)
    return None if fits else f"expected a name like 'upscale' or 'remove_background', got {shown(value)}"


def check_prompt(value: Any) -> str | None:
    """A text as of `check_text`, or an empty one."""
    return None if value == "" else check_text(value)


def check_flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else f"expected true or false, got {type(value).__name__}"


def check_each(check: Check) -> Check:
    """Return a check for a list from the check for its items."""

    def check_all(value: Any) -> str | None:
        if not isinstance(value, tuple):
            return f"expected a list, got {type(value).__name__}"
        if len(value) > _MAX_ITEMS:
            return f"has {len(value)} items; at most {_MAX_ITEMS} are allowed"
        return next((f"item {i}: {wrong}" for i, item in enumerate(value) if (wrong := check(item)) is not None), None)

    return check_all


def check_image(item: Any) -> str | None:
    """An image: a path, ``{'path': ...}`` or ``{'image_url': ...}``."""
    given = {"path": item} if isinstance(item, str | Path) else item
    if not isinstance(given, Mapping) or len(given) != 1 or not set(given) <= IMAGE_KEYS:
        return "expected a path, {'path': ...} or {'image_url': ...}"
    ((key, text),) = given.items()
    if not isinstance(text, str | Path) or not str(text).strip() or "\0" in str(text)[:_MAX_PATH]:
        return "expected a path or a URL as text"
    is_url = bool(re.match(r"\s*(?:https?://|data:)", str(text)[:64], re.IGNORECASE))
    if key != "path" and not is_url:
        return f"{key}: expected an http(s) or data: URL; a local file goes under 'path'"
    if isinstance(item, Mapping) and key == "path":
        return "path: expected a file path; a URL goes under 'image_url'" if is_url else check_path(text)
    return None if is_url else check_path(text)


def check_class(item: Any) -> str | None:
    """A segmentation class number."""
    fits = isinstance(item, int) and not isinstance(item, bool) and 0 <= item < _MAX_CLASS
    return None if fits else f"expected a class number from 0 to {_MAX_CLASS - 1}"


def one_of(*allowed: str) -> Check:
    """Return a check for a closed set of words."""

    def check(value: Any) -> str | None:
        return None if isinstance(value, str) and value in allowed else f"expected one of {', '.join(allowed)}, got {shown(value)}"

    return check


def in_range(low: float, high: float, *, integer: bool = False) -> Check:
    """Return a check for a finite number between two bounds, both included."""

    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or (integer and not isinstance(value, int)):
            return f"expected {'an integer' if integer else 'a number'}, got {type(value).__name__}"
        if not low <= value <= high:  # also refuses NaN
            return f"must be between {in_digits(low)} and {in_digits(high)}, got {shown(value)}"
        return None

    return check


def check_json(value: Any) -> str | None:
    """A JSON object: text keys, and only JSON values inside."""
    if not isinstance(value, Mapping):
        return f"expected a JSON object, got {type(value).__name__}"
    found = next(plain_problems(value, "", _MAX_DEPTH, (Secret,)), None)
    return None if found is None else f"{found.path} {found.message}".strip()


#: How callers write some values otherwise: names of enumerations, suffixes, ``480p`` or ``square`` as a size, ``"2"``.
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
