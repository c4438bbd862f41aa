"""Poll a job at the provider until it ends. A failed status check never fails a job; after a deadline it can be resumed.

Status checks that do not find the job are counted separately, see `NotFoundStreak`; those that are refused end the waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import Any, Literal

import attrs

from ..capabilities import ModelSpec
from ..errors import AuthenticationFailed, BackendError, BackendTimeout, Fix, JobNotFound, MediaError, PluginError, RequestError
from ..plugins.sanitize import PluginRaised
from ..redaction import clean_text
from ..results import Failed, Job, JobState, Outcome, Succeeded
from ..state.codec import cost_of, error_json, job_from_json
from ..state.store import CallRecord, CallState, StateError
from .account import is_same_account, keys_to_check
from .engine import Engine
from .poll_schedule import Schedule, bounded_hint, duration_key
from .runs import about

#: Minimum pauses in seconds after each status check in a row that did not find the job; after one more check, the job is lost.
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: How many status checks in a row may be refused (401, 403, 400); after the last one, waiting ends.
MOST_REFUSALS = 5


@attrs.define
class NotFoundStreak:
    """The status checks in a row that did not find a job, and the seconds from the first to the last of them."""

    checks: int = 0
    seconds: float = 0.0

    def waited(self, seconds: float) -> None:
        """Count a pause between two checks of the streak."""
        if self.checks:
            self.seconds += seconds

    def found(self) -> None:
        """End the streak."""
        self.checks, self.seconds = 0, 0.0

    def count(self, error: JobNotFound) -> float:
        """Count a check that did not find the job; return the minimum pause before the next one in seconds."""
        self.checks += 1
        return max(WAITS[min(self.checks, len(WAITS)) - 1], bounded_hint(error.retry_after) or 0.0)

    @property
    def for_good(self) -> bool:
        """Whether the job counts as lost: after all pauses, in full. A pause that was cut short does not count in full."""
        return self.checks > len(WAITS) and self.seconds >= sum(WAITS)

    def __str__(self) -> str:
        times = "a status check" if self.checks == 1 else f"{self.checks} status checks in a row"
        return f"{times} did not find the job at the provider"


def job_not_found_error(record: CallRecord, job: Job, not_found: NotFoundStreak, error: JobNotFound) -> JobNotFound:
    """Return the error for a job that is lost, with what is known about its cost."""
    why = f"{not_found.checks} status checks in {not_found.seconds:.0f} s did not find it"
    known = clean_text(job.id, 200)
    text = f"'{record.backend}/{record.model}' no longer finds the job {known!r} of {record.id}: {why} ({error.message})"
    fix = "It may have been charged, and was not sent again: ask the provider about that job. A new request is charged again."
    found = JobNotFound(text, fix=fix, request_id=error.request_id)
    found.status, found.action = error.status, Fix("resume", record.run)
    if record.outcome is not None:  # it was generated, but not saved
        found.charged, found.cost_usd = "yes", record.outcome["cost_usd"]
    return found


def why_of(error: Exception) -> str:
    """Return a short reason why a status check failed; for a bug in a plugin, with its place in the code."""
    return clean_text(error.message, 200).rstrip(".") if isinstance(error, MediaError) else type(error).__name__


@attrs.define
class FailureStreak:
    """The status checks in a row that failed, how many of the last ones were refused, and why the last one failed."""

    checks: int = 0
    refusals: int = 0
    why: str = ""

    def failed(self, error: Exception) -> float | None:
        """Count a failed check; return the minimum pause before the next one in seconds, where there is one."""
        self.checks += 1
        self.why = why_of(error)
        self.refusals = self.refusals + 1 if _is_refusal(error) else 0
        hint = bounded_hint(getattr(error, "retry_after", None))
        return max(WAITS[min(self.refusals, len(WAITS)) - 1], hint or 0.0) if self.refusals else hint

    def worked(self) -> None:
        """End the streak."""
        self.checks, self.refusals, self.why = 0, 0, ""

    def __str__(self) -> str:
        return f"the last {f'{self.checks} status checks' if self.checks > 1 else 'status check'} failed: {self.why}"


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, AuthenticationFailed | RequestError | JobNotFound) or getattr(error, "status", None) in {400, 401, 403}


_log = logging.getLogger("anymedia")
#: How long a job is polled without a deadline, in seconds; it can be resumed after that.
PATIENCE = 3600.0
#: A record that was changed within this many seconds has just been submitted by this process.
_FRESH = 5.0
#: Timeout of one status check in seconds, and the least that the last one before a deadline gets.
LONGEST_CHECK, _SHORTEST_CHECK = 120.0, 1.0


def _length(record: CallRecord) -> float | None:
    seconds = record.request.get("duration")
    return float(seconds) if isinstance(seconds, int | float) else None


async def poll_job(engine: Engine, record: CallRecord, row: ModelSpec | None, deadline: float | None) -> Outcome:
    """Check the state of a job on an efficient schedule until it has ended.

    Raises:
        BackendTimeout: the deadline passed; the record is unchanged, and the job can be resumed.
        JobNotFound: the provider has not found the job for so long that it is lost.
        AuthenticationFailed, BackendTimeout: the provider refuses the status checks; the record is unchanged.
        BackendError: the job failed.
        PluginError: the hook broke its contract; the record is unchanged.
    """
    assert record.job is not None
    job = job_from_json(record.job)
    operation = None if row is None else row.operations.get(record.operation)
    key = duration_key(record.backend, record.model, _length(record))
    schedule = Schedule(await engine.store.durations(key), None if operation is None else operation.typical_seconds)
    until = engine.clock.steady() + PATIENCE if deadline is None else deadline
    polling = _Polling(engine, record, row, job, until, await engine.account(record.backend), bounded_hint(job.poll_after))
    # A job that was not polled for a while is checked at once, and does not show how long such a job takes.
    observed_from_start = abs(record.read_at - record.updated_at) < _FRESH
    # Its age is measured on the monotonic counter from here on, since the wall clock may be set.
    started_at = engine.clock.steady() - max(0.0, record.read_at - record.created_at)
    pause = schedule.first(polling.hint) if observed_from_start else 0.0
    while True:
        await polling.wait(pause)
        if (outcome := await polling.check()) is not None:
            break
        pause = schedule.next(engine.clock.steady() - started_at, polling.hint)
    if observed_from_start:
        with contextlib.suppress(StateError):  # the duration is less important than the job
            await engine.store.add_duration(key, engine.clock.steady() - started_at)
    return outcome


@attrs.define
class _Polling:
    """A job that is polled until a time: its record, and what the status checks have shown."""

    engine: Engine
    record: CallRecord
    row: ModelSpec | None
    job: Job
    until: float
    #: The account of the keys that are set now.
    account: str
    #: The minimum pause before the next check in seconds, where there is one.
    hint: float | None
    not_found: NotFoundStreak = attrs.Factory(NotFoundStreak)
    failures: FailureStreak = attrs.Factory(FailureStreak)
    #: The provider's last word on the state.
    said: str = ""

    async def wait(self, pause: float) -> None:
        """Wait before the next check, at the most until the deadline and at the least for the account's other checks."""
        clock = self.engine.clock
        pause = max(pause, self.engine.polls.reserve(self.account, clock.steady()))
        left = self.until - clock.steady()
        if left <= 0:
            trouble = self.failures if self.failures.checks else self.not_found if self.not_found.checks else None
            raise still_running_error(self.record, trouble=trouble, said=self.said)
        pause = min(pause, left)
        await clock.sleep(pause)
        self.not_found.waited(pause)

    async def check(self) -> Outcome | None:
        """Check the state once; return the outcome if there is one, and note the pause before the next check otherwise."""
        engine, record = self.engine, self.record
        left = max(_SHORTEST_CHECK, self.until - engine.clock.steady())
        try:
            async with asyncio.timeout(min(left, LONGEST_CHECK)):
                state = await engine.call(
                    record.backend, "check_job", job=self.job, context=engine.context(record, self.row, deadline=left)
                )
        except Exception as error:  # noqa: BLE001 - a failed status check fails no job
            if isinstance(error, JobNotFound) and self._is_own:
                await self._missing(error)
            else:
                self._failed(error)
            return None
        self.hint = None
        self.not_found.found()
        self.failures.worked()
        return await self._read(state)

    @property
    def _is_own(self) -> bool:
        """Whether the checks are made under the account of the call."""
        return is_same_account(self.record.account, self.account)

    async def _read(self, state: JobState) -> Outcome | None:
        engine = self.engine
        if isinstance(state, Failed):
            if not self._is_own:
                raise _refused_error(engine, self.record, FailureStreak(1, 1, why_of(state.error)), state.error, is_own=False)
            raise await _ended(engine, self.record, "failed", state.error)
        if self.record.account != self.account:  # the key sees the job: it is of the account
            await self._advance(self.record.state, account=self.account)
        if isinstance(state, Succeeded):
            return state.outcome
        if self.record.state in {"submitted", "lost"}:  # not for one whose file is fetched again
            await self._advance("running")
        self.hint, self.said = bounded_hint(state.poll_after), state.note
        engine.report(self.record, "progress", fraction=state.progress, note=state.note)
        return None

    async def _advance(self, state: CallState, **changes: Any) -> None:
        self.record = await self.engine.persist_with_retry(functools.partial(self.engine.advance, self.record, state, **changes))

    async def _missing(self, error: JobNotFound) -> None:
        """Count and report a check that did not find the job."""
        _log.debug("a status check of %s failed: %s", self.record.id, error.code)
        self.failures.worked()
        self.hint = self.not_found.count(error)
        if self.not_found.for_good:
            lost = job_not_found_error(self.record, self.job, self.not_found, error)
            raise await _ended(self.engine, self.record, "lost", lost) from None
        self.engine.report(self.record, "job_not_found", note=f"{self.not_found}; checking again")

    def _failed(self, error: Exception) -> None:
        """Count and report a failed check."""
        if isinstance(error, PluginError) and not isinstance(error, PluginRaised):  # it would break the contract again
            error.charged = "unknown"  # the job continues, and can be resumed once the plugin is repaired
            error.fix = f"{error.fix or 'Report it to the author of the plugin'}. The job continues at the provider."
            raise about(error, self.record, "resume")
        why = error.code if isinstance(error, MediaError) else type(error).__name__
        _log.debug("a status check of %s failed: %s", self.record.id, why)
        self.hint = self.failures.failed(error)
        if self.failures.refusals >= MOST_REFUSALS:
            raise _refused_error(self.engine, self.record, self.failures, error, is_own=self._is_own) from None
        self.engine.report(self.record, "status_check_failed", note=f"a status check failed ({self.failures.why}); checking again")


