"""Whether what a row requires is installed: looked for as an import would look, and never imported.

A matrix says what its models require; it is the same whether that is here or not. Whoever makes an instance looks once,
and hands what is absent on as data.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .model import CapabilityMatrix

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["absent_from", "is_installed"]


def absent_from(matrix: CapabilityMatrix) -> frozenset[str]:
    """Return the modules that models of a matrix require and that are not installed; each is looked for once."""
    wanted = {row.requires.module for row in matrix.models if row.requires is not None}
    return frozenset(module for module in wanted if not is_installed(module))


def is_installed(module: str) -> bool:
    """Whether a top-level module could be imported. A folder of that name without code in it is no such module."""
    if module in sys.modules:
        return sys.modules[module] is not None  # None: somebody has forbidden its import
    spec = _found(module)
    return spec is not None and not _is_bare(spec)


def _found(module: str) -> ModuleSpec | None:
    import importlib.util

    try:
        return importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001 - whatever a finder, or a module of somebody's making, comes up with
        return None


def _is_bare(spec: ModuleSpec) -> bool:
    """Whether there is but a folder: Python would make an empty namespace of it."""
    return spec.origin is None and spec.submodule_search_locations is not None
