"""The router for code without ``await``, and the one that the one-line functions share.

with SyncRouter() as router:
    result = router.generate_image("a red fox in snow", output="fox.png")

The shared router is opened on first use and closed when the process ends. When an environment variable or a configuration file has
changed, the next call opens another one.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread
import contextlib
import copy
import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import attrs

from .errors import InvalidRequest
from .policy import Policy
from .requests import Request
from .results import Result
from .router import Router
from .settings import Settings, load_settings

__all__ = ["SyncRouter", "ask", "shared_router"]

_T = TypeVar("_T")
_P = ParamSpec("_P")


def _with_options_of(
    _of: Callable[Concatenate[Router, _P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[SyncRouter, _P], None]]:
    """Give a function the parameters of a method of `Router`."""

    def decorate(function: Callable[..., None]) -> Callable[Concatenate[SyncRouter, _P], None]:
        return functools.wraps(_of, assigned=())(function)

    return decorate


def _blocking(method: Callable[Concatenate[Router, _P], Coroutine[Any, Any, _T]]) -> Callable[Concatenate[SyncRouter, _P], _T]:
    """Return the twin of a coroutine method: the same parameters and docstring, but it blocks and returns the result."""

    @functools.wraps(method)
    def twin(self: SyncRouter, /, *args: _P.args, **options: _P.kwargs) -> _T:
        return self.call(method(self._router, *args, **options))

    return twin


def _iterating(
    method: Callable[Concatenate[Router, _P], AsyncGenerator[_T]],
) -> Callable[Concatenate[SyncRouter, _P], Generator[_T, None, None]]:
    """Return the twin of an asynchronous generator method."""

    @functools.wraps(method)
    def twin(self: SyncRouter, /, *args: _P.args, **options: _P.kwargs) -> Generator[_T, None, None]:
        items, step = method(self._router, *args, **options), asyncio.Lock()

        async def following() -> _T | None:
            async with step:
                return await anext(items, None)

        async def closing() -> None:
            async with step:  # an interrupted step is still ending
                await items.aclose()

        try:
            while (item := self.call(following())) is not None:
                yield item
        finally:
            self.call(closing())

    return twin


def _direct(method: Callable[Concatenate[Router, _P], _T]) -> Callable[Concatenate[SyncRouter, _P], _T]:
    """Return the twin of a method that waits for nothing."""

    @functools.wraps(method)
    def twin(self: SyncRouter, /, *args: _P.args, **options: _P.kwargs) -> _T:
        return method(self._router, *args, **options)

    return twin


def _viewing(method: Callable[Concatenate[Router, _P], Router]) -> Callable[Concatenate[SyncRouter, _P], SyncRouter]:
    """Return the twin of a method that returns a view; closing it leaves the router open."""

    @functools.wraps(method)
    def twin(self: SyncRouter, /, *args: _P.args, **options: _P.kwargs) -> SyncRouter:
        view = copy.copy(self)
        view._router, view._is_view = method(self._router, *args, **options), True
        return view

    return twin


class SyncRouter:
    """A `Router` for code without ``await``: scripts, threads, notebooks, and functions called from a running event loop.

    The router runs on its own event loop in a background thread. A method blocks until it is done; Ctrl-C cancels it.
    ``on_progress`` is called on the background thread.

    Args:
        options: the arguments of `Router`.
    """

    @_with_options_of(Router.__init__)
    def __init__(self, **options: Any) -> None:
        self._is_view, self._pid = False, os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="anymedia-router", daemon=True)
        self._thread.start()
        try:
            self._router = self.call(self._create(options))
        except BaseException:
            self._stop()
            raise

    @staticmethod
    async def _create(options: dict[str, Any]) -> Router:
        return Router(**options)

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the event loop of the router; return its result."""
        if threading.current_thread() is self._thread:  # it would wait for itself
            work.close()
            raise RuntimeError("a blocking call from on_progress, which runs on the router's event loop; make it in another thread")
        running = self.start(work)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine on the event loop of the router; cancelling the future cancels it."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this SyncRouter is closed")
        if self._pid != os.getpid():  # the thread of its event loop was not copied
            work.close()
            raise RuntimeError("this SyncRouter belongs to the process that this one was forked from; make one here")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _stop(self) -> None:
        self.call(self._loop.shutdown_asyncgens())
        self.call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the router, see `Router.aclose`, and its event loop; closing again does nothing."""
        if self._loop.is_closed() or self._pid != os.getpid():
            return
        try:
            self.call(self._router.aclose())
        finally:
            if not self._is_view:
                self._stop()

    @property
    def settings(self) -> Settings:
        """The router's settings."""
        return self._router.settings

    @property
    def policy(self) -> Policy:
        """The router's policy."""
        return self._router.policy

    def ask(self, kind: type[Request], given: dict[str, Any]) -> concurrent.futures.Future[Result]:
        """Start an operation with the arguments of its method."""
        return self.start(self._router._ask(kind, given))

    capabilities = _direct(Router.capabilities)
    models = _direct(Router.models)
    name_warnings = _direct(Router.name_warnings)
    generate_image = _blocking(Router.generate_image)
    inpaint = _blocking(Router.inpaint)
    edit_with_references = _blocking(Router.edit_with_references)
    generate_video = _blocking(Router.generate_video)
    continue_video = _blocking(Router.continue_video)
    generate_audio = _blocking(Router.generate_audio)
    transform = _blocking(Router.transform)
    plan = _blocking(Router.plan)
    run = _blocking(Router.run)
    execute = _blocking(Router.execute)
    run_model = _blocking(Router.run_model)
    stream = _iterating(Router.stream)
    submit = _blocking(Router.submit)
    check = _blocking(Router.check)
    repeat_key = _blocking(Router.repeat_key)
    handed_over = _blocking(Router.handed_over)
    job = _blocking(Router.job)
    run_status = _blocking(Router.run_status)
    result_if_done = _blocking(Router.result_if_done)
    is_active = _blocking(Router.is_active)
    jobs = _blocking(Router.jobs)
    wait = _blocking(Router.wait)
    resume = _blocking(Router.resume)
    cancel = _blocking(Router.cancel)
    forget = _blocking(Router.forget)
    export = _blocking(Router.export)
    share = _blocking(Router.share)
    gc = _blocking(Router.gc)
    scoped = _viewing(Router.scoped)


