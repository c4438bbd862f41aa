"""Read a `CapabilityMatrix` from `capabilities.toml`; every problem is reported with file, model and field."""

from __future__ import annotations

import datetime
import functools
import keyword
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

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
_SCALARS: Mapping[Any, Any] = {str: str, bool: bool, int: int, float: (int, float)}


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
    found = _values(top, CapabilityMatrix, models=(), options=None, warnings=(), stale_after_days=None)
    if (own := top.table("options")) is not None:
        found["options"] = _tables(own, _option)
    for host in found["hosts"]:
        if not re.fullmatch(HOST, host):
            top.report(f"hosts: expected a host like 'api.acme.com', 'api.acme.com:8443' or '*.acme.com', got {host!r:.80}")
    if (most := found["max_concurrent"]) is not None and most < 1:
        top.report(f"max_concurrent: expected at least 1, got {most}")
    read = (top.attempt(_model, model, f"{name}: {model['id']}", top) for model in models)
    matrix = CapabilityMatrix(**found | {"models": tuple(spec for spec in read if spec is not None)})
    top.done()
    if not top.problems:
        _check_names(matrix, top)
    top.raise_problems()
    return matrix


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, Callable[[Table, str], Any]], ...]:
    """Return the fields of a record, each with the function that takes its value from a table."""
    hints = get_type_hints(kind)
    plain = {n: next(iter(set(get_args(h)) - {types.NoneType})) if isinstance(h, types.UnionType) else h for n, h in hints.items()}
    return tuple((field.name, _taker(plain[field.name], field.default)) for field in attrs.fields(kind))


def _values(table: Table, kind: type, **given: Any) -> dict[str, Any]:
    """Take the fields of a record, each by its type, except those that are given."""
    return {name: given[name] if name in given else take(table, name) for name, take in _fields(kind)}


def _record(table: Table, kind: type[_T], **given: Any) -> _T:
    """Read a record from a table that has nothing else."""
    values = _values(table, kind, **given)
    table.done()
    return kind(**values)


def _taker(kind: Any, usual: Any) -> Callable[[Table, str], Any]:
    """Return what takes a value of a type; without a default it is required, a word excepted: the first one is the default."""
    needed, inner, origin = usual is attrs.NOTHING, get_args(kind), get_origin(kind)
    if origin is Literal:
        return lambda table, key: table.word(key, inner, inner[0] if needed else usual)
    if kind in _SCALARS:
        scalar = _SCALARS[kind]
        return lambda table, key: table.need(key, scalar) if needed else table.take(key, scalar, usual)
    if kind is datetime.date:
        return _date
    if kind in _READERS:
        return lambda table, key: usual if (found := _nested(table, _READERS[kind], key)) is None else found
    if origin is not tuple:
        return lambda table, key: dict(table.take(key, Mapping, {}))
    if inner[-1] is Ellipsis and inner[0] in _READERS:
        return lambda table, key: _each(table, _READERS[inner[0]], key)
    if inner[-1] is Ellipsis:
        return lambda table, key: table.strings(key, () if needed else usual)
    return lambda table, key: _pair(table, key, inner[0], usual)


def _pair(table: Table, key: str, number: Callable[[float], float], usual: Any) -> tuple[float, float] | None:
    needed = usual is attrs.NOTHING
    if (pair := table.pair(key, None if needed else usual)) is None and needed:
        table.report(f"{key} is missing")
        return (0.0, 0.0)
    return None if pair is None else (number(pair[0]), number(pair[1]))


def _check_known(table: Table, key: str, found: Iterable[str], known: Iterable[str]) -> None:
    """Report names that do not exist."""
    for name in found:
        if name not in known:
            table.report(f"{key}: unknown {key.rstrip('s')} {name!r}{did_you_mean(name, known)}")


