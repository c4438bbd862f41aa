"""Execute one recorded call: wait in line, submit, poll, finalize; also one that an ended process has left queued.

A submit that was certainly not delivered, or was refused for capacity, may be made again under the policy. One whose outcome is unknown
is looked up at the provider, and never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from .. import telemetry
from ..artifacts import ArtifactDamaged, ArtifactError, ArtifactMissing
from ..capabilities import ModelSpec
from ..context import Context
from ..errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    Delivery,
    Fix,
    MediaError,
    OutOfResources,
    PluginContractError,
    PluginError,
    RateLimited,
    RequestError,
    SettingsError,
    SubmissionUnknown,
)
from ..formatting import in_dollars
from ..hookspecs import SubmissionRecord
from ..plugins.sanitize import raised
from ..policy import Policy
from ..redaction import clean_text
from ..requests import Request
from ..results import Job, Outcome
from ..state.codec import cost_of, error_json, job_json
from ..state.store import CallRecord, JobTaken, LeaseLost, StateError
from ..threads import shielded
from .account import is_same_account
from .engine import Engine
from .finalize import finalize, output_target, provider_kind
from .governor import Need, Reservation
from .lease import LEASE_SECONDS, LeaseKeeper
from .poll import poll_job
from .poll_schedule import bounded_hint
from .prepare_inputs import Loaded, Protection, restore_inputs
from .runs import about
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

#: The record of a submitted call, and what the hook returned.
Submitted: TypeAlias = tuple[CallRecord, Job | Outcome]


@attrs.frozen(kw_only=True, eq=False)
class QueuedCall:
    """A recorded call, and what is needed to send it and to save its files.

    ``is_resumed``: another process has recorded it. It stays queued if it cannot be sent now.
    """

    record: CallRecord
    request: Request
    spec: ModelSpec
    loaded: Loaded = attrs.field(repr=False)
    protection: Protection | None = attrs.field(repr=False)
    is_resumed: bool = False


async def execute_call(
    engine: Engine, call: QueuedCall, held: LeaseKeeper, policy: Policy, deadline: float | None, on_submitted: Callable[[], None]
) -> CallRecord:
    """Submit a queued call when its turn has come, poll its job, and save its files; return the record, which is ``done``."""
    record = call.record
    with await _reserve(engine, call, held, deadline) as reserved, engine.clients.used(record.backend):
        held.sending = True
        try:
            record, made = await submit(engine, call, policy, deadline)
        except MediaError as error:
            engine.learn(record, error)
            raise
        engine.learn(record, None)
        on_submitted()
        held.sent(record.lease)
        reserved.answered(is_job=isinstance(made, Job))
        outcome = await poll_job(engine, record, call.spec, deadline) if isinstance(made, Job) else made
        finished = await finalize(engine, record, outcome, call.protection, deadline, is_resumed=call.is_resumed)
        held.ended = True
        engine.governor.learn(reserved.need, [file["bytes"] for file in (finished.result or {})["files"]])
        return finished


async def _reserve(engine: Engine, call: QueuedCall, held: LeaseKeeper, deadline: float | None) -> Reservation:
    """Wait until the limits of the account allow a call, and reserve what its answer will need, within the deadline.

    Raises:
        OutOfResources: there is no room for it.
        BackendTimeout: the deadline passed. In both cases nothing was sent, and the record is ``failed`` unless it stays queued.
    """
    record = call.record
    left = None if deadline is None else max(0.0, deadline - engine.clock.steady())
    try:
        async with asyncio.timeout(left):
            with telemetry.span("queue", backend=record.backend, model=record.model, call=record.id):
                await engine.slots.take(record, engine.instance(record.backend))
                return await engine.governor.reserve(_need(engine, call))
    except (OutOfResources, TimeoutError) as error:
        waited = "waited for a slot of its account, file descriptors, memory or disk space"
        text = f"the deadline passed while the call {waited}; nothing was sent"
        failed = error if isinstance(error, OutOfResources) else BackendTimeout(text, delivery="not_sent")
    failed.job_id = record.id
    if call.is_resumed:
        failed.action = Fix("resume", record.run)
    else:
        held.ended = True
        await engine.advance(record, "failed", error=error_json(failed))
    raise failed


def _need(engine: Engine, call: QueuedCall) -> Need:
    """Return what the answer of a call will need: the result is stored, and copied to the output directory."""
    record, target = call.record, output_target(call.record)
    stored = [engine.artifacts.directory] * (2 if provider_kind(record) == "raw" else 1)
    return Need(
        key=(record.backend, record.model),
        media=record.target["media"],
        count=getattr(call.request, "n", 1),
        sent=sum(len(loaded.data) for loaded in call.loaded.values()),
        folders=(*stored, *(() if target is None else (target.folder,))),
    )


async def execute_queued(
    engine: Engine, record: CallRecord, spec: ModelSpec | None, held: LeaseKeeper, deadline: float | None, *, rebind: bool
) -> CallRecord:
    """Execute a call that another process has recorded, from what is stored of it; ``rebind``: under the account configured now.

    Raises:
        SettingsError: it was requested for another account; it stays queued.
        BackendUnavailable: its model or its inputs are gone; the call has failed, and nothing was sent.
        MediaError: as `execute_call`.
    """
    current = await engine.account(record.backend)
    if not is_same_account(record.account, current):
        if not rebind:
            text = f"{record.id} is queued for another account of '{record.backend}' than the one that is configured; nothing was sent"
            raise about(SettingsError(text, fix="Set that account's key and address, or rebind the job."), record, "rebind")
        record = await engine.advance(record, "queued", account=current)
    continued = record.request.get("continue_from")
    try:
        if spec is None:
            raise RequestError(f"'{record.backend}' has no model {record.model!r} any more")
        continuation = None if continued is None else await engine.store.load_continuation(str(continued))
        request, loaded, protection = await restore_inputs(engine.artifacts, record, continuation)
    except (ArtifactMissing, ArtifactDamaged, RequestError) as why:
        text = f"the process that should have sent {record.id} ended before it did, and it cannot be sent now"
        fix = "make the request again"
        error = about(BackendUnavailable(f"{text}: {why.message}; nothing was spent", fix=fix, delivery="not_sent"), record)
        held.ended = True
        await engine.advance(record, "failed", error=error_json(error))
        raise error from None
    call = QueuedCall(record=record, request=request, spec=spec, loaded=loaded, protection=protection, is_resumed=True)
    return await execute_call(engine, call, held, engine.policy, deadline, lambda: None)


@attrs.frozen
class _Trouble:
    error: MediaError
    delivery: Delivery


def _classify(error: Exception, context: Context, backend: str) -> _Trouble:
    """Return the error of a failed submit, and whether it was delivered."""
    if isinstance(error, TimeoutError):
        late = SubmissionUnknown("the deadline passed while the request was being sent")
        late.__cause__ = error
        error = late if context.submissions else BackendTimeout("the deadline passed; nothing was sent, and nothing was spent")
    elif not isinstance(error, MediaError):
        error = raised(backend, error)
    if context.submissions == 0:
        if isinstance(error, BackendError):
            error.delivery, error.charged = "not_sent", "no"
        return _Trouble(error, "not_sent")
    if isinstance(error, BackendError | PluginError):
        return _Trouble(error, error.delivery or "unknown")
    return _Trouble(error, "refused" if isinstance(error, RequestError) else "unknown")


def may_send_again(trouble: MediaError, delivery: Delivery) -> bool:
    """Whether a submit may be made again, here or by a fallback: certainly not delivered, or refused by a service that is not able."""
    if delivery == "not_sent":
        return (isinstance(trouble, BackendError) and trouble.retry) or isinstance(trouble, SubmissionUnknown)
    return delivery == "refused" and isinstance(trouble, RateLimited | BackendUnavailable)


async def submit(engine: Engine, call: QueuedCall, policy: Policy, deadline: float | None) -> Submitted:
    """Send a call that is ``queued``; between two attempts it is ``queued`` again. Return its record, and what the hook returned.

    A resumed one stays ``queued`` if it could not be sent in time, or the provider has no capacity.

    Raises:
        MediaError: the record is then ``failed``, ``refused`` or ``unknown``; SubmissionUnknown for the last.
    """
    record, request = call.record, call.request
    attempts: list[Mapping[str, Any]] = list(record.attempts)
    for tries in range(policy.retries + 1):
        try:
            record = await engine.advance(record, "submitting", submits=record.submits + 1)
        except asyncio.CancelledError:
            await shielded(_interrupted(engine, record, 0))
            raise
        left = None if deadline is None else deadline - engine.clock.steady()
        context = engine.context(record, call.spec, loaded=call.loaded, deadline=left)
        try:
            if left is not None and left <= 0:
                raise TimeoutError
            async with asyncio.timeout(left):
                made = await engine.call(record.backend, request.kind, request=request, context=context)
        except asyncio.CancelledError:
            await shielded(_interrupted(engine, record, context.submissions))
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is judged here
            trouble = _classify(error, context, record.backend)
        else:
            return await _accepted(engine, record, made)
        about(trouble.error, record)
        attempts.append({"error": trouble.error.code, "delivery": trouble.delivery, "backend": record.backend, "model": record.model})
        pause = _pause(trouble, tries, policy, engine, deadline)
        is_late = isinstance(trouble.error, BackendTimeout) and trouble.delivery == "not_sent"
        if pause is None and not (call.is_resumed and (is_late or may_send_again(trouble.error, trouble.delivery))):
            return await _settle(engine, record, call.spec, trouble, tuple(attempts))
        record = await engine.advance(record, "queued", attempts=tuple(attempts))
        if pause is None:
            raise about(_unsent(trouble.error, record), record, "resume") from None
        engine.report(record, "retrying", note=f"{trouble.error.code}; retrying in {pause:.0f} s")
        await engine.clock.sleep(pause)
    raise AssertionError("unreachable")


async def _accepted(engine: Engine, record: CallRecord, made: Job | Outcome) -> Submitted:
    """Record the provider's job at once.

    Raises:
        LeaseLost: another process has resolved the outcome itself.
        StateError: the journal cannot be written; the message names the provider's job, so that it is not lost.
        PluginContractError: the job cannot be recorded; it is named as well.
    """
    if isinstance(made, Job):
        with contextlib.suppress(LeaseLost):
            return await _record_answer(engine, record, made)
    try:
        if not await engine.store.holds(record.lease):
            record = await _claim_back(engine, record)
    except StateError as error:
        raise _not_recorded(error, record, made) from None
    return await _record_answer(engine, record, made)


async def _record_answer(engine: Engine, record: CallRecord, made: Job | Outcome, **changes: Any) -> Submitted:
    if isinstance(made, Job):
        changes["job"] = job_json(made, record.read_at)
        try:
            record = await engine.persist_with_retry(functools.partial(engine.advance, record, "submitted", **changes))
        except StateError as error:
            raise _not_recorded(error, record, made) from None
        except PluginContractError as error:
            named = _not_recorded(error, record, made)
            await engine.advance(record, "unknown", error=error_json(named))
            raise named from None
    return record, made


def _not_recorded(error: MediaError, record: CallRecord, made: Job | Outcome) -> MediaError:
    """Complete the error of an answer that could not be recorded: it may be charged; the message names the provider's job."""
    if isinstance(made, Job):
        end = "" if error.message.endswith(".") else "."
        error.message += f"{end} Note that {record.id} is the job {clean_text(made.id, 200)!r} of the provider."
    error.job_id, error.charged = record.id, "unknown"
    return error


