"""MediaTool: one call for every medium with a flat set of fields, which returns a dict and does not raise.

    answer = await generate_media(prompt="a red fox in snow", output_path="fox.png")
    if not answer["success"]:
        print(answer["error"]["fix"])

A `MediaTool` has a router, a path scope and a policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import attrs

from ..errors import (
    AuthenticationFailed,
    BackendUnavailable,
    BudgetExceeded,
    InvalidRequest,
    JobCancelled,
    MediaError,
    ModelRetired,
    NoBackendAvailable,
    Problem,
    QuotaExceeded,
    RateLimited,
    UnknownBackend,
    UnknownJob,
    UnknownModel,
    UnsupportedInput,
    UnsupportedOperation,
)
from ..fields import Check, in_range, one_of
from ..formatting import in_dollars
from ..generation_config import GenerationConfig
from ..planning import is_over_cap
from ..policy import Policy
from ..redaction import clean_text
from ..results import Warning
from ..router import Progress, Router
from ..state.codec import error_from_json
from ..state.store import ACTIVE_STATES, FINAL_STATES
from .normalize import PathScope, ToolCall, flat, listed, read_tool_call, resolve_paths, whole_number
from .responses import error_answer, internal, job_answer, plan_answer, result_answer, resume_call_text, several_answer

if TYPE_CHECKING:
    from ..planning import Plan
    from ..requests import Request

#: US dollars that sums of amounts may be off by.
_ROUNDING = 1e-9


async def run_several(calls: Sequence[Callable[[], Awaitable[dict[str, Any]]]], max_concurrent: int) -> dict[str, Any]:
    """Run calls, at most ``max_concurrent`` at a time, and return their answers in order."""
    semaphore = asyncio.Semaphore(max_concurrent)

    async def one(call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        async with semaphore:
            return await _answered(call())

    return several_answer(list(await asyncio.gather(*(one(call) for call in calls))))


@attrs.define(eq=False)
class Reservation:
    """The part of a shared budget that one call has reserved, in US dollars: at first the high end of its quote."""

    usd: float
    capped: bool = False

    def limit(self, policy: Policy) -> Policy:
        """Return a policy whose cap is the reservation, so that a fallback cannot cost more."""
        if not self.capped:
            return policy
        return policy.capped(self.usd + _ROUNDING)

    def spent(self, actual: float | None) -> None:
        """Record the actual cost, if it is known."""
        if actual is not None:
            self.usd = actual


def _check(name: str, value: Any, check: Check) -> None:
    """Refuse an argument that does not pass a check."""
    if (problem := check(value)) is not None:
        raise InvalidRequest([Problem(f"$.{name}", problem)])


class SharedBudget:
    """A cap that several calls share. A call waits while others have reserved money that they may not spend."""

    def __init__(self, cap: Any) -> None:
        if cap is not None:
            _check("max_cost_usd", cap, in_range(0, 1_000_000))
        self._cap: float | None = cap
        self._spent = 0.0
        self._reserved = 0.0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def reserve(self, plan: Plan) -> AsyncIterator[Reservation]:
        """Reserve the high end of a plan's quote while the block runs, or raise `BudgetExceeded`; afterwards the actual cost counts."""
        reservation = Reservation(await self._take(plan), capped=self._cap is not None)
        reserved = reservation.usd
        try:
            yield reservation
        except MediaError as error:
            if error.charged == "no":
                reservation.usd = 0.0
            raise
        finally:
            async with self._changed:
                self._reserved -= reserved
                self._spent += reservation.usd
                self._changed.notify_all()

    async def _take(self, plan: Plan) -> float:
        if self._cap is None:
            return 0.0
        if plan.quote.usd is None:
            raise BudgetExceeded(f"the price of '{plan.chosen}' is unknown, and the calls share a cap of {in_dollars(self._cap)} USD")
        wanted = plan.quote.usd[1]
        async with self._changed:
            while self._spent + self._reserved + wanted > self._cap + _ROUNDING and self._reserved > _ROUNDING:
                await self._changed.wait()
            left = self._cap - self._spent
            if wanted > left + _ROUNDING:
                asked, cap, rest = (in_dollars(amount) for amount in (wanted, self._cap, max(left, 0)))
                text = f"'{plan.chosen}' may cost {asked} USD; of the {cap} USD for all calls {rest} are left"
                raise BudgetExceeded(text, fix="ask for fewer, or for a higher max_cost_usd")
            self._reserved += wanted
            return wanted


