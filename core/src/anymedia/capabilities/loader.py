"""Read a `CapabilityMatrix` from `capabilities.toml`; every problem is reported with file, model and field."""

from __future__ import annotations

import datetime
import functools
import keyword
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import attrs

from ..errors import PluginContractError, did_you_mean
from ..fields import INPUTS, MASK_MODES, OPTION_NAME, REFERENCE_ROLES, TASK_NAME, Operation
from ..media import FORMATS
from ..network import HOST
from ..requests import KINDS
from ..table import Table
from .model import (
    BillingRule,
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

SCHEMA = 1
#: Request fields that the core handles itself; operation specs do not list them.
CORE_FIELDS = frozenset({"prompt", "extra_params", "edit_mode", "protect", "continue_as", "audio_type", "task", "inputs", "options"})
_OPERATIONS: tuple[Operation, ...] = get_args(Operation)
_T = TypeVar("_T")
#: Beginnings of the keys that conditions use for parts of a field.
_PARTS = ("extra_params.", "options.", "references.", "inputs.")
_PIXEL_KEYS = {"multiple_of", "min_edge", "max_edge", "max_ratio", "pixels", "auto"}
_JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object", "any", "secret")


def read_matrix(path: Path) -> CapabilityMatrix:
    """Read a capability file.

    Raises:
        PluginContractError: every problem with file, model and field.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PluginContractError(f"{path.name}: {error}") from error
    return parse_matrix(raw, path.name)


def parse_matrix(raw: Mapping[str, Any], name: str) -> CapabilityMatrix:
    """Turn a parsed capability document (TOML or JSON) into a matrix.

    Args:
        raw: the document.
        name: prefix of the messages, usually the file name.

    Raises:
        PluginContractError: every problem, with file, model and field.
    """
    top = Table(raw, name, [])
    if (schema := top.need("schema", int)) != SCHEMA:
        top.fail(f"schema: this version reads {SCHEMA}, not {schema}")
    models = _inherit(top.take("models", list, []), name)
    matrix = CapabilityMatrix(
        checked=_date(top, "checked"),
        services=top.strings("services"),
        credentials=_each(top, _credential_set, "credentials"),
        hosts=_hosts(top),
        base_url_env=top.strings("base_url_env"),
        first_party=top.take("first_party", bool, True),
        last_resort=top.take("last_resort", bool, False),
        on_demand=top.take("on_demand", bool, False),
        max_concurrent=_at_least_one(top, "max_concurrent"),
        disclosure=top.take("disclosure", str, ""),
        billing=_each(top, _billing_rule, "billing"),
        options=None if (own := top.table("options")) is None else _tables(own, _option),
        models=tuple(spec for model in models if (spec := top.attempt(_model, model, f"{name}: {model['id']}", top)) is not None),
    )
    top.done()
    if not top.problems:
        _check_names(matrix, top)
    top.raise_problems()
    return matrix


def _hosts(top: Table) -> tuple[str, ...]:
    """Read the hosts that may receive credentials."""
    found = top.strings("hosts")
    for host in found:
        if not re.fullmatch(HOST, host):
            top.report(f"hosts: expected a host like 'api.acme.com', 'api.acme.com:8443' or '*.acme.com', got {host!r:.80}")
    return found


def _at_least_one(table: Table, key: str) -> int | None:
    """Take a whole number of at least 1, or None where it is absent."""
    found: int | None = table.take(key, int)
    if found is not None and found < 1:
        table.report(f"{key}: expected at least 1, got {found}")
    return found


def _option(table: Table, kind: type | None = None) -> Any:
    """Read an option; its keys decide its type."""
    keys = set(table.left())
    common = {"doc": table.take("doc", str, ""), "required": table.take("required", bool, False)}
    default = common["default"] = table.take("default", (str, int, float, bool, list, dict), None)
    found: Option
    if "one_of" in keys:
        values = table.take("one_of", list)
        if not values:
            table.fail("one_of: expected at least one value")
        fixed = table.take("fixed", bool, False)
        found = Choice(one_of=tuple(values), fixed=fixed, **common)
    elif {"min", "max"} & keys:
        low, high = table.need("min", (int, float)), table.need("max", (int, float))
        if low > high:
            table.fail("min is above max")
        found = Range(min=low, max=high, step=_above_zero(table, "step", None), **common)
    elif keys & _PIXEL_KEYS:
        found = _pixels(table, common)
    elif "type" in keys and kind is None:
        found = Anything(type=table.word("type", _JSON_TYPES, "string"), **common)
    else:
        found = Text(max_chars=table.take("max_chars", int), **common)
    table.done()
    if kind is not None and not isinstance(found, kind):
        table.fail(f"expected {kind.__name__}, got {type(found).__name__}")
    if default is not None and (wrong := found.problem(default)):
        table.report(f"default: {wrong}")
    return found


def _above_zero(table: Table, key: str, default: Any, kind: type | tuple[type, ...] = (int, float)) -> Any:
    value = table.take(key, kind, default)
    if value is not None and not value > 0:
        table.report(f"{key}: must be above 0, not {value!r}")
        return default
    return value


def _pixels(table: Table, common: Mapping[str, Any]) -> Pixels:
    return Pixels(
        multiple_of=_above_zero(table, "multiple_of", 1, int),
        min_edge=_above_zero(table, "min_edge", 1, int),
        max_edge=_above_zero(table, "max_edge", 1_000_000, int),
        max_ratio=_above_zero(table, "max_ratio", None),
        pixels=table.pair("pixels"),
        auto=table.take("auto", bool, False),
        **common,
    )


def _input(table: Table, key: str) -> Any:
    """Read the rule of one input field."""
    if key == "mask":
        return _mask(table)
    if key == "continue_from":
        found = ContinueRule(ways=table.strings("ways"), seconds=table.pair("seconds"), doc=table.take("doc", str, ""))
        table.done()
        if not found.ways:
            table.fail("ways: expected at least one of extend, edit, remix, chat")
        return found
    if key == "references":
        return _references(table)
    return _media(table)


def _task_input(table: Table, role: str) -> InputRule | MaskRule:
    """Read the rule of one input of a task; it is required, unless its ``count`` begins with 0."""
    if role == "mask":
        return _mask(table)
    media = table.word("media", ("image", "video", "audio"), role if role in {"video", "audio"} else "image")
    return attrs.evolve(_media(table, (1, 1)), media=media)


def _media(table: Table, usual: tuple[int, int] = (0, 1)) -> InputRule:
    formats = table.strings("formats")
    for name in formats:
        if name not in FORMATS:
            table.report(f"formats: unknown format {name!r}{did_you_mean(name, FORMATS)}")
    count = table.pair("count", usual)
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
        fidelity=_nested(table, _fidelity, "fidelity") or Fidelity(),
        doc=table.take("doc", str, ""),
    )
    table.done()
    return found


def _mask(table: Table) -> MaskRule:
    modes = table.strings("modes", ("user_provided",))
    for mode in modes:
        if mode not in MASK_MODES:
            table.report(f"modes: unknown mode {mode!r}{did_you_mean(mode, MASK_MODES)}")
    found = MaskRule(
        format=table.word("format", ("alpha", "white", "black", "guidance"), "white"),
        modes=modes,  # type: ignore[arg-type]
        max_bytes=table.take("max_bytes", int),
        same_size=table.take("same_size", bool, True),
        classes=table.take("classes", int),
        fidelity=_nested(table, _fidelity, "fidelity") or Fidelity(),
        doc=table.take("doc", str, ""),
    )
    table.done()
    return found


def _references(table: Table) -> ReferencesRule:
    inner = table.table("roles")
    roles = {} if inner is None else _tables(inner, _media)
    for role in roles:
        if role not in REFERENCE_ROLES:
            table.report(f"roles: unknown role {role!r}{did_you_mean(role, REFERENCE_ROLES)}")
    count = table.pair("count", (0, 1))
    found = ReferencesRule(
        count=(int(count[0]), int(count[1])),
        roles=roles,
        max_total_bytes=table.take("max_total_bytes", int),
        doc=table.take("doc", str, ""),
    )
    table.done()
    return found


def _conditions(table: Table | None, fields: set[str] | None = None) -> dict[str, Any]:
    """Read conditions on fields: true or false (given or not), a value, a list of values, or {min, max}."""
    found: dict[str, Any] = {}
    for key in table.left() if table is not None else []:
        assert table is not None
        if fields is not None and key not in fields and not key.startswith(_PARTS):
            table.report(f"no field {key!r}{did_you_mean(key, fields)}")
        value = table.take(key, (bool, str, int, float, list, dict))
        if value is None:
            continue
        if isinstance(value, dict):
            value = _option(Table(value, f"{table.where}.{key}", table.problems))
        elif not isinstance(value, bool):
            value = tuple(value) if isinstance(value, list) else (value,)
        found[key] = value
    return found


def _rule(table: Table, fields: set[str]) -> Rule:
    """Read one rule between fields."""
    rule = Rule(
        when=_conditions(table.table("when"), fields),
        forbid=_conditions(table.table("forbid"), fields),
        require=_conditions(table.table("require"), fields),
        because=table.take("because", str, ""),
    )
    table.done()
    if not rule.because or bool(rule.forbid) == bool(rule.require):
        table.report("a rule needs 'because' and one of 'forbid' and 'require'")
    return rule


def _billing_rule(table: Table) -> BillingRule:
    """Read one rule about errors that are not charged."""
    operations = table.strings("operations")
    for name in operations:
        if name not in _OPERATIONS:
            table.report(f"operations: unknown operation {name!r}{did_you_mean(name, _OPERATIONS)}")
    statuses = table.need("statuses", list)
    if not statuses or not all(isinstance(status, int) and not isinstance(status, bool) for status in statuses):
        table.fail("statuses: expected at least one number")
    found = BillingRule(
        statuses=tuple(statuses),
        source=table.need("source", str),
        services=table.strings("services"),
        operations=operations,
        codes=table.strings("codes"),
        says=table.take("says", str, ""),
        evidence=table.word("evidence", ("documented", "reported"), "documented"),
        checked=_date(table, "checked"),
    )
    table.done()
    return found


def _check_names(matrix: CapabilityMatrix, top: Table) -> None:
    """Report names that are used twice or refer to nothing."""
    taken: dict[tuple[str, str], ModelSpec] = {}
    ids = {spec.id for spec in matrix.models}
    for spec in matrix.models:
        for service in spec.services or matrix.services or ("",):
            if service and service not in matrix.services:
                top.report(f"{spec.id}: services: {service!r} is not among {list(matrix.services)}")
            for label in (spec.id, *spec.aliases):
                if (other := taken.setdefault((service, label), spec)) is not spec:
                    twice = "two models have this id" if spec.id == other.id else f"{label!r} already names {other.id!r}"
                    top.report(f"{spec.id}: {twice}")
        for successor in spec.continues_with:
            if successor not in ids:
                problem = f"continues_with: no model {successor!r}{did_you_mean(successor, ids)}"
                top.report(f"{spec.id}: {problem}")


def _inherit(models: Iterable[Any], name: str) -> list[dict[str, Any]]:
    """Resolve ``like`` between models and between a model's operations; ``without`` removes what is inherited."""
    done: dict[str, dict[str, Any]] = {}
    found = []
    for model in models:
        if not isinstance(model, dict) or not isinstance(model.get("id"), str):
            raise PluginContractError(f"{name}: every model needs an id")
        where = f"{name}: {model['id']}"
        model = _flat(model)
        own = {k: v for k, v in model.items() if k not in {"like", "without"}}
        if "like" in model:
            other = model["like"]
            if not isinstance(other, str) or other not in done:
                raise PluginContractError(f"{where}: like: no earlier model {other!r}{did_you_mean(str(other), done)}")
            base = {k: v for k, v in done[other].items() if k not in {"aliases", "lifecycle"}}
            own = _merge(base, own, where, model)
        done[model["id"]] = own
        found.append(_inherit_operations(own, where))
    return found


def _flat(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model with the table of each task beside those of its other operations."""
    tasks = model.get("transform")
    if not isinstance(tasks, Mapping):
        return model
    return {k: v for k, v in model.items() if k != "transform"} | {f"transform.{task}": table for task, table in tasks.items()}


def _is_operation(key: str) -> bool:
    return key in _OPERATIONS or key.startswith("transform.")


def _inherit_operations(model: dict[str, Any], where: str) -> dict[str, Any]:
    out = dict(model)
    for operation in filter(_is_operation, model):
        spec = out.get(operation)
        seen: set[str] = {operation}
        while isinstance(spec, dict) and "like" in spec:
            other = spec["like"]
            other = f"transform.{other}" if f"transform.{other}" in out else other
            if not isinstance(other, str) or other in seen or not isinstance(out.get(other), dict):
                others = ", ".join(name for name in out if _is_operation(name) and name != operation) or "none"
                hint = "an operation can be like another one of the same model, and a model like another model"
                raise PluginContractError(f"{where}.{operation}: like: no operation {other!r} (available: {others}); {hint}")
            seen.add(other)
            own = {k: v for k, v in spec.items() if k not in {"like", "without"}}
            spec = _merge(out[other], own, f"{where}.{operation}", spec)
        if spec is not None:
            out[operation] = spec
    return out


def _merge(base: Mapping[str, Any], own: Mapping[str, Any], where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``own`` over ``base`` without the keys that ``without`` in the table (``own`` as written) lists."""
    dropped = Table(table, where).strings("without")
    merged = {k: v for k, v in base.items() if k not in dropped}
    for key, value in own.items():
        # An operation is refined key by key; any other value is replaced as a whole.
        if _is_operation(key) and isinstance(value, dict) and isinstance(merged.get(key), dict) and "like" not in value:
            merged[key] = _merge(merged[key], {k: v for k, v in value.items() if k != "without"}, f"{where}.{key}", value)
        else:
            merged[key] = value
    return merged


def _model(raw: Mapping[str, Any], where: str, top: Table) -> ModelSpec:
    table = Table(raw, where, top.problems)
    prices = _each(table, _price, "prices")
    typical = _nested(table, _typical, "typical_seconds")
    operations: dict[str, OperationSpec] = {}
    for operation in (*_OPERATIONS, *(key for key in table.left() if key.startswith("transform."))):
        if (inner := table.table(operation)) is not None and (spec := table.attempt(_operation, inner, operation)) is not None:
            operations[operation] = attrs.evolve(spec, prices=spec.prices or prices, typical_seconds=spec.typical_seconds or typical)
    model = ModelSpec(
        id=table.need("id", str),
        media=table.word("media", ("image", "video", "audio"), "image"),
        rank=table.take("rank", int, 100),
        aliases=table.strings("aliases"),
        services=table.strings("services"),
        preview=table.take("preview", bool, False),
        requires=_nested(table, _requirement, "requires"),
        lifecycle=_nested(table, _lifecycle, "lifecycle") or Lifecycle(),
        continuation_prefix=table.take("continuation_prefix", str, ""),
        continues_with=table.strings("continues_with"),
        wire=dict(table.take("wire", Mapping, {})),
        note=table.take("note", str, ""),
        operations=operations,
    )
    table.done()
    return model


def _operation(table: Table, name: str) -> OperationSpec:
    kind, _, task = name.partition(".")
    fields = {field.name for field in attrs.fields(KINDS[kind])}  # type: ignore[index]
    prompt = _nested(table, lambda inner: _option(inner, Text), "prompt")
    extra = table.table("options" if task else "extra_params")
    found: dict[str, Any] = {
        "prompt": prompt or Text(max_chars=0 if task else None),
        "extra_params": {} if extra is None else _tables(extra, _option),
        "rules": _each(table, lambda rule: _rule(rule, fields), "rules"),
        "fidelity": _nested(table, _fidelity, "fidelity") or Fidelity(),
        "prices": _each(table, _price, "prices"),
        "typical_seconds": _nested(table, _typical, "typical_seconds"),
        "wire": dict(table.take("wire", Mapping, {})),
        "note": table.take("note", str, ""),
    }
    inputs = _task_parts(table, task, found) if kind == "transform" else {}
    options: dict[str, Any] = {}
    for key in table.left():
        if key in INPUTS & fields:
            inputs[key] = _nested(table, functools.partial(_input, key=key), key)
        elif key in fields - CORE_FIELDS or key in {"audio_type", "edit_mode"} & fields:
            options[key] = _nested(table, _option, key)
        else:
            table.take(key, object)
            table.report(f"{name} has no field {key!r}{did_you_mean(key, fields)}")
    table.done()
    return OperationSpec(operation=kind, inputs=inputs, options=options, **found)  # type: ignore[arg-type]


def _task_parts(table: Table, task: str, found: dict[str, Any]) -> dict[str, Any]:
    """Read what only a task has; return its inputs by role."""
    given = table.table("inputs")
    inputs = {} if given is None else {role: _nested(given, functools.partial(_task_input, role=role), role) for role in given.left()}
    for name, form in ((task, TASK_NAME), *((name, OPTION_NAME) for name in (*inputs, *found["extra_params"]))):
        if not re.fullmatch(form, name):
            table.report(f"expected a name like 'remove_background', got {name!r:.80}")
    found["task"] = task
    found["output"] = table.word("output", ("image", "video", "audio", "json", "text", ""), "")
    return inputs


def _each(table: Table, read: Callable[[Table], _T], key: str) -> tuple[_T, ...]:
    """Read each table of a list; the problems of all are collected."""
    found = (table.attempt(read, inner) for inner in table.tables(key))
    return tuple(item for item in found if item is not None)


def _nested(table: Table, read: Callable[[Table], _T], key: str) -> _T | None:
    """Read a nested table; None where the key is absent or a problem was collected."""
    inner = table.table(key)
    return None if inner is None else table.attempt(read, inner)


def _tables(table: Table, read: Callable[[Table], _T]) -> dict[str, _T]:
    """Read every key of a table as a nested table."""
    return {key: found for key in table.left() if (found := _nested(table, read, key)) is not None}


def _date(table: Table, key: str) -> datetime.date | None:
    value = table.take(key, (datetime.date, str), None)
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            table.report(f"{key}: expected a date like 2026-11-21, got {value!r}")
            return None
    found: datetime.date | None = value
    return found


def _requirement(table: Table) -> Requirement:
    found = Requirement(module=table.need("module", str), install=table.need("install", str).strip())
    if not found.module.isidentifier() or keyword.iskeyword(found.module):
        # finding a submodule would import its package
        table.report(f"module: expected the name of one top-level module, got {found.module!r:.80}")
    if not found.install or not found.install.isprintable():
        table.report(f"install: expected a command, on one line, got {found.install!r:.80}")
    table.done()
    return found


def _lifecycle(table: Table) -> Lifecycle:
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


def _fidelity(table: Table) -> Fidelity:
    found = Fidelity(level=table.word("level", ("native", "emulated"), "native"), note=table.take("note", str, ""))
    if found.level == "emulated" and not found.note:
        table.report("emulated fidelity needs a note that says what is lost")
    table.done()
    return found


def _price(table: Table) -> Price:
    pair, usual, first = table.pair("usd"), table.pair("usual"), table.pair("first")
    if pair is None:
        table.report("usd is missing")
    price = Price(
        per=table.word("per", ("call", "image", "second", "input_image", "1k_chars", "megapixel", "gpu_second"), "call"),
        usd=(0.0, 0.0) if pair is None else (float(pair[0]), float(pair[1])),
        when=_conditions(table.table("when")),
        usual=None if usual is None else (float(usual[0]), float(usual[1])),
        first=None if first is None else (float(first[0]), float(first[1])),
        basis=table.take("basis", str, ""),
        source=table.take("source", str, ""),
        checked=_date(table, "checked"),
    )
    table.done()
    return price


def _typical(table: Table) -> TypicalSeconds:
    found = TypicalSeconds(median=float(table.need("median", (int, float))), p95=float(table.need("p95", (int, float))))
    table.done()
    if not 0 < found.median <= found.p95:
        table.report("expected 0 < median <= p95")
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
            table.report(f"public: no name {name!r}{did_you_mean(name, names)}")
    table.done()
    return CredentialSet(names=names, service=service, public=public)
