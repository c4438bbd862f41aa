"""Looking at a job until it is over. A failed look never fails a job; a passed deadline leaves it to be resumed.

A look that does not find the job is no failed one: see `missing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from types import TracebackType
from typing import Self

import attrs

from ..capabilities import ModelRow
from ..errors import BackendError, BackendTimeout, JobNotFound, MediaError, PluginError
from ..plugins.sanitize import PluginRaised
from ..polling import Schedule, duration_key
from ..results import Failed, Job, Outcome, Running, Succeeded
from ..state.errors import LeaseLost, StateError
from ..state.store import CallRecord, Lease
from .engine import LEASE_SECONDS, Engine
from .failing import Failing
from .missing import Missing, lost_job
from .records import cost_of, error_json, job_from_json

__all__ = ["LOOK_FAILED", "Held", "follow", "still_running"]

_log = logging.getLogger("anymedia")
#: How a caller is told of a look that failed.
LOOK_FAILED = "a look failed"
#: How long a job is followed when the caller sets no deadline, in seconds; it stays resumable after that.
PATIENCE = 3600.0
#: A row that was changed within this many seconds is one that this process is at.
_FRESH = 5.0
#: The longest that one look may take, in seconds, and what the last one before a deadline is given.
LONGEST_LOOK, _SHORTEST_LOOK = 120.0, 1.0


@attrs.define(eq=False)
class Held:
    """Keeps a lease alive for as long as the block runs, and gives it up at its end.

    ``sending``: its loss breaks nothing off, for the answer on its way is paid for.

    Raises:
        LeaseLost: in the block, when another process has taken the call over; not while it is ``sending``.
    """

    engine: Engine
    lease: Lease
    sending: bool = attrs.field(default=False, kw_only=True)
    broken: bool = attrs.field(default=False, init=False)
    _task: asyncio.Task[object] | None = attrs.field(factory=asyncio.current_task, init=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def sent(self, lease: Lease) -> None:
        """Go on under the lease that the submit ended with."""
        self.lease, self.sending = lease, False

    def _keep(self) -> None:
        """Renew it in time, from now on. A timer and no task: most calls end before it is due."""
        self._timer = asyncio.get_running_loop().call_later(LEASE_SECONDS / 3, self._renew)

    def _renew(self) -> None:
        try:
            self.engine.store.renew(self.lease, lease_seconds=LEASE_SECONDS, now=self.engine.clock.now())
        except LeaseLost:
            if not self.sending and self._task is not None:
                self.broken = self._task.cancel()
                return
        except Exception as error:  # noqa: BLE001 - the call itself goes on; the fence still guards its row
            _log.warning("keeping hold of %s failed: %s", self.lease.call_id, type(error).__name__)
        self._keep()

    async def __aenter__(self) -> Self:
        self._keep()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.engine.store.release(self.lease)
        except StateError as failed:
            _log.warning("letting go of %s failed: %s", self.lease.call_id, failed.code)
        if self.broken and isinstance(error, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()  # the cancellation by which the loss was made known
            raise LeaseLost(self.lease.call_id) from None


def _length(record: CallRecord) -> float | None:
    seconds = record.request.get("duration")
    return float(seconds) if isinstance(seconds, int | float) else None


async def follow(engine: Engine, lease: Lease, record: CallRecord, row: ModelRow | None, deadline: float | None) -> Outcome:
    """Look at a job, at the times that waste the least, until it is over.

    Raises:
        BackendTimeout: the deadline passed; the row is left as it is, to be resumed.
        JobNotFound: its provider has not found it for so long that it is given up.
        BackendError: the job failed for good.
        PluginError: a look breaks the contract; the row is left as it is.
    """
    assert record.job is not None
    job = job_from_json(record.job)
    operation = None if row is None else row.operations.get(record.operation)  # type: ignore[call-overload]
    key = duration_key(record.backend, record.model, _length(record))
    schedule = Schedule(engine.store.durations(key), None if operation is None else operation.typical_seconds)
    until = engine.clock.steady() + PATIENCE if deadline is None else deadline
    hint = job.poll_after
    first = True
    missing, failing = Missing(), Failing()
    # A job that was left alone for a while is looked at at once, and says nothing about how long such a job takes.
    watched = abs(engine.clock.now() - record.updated_at) < _FRESH
    # From here on its age is told by the counter: the clock on the wall may be set meanwhile.
    born = engine.clock.steady() - max(0.0, engine.clock.now() - record.created_at)
    while True:
        elapsed = engine.clock.steady() - born
        pause = schedule.next(elapsed, hint)
        if first:
            pause = schedule.first(hint) if watched else 0.0
        first = False
        pause = max(pause, engine.polls.reserve(engine.account(record.backend), engine.clock.steady()))
        left = until - engine.clock.steady()
        if left <= 0:
            raise still_running(record, "the deadline passed", failing if failing.looks else missing if missing.looks else None)
        pause = min(pause, left)
        await engine.clock.sleep(pause)
        missing.waited(pause)
        try:
            left = max(_SHORTEST_LOOK, until - engine.clock.steady())
            async with asyncio.timeout(min(left, LONGEST_LOOK)):
                state = await engine.call(record.backend, "check_job", job=job, context=engine.context(record, row, deadline=left))
        except JobNotFound as error:
            _log.debug("a look at %s failed: %s", record.id, error.code)
            failing.worked()
            hint = missing.not_found(error)
            if _is_over(engine, job, missing):
                raise _failed(engine, lease, record, lost_job(record, job, missing, error, expired=not missing.for_good)) from None
            engine.report(record, note=f"{missing}; looking again")
            continue
        except Exception as error:
            if isinstance(error, PluginError) and not isinstance(error, PluginRaised):
                _leave(record, error)
                raise  # what it returned breaks the contract: it will do so again
            _log.debug("a look at %s failed: %s", record.id, error.code if isinstance(error, MediaError) else type(error).__name__)
            hint = getattr(error, "retry_after", None)
            engine.report(record, note=f"{LOOK_FAILED} ({failing.failed(error)}); looking again")
            continue
        hint = None
        missing.found()
        failing.worked()
        if isinstance(state, Running):
            if record.state == "submitted":  # one whose file is to be fetched anew was done already, and stays so
                record = await engine.written(functools.partial(engine.advance, lease, "running"))
            hint = state.poll_after
            engine.report(record, fraction=state.progress, note=state.note)
        elif isinstance(state, Succeeded):
            if watched:
                with contextlib.suppress(StateError):  # what is learnt of the time it takes is not worth the job
                    engine.store.add_duration(key, engine.clock.steady() - born)
            return state.outcome
        elif isinstance(state, Failed):
            raise _failed(engine, lease, record, state.error)


def _is_over(engine: Engine, job: Job, missing: Missing) -> bool:
    """Whether a job that was not found is to be given up; one that its provider was to forget by now is, at once."""
    return missing.for_good or (job.expires_at is not None and engine.clock.now() >= job.expires_at)


def still_running(record: CallRecord, why: str = "the deadline passed", trouble: Missing | Failing | None = None) -> BackendTimeout:
    """Return the error for a job that is left, by default as a deadline passed: it goes on, and how to pick it up.

    ``trouble``: what came of the last looks, where none of them saw it at work.
    """
    seen, more = ("is still", "") if trouble is None else ("may still be", f", and {trouble}")
    error = BackendTimeout(
        f"'{record.backend}/{record.model}' {seen} at work on {record.id}; {why}{more}.",
        fix=f"The job goes on. Pick it up with: anymedia jobs resume {record.id}",
        job_id=record.id,
    )
    error.backend, error.model, error.charged = record.backend, record.model, "unknown"
    return error


def _leave(record: CallRecord, error: PluginError) -> None:
    """Complete an error that is no news of the job: it goes on, may be charged, and can be taken up once the plugin is mended."""
    how = f"The job goes on. Then pick it up with: anymedia jobs resume {record.id}"
    error.job_id, error.charged = record.id, "unknown"
    error.fix = f"{error.fix}. {how}" if error.fix else f"Tell the plugin's author. {how}"


def _failed(engine: Engine, lease: Lease, record: CallRecord, error: BackendError) -> BackendError:
    error.backend, error.model, error.job_id = record.backend, record.model, record.id
    error.retry = False
    if error.charged == "no" and error.delivery != "refused":
        error.charged = "unknown"
    engine.advance(lease, "failed", error=error_json(error), cost_usd=cost_of(error))
    return error
