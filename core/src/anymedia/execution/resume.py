"""Resume, cancel, forget, share or export the calls of a run, also those that another process started."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .. import telemetry
from ..artifacts import Artifact
from ..capabilities import ModelSpec
from ..errors import (
    BackendError,
    BackendTimeout,
    BadBackendResponse,
    Fix,
    JobCancelled,
    JobNotFound,
    MediaError,
    RequestError,
    SubmissionUnknown,
    UnknownBackend,
    UnknownContinuation,
    UnknownJob,
)
from ..files.part_file import copy_kept, read_kept
from ..files.paths import plan_output
from ..files.safe_dir import show_path
from ..policy import Budget, Policy
from ..requests import Continuation
from ..results import Job, JobState, MediaFile, Outcome, Piece, Result, Running, Succeeded
from ..state.codec import error_from_json, error_json, job_from_json, outcome_from_json
from ..state.store import ACTIVE_STATES, FINAL_STATES, CallRecord, LeaseLost, NewCall
from ..state.transitions import check_forgettable
from ..threads import in_thread
from .account import is_same_address, why_unreachable
from .engine import Engine, new_id
from .execute_call import execute_queued, lookup, unknown_outcome
from .finalize import delete_temporaries, finalize, provider_kind
from .lease import LEASE_SECONDS, LeaseKeeper, kept_until_end
from .listing import read_on_demand
from .poll import LONGEST_CHECK, poll_job, why_of
from .prepare_inputs import MAX_INPUT, read_stored_protection
from .runs import latest, most_serious, result_of, run_status
from .save_piece import may_be_copied

_log = logging.getLogger("anymedia")

#: How often the process that is processing a call is asked to cancel it, and how many seconds it has for that each time.
_ASK_TIMES, _ASK_SECONDS = 5, 2.0


async def resume_call(engine: Engine, call_id: str, deadline: float | None, *, revise: bool = False, rebind: bool = False) -> CallRecord:
    """Complete one call, or wait for the process that is processing it; return the record in its final state.

    Args:
        engine: store and plugins.
        call_id: the call; one for workers is left to them, unless ``revise`` says that it is resumed here.
        deadline: on the steady clock; None for no deadline.
        revise: check the state of a call again that ended because of what a status check showed, or was cancelled.
        rebind: ask for the job at the current address although it was submitted to another one.

    Raises:
        SubmissionUnknown: the outcome of its submit is still unknown.
        BackendTimeout: the deadline passed; the call can be resumed.
        BackendError: it failed, now or earlier.
    """
    resumed, seen = revise, None
    while True:
        heard = engine.watcher.heard
        record = await _known(engine, call_id)
        if record.priority is not None and not resumed and seen not in (None, record.state):
            engine.report(record)  # a worker has changed it
        seen = record.state
        revise = revise and record.is_revisable
        if record.state in FINAL_STATES and not revise:
            return _ended(record)
        if resumed or record.priority is None:
            claimed = await engine.store.claim(call_id, owner=engine.owner, lease_seconds=LEASE_SECONDS, revise=revise)
            if claimed is not None:
                with contextlib.suppress(LeaseLost):  # suspended for too long: wait for the process that has claimed it
                    return await continue_call(engine, claimed, deadline, rebind=rebind)
        elif record.state in {"unknown", "lost"} and record.owner is None:
            raise unknown_outcome(SubmissionUnknown("see its record"), record) if record.error is None else error_from_json(record.error)
        left = LEASE_SECONDS if deadline is None else deadline - engine.clock.steady()
        if left <= 0:
            late = BackendTimeout(f"another process is still processing {call_id}; the deadline passed.", job_id=call_id)
            late.action = Fix("resume", record.run)
            raise late
        revise = revise and record.owner is not None  # else that process has just checked it
        if not await kept_until_end(engine.store, call_id, min(left, LEASE_SECONDS)):
            await engine.watcher.wait(call_id, math.inf if deadline is None else deadline, since=heard)


async def continue_call(engine: Engine, claimed: CallRecord, deadline: float | None, *, rebind: bool = False) -> CallRecord:
    """Complete a call that was just claimed, and release it; see `resume_call`. `LeaseLost`: another process has claimed it."""
    async with LeaseKeeper(engine.leases, claimed.lease) as held:
        with engine.clients.used(claimed.backend), telemetry.continued(claimed.target.get("trace", {})):
            return _ended(await _continue(engine, held, claimed, deadline, rebind))


async def resume_run(engine: Engine, run: str, deadline: float | None, *, revise: bool = False, rebind: bool = False) -> Result:
    """Complete every call of a run, within some seconds; ``revise`` and ``rebind`` as in `resume_call`.

    Raises:
        BackendTimeout: the deadline passed before all calls had ended; results of ended calls remain available.
        MediaError: as `resume_call`, if no call returned anything.
    """
    until = None if deadline is None else engine.clock.steady() + deadline
    failures: list[MediaError] = []
    for record in latest(await engine.store.run(run)):
        try:
            await resume_call(engine, record.id, until, revise=revise, rebind=rebind)
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


async def _model_spec(engine: Engine, record: CallRecord) -> ModelSpec | None:
    """Return the model of a call; one that another process has read on demand is read, if the provider can be asked."""
    try:
        engine.instance(record.backend)
        with contextlib.suppress(MediaError):
            await read_on_demand(engine.registry, engine.settings, engine.instances, record.backend, record.model)
        return engine.instance(record.backend).matrix.model(record.model)
    except UnknownBackend as error:
        raise UnknownBackend(f"{error.message}; {record.id} was made by it", fix="install it again to continue") from None


async def _continue(engine: Engine, held: LeaseKeeper, record: CallRecord, deadline: float | None, rebind: bool) -> CallRecord:
    spec = await _model_spec(engine, record)
    if record.state == "queued":
        return await execute_queued(engine, record, spec, held, deadline, rebind=rebind)
    unreachable = await why_unreachable(engine, record, rebind=rebind)
    if record.state in FINAL_STATES:
        outcome = await _revised_outcome(engine, record, spec, deadline, unreachable)
    elif record.state == "submitting":
        # The process ended during the submit, whose outcome is unknown.
        record = await engine.advance(record, "unknown")
    if record.state == "unknown":
        record, outcome = await _outcome_of_unknown(engine, record, spec, deadline, unreachable)
    elif record.state not in FINAL_STATES:
        outcome = await _outcome_of(engine, record, spec, deadline, unreachable)
    protection = await read_stored_protection(engine.artifacts, record.target.get("protection"))
    return await finalize(engine, record, outcome, protection, deadline, is_resumed=True)


async def _outcome_of_unknown(
    engine: Engine, record: CallRecord, spec: ModelSpec | None, deadline: float | None, unreachable: MediaError | None
) -> tuple[CallRecord, Outcome]:
    """Return the outcome of a submit of unknown outcome: its stored pieces, or what the provider finds; else raise its error."""
    ended = None if record.error is None else error_from_json(record.error)
    stored = {} if isinstance(ended, BadBackendResponse) else await _stored_pieces(engine, record)  # such an answer is stored, too
    if len(stored) < int(record.request.get("n") or 1):
        if unreachable is not None:
            raise unreachable
        found = await lookup(engine, record, spec)
        if found is not None:
            record, made = found
            return record, await poll_job(engine, record, spec, deadline) if isinstance(made, Job) else made
    if stored:
        return record, Outcome(pieces=tuple(Piece(stream=stored[index], mime=None) for index in stored))
    error = ended or unknown_outcome(SubmissionUnknown("the process that sent it ended"), record)
    await engine.advance(record, "unknown", error=error_json(error))
    raise error


async def _stored_pieces(engine: Engine, record: CallRecord) -> dict[int, Callable[[int], AsyncIterator[bytes]]]:
    """Return what opens the stored bytes of each piece, up to the first that is missing."""
    await _adopt_spooled(engine, record)
    found = {a.index: a for a in await engine.artifacts.find(record.id) if a.kind != "input"}
    whole = itertools.takewhile(found.__contains__, itertools.count())
    return {index: functools.partial(engine.artifacts.chunks, found[index]) for index in whole}


async def _adopt_spooled(engine: Engine, record: CallRecord) -> None:
    """Store the bytes that the first edition kept beside the output file of a call."""
    for index, piece in enumerate((record.outcome or {}).get("pieces", ())):
        if piece.get("spool"):
            path, sha256 = Path(piece["spool"][0]), piece["spool"][1]
            data = await in_thread(functools.partial(read_kept, path, sha256, most=MAX_INPUT))
            if data is not None:
                await engine.artifacts.put(record.id, provider_kind(record), data, index=index, mime=piece["mime"] or "")


async def _outcome_of(
    engine: Engine, record: CallRecord, spec: ModelSpec | None, deadline: float | None, unreachable: MediaError | None
) -> Outcome:
    stored = await _stored_outcome(engine, record)
    if stored is not None:  # its links may have expired
        state = None if record.job is None or unreachable else await _check_once(engine, record, spec)
        return state.outcome if isinstance(state, Succeeded) else stored
    if unreachable is not None:
        raise unreachable
    if record.job is not None:
        return await poll_job(engine, record, spec, deadline)
    error: BackendError = BadBackendResponse(
        f"'{record.backend}/{record.model}' answered, but the process ended before the answer was recorded.",
        fix="make the request again if it is still needed",
        job_id=record.id,
    )
    error.charged = "yes"
    await engine.advance(record, "failed", error=error_json(error), cost_usd=record.quote_usd[1] if record.quote_usd else None)
    raise error


async def _revised_outcome(
    engine: Engine, record: CallRecord, spec: ModelSpec | None, deadline: float | None, unreachable: MediaError | None
) -> Outcome:
    """Return the outcome of a call that had ended, if its provider has it after all; else raise the error that it ended with."""
    state = unreachable or await _check_once(engine, record, spec)
    if isinstance(state, Running | Succeeded):
        record = await engine.advance(record, "running", account=await engine.account(record.backend))
        return state.outcome if isinstance(state, Succeeded) else await poll_job(engine, record, spec, deadline)
    if (stored := await _stored_outcome(engine, record)) is not None:
        return stored
    try:
        _ended(record)
    except MediaError as error:
        if isinstance(state, Exception):
            error.message = f"{error.message.rstrip('.')}; another status check just now: {why_of(state)}"
        if unreachable is not None:
            error.fix, error.action = unreachable.fix, unreachable.action
        raise
    raise AssertionError("unreachable")


async def _stored_outcome(engine: Engine, record: CallRecord) -> Outcome | None:
    """Return the outcome that was recorded, unless pieces of it are available only from the provider."""
    if record.outcome is None:
        return None
    return outcome_from_json(record.outcome, record.secret, await _stored_pieces(engine, record))


async def _check_once(engine: Engine, record: CallRecord, spec: ModelSpec | None) -> JobState | Exception:
    """Check the job of a call once; return its state, or why the check failed."""
    assert record.job is not None
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            state = await engine.call(record.backend, "check_job", job=job_from_json(record.job), context=engine.context(record, spec))
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises
        _log.debug("checking %s again failed: %s", record.id, type(error).__name__)
        return error
    return state  # type: ignore[no-any-return]


async def cancel_call(engine: Engine, record: CallRecord) -> None:
    """Cancel one call; does nothing if it has ended.

    Raises:
        RequestError: another process is processing it.
        BackendError: the provider could not be reached; the record is unchanged.
    """
    if (claimed := await _claim_to_cancel(engine, record)) is None:
        return
    record = claimed
    try:
        async with LeaseKeeper(engine.leases, record.lease):
            notify = record.job is not None and record.outcome is None and engine.has_hook(record.backend, "cancel_job")
            notify = notify and is_same_address(record.account, await engine.account(record.backend))
            if notify and record.job is not None:
                context = engine.context(record, engine.instance(record.backend).matrix.model(record.model))
                # a lost one may be charged, as one that is found
                with contextlib.suppress(JobNotFound), engine.clients.used(record.backend):
                    await engine.call(record.backend, "cancel_job", job=job_from_json(record.job), context=context)
            await engine.advance(record, "cancelled", **_cancelled_cost(record, notified=notify))
    except LeaseLost:
        raise _in_use(record) from None
    await in_thread(functools.partial(delete_temporaries, record))


async def _claim_to_cancel(engine: Engine, record: CallRecord) -> CallRecord | None:
    """Claim a call; ask the process that is processing it to cancel it, if there is one. None: it has ended."""
    for _ in range(_ASK_TIMES):
        if record.state in FINAL_STATES:
            return None
        heard = engine.watcher.heard
        claimed = await engine.store.claim(record.id, owner=engine.owner, lease_seconds=LEASE_SECONDS)
        if claimed is not None or not await engine.store.notify(f"cancel {record.run}"):
            break
        until = engine.clock.steady() + _ASK_SECONDS
        while record.state not in FINAL_STATES and engine.clock.steady() < until:  # also while that process has let go of it
            await engine.watcher.wait(record.id, until, since=heard)
            heard, record = engine.watcher.heard, await _known(engine, record.id)
    if claimed is None:
        raise _in_use(record)
    return claimed


def _cancelled_cost(record: CallRecord, *, notified: bool) -> dict[str, Any]:
    """Return the changes that record the cost of a cancelled call: what may be charged counts as spent."""
    if record.state == "queued":
        return {}
    if record.outcome is not None and record.outcome["cost_usd"] is not None:
        return {"cost_usd": record.outcome["cost_usd"]}
    if record.quote_usd == (0, 0):
        return {"error": {"code": "cancelled", "message": "it is free of charge", "charged": "no"}}
    why = "it was cancelled at the provider while running" if notified else "the provider cannot cancel it, completes it, and charges it"
    return {"error": {"code": "cancelled", "message": why, "charged": "unknown" if notified else "yes"}}


async def forget_run(engine: Engine, records: Sequence[CallRecord], *, force: bool = False) -> None:
    """Delete the records of a run and their artifacts, all or none; ``force``: also pieces that exist nowhere else.

    Raises:
        RequestError: a call is still active, another process is looking it up, or the artifact store has the only copy of a piece.
    """
    for record in records:
        check_forgettable(record)
        if not force:
            await _check_copies(engine, record)
    claimed = [await _claim(engine, record) for record in records if record.state not in FINAL_STATES]
    for record in records:
        await engine.store.forget(record.id)
        await engine.artifacts.release(record.id)
        await in_thread(functools.partial(delete_temporaries, record))
    for record in claimed:
        await engine.store.release(record.lease)


async def _check_copies(engine: Engine, record: CallRecord) -> None:
    """Refuse to delete the only copy of a piece: it was never saved, or its file is gone or was changed."""
    has_files = record.result is not None and record.target["output"] is not None  # else its files are the artifacts themselves
    saved = {raw["sha256"]: Path(raw["path"]) for raw in (record.result or {}).get("files", ()) if has_files}
    for artifact in await engine.artifacts.find(record.id):
        path = saved.get(artifact.sha256)
        if artifact.kind == "input" or (path is not None and await in_thread(functools.partial(_is_unchanged, path, artifact))):
            continue
        where = show_path(await engine.artifacts.local_file(artifact))
        text = f"{record.id} has the only copy of a result that was paid for: {where}"
        error = RequestError(text, fix="Copy it first, or force the deletion (anymedia jobs forget --force).")
        error.action = Fix("resume", record.run) if record.state not in FINAL_STATES else None
        raise error


def _is_unchanged(path: Path, artifact: Artifact) -> bool:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        return copy_kept(path, artifact.sha256, nowhere, most=artifact.size)


async def _claim(engine: Engine, record: CallRecord) -> CallRecord:
    claimed = await engine.store.claim(record.id, owner=engine.owner, lease_seconds=LEASE_SECONDS)
    if claimed is None:
        raise _in_use(record)
    return claimed


def _in_use(record: CallRecord) -> RequestError:
    return RequestError(f"another process is processing {record.id}", fix="stop it there, or wait until it has ended")


async def share_run(engine: Engine, records: Sequence[CallRecord], realm: str) -> CallRecord:
    """Record the finished calls of a run as a run of another realm, which costs nothing there.

    The copy refers to the same artifacts and has continuations with the same ids; each realm deletes its own references only.
    """
    done = [record for record in latest(records) if record.state == "done"]
    if not done:
        record = run_status(records)
        raise RequestError(f"{record.id} is {record.state}; only a result can be shared")
    run = new_id("job")
    copies = [await _share(engine, record, realm, run, run if len(done) == 1 else f"{run}-{record.index}") for record in done]
    return copies[0]


async def export_received(engine: Engine, records: Sequence[CallRecord], output: str | Path | None, policy: Policy) -> list[MediaFile]:
    """Copy what was received for a run and could not be interpreted to files with the suffix ``.bin``, in the policy's directories.

    Raises:
        RequestError: nothing was received, its files were delivered, or what was received is not media (it may hold signed links).
        InvalidRequest: the output is outside of the directories.
    """
    shown = run_status(records)
    target = plan_output(output, roots=policy.output_roots, default_stem=shown.run, suffix=".bin", only=".bin", field="$.output")
    found: dict[str, Artifact] = {}
    for record in latest(records):
        if record.state != "done":
            kept = [artifact for artifact in await engine.artifacts.find(record.id) if artifact.kind != "input"]
            raw = [artifact for artifact in kept if artifact.kind == "raw"]  # a piece was made of it
            found |= {artifact.sha256: artifact for artifact in raw or kept}
    if not found:
        raise RequestError(f"{shown.run} is {shown.state}, and nothing is kept that was not delivered")

    def suffix(stored: Path) -> str:
        if not may_be_copied(stored):
            raise RequestError("what was received is not media, or holds links; it is not copied", fix="Tell the user.")
        return ".bin"

    files = []
    for index, artifact in enumerate(found.values()):
        path = await engine.artifacts.export(artifact, target, index=index, of=len(found), suffix=suffix)
        files.append(MediaFile(path=path, mime="application/octet-stream", size=artifact.size, sha256=artifact.sha256))
    return files


async def _share(engine: Engine, record: CallRecord, realm: str, run: str, call_id: str) -> CallRecord:
    links: dict[str, Artifact] = {}
    try:
        for artifact in await engine.artifacts.find(record.id):
            links[artifact.key] = await engine.artifacts.link(artifact, call_id, artifact.kind, artifact.index)
        return await _record(engine, record, realm, run, call_id, links)
    except BaseException:
        await engine.artifacts.release(call_id)
        raise


async def _record(engine: Engine, record: CallRecord, realm: str, run: str, call_id: str, links: Mapping[str, Artifact]) -> CallRecord:
    fields: dict[str, Any] = {name: getattr(record, name) for name in ("index", "backend", "model", "operation", "request", "plan")}
    new = NewCall(
        id=call_id,
        run=run,
        target={**record.target, "inputs": [], "sent": None, "protection": None, "earlier_files": []},  # never to be sent
        idempotency_key=new_id("key"),
        session=engine.session,
        quote_usd=(0.0, 0.0),
        realm=realm,
        account=record.account,
        **fields,
    )
    result = dict(record.result or {})
    if record.target["output"] is None:  # its files are artifacts
        pieces = {link.index: link for link in links.values() if link.kind == "piece"}
        result["files"] = [
            {**file, "path": str(await engine.artifacts.keep(pieces[index], Path(file["path"]).suffix))} if index in pieces else file
            for index, file in enumerate(result["files"])
        ]
    keys = {key: link.key for key, link in links.items()}
    continuations = [
        attrs.evolve(found, files=tuple([attrs.evolve(file, artifact=keys.get(file.artifact, "")) for file in found.files]))
        for found in await _continuations(engine, record)
    ]
    opened = await engine.store.open_call(new, Budget(), owner=engine.owner, lease_seconds=LEASE_SECONDS)
    for state in ("submitting", "collecting"):
        await engine.store.advance(opened.lease, state)
    return await engine.store.advance(opened.lease, "done", result=result, cost_usd=0.0, continuations=continuations)


async def _continuations(engine: Engine, record: CallRecord) -> list[Continuation]:
    """Return the continuations of a call's files that have not expired."""
    found = []
    for file in (record.result or {}).get("files", ()):
        with contextlib.suppress(UnknownContinuation):
            if file.get("continuation_id"):
                found.append(await engine.store.scoped(record.realm).load_continuation(file["continuation_id"]))
    return found
