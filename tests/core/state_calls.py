"""Calls of a store's tests: opened, and brought into any state."""

from __future__ import annotations

from typing import Any, get_args

from blocking_store import BlockingStore
from state_samples import NOW, new_call

from anymedia.policy import Budget
from anymedia.state.store import CallState, Lease, NewCall

FREE = Budget()
JOB = {"id": "operations/17", "data": {"name": "x"}}
STATES: tuple[CallState, ...] = get_args(CallState)
#: How to bring a new call into each state.
PATHS: dict[CallState, tuple[CallState, ...]] = {
    "queued": ("queued",),
    "submitting": (),
    "submitted": ("submitted",),
    "running": ("submitted", "running"),
    "collecting": ("submitted", "collecting"),
    "done": ("submitted", "collecting", "done"),
    "failed": ("failed",),
    "refused": ("refused",),
    "unknown": ("unknown",),
    "cancelled": ("cancelled",),
    "lost": ("submitted", "lost"),
}


def open_call(
    store: BlockingStore,
    call: NewCall | None = None,
    budget: Budget = FREE,
    *,
    owner: str = "me",
    lease_seconds: float = 60.0,
    at: float | None = None,
) -> Lease:
    lease: Lease = store.open_call(call or new_call(), budget, owner=owner, lease_seconds=lease_seconds, now=at)
    return lease


def bring(store: BlockingStore, lease: Lease, state: CallState, **changes: Any) -> None:
    steps = PATHS[state]
    for step in steps:
        job = {"job": JOB} if step == "submitted" else {}
        store.advance(lease, step, now=NOW + 1, **job, **(changes if step == steps[-1] else {}))
