"""Which options of a request are sent: only those that the chosen row declares and leaves to the caller."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.requests import Request

__all__ = ["chosen", "extras", "link", "whole"]


def chosen(request: Request, context: Context, names: Iterable[str]) -> dict[str, Any]:
    """Return the named options that are set and taken."""
    found = {name: getattr(request, name, None) for name in names if context.takes(name)}
    return {name: value for name, value in found.items() if value is not None}


def extras(request: Request, context: Context) -> dict[str, Any]:
    """Return the declared extra parameters that are set."""
    declared = context.operation.extra_params
    return {name: value for name, value in request.extra_params.items() if name in declared}


def link(kind: str, media: LoadedMedia) -> dict[str, Any]:
    """Return an input as the API takes it: ``{"type": kind, kind: {"url": data URL}}``, kind being image_url or video_url."""
    return {"type": kind, kind: {"url": f"data:{media.mime};base64,{base64.b64encode(media.data).decode()}"}}


def whole(seconds: float) -> int | float:
    """Return a duration as the whole number that the API wants, where it is one."""
    return int(seconds) if float(seconds).is_integer() else seconds
