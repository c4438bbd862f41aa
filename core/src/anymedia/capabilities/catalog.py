"""A backend's rows as its service listed them on a day: a JSON file in the user's cache, in place of the shipped rows.

A snapshot holds rows and their date, nothing else: which hosts get the key, which credentials there are and the like
always come from the plugin's own file, so that a file in a cache never decides where a key goes.
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

#: A snapshot older than this many days, by its own date, carries a warning on every plan.
STALE_DAYS = 30


def snapshot_path(plugin: str) -> Path:
    """Return where a plugin's snapshot is kept."""
    return cache_dir() / "capabilities" / f"{plugin}.json"


def load_refreshed(shipped: Path, plugin: str) -> CapabilityMatrix:
    """Return the matrix of a capability file, with the rows of the plugin's snapshot where there is one.

    Both are read once per process. A snapshot that cannot be read is told in the matrix's warnings; the shipped rows
    then stand.

    Raises:
        PluginContractError: with file, row and field, for a malformed shipped file.
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
    return attrs.evolve(own, models=_with_judgement(listed.models, own), checked=listed.checked, stale_after_days=STALE_DAYS)


def _unreadable(own: CapabilityMatrix, snapshot: Path, why: str) -> CapabilityMatrix:
    said = f"the snapshot {snapshot.name} cannot be used ({why}): the rows that came with the plugin stand; make it anew with --refresh"
    return attrs.evolve(own, warnings=(*own.warnings, said))


def _parse(raw: Any, name: str) -> CapabilityMatrix:
    from .loader import parse_matrix

    found = parse_matrix(raw, name)
    kept = {"checked", "models"}
    for field in attrs.fields(CapabilityMatrix):
        if field.name not in kept and getattr(found, field.name) != field.default:
            raise RequestError(f"{name}: a snapshot has rows and their date, not {field.name!r}")
    if found.checked is None or not found.models:
        raise RequestError(f"{name}: a snapshot needs its date and at least one row")
    return found


def _with_judgement(rows: Iterable[ModelSpec], own: CapabilityMatrix) -> tuple[ModelSpec, ...]:
    """Keep what the shipped file says of a model's life, rank and requirement.

    A list tells which models there are, not until when, nor how good, nor what has to be installed here.
    """
    known = {row.id: row for row in own.models}
    kept = []
    for row in rows:
        shipped = known.get(row.id)
        if shipped is not None:
            life = shipped.lifecycle if row.lifecycle == Lifecycle() else row.lifecycle
            row = attrs.evolve(row, lifecycle=life, rank=shipped.rank, requires=row.requires or shipped.requires)
        kept.append(row)
    return tuple(kept)


def write_snapshot(plugin: str, document: Mapping[str, Any], shipped: CapabilityMatrix) -> tuple[Path, CapabilityMatrix]:
    """Write a snapshot whole or not at all; return its path, and the matrix that the next process will plan by.

    Raises:
        PluginContractError, RequestError: the document is not one; nothing is written.
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
    found = attrs.evolve(shipped, models=_with_judgement(listed.models, shipped), checked=listed.checked, stale_after_days=STALE_DAYS)
    return path, found