Action = Literal["status", "wait", "cancel", "export"]
OnProgress = Callable[[Progress], None]

#: Errors after which another backend may be suggested; refused content is not sent to another one.
_TRY_OTHERS = (
    UnsupportedOperation, UnsupportedInput, ModelRetired, UnknownBackend, UnknownModel, NoBackendAvailable,
    AuthenticationFailed, QuotaExceeded, RateLimited, BackendUnavailable,
)  # fmt: skip
#: What a list of jobs says about each.
_LISTED = frozenset({"job_id", "state", "operation", "backend", "model", "charged", "cost", "prompt"})
#: States of a call that has ended, or may have, without a result.
_WITHOUT_RESULT = frozenset({"failed", "refused", "unknown", "lost"})
_listener: contextvars.ContextVar[OnProgress | None] = contextvars.ContextVar("anymedia_listener", default=None)


def tell(progress: Progress) -> None:
    """Pass a progress event to the ``on_progress`` of its call; give this function to a Router as ``on_progress``."""
    if (listener := _listener.get()) is not None:
        listener(progress)


@attrs.frozen(kw_only=True)
class _Ready:
    """A call after validation: its config, request and policy, and the names of its fields as the caller wrote them."""

    config: GenerationConfig
    request: Request
    policy: Policy
    names: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def output(self) -> str:
        return self.config.output_path or "."

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Name the problems of an invalid request, while it is read, planned or submitted, as the caller wrote its fields."""
        try:
            yield
        except InvalidRequest as error:
            raise self.config.locate(error).renamed(self.names) from None


def _id_of(plan: Plan, number: int) -> str:
    """Return a name for a call of a request by what a person is asked about: backend, model, price and prompt."""
    asked = (number, plan.operation, str(plan.chosen), plan.quote.usd, len(plan.calls), getattr(plan.request, "prompt", ""))
    return hashlib.blake2b(repr(asked).encode(errors="replace"), digest_size=12).hexdigest()


class MediaTool:
    """The tool of an agent: generate and plan media and follow jobs, within a path scope and a policy.

    Args:
        router: the caller closes it. It needs ``on_progress=anymedia.agents.tell`` for progress events.
        roots: directories that every path must lie in; by default the policy's, else the tree of the base directory.
        base: where relative paths start; by default the working directory.
        policy: by default the router's.
        realm: the jobs and continuations that the tool sees. By default that of the router, if it is a view of one realm, else one
            derived from the roots; a name keeps it when the roots change.
    """

    def __init__(
        self,
        router: Router,
        *,
        roots: Iterable[str | Path] | None = None,
        base: str | Path | None = None,
        policy: Policy | None = None,
        realm: str | None = None,
    ) -> None:
        self._base_policy = policy or router.policy
        self.scope = PathScope.of(base, roots, self._base_policy)
        self.router = router.scoped(realm=realm or router.realm or self.scope.realm)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        *,
        roots: Iterable[str | Path] | None = None,
        base: str | Path | None = None,
        realm: str | None = None,
        **router_options: Any,
    ) -> AsyncIterator[Self]:
        """Open a tool with its own router; the options are those of `Router`."""
        async with Router(**{"on_progress": tell, **router_options}) as router:
            yield cls(router, roots=roots, base=base, realm=realm)

    # Public calls

    async def generate(
        self, config: Any = None, /, *, on_progress: OnProgress | None = None, approved: Collection[str] = (), **fields: Any
    ) -> dict[str, Any]:
        """Generate media and return a JSON-ready dict; nothing but cancellation is raised.

        Args:
            config: a mapping, JSON text or a `GenerationConfig`; typically a model's own arguments.
            on_progress: called with each progress event of this call.
            approved: the plans that a person has approved, see `to_approve`.
            fields: the same as keyword arguments.
        """
        token = _listener.set(on_progress) if on_progress is not None else None
        try:
            return await _answered(self._generate(config, fields, frozenset(approved)))
        finally:
            if token is not None:
                _listener.reset(token)

    async def to_approve(self, config: Any = None, /, **fields: Any) -> dict[str, str]:
        """Return what a person must approve before `generate` with the same fields: an id and a text for each such call.

        Empty if nothing needs approval, if an ``on_quote`` of the policy is asked instead, or if the call cannot be planned.
        """
        if self._base_policy.ask_above_usd is None or self._base_policy.on_quote is not None:
            return {}
        found: dict[str, str] = {}
        with contextlib.suppress(MediaError):
            tool_call, scope = self._read(config, fields)
            for number, call in enumerate(tool_call.calls):
                ready = self._ready(call, tool_call.names, scope)
                _, repeated = await self._repeat(ready, number, again=tool_call.again)
                if repeated is None and ready.policy.needs_approval(plan := await self._planned(ready)):
                    cost = "price unknown" if plan.quote.usd is None else f"up to {in_dollars(plan.quote.usd[1])} USD"
                    prompt = clean_text(str(getattr(plan.request, "prompt", "")), 120)
                    found[_id_of(plan, number)] = f"{plan.operation} by {plan.chosen}, {cost}" + (f": {prompt}" if prompt else "")
        return found

    async def plan(self, config: Any = None, /, **fields: Any) -> dict[str, Any]:
        """Return the plan of `generate` for the same fields; nothing is spent."""
        return await _answered(self._plan(config, fields))

    async def batch(self, calls: Iterable[Any], *, max_concurrent: int = 4, max_cost_usd: float | None = None) -> dict[str, Any]:
        """Run a list of calls concurrently under a shared budget (US dollars); a failure does not stop the others."""
        try:
            items, concurrent, budget = listed(calls, "calls"), whole_number(max_concurrent, "max_concurrent"), SharedBudget(max_cost_usd)
        except MediaError as error:
            return error_answer(error)
        work = [functools.partial(self._one_of, item, budget, number) for number, item in enumerate(items)]
        return await run_several(work, max(1, concurrent))

    async def job(
        self, job_id: str, action: Action = "status", deadline: float | None = None, output_path: str | None = None
    ) -> dict[str, Any]:
        """Return the status of a job, wait for its result (up to ``deadline`` seconds), or cancel it.

        ``export`` copies what was received and could not be interpreted to ``output_path``, a directory or a file named ``.bin``.
        """
        return await _answered(self._job(job_id, action, deadline, output_path), job_id)

    # Implementation

    def _read(self, config: Any, fields: Mapping[str, Any]) -> tuple[ToolCall, PathScope]:
        tool_call = read_tool_call(flat(config, fields))
        return tool_call, self.scope.narrowed(tool_call.agent_cwd, tool_call.allowed_paths)

    async def _generate(self, config: Any, fields: Mapping[str, Any], approved: frozenset[str]) -> dict[str, Any]:
        tool_call, scope = self._read(config, fields)
        if len(tool_call.calls) == 1:
            return await self._answer(tool_call.calls[0], tool_call, scope, SharedBudget(None), approved=approved)
        shared_budget = SharedBudget(tool_call.max_cost_usd)
        calls = [
            functools.partial(self._answer, call, tool_call, scope, shared_budget, number, approved)
            for number, call in enumerate(tool_call.calls)
        ]
        return await run_several(calls, tool_call.max_concurrent)

    async def _plan(self, config: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
        tool_call, scope = self._read(config, fields)
        shared_budget = SharedBudget(tool_call.max_cost_usd if len(tool_call.calls) > 1 else None)

        async def one(call: Mapping[str, Any]) -> dict[str, Any]:
            ready = None
            try:
                ready = self._ready(call, tool_call.names, scope)
                plan = await self._planned(ready)
                await self.router.check(plan, policy=ready.policy, output=ready.output, overwrite=ready.config.overwrite)
                async with shared_budget.reserve(plan) as reservation:
                    reservation.spent(plan.quote.usd[0] if plan.quote.usd else None)  # the minimum cost
                return plan_answer(plan)
            except MediaError as error:
                return error_answer(error, await self._able(ready, error))

        if len(tool_call.calls) == 1:
            return await one(tool_call.calls[0])
        return await run_several([functools.partial(one, call) for call in tool_call.calls], 1)

    async def _one_of(self, item: Any, shared_budget: SharedBudget, number: int) -> dict[str, Any]:
        tool_call, scope = self._read(item, {})
        if len(tool_call.calls) > 1:
            raise InvalidRequest([Problem("$.prompts", "a call of a batch has one prompt", "give each prompt as a call")])
        return await self._answer(tool_call.calls[0], tool_call, scope, shared_budget, number)

    async def _answer(
        self,
        call: Mapping[str, Any],
        tool_call: ToolCall,
        scope: PathScope,
        shared_budget: SharedBudget,
        number: int = 0,
        approved: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        """Run one call and return its answer; every error becomes an answer.

        A repeat of a call whose result was not returned yet is answered with the job of that call.
        """
        ready, job_id = None, None
        try:
            ready = self._ready(call, tool_call.names, scope)
            key, repeated = await self._repeat(ready, number, again=tool_call.again)
            if repeated is not None:
                job_id = repeated
                return await self._answer_repeat(repeated, tool_call)
            plan = await self._planned(ready)
            if approved:
                ready = attrs.evolve(ready, policy=ready.policy.but(on_quote=lambda asked: _id_of(asked, number) in approved))
            async with shared_budget.reserve(plan) as reservation:
                clock = asyncio.get_running_loop().time
                until = None if tool_call.deadline is None else clock() + tool_call.deadline
                with ready.located():
                    record = await self.router.submit(
                        plan,
                        policy=reservation.limit(ready.policy),
                        output=ready.output,
                        overwrite=ready.config.overwrite,
                        patience=tool_call.patience,
                        deadline=tool_call.deadline,
                        key=key,
                    )
                job_id = record.run
                if not tool_call.wait and (record.state not in _WITHOUT_RESULT or await self.router.is_active(record.run)):
                    return job_answer(record)
                result = await self.router.wait(record.run, deadline=None if until is None else max(0.0, until - clock()))
                reservation.spent(result.cost.actual_usd)
                await self.router.handed_over(record.run)
                return result_answer(result)
        except MediaError as error:
            error.job_id = error.job_id or job_id
            await self._hand_over_error(job_id)
            return error_answer(error, await self._able(ready, error))
        except asyncio.CancelledError:
            if _task_cancelled():
                raise
            return error_answer(JobCancelled("the job was cancelled before it finished", job_id=job_id))
        except Exception as error:  # noqa: BLE001 - an agent always gets an answer
            return error_answer(internal(error, charged="no" if job_id is None else "unknown", job_id=job_id))

    async def _repeat(self, ready: _Ready, number: int, *, again: bool) -> tuple[str, str | None]:
        """Return the key of a call, made of its arguments, and the run that it repeats."""
        config = ready.config
        given = {"backend": config.backend, "model": config.model, "output": config.output_path, "number": number}
        with ready.located():
            return await self.router.repeat_key(ready.request, policy=ready.policy, again=again, **given)

    async def _hand_over_error(self, run: str | None) -> None:
        """Let the next request of the same kind start a new run, if this one has ended with an error that is returned now."""
        if run is not None and (await self.router.run_status(run)).state in FINAL_STATES:
            await self.router.handed_over(run)

    async def _answer_repeat(self, run: str, tool_call: ToolCall) -> dict[str, Any]:
        if tool_call.wait:
            answer = result_answer(await self.router.wait(run, deadline=tool_call.deadline))
            await self.router.handed_over(run)
        else:
            answer = job_answer(await self.router.run_status(run))
        text = f"the same request was already submitted as {run}; this is its job, and nothing was paid again (again=true submits it again)"
        answer["warnings"].append(Warning("repeated_request", text).to_json())
        return answer

    def _ready(self, call: Mapping[str, Any], names: Mapping[str, str], scope: PathScope) -> _Ready:
        try:
            fields = resolve_paths(call, scope)
            self._check_audio_type(fields)
            config = GenerationConfig.from_json(fields)
            policy = config.policy(scope.policy(self._base_policy))
            return _Ready(config=config, request=config.to_request(), policy=policy, names=names)
        except InvalidRequest as error:
            raise error.renamed(names) from None

    async def _planned(self, ready: _Ready) -> Plan:
        with ready.located():
            plan = await self.router.plan(ready.request, backend=ready.config.backend, model=ready.config.model, policy=ready.policy)
        return ready.config.annotate(plan)

    def _check_audio_type(self, fields: Mapping[str, Any]) -> None:
        """Refuse an unknown kind of audio, naming the backends for the known ones."""
        wanted = fields.get("audio_type")
        if not isinstance(wanted, str) or wanted.lower() in {"speech", "music"}:
            return
        from .available import sound_makers

        makers = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in sound_makers(self.router.instances).items() if names)
        raise UnsupportedOperation(
            f"no installed backend supports audio_type {wanted[:60]!r}", fix=f"supported here: {makers or 'nothing'}"
        )

    async def _able(self, ready: _Ready | None, error: MediaError) -> tuple[str, ...]:
        """Return the usable backends that can do the call after this error; each was planned."""
        if ready is None or error.try_backends or not isinstance(error, _TRY_OTHERS) or error.charged != "no":
            return ()
        failed = {getattr(error, "backend", "")}
        if not isinstance(error, UnsupportedOperation | UnsupportedInput | ModelRetired | UnknownModel):
            failed.add(ready.config.backend or "")
        able = []
        for name, instance in self.router.instances.items():
            if not instance.usable or name in failed:
                continue
            try:
                plan = await self.router.plan(ready.request, backend=name, policy=ready.policy)
            except MediaError:
                continue
            if is_over_cap(plan.quote, ready.policy):
                continue
            able.append((instance.matrix.last_resort, ready.policy.needs_approval(plan), name))
        return tuple(name for *_, name in sorted(able))

    async def _job(self, job_id: Any, action: Any, deadline: Any, output: Any) -> dict[str, Any]:
        if not isinstance(job_id, str) or not job_id.strip() or len(job_id) > 200:
            raise InvalidRequest([Problem("$.job_id", "expected a job id like 'job_3f2a9c01b7de'")])
        _check("action", action, one_of(*get_args(Action)))
        if output is not None and (action != "export" or not isinstance(output, str)):
            raise InvalidRequest([Problem("$.output_path", "goes with action 'export': a directory, or a file named '.bin'")])
        if deadline is not None:
            _check("deadline", deadline, in_range(0, 86_400))
        if job_id in ("last", "latest"):
            newest = await self.router.jobs(limit=1)
            if not newest:
                raise UnknownJob("there are no jobs yet")
            job_id = newest[0].run
        if action == "export":
            return await self._export(job_id, output)
        if action == "cancel":
            record = await self.router.cancel(job_id)
            await self.router.handed_over(record.run)
            return job_answer(record)
        if action == "wait":
            result = await self.router.wait(job_id, deadline=deadline)
            await self.router.handed_over(result.job_id)
            return result_answer(result)
        return await self._status(job_id)

    async def _export(self, job_id: str, output: str | None) -> dict[str, Any]:
        place = resolve_paths({} if output is None else {"output_path": output}, self.scope)["output_path"]
        record = await self.router.run_status(job_id)
        files = await self.router.export(job_id, place, policy=self.scope.policy(self._base_policy))
        text = "these are the bytes as they were received, which are not valid media"
        answer = job_answer(record) | {"files": [file.to_json() for file in files]}
        return {**answer, "warnings": [Warning("not_media", text).to_json()]}

    async def jobs(self, limit: int = 20) -> dict[str, Any]:
        """Return the newest jobs, at most ``limit``, with their state."""
        try:
            _check("limit", limit, in_range(1, 100, integer=True))
            records = await self.router.jobs(limit=limit)
        except MediaError as error:
            return error_answer(error)
        found = [{**job_answer(record), "prompt": str(record.request.get("prompt", ""))[:200]} for record in records]
        return {"success": True, "jobs": [{k: v for k, v in job.items() if k in _LISTED} for job in found]}

    async def _status(self, job_id: str) -> dict[str, Any]:
        """Return the status of a job at once: its result, its error, or its state, with a warning if no process waits for it."""
        if (result := await self.router.result_if_done(job_id)) is not None:
            await self.router.handed_over(result.job_id)
            return result_answer(result)
        record = await self.router.run_status(job_id)
        answer = job_answer(record)
        if await self.router.is_active(job_id):
            return answer
        if record.error is not None and record.state in _WITHOUT_RESULT:
            error = error_from_json(record.error)
            error.job_id = record.run
            await self._hand_over_error(record.run)
            return {**answer, **error_answer(error)}
        if record.state in ACTIVE_STATES:
            idle = "it was not sent, and no process will send it" if record.state == "queued" else "no process is waiting for it"
            text = f"{idle} now; continue with {resume_call_text(record.run)}"
            answer["warnings"].append(Warning("not_followed", text).to_json())
        return answer


async def _answered(work: Awaitable[dict[str, Any]], job_id: str | None = None) -> dict[str, Any]:
    """Return an answer; an error, too, and a job that was cancelled rather than the task that waits for it."""
    try:
        return await work
    except MediaError as error:
        return error_answer(error)
    except asyncio.CancelledError:
        if _task_cancelled():
            raise
        return error_answer(JobCancelled("the job was cancelled", job_id=job_id))
    except Exception as error:  # noqa: BLE001 - an agent always gets an answer
        return error_answer(internal(error, job_id=None if job_id is None else str(job_id)[:100]))


def _task_cancelled() -> bool:
    """Return whether this task is being cancelled, rather than the job it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
