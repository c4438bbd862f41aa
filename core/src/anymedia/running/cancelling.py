"""Stopping a call: the provider is told where it can be told, and the row is closed."""

from __future__ import annotations

from ..errors import RequestError
from ..state.store import FINAL_STATES, CallRecord
from .engine import LEASE_SECONDS, Engine
from .records import job_from_json

__all__ = ["cancel_call"]


async def cancel_call(engine: Engine, row: CallRecord) -> None:
    """Stop one call; quiet for one that has ended.

    Raises:
        RequestError: another process is at work on it.
        BackendError: the provider could not be told; the row stays as it is.
    """
    if row.state in FINAL_STATES:
        return
    lease = engine.store.claim(row.id, owner=engine.owner, lease_seconds=LEASE_SECONDS, now=engine.clock.now())
    if lease is None:
        raise RequestError(f"another process is at work on {row.id}", fix="stop it there, or wait until it has ended")
    told = row.job is not None and engine.has_hook(row.backend, "cancel_job")
    if told and row.job is not None:
        model = engine.instance(row.backend).matrix.model(row.model)
        await engine.call(row.backend, "cancel_job", job=job_from_json(row.job), context=engine.context(row, model))
    # A provider that cannot be told goes on, and charges.
    spent = row.quote_usd[1] if row.quote_usd and not told and row.state != "submitting" else None
    engine.advance(lease, "cancelled", cost_usd=spent)
    engine.store.release(lease)
