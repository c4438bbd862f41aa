"""Strict reading of untrusted JSON into attrs classes, without conversions.

Refused, with the path of each problem: text that is not JSON or not UTF-8, a key given twice, NaN and infinite
numbers, whole numbers beyond 64 bits, NUL bytes, lone surrogates, nesting deeper than 32, unknown keys (with a
did-you-mean), wrong types (no text for a number, no number for a text, no true for 1), null.
"""

from __future__ import annotations

import collections.abc
import functools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from .errors import InvalidRequest, Problem, did_you_mean

#: Longest JSON text taken, in bytes (a data: URI of a picture fits in).
MAX_JSON = 64 * 1024 * 1024
_MAX_DEPTH = 32
_MAX_INT = 2**64
_T = TypeVar("_T", bound=attrs.AttrsInstance)
_NAMES: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path as text",
    list: "a list",
    dict: "an object",
}


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        InvalidRequest: it is not JSON, or contains something that is refused (see above).
    """
    if len(text) > MAX_JSON:
        raise InvalidRequest(f"the JSON is {len(text)} bytes long; at most {MAX_JSON} are allowed")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        found = json.loads(decoded, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_int, parse_float=_float)
    except UnicodeDecodeError:
        raise InvalidRequest("the JSON is not UTF-8 text") from None
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    check_plain(found)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidRequest([Problem(path_below("$", twice), "is given twice")])
    return found


def _no_constant(name: str) -> Any:
    raise InvalidRequest(f"{name} is not a JSON number")


def _int(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > _MAX_INT:
        raise InvalidRequest(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise InvalidRequest(f"the number {text:.40} is too large")
    return number


def check_plain(value: Any) -> None:
    """Check that a value is plain JSON (paths are allowed), for values that did not come from `parse_json`.

    Raises:
        InvalidRequest: with the path to the first value that is not.
    """
    problem = next(plain_problems(value, "$", _MAX_DEPTH), None)
    if problem is not None:
        raise InvalidRequest([problem])


def plain_problems(value: Any, path: str, depth: int, others: tuple[type, ...] = (Path,)) -> Iterator[Problem]:
    """Yield what in a value at a path is not JSON, nested at most so deep; values of other types may be allowed."""
    if depth < 0:
        yield Problem(path, "is nested too deeply")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield Problem(path, f"has a key that is not text ({type(key).__name__})")
            elif (wrong := text_problem(key)) is not None:
                yield Problem(path, f"has a key that {wrong}")
            else:
                yield from plain_problems(inner, path_below(path, key), depth - 1, others)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from plain_problems(inner, f"{path}[{i}]", depth - 1, others)
    elif not isinstance(value, others) and (wrong := _scalar_problem(value)) is not None:
        yield Problem(path, wrong)


def _scalar_problem(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, int):
        return "is too large a number" if abs(value) > _MAX_INT else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a finite number"
    return f"is of type {type(value).__name__}, which JSON cannot hold"


def text_problem(text: str) -> str | None:
    """Return what is wrong with a text that cannot be sent, or None."""
    if "\0" in text:
        return "contains a NUL byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    return None


def path_below(path: str, key: str) -> str:
    """Return the path of a key; a key that is not a plain name is quoted and shortened, so that it cannot imitate a path."""
    if key.isascii() and key.isidentifier() and len(key) <= 60:
        return f"{path}.{key}"
    return f"{path}[{key[:60]!a}]"


def read_object(cls: type[_T], value: Any) -> _T:
    """Return an object of an attrs class from a parsed JSON object, strictly.

    Raises:
        InvalidRequest: with every problem and its path.
    """
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"expected a JSON object, got {json_kind(value)}")
    check_plain(value)
    nulls = [Problem(path_below("$", key), "null is not a value", "leave the field out") for key, inner in value.items() if inner is None]
    if nulls:
        raise InvalidRequest(nulls)
    from cattrs.errors import ClassValidationError

    try:
        return _converter().structure(dict(value), cls)  # type: ignore[no-any-return]
    except ClassValidationError as error:
        raise InvalidRequest(list(_problems(error, "$"))) from None


@functools.cache
def _converter() -> Any:
    """Return the converter. Order matters: later hooks are built with those registered before."""
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exact(kind, kind))
    converter.register_structure_hook(float, _exact(float, int, float))
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook_func(_is(tuple), _tuple_hook(converter))
    converter.register_structure_hook_func(_is(Mapping, collections.abc.Mapping), _mapping)
    return converter


def _is(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: typing.get_origin(kind) in origins


def _exact(wanted: type, *kinds: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise wrong_type(value, wanted)
        return value

    return hook


def _path(value: Any, _: Any) -> Path:
    if not isinstance(value, str | Path):
        raise wrong_type(value, Path)
    if not str(value).strip():
        raise TypeError("must not be empty")
    return Path(value)


def _tuple_hook(converter: Any) -> Callable[[Any, Any], tuple[Any, ...]]:
    def hook(value: Any, kind: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise wrong_type(value, list)
        return tuple(converter.structure(value, types.GenericAlias(list, typing.get_args(kind)[:1])))

    return hook


def _mapping(value: Any, _: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong_type(value, dict)
    return dict(value)


def wrong_type(value: Any, wanted: type) -> InvalidRequest:
    """Return the error for a value whose type is not ``wanted`` (str, int, float, bool, Path, list or dict), with a suggestion."""
    return InvalidRequest([Problem("$", f"expected {_NAMES[wanted]}, got {json_kind(value)}", _instead(value, wanted))])


def _instead(value: Any, wanted: type) -> str:
    """Return how to write a value that is nearly right; an empty string where that would be a guess."""
    text = value.strip() if isinstance(value, str) else ""
    if wanted is list and isinstance(value, Mapping):
        return "write [{...}]"
    if wanted in {list, dict}:
        if text.startswith("[" if wanted is list else "{"):
            return f"give the {'list' if wanted is list else 'object'} itself, not a text that holds it"
        return f"write [{json.dumps(text[:100])}]" if wanted is list and text else ""
    if wanted is bool:
        return f"write {text.lower()}, without quotes" if text.lower() in {"true", "false"} else ""
    if wanted is int and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if wanted in {int, float} and (number := re.match(r"-?\d{1,15}(?:\.\d{1,15})?", text)):
        return f"write {number[0]}, without quotes" if wanted is float or "." not in number[0] else ""
    return ""


def json_kind(value: Any) -> str:
    """Name a value's type as JSON calls it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names: tuple[tuple[type | types.UnionType, str], ...] = (
        (str, "text"),
        (int | float, "a number"),
        (Mapping, "an object"),
        (list | tuple, "a list"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def _problems(error: BaseException, path: str) -> Iterator[Problem]:
    """Yield the problems in an exception of cattrs, each with its path."""
    from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

    if isinstance(error, ClassValidationError):
        attributes, others = error.group_exceptions()
        for inner, attribute in attributes:
            yield from _problems(inner, path_below(path, attribute.name))
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}[{item.index}]")
    elif isinstance(error, ForbiddenExtraKeysError):
        yield from _unknown_keys(error.extra_fields, path, error.cl)
    elif isinstance(error, InvalidRequest):
        yield from (Problem(path + p.path.removeprefix("$"), p.message, p.suggestion) for p in error.problems)
    elif isinstance(error, KeyError):
        yield Problem(path, "is missing")
    else:
        yield Problem(path, str(error)[:300])


def _unknown_keys(keys: Iterable[str], path: str, cls: Any) -> Iterator[Problem]:
    known = [field.name for field in attrs.fields(cls)]
    for key in sorted(keys):
        near = did_you_mean(key[:60], known).removeprefix("; ")
        yield Problem(path_below(path, key), "there is no such field", near)
