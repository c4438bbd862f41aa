"""Cache of parsed matrices: one JSON file per capability file in the user's cache, read in a tenth of the parsing time.

An entry is valid only for the same capability file (both times, size and inode), the same code and the same Python.
If the entry or the directory is damaged, the capability file is parsed.

Equal parts of a matrix are written once and become one object again: specs share most of their options and prices.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..directories import cache_dir, write_atomically
from ..errors import MediaError, PluginContractError, RequestError
from . import model, options
from .model import CapabilityMatrix, Lifecycle, ModelSpec

FORMAT = 1
#: Resolution of file times on some systems, in seconds: a file changed more recently may change again unnoticed.
COARSE = 2.0
_RECORDS: dict[str, type] = {
    kind.__name__: kind for module in (options, model) for kind in vars(module).values() if isinstance(kind, type) and attrs.has(kind)
}
#: The modules that turn a document into records; another version may read the same document differently.
_PARSERS = ("loader.py", "model.py", "options.py", "../fields.py", "../media.py", "../requests.py", "../table.py")


@functools.cache
def load_matrix(path: Path) -> CapabilityMatrix:
    """Read a capability file once per process, from the cache if its entry is valid.

    Raises:
        PluginContractError: for a malformed file, with file, model and field.
    """
    before = _stamp(path)
    found = _recall(path, before)
    if found is None:
        from .loader import read_matrix

        found = read_matrix(path)
        _remember(path, before, found)
    return found


def _stamp(path: Path) -> str:
    """Return a text that changes whenever the file does; empty if there is no file.

    Unlike the modification time, the time of the inode's last change cannot be set back.
    """
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns}.{found.st_ctime_ns}.{found.st_size}.{found.st_ino}"


@functools.cache
def _version() -> str:
    """Return a text that identifies the version of the code; empty if that is unknown."""
    stamps = [_stamp(Path(__file__).parent / name) for name in _PARSERS]
    return json.dumps([FORMAT, sys.version, stamps]) if all(stamps) else ""


def _place(source: Path) -> Path:
    return cache_dir() / "matrices" / f"{source.parent.name}-{zlib.crc32(os.fsencode(source)):08x}.json"


def _recall(source: Path, now: str) -> CapabilityMatrix | None:
    """Return the cached matrix of a capability file whose `_stamp` is ``now``, or None."""
    try:
        with _place(source).open("rb") as file:
            status = os.fstat(file.fileno())
            if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
                return None
            head, _, body = file.read().partition(b"\n")
        if head != _head(source, now, body):
            return None
        found = _decoded(json.loads(body))
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError):
        return None  # RuntimeError: there is no home directory
    return found if isinstance(found, CapabilityMatrix) else None


def _remember(source: Path, before: str, matrix: CapabilityMatrix) -> None:
    """Cache a matrix if its file has not changed since its `_stamp` was ``before``, when it was read; an error is ignored."""
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError):
        status = source.stat()
        recent = max(status.st_mtime, status.st_ctime) > time.time() - COARSE
        if not _version() or recent or _stamp(source) != before:
            return
        body = json.dumps(_encoded(matrix), separators=(",", ":")).encode()
        write_atomically(_place(source), _head(source, before, body) + b"\n" + body)


def _head(source: Path, now: str, body: bytes) -> bytes:
    return json.dumps([_version(), str(source), now, zlib.crc32(body)]).encode()


def _encoded(matrix: CapabilityMatrix) -> list[Any]:
    """Return a table of the matrix's parts, each once and after the parts it contains; the last is the matrix itself.

    A tuple is a list of indices into the table, other compounds are ``{kind: indices}``, plain values are themselves.
    """
    places: dict[str, int] = {}
    table: list[Any] = []

    def put(value: Any) -> int:
        part = _part(value, put)
        place = places.setdefault(repr(part), len(table))
        if place == len(table):
            table.append(part)
        return place

    put(matrix)
    return table


def _part(value: Any, put: Callable[[Any], int]) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return [put(inner) for inner in value]
    if isinstance(value, list):
        return {"list": [put(inner) for inner in value]}
    if isinstance(value, dict):
        return {"dict": [[put(key), put(inner)] for key, inner in value.items()]}
    if type(value) is datetime.date:
        return {"date": value.isoformat()}
    if type(value) in _RECORDS.values():
        shown = ((field.name, getattr(value, field.name), field.default) for field in attrs.fields(type(value)))
        return {type(value).__name__: {name: put(inner) for name, inner, default in shown if inner is not default}}
    raise TypeError(f"{type(value).__name__} cannot be cached")


def _decoded(table: Iterable[Any]) -> Any:
    """Return the last part of a table, built from the others."""
    made: list[Any] = []
    value: Any = None
    for part in table:
        if isinstance(part, list):
            value = tuple([made[place] for place in part])
        elif isinstance(part, dict):
            ((kind, inner),) = part.items()
            if kind == "dict":
                value = {made[key]: made[place] for key, place in inner}
            elif kind == "list":
                value = [made[place] for place in inner]
            elif kind == "date":
                value = datetime.date.fromisoformat(inner)
            else:
                value = _RECORDS[kind](**{name: made[place] for name, place in inner.items()})
        else:
            value = part
        made.append(value)
    return value


#: A snapshot older than this many days, by its own date, causes a warning on every plan.
STALE_DAYS = 30


#: Models of an instance that are kept as they were read on demand; the oldest are dropped.
_READ_ON_DEMAND = 500
#: Snapshot -> its stamp, the shipped matrix, and both together.
_LISTED: dict[Path, tuple[str, CapabilityMatrix, CapabilityMatrix]] = {}


def snapshot_path(instance: str) -> Path:
    """Return the path of an instance's snapshot."""
    return cache_dir() / "capabilities" / f"{instance}.json"


