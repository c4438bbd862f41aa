"""The router: plans requests and carries plans out. The one place that knows all the stations.

async with Router() as router:
    result = await router.generate_image(prompt="a red fox in snow", output="fox.png")
    plan = router.plan(GenerateVideo(prompt="waves"))      # no network, nothing spent
    result = await router.run(plan)
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .clock import Clock, SystemClock
from .errors import Fix, UnknownJob, did_you_mean
from .execution.engine import Engine, Progress, ProgressEvent
from .execution.plan_runner import Output, PlanRunner, check_cap
from .execution.prepare_inputs import InputReader, named_format, resolve
from .execution.resume import cancel_call, forget_run
from .execution.run_registry import RunRegistry
from .execution.run_result import result_of, run_status
from .files.names import made_up_stem
from .net.fetcher import Fetcher
from .plan_maker import PlanMaker
from .planning import Plan
from .plugins.instances import make_instances
from .plugins.registry import Registry, discover
from .policy import Policy
from .redaction import install_log_redaction, quiet_loggers
from .requests import (
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Request,
)
from .results import Result
from .settings import Settings, load_settings
from .state.sqlite import SqliteStore
from .state.store import CallRecord, CallState, Store

__all__ = ["Progress", "ProgressEvent", "Router"]


class Router:
    """Plans and carries out requests over the installed backends.

    Args:
        store: where journal, ledger and continuations are kept; by default SQLite in the state directory.
        policy: what is allowed; by default the settings' own.
        settings: by default the user's configuration file and environment.
        registry: the plugins; by default all that are installed and allowed.
        today: gives the date by which lifecycles are judged.
        clock: injectable for tests.
        on_progress: told of every sign of life.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        policy: Policy | None = None,
        settings: Settings | None = None,
        registry: Registry | None = None,
        today: Callable[[], datetime.date] | None = None,
        clock: Clock | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        quiet_loggers()
        install_log_redaction()
        self.settings = settings or load_settings()
        self.registry = registry or discover(allow=self.settings.plugins_allow, disabled=self.settings.disabled)
        self.instances = make_instances(self.registry, self.settings)
        clock = clock or SystemClock()
        self._plan_maker = PlanMaker(
            settings=self.settings,
            registry=self.registry,
            instances=self.instances,
            policy=policy or self.settings.policy,
            now=clock.now,
            **({} if today is None else {"today": today}),
        )
        self.policy = self._plan_maker.policy
        self.store: Store = store or SqliteStore(self.settings.state_dir / "state.db")
        self._engine = Engine(
            store=self.store,
            registry=self.registry,
            instances=self.instances,
            settings=self.settings,
            policy=self.policy,
            clock=clock,
            fetcher=Fetcher(allow=self.settings.fetch_allow),
            overlays=self._plan_maker.overlays,
            on_progress=on_progress,
        )
        self._run_registry = RunRegistry(self._engine)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let submits that are on their way arrive, leave running jobs to be resumed, close clients and store."""
        try:
            await self._run_registry.end()
        finally:
            await self._engine.clients.aclose()
            await self._engine.fetcher.aclose()
            self.store.close()

    # Planning

    def plan(
        self,
        request: Request,
        *,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        policy: Policy | None = None,
    ) -> Plan:
        """Choose the backend, the model and the exact calls, with their price. No network; nothing is spent.

        Raises:
            RequestError: no backend can do it as requested; with the nearest request that would work.
        """
        return self._plan_maker.plan(self._resolved(request), policy, backend, model)

    def name_warnings(self) -> list[str]:
        """Return a warning for each name in the settings that does not exist; a plan that it would decide is refused."""
        return [f"warning: {problem}" for problem in self._plan_maker.names.problems()]

    def _resolved(self, request: Request) -> Request:
        return resolve(request, lambda name: self.store.load_continuation(name, now=self._engine.clock.now()))

    # Running

    async def run(
        self,
        plan: Plan,
        *,
        output: Path | str | None = None,
        overwrite: bool = False,
        deadline: float | None = None,
        policy: Policy | None = None,
    ) -> Result:
        """Carry out a plan.

        Args:
            plan: from `plan`.
            output: a file, or a directory (existing, or with ``/`` at the end); None makes up a name in the
                working directory.
            overwrite: whether an existing file may be replaced.
            deadline: seconds from now after which the call gives up waiting; a running job stays resumable.
            policy: budget, retries, fallback and roots; by default the router's.

        Raises:
            RequestError: before anything is spent.
            SubmissionUnknown: the request may have arrived and no answer came; it was not sent again.
            BackendTimeout: the deadline passed; the job id is on the error.
            BackendError: the provider said no.
        """
        return await self._run(self._plan_runner(plan, output, overwrite, deadline, policy))

    async def _run(self, runner: PlanRunner) -> Result:
        await runner.open()
        try:
            return await self._run_registry.wait_for_result(self._start(runner), runner.run_id)
        finally:
            self._run_registry.drop(runner.run_id)

    async def execute(
        self,
        request: Request,
        *,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        policy: Policy | None = None,
        output: Path | str | None = None,
        overwrite: bool = False,
        deadline: float | None = None,
    ) -> Result:
        """Plan and run a request; see `plan` and `run`."""
        inputs = self._inputs(policy)
        plan = self._plan_maker.plan(named_format(self._resolved(request), output), policy, backend, model, inputs)
        return await self._run(self._plan_runner(plan, output, overwrite, deadline, policy, inputs))

    async def submit(
        self,
        request: Request | Plan,
        *,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        policy: Policy | None = None,
        output: Path | str | None = None,
        overwrite: bool = False,
        patience: float | None = None,
    ) -> CallRecord:
        """Send a request and return as soon as it is under way, with its job id; `wait` brings the result.

        ``patience``: seconds to wait at most for the provider to take a video's job; the submit goes on after that.

        Raises:
            RequestError: before anything is spent.
        """
        inputs = None
        if isinstance(request, Plan):
            plan = request
        else:
            inputs = self._inputs(policy)
            plan = self._plan_maker.plan(named_format(self._resolved(request), output), policy, backend, model, inputs)
        runner = self._plan_runner(plan, output, overwrite, None, policy, inputs)
        await runner.open()
        task = self._start(runner)
        clock = asyncio.get_running_loop().time
        until = None if patience is None else clock() + patience
        while plan.request.media == "video" and not task.done() and (until is None or clock() < until):
            if not any(r.state == "submitting" for r in self.store.run(runner.run_id)):
                break
            await asyncio.wait([task], timeout=0.02)
        return run_status(self.store.run(runner.run_id))

    def _start(self, runner: PlanRunner) -> asyncio.Task[Result]:
        return self._run_registry.start(runner.run_id, runner.run(), on_cancel=runner.give_up)

    def _inputs(self, policy: Policy | None) -> InputReader:
        return InputReader(roots=(policy or self.policy).input_roots, fetcher=self._engine.fetcher)

    def _plan_runner(
        self,
        plan: Plan,
        output: Path | str | None,
        overwrite: bool,
        deadline: float | None,
        policy: Policy | None,
        inputs: InputReader | None = None,
    ) -> PlanRunner:
        return PlanRunner(
            engine=self._engine,
            plan=plan,
            planner=self._plan_maker.planner(plan.request, policy),
            inputs=inputs or self._inputs(policy),
            output=Output(path=output, overwrite=overwrite, stem=lambda: made_up_stem(plan.request.prompt, self._plan_maker.today())),
            deadline=None if deadline is None else self._engine.clock.steady() + deadline,
        )

    def check(self, plan: Plan, *, output: Path | str | None = None, overwrite: bool = False, policy: Policy | None = None) -> None:
        """Check what `run` checks beyond the plan itself: the cap and the output. Nothing is sent, nothing remains.

        Raises:
            RequestError: as `run` would.
        """
        runner = self._plan_runner(plan, output, overwrite, None, policy)
        check_cap(plan, runner.policy)
        runner.check_output()

    # Jobs

    def job(self, job_id: str) -> CallRecord:
        """Return a row of the journal.

        Raises:
            UnknownJob: with the nearest id.
        """
        found = self.store.get(job_id) or next(iter(self.store.run(job_id)), None)
        if found is None:
            known = [row.id for row in self.store.calls(limit=200)]
            error = UnknownJob(f"no job {job_id!r}{did_you_mean(job_id, known)}")
            error.action = Fix("list_jobs")
            raise error
        return found

    def run_status(self, job_id: str) -> CallRecord:
        """Return the row that tells how the whole run of a job stands: one at work, else one that is done, else what it ended with.

        Raises:
            UnknownJob: with the nearest id.
        """
        return run_status(self.store.run(self.job(job_id).run))

    def result_if_done(self, job_id: str) -> Result | None:
        """Return what a job has brought, without waiting; None while it is at work, and where it brought nothing.

        Raises:
            UnknownJob: with the nearest id.
        """
        rows = self.store.run(self.job(job_id).run)
        return result_of(rows) if run_status(rows).state == "done" else None

    def is_active(self, job_id: str) -> bool:
        """Whether anybody is at work on a job just now: this router, or another one that holds one of its calls.

        Raises:
            UnknownJob: with the nearest id.
        """
        return self._run_registry.is_active(self.job(job_id).run)

    def jobs(self, states: Sequence[CallState] | None = None, since: float = 0.0, *, limit: int = 1000) -> Sequence[CallRecord]:
        """Return the rows of the journal, at most so many, the newest first."""
        return self.store.calls(states=states, since=since, limit=limit)

    async def wait(self, job_id: str, *, deadline: float | None = None) -> Result:
        """Wait for a job, whoever is at work on it; see `resume`."""
        return await self._run_registry.wait(self.job(job_id).run, deadline)

    async def resume(self, job_id: str, *, deadline: float | None = None) -> Result:
        """Pick a job up where it is: follow it, collect it, or look up a submit whose outcome is not known.

        Any process may; two never do at once: one waits for the other.

        Raises:
            UnknownJob, SubmissionUnknown, BackendTimeout, BackendError: see `run`.
        """
        return await self._run_registry.resume(self.job(job_id).run, deadline)

    async def cancel(self, job_id: str) -> CallRecord:
        """Stop a job: tell the provider where it can be told, and stop following it; return how it stands then.

        Raises:
            RequestError: another process is at work on it.
        """
        run = self.job(job_id).run
        async with self._run_registry.stopping(run):
            for row in self.store.run(run):
                await cancel_call(self._engine, row)
        return self.run_status(run)

    def forget(self, job_id: str) -> None:
        """Drop a job that has ended from the journal, all its calls or none; what it cost stays in the ledger.

        Raises:
            RequestError: it is still at work, or another process is looking up what became of it.
        """
        forget_run(self._engine, self.store.run(self.job(job_id).run))

    # One method per operation

    async def generate_image(self, **options: Any) -> Result:
        """Make images; takes the fields of `GenerateImage` and the options of `execute`."""
        return await self._make(GenerateImage, options)

    async def inpaint(self, **options: Any) -> Result:
        """Change a region of an image; takes the fields of `Inpaint` and the options of `execute`."""
        return await self._make(Inpaint, options)

    async def edit_with_references(self, **options: Any) -> Result:
        """Make an image from pictures; takes the fields of `EditWithReferences` and the options of `execute`."""
        return await self._make(EditWithReferences, options)

    async def generate_video(self, **options: Any) -> Result:
        """Make a video; takes the fields of `GenerateVideo` and the options of `execute`."""
        return await self._make(GenerateVideo, options)

    async def continue_video(self, **options: Any) -> Result:
        """Go on from a video; takes the fields of `ContinueVideo` and the options of `execute`."""
        return await self._make(ContinueVideo, options)

    async def generate_audio(self, **options: Any) -> Result:
        """Make speech or music; takes the fields of `GenerateAudio` and the options of `execute`."""
        return await self._make(GenerateAudio, options)

    async def _make(self, kind: type[Request], options: dict[str, Any]) -> Result:
        own = {k: options.pop(k) for k in ("backend", "model", "policy", "output", "overwrite", "deadline") if k in options}
        return await self.execute(kind(**options), **own)
