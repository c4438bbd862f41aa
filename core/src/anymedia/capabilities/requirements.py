"""Find out which modules that models require are installed, without importing them.

This is checked once, when an instance is created; the planner receives the absent modules as data.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .model import CapabilityMatrix

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["absent_from", "is_installed"]


def absent_from(matrix: CapabilityMatrix) -> frozenset[str]:
    """Return the modules that models of a matrix require and that are not installed."""
    wanted = {spec.requires.module for spec in matrix.models if spec.requires is not None}
    return frozenset(module for module in wanted if not is_installed(module))


def is_installed(module: str) -> bool:
    """Whether a top-level module could be imported; a directory without code in it does not count."""
    if module in sys.modules:
        return sys.modules[module] is not None  # None blocks the import
    spec = _found(module)
    return spec is not None and not _is_bare(spec)


def _found(module: str) -> ModuleSpec | None:
    import importlib.util

    try:
        return importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001 - third-party finders may raise anything
        return None


def _is_bare(spec: ModuleSpec) -> bool:
    """Whether there is only a directory, which Python would import as an empty namespace package."""
    return spec.origin is None and spec.submodule_search_locations is not None
