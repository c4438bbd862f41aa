"""Every object that a call leaves behind, searched: what it shows, and what its fields hold."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterable, Mapping
from typing import Any

from anymedia.credentials import Secret

OURS = (
    "anymedia.",
    "openai_media.",
    "google_media.",
    "grok_media.",
    "openrouter_media.",
    "fal_media.",
    "local_media.",
    "core.fake_backend",
)
#: What leads from one object to the next without being anybody's own.
_BETWEEN = (dict, list, tuple, set, frozenset, types.FunctionType, types.MethodType, types.CellType, types.MappingProxyType)


def is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith(OURS)


def _is_foreign_module(thing: object) -> bool:
    """Whether this is the namespace of a module that is not ours, to which each of its functions refers."""
    return isinstance(thing, dict) and "__spec__" in thing and not f"{thing.get('__name__')}.".startswith(OURS)


def reachable(start: Iterable[object]) -> list[object]:
    """All objects of our classes to which references lead, through our own objects and plain containers."""
    seen: dict[int, object] = {}
    todo = list(start)
    while todo:
        here = todo.pop()
        if id(here) in seen or isinstance(here, types.ModuleType | type) or _is_foreign_module(here):
            continue
        seen[id(here)] = here
        todo += [there for there in gc.get_referents(here) if is_ours(there) or isinstance(there, _BETWEEN)]
    return [thing for thing in seen.values() if is_ours(thing)]


def fields(thing: object) -> Mapping[str, Any]:
    """What ``vars`` and the slots of an object hold."""
    slots = [name for kind in type(thing).__mro__ for name in vars(kind).get("__slots__", ())]
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | getattr(thing, "__dict__", {})


def shown_by(router: Any, ended: Any) -> dict[str, str]:
    """What all objects of ours that a call left behind show, by where it was found; the one object that may hold a key is left out."""
    found = reachable([router, ended])
    clients = list(router._engine.clients._made.values())
    assert [c for c in found if isinstance(c, Secret)]  # the search went as far as to the keys
    assert all(c in found for c in clients if is_ours(c))
    shown = {f"repr of {type(thing).__qualname__}": repr(thing) for thing in found}
    for thing in found:
        if not isinstance(thing, Secret):
            shown |= {f"{type(thing).__qualname__}.{key}": repr(value) for key, value in fields(thing).items()}
    return shown | {f"repr of the client {type(client).__qualname__}": repr(client) for client in clients}
