"""Entry points -> plugins; the only user of `pluggy.PluginManager`.

`discover` loads each installed entry point of the group ``anymedia`` separately: a broken one is recorded with its
reason and the others work. A plugin that is disabled, or not in the allow-list, is not imported. Importing a plugin
runs its code with all rights: the allow-list decides which code may run, it is not a sandbox.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import inspect
import json
import os
import re
import sys
import time
import types
import urllib.parse
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import attrs
import pluggy

from ..capabilities import CapabilityMatrix
from ..distributions import Installed, PluginPoint, normal, plugin_points
from ..errors import (
    DuplicateBackend,
    MediaError,
    PluginContractError,
    PluginError,
    PluginLoadError,
    UnknownBackend,
    UnsupportedOperation,
    did_you_mean,
    nearest_name,
)
from ..fields import Operation
from ..hookspecs import HOOKS, ListedModel
from ..records import frozen
from ..redaction import summarize_exception

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

#: A step of a hook that imports more modules than this loads an SDK.
_IMPORTING = 20
#: Seconds after which a step of a hook has blocked the event loop.
_BLOCKING = 2.0
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
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


def check_hooks(name: str, module: types.ModuleType, found: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Check all functions marked as hooks, each with the options of its marker; return the names of those that this version calls."""
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
        for operation in spec.operations.values():
            if operation.operation not in hooks:
                raise PluginContractError(f"backend {name!r}: {spec.id!r} claims {operation.name}, but the plugin has no such hook")
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


def foreign_origin(point: EntryPoint | PluginPoint) -> str | None:
    """Return the file that importing an entry point would run although its distribution did not install it, or None.

    Nothing is imported. A module of the same name earlier on the path would otherwise run in place of the one that an
    allowed distribution installed. None also for a distribution without a list of files, and for a missing module.
    """
    distribution = None if isinstance(point, PluginPoint) else point.dist
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


#: The entry-point group; also pluggy's project name.
GROUP = "anymedia"
#: The backends of this project; the distribution of each is ``anymedia-NAME``.
PUBLISHED = ("fal", "google", "grok", "local", "openai", "openrouter")


class _Manager(pluggy.PluginManager):
    """pluggy's manager, restricted to the functions of a module instead of all its attributes."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Return the options of a marked function; None for anything else."""
        value = vars(plugin).get(name)
        return super().parse_hookimpl_opts(plugin, name) if isinstance(value, types.FunctionType | staticmethod | classmethod) else None

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        """Return the options of a specification; None for anything else."""
        return super().parse_hookspec_opts(module_or_class, name) if name in HOOKS else None


@frozen(kw_only=True)
class LoadedPlugin:
    """A loaded plugin: entry-point name, module, distribution and hooks."""

    name: str
    module: types.ModuleType = attrs.field(repr=False)
    distribution: str = ""
    version: str = ""
    hooks: frozenset[str] = frozenset()


@frozen(kw_only=True)
class BrokenPlugin:
    """A plugin that cannot be used, and the reason."""

    name: str
    distribution: str = ""
    version: str = ""
    reason: PluginError


