"""The runs that this process is at, each in a task of its own that whoever asks for the job finds."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import attrs

from ..errors import BackendTimeout
from ..results import Result
from ..state.store import FINAL_STATES
from ..state.transitions import claimed
from .engine import LEASE_SECONDS, Engine
from .poll import still_running_error
from .resume import cancelled_error, resume_run
from .run_result import latest, result_of, run_status

__all__ = ["RunRegistry"]


@attrs.define(eq=False)
class RunRegistry:
    """Tasks by run id: to wait for, or to stop.

    What a task brought is handed out once, to all who wait for it then; who asks later asks the journal, and takes up what is open.
    """

    engine: Engine
    _tasks: dict[str, asyncio.Task[Result]] = attrs.field(factory=dict, init=False)
    _limited: weakref.WeakSet[asyncio.Task[Result]] = attrs.field(factory=weakref.WeakSet, init=False)
    _stopping: dict[str, asyncio.Future[None]] = attrs.field(factory=dict, init=False)

    def start(
        self, run: str, work: Coroutine[Any, Any, Result], *, on_cancel: Callable[[], None] | None = None, limited: bool = False
    ) -> asyncio.Task[Result]:
        """Do the work of a run in a task; ``on_cancel`` is called if that is cancelled, be it before it began.

        ``limited``: it ends with the deadline of whoever began it.
        """
        task = asyncio.create_task(work)
        if limited:
            self._limited.add(task)
        if on_cancel is not None:
            task.add_done_callback(lambda ended: on_cancel() if ended.cancelled() else None)
        task.add_done_callback(_quietly)
        self._tasks[run] = task
        return task

    def drop(self, run: str, task: asyncio.Task[Result] | None = None) -> None:
        """Forget a task (just this one, where it is given) that nobody will ask for."""
        if task is None or self._tasks.get(run) is task:
            self._tasks.pop(run, None)

    async def wait_for_result(self, task: asyncio.Task[Result], run: str) -> Result:
        """Return what a task brings. That somebody else has cancelled it does not cancel who waits for it.

        Raises:
            RequestError: the job was cancelled.
            BackendTimeout: it is not followed any more, but may be resumed.
        """
        try:
            return await task
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if not task.cancelled() or waiting is None or waiting.cancelling():
                raise
        finally:
            if task.done() and not task.cancelled():
                self.drop(run, task)
        if (stopping := self._stopping.get(run)) is not None:
            await asyncio.wait([stopping])
        self.drop(run, task)
        return self._after_all(run)

    def _after_all(self, run: str) -> Result:
        """Return what a run that was stopped had brought by then, or raise how it stands."""
        rows = self.engine.store.run(run)
        row = run_status(rows)
        if row.state not in FINAL_STATES:
            raise still_running_error(row, "it is not followed here any more")
        if row.state == "done":
            return result_of(rows)
        raise cancelled_error(next((r for r in latest(rows) if r.state == "cancelled"), row))

    def is_active(self, run: str) -> bool:
        """Whether anybody is at work on a run just now: this process, or another one that holds one of its calls."""
        task, now = self._tasks.get(run), self.engine.clock.now()
        if task is not None and not task.done():
            return True
        rows = [row for row in self.engine.store.run(run) if row.state not in FINAL_STATES]
        return any(claimed(row, owner="", lease_seconds=LEASE_SECONDS, now=now) is None for row in rows)

    async def wait(self, run: str, deadline: float | None) -> Result:
        """Wait for a run, for some seconds at most; what nobody is at work on is taken up.

        Raises:
            MediaError: see `Router.resume`.
        """
        return await self._finish(run, self._tasks.get(run), deadline)

    async def resume(self, run: str, deadline: float | None) -> Result:
        """Do as `wait`, and take up anew what a task of this process has left open."""
        task = self._tasks.get(run)
        return await self._finish(run, None if task is None or task.done() else task, deadline)

    async def _finish(self, run: str, task: asyncio.Task[Result] | None, deadline: float | None) -> Result:
        """Wait for who is at work on a run, or take it up; where they stop for a deadline that is not ours, take it up then."""
        steady = self.engine.clock.steady
        until = None if deadline is None else steady() + deadline
        while True:
            if task is None and (stopping := self._stopping.get(run)) is not None:
                await asyncio.wait([stopping])  # its rows are being closed
                task = self._tasks.get(run)
            left = None if until is None else max(0.0, until - steady())
            ours = task is None
            if task is None:
                task = self.start(run, resume_run(self.engine, run, left), limited=left is not None)
            try:
                return await self._join(task, run, left)
            except BackendTimeout:
                theirs = not ours and task.done() and not task.cancelled() and task in self._limited
                if not theirs or (until is not None and steady() >= until):
                    raise
            task = self._tasks.get(run)  # another one of those who waited may be at it by now

    async def _join(self, task: asyncio.Task[Result], run: str, deadline: float | None) -> Result:
        """Wait for a task, for some seconds at most; whoever stops waiting does not stop it."""
        done, _ = await asyncio.wait([task], timeout=deadline)
        if not done:
            raise still_running_error(run_status(self.engine.store.run(run)))
        return await self.wait_for_result(task, run)

    @contextlib.asynccontextmanager
    async def stopping(self, run: str) -> AsyncIterator[None]:
        """Stop the task of a run; while the block closes its rows, nobody takes them up again."""
        stopped = self._stopping[run] = asyncio.get_running_loop().create_future()
        try:
            if (task := self._tasks.get(run)) is not None:
                task.cancel()
                await asyncio.wait([task])
            yield
            self.drop(run)
        finally:
            self._stopping.pop(run, None)
            stopped.set_result(None)

    async def end(self) -> None:
        """Let submits that are on their way arrive and files that are coming in be named; stop following the rest."""
        try:
            for run, task in list(self._tasks.items()):
                while not task.done() and any(r.state in {"submitting", "collecting"} for r in self.engine.store.run(run)):
                    await asyncio.wait([task], timeout=0.1)
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            self._tasks.clear()


def _quietly(task: asyncio.Task[Result]) -> None:
    """Look at a background task's error, so that it is not reported as never retrieved; who waits for it raises it."""
    if not task.cancelled():
        task.exception()
