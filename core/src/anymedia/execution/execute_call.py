"""Execute one recorded call: wait in line, submit, poll, finalize; also one that an ended process has left queued."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs

from .. import telemetry
from ..artifacts import ArtifactDamaged, ArtifactMissing
from ..capabilities import ModelSpec
from ..errors import BackendError, BackendTimeout, BackendUnavailable, Fix, MediaError, OutOfResources, RequestError, SettingsError
from ..files.paths import OutputTarget
from ..policy import Policy
from ..requests import Request
from ..results import Job
from ..state.codec import error_json
from ..state.store import CallRecord
from .account import is_same_account
from .engine import Engine
from .finalize import finalize, output_target, provider_kind
from .governor import Need, Reservation
from .lease import LeaseKeeper
from .poll import poll_job
from .prepare_inputs import Loaded, Protection, restore_inputs
from .submit import submit


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
    target: OutputTarget | None
    is_resumed: bool = False


async def execute_call(
    engine: Engine, call: QueuedCall, held: LeaseKeeper, policy: Policy, deadline: float | None, on_submitted: Callable[[], None]
) -> CallRecord:
    """Submit a queued call when its turn has come, poll its job, and save its files.

    Args:
        engine: store and plugins.
        call: the call.
        held: keeps its lease.
        policy: how often a submit is made again that was not delivered.
        deadline: on the steady clock; None for no deadline.
        on_submitted: called when the provider has accepted it.

    Returns:
        The record, which is ``done``.
    """
    record = call.record
    with await _reserve(engine, call, held, deadline) as reserved, engine.clients.used(record.backend):
        held.sending = True
        try:
            done = await submit(
                engine, held.lease, record, call.request, call.spec, call.loaded, policy, deadline, stays_queued=call.is_resumed
            )
        except MediaError as error:
            engine.learn(record, error)
            raise
        engine.learn(record, None)
        on_submitted()
        held.sent(done.lease)
        made = done.made
        reserved.answered(is_job=isinstance(made, Job))
        outcome = await poll_job(engine, done.lease, done.record, call.spec, deadline) if isinstance(made, Job) else made
        finished = await finalize(
            engine, done.lease, done.record, outcome, call.protection, deadline, target=call.target, is_resumed=call.is_resumed
        )
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
        await engine.advance(held.lease, "failed", error=error_json(failed))
    raise failed


def _need(engine: Engine, call: QueuedCall) -> Need:
    """Return what the answer of a call will need: the result is stored, and copied to the output directory."""
    record, artifacts = call.record, engine.artifacts
    stored = (artifacts.directory,)
    return Need(
        key=(record.backend, record.model),
        media=record.target["media"],
        count=getattr(call.request, "n", 1),
        sent=sum(len(loaded.data) for loaded in call.loaded.values()),
        folders=(*stored, *(stored if provider_kind(record) == "raw" else ()), *(() if call.target is None else (call.target.folder,))),
    )


async def execute_queued(
    engine: Engine, record: CallRecord, spec: ModelSpec | None, held: LeaseKeeper, deadline: float | None, *, rebind: bool
) -> CallRecord:
    """Execute a call that another process has recorded, from what is stored of it.

    Args:
        engine: store and plugins.
        record: the call.
        spec: its model; None if it is not known any more.
        held: keeps its lease.
        deadline: on the steady clock; None for no deadline.
        rebind: send it under the account that is configured now.

    Raises:
        SettingsError: it was requested for another account; it stays queued.
        BackendUnavailable: its model or its inputs are gone; the call has failed, and nothing was sent.
        MediaError: as `execute_call`.
    """
    current = await engine.account(record.backend)
    if not is_same_account(record.account, current):
        if not rebind:
            text = f"{record.id} is queued for another account of '{record.backend}' than the one that is configured; nothing was sent"
            error = SettingsError(text, fix="Set that account's key and address, or rebind the job.")
            error.job_id, error.action = record.id, Fix("rebind", record.run)
            raise error
        record = await engine.advance(held.lease, "queued", account=current)
    continued = record.request.get("continue_from")
    try:
        if spec is None:
            raise RequestError(f"'{record.backend}' has no model {record.model!r} any more")
        continuation = None if continued is None else await engine.store.load_continuation(str(continued))
        request, loaded, protection = await restore_inputs(engine.artifacts, record, continuation)
    except (ArtifactMissing, ArtifactDamaged, RequestError) as missing:
        raise await _never_sent(engine, held, record, missing) from None
    call = QueuedCall(
        record=record,
        request=request,
        spec=spec,
        loaded=loaded,
        protection=protection,
        target=output_target(record.target),
        is_resumed=True,
    )
    return await execute_call(engine, call, held, engine.policy, deadline, lambda: None)


async def _never_sent(engine: Engine, held: LeaseKeeper, record: CallRecord, why: MediaError) -> BackendError:
    """Close a call that cannot be sent any more: certainly nothing was."""
    text = f"the process that should have sent {record.id} ended before it did, and it cannot be sent now: {why.message}; nothing was spent"
    error = BackendUnavailable(text, fix="make the request again", delivery="not_sent", job_id=record.id)
    error.backend, error.model = record.backend, record.model
    held.ended = True
    await engine.advance(held.lease, "failed", error=error_json(error))
    return error
