"""Submit one billable call that is recorded and reserved.

A submit that was certainly not delivered, or was refused for capacity, may be retried under the policy. A submit whose outcome
is unknown is looked up at the provider, and never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from ..artifacts import ArtifactError
from ..capabilities import ModelSpec
from ..context import Context, LoadedMedia
from ..errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    Delivery,
    Fix,
    MediaError,
    PluginContractError,
    PluginError,
    RateLimited,
    RequestError,
    SubmissionUnknown,
)
from ..formatting import in_dollars
from ..hookspecs import SubmissionRecord
from ..media import Media
from ..plugins.sanitize import raised
from ..policy import Policy
from ..redaction import clean_text
from ..requests import Mask, Request, StoredFile
from ..results import Job, Outcome
from ..state.codec import cost_of, error_json, job_json
from ..state.store import CallRecord, JobTaken, Lease, LeaseLost, StateError
from ..threads import shielded
from .engine import Engine
from .lease import LEASE_SECONDS
from .poll_schedule import bounded_hint
from .save_piece import name_kept

_log = logging.getLogger("anymedia")
#: Maximum pause in seconds that a provider may request before a retry.
_LONGEST_PAUSE = 60.0
#: Interval in seconds of checking whether another process has released a call.
_RELEASE_SECONDS = 0.5
#: Timeout of looking up a submit, in seconds.
_LONGEST_LOOKUP = 60.0
#: Pauses in seconds before the attempts to look up a submit of unknown outcome.
LOOKUPS = (0.0, 1.0, 3.0)

_E = TypeVar("_E", bound=MediaError)
Loaded = Mapping[Media | Mask | StoredFile, LoadedMedia]


@attrs.frozen(kw_only=True)
class Submitted:
    """A submitted call: its lease, its record, and what the hook returned."""

    lease: Lease
    record: CallRecord
    made: Job | Outcome


@attrs.frozen(kw_only=True)
class _Trouble:
    error: MediaError
    delivery: Delivery


def _classify(error: Exception, context: Context, backend: str) -> _Trouble:
    """Return the error of a failed submit, and whether it was delivered."""
    if not isinstance(error, MediaError):
        error = raised(backend, error)
    if context.submissions == 0:
        if isinstance(error, BackendError):
            error.delivery, error.charged = "not_sent", "no"
        return _Trouble(error=error, delivery="not_sent")
    if isinstance(error, BackendError | PluginError):
        return _Trouble(error=error, delivery=error.delivery or "unknown")
    return _Trouble(error=error, delivery="refused" if isinstance(error, RequestError) else "unknown")


def may_send_again(trouble: MediaError, delivery: Delivery) -> bool:
    """Whether a submit may be made again, here or by a fallback: certainly not delivered, or refused by a service that is not able."""
    if delivery == "not_sent":
        return (isinstance(trouble, BackendError) and trouble.retry) or isinstance(trouble, SubmissionUnknown)
    return delivery == "refused" and isinstance(trouble, RateLimited | BackendUnavailable)


def _may_pass(trouble: _Trouble) -> bool:
    """Whether the same call may be sent at another time, because it did not reach the provider in time, or not at all."""
    late = isinstance(trouble.error, BackendTimeout) and trouble.delivery == "not_sent"
    return late or may_send_again(trouble.error, trouble.delivery)


def _broke_down(trouble: _Trouble) -> bool:
    """Whether the service refused the request because it failed, not for capacity: the same request would fail again."""
    error = trouble.error
    return trouble.delivery == "refused" and isinstance(error, BackendUnavailable) and error.status not in {None, 503, 529}


async def submit(
    engine: Engine,
    lease: Lease,
    record: CallRecord,
    request: Request,
    row: ModelSpec,
    loaded: Loaded,
    policy: Policy,
    deadline: float | None,
    *,
    stays_queued: bool = False,
) -> Submitted:
    """Send a call that is ``queued``; between two attempts it is ``queued`` again.

    ``stays_queued``: the call stays ``queued`` if it could not be sent in time, or the provider has no capacity.

    Raises:
        MediaError: the record is then ``failed``, ``refused`` or ``unknown``; SubmissionUnknown for the last.
    """
    attempts: list[Mapping[str, Any]] = list(record.attempts)
    for tries in range(policy.retries + 1):
        try:
            record = await engine.advance(lease, "submitting", submits=record.submits + 1)
        except asyncio.CancelledError:
            await shielded(_interrupted(engine, lease, 0))
            raise
        left = None if deadline is None else deadline - engine.clock.steady()
        context = engine.context(record, row, loaded=loaded, deadline=left)
        try:
            if left is not None and left <= 0:
                raise TimeoutError
            async with asyncio.timeout(left):
                made = await engine.call(record.backend, request.kind, request=request, context=context)
        except asyncio.CancelledError:
            await shielded(_interrupted(engine, lease, context.submissions))
            raise
        except TimeoutError as error:
            trouble = _timed_out(error, context)
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is judged here
            trouble = _classify(error, context, record.backend)
        else:
            return await _accepted(engine, lease, record, made)
        _name(trouble.error, record)
        attempts.append({"error": trouble.error.code, "delivery": trouble.delivery, "backend": record.backend, "model": record.model})
        pause = _pause(trouble, tries, policy, engine, deadline)
        if pause is None and not (stays_queued and _may_pass(trouble)):
            return await _settle(engine, lease, record, row, trouble, tuple(attempts))
        record = await engine.advance(lease, "queued", attempts=tuple(attempts))
        if pause is None:
            shown = _unavailable(record) if isinstance(trouble.error, SubmissionUnknown) else trouble.error
            shown.action = Fix("resume", record.run)
            raise shown from None
        engine.report(record, "retrying", note=f"{trouble.error.code}; retrying in {pause:.0f} s")
        await engine.clock.sleep(pause)
    raise AssertionError("unreachable")


def _timed_out(error: TimeoutError, context: Context) -> _Trouble:
    if context.submissions == 0:
        early = BackendTimeout("the deadline passed; nothing was sent, and nothing was spent", delivery="not_sent")
        return _Trouble(error=early, delivery="not_sent")
    wrapped = SubmissionUnknown("the deadline passed while the request was being sent")
    wrapped.__cause__ = error
    return _Trouble(error=wrapped, delivery="unknown")


async def _accepted(engine: Engine, lease: Lease, record: CallRecord, made: Job | Outcome) -> Submitted:
    """Record the provider's job at once.

    Raises:
        LeaseLost: another process has resolved the outcome itself.
        StateError: the journal cannot be written; the message names the provider's job, so that it is not lost.
        PluginContractError: the job cannot be recorded; it is named as well.
    """
    if isinstance(made, Job):
        with contextlib.suppress(LeaseLost):
            return await _record_answer(engine, lease, record, made)
    try:
        if not await engine.store.holds(lease):
            lease = await _claim_back(engine, record)
    except StateError as error:
        raise _not_recorded(error, record, made) from None
    return await _record_answer(engine, lease, record, made)


async def _record_answer(engine: Engine, lease: Lease, record: CallRecord, made: Job | Outcome, **changes: Any) -> Submitted:
    if isinstance(made, Job):
        changes["job"] = job_json(made, record.read_at)
        try:
            record = await engine.persist_with_retry(functools.partial(engine.advance, lease, "submitted", **changes))
        except StateError as error:
            raise _not_recorded(error, record, made) from None
        except PluginContractError as error:
            named = _not_recorded(error, record, made)
            await engine.advance(lease, "unknown", error=error_json(named))
            raise named from None
    return Submitted(lease=lease, record=record, made=made)


def _not_recorded(error: _E, record: CallRecord, made: Job | Outcome) -> _E:
    """Complete the error of an answer that could not be recorded: it may be charged; the message names the provider's job."""
    if isinstance(made, Job):
        end = "" if error.message.endswith(".") else "."
        error.message += f"{end} Note that {record.id} is the job {clean_text(made.id, 200)!r} of the provider."
    error.job_id, error.charged = record.id, "unknown"
    return error