class Registry:
    """The loaded plugins, the broken ones, and calls to single plugins.

    Attributes:
        plugins: name -> `LoadedPlugin`.
        broken: name -> `BrokenPlugin`, with the reason.
        blocked: name -> why it was not imported.
        distributions: names of the installed distributions with plugins, blocked ones included.
        longest_steps: hook -> seconds for which it has kept the event loop waiting at most, imports of an SDK aside.
    """

    def __init__(self) -> None:
        self._manager = _Manager(GROUP)
        for spec in dict.fromkeys(HOOKS.values()):
            self._manager.add_hookspecs(spec)
        self._plugins: dict[str, LoadedPlugin] = {}
        self._broken: dict[str, BrokenPlugin] = {}
        self._blocked: dict[str, str] = {}
        self.plugins: Mapping[str, LoadedPlugin] = types.MappingProxyType(self._plugins)
        self.broken: Mapping[str, BrokenPlugin] = types.MappingProxyType(self._broken)
        self.blocked: Mapping[str, str] = types.MappingProxyType(self._blocked)
        self.distributions: set[str] = set()
        self.longest_steps: dict[str, float] = {}
        self._matrices: dict[str, CapabilityMatrix] = {}
        self._callers: dict[tuple[str, str], Callable[..., Any]] = {}
        self._blocking: set[tuple[str, str]] = set()

    def register(self, name: str, module: types.ModuleType, *, distribution: str = "", version: str = "") -> LoadedPlugin:
        """Check a plugin and add it.

        Raises:
            DuplicateBackend: the name is taken.
            PluginContractError: the module breaks the contract of a hook.
            PluginLoadError: the name is blocked.
        """
        if not re.fullmatch(_NAME, name) or name == "auto":  # the first part of ``backend/model``
            raise PluginContractError(f"backend name {name!r:.80}: expected letters, digits, '-', '_' and '.', and not 'auto'")
        if name in self._blocked:
            raise PluginLoadError(f"backend {name!r} is blocked: {self._blocked[name]}")
        if name in self._plugins:
            raise DuplicateBackend(f"a backend named {name!r} is already registered")
        if not isinstance(module, types.ModuleType):  # a class would fail only when called, an object may have state
            kind = "a class" if isinstance(module, type) else f"{type(module).__name__!r} object"
            raise PluginContractError(f"backend {name!r} must be a module with @hookimpl functions, not {kind}")
        marked = ((attribute, self._manager.parse_hookimpl_opts(module, attribute)) for attribute in dir(module))
        hooks = check_hooks(name, module, {attribute: options for attribute, options in marked if options is not None})
        self._enter(name, module)
        loaded = LoadedPlugin(name=name, module=module, distribution=distribution, version=version, hooks=hooks)
        self._plugins[name] = loaded
        self._callers.clear()  # the set of other plugins has changed
        return loaded

    def _enter(self, name: str, module: types.ModuleType) -> None:
        """Register a module with pluggy, whose own checks come last."""
        try:
            self._manager.register(module, name=name)
        except ValueError:
            other = self._manager.get_name(module)
            raise DuplicateBackend(f"backends {other!r} and {name!r} are the same module; configure a second instance instead") from None
        except pluggy.PluginValidationError as error:
            raise PluginContractError(f"backend {name!r}: {summarize_exception(error, 300, place=False)}") from None
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(name=name)
            raise PluginContractError(f"backend {name!r}: {summarize_exception(error, 300, place=False)}") from None

    def mark_broken(self, name: str, reason: PluginError, *, distribution: str = "", version: str = "") -> None:
        """Record why a plugin is broken, and remove it if it was loaded."""
        loaded = self._plugins.pop(name, None)
        self._callers.clear()
        if loaded is not None:
            self._manager.unregister(name=name)
            distribution, version = loaded.distribution, loaded.version
        self._broken[name] = BrokenPlugin(name=name, distribution=distribution, version=version, reason=reason)

    def block(self, name: str, why: str) -> None:
        """Record why a plugin must not be imported."""
        self._blocked[name] = why

    def get(self, name: str) -> LoadedPlugin:
        """Return a plugin by name.

        Raises:
            UnknownBackend: there is none, or it is broken or blocked.
        """
        try:
            return self._plugins[name]
        except KeyError:
            raise self.unknown(name) from None

    @property
    def installable(self) -> Mapping[str, str]:
        """The project's own backends that are not installed, each with the command that installs it, until they are published."""
        installed = {*self._plugins, *self._broken, *self._blocked}
        return {name: f"in a checkout: pip install -e plugins/{name}_media" for name in PUBLISHED if name not in installed}

    def unknown(self, name: str, known: Iterable[str] | None = None) -> UnknownBackend:
        """Return the error for an unknown name; ``known``: the names to suggest (by default the plugins')."""
        if name in self._broken:
            why = self._broken[name].reason.message
            return UnknownBackend(f"backend {name!r} is installed but broken: {why}", fix="repair or uninstall it")
        if name in self._blocked:
            return UnknownBackend(f"backend {name!r} is blocked: {self._blocked[name]}", fix="change that setting")
        installable = self.installable
        if name in installable:
            return UnknownBackend(f"backend {name!r} is not installed", fix=installable[name])
        names = sorted(self._plugins if known is None else known)
        aside = [f"broken: {', '.join(sorted(self._broken))}"] * bool(self._broken)
        aside += [f"blocked: {', '.join(sorted(self._blocked))}"] * bool(self._blocked)
        state = "; ".join([f"installed: {', '.join(names) or 'none'}", *aside])
        near = nearest_name(name, [*names, *self._broken, *self._blocked]) or nearest_name(name, installable)
        hint = "" if near is None else f"; did you mean {near!r}?"
        error = UnknownBackend(f"no backend named {name!r:.80} ({state}){hint}", fix=installable.get(near or "", ""))
        error.nearest = near or ""
        return error

    def capabilities(self, name: str) -> CapabilityMatrix:
        """Return a plugin's matrix; the plugin is asked only once.

        Raises:
            PluginContractError: ``capabilities()`` raised or returned something else; the plugin is marked as broken.
            UnknownBackend: there is no such plugin.
        """
        if name not in self._matrices:
            loaded = self.get(name)
            try:
                self._matrices[name] = check_matrix(name, self._caller(name, "capabilities")(), loaded.hooks)
            except PluginContractError as error:
                self.mark_broken(name, error)
                raise
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                reason = PluginContractError(f"backend {name!r}: capabilities() raised {summarize_exception(error, 300, place=False)}")
                self.mark_broken(name, reason)
                raise reason from error
        return self._matrices[name]

    def has(self, name: str, hook: str) -> bool:
        """Whether a plugin implements a hook."""
        return hook in self.get(name).hooks

    async def call(self, name: str, hook: str, **kwargs: Any) -> Any:
        """Call one hook of one plugin; return its result with sanitized texts.

        Raises:
            UnknownBackend: there is no such plugin.
            UnsupportedOperation: it has no such hook.
            PluginContractError: it returned a wrong type; `PluginRaised` if it raised an exception other than a `MediaError`.
            MediaError: raised by the plugin, with sanitized texts and without the SDK's own exception.
        """
        if not self.has(name, hook):
            raise UnsupportedOperation(f"backend {name!r} has no {hook}")
        from .sanitize import clean_error, clean_returned, raised

        failed: MediaError
        try:
            value = await self._watched(self._caller(name, hook)(**kwargs), name, hook)
        except MediaError as error:
            failed = clean_error(error)
        except Exception as error:  # noqa: BLE001 - an SDK may raise anything
            failed = raised(name, error)
        except BaseException as error:  # noqa: BLE001 - cancelled: drop the SDK's frames, which hold the key
            error.__context__ = None
            raise error.with_traceback(None) from None
        else:
            return clean_returned(check_returned(name, hook, value))
        raise failed

    @types.coroutine
    def _watched(self, work: Any, name: str, hook: str) -> Generator[Any, Any, Any]:
        """Run a hook step by step, and name a plugin that does not let the event loop go on."""
        if not inspect.iscoroutine(work):
            return (yield from work.__await__())
        step, value = work.send, None
        while True:
            began, loaded = time.perf_counter(), len(sys.modules)
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            finally:
                took, importing = time.perf_counter() - began, len(sys.modules) > loaded + _IMPORTING  # an SDK, once in a process
                if not importing:
                    self.longest_steps[hook] = max(self.longest_steps.get(hook, 0.0), took)
                if took > _BLOCKING and (name, hook) not in self._blocking and not importing:
                    import logging

                    self._blocking.add((name, hook))
                    text = "backend %r blocked the event loop for %.1f s in %s: all other calls stood still meanwhile; its author: %s"
                    logging.getLogger("anymedia").warning(text, name, took, hook, "await context.run_blocking(function, ...)")
            try:
                step, value = work.send, (yield awaited)
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, say, which the hook decides about
                step, value = work.throw, error

    def _caller(self, name: str, hook: str) -> Callable[..., Any]:
        if (name, hook) not in self._callers:
            own = self._plugins[name].module
            others = [plugin.module for plugin in self._plugins.values() if plugin.module is not own]
            self._callers[name, hook] = self._manager.subset_hook_caller(hook, others)
        return self._callers[name, hook]


