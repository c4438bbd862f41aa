"""Resume, cancel or forget the calls of a run, also those that another process started."""

from __future__ import annotations

import asyncio
import contextlib
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
from .engine import LEASE_SECONDS, Engine
from .finalize import delete_temporaries, finalize
from .lease import LeaseKeeper
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
#: How often to see whether another process has finished a call, in seconds.
_LOOK_SECONDS = 0.5


async def resume_call(engine: Engine, call_id: str, deadline: float | None) -> CallRecord:
    """Bring one call to its end, or wait for the process that is at it.

    Returns:
        The row in its final state.

    Raises:
        SubmissionUnknown: its submit's outcome is still not known.
        BackendTimeout: the deadline passed; the row stays resumable.
        BackendError: it failed, now or earlier.
    """
    while True:
        record = _known(engine, call_id)
        if record.state in FINAL_STATES:
            return _ended(record)
        lease = engine.store.claim(call_id, owner=engine.owner, lease_seconds=LEASE_SECONDS, now=engine.clock.now())
        if lease is not None:
            with contextlib.suppress(LeaseLost):  # away for too long: whoever took it over is waited for
                async with LeaseKeeper(engine, lease):
                    return _ended(await _take_up(engine, lease, _known(engine, call_id), deadline))
        if deadline is not None and engine.clock.steady() >= deadline:
            late = BackendTimeout(f"another process is still processing {call_id}; the deadline passed.", job_id=call_id)
            late.action = Fix("resume", record.run)
            raise late
        await engine.clock.sleep(_LOOK_SECONDS)


async def resume_run(engine: Engine, run: str, deadline: float | None) -> Result:
    """Bring every call of a run to its end, for some seconds at most.

    Raises:
        BackendTimeout: the deadline passed before all had ended; what some have brought is there when they have.
        MediaError: as `resume_call`, when no call brought anything.
    """
    until = None if deadline is None else engine.clock.steady() + deadline
    failures: list[MediaError] = []
    for row in latest(engine.store.run(run)):
        try:
            await resume_call(engine, row.id, until)
        except MediaError as error:
            failures.append(error)
    rows = engine.store.run(run)
    late = next((error for error in failures if isinstance(error, BackendTimeout)), None)
    if late is not None and any(row.state in ACTIVE_STATES for row in latest(rows)):
        raise late
    if failures and not any(row.state == "done" for row in rows):
        raise most_serious(failures)
    return result_of(rows)


def _known(engine: Engine, call_id: str) -> CallRecord:
    if (record := engine.store.get(call_id)) is None:
        error = UnknownJob(f"{call_id} was deleted from the journal in the meantime")
        error.action = Fix("list_jobs")
        raise error
    return record


def _ended(record: CallRecord) -> CallRecord:
    """Pass on a row that is done; raise what another one ended with."""
    if record.state in {"failed", "refused"} and record.error is not None:
        raise error_from_json(record.error)
    if record.state == "cancelled":
        raise cancelled_error(record)
    return record


def cancelled_error(record: CallRecord) -> JobCancelled:
    """Return the error for a job that somebody has cancelled."""
    error = JobCancelled(f"{record.id} was cancelled", fix="make the request anew", job_id=record.id)
    error.charged = (record.error or {}).get("charged", "no")
    return error


def _row(engine: Engine, record: CallRecord) -> ModelSpec | None:
    try:
        return engine.instance(record.backend).matrix.model(record.model)
    except UnknownBackend as error:
        raise UnknownBackend(f"{error.message}; {record.id} was made by it", fix="install it again to go on") from None


async def _take_up(engine: Engine, lease: Lease, record: CallRecord, deadline: float | None) -> CallRecord:
    row = _row(engine, record)
    if record.state == "submitting" and record.submits == 0:
        raise _never_sent(engine, lease, record)
    if record.state == "submitting":
        # The process died with the request on its way: what became of it is not known.
        record = engine.advance(lease, "unknown")
    if record.state == "unknown":
        found = await lookup(engine, lease, record, row)
        if found is None:
            error = unknown_outcome(SubmissionUnknown("the process that sent it ended"), record)
            engine.advance(lease, "unknown", error=error_json(error))
            raise error
        record, made = found.record, found.made
        outcome = await poll_job(engine, lease, record, row, deadline) if isinstance(made, Job) else made
    else:
        outcome = await _outcome_of(engine, lease, record, row, deadline)
    protection = await _protection(engine, record)
    if protection is None and record.target["protect"]:
        outcome = attrs.evolve(outcome, warnings=(*outcome.warnings, _NOT_PROTECTED))
    return await finalize(engine, lease, record, outcome, protection, deadline)


def _never_sent(engine: Engine, lease: Lease, record: CallRecord) -> BackendError:
    """Close a call whose process ended before the hook was called: for certain, nothing was sent."""
    text = f"the process that was to send {record.id} ended before it did; nothing was spent"
    error = BackendUnavailable(text, fix="make the request anew", delivery="not_sent", job_id=record.id)
    error.backend, error.model = record.backend, record.model
    engine.advance(lease, "failed", error=error_json(error))
    return error


