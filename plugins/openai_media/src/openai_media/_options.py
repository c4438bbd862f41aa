"""Which options of a request are sent: only those that the model spec declares and leaves to the caller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anymedia.context import Context
from anymedia.requests import Request

__all__ = ["chosen", "extras", "further"]

#: Options the SDK's own image, video and speech calls have no argument for; a compatible server may take them.
_FURTHER = ("aspect_ratio", "resolution", "quality", "background", "negative_prompt", "seed", "guidance_scale", "n")


def chosen(request: Request, context: Context, names: Iterable[str]) -> dict[str, Any]:
    """Return the named options that are set and that the model takes."""
    found = {name: getattr(request, name, None) for name in names if context.takes(name)}
    return {name: value for name, value in found.items() if value is not None}


def extras(request: Request, context: Context, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """Return the declared extra parameters that are set, except those that the plugin itself acts on."""
    declared = context.operation.extra_params
    return {name: value for name, value in request.extra_params.items() if name in declared and name not in set(but)}


def further(request: Request, context: Context, *, sent: Iterable[str]) -> dict[str, Any]:
    """Return the options a model spec declares beyond those that were sent as arguments."""
    return chosen(request, context, [name for name in _FURTHER if name not in set(sent)])