def discover(
    *,
    allow: tuple[str, ...] | None = None,
    disabled: frozenset[str] = frozenset(),
    entry_points: Iterable[EntryPoint | PluginPoint] | None = None,
) -> Registry:
    """Load the installed plugins; never raises for one that is broken.

    Args:
        allow: distributions that may be imported, each ``name`` or ``name==version`` (compared as text);
            None allows all.
        disabled: entry-point names that are not imported.
        entry_points: what to load; by default what is installed.
    """
    registry = Registry()
    # with an allow-list, `foreign_origin` needs the files of the distributions
    points = list(plugin_points(GROUP, with_files=allow is not None) if entry_points is None else entry_points)
    registry.distributions.update(filter(None, (_distribution(point)[0] for point in points)))
    for name, same in sorted(_admitted(registry, points, allow, disabled).items()):
        same = _without_impostors(registry, name, same)
        if len(same) == 1:
            _load(registry, same[0])
        else:
            makers = ", ".join(sorted(_distribution(point)[0] for point in same))
            twice = DuplicateBackend(f"backend {name!r} is provided more than once: {makers}", fix="Uninstall or disable all but one.")
            registry.mark_broken(name, twice, distribution=makers)
    return registry


def _without_impostors(registry: Registry, name: str, same: list[EntryPoint | PluginPoint]) -> list[EntryPoint | PluginPoint]:
    """Return the entry point of a backend of this project alone; block those with its name from other distributions."""
    genuine = [point for point in same if normal(_distribution(point)[0]) == f"anymedia-{name}"]
    if name not in PUBLISHED or len(genuine) != 1 or len(same) == 1:
        return same
    import logging

    for distribution in sorted(_distribution(point)[0] for point in same if point is not genuine[0]):
        why = f"the backend of that name is anymedia-{name}'s"
        registry.block(f"{name} ({distribution})", why)
        logging.getLogger("anymedia").warning("the plugin %r of the distribution %r is not imported: %s", name, distribution, why)
    return genuine