def _option(table: Table, kind: type | None = None) -> Any:
    """Read an option; its keys decide its type."""
    keys, more = set(table.left()), dict[str, Any]()
    default = table.take("default", (str, int, float, bool, list, dict), None)
    made: type[Option]
    if "one_of" in keys:
        values = table.take("one_of", list)
        if not values:
            table.fail("one_of: expected at least one value")
        made, more = Choice, {"one_of": tuple(values)}
    elif {"min", "max"} & keys:
        made, more = Range, {"step": _above_zero(table, "step", None)}
    elif keys & _PIXEL_KEYS:
        edges = {key: _above_zero(table, key, usual, int) for key, usual in (("multiple_of", 1), ("min_edge", 1), ("max_edge", 1_000_000))}
        made, more = Pixels, {**edges, "max_ratio": _above_zero(table, "max_ratio", None), "pixels": table.pair("pixels")}
    elif "type" in keys and kind is None:
        made, more = Anything, {"type": table.word("type", _JSON_TYPES, "string")}
    else:
        made = Text
    found: Option = _record(table, made, default=default, **more)
    if isinstance(found, Range) and found.min > found.max:
        table.fail("min is above max")
    if kind is not None and not isinstance(found, kind):
        table.fail(f"expected {kind.__name__}, got {type(found).__name__}")
    if default is not None and (wrong := found.problem(default)):
        table.report(f"default: {wrong}")
    return found


def option_of(raw: Mapping[str, Any]) -> Option:
    """Return the option that a table describes.

    Raises:
        PluginContractError: it describes none, or its default is not among its values.
    """
    found: Option = _option(Table(raw, "option"))
    return found


def _above_zero(table: Table, key: str, default: Any, kind: type | tuple[type, ...] = (int, float)) -> Any:
    value = table.take(key, kind, default)
    if value is not None and not value > 0:
        table.report(f"{key}: must be above 0, not {value!r}")
        return default
    return value


def _input(table: Table, key: str) -> Any:
    """Read the rule of one input field."""
    if key == "mask":
        return _mask(table)
    if key == "continue_from":
        found = _record(table, ContinueRule, ways=table.strings("ways"))
        if not found.ways:
            table.fail("ways: expected at least one of extend, edit, remix, chat")
        return found
    if key != "references":
        return _media(table)
    inner = table.table("roles")
    references = _record(table, ReferencesRule, roles={} if inner is None else _tables(inner, _media))
    _check_known(table, "roles", references.roles, REFERENCE_ROLES)
    return references


def _task_input(table: Table, role: str) -> InputRule | MaskRule:
    """Read the rule of one input of a task; it is required, unless its ``count`` begins with 0."""
    if role == "mask":
        return _mask(table)
    media = table.word("media", ("image", "video", "audio"), role if role in {"video", "audio"} else "image")
    return _media(table, media, count=_pair(table, "count", int, (1, 1)))


def _media(table: Table, media: str = "image", **given: Any) -> InputRule:
    found = _record(table, InputRule, media=media, **given)
    _check_known(table, "formats", found.formats, FORMATS)
    return found


def _mask(table: Table) -> MaskRule:
    found = _record(table, MaskRule)
    _check_known(table, "modes", found.modes, MASK_MODES)
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
    rule = _record(table, Rule, **{key: _conditions(table.table(key), fields) for key in ("when", "forbid", "require")})
    if not rule.because or bool(rule.forbid) == bool(rule.require):
        table.report("a rule needs 'because' and one of 'forbid' and 'require'")
    return rule


def _billing_rule(table: Table) -> BillingRule:
    """Read one rule about errors that are not charged."""
    statuses = table.need("statuses", list)
    if not statuses or not all(isinstance(status, int) and not isinstance(status, bool) for status in statuses):
        table.fail("statuses: expected at least one number")
    found = _record(table, BillingRule, statuses=tuple(statuses))
    _check_known(table, "operations", found.operations, _OPERATIONS)
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
        own = _own(model)
        if "like" in model:
            other = model["like"]
            if not isinstance(other, str) or other not in done:
                raise PluginContractError(f"{where}: like: no earlier model {other!r}{did_you_mean(str(other), done)}")
            base = {k: v for k, v in done[other].items() if k not in {"aliases", "lifecycle"}}
            own = _merge(base, model, where)
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
            spec = _merge(out[other], spec, f"{where}.{operation}")
        if spec is not None:
            out[operation] = spec
    return out


def _own(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in {"like", "without"}}


