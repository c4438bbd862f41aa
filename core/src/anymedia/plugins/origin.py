"""Where a plugin's module would be imported from: its distribution's own files, or somebody else's of the same name.

Nothing is imported to find out. A module that lies earlier on the path than the one an allowed distribution installed
would otherwise run in its place.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["foreign_origin"]


def foreign_origin(point: EntryPoint) -> str | None:
    """Return the file that an entry point's import would run although its distribution did not install it, or None.

    A distribution that keeps no list of its files cannot be held to one: None. So it is for a module that is not found.
    """
    distribution = point.dist
    if distribution is None or not distribution.files:
        return None
    own = {os.path.realpath(str(distribution.locate_file(file))) for file in distribution.files}
    homes = [os.path.realpath(home) for home in _editable_homes(distribution)]
    for origin in _origins(point.module):
        real = os.path.realpath(origin)
        if real not in own and not any(Path(real).is_relative_to(home) for home in homes):
            return origin
    return None


def _origins(module: str) -> Iterator[str]:
    """Yield the files that importing a module would run: its packages', then its own."""
    first, *rest = module.split(".")
    name = first
    try:
        spec = importlib.util.find_spec(first)
        while spec is not None:
            if spec.has_location and spec.origin:
                yield spec.origin
            if not rest or spec.submodule_search_locations is None:
                return
            name = f"{name}.{rest.pop(0)}"
            spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    except (ImportError, ValueError):
        return


def _editable_homes(distribution: Distribution) -> Iterator[str]:
    """Yield the folders that an editable installation points to: by its ``.pth`` file, or where it was installed from."""
    for file in distribution.files or ():
        if file.suffix == ".pth":
            text = Path(str(distribution.locate_file(file))).read_text("utf-8", "replace")
            yield from (line.strip() for line in text.splitlines() if os.path.isabs(line.strip()))  # noqa: PTH117 - a text
    try:
        told = json.loads(distribution.read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable"):
            yield urllib.request.url2pathname(urllib.parse.urlsplit(told["url"]).path)
    except (ValueError, KeyError, AttributeError):
        return
