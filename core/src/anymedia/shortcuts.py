"""The one-line functions: ``anymedia.image("a red fox in snow").show()``.

They work in scripts, threads, notebooks and inside a running event loop, because their router has its own, in a background thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from . import aio
from .sync_router import shared_router

__all__ = ["edit", "image", "music", "speech", "video"]

_T = TypeVar("_T")
_P = ParamSpec("_P")


def _blocking(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """Return the twin of a coroutine function: the same parameters and docstring, but it blocks and returns the result."""

    @functools.wraps(function)
    def twin(*args: _P.args, **options: _P.kwargs) -> _T:
        with shared_router() as router:
            return router.call(function(*args, **options))

    return twin


image = _blocking(aio.image)
edit = _blocking(aio.edit)
video = _blocking(aio.video)
speech = _blocking(aio.speech)
music = _blocking(aio.music)
