"""Ending a call without its files: stopped at the provider where that can be told, or dropped from the journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import RequestError
from ..state.errors import LeaseLost
from ..state.rules import check_forgettable
from ..state.store import FINAL_STATES, CallRecord, Lease
from .engine import LEASE_SECONDS, Engine
from .finishing import sweep
from .following import Held
from .records import job_from_json

__all__ = ["cancel_call", "forget_run"]


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
        async with Held(engine, lease):
            row = engine.store.get(row.id) or row
            told = row.job is not None and row.outcome is None and engine.has_hook(row.backend, "cancel_job")
            if told and row.job is not None:
                model = engine.instance(row.backend).matrix.model(row.model)
                await engine.call(row.backend, "cancel_job", job=job_from_json(row.job), context=engine.context(row, model))
            engine.advance(lease, "cancelled", **_spent(row, told=told))
    except LeaseLost:
        raise _at_work(row) from None
    sweep(row)


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
        sweep(row)
    for lease in leases:
        engine.store.release(lease)


def _taken(engine: Engine, row: CallRecord) -> Lease:
    lease = engine.store.claim(row.id, owner=engine.owner, lease_seconds=LEASE_SECONDS, now=engine.clock.now())
    if lease is None:
        raise _at_work(row)
    return lease


def _at_work(row: CallRecord) -> RequestError:
    return RequestError(f"another process is at work on {row.id}", fix="stop it there, or wait until it has ended")