def on_demand_path(instance: str) -> Path:
    """Return the path of the models of an instance that were read when a caller named them."""
    return cache_dir() / "capabilities" / "on-demand" / f"{instance}.json"


def with_listed(own: CapabilityMatrix, instance: str) -> CapabilityMatrix:
    """Return a plugin's matrix with the model specs that the provider of an instance lists: by a refresh, or read on demand.

    A snapshot that cannot be read adds a warning to the matrix; the shipped specs are used then.
    """
    try:
        snapshot, on_demand = snapshot_path(instance), on_demand_path(instance)
    except RuntimeError:  # there is no home directory
        return own
    stamps = (_stamp(snapshot), _stamp(on_demand) if own.on_demand else "")
    if not any(stamps):
        return own
    now, known = " ".join(stamps), _LISTED.get(snapshot)
    if known is None or known[0] != now or known[1] is not own:
        found = _merged(own, snapshot) if stamps[0] else own
        known = _LISTED[snapshot] = (now, own, _with_read(found, on_demand) if stamps[1] else found)
    return known[2]


def _with_read(listed: CapabilityMatrix, path: Path) -> CapabilityMatrix:
    """Return a matrix with the models that were read on demand, unless it has them; a file that cannot be used will be replaced."""
    try:
        read = _parse(json.loads(path.read_text("utf-8")), path.name, listed).models
    except (OSError, ValueError, RecursionError, MediaError):
        return listed
    return attrs.evolve(listed, models=(*listed.models, *(spec for spec in read if listed.model(spec.id) is None)))


def _merged(own: CapabilityMatrix, snapshot: Path) -> CapabilityMatrix:
    try:
        return _with_specs(own, json.loads(snapshot.read_text("utf-8")), snapshot.name)
    except (OSError, ValueError, RecursionError) as error:
        why = type(error).__name__
    except MediaError as error:
        why = error.message
    warning = f"the snapshot {snapshot.name} cannot be used ({why}), so the shipped models apply; recreate it with --refresh"
    return attrs.evolve(own, warnings=(*own.warnings, warning))


def _with_specs(own: CapabilityMatrix, raw: Any, name: str) -> CapabilityMatrix:
    """Return a matrix with the listed specs, and with the shipped ones of models that are listed without a spec."""
    kept = raw.pop("kept", []) if isinstance(raw, dict) else []
    listed = _parse(raw, name, own)
    specs = {spec.id: spec for spec in _with_shipped_facts(listed.models, own)}
    shipped = tuple(spec for spec in own.models if spec.id in kept and spec.id not in specs)
    return attrs.evolve(own, models=(*shipped, *specs.values()), checked=listed.checked, stale_after_days=STALE_DAYS)