async def _claim_back(engine: Engine, record: CallRecord) -> CallRecord:
    """Claim a call back, whose answer only this process has; `LeaseLost` if the process that claimed it meanwhile has resolved it."""
    while True:
        current = await engine.store.get(record.id)
        if current is None or current.state not in {"submitting", "unknown"}:
            raise LeaseLost(record.id)
        claimed = await engine.store.claim(record.id, owner=engine.owner, lease_seconds=LEASE_SECONDS)
        if claimed is not None:
            return claimed
        await engine.clock.sleep(_RELEASE_SECONDS)


async def _interrupted(engine: Engine, record: CallRecord, submissions: int) -> None:
    """Record a cancelled submit: its outcome is unknown once it was started; before that it is queued again."""
    try:
        await engine.advance(record, "unknown" if submissions else "queued")
    except (StateError, LeaseLost) as error:
        _log.warning("the cancellation of %s could not be recorded: %s", record.id, type(error).__name__)


def _pause(trouble: _Trouble, tries: int, policy: Policy, engine: Engine, deadline: float | None) -> float | None:
    """Return the pause in seconds before the next attempt, or None for no further attempt."""
    error = trouble.error
    if tries >= policy.retries or not may_send_again(error, trouble.delivery):
        return None
    if trouble.delivery == "refused" and isinstance(error, BackendUnavailable) and error.status not in {None, 503, 529}:
        return None  # it failed, for other reasons than capacity: the same request would fail again
    hint = bounded_hint(getattr(error, "retry_after", None))
    pause = hint if hint is not None else 0.5 * 2.0**tries
    if pause > _LONGEST_PAUSE or (deadline is not None and engine.clock.steady() + pause >= deadline):
        return None
    return pause