async def _claim_back(engine: Engine, record: CallRecord) -> Lease:
    """Claim a call from a process that claimed it while this one was suspended: only this one has the answer.

    Raises:
        LeaseLost: that process has found the job itself, or has closed the call.
    """
    while True:
        current = await engine.store.get(record.id)
        if current is None or current.state not in {"submitting", "unknown"}:
            raise LeaseLost(record.id)
        claimed = await engine.store.claim(record.id, owner=engine.owner, lease_seconds=LEASE_SECONDS)
        if claimed is not None:
            return claimed.lease
        await engine.clock.sleep(_RELEASE_SECONDS)


async def _interrupted(engine: Engine, lease: Lease, submissions: int) -> None:
    """Record a cancelled submit: its outcome is unknown once it was started; before that it is queued again."""
    try:
        await engine.advance(lease, "unknown" if submissions else "queued")
    except (StateError, LeaseLost) as error:
        _log.warning("the cancellation of %s could not be recorded: %s", lease.call_id, type(error).__name__)


def _name(error: MediaError, record: CallRecord) -> None:
    error.job_id = record.id
    if isinstance(error, BackendError):
        error.backend, error.model = record.backend, record.model


def _pause(trouble: _Trouble, tries: int, policy: Policy, engine: Engine, deadline: float | None) -> float | None:
    """Return the pause in seconds before the next attempt, or None for no further attempt."""
    if tries >= policy.retries or not may_send_again(trouble.error, trouble.delivery) or _broke_down(trouble):
        return None
    hint = bounded_hint(getattr(trouble.error, "retry_after", None))
    pause = hint if hint is not None else 0.5 * 2.0**tries
    if pause > _LONGEST_PAUSE or (deadline is not None and engine.clock.steady() + pause >= deadline):
        return None
    return pause


