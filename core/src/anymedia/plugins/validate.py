"""Checks of a plugin: the origin of its module, its hooks and their signatures, what they return.

Each check of the contract raises `PluginContractError` with the plugin's name, the problem and the expected form.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import inspect
import json
import os
import re
import types
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..capabilities import CapabilityMatrix
from ..errors import PluginContractError, did_you_mean
from ..hookspecs import HOOKS, ListedModel
from ..operations import Operation
from ..redaction import clean_text

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["check_hooks", "check_matrix", "check_module", "check_name", "check_returned", "describe_exception", "foreign_origin"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED = frozenset({"auto"})
_OPERATIONS: tuple[str, ...] = get_args(Operation)
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
#: Options of the marker that wrap a call or redirect it; a backend is called alone and unwrapped.
_FORBIDDEN = ("wrapper", "hookwrapper", "specname")


@functools.cache
def _returns(hook: str) -> tuple[type, ...]:
    """Return the types that a hook may return."""
    from ..results import Failed, Job, Outcome, Running, Succeeded

    kinds: Mapping[str, tuple[type, ...]] = dict.fromkeys(_OPERATIONS, (Job, Outcome)) | {
        "check_job": (Running, Succeeded, Failed),
        "cancel_job": (types.NoneType,),
        "find_submission": (Job, Outcome, types.NoneType),
        "list_models": (tuple,),
    }
    return kinds[hook]


def describe_exception(error: BaseException) -> str:
    """Return the text of a foreign exception: one printable line of at most 300 characters."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - str() of a foreign exception may fail
        text = ""
    text = clean_text(text)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_name(name: str) -> None:
    """Refuse a name that cannot be used as the first part of ``backend/model``."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise PluginContractError(f"backend name {name!r:.80}: expected letters, digits, '-', '_' and '.', and not 'auto'")


def check_module(name: str, plugin: object) -> types.ModuleType:
    """Refuse anything but a module: a class would fail only when called, an object may have state."""
    if not isinstance(plugin, types.ModuleType):
        kind = "a class" if isinstance(plugin, type) else f"{type(plugin).__name__!r} object"
        raise PluginContractError(f"backend {name!r} must be a module with @hookimpl functions, not {kind}")
    return plugin


def check_hooks(name: str, module: types.ModuleType, found: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Check all functions marked as hooks; return the names of those that this version calls.

    Args:
        name: the backend's name.
        module: the plugin.
        found: function name -> the options of its marker.
    """
    for hook, options in found.items():
        for option in _FORBIDDEN:
            if options.get(option):
                raise PluginContractError(f"backend {name!r}: {hook}: @hookimpl({option}=...) is not supported; backends are called alone")
        if hook in HOOKS:
            _check_function(name, hook, getattr(module, hook))
        elif not options.get("optionalhook"):
            raise PluginContractError(f"backend {name!r}: there is no hook {hook!r}{did_you_mean(hook, HOOKS)}")
    if "capabilities" not in found:
        unmarked = callable(getattr(module, "capabilities", None))
        hint = "capabilities() exists, but is not marked with @hookimpl" if unmarked else "it has no hook capabilities()"
        raise PluginContractError(f"backend {name!r}: {hint}; every backend needs it")
    return frozenset(found) & frozenset(HOOKS)


def _check_function(name: str, hook: str, function: Callable[..., Any]) -> None:
    spec = getattr(HOOKS[hook], hook)
    wanted = list(inspect.signature(spec).parameters)[1:]
    is_async = inspect.iscoroutinefunction(spec)
    call = f"{'async ' if is_async else ''}def {hook}({', '.join(wanted)})"
    if inspect.iscoroutinefunction(function) != is_async:
        found = "not async" if is_async else "async"
        raise PluginContractError(f"backend {name!r}: {hook} is {found}; expected '{call}'")
    taken = inspect.signature(function).parameters.values()
    if [p.name for p in taken] != wanted or any(p.kind is not _POSITIONAL for p in taken):
        raise PluginContractError(f"backend {name!r}: {hook}{inspect.signature(function)} has other parameters; expected '{call}'")


def check_matrix(name: str, matrix: object, hooks: frozenset[str]) -> CapabilityMatrix:
    """Check what ``capabilities()`` returned: its type, and a hook for each operation it claims."""
    if not isinstance(matrix, CapabilityMatrix):
        raise PluginContractError(f"backend {name!r}: capabilities() returned {type(matrix).__name__}, not CapabilityMatrix")
    for spec in matrix.models:
        for operation in spec.operations:
            if operation not in hooks:
                raise PluginContractError(f"backend {name!r}: {spec.id!r} claims {operation}, but the plugin has no such hook")
    return matrix


def check_returned(name: str, hook: str, value: Any) -> Any:
    """Check what a hook returned; return it.

    Raises:
        PluginContractError: for a wrong type; after an operation ``charged`` is ``unknown``.
    """
    fits = isinstance(value, _returns(hook))
    if hook == "list_models":
        fits = fits and all(isinstance(model, ListedModel) for model in value)
    if fits:
        return value
    allowed = "tuple of ListedModel" if hook == "list_models" else " or ".join(t.__name__ for t in _returns(hook))
    error = PluginContractError(f"backend {name!r}: {hook} returned {type(value).__name__}, not {allowed}")
    if hook in _OPERATIONS:
        error.charged = "unknown"
    raise error


def foreign_origin(point: EntryPoint) -> str | None:
    """Return the file that importing an entry point would run although its distribution did not install it, or None.

    Nothing is imported. A module of the same name earlier on the path would otherwise run in place of the one that an
    allowed distribution installed. None also for a distribution without a list of files, and for a missing module.
    """
    distribution = point.dist
    if distribution is None or not distribution.files:
        return None
    own = {os.path.realpath(str(distribution.locate_file(file))) for file in distribution.files}
    directories = [os.path.realpath(directory) for directory in _editable_directories(distribution)]
    for origin in _origins(point.module):
        real = os.path.realpath(origin)
        if real not in own and not any(Path(real).is_relative_to(directory) for directory in directories):
            return origin
    return None


def _origins(module: str) -> Iterator[str]:
    """Yield the files that importing a module would run: those of its packages, then its own."""
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


def _editable_directories(distribution: Distribution) -> Iterator[str]:
    """Yield the directories that an editable installation refers to, by its ``.pth`` file or its ``direct_url.json``."""
    for file in distribution.files or ():
        if file.suffix == ".pth":
            text = Path(str(distribution.locate_file(file))).read_text("utf-8", "replace")
            yield from (line.strip() for line in text.splitlines() if os.path.isabs(line.strip()))  # noqa: PTH117 - a text
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            from urllib.request import url2pathname  # slow to import, and needed only here

            yield url2pathname(urllib.parse.urlsplit(origin["url"]).path)
    except (ValueError, KeyError, AttributeError):
        return