async def _settle(
    engine: Engine, record: CallRecord, row: ModelSpec, trouble: _Trouble, attempts: tuple[Mapping[str, Any], ...]
) -> Submitted:
    error = trouble.error
    await _keep_raw(engine, record, error)
    if trouble.delivery != "unknown":
        state = "failed" if trouble.delivery == "not_sent" else "refused"
        shown = _unsent(error, record)  # recorded as shown: not charged
        await engine.advance(record, state, attempts=attempts, error=error_json(shown), cost_usd=cost_of(shown))  # type: ignore[arg-type]
        if shown is error:
            raise error
        raise shown from error
    record = await engine.advance(record, "unknown", attempts=attempts)
    found = await lookup(engine, record, row)
    if found is not None:
        return found
    unknown = unknown_outcome(error, record)
    await engine.advance(record, "unknown", error=error_json(unknown))
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


def _unsent(error: MediaError, record: CallRecord) -> MediaError:
    """Return the error to show for a submit that has certainly not arrived, whatever the plugin thought of it."""
    if not isinstance(error, SubmissionUnknown):
        return error
    return about(BackendUnavailable(f"'{record.backend}' could not be reached: nothing was sent", delivery="not_sent"), record)


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
    found = SubmissionUnknown(text, fix=fix, delivery="unknown", request_id=getattr(error, "request_id", None))
    found.charged = "no" if free else found.charged
    found.provider_message = error.provider_message
    return about(found, record, "resume")


async def lookup(engine: Engine, record: CallRecord, row: ModelSpec | None) -> Submitted | None:
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
            return await _record_answer(engine, record, made, account=await engine.account(record.backend), sole_job=True)
        except JobTaken:  # two equal requests cannot be distinguished
            _log.debug("the job found for %s belongs to another call", record.id)
    return None