async def _outcome_of(engine: Engine, lease: Lease, record: CallRecord, row: ModelSpec | None, deadline: float | None) -> Outcome:
    kept = None
    if record.state == "collecting" and record.outcome is not None:
        kept = outcome_from_json(record.outcome, record.secret)
    if kept is not None:
        return await _refresh_links(engine, record, row) or kept
    if record.job is not None:
        return await poll_job(engine, lease, record, row, deadline)
    error: BackendError = BadBackendResponse(
        f"'{record.backend}/{record.model}' answered, but the process ended before its answer was written down.",
        fix="make the request anew if it is still wanted",
        job_id=record.id,
    )
    error.charged = "yes"
    engine.advance(lease, "failed", error=error_json(error), cost_usd=record.quote_usd[1] if record.quote_usd else None)
    raise error


async def _refresh_links(engine: Engine, record: CallRecord, row: ModelSpec | None) -> Outcome | None:
    """Ask a finished job once more: its links are new then, where the kept ones may have expired."""
    if record.job is None:
        return None
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            state = await engine.call(record.backend, "check_job", job=job_from_json(record.job), context=engine.context(record, row))
    except Exception as error:  # noqa: BLE001 - the kept links may still do
        _log.debug("asking %s once more failed: %s", record.id, type(error).__name__)
        return None
    return state.outcome if isinstance(state, Succeeded) else None


async def _protection(engine: Engine, record: CallRecord) -> Protection | None:
    """Read the source and the mask of a masked edit again, where they are still the files they were; None where they are not."""
    kept = record.target.get("protection")
    if kept is None or None in {kept["source"], kept["mask"]}:
        return None
    exact = "exact" if record.target["protect"] else None
    source, mask = Image(path=kept["source"]), Image(path=kept["mask"])
    request = Inpaint(prompt="-", source=source, mask=mask, protect=exact)  # type: ignore[arg-type]
    try:
        found = await read_protection(InputReader(roots=_roots(engine, record)), request)
    except MediaError:
        return None
    return found if found is not None and found.to_json() == kept else None


def _roots(engine: Engine, record: CallRecord) -> tuple[Path, ...] | None:
    """Return the input roots of the original call: a link may have replaced a file in the meantime."""
    stored = record.target.get("input_roots")
    return engine.policy.input_roots if stored is None else tuple(Path(root) for root in stored)


async def cancel_call(engine: Engine, row: CallRecord) -> None:
    """Stop one call; quiet for one that has ended.

    Raises:
        RequestError: another process is at work on it.
        BackendError: the provider could not be told; the row stays as it is.
    """
    if row.state in FINAL_STATES:
        return
    lease = _taken(engine, row)
    try:
        async with LeaseKeeper(engine, lease):
            row = engine.store.get(row.id) or row
            told = row.job is not None and row.outcome is None and engine.has_hook(row.backend, "cancel_job")
            if told and row.job is not None:
                model = engine.instance(row.backend).matrix.model(row.model)
                await engine.call(row.backend, "cancel_job", job=job_from_json(row.job), context=engine.context(row, model))
            engine.advance(lease, "cancelled", **_spent(row, told=told))
    except LeaseLost:
        raise _at_work(row) from None
    delete_temporaries(row)


def _spent(row: CallRecord, *, told: bool) -> dict[str, Any]:
    """Return what the journal is to say of the money of a call that is cancelled: what may be charged counts as spent."""
    if row.state == "submitting" and row.submits == 0:
        return {}
    if row.outcome is not None and row.outcome["cost_usd"] is not None:
        return {"cost_usd": row.outcome["cost_usd"]}
    why = "it was stopped at the provider while at work" if told else "the provider could not be told, goes on, and charges"
    return {"error": {"code": "cancelled", "message": why, "charged": "unknown" if told else "yes"}}


def forget_run(engine: Engine, rows: Sequence[CallRecord]) -> None:
    """Drop the rows of a run from the journal, all or none.

    Raises:
        RequestError: one is still at work, or another process is looking up what became of it.
    """
    for row in rows:
        check_forgettable(row)
    leases = [_taken(engine, row) for row in rows if row.state not in FINAL_STATES]
    for row in rows:
        engine.store.forget(row.id)
        delete_temporaries(row)
    for lease in leases:
        engine.store.release(lease)


def _taken(engine: Engine, row: CallRecord) -> Lease:
    lease = engine.store.claim(row.id, owner=engine.owner, lease_seconds=LEASE_SECONDS, now=engine.clock.now())
    if lease is None:
        raise _at_work(row)
    return lease


def _at_work(row: CallRecord) -> RequestError:
    return RequestError(f"another process is at work on {row.id}", fix="stop it there, or wait until it has ended")