async def _settle(
    engine: Engine, lease: Lease, record: CallRecord, row: ModelSpec, trouble: _Trouble, attempts: tuple[Mapping[str, Any], ...]
) -> Submitted:
    error = trouble.error
    await _keep_raw(engine, record, error)
    if trouble.delivery != "unknown":
        state = "failed" if trouble.delivery == "not_sent" else "refused"
        shown = _unavailable(record) if isinstance(error, SubmissionUnknown) else error  # recorded as shown: not charged
        await engine.advance(lease, state, attempts=attempts, error=error_json(shown), cost_usd=cost_of(shown))  # type: ignore[arg-type]
        if shown is error:
            raise error
        raise shown from error
    record = await engine.advance(lease, "unknown", attempts=attempts)
    found = await lookup(engine, lease, record, row)
    if found is not None:
        return found
    unknown = unknown_outcome(error, record)
    await engine.advance(lease, "unknown", error=error_json(unknown))
    raise unknown from error


async def _keep_raw(engine: Engine, record: CallRecord, error: MediaError) -> None:
    """Store what was received and could not be interpreted: it may be paid for."""
    if not error.raw:
        return
    try:
        artifact = await engine.artifacts.put(record.id, "raw", error.raw, mime="application/octet-stream")
        await name_kept(error, artifact, engine.artifacts, record.run)
    except ArtifactError as failed:
        _log.warning("what was received for %s could not be stored: %s", record.id, failed.code)
    error.raw = None


def _unavailable(record: CallRecord) -> BackendUnavailable:
    named = BackendUnavailable(f"'{record.backend}' could not be reached: nothing was sent", delivery="not_sent", job_id=record.id)
    named.backend, named.model = record.backend, record.model
    return named


def unknown_outcome(error: MediaError, record: CallRecord) -> MediaError:
    """Return the error for a submit of unknown outcome, with the amount at risk."""
    if isinstance(error, BadBackendResponse):
        error.charged, error.retry = "unknown", False
        return error
    risk = "an unknown amount" if record.quote_usd is None else f"up to {in_dollars(record.quote_usd[1])} USD"
    who, free = f"'{record.backend}/{record.model}'", record.quote_usd == (0, 0)
    text = f"{who} may have received the request, but no usable answer came back ({error.message}); "
    text += "it is free of charge." if free else f"{risk} may be charged."
    fix = "Request it again." if free else "It was not sent again. Look for it in the provider's list of requests."
    found = SubmissionUnknown(text, fix=fix, delivery="unknown", job_id=record.id, request_id=getattr(error, "request_id", None))
    found.charged = "no" if free else found.charged
    found.backend, found.model, found.action = record.backend, record.model, Fix("resume", record.run)
    found.provider_message = error.provider_message
    return found


async def lookup(engine: Engine, lease: Lease, record: CallRecord, row: ModelSpec | None) -> Submitted | None:
    """Look up a submit of unknown outcome at its provider; None if it is not found. Never sends it again."""
    if not engine.has_hook(record.backend, "find_submission"):
        return None
    sought = SubmissionRecord(
        label=record.id,
        model=record.model,
        operation=record.operation,
        prompt=str(record.request.get("prompt", "")),
        started_at=record.created_at,
    )
    for pause in LOOKUPS:
        await engine.clock.sleep(pause)
        try:
            async with asyncio.timeout(_LONGEST_LOOKUP):
                made = await engine.call(record.backend, "find_submission", record=sought, context=engine.context(record, row))
        except (MediaError, TimeoutError) as error:
            _log.debug("looking up %s failed: %s", record.id, getattr(error, "code", "timeout"))
            continue
        if made is None:
            continue
        try:
            return await _record_answer(engine, lease, record, made, account=await engine.account(record.backend), sole_job=True)
        except JobTaken:  # two equal requests cannot be distinguished
            _log.debug("the job found for %s belongs to another call", record.id)
    return None
