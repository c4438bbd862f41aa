"""Poll a job at the provider until it ends. A failed status check never fails a job; after a deadline it can be resumed.

A status check that does not find the job counts separately, see `NotFoundStreak`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging

import attrs

from ..capabilities import ModelSpec
from ..errors import BackendError, BackendTimeout, Fix, JobNotFound, MediaError, PluginError
from ..plugins.sanitize import PluginRaised
from ..redaction import clean_text
from ..results import Failed, Job, Outcome, Running, Succeeded
from ..state.call_codec import cost_of, error_json, job_from_json
from ..state.errors import StateError
from ..state.store import CallRecord, Lease
from .engine import Engine
from .poll_schedule import Schedule, duration_key

__all__ = [
    "WAITS",
    "FailureStreak",
    "NotFoundStreak",
    "job_not_found_error",
    "poll_job",
    "still_running_error",
    "why_of",
]

#: How long to wait at least after each look in a row that found nothing, in seconds; one more, and the job is given up.
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@attrs.define
class NotFoundStreak:
    """The looks in a row that did not find a job, and the seconds from the first of them to the last."""

    looks: int = 0
    seconds: float = 0.0

    def waited(self, seconds: float) -> None:
        """Count a pause before a look; what goes before the first of them is none of theirs."""
        if self.looks:
            self.seconds += seconds

    def found(self) -> None:
        """Begin anew: the job was seen."""
        self.looks, self.seconds = 0, 0.0

    def count(self, error: JobNotFound) -> float:
        """Count a look that found nothing; return how many seconds to wait for the next at least."""
        self.looks += 1
        return max(WAITS[min(self.looks, len(WAITS)) - 1], error.retry_after or 0.0)

    @property
    def for_good(self) -> bool:
        """Whether that is enough: as many looks as are waited between, over as long. A wait that was cut short does not count whole."""
        return self.looks > len(WAITS) and self.seconds >= sum(WAITS)

    def __str__(self) -> str:
        times = "a look" if self.looks == 1 else f"{self.looks} looks in a row"
        return f"{times} did not find the job at the provider"


def job_not_found_error(record: CallRecord, job: Job, not_found: NotFoundStreak, error: JobNotFound, *, expired: bool) -> JobNotFound:
    """Return the error for a job that is given up: what is known of it, and of the money."""
    why = "its time there has expired" if expired else f"{not_found.looks} looks in {not_found.seconds:.0f} s found nothing"
    known = clean_text(job.id, 200)
    text = f"'{record.backend}/{record.model}' does not know the job {known!r} of {record.id} any more: {why} ({error.message})"
    fix = "Ask the provider about that job: it may have been charged, and was not sent again. A new request is charged anew."
    found = JobNotFound(text, fix=fix, request_id=error.request_id)
    found.status = error.status
    if record.outcome is not None:  # it was made, and not collected
        found.charged, found.cost_usd = "yes", record.outcome["cost_usd"]
    return found


def why_of(error: Exception) -> str:
    """Return in a few words why a look failed; a plugin's mistake comes with its place in the code."""
    return clean_text(error.message, 200).rstrip(".") if isinstance(error, MediaError) else type(error).__name__


@attrs.define
class FailureStreak:
    """The looks in a row that failed, and what the last of them failed of."""

    looks: int = 0
    why: str = ""

    def failed(self, error: Exception) -> str:
        """Count a look that failed; return why."""
        self.looks += 1
        self.why = why_of(error)
        return self.why

    def worked(self) -> None:
        """Begin anew: there was an answer."""
        self.looks, self.why = 0, ""

    def __str__(self) -> str:
        return f"the last {f'{self.looks} looks' if self.looks > 1 else 'look'} at it failed: {self.why}"


_log = logging.getLogger("anymedia")
#: How long a job is followed when the caller sets no deadline, in seconds; it stays resumable after that.
PATIENCE = 3600.0
#: A row that was changed within this many seconds is one that this process is at.
_FRESH = 5.0
#: The longest that one look may take, in seconds, and what the last one before a deadline is given.
LONGEST_CHECK, _SHORTEST_CHECK = 120.0, 1.0


def _length(record: CallRecord) -> float | None:
    seconds = record.request.get("duration")
    return float(seconds) if isinstance(seconds, int | float) else None