def still_running_error(
    record: CallRecord, why: str = "the deadline passed", trouble: NotFoundStreak | FailureStreak | None = None, said: str = ""
) -> BackendTimeout:
    """Return the error for a job that continues at the provider, or is queued here, and can be resumed.

    ``trouble``: the last status checks, if they did not see the job running; ``said``: the provider's own last word on the state.
    """
    is_queued = record.state == "queued"
    seen, more = ("is still", "") if trouble is None else ("may still be", f", and {trouble}")
    more += f"; the last status was {clean_text(said, 80)!r}" if said else ""
    text = f"'{record.backend}/{record.model}' {seen} processing {record.id}; {why}{more}."
    if is_queued:
        text = f"{record.id} is still queued, and nothing was sent to '{record.backend}/{record.model}'; {why}."
    error = BackendTimeout(text, fix="" if is_queued else "The job continues at the provider.")
    error.charged = "no" if is_queued else "unknown"
    return about(error, record, "resume")


def _refused_error(engine: Engine, record: CallRecord, failures: FailureStreak, error: Exception, *, is_own: bool) -> BackendError:
    """Return the error for status checks that are refused for good: the job continues, and the key must be corrected."""
    text = f"'{record.backend}/{record.model}' refuses the status checks of {record.id}: {failures}"
    text += "" if is_own else "; it was submitted with another key than the one that is set now"
    fix = f"{keys_to_check(engine.instance(record.backend))} The job continues at the provider.".lstrip()
    is_key = isinstance(error, AuthenticationFailed) or not is_own
    refused = (AuthenticationFailed if is_key else BackendTimeout)(text, fix=fix)
    refused.charged, refused.provider_message = "unknown", getattr(error, "provider_message", "")
    return about(refused, record, "resume")


async def _ended(engine: Engine, record: CallRecord, state: Literal["failed", "lost"], error: BackendError) -> BackendError:
    """Record that the job has failed, or is lost; return the completed error."""
    about(error, record).retry = False
    if error.charged == "no" and error.delivery != "refused":
        error.charged = "unknown"
    await engine.advance(record, state, error=error_json(error), cost_usd=cost_of(error))
    return error
