"""What a plugin must keep to: which of its functions are hooks, their signatures and colours, what they return.

Each check raises `PluginContractError` with the plugin's name, what is wrong, and what would be right.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, get_args

from ..capabilities import CapabilityMatrix
from ..errors import PluginContractError, did_you_mean
from ..hookspecs import HOOKS, ListedModel
from ..operations import Operation
from ..redaction import clean_text

__all__ = ["check_hooks", "check_matrix", "check_module", "check_name", "check_returned", "describe_exception"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED = frozenset({"auto"})
_OPERATIONS: tuple[str, ...] = get_args(Operation)
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
#: Options of the marker that change who answers, or wrap the answer; a backend is called alone and unwrapped.
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
    """Return what somebody else's exception says: one line, printable, cut to 300 characters."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a message that cannot be made is no reason to lose the report
        text = ""
    text = clean_text(text)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_name(name: str) -> None:
    """Refuse a name that could not stand before the slash of ``backend/model``."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise PluginContractError(f"backend name {name!r:.80}: expected letters, digits, '-', '_' and '.', and not 'auto'")


def check_module(name: str, plugin: object) -> types.ModuleType:
    """Refuse anything but a module: a class fails only when it is called, an object may hold state."""
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
                raise PluginContractError(f"backend {name!r}: {hook}: @hookimpl({option}=...) is not taken; backends are called alone")
        if hook in HOOKS:
            _check_function(name, hook, getattr(module, hook))
        elif not options.get("optionalhook"):
            raise PluginContractError(f"backend {name!r}: there is no hook {hook!r}{did_you_mean(hook, HOOKS)}")
    if "capabilities" not in found:
        unmarked = callable(getattr(module, "capabilities", None))
        hint = "capabilities() is there, but not marked with @hookimpl" if unmarked else "it has no hook capabilities()"
        raise PluginContractError(f"backend {name!r}: {hint}; every backend needs it")
    return frozenset(found) & frozenset(HOOKS)


def _check_function(name: str, hook: str, function: Callable[..., Any]) -> None:
    spec = getattr(HOOKS[hook], hook)
    wanted = list(inspect.signature(spec).parameters)[1:]
    is_async = inspect.iscoroutinefunction(spec)
    call = f"{'async ' if is_async else ''}def {hook}({', '.join(wanted)})"
    if inspect.iscoroutinefunction(function) != is_async:
        colour = "not async" if is_async else "async"
        raise PluginContractError(f"backend {name!r}: {hook} is {colour}; expected '{call}'")
    taken = inspect.signature(function).parameters.values()
    if [p.name for p in taken] != wanted or any(p.kind is not _POSITIONAL for p in taken):
        raise PluginContractError(f"backend {name!r}: {hook}{inspect.signature(function)} has other parameters; expected '{call}'")


def check_matrix(name: str, matrix: object, hooks: frozenset[str]) -> CapabilityMatrix:
    """Check what ``capabilities()`` returned: its type, and a hook for each operation it claims."""
    if not isinstance(matrix, CapabilityMatrix):
        raise PluginContractError(f"backend {name!r}: capabilities() returned {type(matrix).__name__}, not CapabilityMatrix")
    for row in matrix.models:
        for operation in row.operations:
            if operation not in hooks:
                raise PluginContractError(f"backend {name!r}: {row.id!r} claims {operation}, but there is no such hook in the plugin")
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
