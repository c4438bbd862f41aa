"""The router for code without ``await``.

with SyncRouter() as router:
    result = router.generate_image(prompt="a red fox in snow", output="fox.png")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from .artifacts import Swept
from .planning import Plan
from .policy import Policy
from .requests import Request
from .results import Result
from .router import Router
from .settings import Settings
from .state.store import CallRecord, CallState

__all__ = ["SyncRouter"]

_T = TypeVar("_T")


class SyncRouter:
    """A `Router` for code without ``await``: scripts, threads, notebooks, and functions called from a running event loop.

    The router runs on its own event loop in a background thread. A method blocks until it is done; Ctrl-C cancels it.
    ``on_progress`` is called on the background thread.

    Args:
        options: the arguments of `Router`.
    """

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="anymedia-router", daemon=True)
        self._thread.start()
        try:
            self._router = self._call(self._create(options))
        except BaseException:
            self._stop()
            raise

    @staticmethod
    async def _create(options: dict[str, Any]) -> Router:
        return Router(**options)

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this SyncRouter is closed")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    async def _shut_down(self) -> None:
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    def _stop(self) -> None:
        self._call(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the router, see `Router.aclose`, and its event loop; closing again does nothing."""
        if self._loop.is_closed():
            return
        try:
            self._call(self._router.aclose())
        finally:
            self._stop()

    @property
    def settings(self) -> Settings:
        """The router's settings."""
        return self._router.settings

    @property
    def policy(self) -> Policy:
        """The router's policy."""
        return self._router.policy

    def plan(
        self, request: Request, *, backend: str | Sequence[str] | None = None, model: str | None = None, policy: Policy | None = None
    ) -> Plan:
        """See `Router.plan`."""
        return self._call(self._router.plan(request, backend=backend, model=model, policy=policy))

    def run(
        self,
        plan: Plan,
        *,
        output: Path | str | None = None,
        overwrite: bool = False,
        deadline: float | None = None,
        policy: Policy | None = None,
        key: str | None = None,
    ) -> Result:
        """See `Router.run`."""
        return self._call(self._router.run(plan, output=output, overwrite=overwrite, deadline=deadline, policy=policy, key=key))

    def execute(self, request: Request, **options: Any) -> Result:
        """See `Router.execute`."""
        return self._call(self._router.execute(request, **options))

    def submit(self, request: Request | Plan, **options: Any) -> CallRecord:
        """See `Router.submit`."""
        return self._call(self._router.submit(request, **options))

    def check(self, plan: Plan, *, output: Path | str | None = None, overwrite: bool = False, policy: Policy | None = None) -> None:
        """See `Router.check`."""
        self._call(self._router.check(plan, output=output, overwrite=overwrite, policy=policy))

    def job(self, job_id: str) -> CallRecord:
        """See `Router.job`."""
        return self._call(self._router.job(job_id))

    def run_status(self, job_id: str) -> CallRecord:
        """See `Router.run_status`."""
        return self._call(self._router.run_status(job_id))

    def result_if_done(self, job_id: str) -> Result | None:
        """See `Router.result_if_done`."""
        return self._call(self._router.result_if_done(job_id))

    def is_active(self, job_id: str) -> bool:
        """See `Router.is_active`."""
        return self._call(self._router.is_active(job_id))

    def jobs(self, states: Sequence[CallState] | None = None, since: float = 0.0, *, limit: int = 1000) -> Sequence[CallRecord]:
        """See `Router.jobs`."""
        return self._call(self._router.jobs(states, since, limit=limit))

    def wait(self, job_id: str, *, deadline: float | None = None) -> Result:
        """See `Router.wait`."""
        return self._call(self._router.wait(job_id, deadline=deadline))

    def resume(self, job_id: str, *, deadline: float | None = None) -> Result:
        """See `Router.resume`."""
        return self._call(self._router.resume(job_id, deadline=deadline))

    def cancel(self, job_id: str) -> CallRecord:
        """See `Router.cancel`."""
        return self._call(self._router.cancel(job_id))

    def forget(self, job_id: str, *, force: bool = False) -> None:
        """See `Router.forget`."""
        self._call(self._router.forget(job_id, force=force))

    def gc(self, *, dry_run: bool = False) -> Swept:
        """See `Router.gc`."""
        return self._call(self._router.gc(dry_run=dry_run))

    def generate_image(self, **options: Any) -> Result:
        """See `Router.generate_image`."""
        return self._call(self._router.generate_image(**options))

    def inpaint(self, **options: Any) -> Result:
        """See `Router.inpaint`."""
        return self._call(self._router.inpaint(**options))

    def edit_with_references(self, **options: Any) -> Result:
        """See `Router.edit_with_references`."""
        return self._call(self._router.edit_with_references(**options))

    def generate_video(self, **options: Any) -> Result:
        """See `Router.generate_video`."""
        return self._call(self._router.generate_video(**options))

    def continue_video(self, **options: Any) -> Result:
        """See `Router.continue_video`."""
        return self._call(self._router.continue_video(**options))

    def generate_audio(self, **options: Any) -> Result:
        """See `Router.generate_audio`."""
        return self._call(self._router.generate_audio(**options))