def _parse(raw: Any, name: str, own: CapabilityMatrix) -> CapabilityMatrix:
    """Parse a snapshot; a model may be ``like`` an earlier one of the snapshot, or like a shipped one."""
    from .custom_models import custom_model_specs
    from .loader import parse_matrix

    if not isinstance(raw, dict) or not isinstance(raw.get("models"), list):
        raise RequestError(f"{name}: a snapshot needs a date and at least one model")
    models = [model for model in raw["models"] if isinstance(model, dict)]
    listed = {model.get("id") for model in models}
    derived = {str(m.get("id")): m for m in models if "like" in m and m["like"] not in listed and own.model(str(m["like"])) is not None}
    found = parse_matrix({**raw, "models": [m for m in raw["models"] if m not in derived.values()]}, name)
    tables = {model: {key: value for key, value in table.items() if key != "id"} for model, table in derived.items()}
    specs = {spec.id: spec for spec in (*found.models, *custom_model_specs(tables, own, name))}
    found = attrs.evolve(found, models=tuple(specs[str(model["id"])] for model in models))
    kept = {"checked", "models"}
    for field in attrs.fields(CapabilityMatrix):
        if field.name not in kept and getattr(found, field.name) != field.default:
            raise RequestError(f"{name}: a snapshot holds models and their date, not {field.name!r}")
    if found.checked is None or not found.models:
        raise RequestError(f"{name}: a snapshot needs a date and at least one model")
    return found


def _with_shipped_facts(specs: Iterable[ModelSpec], own: CapabilityMatrix) -> tuple[ModelSpec, ...]:
    """Add the shipped lifecycle, rank and requirement of each model, which a provider's list does not contain."""
    known = {spec.id: spec for spec in own.models}
    merged = []
    for spec in specs:
        if (shipped := known.get(spec.id)) is not None:
            life = shipped.lifecycle if spec.lifecycle == Lifecycle() else spec.lifecycle
            spec = attrs.evolve(spec, lifecycle=life, rank=shipped.rank, requires=spec.requires or shipped.requires)
        merged.append(spec)
    return tuple(merged)


def _date_text(value: Any) -> str:
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


def snapshot_document(listed: Iterable[Any], today: datetime.date) -> dict[str, Any]:
    """Return what a plugin's ``list_models`` returned as the document of a snapshot."""
    models = list(listed)
    kept = [model.id for model in models if not model.row and not model.notes]
    return {"schema": 1, "checked": today.isoformat(), "kept": kept, "models": [dict(model.row) for model in models if model.row]}


def write_snapshot(
    instance: str, document: Mapping[str, Any], shipped: CapabilityMatrix, hooks: Collection[str] | None = None
) -> tuple[Path, CapabilityMatrix]:
    """Write a snapshot atomically; return its path, and the matrix that is used from then on.

    Args:
        instance: its name.
        document: as a capability file, with dates as `datetime.date` (as TOML has them) or text; ``kept`` lists the models that the
            provider lists and does not describe.
        shipped: the plugin's own matrix.
        hooks: the plugin's hooks; None: not checked.

    Raises:
        PluginContractError, RequestError, SettingsError: the document is not a valid snapshot; nothing is written.
        OSError: the cache cannot be written.
    """
    path = snapshot_path(instance)
    text = _as_text(instance, document)
    found = _with_specs(shipped, json.loads(text), path.name)
    _check_hooks(instance, found, hooks)
    write_atomically(path, text.encode())
    on_demand_path(instance).unlink(missing_ok=True)  # read again where it is still needed
    return path, found


def keep_read(instance: str, row: Mapping[str, Any], day: datetime.date, own: CapabilityMatrix, hooks: Collection[str]) -> ModelSpec:
    """Keep a model that was read on demand (`ListedModel.row`), and return its spec; where the cache cannot be written, it is not kept.

    Raises:
        PluginContractError, RequestError, SettingsError: the row is not a valid model.
    """
    row = json.loads(_as_text(instance, row))
    path = on_demand_path(instance)
    document = {"schema": 1, "checked": day.isoformat(), "models": [row]}
    (spec,) = _parse(dict(document), path.name, own).models
    _check_hooks(instance, attrs.evolve(own, models=(spec,)), hooks)
    with contextlib.suppress(OSError):
        earlier = [each for each in _rows_of(path) if each.get("id") != spec.id]
        document["models"] = [*earlier[-_READ_ON_DEMAND + 1 :], row]
        write_atomically(path, _as_text(instance, document).encode())
    return spec


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the models in a file; none if it cannot be read."""
    try:
        return [row for row in json.loads(path.read_text("utf-8"))["models"] if isinstance(row, dict)]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return []


def _as_text(instance: str, document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, indent=1, default=_date_text)
    except (TypeError, ValueError) as error:
        raise PluginContractError(f"backend {instance!r}: list_models: a row is not JSON: {error}") from None


def _check_hooks(instance: str, matrix: CapabilityMatrix, hooks: Collection[str] | None) -> None:
    for operation in (operation for spec in matrix.models for operation in spec.operations.values()):
        if hooks is not None and operation.operation not in hooks:
            raise PluginContractError(
                f"backend {instance!r}: list_models claims {operation.name}, but there is no hook {operation.operation}"
            )
