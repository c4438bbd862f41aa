"""One billable call: journalled and reserved first, then sent once.

A submit that certainly did not arrive, or was refused as over capacity, may be made again by the policy. One whose
outcome is not known is looked up at the provider, and never made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

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
from ..state.call_codec import cost_of, error_json, job_json
from ..state.errors import LeaseLost, StateError
from ..state.store import CallRecord, Lease
from .engine import LEASE_SECONDS, Engine

__all__ = ["Submitted", "lookup", "may_send_again", "submit", "unknown_outcome"]

_log = logging.getLogger("anymedia")
#: A provider that asks for a longer pause than this is not waited for.
_LONGEST_PAUSE = 60.0
#: How often to see whether another process lets a call go, in seconds.
_LOOK_SECONDS = 0.5
#: How long one look-up may take, in seconds.
_LONGEST_LOOKUP = 60.0
#: When to look up a submit of unknown outcome: seconds between one look and the next.
LOOKUPS = (0.0, 1.0, 3.0)

#: Calls that began within this many seconds before one may be taken for it.
_ALIKE_SECONDS = 86_400.0

_E = TypeVar("_E", bound=MediaError)
Loaded = Mapping[Media | Mask | StoredFile, LoadedMedia]


@attrs.frozen(kw_only=True)
class Submitted:
    """A call that is under way or done: its lease, its row, and what the hook returned."""

    lease: Lease
    record: CallRecord
    made: Job | Outcome


@attrs.frozen(kw_only=True)
class _Trouble:
    error: MediaError
    delivery: Delivery


def _classify(error: Exception, context: Context, backend: str) -> _Trouble:
    """Say what is known of the delivery of a submit that failed."""
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
    """Whether a submit may be made again at all: certainly not delivered, or refused as over capacity."""
    if delivery == "not_sent":
        return (isinstance(trouble, BackendError) and trouble.retry) or isinstance(trouble, SubmissionUnknown)
    return delivery == "refused" and isinstance(trouble, RateLimited | BackendUnavailable)


async def submit(
    engine: Engine,
    lease: Lease,
    record: CallRecord,
    request: Request,
    row: ModelSpec,
    loaded: Loaded,
    policy: Policy,
    deadline: float | None,
) -> Submitted:
    """Send a call that is journalled as ``submitting``.

    Raises:
        MediaError: the row is then ``failed``, ``refused`` or ``unknown``; SubmissionUnknown for the last.
    """
    attempts: list[dict[str, Any]] = []
    for tries in range(policy.retries + 1):
        record = engine.advance(lease, "submitting", submits=tries + 1, attempts=tuple(attempts))
        left = None if deadline is None else deadline - engine.clock.steady()
        context = engine.context(record, row, loaded=loaded, deadline=left)
        try:
            if left is not None and left <= 0:
                raise TimeoutError
            async with contextlib.nullcontext() if left is None else asyncio.timeout(left):
                made = await engine.call(record.backend, request.kind, request=request, context=context)
        except asyncio.CancelledError:
            _interrupted(engine, lease, context)
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
        if pause is None:
            return await _settle(engine, lease, record, row, trouble, tuple(attempts))
        engine.report(record, "retrying", note=f"{trouble.error.code}; retrying in {pause:.0f} s")
        await engine.clock.sleep(pause)
    raise AssertionError("unreachable")


def _timed_out(error: TimeoutError, context: Context) -> _Trouble:
    if context.submissions == 0:
        early = BackendTimeout("the deadline passed before the request was sent; nothing was spent", delivery="not_sent")
        return _Trouble(error=early, delivery="not_sent")
    wrapped = SubmissionUnknown("the deadline passed while the request was being sent")
    wrapped.__cause__ = error
    return _Trouble(error=wrapped, delivery="unknown")


async def _accepted(engine: Engine, lease: Lease, record: CallRecord, made: Job | Outcome) -> Submitted:
    """Write the provider's job down at once.

    Raises:
        LeaseLost: another process has found out what became of it by itself.
        StateError: the journal does not take it; the message names the provider's job, so that it is not lost.
        PluginContractError: the job is none that can be written down; named as well.
    """
    try:
        if not engine.store.holds(lease):
            lease = await _taken_back(engine, record)
    except StateError as error:
        raise _unwritten(error, record, made) from None
    return await _written_down(engine, lease, record, made)


async def _written_down(engine: Engine, lease: Lease, record: CallRecord, made: Job | Outcome) -> Submitted:
    if isinstance(made, Job):
        try:
            record = await engine.persist_with_retry(lambda: engine.advance(lease, "submitted", job=job_json(made)))
        except StateError as error:
            raise _unwritten(error, record, made) from None
        except PluginContractError as error:
            told = _unwritten(error, record, made)
            engine.advance(lease, "unknown", error=error_json(told))
            raise told from None
    return Submitted(lease=lease, record=record, made=made)


def _unwritten(error: _E, record: CallRecord, made: Job | Outcome) -> _E:
    """Complete the error of an answer that could not be written down: it may be charged, and is known to the provider by this name."""
    if isinstance(made, Job):
        end = "" if error.message.endswith(".") else "."
        error.message += f"{end} Write down that the provider knows the job {record.id} as {clean_text(made.id, 200)!r}."
    error.job_id, error.charged = record.id, "unknown"
    return error


async def _taken_back(engine: Engine, record: CallRecord) -> Lease:
    """Take a call back from a process that took it over while this one was away: only this one has the answer.

    Raises:
        LeaseLost: that process has found the job itself, or has closed the row.
    """
    while True:
        current = engine.store.get(record.id)
        if current is None or current.state not in {"submitting", "unknown"}:
            raise LeaseLost(record.id)
        lease = engine.store.claim(record.id, owner=engine.owner, lease_seconds=LEASE_SECONDS, now=engine.clock.now())
        if lease is not None:
            return lease
        await engine.clock.sleep(_LOOK_SECONDS)


def _interrupted(engine: Engine, lease: Lease, context: Context) -> None:
    """The caller went away: a submit under way has an unknown outcome, one not begun has none."""
    try:
        engine.advance(lease, "unknown" if context.submissions else "cancelled")
        engine.store.release(lease)
    except (StateError, LeaseLost) as error:
        _log.warning("what became of %s could not be written down: %s", lease.call_id, type(error).__name__)


def _name(error: MediaError, record: CallRecord) -> None:
    error.job_id = record.id
    if isinstance(error, BackendError):
        error.backend, error.model = record.backend, record.model


def _pause(trouble: _Trouble, tries: int, policy: Policy, engine: Engine, deadline: float | None) -> float | None:
    """Return how long to wait before sending again, or None not to."""
    if tries >= policy.retries or not may_send_again(trouble.error, trouble.delivery):
        return None
    hint = getattr(trouble.error, "retry_after", None)
    pause = float(hint) if hint is not None else 0.5 * 2.0**tries
    if pause > _LONGEST_PAUSE or (deadline is not None and engine.clock.steady() + pause >= deadline):
        return None
    return pause


async def _settle(
    engine: Engine, lease: Lease, record: CallRecord, row: ModelSpec, trouble: _Trouble, attempts: tuple[dict[str, Any], ...]
) -> Submitted:
    error = trouble.error
    if trouble.delivery != "unknown":
        state = "failed" if trouble.delivery == "not_sent" else "refused"
        told = _unavailable(error, record) if isinstance(error, SubmissionUnknown) else error  # written down as it is told: free of charge
        engine.advance(lease, state, attempts=attempts, error=error_json(told), cost_usd=cost_of(told))  # type: ignore[arg-type]
        engine.store.release(lease)
        if told is error:
            raise error
        raise told from error
    record = engine.advance(lease, "unknown", attempts=attempts)
    found = await lookup(engine, lease, record, row)
    if found is not None:
        return found
    unknown = unknown_outcome(error, record)
    engine.advance(lease, "unknown", error=error_json(unknown))
    engine.store.release(lease)
    raise unknown from error


def _unavailable(error: SubmissionUnknown, record: CallRecord) -> BackendUnavailable:
    named = BackendUnavailable(f"'{record.backend}' could not be reached: nothing was sent", delivery="not_sent", job_id=record.id)
    named.backend, named.model = record.backend, record.model
    return named


def unknown_outcome(error: MediaError, record: CallRecord) -> MediaError:
    """Return the error for a submit whose outcome is not known: the money at risk, and where to look."""
    if isinstance(error, BadBackendResponse):
        error.charged, error.retry = "unknown", False
        return error
    risk = "an unknown amount" if record.quote_usd is None else f"up to {in_dollars(record.quote_usd[1])} USD"
    who = f"'{record.backend}/{record.model}'"
    text = f"{who} may have received the request, but no usable answer came back ({error.message}); {risk} may be charged."
    fix = "It was not sent again. Look for it in the provider's list of requests."
    found = SubmissionUnknown(text, fix=fix, delivery="unknown", job_id=record.id, request_id=getattr(error, "request_id", None))
    found.backend, found.model, found.action = record.backend, record.model, Fix("resume", record.run)
    found.provider_message = error.provider_message
    return found


async def lookup(engine: Engine, lease: Lease, record: CallRecord, row: ModelSpec | None) -> Submitted | None:
    """Look up a submit of unknown outcome at its provider; None when it cannot be found. Never sends it again."""
    if not engine.has_hook(record.backend, "find_submission"):
        return None
    sought = SubmissionRecord(
        label=record.id,
        model=record.model,
        operation=record.operation,  # type: ignore[arg-type]
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
        if isinstance(made, Job) and _is_anothers(engine, record, made):
            _log.debug("what was found for %s is another call's job", record.id)
            continue
        if made is not None:
            return await _written_down(engine, lease, record, made)
    return None


def _is_anothers(engine: Engine, record: CallRecord, job: Job) -> bool:
    """Whether a job that was found belongs to another call of the journal: two that ask for the same look alike."""
    rows = engine.store.calls(since=record.created_at - _ALIKE_SECONDS)
    return any(r.id != record.id and r.backend == record.backend and r.job is not None and r.job["id"] == job.id for r in rows)
