"""How a field of `GenerationConfig` is declared, and the checks those fields share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from .fields import Check, check_text, one_of

__all__ = [
    "AMBIENT",
    "check_classes",
    "check_flag",
    "check_images",
    "check_output",
    "check_path",
    "each",
    "field",
    "file",
    "format_name",
    "listed",
    "word",
]

#: Fields that say where a call goes and what it may do; all others become part of the request.
AMBIENT = frozenset(
    {"output_path", "overwrite", "media_type", "backend", "model", "strict", "fallback", "prefer", "max_cost_usd", "preview", "bridge"}
)
_MAX_ITEMS = 100
_MAX_PATH = 4096
_MAX_CLASS = 10_000


def field(doc: str, check: Check | None = None, *, converter: Callable[[Any], Any] | None = None, **options: Any) -> Any:
    """Declare a field: its meaning in one line, a check for the value, what makes the value of what was given."""
    return attrs.field(**{"default": None, **options}, converter=converter, metadata={"doc": doc, "check": check})


def word(doc: str, *allowed: str) -> Any:
    """Declare a field that takes one of a closed set of words, in any case."""
    return field(doc, one_of(*allowed), converter=lambda value: value.lower() if isinstance(value, str) else value)


def file(doc: str) -> Any:
    """Declare a field that takes the path of a local file."""
    return field(doc, check_path, converter=lambda value: Path(value) if isinstance(value, str) and value.strip() else value)


def listed(value: Any) -> Any:
    """Keep a list as a tuple; anything else is left for the check to refuse."""
    return tuple(value) if isinstance(value, list) else value


def format_name(text: Any) -> Any:
    """Return a file format as `anymedia.media.FORMATS` names it: ``.JPG`` -> ``jpeg``."""
    if not isinstance(text, str):
        return text
    name = text.lower().removeprefix(".")
    return {"jpg": "jpeg", "jpe": "jpeg", "tif": "tiff", "oga": "ogg", "wave": "wav"}.get(name, name)


def check_path(value: Any) -> str | None:
    """A path of a local file (a URL goes into ``input_images``)."""
    if not isinstance(value, str | Path):
        return f"expected a file path, got {type(value).__name__}"
    text = str(value)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", text):
        return "expected a file path, not a URL"
    if len(text) > _MAX_PATH:
        return f"is longer than {_MAX_PATH} characters"
    return "expected a file path" if text.strip() in {"", "."} else check_text(text)


def check_output(value: Any) -> str | None:
    """A path to write to: a file, or a directory."""
    return None if value in {".", "./"} else check_path(value)


def check_flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else f"expected true or false, got {type(value).__name__}"


def each(check: Check) -> Check:
    """Make a check for a list out of one for its items."""

    def check_all(value: Any) -> str | None:
        if not isinstance(value, tuple):
            return f"expected a list, got {type(value).__name__}"
        if len(value) > _MAX_ITEMS:
            return f"has {len(value)} items; at most {_MAX_ITEMS} are taken"
        return next((f"item {i}: {wrong}" for i, item in enumerate(value) if (wrong := check(item)) is not None), None)

    return check_all


def _image_problem(item: Any) -> str | None:
    given = {"path": item} if isinstance(item, str | Path) else item
    if not isinstance(given, Mapping) or len(given) != 1 or not set(given) <= {"path", "image_url", "url"}:
        return "expected a path, {'path': ...} or {'image_url': ...}"
    ((key, text),) = given.items()
    if not isinstance(text, str | Path) or not str(text).strip() or "\0" in str(text)[:_MAX_PATH]:
        return "expected a path or a URL as text"
    is_url = bool(re.match(r"https?://|data:", str(text), re.IGNORECASE))
    if key != "path" and not is_url:
        return f"{key}: expected an http(s) or data: URL; a local file goes under 'path'"
    if isinstance(item, Mapping) and key == "path":
        return "path: expected a file path; a URL goes under 'image_url'" if is_url else check_path(text)
    return None if is_url else check_path(text)


def _class_problem(item: Any) -> str | None:
    fits = isinstance(item, int) and not isinstance(item, bool) and 0 <= item < _MAX_CLASS
    return None if fits else f"expected a class number from 0 to {_MAX_CLASS - 1}"


check_images = each(_image_problem)
check_classes = each(_class_problem)