def _merge(base: Mapping[str, Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a table over the one that it is like, without the keys that its ``without`` lists."""
    dropped = Table(table, where).strings("without")
    merged = {key: value for key, value in base.items() if key not in dropped}
    for key, value in _own(table).items():
        # An operation is refined key by key; any other value is replaced as a whole.
        is_refined = _is_operation(key) and isinstance(value, dict) and isinstance(merged.get(key), dict) and "like" not in value
        merged[key] = _merge(merged[key], value, f"{where}.{key}") if is_refined else value
    return merged


def _model(raw: Mapping[str, Any], where: str, top: Table) -> ModelSpec:
    table = Table(raw, where, top.problems)
    usual: dict[str, Any] = {
        "prices": _each(table, _READERS[Price], "prices"),
        "typical_seconds": _nested(table, _READERS[TypicalSeconds], "typical_seconds"),
    }
    operations: dict[str, OperationSpec] = {}
    for operation in (*_OPERATIONS, *(key for key in table.left() if key.startswith("transform."))):
        if (inner := table.table(operation)) is not None and (spec := table.attempt(_operation, inner, operation)) is not None:
            operations[operation] = attrs.evolve(spec, **{key: getattr(spec, key) or found for key, found in usual.items()})
    return _record(table, ModelSpec, operations=operations)


def _operation(table: Table, name: str) -> OperationSpec:
    kind, _, task = name.partition(".")
    fields = {field.name for field in attrs.fields(KINDS[kind])}  # type: ignore[index]
    prompt = _nested(table, lambda inner: _option(inner, Text), "prompt")
    extra = table.table("options" if task else "extra_params")
    found = _values(
        table,
        OperationSpec,
        operation=kind,
        task="",
        output="",
        prompt=prompt or Text(max_chars=0 if task else None),
        inputs={},
        options={},
        extra_params={} if extra is None else _tables(extra, _option),
        rules=_each(table, lambda rule: _rule(rule, fields), "rules"),
    )
    inputs = found["inputs"] = _task_parts(table, task, found) if kind == "transform" else {}
    for key in table.left():
        if key in INPUTS & fields:
            inputs[key] = _nested(table, functools.partial(_input, key=key), key)
        elif key in fields - CORE_FIELDS or key in {"audio_type", "edit_mode"} & fields:
            found["options"][key] = _nested(table, _option, key)
        else:
            table.take(key, object)
            table.report(f"{name} has no field {key!r}{did_you_mean(key, fields)}")
    table.done()
    return OperationSpec(**found)


def _task_parts(table: Table, task: str, found: dict[str, Any]) -> dict[str, Any]:
    """Read what only a task has; return its inputs by role."""
    given = table.table("inputs")
    inputs = {} if given is None else {role: _nested(given, functools.partial(_task_input, role=role), role) for role in given.left()}
    for name, form in ((task, TASK_NAME), *((name, OPTION_NAME) for name in (*inputs, *found["extra_params"]))):
        if not re.fullmatch(form, name):
            table.report(f"expected a name like 'remove_background', got {name!r:.80}")
    found |= {"task": task, "output": table.word("output", ("image", "video", "audio", "json", "text", ""), "")}
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
    found = _record(table, Requirement)
    found = attrs.evolve(found, install=found.install.strip())
    if not found.module.isidentifier() or keyword.iskeyword(found.module):
        # finding a submodule would import its package
        table.report(f"module: expected the name of one top-level module, got {found.module!r:.80}")
    if not found.install or not found.install.isprintable():
        table.report(f"install: expected a command, on one line, got {found.install!r:.80}")
    return found


def _fidelity(table: Table) -> Fidelity:
    found = _record(table, Fidelity)
    if found.level == "emulated" and not found.note:
        table.report("emulated fidelity needs a note that says what is lost")
    return found


def _typical(table: Table) -> TypicalSeconds:
    found = _record(table, TypicalSeconds)
    if not 0 < found.median <= found.p95:
        table.report("expected 0 < median <= p95")
    return found


def _credential_set(table: Table) -> CredentialSet:
    inner = table.table("names")
    if inner is None:
        table.fail("names is missing")
    found = _record(table, CredentialSet, names={key: inner.strings(key) for key in inner.left()})
    for name in found.public:
        if name not in found.names:
            table.report(f"public: no name {name!r}{did_you_mean(name, found.names)}")
    return found


#: Record within another one -> what reads it.
_READERS: Mapping[Any, Callable[[Table], Any]] = {
    BillingRule: _billing_rule,
    CredentialSet: _credential_set,
    Fidelity: _fidelity,
    Lifecycle: lambda table: _record(table, Lifecycle),
    Price: lambda table: _record(table, Price, when=_conditions(table.table("when"))),
    Requirement: _requirement,
    TypicalSeconds: _typical,
}
