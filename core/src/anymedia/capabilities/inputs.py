"""Reading the small tables of an operation row: one option, one input, one rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import did_you_mean
from ..media import FORMATS
from .options import Anything, Choice, Option, Pixels, Range, Text
from .rows import ContinueRule, Fidelity, InputRule, MaskRule, ReferencesRule, Rule
from .table import Table

__all__ = ["read_conditions", "read_input", "read_option", "read_rule"]

_PIXEL_KEYS = {"multiple_of", "min_edge", "max_edge", "max_ratio", "pixels", "auto"}
_JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object")


def read_option(table: Table, kind: type | None = None) -> Any:
    """Read one option; which kind it is follows from its keys."""
    keys = set(table.left())
    doc = table.take("doc", str, "")
    default = table.take("default", (str, int, float, bool, list, dict), None)
    found: Option
    if "one_of" in keys:
        values = table.take("one_of", list)
        if not values:
            table.fail("one_of: expected at least one value")
        fixed = table.take("fixed", bool, False)
        found = Choice(one_of=tuple(values), fixed=fixed, default=default, doc=doc)
    elif {"min", "max"} & keys:
        low, high = table.need("min", (int, float)), table.need("max", (int, float))
        if low > high:
            table.fail("min is above max")
        found = Range(min=low, max=high, step=_above_zero(table, "step", None), default=default, doc=doc)
    elif keys & _PIXEL_KEYS:
        found = _read_pixels(table, default, doc)
    elif "type" in keys and kind is None:
        found = Anything(type=table.word("type", _JSON_TYPES, "string"), default=default, doc=doc)
    else:
        found = Text(max_chars=table.take("max_chars", int), default=default, doc=doc)
    table.done()
    if kind is not None and not isinstance(found, kind):
        table.fail(f"expected {kind.__name__}, got {type(found).__name__}")
    if default is not None and (wrong := found.problem(default)):
        table.fail(f"default: {wrong}")
    return found


def _above_zero(table: Table, key: str, default: Any, kind: type | tuple[type, ...] = (int, float)) -> Any:
    value = table.take(key, kind, default)
    if value is not None and not value > 0:
        table.fail(f"{key}: must be above 0, not {value!r}")
    return value


def _read_pixels(table: Table, default: Any, doc: str) -> Pixels:
    return Pixels(
        multiple_of=_above_zero(table, "multiple_of", 1, int),
        min_edge=_above_zero(table, "min_edge", 1, int),
        max_edge=_above_zero(table, "max_edge", 1_000_000, int),
        max_ratio=_above_zero(table, "max_ratio", None),
        pixels=table.pair("pixels"),
        auto=table.take("auto", bool, False),
        default=default,
        doc=doc,
    )


def read_input(key: str, table: Table, roles: Iterable[str], modes: Iterable[str]) -> Any:
    """Read the rule of one input field."""
    if key == "mask":
        return _read_mask(table, tuple(modes))
    if key == "continue_from":
        found = ContinueRule(ways=table.strings("ways"), seconds=table.pair("seconds"), doc=table.take("doc", str, ""))
        table.done()
        if not found.ways:
            table.fail("ways: expected at least one of extend, edit, remix, chat")
        return found
    if key == "references":
        return _read_references(table, tuple(roles))
    return _read_media(table)


def _read_fidelity(table: Table) -> Fidelity:
    inner = table.table("fidelity")
    if inner is None:
        return Fidelity()
    found = Fidelity(level=inner.word("level", ("native", "emulated"), "native"), note=inner.take("note", str, ""))
    inner.done()
    return found


def _read_media(table: Table) -> InputRule:
    formats = table.strings("formats")
    for name in formats:
        if name not in FORMATS:
            table.fail(f"formats: unknown format {name!r}{did_you_mean(name, FORMATS)}")
    count = table.pair("count", (0, 1))
    found = InputRule(
        count=(int(count[0]), int(count[1])),
        formats=formats,
        max_bytes=table.take("max_bytes", int),
        min_edge=table.take("min_edge", int),
        max_edge=table.take("max_edge", int),
        max_pixels=table.take("max_pixels", int),
        max_ratio=table.take("max_ratio", (int, float)),
        seconds=table.pair("seconds"),
        types=table.strings("types"),
        fidelity=_read_fidelity(table),
        doc=table.take("doc", str, ""),
    )
    table.done()
    return found


def _read_mask(table: Table, modes: tuple[Any, ...]) -> MaskRule:
    taken = table.strings("modes", ("user_provided",))
    for mode in taken:
        if mode not in modes:
            table.fail(f"modes: unknown mode {mode!r}{did_you_mean(mode, modes)}")
    found = MaskRule(
        format=table.word("format", ("alpha", "white", "black", "guidance"), "white"),
        modes=taken,  # type: ignore[arg-type]
        max_bytes=table.take("max_bytes", int),
        same_size=table.take("same_size", bool, True),
        classes=table.take("classes", int),
        fidelity=_read_fidelity(table),
        doc=table.take("doc", str, ""),
    )
    table.done()
    return found


def _read_references(table: Table, roles: tuple[str, ...]) -> ReferencesRule:
    inner = table.table("roles")
    taken = {} if inner is None else {key: inner.table(key) for key in inner.left()}
    for role in taken:
        if role not in roles:
            table.fail(f"roles: unknown role {role!r}{did_you_mean(role, roles)}")
    count = table.pair("count", (0, 1))
    found = ReferencesRule(
        count=(int(count[0]), int(count[1])),
        roles={role: _read_media(rule) for role, rule in taken.items() if rule is not None},
        max_total_bytes=table.take("max_total_bytes", int),
        doc=table.take("doc", str, ""),
    )
    table.done()
    return found


def read_conditions(table: Table | None, fields: set[str] | None = None) -> dict[str, Any]:
    """Read conditions on fields: true or false (given or not), a value, a list of values, or {min, max}."""
    found: dict[str, Any] = {}
    for key in table.left() if table is not None else []:
        assert table is not None
        if fields is not None and key not in fields and not key.startswith(("extra_params.", "references.")):
            table.fail(f"no field {key!r}{did_you_mean(key, fields)}")
        value = table.take(key, (bool, str, int, float, list, dict))
        if isinstance(value, dict):
            value = read_option(Table(value, f"{table.where}.{key}"))
        elif not isinstance(value, bool):
            value = tuple(value) if isinstance(value, list) else (value,)
        found[key] = value
    return found


def read_rule(table: Table, fields: set[str]) -> Rule:
    """Read one rule between fields."""
    rule = Rule(
        when=read_conditions(table.table("when"), fields),
        forbid=read_conditions(table.table("forbid"), fields),
        require=read_conditions(table.table("require"), fields),
        because=table.take("because", str, ""),
    )
    table.done()
    if not rule.because or bool(rule.forbid) == bool(rule.require):
        table.fail("a rule needs 'because' and one of 'forbid' and 'require'")
    return rule
