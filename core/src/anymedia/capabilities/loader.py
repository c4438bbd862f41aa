"""Read a `CapabilityMatrix` from `capabilities.toml`; report every mistake with file, model and field."""

from __future__ import annotations

import datetime
import keyword
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from ..errors import PluginContractError, did_you_mean
from ..media import FORMATS
from ..operations import INPUTS, MASK_MODES, REFERENCE_ROLES, Operation
from ..requests import KINDS
from .model import (
    CapabilityMatrix,
    ContinueRule,
    CredentialSet,
    Fidelity,
    InputRule,
    Lifecycle,
    MaskRule,
    ModelSpec,
    OperationSpec,
    Price,
    ReferencesRule,
    Requirement,
    Rule,
    TypicalSeconds,
)
from .options import Anything, Choice, Option, Pixels, Range, Text
from .table import Table

__all__ = [
    "parse_matrix",
    "read_conditions",
    "read_input",
    "read_matrix",
    "read_option",
    "read_rule",
]

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


SCHEMA = 1
#: Request fields that the core itself takes care of, so that no row needs to speak of them.
CORE_FIELDS = frozenset({"prompt", "extra_params", "edit_mode", "protect", "continue_as", "audio_type"})
_OPERATIONS: tuple[Operation, ...] = get_args(Operation)


def read_matrix(path: Path) -> CapabilityMatrix:
    """Read a capability file.

    Raises:
        PluginContractError: with file, row and field, for a malformed file.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PluginContractError(f"{path.name}: {error}") from error
    return parse_matrix(raw, path.name)


def parse_matrix(raw: Mapping[str, Any], name: str) -> CapabilityMatrix:
    """Turn a parsed capability document (TOML or JSON) into a matrix; ``name`` stands in error messages."""
    top = Table(raw, name)
    if (schema := top.need("schema", int)) != SCHEMA:
        top.fail(f"schema: this version reads {SCHEMA}, not {schema}")
    models = _inherit(top.take("models", list, []), name)
    matrix = CapabilityMatrix(
        checked=_date(top, "checked"),
        services=top.strings("services"),
        credentials=tuple(_credential_set(t) for t in top.tables("credentials")),
        hosts=top.strings("hosts"),
        base_url_env=top.strings("base_url_env"),
        first_party=top.take("first_party", bool, True),
        last_resort=top.take("last_resort", bool, False),
        disclosure=top.take("disclosure", str, ""),
        models=tuple(_model(row, f"{name}: {row.get('id', '?')}") for row in models),
    )
    top.done()
    _check_names(matrix, name)
    return matrix


def _check_names(matrix: CapabilityMatrix, name: str) -> None:
    taken: dict[tuple[str, str], ModelSpec] = {}
    ids = {row.id for row in matrix.models}
    for row in matrix.models:
        for service in row.services or matrix.services or ("",):
            if service and service not in matrix.services:
                raise PluginContractError(f"{name}: {row.id}: services: {service!r} is not among {list(matrix.services)}")
            for label in (row.id, *row.aliases):
                if (other_row := taken.setdefault((service, label), row)) is not row:
                    twice = "there are two rows of this name" if row.id == other_row.id else f"{label!r} already names {other_row.id!r}"
                    raise PluginContractError(f"{name}: {row.id}: {twice}")
        for other in row.continues_with:
            if other not in ids:
                raise PluginContractError(f"{name}: {row.id}: continues_with: no row {other!r}{did_you_mean(other, ids)}")


def _inherit(rows: Iterable[Any], name: str) -> list[dict[str, Any]]:
    """Resolve ``like`` between models and between a model's operations; ``without`` drops what is inherited."""
    done: dict[str, dict[str, Any]] = {}
    found = []
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("id"), str):
            raise PluginContractError(f"{name}: each row of models needs an id")
        own = {k: v for k, v in row.items() if k not in {"like", "without"}}
        if "like" in row:
            if not isinstance(row["like"], str) or row["like"] not in done:
                raise PluginContractError(
                    f"{name}: {row['id']}: like: no earlier row {row['like']!r}{did_you_mean(str(row['like']), done)}"
                )
            base = {k: v for k, v in done[row["like"]].items() if k not in {"aliases", "lifecycle"}}
            own = _merge(base, own, f"{name}: {row['id']}", row)
        done[row["id"]] = own
        found.append(_inherit_operations(own, f"{name}: {row['id']}"))
    return found


def _inherit_operations(model: dict[str, Any], where: str) -> dict[str, Any]:
    out = dict(model)
    for operation in _OPERATIONS:
        row = out.get(operation)
        seen: set[str] = {operation}
        while isinstance(row, dict) and "like" in row:
            other = row["like"]
            if not isinstance(other, str) or other in seen or not isinstance(out.get(other), dict):
                theirs = ", ".join(name for name in _OPERATIONS if name in out and name != operation) or "none"
                hint = "an operation is like another of the same model, and a model like another model"
                raise PluginContractError(f"{where}.{operation}: like: no operation {other!r} to be like (there are: {theirs}); {hint}")
            seen.add(other)
            own = {k: v for k, v in row.items() if k not in {"like", "without"}}
            row = _merge(out[other], own, f"{where}.{operation}", row)
        if row is not None:
            out[operation] = row
    return out


