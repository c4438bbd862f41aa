"""Read decoded JSON and SDK objects alike: members of mappings and of attribute objects, items of lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["child", "is_object", "items_of"]

_PLAIN = (str, bytes, bytearray, memoryview, int, float, bool, type(None))


def is_object(node: Any) -> bool:
    """Whether a node can have members: a mapping, or an object with attributes."""
    return isinstance(node, Mapping) or not (isinstance(node, _PLAIN) or items_of(node) is not None or callable(node))


def items_of(node: Any) -> Iterable[Any] | None:
    """Return the items of a list, a tuple or a repeated field; None for anything else."""
    if isinstance(node, list | tuple):
        return node
    if isinstance(node, (Mapping, *_PLAIN)) or not hasattr(type(node), "__getitem__"):
        return None
    return node if hasattr(type(node), "__len__") and hasattr(type(node), "__iter__") else None


def child(node: Any, name: str) -> Any:
    """Return a member of a node by its name, or None where it has none or does not give it away."""
    if isinstance(node, Mapping):
        return node.get(name)
    try:
        found = getattr(node, name, None)
    except (ValueError, RuntimeError):  # some SDKs raise instead of returning nothing
        return None
    return None if callable(found) else found
