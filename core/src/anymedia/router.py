"""The router: plans requests and executes plans. The entry point for Python code.

async with Router() as router:
    result = await router.generate_image("a red fox in snow", output="fox.png")
    plan = await router.plan(GenerateVideo(prompt="waves"))      # no network, nothing spent
    result = await router.run(plan)
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .artifacts import ArtifactStore, Swept, artifacts_at
from .capabilities import CapabilityMatrix
from .clock import Clock, SystemClock
from .credentials import GivenKeys
from .errors import Fix, UnknownJob, did_you_mean, shown
from .execution.asked import Asked, OutputTo, check_arguments, checked, delivered, ends_at, job_name, listing, seconds
from .execution.engine import Engine, OnProgress, Progress, ProgressEvent, collect_garbage, listening
from .execution.governor import Slots
from .execution.listing import read_on_demand
from .execution.plan_runner import PlanRunner, check_cap
from .execution.prepare_inputs import InputReader, has_inputs, named_format, resolve, with_own_results
from .execution.resume import forget_run
from .execution.run_registry import RunRegistry
from .execution.runs import earlier_records, keyed_request, may_retry, repeated_run, request_digest, result_of, run_status
from .files.names import made_up_stem
from .net.fetcher import Fetcher
from .operations import Operations, split_options
from .plan_maker import PlanMaker, run_request
from .planning import Plan
from .plugins.instances import ModelInfo, list_models, make_instances
from .plugins.registry import Registry, discover
from .policy import Policy
from .realms import Realms
from .redaction import install_log_redaction, quiet_loggers
from .requests import Continuation, Operation, Request
from .results import Result
from .settings import Settings, load_settings
from .state.sql import Store
from .state.sqlite import store_at
from .state.store import CallRecord, CallState, RunKeyTaken
from .threads import in_thread

__all__ = ["Progress", "ProgressEvent", "Router"]

#: Prefix of the keys of callers who have none of their own.
_REPEAT = "request:"


class Router(Operations, Realms):
    """Plans and executes requests with the installed backends.

    Args:
        store: journal, ledger and continuations, or the URL of a PostgreSQL database for them; by default that of the settings, or
            else SQLite in the state directory.
        artifacts: inputs as sent, answers and finished files, or the URL of object storage for them; by default that of the settings,
            or else a directory in the state directory.
        policy: what is allowed; by default the policy of the settings.
        settings: by default the user's configuration file and environment.
        registry: the plugins; by default all that are installed and allowed.
        today: returns the date by which lifecycles are judged.
        clock: injectable for tests.
        on_progress: called with every progress event.
        project: the project that calls belong to, a scope of budgets; by default that of the settings.
        workers: whether calls are carried out by workers rather than by this process; by default as the settings say.
    """

    def __init__(
        self,
        *,
        store: Store | str | None = None,
        artifacts: ArtifactStore | str | None = None,
        policy: Policy | None = None,
        settings: Settings | None = None,
        registry: Registry | None = None,
        today: Callable[[], datetime.date] | None = None,
        clock: Clock | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        project: str | None = None,
        workers: bool | None = None,
    ) -> None:
        quiet_loggers()
        install_log_redaction()
        self.settings = settings or load_settings()
        self.registry = registry or discover(allow=self.settings.plugins_allow, disabled=self.settings.disabled)
        self.instances = make_instances(self.registry, self.settings)
        self._clock = clock or SystemClock()
        given: dict[str, Any] = {} if today is None else {"today": today}
        self._plan_maker = PlanMaker(
            settings=self.settings,
            registry=self.registry,
            instances=self.instances,
            policy=policy or self.settings.policy,
            now=self._clock.now,
            **given,
        )
        self.policy = self._plan_maker.policy
        place = self.settings.journal if store is None else store
        self.store: Store = store_at(place, clock=self._clock.now) if isinstance(place, str | Path) else place
        self.artifacts = artifacts_at(artifacts or self.settings.fleet_artifacts, self.settings.state_dir / "artifacts")
        self._engine = Engine(
            store=self.store,
            artifacts=self.artifacts,
            registry=self.registry,
            instances=self.instances,
            settings=self.settings,
            policy=self.policy,
            clock=self._clock,
            fetcher=Fetcher(allow=self.settings.fetch_allow, network=self.settings.network),
            overlays=self._plan_maker.overlays,
            on_progress=on_progress,
            project=project or self.settings.project,
        )
        self._run_registry = RunRegistry(self._engine)
        self._has_workers = self.settings.fleet_workers if workers is None else workers
        #: A request with a key waits for an earlier one in this process to be recorded and started.
        self._key_locks: weakref.WeakValueDictionary[tuple[str | None, str], Slots] = weakref.WeakValueDictionary()

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Complete submits in progress, leave running jobs to be resumed, close clients and store; a view closes only its own clients."""
        try:
            await self._run_registry.end()
        finally:
            if self._engine.whole is not None:
                await self._engine.clients.release(self._engine)
            else:
                await self._engine.aclose()
                await self.store.aclose()

    @checked
    async def plan(
        self,
        request: Request,
        *,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        policy: Policy | None = None,
        keys: GivenKeys | None = None,
    ) -> Plan:
        """Choose the backend, the model and the exact calls, with their price. Nothing is spent.

        No network, unless a model is named that has to be read on demand. The plan holds for the input files as they are now:
        `run` refuses a file that has changed since.

        Raises:
            RequestError: no backend can do it as requested; with the nearest request that would work.
        """
        return await self._with(keys)._plan(request, backend, model, policy, None)

    async def _plan(
        self, request: Request, backend: str | Sequence[str] | None, model: str | None, policy: Policy | None, inputs: InputReader | None
    ) -> Plan:
        check_arguments(request, backend, model)
        await read_on_demand(self.registry, self.settings, self.instances, backend, model)
        request = await self._with_own_results(request, policy)
        continuation: Continuation | None = getattr(request, "continue_from", None)
        if continuation is not None and not (continuation.resolved and self.realm is None):
            continuation = await self.store.load_continuation(continuation.id)
        data = None
        if continuation is not None:
            continuation, data = await self._inputs(policy).locate_stored(continuation)

        def work() -> Plan:
            resolved = request if continuation is None else resolve(request, continuation, data)
            return self._plan_maker.plan(resolved, policy, backend, model, inputs)

        return await in_thread(work) if has_inputs(request) else work()  # without files there is nothing to wait for

    def name_warnings(self) -> list[str]:
        """Return a warning for each name in the settings that does not exist; a plan that it would decide is refused."""
        return [f"warning: {problem}" for problem in self._plan_maker.names.problems()]

    def capabilities(self) -> Mapping[str, CapabilityMatrix]:
        """Return the capability matrix of each backend instance by its name."""
        return {name: instance.matrix for name, instance in self.instances.items()}

    def models(self, *, operation: Operation | None = None, usable: bool | None = None) -> list[ModelInfo]:
        """Return the models of all backend instances that are not retired, the usable ones first.

        Args:
            operation: only those with this operation.
            usable: only those that can be used now (True) or that lack something (False).
        """
        return list_models(self.instances.values(), self._plan_maker.today(), operation, usable)

    @checked
    async def run(
        self,
        plan: Plan,
        *,
        output: OutputTo = None,
        overwrite: bool = False,
        deadline: float | None = None,
        policy: Policy | None = None,
        key: str | None = None,
        on_progress: OnProgress | None = None,
        keys: GivenKeys | None = None,
    ) -> Result:
        """Execute a plan.

        Args:
            plan: from `plan`.
            output: a file, a directory (existing, or with ``/`` at the end), or an open binary file. By default no file is written:
                ``result.path`` is the stored artifact, read-only, which exists at least as long as this process.
            overwrite: whether an existing file may be replaced.
            deadline: seconds from now after which waiting ends; a running job can be resumed.
            policy: budget, retries, fallback and roots; by default the router's.
            key: a run key, see `execute`.
            on_progress: called with each progress event of this run.
            keys: API keys for this run, see `scoped`.

        Raises:
            RequestError: before anything is spent.
            SubmissionUnknown: the request may have arrived, but was not answered; it was not sent again.
            BackendTimeout: the deadline passed; the error has the job id.
            BackendError: the provider refused it or failed.
        """
        asked = Asked(policy=policy, output=output, overwrite=overwrite, key=key, on_progress=on_progress)
        return await self._with(keys)._execute(plan, asked, deadline)

    async def _execute(self, request: Request | Plan, asked: Asked, deadline: float | None) -> Result:
        asked.check_file(request.request if isinstance(request, Plan) else request)
        steady = self._engine.clock.steady
        until = ends_at(deadline, steady)
        run, _, task = await self._begin(request, asked, until, until)
        if task is None:
            with listening(asked.on_progress):
                found = await self._run_registry.wait(run, None if until is None else max(0.0, until - steady()))
            return asked.deliver(asked.repeated(await delivered(self._engine, found)))
        try:
            result = await self._run_registry.wait_for_result(task, run)
            return asked.deliver(await delivered(self._engine, result) if self.artifacts.is_shared else result)
        finally:
            self._run_registry.drop(run, task)

    async def _begin(
        self, request: Request | Plan, asked: Asked, until: float | None, run_until: float | None
    ) -> tuple[str, PlanRunner | None, asyncio.Task[Result] | None]:
        """Record, reserve and start the calls of a request; or find the run that its key belongs to.

        ``until``, ``run_until``: when recording ends, and the run, on the steady clock. The runner and the task are None unless the run
        was started here, and not left to workers.
        """
        if not isinstance(request, Plan):
            request = await self._with_own_results(request, asked.policy)
        inputs = self._inputs(asked.policy, request.digests if isinstance(request, Plan) else {})
        given = request.request if isinstance(request, Plan) else request
        keyed = await keyed_request(asked.key, given, inputs, backend=asked.backend, model=asked.model)
        lock = None if keyed is None else self._key_locks.setdefault((self.realm, keyed.key), Slots(lambda: 1))
        async with contextlib.nullcontext() if lock is None else lock.one():
            while True:
                earlier = () if keyed is None else await earlier_records(self.store, keyed)
                if earlier and not may_retry(earlier):
                    return earlier[0].run, None, None
                runner = await self._runner_for(request, asked, inputs)
                runner.keyed, runner.attempt = keyed, len(earlier)
                runner.priority = asked.priority if self._has_workers else None
                runner.run_id = earlier[0].run if earlier else runner.run_id
                try:
                    await runner.open(until)
                except RunKeyTaken:  # another process was first: its run is this one's, too
                    continue
                if self._has_workers:
                    return runner.run_id, None, None
                runner.deadline = run_until
                with listening(asked.on_progress):
                    return runner.run_id, runner, self._run_registry.start(runner.run_id, runner.run(), on_cancel=runner.give_up)

    async def _runner_for(self, request: Request | Plan, asked: Asked, inputs: InputReader) -> PlanRunner:
        if isinstance(request, Plan):
            plan = request
            if plan.continuation is not None and self.realm is not None:
                await self.store.load_continuation(plan.continuation.id)  # a plan alone does not give access to it
        else:
            plan = await self._plan(named_format(request, asked.path), asked.backend, asked.model, asked.policy, inputs)
        return self._plan_runner(plan, asked.path, asked.overwrite, asked.policy, inputs)

    @checked
    async def execute(
        self,
        request: Request,
        *,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        policy: Policy | None = None,
        output: OutputTo = None,
        overwrite: bool = False,
        deadline: float | None = None,
        key: str | None = None,
        on_progress: OnProgress | None = None,
        keys: GivenKeys | None = None,
    ) -> Result:
        """Plan and run a request; see `plan` and `run`.

        Args:
            request: the request.
            backend: see `plan`.
            model: see `plan`.
            policy: see `run`.
            output: see `run`.
            overwrite: see `run`.
            deadline: see `run`.
            key: a run key, such as an order number. The first request with a key starts a run; each repeat, in any process, returns
                that run's result. A run that ended certainly without a charge is attempted again.
            on_progress: see `run`.
            keys: see `run`.

        Raises:
            RunKeyConflict: the key belongs to another request, or to a job that was deleted.
        """
        asked = Asked(backend, model, policy, output, overwrite, key, on_progress)
        return await self._with(keys)._execute(request, asked, deadline)

    async def run_model(self, /, model: str, inputs: Mapping[str, Any], *, max_cost: float | None = None, **options: Any) -> Result:
        """Run a model (``backend/model``) by inputs under its own names, files as in other requests; options as for `execute`.

        ``max_cost``: US dollars that it may cost at most; needed where a cap is set and the price is unknown.
        """
        policy = (options.pop("policy", None) or self.policy).at_most(max_cost)
        await read_on_demand(self.registry, self.settings, self.instances, options.get("backend"), model)
        return await self.execute(run_request(self.instances, model, inputs), model=model, policy=policy, **options)

    async def stream(
        self,
        request: Request | Plan,
        *,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        policy: Policy | None = None,
        output: OutputTo = None,
        overwrite: bool = False,
        deadline: float | None = None,
        key: str | None = None,
        keys: GivenKeys | None = None,
    ) -> AsyncGenerator[Progress]:
        """Execute a request, or its plan, and yield its progress; the last event, ``result``, has the result.

        Leaving the loop early cancels the wait: a job that the provider has accepted can be resumed. Arguments: see `execute`.

            async for event in router.stream(GenerateVideo(prompt="waves")):
                print(event.state, event.fraction)
            print(event.result.path)
        """
        events: asyncio.Queue[Progress | None] = asyncio.Queue()
        asked = Asked(backend, model, policy, output, overwrite, key, events.put_nowait)
        task = asyncio.create_task(self._with(keys)._execute(request, asked, deadline))
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            result = await task
            made_by = result.provenance
            yield Progress(
                job_id=result.job_id,
                backend=made_by.backend,
                model=made_by.model,
                state="done",
                event="result",
                fraction=1.0,
                elapsed=result.seconds,
                result=result,
            )
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # also retrieves an error that was not read

    @checked
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
        deadline: float | None = None,
        key: str | None = None,
        on_progress: OnProgress | None = None,
        keys: GivenKeys | None = None,
        priority: int = 0,
    ) -> CallRecord:
        """Start a run and return its record with the job id; `wait` returns the result.

        Args:
            request: the request, or its plan.
            backend: see `plan`.
            model: see `plan`.
            policy: see `run`.
            output: a file or a directory, see `run`.
            overwrite: see `run`.
            patience: maximum seconds to wait until the provider has accepted a video's job; the run continues after that.
            deadline: maximum seconds to read the inputs and to record the calls; the run itself has no deadline.
            key: a run key, see `execute`; a repeat returns the record of the run that it belongs to.
            on_progress: see `run`.
            keys: see `run`.
            priority: where calls are left to workers, the higher the sooner.

        Raises:
            RequestError: before anything is spent.
            BackendTimeout: the deadline passed; nothing was sent.
        """
        until, patience = ends_at(deadline, self._engine.clock.steady), seconds(patience, "patience")
        asked = Asked(backend, model, policy, output, overwrite, key, on_progress, priority)
        run, runner, task = await self._with(keys)._begin(request, asked, until, None)
        if runner is not None and task is not None and runner.plan.media == "video":
            submitted = asyncio.ensure_future(runner.submitted.wait())
            await asyncio.wait([task, submitted], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            submitted.cancel()
        return run_status(await self.store.run(run))

    async def _with_own_results(self, request: Request, policy: Policy | None) -> Request:
        """Return the request with results of this router that have no name as bytes, where its paths are confined."""
        if (policy or self.policy).input_roots is None or not has_inputs(request):
            return request
        return await with_own_results(request, self.artifacts, self.store)

    def _inputs(self, policy: Policy | None, digests: Mapping[Path, str] | None = None) -> InputReader:
        roots = (policy or self.policy).input_roots
        return InputReader(roots=roots, fetcher=self._engine.fetcher, artifacts=self.artifacts, digests=dict(digests or {}))

    def _plan_runner(
        self, plan: Plan, output: Path | str | None, overwrite: bool, policy: Policy | None, inputs: InputReader | None = None
    ) -> PlanRunner:
        return PlanRunner(
            engine=self._engine,
            plan=plan,
            planner=self._plan_maker.planner(plan.request, policy),
            inputs=inputs or self._inputs(policy),
            output=output,
            overwrite=overwrite,
            stem=lambda: made_up_stem(plan.subject, self._plan_maker.today()),
        )

    async def check(self, plan: Plan, *, output: Path | str | None = None, overwrite: bool = False, policy: Policy | None = None) -> None:
        """Check what `run` checks beyond the plan itself: the cap and the output. Nothing is sent, nothing remains.

        Raises:
            RequestError: as `run` would.
        """
        runner = self._plan_runner(plan, output, overwrite, policy)
        check_cap(plan, runner.policy)
        await in_thread(runner.check_output)

    async def repeat_key(
        self, request: Request, /, *, policy: Policy | None = None, again: bool = False, **given: Any
    ) -> tuple[str, str | None]:
        """Return a key for a request of a caller who has none, and the run that it repeats.

        Args:
            request: the request.
            policy: contains the input roots.
            again: whether a new run is wanted in any case.
            given: further JSON values that make it a different request.

        Returns:
            The key, for `submit`; and the id of a run of the same request that is active or of unknown outcome, or whose result was
            not returned to its caller within the last hour (see `handed_over`).
        """
        request = await self._with_own_results(request, policy)
        digest = await request_digest(request, self._inputs(policy), given)
        key = f"{_REPEAT}{digest}"
        return key, await repeated_run(self.store, key, again=again)

    async def handed_over(self, run: str) -> None:
        """Record that a caller without a key has received the result of a run: the same request then starts a new run."""
        await self.store.drop_run_keys(run, _REPEAT)

    async def job(self, job_id: str) -> CallRecord:
        """Return the record of a job.

        Raises:
            UnknownJob: with the most similar id.
        """
        found = await self.store.get(job_name(job_id)) or next(iter(await self.store.run(job_id)), None)
        if found is None:
            known = [record.id for record in await self.store.calls(limit=200)]
            error = UnknownJob(f"no job {shown(job_id)}{did_you_mean(job_id, known)}")
            error.action = Fix("list_jobs")
            raise error
        return found

    async def run_status(self, job_id: str) -> CallRecord:
        """Return the record that shows the state of a job's whole run: an active one, else a done one, else the most serious failure.

        Raises:
            UnknownJob: with the most similar id.
        """
        return run_status(await self._records(job_id))

    async def result_if_done(self, job_id: str) -> Result | None:
        """Return the result of a job without waiting; None if it is active or has failed.

        Raises:
            UnknownJob: with the most similar id.
        """
        records = await self._records(job_id)
        return await delivered(self._engine, result_of(records)) if run_status(records).state == "done" else None

    async def is_active(self, job_id: str) -> bool:
        """Whether a job is being processed: by this router, or by another process that has the lease of one of its calls.

        Raises:
            UnknownJob: with the most similar id.
        """
        return await self._run_registry.is_active(await self._run_id(job_id))

    async def jobs(self, states: Sequence[CallState] | None = None, since: float = 0.0, *, limit: int = 1000) -> Sequence[CallRecord]:
        """Return call records, the newest first.

        Args:
            states: only in these states.
            since: only since this time, in seconds since the epoch.
            limit: maximum number.
        """
        return await self.store.calls(**listing(states, since, limit))

    async def wait(self, job_id: str, *, deadline: float | None = None) -> Result:
        """Wait for a job, whichever process is processing it; see `resume`. What has ended is not checked again."""
        return await delivered(self._engine, await self._run_registry.wait(await self._run_id(job_id), deadline))

    async def resume(self, job_id: str, *, deadline: float | None = None, rebind: bool = False) -> Result:
        """Continue a job from its current state: poll it, save its files, or look up a submit of unknown outcome.

        The state of a job that is lost, was cancelled, or failed according to a status check is always checked again. Any process can
        resume a job, but only one at a time does; the others wait.

        Args:
            job_id: the job.
            deadline: maximum seconds to wait.
            rebind: ask for the job at the address that is configured now, although it was submitted to another one: the service moved.

        Raises:
            SettingsError: without ``rebind``, with both addresses.
            UnknownJob, SubmissionUnknown, BackendTimeout, BackendError: see `run`.
        """
        return await delivered(self._engine, await self._run_registry.resume(await self._run_id(job_id), deadline, rebind=rebind))

    async def cancel(self, job_id: str) -> CallRecord:
        """Cancel a job, at the provider if it supports that, and stop polling it; return its record.

        Raises:
            RequestError: another process is processing it.
        """
        run = await self._run_id(job_id)
        await self._run_registry.cancel(run)
        return await self.run_status(run)

    async def forget(self, job_id: str, *, force: bool = False) -> None:
        """Delete a job that has ended from the journal, all its calls or none; its cost stays in the ledger.

        Args:
            job_id: the job.
            force: delete results as well that exist nowhere else.

        Raises:
            RequestError: it is still active, another process is looking it up, or a result was never saved to a file or that
                file is gone.
        """
        await forget_run(self._engine, await self._records(job_id), force=force)

    async def gc(self, *, dry_run: bool = False) -> Swept:
        """Remove stored artifacts by age and total size (``[artifacts] keep_days, max_bytes``); return what was removed.

        Artifacts of jobs that have not ended and results that were never saved to a file are kept; ``dry_run`` removes nothing.
        """
        return await collect_garbage(self._engine, within=None if self.realm is None else self.store, dry_run=dry_run)

    async def _run_id(self, job_id: str) -> str:
        return (await self.job(job_id)).run

    async def _records(self, job_id: str) -> Sequence[CallRecord]:
        return await self.store.run(await self._run_id(job_id))

    async def _ask(self, kind: type[Request], given: dict[str, Any]) -> Result:
        return await self.execute(**split_options(kind, given))
