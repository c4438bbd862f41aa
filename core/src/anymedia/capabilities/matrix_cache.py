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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from ..directories import cache_dir
from . import model, options

__all__ = ["load_matrix"]

FORMAT = 1
#: Resolution of file times on some systems, in seconds: a file changed more recently may change again unnoticed.
COARSE = 2.0
_RECORDS: dict[str, type] = {
    kind.__name__: kind for module in (options, model) for kind in vars(module).values() if isinstance(kind, type) and attrs.has(kind)
}
#: The modules that turn a document into records; another version may read the same document differently.
_PARSERS = ("loader.py", "model.py", "options.py", "table.py", "../operations.py", "../requests.py")


@functools.cache
def load_matrix(path: Path) -> model.CapabilityMatrix:
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


def _recall(source: Path, now: str) -> model.CapabilityMatrix | None:
    """Return the cached matrix of a capability file whose stamp is ``now``, or None.

    Args:
        source: the capability file.
        now: its `_stamp`.
    """
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
    return found if isinstance(found, model.CapabilityMatrix) else None


def _remember(source: Path, before: str, matrix: model.CapabilityMatrix) -> None:
    """Cache a matrix if its file has not changed since it was read; an error is ignored.

    Args:
        source: the capability file.
        before: its `_stamp` before it was read.
        matrix: the parsed matrix.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError):
        status = source.stat()
        recent = max(status.st_mtime, status.st_ctime) > time.time() - COARSE
        if not _version() or recent or _stamp(source) != before:
            return
        body = json.dumps(_encoded(matrix), separators=(",", ":")).encode()
        _write(_place(source), _head(source, before, body) + b"\n" + body)


def _head(source: Path, now: str, body: bytes) -> bytes:
    return json.dumps([_version(), str(source), now, zlib.crc32(body)]).encode()


def _write(place: Path, data: bytes) -> None:
    """Write a file atomically, readable by this user only; the last of several writers wins."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = place.with_name(f".{place.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        scratch.replace(place)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _encoded(matrix: model.CapabilityMatrix) -> list[Any]:
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