@attrs.define(eq=False)
class _Shared:
    """A router, what its settings were read from, and the number of calls that use it."""

    environment: dict[str, str] = attrs.field(repr=False)
    settings: Settings = attrs.field(repr=False)
    router: SyncRouter = attrs.field(factory=lambda: SyncRouter())
    pid: int = attrs.field(factory=os.getpid)
    users: int = 0

    def close_if_unused(self) -> None:
        """Close the router of earlier settings after its last call; a forked child has none of the threads to close."""
        if self is not _current and not self.users and self.pid == os.getpid():
            self.router.close()


_lock = threading.RLock()
_current: _Shared | None = None


@contextlib.contextmanager
def shared_router() -> Iterator[SyncRouter]:
    """Use the router of the present environment and settings."""
    global _current
    environment, settings = dict(os.environ), load_settings()
    with _lock:
        before = _current
        if before is None or (before.pid, before.environment, before.settings) != (os.getpid(), environment, settings):
            _current = _Shared(environment, settings)
            if before is not None:
                before.close_if_unused()
        assert _current is not None
        mine = _current
        mine.users += 1
    try:
        yield mine.router
    finally:
        with _lock:
            mine.users -= 1
            mine.close_if_unused()


def _close() -> None:
    global _current
    with _lock:
        last, _current = _current, None
        if last is not None:
            last.close_if_unused()


# Threads that a router needs to close cannot be started any more when atexit's functions run. Those that are registered with threading
# run before, the last one first, so this one before that of concurrent.futures.
getattr(threading, "_register_atexit", atexit.register)(_close)


async def ask(kind: type[Request], given: dict[str, Any], names: Mapping[str, str] | None = None) -> Result:
    """Let the shared router execute an operation with its fields and options; may be awaited on any event loop.

    ``names``: fields of the request -> the paths of the caller's own, for errors; see `InvalidRequest.renamed`.
    """
    with shared_router() as router:
        try:
            return await asyncio.wrap_future(router.ask(kind, given))
        except InvalidRequest as error:
            located = error.renamed(names or {})
            if located.problems == error.problems:
                raise
            raise located from None
