"""Execute a plan: reserve all calls, then submit, poll and finalize each."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from .. import telemetry
from ..errors import Argument, BackendError, BackendTimeout, BudgetExceeded, MediaError, NotApproved, RequestError
from ..files.paths import OutputTarget, plan_output
from ..formatting import in_dollars
from ..planning import Candidate, Plan, PlannedCall, Planner, is_over_cap
from ..policy import Policy
from ..results import Result, to_warnings
from ..state.codec import request_json
from ..state.store import CallRecord, LeaseLost, NewCall, RunKeyTaken, StateError
from ..threads import in_thread, shielded
from .engine import Engine, make_room, new_id
from .execute_call import QueuedCall, execute_call, may_send_again
from .lease import LEASE_SECONDS, LeaseKeeper
from .prepare_inputs import InputReader, Loaded, Protection, StoredInputs, load_inputs, read_protection, store_inputs
from .resume import resume_call
from .runs import KeyedRequest, most_serious, result_of

#: Maximum number of calls of one plan that run concurrently.
_CONCURRENCY = 4

#: Opening the calls gets at least this many seconds, however short the deadline is.
_LEAST_OPENING = 1.0
_log = logging.getLogger("anymedia")


@attrs.define(kw_only=True, eq=False)
class PlanRunner:
    """Executes one plan. `open` reserves, `run` spends.

    Attributes:
        planner: plans the request for a fallback candidate; its policy applies.
        output: a file, a directory, or None to keep the artifacts only.
        stem: makes a name up for the files.
        deadline: on the steady clock; None for no deadline.
        priority: of the calls, if they are for workers: `open` then leaves them to them; None if this process carries them out.
        attempt: how many records earlier attempts of this run have.
    """

    engine: Engine
    plan: Plan
    planner: Planner
    inputs: InputReader
    output: Path | str | None
    overwrite: bool
    stem: Callable[[], str]
    deadline: float | None = None
    run_id: str = attrs.field(factory=lambda: new_id("job"))
    keyed: KeyedRequest | None = None
    priority: int | None = None
    attempt: int = 0
    opened: list[QueuedCall] = attrs.field(factory=list, init=False)
    protection: Protection | None = attrs.field(default=None, init=False, repr=False)
    submitted: asyncio.Event = attrs.field(factory=asyncio.Event, init=False, repr=False)
    _submitted: set[int] = attrs.field(factory=set, init=False)
    _gate: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(_CONCURRENCY), init=False, repr=False)
    places: dict[str, OutputTarget | None] = attrs.field(factory=dict, init=False, repr=False)

    @property
    def policy(self) -> Policy:
        """What the caller allows."""
        return self.planner.policy

    async def open(self, until: float | None = None) -> list[CallRecord]:
        """Do everything that can fail without a charge, then record and reserve every call of the plan; ``until``: on the steady clock.

        Raises:
            RequestError: an input, the output, the quote or the budget is refused; nothing was spent and nothing remains.
            BackendTimeout: the deadline passed.
        """
        await approve(self.plan, self.policy)
        left = None if until is None else max(_LEAST_OPENING, until - self.engine.clock.steady())
        try:
            async with asyncio.timeout(left):
                return await self._open()
        except TimeoutError:
            text = "the deadline passed while the inputs were read or the calls were recorded; nothing was spent"
            raise BackendTimeout(text, delivery="not_sent") from None

    async def _open(self) -> list[CallRecord]:
        await in_thread(self.check_output)
        await make_room(self.engine)
        loaded = await load_inputs(self.inputs, self.plan)
        self.protection = await read_protection(self.inputs, self.plan.request)
        if not self._fallback_candidates():
            self.inputs.clear()
        if said := to_warnings([w for found in loaded.values() for w in found.warnings], "input_converted"):
            self.plan = attrs.evolve(self.plan, warnings=(*self.plan.warnings, *said))
        first = 0
        try:
            for index, call in enumerate(self.plan.calls):
                self.opened.append(await self._open_call(self.plan, call, index, first, loaded))
                first += getattr(call.request, "n", 1)
        except (MediaError, asyncio.CancelledError):
            await shielded(self.give_up())
            raise
        if self.priority is not None and len(self.opened) > 1:  # each was kept until all were recorded
            for opened in self.opened:
                await self.engine.store.release(opened.record.lease)
            await self.engine.store.notify("queued")
        return [opened.record for opened in self.opened]

    def check_output(self) -> None:
        """Check that the output files can be written; nothing remains of the test."""
        suffix = _suffix(self.plan)
        if (place := self._place(suffix)) is not None:
            self.places[suffix] = place.check(of=self._total())

    async def run(self) -> Result:
        """Submit, poll and finalize every call; a failure does not stop the others, and is raised if no call returned anything."""
        if len(self.opened) == 1:
            first = self.opened[0]
            done = await self._call(first)
            # Without an earlier attempt, the record is the whole run.
            return result_of([done] if done.id == first.record.id else await self.engine.store.run(self.run_id))
        ended = await asyncio.gather(*map(self._call, self.opened), return_exceptions=True)
        failures = [failure for failure in ended if isinstance(failure, MediaError)]
        for failure in ended:
            if isinstance(failure, BaseException) and not isinstance(failure, MediaError):
                raise failure
        if len(failures) == len(ended):
            raise most_serious(failures)
        return result_of(await self.engine.store.run(self.run_id))

    async def give_up(self) -> None:
        """Close the calls of a cancelled run that are queued, so that their reservations are released."""
        store, owner = self.engine.store, self.engine.owner
        try:
            for record in await store.run(self.run_id):
                if record.state == "queued" and (claimed := await store.claim(record.id, owner=owner, lease_seconds=LEASE_SECONDS)):
                    await self.engine.advance(claimed, "cancelled")
        except (StateError, LeaseLost) as error:
            level = logging.WARNING if self.opened else logging.DEBUG  # without any, nothing was recorded
            _log.log(level, "closing the calls of %s failed: %s", self.run_id, type(error).__name__)

    async def _call(self, opened: QueuedCall) -> CallRecord:
        try:
            return await self._with_fallbacks(opened)
        finally:
            self._note_submitted(opened.record)

    async def _with_fallbacks(self, opened: QueuedCall) -> CallRecord:
        fallbacks = self._fallback_candidates()
        while True:
            try:
                return await self._carry_out(opened)
            except LeaseLost:
                # This process was suspended for so long that another one has claimed the call and finishes it.
                return await resume_call(self.engine, opened.record.id, self.deadline)
            except BackendError as error:
                if error.delivery is None or not may_send_again(error, error.delivery):
                    raise
                found = await self._fall_back(opened, fallbacks, error)
                if found is None:
                    raise
                opened = found

    async def _fall_back(self, opened: QueuedCall, fallbacks: list[Candidate], error: BackendError) -> QueuedCall | None:
        """Open the call again with the next suitable fallback candidate, which is removed from the list.

        An unsuitable one (too expensive, not approved, several calls needed) is skipped; the error of the call says why.
        """
        record, n = opened.record, getattr(opened.request, "n", 1)
        while fallbacks:
            following = fallbacks.pop(0)
            if following.backend == record.backend:
                continue
            try:
                changes: dict[str, Any] = {"n": n} if hasattr(self.plan.request, "n") else {}
                plan = self.planner.plan(attrs.evolve(self.plan.request, **changes), backend=following.backend, model=following.model)
                if len(plan.calls) > 1:
                    raise RequestError(f"it would take {len(plan.calls)} calls")
                already_reserved = sum(o.record.quote_usd[1] for o in self.opened if o is not opened and o.record.quote_usd)
                await approve(plan, self.policy, already_reserved)
                loaded = await load_inputs(self.inputs, plan)
                first, suffix = int(record.target["first"]), f"-f{len(fallbacks)}"
                again = await self._open_call(plan, plan.calls[0], record.index, first, loaded, suffix)
            except RequestError as refused:
                error.fix = " ".join(filter(None, (error.fix, f"Fallback to '{following}' was not possible: {refused.message}.")))
                continue
            self.opened[self.opened.index(opened)] = again
            return again
        return None

    async def _carry_out(self, opened: QueuedCall) -> CallRecord:
        async with LeaseKeeper(self.engine.leases, opened.record.lease) as held, self._gate:
            submitted = functools.partial(self._note_submitted, opened.record)
            return await execute_call(self.engine, opened, held, self.policy, self.deadline, submitted)

    def _note_submitted(self, record: CallRecord) -> None:
        """Note that a call was submitted, or failed for good; set `submitted` once that holds for all."""
        self._submitted.add(record.index)
        if len(self._submitted) >= len(self.opened):
            self.submitted.set()

    def _fallback_candidates(self) -> list[Candidate]:
        """Return the candidates for a fallback: all alternatives except last resorts; none if the caller named a backend."""
        mode = self.policy.fallback or ("off" if self.plan.named else "equivalent")
        if mode == "off" or self.plan.continuation is not None:
            return []
        return [c for c in self.plan.alternatives if not self.engine.instance(c.backend).matrix.last_resort]

    def _total(self) -> int:
        return sum(getattr(call.request, "n", 1) for call in self.plan.calls)

    async def _open_call(self, plan: Plan, call: PlannedCall, index: int, first: int, loaded: Loaded, suffix: str = "") -> QueuedCall:
        single = len(self.plan.calls) == 1
        call_id = (self.run_id if single else f"{self.run_id}-{index}") + (f"-r{self.attempt}" if self.attempt else "") + suffix
        # A single call is recorded, reserved and queued for the workers in one transaction.
        owner = None if self.priority is not None and single else self.engine.owner
        stored = await store_inputs(self.engine.artifacts, call_id, call.request, loaded, self.protection)
        new = NewCall(
            id=call_id,
            run=self.run_id,
            index=index,
            backend=plan.chosen.backend,
            model=plan.chosen.model,
            operation=plan.operation,
            request=request_json(call.request),
            plan=_plan_json(plan),
            target=self._target(plan, first, stored),
            idempotency_key=new_id("key"),
            session=self.engine.session,
            quote_usd=call.quote.usd,
            project=self.engine.project,
            priority=self.priority,
            run_key=None if self.keyed is None else self.keyed.key,
            account=await self.engine.account(plan.chosen.backend),
            request_digest="" if self.keyed is None else self.keyed.digest,
        )
        try:
            record = await self.engine.store.open_call(new, self.policy.budget, owner=owner, lease_seconds=LEASE_SECONDS)
        except (MediaError, RunKeyTaken, asyncio.CancelledError) as error:
            if not isinstance(error, RunKeyTaken) or not self.attempt:  # else the id is that of another process's attempt
                await self.engine.artifacts.release(call_id)
            raise
        return QueuedCall(record=record, request=call.request, spec=plan.model_spec, loaded=loaded, protection=self.protection)

    def _place(self, suffix: str) -> OutputTarget | None:
        """Return where the files go, decided once for all calls of a run; None to keep the artifacts only."""
        if self.output is None:
            return None
        if suffix not in self.places:
            self.places[suffix] = plan_output(
                self.output, roots=self.policy.output_roots, overwrite=self.overwrite, default_stem=self.stem, suffix=suffix
            )
        return self.places[suffix]

    def _target(self, plan: Plan, first: int, stored: StoredInputs) -> dict[str, Any]:
        media, suffix = plan.media, _suffix(plan)
        place = None if (where := self._place(suffix)) is None else where.to_json()
        # A worker writes artifacts only; the output belongs to this machine.
        places = {"output": place} if self.priority is None else {"output": None, "export": place, "machine": self.engine.installation}
        prefix = plan.model_spec.continuation_prefix or f"{plan.chosen.backend}_{media[:3]}"
        return {
            "media": media,
            **places,
            "suffix": suffix,
            "transcode_to": plan.transcode_to,
            "first": first,
            "of": self._total(),
            "prefix": prefix,
            "earlier_files": [attrs.asdict(file) for file in stored.files],
            "inputs": list(stored.keys),
            "sent": stored.sent,
            "protect": getattr(plan.request, "protect", None) == "exact",
            "protection": stored.protection,
            "trace": telemetry.trace_context(),
        }


async def approve(plan: Plan, policy: Policy, already_reserved: float = 0.0) -> None:
    """Compare a plan's quote with the cap for a request, and ask ``policy.on_quote``.

    Raises:
        BudgetExceeded: the quote is above the cap.
        NotApproved: it was not approved, or there is no ``on_quote`` to ask.
    """
    check_cap(plan, policy, already_reserved)
    if policy.ask_above_usd is not None and not policy.needs_approval(plan):
        return
    if policy.on_quote is None:
        if policy.ask_above_usd is not None:
            raise _no_one_to_ask(plan, policy.ask_above_usd)
        return
    answer = policy.on_quote(plan)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is not True:  # a word such as "no" is not an approval
        raise NotApproved(f"the quote was not approved: {plan.quote} for {plan.operation} by '{plan.chosen}'")


def _no_one_to_ask(plan: Plan, limit: float) -> NotApproved:
    cost = "has no known price" if plan.quote.usd is None else f"may cost {plan.quote}"
    text = f"{plan.operation} by '{plan.chosen}' {cost}: a person must approve more than {in_dollars(limit)} USD, and cannot be asked here"
    fix = "run it on a terminal, give the policy an on_quote, or raise the limit: [policy] ask_above_usd in the settings, or --ask-above"
    return NotApproved(text, fix=fix)


def check_cap(plan: Plan, policy: Policy, already_reserved: float = 0.0) -> None:
    """Refuse a plan that may cost more than the cap for a request, beside the US dollars that its other calls have reserved."""
    if is_over_cap(plan.quote, policy, already_reserved):
        cap = in_dollars(policy.budget.per_request or 0.0)
        text = f"{plan.operation} by '{plan.chosen}' may cost {plan.quote}; the cap for a request is {cap} USD"
        raise BudgetExceeded(text, fix=("request something smaller, shorter or fewer, or raise ", Argument("per_request")))


def _suffix(plan: Plan) -> str:
    usual = {"image": "png", "video": "mp4", "audio": "wav", "text": "txt"}.get(plan.media, plan.media)
    name = plan.transcode_to or plan.calls[0].request.output_format or usual
    return ".jpg" if name == "jpeg" else f".{name}"


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "adjustments": [attrs.asdict(adjustment) for adjustment in plan.adjustments],
        "warnings": [warning.to_json() for warning in plan.warnings],
        "calls": len(plan.calls),
        "disclosure": plan.disclosure,
        "continued_as": plan.continued_as,
        "quote_basis": plan.quote.basis,
        "named": plan.named,
    }