def _merge(base: Mapping[str, Any], own: Mapping[str, Any], where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Put ``own`` over ``base``, from which goes what ``without`` in the table (``own`` as it was written) names."""
    dropped = Table(table, where).strings("without")
    merged = {k: v for k, v in base.items() if k not in dropped}
    for key, value in own.items():
        # An operation is refined key by key; any other value is replaced whole.
        if key in _OPERATIONS and isinstance(value, dict) and isinstance(merged.get(key), dict) and "like" not in value:
            merged[key] = _merge(merged[key], {k: v for k, v in value.items() if k != "without"}, f"{where}.{key}", value)
        else:
            merged[key] = value
    return merged


def _model(raw: Mapping[str, Any], where: str) -> ModelSpec:
    table = Table(raw, where)
    prices = tuple(_price(t) for t in table.tables("prices"))
    typical = _typical(table)
    operations: dict[Operation, OperationSpec] = {}
    for operation in _OPERATIONS:
        if (inner := table.table(operation)) is not None:
            row = _operation(inner, operation)
            operations[operation] = attrs.evolve(row, prices=row.prices or prices, typical_seconds=row.typical_seconds or typical)
    model = ModelSpec(
        id=table.need("id", str),
        media=table.word("media", ("image", "video", "audio"), "image"),
        rank=table.take("rank", int, 100),
        aliases=table.strings("aliases"),
        services=table.strings("services"),
        preview=table.take("preview", bool, False),
        requires=_requirement(table.table("requires")),
        lifecycle=_lifecycle(table.table("lifecycle")),
        continuation_prefix=table.take("continuation_prefix", str, ""),
        continues_with=table.strings("continues_with"),
        wire=dict(table.take("wire", Mapping, {})),
        note=table.take("note", str, ""),
        operations=operations,
    )
    table.done()
    return model


def _operation(table: Table, operation: Operation) -> OperationSpec:
    fields = {field.name for field in attrs.fields(KINDS[operation])}
    prompt = table.table("prompt")
    extra = table.table("extra_params")
    found = {
        "prompt": Text() if prompt is None else read_option(prompt, Text),
        "extra_params": {} if extra is None else {key: _need_option(extra, key) for key in extra.left()},
        "rules": tuple(read_rule(t, fields) for t in table.tables("rules")),
        "fidelity": _fidelity(table.table("fidelity")),
        "prices": tuple(_price(t) for t in table.tables("prices")),
        "typical_seconds": _typical(table),
        "wire": dict(table.take("wire", Mapping, {})),
        "note": table.take("note", str, ""),
    }
    inputs, options = {}, {}
    for key in table.left():
        inner = table.table(key)
        assert inner is not None
        if key in INPUTS & fields:
            inputs[key] = read_input(key, inner, REFERENCE_ROLES, MASK_MODES)
        elif key in fields - CORE_FIELDS or key in {"audio_type", "edit_mode"} & fields:
            options[key] = read_option(inner)
        else:
            table.fail(f"{operation} has no field {key!r}{did_you_mean(key, fields)}")
    table.done()
    return OperationSpec(operation=operation, inputs=inputs, options=options, **found)


def _need_option(table: Table, key: str) -> Any:
    inner = table.table(key)
    assert inner is not None
    return read_option(inner)


def _date(table: Table, key: str) -> datetime.date | None:
    value = table.take(key, (datetime.date, str), None)
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            table.fail(f"{key}: expected a date like 2026-11-21, got {value!r}")
    found: datetime.date | None = value
    return found


def _requirement(table: Table | None) -> Requirement | None:
    if table is None:
        return None
    found = Requirement(module=table.need("module", str), install=table.need("install", str).strip())
    if not found.module.isidentifier() or keyword.iskeyword(found.module):
        # looking for a submodule would import what it lies in
        table.fail(f"module: expected the name of one top-level module, got {found.module!r:.80}")
    if not found.install or not found.install.isprintable():
        table.fail(f"install: expected a command, on one line, got {found.install!r:.80}")
    table.done()
    return found


def _lifecycle(table: Table | None) -> Lifecycle:
    if table is None:
        return Lifecycle()
    life = Lifecycle(
        released=_date(table, "released"),
        deprecated=_date(table, "deprecated"),
        retires=_date(table, "retires"),
        certainty=table.word("certainty", ("firm", "earliest", "reported"), "reported"),
        replacement=table.take("replacement", str, None),
        source=table.take("source", str, ""),
        checked=_date(table, "checked"),
    )
    table.done()
    return life


def _fidelity(table: Table | None) -> Fidelity:
    if table is None:
        return Fidelity()
    found = Fidelity(level=table.word("level", ("native", "emulated"), "native"), note=table.take("note", str, ""))
    if found.level == "emulated" and not found.note:
        table.fail("an emulated row needs a note that says what is lost")
    table.done()
    return found


def _usd(table: Table) -> tuple[float, float]:
    pair = table.pair("usd")
    if pair is None:
        table.fail("usd is missing")
    return float(pair[0]), float(pair[1])


def _price(table: Table) -> Price:
    price = Price(
        per=table.word("per", ("call", "image", "second", "input_image", "1k_chars", "megapixel"), "call"),
        usd=_usd(table),
        when=read_conditions(table.table("when")),
        basis=table.take("basis", str, ""),
        source=table.take("source", str, ""),
        checked=_date(table, "checked"),
    )
    table.done()
    return price


def _typical(table: Table) -> TypicalSeconds | None:
    inner = table.table("typical_seconds")
    if inner is None:
        return None
    found = TypicalSeconds(median=float(inner.need("median", (int, float))), p95=float(inner.need("p95", (int, float))))
    inner.done()
    if not 0 < found.median <= found.p95:
        inner.fail("expected 0 < median <= p95")
    return found


def _credential_set(table: Table) -> CredentialSet:
    service = table.take("service", str, "")
    inner = table.table("names")
    if inner is None:
        table.fail("names is missing")
    names = {key: inner.strings(key) for key in inner.left()}
    public = table.strings("public")
    for name in public:
        if name not in names:
            table.fail(f"public: no name {name!r}{did_you_mean(name, names)}")
    table.done()
    return CredentialSet(names=names, service=service, public=public)
