"""What the written pages have in common: docstrings taken apart, tables of attributes, calls as they are written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

__all__ = ["NOTE", "called", "default", "function", "listed", "record", "summary", "told"]

NOTE = "<!-- Written by `python -m tools.docs docs`; edit the code instead. -->\n"
_SECTION = re.compile(r"\n\n(Args|Attributes|Raises):\n")


def summary(thing: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return inspect.cleandoc(thing.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def default(field: attrs.Attribute[Any]) -> str:
    """Return a field's default as a table shows it."""
    if field.default is attrs.NOTHING:
        return "must be given"
    if hasattr(field.default, "factory"):
        return "empty"
    value = field.default
    return "none" if value is None else "empty" if value in ((), "") else f"`{value!r}`" if not attrs.has(type(value)) else "as below"


def told(cls: type) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the whole, and what of each attribute."""
    prose, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("\n\nAttributes:\n")
    return prose.replace("``", "`"), {name: said.replace("|", "\\|") for name, said in _items(attributes).items()}


def _items(text: str) -> dict[str, str]:
    """Return the ``name: what it is`` lines of a section; several names may share a line."""
    parts = re.findall(r"^    ([\w., ]+): (.*(?:\n     .*)*)", text, re.MULTILINE)
    return {name: " ".join(said.split()).replace("``", "`") for names, said in parts for name in names.split(", ")}


def listed(text: str) -> list[str]:
    """Return a list of a docstring's ``name: what it is`` lines."""
    return [f"- `{name}`: {said}" for name, said in _items(text).items()]


def called(made: Callable[..., Any]) -> str:
    """Return the parameters of a function or a class as they are written in a call, each with its default."""
    parts, starred = [], False
    for parameter in inspect.signature(made).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        parts.append(parameter.name if parameter.default is parameter.empty else f"{parameter.name}={_value(parameter.default)}")
    return ", ".join(parts)


def _value(value: Any) -> str:
    return "..." if value is attrs.NOTHING else repr(value)


def function(name: str, made: Callable[..., Any], *, level: int = 3, awaited: bool | None = None) -> Iterator[str]:
    """Yield the lines of a function: how it is called, what it does, its arguments, what it raises."""
    word = "await " if (inspect.iscoroutinefunction(made) if awaited is None else awaited) else ""
    yield f"{'#' * level} `{word}{name}({called(made)})`\n"
    prose, *sections = _SECTION.split(inspect.cleandoc(made.__doc__ or ""))
    yield prose.replace("``", "`") + "\n"
    for kind, text in zip(sections[::2], sections[1::2], strict=True):
        rest = text.partition("\n\n")[0]
        yield from [*(["Raises:\n"] if kind == "Raises" else []), *listed(rest), ""] if _items(rest) else ()


def record(cls: type, *, hidden: Mapping[str, str] | tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the lines of a record: what it is, and a table of its fields."""
    prose, said = told(cls)
    yield f"### `{cls.__name__}`\n"
    yield prose + "\n"
    rows = [field for field in attrs.fields(cls) if field.init and not field.name.startswith("_") and field.name not in hidden]
    if any(field.name in said for field in rows):
        yield "| field | default | meaning |\n|---|---|---|"
        for field in rows:
            yield f"| `{field.name}` | {default(field)} | {said.get(field.name, '')} |"
    else:
        yield "| field | default |\n|---|---|"
        for field in rows:
            yield f"| `{field.name}` | {default(field)} |"
    yield ""