async def poll_job(engine: Engine, lease: Lease, record: CallRecord, row: ModelSpec | None, deadline: float | None) -> Outcome:
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
    account = engine.account(record.backend)
    first = True
    not_found, failures = NotFoundStreak(), FailureStreak()
    # A job that was left alone for a while is looked at at once, and says nothing about how long such a job takes.
    observed_from_start = abs(engine.clock.now() - record.updated_at) < _FRESH
    # From here on its age is told by the counter: the clock on the wall may be set meanwhile.
    started_at = engine.clock.steady() - max(0.0, engine.clock.now() - record.created_at)
    while True:
        elapsed = engine.clock.steady() - started_at
        pause = schedule.next(elapsed, hint)
        if first:
            pause = schedule.first(hint) if observed_from_start else 0.0
        first = False
        pause = max(pause, engine.polls.reserve(account, engine.clock.steady()))
        left = until - engine.clock.steady()
        if left <= 0:
            raise still_running_error(record, "the deadline passed", failures if failures.looks else not_found if not_found.looks else None)
        pause = min(pause, left)
        await engine.clock.sleep(pause)
        not_found.waited(pause)
        try:
            left = max(_SHORTEST_CHECK, until - engine.clock.steady())
            async with asyncio.timeout(min(left, LONGEST_CHECK)):
                state = await engine.call(record.backend, "check_job", job=job, context=engine.context(record, row, deadline=left))
        except JobNotFound as error:
            _log.debug("a look at %s failed: %s", record.id, error.code)
            failures.worked()
            hint = not_found.count(error)
            if _is_over(engine, job, not_found):
                raise _failed(
                    engine, lease, record, job_not_found_error(record, job, not_found, error, expired=not not_found.for_good)
                ) from None
            engine.report(record, "job_not_found", note=f"{not_found}; checking again")
            continue
        except Exception as error:
            if isinstance(error, PluginError) and not isinstance(error, PluginRaised):
                _leave(record, error)
                raise  # what it returned breaks the contract: it will do so again
            _log.debug("a look at %s failed: %s", record.id, error.code if isinstance(error, MediaError) else type(error).__name__)
            hint = getattr(error, "retry_after", None)
            engine.report(record, "status_check_failed", note=f"a status check failed ({failures.failed(error)}); checking again")
            continue
        hint = None
        not_found.found()
        failures.worked()
        if isinstance(state, Running):
            if record.state == "submitted":  # one whose file is to be fetched anew was done already, and stays so
                record = await engine.persist_with_retry(functools.partial(engine.advance, lease, "running"))
            hint = state.poll_after
            engine.report(record, "progress", fraction=state.progress, note=state.note)
        elif isinstance(state, Succeeded):
            if observed_from_start:
                with contextlib.suppress(StateError):  # what is learnt of the time it takes is not worth the job
                    engine.store.add_duration(key, engine.clock.steady() - started_at)
            return state.outcome
        elif isinstance(state, Failed):
            raise _failed(engine, lease, record, state.error)


def _is_over(engine: Engine, job: Job, not_found: NotFoundStreak) -> bool:
    """Whether a job that was not found is to be given up; one that its provider was to forget by now is, at once."""
    return not_found.for_good or (job.expires_at is not None and engine.clock.now() >= job.expires_at)


def still_running_error(
    record: CallRecord, why: str = "the deadline passed", trouble: NotFoundStreak | FailureStreak | None = None
) -> BackendTimeout:
    """Return the error for a job that is left, by default as a deadline passed: it goes on, and how to pick it up.

    ``trouble``: what came of the last looks, where none of them saw it at work.
    """
    seen, more = ("is still", "") if trouble is None else ("may still be", f", and {trouble}")
    error = BackendTimeout(
        f"'{record.backend}/{record.model}' {seen} at work on {record.id}; {why}{more}.",
        fix="The job continues at the provider.",
        job_id=record.id,
    )
    error.action = Fix("resume", record.run)
    error.backend, error.model, error.charged = record.backend, record.model, "unknown"
    return error


def _leave(record: CallRecord, error: PluginError) -> None:
    """Complete an error that is no news of the job: it goes on, may be charged, and can be taken up once the plugin is mended."""
    error.job_id, error.charged = record.id, "unknown"
    error.fix = f"{error.fix or 'Report it to the author of the plugin'}. The job continues at the provider."
    error.action = Fix("resume", record.run)


def _failed(engine: Engine, lease: Lease, record: CallRecord, error: BackendError) -> BackendError:
    error.backend, error.model, error.job_id = record.backend, record.model, record.id
    error.retry = False
    if error.charged == "no" and error.delivery != "refused":
        error.charged = "unknown"
    engine.advance(lease, "failed", error=error_json(error), cost_usd=cost_of(error))
    return error
