"""The runs that this process is at, each in a task of its own that whoever asks for the job finds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import attrs

from ..results import Result
from .engine import Engine
from .following import still_running
from .results import latest
from .resuming import was_cancelled

__all__ = ["Underway"]


@attrs.define(eq=False)
class Underway:
    """Tasks by run id: to wait for, or to stop."""

    engine: Engine
    _tasks: dict[str, asyncio.Task[Result]] = attrs.field(factory=dict, init=False)
    _stopping: dict[str, asyncio.Future[None]] = attrs.field(factory=dict, init=False)

    def get(self, run: str) -> asyncio.Task[Result] | None:
        """Return the task of a run, ended or not."""
        return self._tasks.get(run)

    def begin(self, run: str, work: Coroutine[Any, Any, Result], *, given_up: Callable[[], None] | None = None) -> asyncio.Task[Result]:
        """Do the work of a run in a task; ``given_up`` is called if that is cancelled, be it before it began."""
        task = asyncio.create_task(work)
        if given_up is not None:
            task.add_done_callback(lambda ended: given_up() if ended.cancelled() else None)
        task.add_done_callback(_quietly)
        self._tasks[run] = task
        return task

    def drop(self, run: str) -> None:
        """Forget a task that nobody will ask for."""
        self._tasks.pop(run, None)

    async def answer(self, task: asyncio.Task[Result], run: str) -> Result:
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
        if (stopping := self._stopping.get(run)) is not None:
            await asyncio.wait([stopping])
        row = latest(self.engine.store.run(run))[0]
        raise was_cancelled(row) if row.state == "cancelled" else still_running(row, "it is not followed here any more")

    async def join(self, task: asyncio.Task[Result], run: str, deadline: float | None) -> Result:
        """Wait for a task, for some seconds at most; whoever stops waiting does not stop it."""
        done, _ = await asyncio.wait([task], timeout=deadline)
        if not done:
            raise still_running(latest(self.engine.store.run(run))[0])
        return await self.answer(task, run)

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
