"""Resume, cancel or forget the calls of a run, also those that another process started."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ..capabilities import ModelSpec
from ..errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    Fix,
    JobCancelled,
    MediaError,
    RequestError,
    SubmissionUnknown,
    UnknownBackend,
    UnknownJob,
)
from ..media import Image
from ..requests import Inpaint
from ..results import Job, Outcome, Result, Succeeded, Warning
from ..state.call_codec import error_from_json, error_json, job_from_json, outcome_from_json
from ..state.errors import LeaseLost
from ..state.store import ACTIVE_STATES, FINAL_STATES, CallRecord, Lease
from ..state.transitions import check_forgettable
from ..threads import in_thread
from .engine import Engine
from .finalize import delete_temporaries, finalize
from .lease import LEASE_SECONDS, LeaseKeeper
from .poll import LONGEST_CHECK, poll_job
from .prepare_inputs import InputReader, Protection, read_protection
from .run_result import latest, most_serious, result_of
from .submit import lookup, unknown_outcome

__all__ = [
    "cancel_call",
    "cancelled_error",
    "forget_run",
    "resume_call",
    "resume_run",
]

_log = logging.getLogger("anymedia")

_NOT_PROTECTED = Warning(
    "not_protected", "the protected pixels could not be copied back: the source or the mask is gone, has changed, or was never a file"
)
#: Interval in seconds of checking whether another process has finished a call.
_RECHECK_SECONDS = 0.5


async def resume_call(engine: Engine, call_id: str, deadline: float | None) -> CallRecord:
    """Complete one call, or wait for the process that is processing it.

    Returns:
        The record in its final state.

    Raises:
        SubmissionUnknown: the outcome of its submit is still unknown.
        BackendTimeout: the deadline passed; the call can be resumed.
        BackendError: it failed, now or earlier.
    """
    while True:
        record = await _known(engine, call_id)
        if record.state in FINAL_STATES:
            return _ended(record)
        claimed = await engine.store.claim(call_id, owner=engine.owner, lease_seconds=LEASE_SECONDS)
        if claimed is not None:
            with contextlib.suppress(LeaseLost):  # suspended for too long: wait for the process that has claimed it
                async with LeaseKeeper(engine.leases, claimed.lease):
                    return _ended(await _continue(engine, claimed.lease, claimed, deadline))
        if deadline is not None and engine.clock.steady() >= deadline:
            late = BackendTimeout(f"another process is still processing {call_id}; the deadline passed.", job_id=call_id)
            late.action = Fix("resume", record.run)
            raise late
        await engine.clock.sleep(_RECHECK_SECONDS)


async def resume_run(engine: Engine, run: str, deadline: float | None) -> Result:
    """Complete every call of a run, within some seconds.

    Raises:
        BackendTimeout: the deadline passed before all calls had ended; results of ended calls remain available.
        MediaError: as `resume_call`, if no call returned anything.
    """
    until = None if deadline is None else engine.clock.steady() + deadline
    failures: list[MediaError] = []
    for record in latest(await engine.store.run(run)):
        try:
            await resume_call(engine, record.id, until)
        except MediaError as error:
            failures.append(error)
    records = await engine.store.run(run)
    late = next((error for error in failures if isinstance(error, BackendTimeout)), None)
    if late is not None and any(record.state in ACTIVE_STATES for record in latest(records)):
        raise late
    if failures and not any(record.state == "done" for record in records):
        raise most_serious(failures)
    return result_of(records)


async def _known(engine: Engine, call_id: str) -> CallRecord:
    if (record := await engine.store.get(call_id)) is None:
        error = UnknownJob(f"{call_id} was deleted from the journal in the meantime")
        error.action = Fix("list_jobs")
        raise error
    return record


def _ended(record: CallRecord) -> CallRecord:
    """Return a record that is done; raise the error of another one."""
    if record.state in {"failed", "refused"} and record.error is not None:
        raise error_from_json(record.error)
    if record.state == "cancelled":
        raise cancelled_error(record)
    return record


def cancelled_error(record: CallRecord) -> JobCancelled:
    """Return the error for a cancelled job."""
    error = JobCancelled(f"{record.id} was cancelled", fix="make the request again", job_id=record.id)
    error.charged = (record.error or {}).get("charged", "no")
    return error


def _model_spec(engine: Engine, record: CallRecord) -> ModelSpec | None:
    try:
        return engine.instance(record.backend).matrix.model(record.model)
    except UnknownBackend as error:
        raise UnknownBackend(f"{error.message}; {record.id} was made by it", fix="install it again to continue") from None


async def _continue(engine: Engine, lease: Lease, record: CallRecord, deadline: float | None) -> CallRecord:
    spec = _model_spec(engine, record)
    if record.state == "submitting" and record.submits == 0:
        raise await _never_sent(engine, lease, record)
    if record.state == "submitting":
        # The process ended during the submit, whose outcome is unknown.
        record = await engine.advance(lease, "unknown")
    if record.state == "unknown":
        found = await lookup(engine, lease, record, spec)
        if found is None:
            error = unknown_outcome(SubmissionUnknown("the process that sent it ended"), record)
            await engine.advance(lease, "unknown", error=error_json(error))
            raise error
        record, made = found.record, found.made
        outcome = await poll_job(engine, lease, record, spec, deadline) if isinstance(made, Job) else made
    else:
        outcome = await _outcome_of(engine, lease, record, spec, deadline)
    protection = await _protection(engine, record)
    if protection is None and record.target["protect"]:
        outcome = attrs.evolve(outcome, warnings=(*outcome.warnings, _NOT_PROTECTED))
    return await finalize(engine, lease, record, outcome, protection, deadline)


async def _never_sent(engine: Engine, lease: Lease, record: CallRecord) -> BackendError:
    """Close a call whose process ended before the hook was called: certainly nothing was sent."""
    text = f"the process that should have sent {record.id} ended before it did; nothing was spent"
    error = BackendUnavailable(text, fix="make the request again", delivery="not_sent", job_id=record.id)
    error.backend, error.model = record.backend, record.model
    await engine.advance(lease, "failed", error=error_json(error))
    return error


async def _outcome_of(engine: Engine, lease: Lease, record: CallRecord, spec: ModelSpec | None, deadline: float | None) -> Outcome:
    stored = None
    if record.state == "collecting" and record.outcome is not None:
        stored = await in_thread(functools.partial(outcome_from_json, record.outcome, record.secret))
    if stored is not None:
        return await _refresh_links(engine, record, spec) or stored
    if record.job is not None:
        return await poll_job(engine, lease, record, spec, deadline)
    error: BackendError = BadBackendResponse(
        f"'{record.backend}/{record.model}' answered, but the process ended before the answer was recorded.",
        fix="make the request again if it is still needed",
        job_id=record.id,
    )
    error.charged = "yes"
    await engine.advance(lease, "failed", error=error_json(error), cost_usd=record.quote_usd[1] if record.quote_usd else None)
    raise error


async def _refresh_links(engine: Engine, record: CallRecord, spec: ModelSpec | None) -> Outcome | None:
    """Check a finished job again for new links, since the stored ones may have expired."""
    if record.job is None:
        return None
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            state = await engine.call(record.backend, "check_job", job=job_from_json(record.job), context=engine.context(record, spec))
    except Exception as error:  # noqa: BLE001 - the stored links may still be valid
        _log.debug("checking %s again failed: %s", record.id, type(error).__name__)
        return None
    return state.outcome if isinstance(state, Succeeded) else None


async def _protection(engine: Engine, record: CallRecord) -> Protection | None:
    """Read the source and the mask of a masked edit again; None if they are not the same files any more."""
    stored = record.target.get("protection")
    if stored is None or None in {stored["source"], stored["mask"]}:
        return None
    exact = "exact" if record.target["protect"] else None
    source, mask = Image(path=stored["source"]), Image(path=stored["mask"])
    request = Inpaint(prompt="-", source=source, mask=mask, protect=exact)  # type: ignore[arg-type]
    try:
        found = await read_protection(InputReader(roots=_roots(engine, record)), request)
    except MediaError:
        return None
    return found if found is not None and found.to_json() == stored else None


def _roots(engine: Engine, record: CallRecord) -> tuple[Path, ...] | None:
    """Return the input roots of the original call: a link may have replaced a file in the meantime."""
    stored = record.target.get("input_roots")
    return engine.policy.input_roots if stored is None else tuple(Path(root) for root in stored)


async def cancel_call(engine: Engine, record: CallRecord) -> None:
    """Cancel one call; does nothing if it has ended.

    Raises:
        RequestError: another process is processing it.
        BackendError: the provider could not be reached; the record is unchanged.
    """
    if record.state in FINAL_STATES:
        return
    record = await _claim(engine, record)
    lease = record.lease
    try:
        async with LeaseKeeper(engine.leases, lease):
            notify = record.job is not None and record.outcome is None and engine.has_hook(record.backend, "cancel_job")
            if notify and record.job is not None:
                model = engine.instance(record.backend).matrix.model(record.model)
                job = job_from_json(record.job)
                await engine.call(record.backend, "cancel_job", job=job, context=engine.context(record, model))
            await engine.advance(lease, "cancelled", **_cancelled_cost(record, notified=notify))
    except LeaseLost:
        raise _in_use(record) from None
    await in_thread(functools.partial(delete_temporaries, record))


def _cancelled_cost(record: CallRecord, *, notified: bool) -> dict[str, Any]:
    """Return the changes that record the cost of a cancelled call: what may be charged counts as spent."""
    if record.state == "submitting" and record.submits == 0:
        return {}
    if record.outcome is not None and record.outcome["cost_usd"] is not None:
        return {"cost_usd": record.outcome["cost_usd"]}
    why = "it was cancelled at the provider while running" if notified else "the provider cannot cancel it, completes it, and charges it"
    return {"error": {"code": "cancelled", "message": why, "charged": "unknown" if notified else "yes"}}


async def forget_run(engine: Engine, records: Sequence[CallRecord]) -> None:
    """Delete the records of a run, all or none.

    Raises:
        RequestError: a call is still active, or another process is looking it up.
    """
    for record in records:
        check_forgettable(record)
    leases = [(await _claim(engine, record)).lease for record in records if record.state not in FINAL_STATES]
    for record in records:
        await engine.store.forget(record.id)
        await in_thread(functools.partial(delete_temporaries, record))
    for lease in leases:
        await engine.store.release(lease)


async def _claim(engine: Engine, record: CallRecord) -> CallRecord:
    claimed = await engine.store.claim(record.id, owner=engine.owner, lease_seconds=LEASE_SECONDS)
    if claimed is None:
        raise _in_use(record)
    return claimed


def _in_use(record: CallRecord) -> RequestError:
    return RequestError(f"another process is processing {record.id}", fix="stop it there, or wait until it has ended")
