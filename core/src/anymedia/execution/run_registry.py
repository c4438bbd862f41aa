"""The runs of this process, each in its own task, which every caller who waits for the run finds."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import os
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

import attrs

from ..errors import BackendTimeout
from ..results import Result
from ..state.store import FINAL_STATES
from ..state.transitions import claimed
from ..threads import EventLoopEnded, on_loop
from .asked import ends_at
from .engine import Engine
from .lease import LEASE_SECONDS
from .poll import still_running_error
from .resume import cancel_call, cancelled_error, resume_run
from .runs import latest, result_of, run_status

Work = Coroutine[Any, Any, Result]
_T = TypeVar("_T")
#: While the registry ends: seconds between two checks of a run, and how many checks in all may find that one is only waiting for its turn.
_CHECK_SECONDS, _MOST_IN_LINE = 0.1, 20


@attrs.define(eq=False)
class RunRegistry:
    """Tasks by run id, to wait for or to stop.

    The result of a task is returned to all callers that wait for it; later callers read the journal, and resume open calls.
    """

    engine: Engine
    _tasks: dict[str, asyncio.Task[Result]] = attrs.field(factory=dict, init=False)
    _pid: int = attrs.field(factory=os.getpid, init=False)
    _started: weakref.WeakSet[asyncio.Task[Result]] = attrs.field(factory=weakref.WeakSet, init=False)
    _limited: weakref.WeakSet[asyncio.Task[Result]] = attrs.field(factory=weakref.WeakSet, init=False)
    _left: weakref.WeakSet[asyncio.Task[Result]] = attrs.field(factory=weakref.WeakSet, init=False)
    _stopping: dict[str, asyncio.Future[None]] = attrs.field(factory=dict, init=False)
    _closing: dict[str, asyncio.Task[None]] = attrs.field(factory=dict, init=False)

    def scoped(self, engine: Engine) -> RunRegistry:
        """Return a registry of the same tasks for the engine of a view; `end` ends only those that the view has started."""
        view = copy.copy(self)
        view.engine, view._started = engine, weakref.WeakSet()
        return view

    def start(
        self, run: str, work: Work, *, on_cancel: Callable[[], Coroutine[Any, Any, None]] | None = None, limited: bool = False
    ) -> asyncio.Task[Result]:
        """Execute a run in a task.

        ``on_cancel``: called when the task is cancelled, even before it has started; ``limited``: the task ends with the deadline of the
        caller who started it.
        """
        task = asyncio.create_task(work)
        if limited:
            self._limited.add(task)
        if on_cancel is not None:
            task.add_done_callback(lambda ended: self._close(run, on_cancel) if ended.cancelled() and ended not in self._left else None)
        task.add_done_callback(functools.partial(self._ended, run))
        self._tasks[run] = task
        self._started.add(task)
        watcher = self.engine.watcher
        watcher.listen()
        watcher.cancellable[run] = lambda: self.cancel(run)
        return task

    def _ended(self, run: str, task: asyncio.Task[Result]) -> None:
        """Drop a task that has ended, whether a caller waits for it or not; a cancelled one is dropped by who has cancelled it."""
        self.engine.watcher.cancellable.pop(run, None)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it; callers that wait for the task raise it
            self.drop(run, task)

    def _close(self, run: str, on_cancel: Callable[[], Coroutine[Any, Any, None]]) -> None:
        closing = self._closing[run] = self.engine.complete(on_cancel())
        closing.add_done_callback(lambda _: self._closing.pop(run, None))

    async def _closed(self, run: str) -> None:
        """Wait until the calls of a cancelled run are closed."""
        if (closing := self._closing.get(run)) is not None:
            await asyncio.wait([closing])

    def drop(self, run: str, task: asyncio.Task[Result]) -> None:
        """Forget a task of a run."""
        if self._tasks.get(run) is task:
            del self._tasks[run]

    async def wait_for_result(self, task: asyncio.Task[Result], run: str) -> Result:
        """Return the result of a task. A task that another caller has cancelled does not cancel the callers that wait for it.

        Raises:
            RequestError: the job was cancelled.
            BackendTimeout: it is not polled any more, but can be resumed.
        """
        try:
            return await task
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if not task.cancelled() or waiting is None or waiting.cancelling():
                await self._closed(run)
                raise
        if (stopping := self._stopping.get(run)) is not None:
            await asyncio.wait([stopping])
        self.drop(run, task)
        return await self._result_after_stop(run)

    async def _result_after_stop(self, run: str) -> Result:
        """Return the result of a run that was stopped after it had ended, or raise the error of its state."""
        records = await self.engine.store.run(run)
        record = run_status(records)
        if record.state not in FINAL_STATES:
            raise still_running_error(record, "it is no longer polled here")
        if record.state == "done":
            return result_of(records)
        raise cancelled_error(next((r for r in latest(records) if r.state == "cancelled"), record))

    def _task(self, run: str) -> asyncio.Task[Result] | None:
        """Return the task of a run that is of this event loop, or active on another one of this process."""
        task = self._tasks.get(run)
        if task is None or task.get_loop() is asyncio.get_running_loop():
            return task
        if not task.done() and task.get_loop().is_running() and self._pid == os.getpid():
            return task
        self.drop(run, task)
        return None

    async def _on_its_loop(self, run: str, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Do work on a run on the event loop of its task: only there can a task be awaited and cancelled."""
        while True:
            task = self._task(run)
            with contextlib.suppress(EventLoopEnded):
                return await on_loop(asyncio.get_running_loop() if task is None else task.get_loop(), work)

    async def is_active(self, run: str) -> bool:
        """Whether a run is being processed: by this process, or by another one that has the lease of one of its calls."""
        task = self._task(run)
        if task is not None and not task.done():
            return True
        records = [record for record in await self.engine.store.run(run) if record.state not in FINAL_STATES]
        return any(claimed(record, owner="", lease_seconds=LEASE_SECONDS, now=record.read_at) is None for record in records)

    async def wait(self, run: str, deadline: float | None) -> Result:
        """Wait for a run, at most some seconds; resume it if it is not being processed."""
        return await self._on_its_loop(run, lambda: self._finish(run, self._task(run), deadline))

    async def resume(self, run: str, deadline: float | None, *, rebind: bool = False) -> Result:
        """Like `wait`, but also resume what an ended task of this process has left open, and check ended jobs again."""

        def work() -> Work:
            task = self._task(run)
            return self._finish(run, None if task is None or task.done() else task, deadline, revise=True, rebind=rebind)

        return await self._on_its_loop(run, work)

    async def _finish(
        self, run: str, task: asyncio.Task[Result] | None, deadline: float | None, *, revise: bool = False, rebind: bool = False
    ) -> Result:
        """Wait for the task of a run, or resume the run; if the task ends with another caller's deadline, resume it then."""
        steady = self.engine.clock.steady
        until = ends_at(deadline, steady)
        while True:
            if task is None and (stopping := self._stopping.get(run)) is not None:
                await asyncio.wait([stopping])  # its calls are being closed
                task, revise = self._task(run), False
            left = None if until is None else max(0.0, until - steady())
            ours = task is None
            if task is None:
                task = self.start(run, resume_run(self.engine, run, left, revise=revise, rebind=rebind), limited=left is not None)
            try:
                return await self._join(task, run, left, revise=revise)
            except BackendTimeout:
                theirs = not ours and task.done() and not task.cancelled() and task in self._limited
                if not theirs or (until is not None and steady() >= until):
                    raise
            task = self._task(run)  # another caller may have resumed it

    async def _join(self, task: asyncio.Task[Result], run: str, deadline: float | None, *, revise: bool) -> Result:
        """Wait for a task, at most some seconds; the task continues after that. One of a run that has ended only reads the journal."""
        done, _ = await asyncio.wait([task], timeout=deadline)
        if not done:
            record = run_status(await self.engine.store.run(run))
            if record.state not in FINAL_STATES or (revise and record.state != "done"):
                raise still_running_error(record)
        return await self.wait_for_result(task, run)

    @property
    def being_stopped(self) -> Collection[str]:
        """The runs whose calls are being closed."""
        return self._stopping.keys()

    @contextlib.asynccontextmanager
    async def stopping(self, run: str) -> AsyncIterator[None]:
        """Stop the task of a run; it cannot be resumed while the block closes its calls."""
        stopped = self._stopping[run] = asyncio.get_running_loop().create_future()
        try:
            if (task := self._task(run)) is not None:
                task.cancel()
                await asyncio.wait([task])
                await self._closed(run)
            yield
            if task is not None:  # not another one: a worker may have taken the calls again
                self.drop(run, task)
        finally:
            self._stopping.pop(run, None)
            stopped.set_result(None)

    async def cancel(self, run: str) -> None:
        """Stop the task of a run and cancel its calls, at the provider if it supports that."""
        await self._on_its_loop(run, lambda: self._cancel(run))

    async def _cancel(self, run: str) -> None:
        async with self.stopping(run):
            for record in await self.engine.store.run(run):
                await cancel_call(self.engine, record)

    async def end(self) -> None:
        """Complete submits and downloads in progress, and stop polling the rest; what stays queued can be resumed."""
        found = {run: task for run in list(self._tasks) if (task := self._task(run)) is not None}
        ending = {run: task for run, task in found.items() if self.engine.whole is None or task in self._started}
        for loop in {task.get_loop() for task in ending.values()}:
            tasks = {run: task for run, task in ending.items() if task.get_loop() is loop}
            with contextlib.suppress(EventLoopEnded):
                await on_loop(loop, functools.partial(self._end, tasks))

    async def _end(self, ending: Mapping[str, asyncio.Task[Result]]) -> None:
        in_line = 0  # checks that found only calls that wait for their turn
        try:
            for run, task in ending.items():
                while not task.done():
                    records = await self.engine.store.run(run)
                    states = {record.state for record in records if record.owner == self.engine.owner}  # not what is waited for
                    if not states & {"submitting", "collecting"}:
                        in_line += 1
                        if in_line > _MOST_IN_LINE or "queued" not in states:
                            break
                    await asyncio.wait([task], timeout=_CHECK_SECONDS)
        finally:
            self._left.update(ending.values())
            for task in ending.values():
                task.cancel()
            await asyncio.wait(ending.values())
            for run, task in ending.items():
                self.drop(run, task)
            await asyncio.sleep(0)  # the callbacks of cancelled tasks
            if closing := [self._closing[run] for run in ending if run in self._closing]:
                await asyncio.wait(closing)