def _admitted(
    registry: Registry, points: Iterable[EntryPoint | PluginPoint], allow: tuple[str, ...] | None, disabled: frozenset[str]
) -> dict[str, list[EntryPoint | PluginPoint]]:
    """Return by name the entry points that may be imported, and block the others; a blocked one never blocks an allowed one."""
    admitted: dict[str, list[EntryPoint | PluginPoint]] = {}
    not_allowed: list[EntryPoint | PluginPoint] = []
    for point in points:
        if point.name in disabled:
            registry.block(point.name, "it is disabled (ANYMEDIA_DISABLE or plugins.disable)")
        elif not _is_allowed(*_distribution(point), allow):
            not_allowed.append(point)
        elif allow is not None and (where := foreign_origin(point)) is not None:
            registry.block(point.name, f"{point.module} would come from {where}, which {_distribution(point)[0]} did not install")
        else:
            admitted.setdefault(point.name, []).append(point)
    for point in not_allowed:
        distribution, version = _distribution(point)
        shown = f"{point.name} ({distribution})" if point.name in admitted else point.name
        registry.block(shown, f"{distribution or 'a distribution without a name'} {version} is not in plugins.allow")
    return admitted


def _load(registry: Registry, point: EntryPoint | PluginPoint) -> None:
    distribution, version = _distribution(point)
    reason: PluginError
    try:
        registry.register(point.name, point.load(), distribution=distribution, version=version)
        return
    except KeyboardInterrupt:
        raise
    except PluginError as error:
        reason = error
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, such as SyntaxError or SystemExit
        reason = PluginLoadError(
            f"backend {point.name!r} of {distribution} could not be loaded: {summarize_exception(error, 300, place=False)}"
        )
        reason.__cause__ = error
    registry.mark_broken(point.name, reason, distribution=distribution, version=version)


def _distribution(point: EntryPoint | PluginPoint) -> tuple[str, str]:
    """Return name and version of an entry point's distribution; empty if its metadata are missing."""
    try:
        return ("", "") if point.dist is None else (_header(point.dist, "Name"), _header(point.dist, "Version"))
    except (AttributeError, KeyError, OSError, ValueError):
        return "", ""


def _header(distribution: Distribution | Installed, key: str) -> str:
    """Return a header of a distribution's metadata, or an empty text; a missing one causes no warning in any Python version."""
    headers: Any = distribution.metadata
    found = next((value for name, value in headers.items() if name.lower() == key.lower()), "")
    return str(found)


def _is_allowed(distribution: str, version: str, allow: tuple[str, ...] | None) -> bool:
    if allow is None:
        return True
    for item in allow:
        name, pinned, wanted = (part.strip() for part in item.partition("=="))
        if distribution and normal(name) == normal(distribution) and (not pinned or wanted == version):
            return True
    return False
