"""Looking at a job until it is over. A failed look never fails a job; a passed deadline leaves it to be resumed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from ..capabilities import ModelRow
from ..errors import BackendError, BackendTimeout, MediaError, PluginError
from ..plugin_words import PluginRaised
from ..polling import Schedule, duration_key
from ..results import Failed, Outcome, Running, Succeeded
from ..state.errors import LeaseLost
from ..state.store import CallRecord, Lease
from .engine import LEASE_SECONDS, Engine
from .records import error_json, job_from_json

__all__ = ["follow", "keeping", "still_running"]

_log = logging.getLogger("anymedia")
#: How long a job is followed when the caller sets no deadline, in seconds; it stays resumable after that.
PATIENCE = 3600.0
#: A row that was changed within this many seconds is one that this process is at.
_FRESH = 5.0


@contextlib.asynccontextmanager
async def keeping(engine: Engine, lease: Lease) -> AsyncIterator[None]:
    """Keep a lease alive for as long as the block runs, and give it up at its end.

    Raises:
        LeaseLost: in the block, when another process has taken the call over.
    """
    task = asyncio.current_task()
    lost = False

    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def renew() -> None:
        nonlocal lost, timer
        try:
            engine.store.renew(lease, lease_seconds=LEASE_SECONDS, now=engine.clock.now())
        except LeaseLost:
            lost = True
            if task is not None:
                task.cancel()
        except Exception as error:  # noqa: BLE001 - the call itself goes on; the fence still guards its row
            _log.warning("keeping hold of %s failed: %s", lease.call_id, type(error).__name__)
        else:
            timer = loop.call_later(LEASE_SECONDS / 3, renew)

    timer = loop.call_later(LEASE_SECONDS / 3, renew)  # a timer and no task: most calls end before it is due
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            raise LeaseLost(lease.call_id) from None
        raise
    finally:
        timer.cancel()
        engine.store.release(lease)


def _length(record: CallRecord) -> float | None:
    seconds = record.request.get("duration")
    return float(seconds) if isinstance(seconds, int | float) else None


async def follow(engine: Engine, lease: Lease, record: CallRecord, row: ModelRow | None, deadline: float | None) -> Outcome:
    """Look at a job, at the times that waste the least, until it is over.

    Raises:
        BackendTimeout: the deadline passed; the row is left as it is, to be resumed.
        BackendError: the job failed for good.
    """
    assert record.job is not None
    job = job_from_json(record.job)
    operation = None if row is None else row.operations.get(record.operation)  # type: ignore[call-overload]
    key = duration_key(record.backend, record.model, _length(record))
    schedule = Schedule(engine.store.durations(key), None if operation is None else operation.typical_seconds)
    until = engine.clock.steady() + PATIENCE if deadline is None else deadline
    hint = job.poll_after
    first = True
    # A job that was left alone for a while is looked at at once, and says nothing about how long such a job takes.
    watched = engine.clock.now() - record.updated_at < _FRESH
    while True:
        elapsed = max(0.0, engine.clock.now() - record.created_at)
        pause = schedule.next(elapsed, hint)
        if first:
            pause = schedule.first(hint) if watched else 0.0
        first = False
        pause = max(pause, engine.polls.reserve(record.backend, engine.clock.steady()))
        left = until - engine.clock.steady()
        if left <= 0:
            raise still_running(record)
        await engine.clock.sleep(min(pause, left))
        try:
            state = await engine.call(record.backend, "check_job", job=job, context=engine.context(record, row, deadline=left))
        except Exception as error:
            if isinstance(error, PluginError) and not isinstance(error, PluginRaised):
                raise  # what it returned breaks the contract: it will do so again
            why = error.code if isinstance(error, MediaError) else type(error).__name__
            _log.debug("a look at %s failed: %s", record.id, why)
            hint = getattr(error, "retry_after", None)
            engine.report(record, note=f"a look failed ({why}); looking again")
            continue
        hint = None
        if isinstance(state, Running):
            if record.state != "running":
                record = engine.advance(lease, "running")
            hint = state.poll_after
            engine.report(record, fraction=state.progress, note=state.note)
        elif isinstance(state, Succeeded):
            if watched:
                engine.store.add_duration(key, max(0.0, engine.clock.now() - record.created_at))
            return state.outcome
        elif isinstance(state, Failed):
            raise _failed(engine, lease, record, state.error)


def still_running(record: CallRecord) -> BackendTimeout:
    """Return the error for a passed deadline: the job goes on, and how to pick it up."""
    error = BackendTimeout(
        f"'{record.backend}/{record.model}' is still at work on {record.id}; the deadline passed.",
        fix=f"The job goes on. Pick it up with: anymedia jobs resume {record.id}",
        job_id=record.id,
    )
    error.backend, error.model, error.charged = record.backend, record.model, "unknown"
    return error


def _failed(engine: Engine, lease: Lease, record: CallRecord, error: BackendError) -> BackendError:
    error.backend, error.model, error.job_id = record.backend, record.model, record.id
    error.retry = False
    if error.charged == "no" and error.delivery != "refused":
        error.charged = "unknown"
    engine.advance(lease, "failed", error=error_json(error))
    return error
