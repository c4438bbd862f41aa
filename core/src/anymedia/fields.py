"""Names of operations, roles and mask modes, and how a request field is declared: its role, checks and meaning.

The roles are used by the planner, the docs, the tool schemas and the conformance kit, so they are written once, as
attrs metadata of the request classes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from .credentials import Secret
from .errors import InvalidRequest, Problem, did_you_mean, shown
from .formatting import in_digits
from .media import FORMATS, path_of
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
