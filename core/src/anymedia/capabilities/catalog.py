"""Snapshots: model specs as a service listed them, a JSON file in the user's cache that replaces the shipped specs.

A snapshot holds model specs and their date and nothing else: hosts, credentials and the like always come from the
plugin's own file, so that a file in a cache never decides where a key is sent.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..directories import cache_dir
from ..errors import MediaError, RequestError
from .matrix_cache import load_matrix
from .model import CapabilityMatrix, Lifecycle, ModelSpec

__all__ = ["STALE_DAYS", "load_refreshed", "snapshot_path", "write_snapshot"]

#: A snapshot older than this many days, by its own date, causes a warning on every plan.
STALE_DAYS = 30


def snapshot_path(plugin: str) -> Path:
    """Return the path of a plugin's snapshot."""
    return cache_dir() / "capabilities" / f"{plugin}.json"


def load_refreshed(shipped: Path, plugin: str) -> CapabilityMatrix:
    """Return the matrix of a capability file, with the model specs of the plugin's snapshot if there is one.

    Both are read once per process. A snapshot that cannot be read adds a warning to the matrix; the shipped specs are
    used then.

    Raises:
        PluginContractError: for a malformed shipped file, with file, model and field.
    """
    return _load(shipped, snapshot_path(plugin))


@functools.cache
def _load(shipped: Path, snapshot: Path) -> CapabilityMatrix:
    own = load_matrix(shipped)
    try:
        text = snapshot.read_text("utf-8")
    except FileNotFoundError:
        return own
    except (OSError, ValueError) as error:
        return _unreadable(own, snapshot, type(error).__name__)

    try:
        listed = _parse(json.loads(text), snapshot.name)
    except (ValueError, RecursionError) as error:
        return _unreadable(own, snapshot, type(error).__name__)
    except MediaError as error:
        return _unreadable(own, snapshot, error.message)
    return attrs.evolve(own, models=_with_shipped_facts(listed.models, own), checked=listed.checked, stale_after_days=STALE_DAYS)


def _unreadable(own: CapabilityMatrix, snapshot: Path, why: str) -> CapabilityMatrix:
    warning = f"the snapshot {snapshot.name} cannot be used ({why}), so the shipped models apply; recreate it with --refresh"
    return attrs.evolve(own, warnings=(*own.warnings, warning))


def _parse(raw: Any, name: str) -> CapabilityMatrix:
    from .loader import parse_matrix

    found = parse_matrix(raw, name)
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
        shipped = known.get(spec.id)
        if shipped is not None:
            life = shipped.lifecycle if spec.lifecycle == Lifecycle() else spec.lifecycle
            spec = attrs.evolve(spec, lifecycle=life, rank=shipped.rank, requires=spec.requires or shipped.requires)
        merged.append(spec)
    return tuple(merged)


def write_snapshot(plugin: str, document: Mapping[str, Any], shipped: CapabilityMatrix) -> tuple[Path, CapabilityMatrix]:
    """Write a snapshot atomically; return its path, and the matrix that the next process will use.

    Raises:
        PluginContractError, RequestError: the document is not a valid snapshot; nothing is written.
        OSError: the cache cannot be written.
    """
    import tempfile

    path = snapshot_path(plugin)
    text = json.dumps(document, indent=1)
    listed = _parse(json.loads(text), path.name)
    path.parent.mkdir(parents=True, exist_ok=True)

    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{plugin}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    found = attrs.evolve(shipped, models=_with_shipped_facts(listed.models, shipped), checked=listed.checked, stale_after_days=STALE_DAYS)
    return path, found
