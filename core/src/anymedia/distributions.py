"""Installed distributions, read from the metadata directories on `sys.path` as importlib.metadata reads them.

Importing importlib.metadata (with ``email``, ``csv`` and more) takes as long as everything else that a command needs to
find its plugins. It is used only if something other than plain directories may contain distributions (a zip file, an egg,
another finder).
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .records import frozen

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_VALUE = re.compile(r"([\w.]+)\s*(?::\s*([\w.]+)\s*)?(?:\[.*\]\s*)?")


def normal(name: str) -> str:
    """Return the normalized name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


@frozen
class Installed:
    """A distribution by its metadata directory."""

    path: Path

    @property
    def metadata(self) -> dict[str, str]:
        """The headers of its metadata; empty if it has none."""
        text = self._read("METADATA") or self._read("PKG-INFO")
        lines = text.partition("\n\n")[0].splitlines()
        pairs = (line.partition(":") for line in reversed(lines) if ":" in line and not line.startswith((" ", "\t")))
        return {key: value.strip() for key, _, value in pairs}

    def points(self, group: str) -> list[PluginPoint]:
        """Return its entry points of a group.

        Raises:
            ValueError: the file cannot be read as a list of entry points.
        """
        found, section = [], ""
        for line in map(str.strip, self._read("entry_points.txt").splitlines()):
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
            elif section == group and line and not line.startswith("#"):
                name, equals, value = line.partition("=")
                if not equals:
                    raise ValueError(f"{line!r:.80} is not an entry point")
                found.append(PluginPoint(name.strip(), value.strip(), self))
        return found

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            return ""


@frozen
class PluginPoint:
    """An entry point, with the attributes of importlib.metadata's that are used."""

    name: str
    value: str
    dist: Installed

    @property
    def module(self) -> str:
        """The module that it names."""
        return self._parts()[0]

    def load(self) -> Any:
        """Import what it names."""
        module, attribute = self._parts()
        return functools.reduce(getattr, filter(None, (attribute or "").split(".")), importlib.import_module(module))

    def _parts(self) -> tuple[str, str | None]:
        match = _VALUE.fullmatch(self.value)
        if match is None:
            raise ValueError(f"{self.value!r:.80} does not name a module")
        return match[1], match[2]


def plugin_points(group: str, *, with_files: bool = False) -> Iterator[EntryPoint | PluginPoint]:
    """Yield the installed entry points of a group; distributions with a damaged list are skipped.

    ``with_files``: return importlib.metadata's own, which know the files of their distributions.
    """
    if with_files or not _is_plain():
        yield from _importlibs_points(group)
        return
    for distribution in _installed():
        try:
            yield from distribution.points(group)
        except (OSError, ValueError):
            continue  # a damaged distribution is not our error to report


def version_of(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    if _is_plain():
        wanted = normal(name)
        return next((found.metadata.get("Version", "") for found in _installed() if normal(_stem(found.path.name)) == wanted), None)
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _is_plain() -> bool:
    """Return whether distributions can only be in directories."""
    others = [f for f in sys.meta_path if hasattr(f, "find_distributions") and getattr(f, "__name__", "") != "PathFinder"]
    return not others and not any(entry.endswith(".egg") or os.path.isfile(entry) for entry in sys.path)  # noqa: PTH113


def _installed() -> Iterator[Installed]:
    """Yield the distributions on the path; of several with one name the first, which is the one imported."""
    seen: set[str] = set()
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")  # noqa: PTH208 - as importlib.metadata does, without a Path for each
        except OSError:
            continue
        for name in names:
            if name.lower().endswith((".dist-info", ".egg-info")) and (key := normal(_stem(name))) not in seen:
                seen.add(key)
                yield Installed(Path(entry or ".", name))


def _stem(directory: str) -> str:
    return directory.rpartition(".")[0].partition("-")[0]


def _importlibs_points(group: str) -> Iterator[EntryPoint]:
    from importlib import metadata

    try:
        yield from metadata.entry_points(group=group)
        return
    except Exception:  # noqa: BLE001, S110 - one unreadable entry_points.txt breaks the whole list
        pass
    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            name = normal(next((value for key, value in distribution.metadata.items() if key.lower() == "name"), ""))  # type: ignore[attr-defined]
            if name not in seen:
                seen.add(name)
                yield from distribution.entry_points.select(group=group)
        except Exception:  # noqa: BLE001, S112 - a damaged distribution is not our error to report
            continue
