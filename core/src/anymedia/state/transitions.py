"""Which changes of a call record are allowed, and who may make them; the same for all stores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import InvalidRequest, Problem
from .errors import IllegalTransition, LeaseLost
from .store import FINAL_STATES, TRANSITIONS, CallRecord, CallState, Lease, NewCall

__all__ = [
    "KEEP",
    "advanced",
    "check_change",
    "check_forgettable",
    "claimed",
    "is_duration",
    "lease_of",
    "opened",
    "released",
    "renewed",
]

#: How many durations are kept per key, the newest.
KEEP = 200


def is_duration(seconds: float) -> bool:
    """Whether it is a time a job can have taken; a clock that jumped yields others."""
    return math.isfinite(seconds) and seconds >= 0


_CHANGEABLE = frozenset({"submits", "attempts", "job", "outcome", "secret", "result", "error", "cost_usd", "target", "plan"})
#: No lease is taken for longer than this, in seconds, with room for clocks that do not quite agree.
_LONGEST_LEASE = 300.0
_OPENED_WITH = tuple(field.name for field in attrs.fields(NewCall))
_NEEDS_JOB = frozenset({"submitted", "running"})


def opened(call: NewCall, *, owner: str, lease_seconds: float) -> CallRecord:
    """Return the intent row of a call, leased to its maker."""
    fields = {name: getattr(call, name) for name in _OPENED_WITH}
    until = call.created_at + lease_seconds
    return CallRecord(state="submitting", updated_at=call.created_at, owner=owner, lease_until=until, fence=1, **fields)


def lease_of(record: CallRecord) -> Lease:
    """Return the lease that a record shows, for the owner who just took it."""
    assert record.owner is not None
    return Lease(call_id=record.id, owner=record.owner, fence=record.fence, until=record.lease_until)


def _check_held(record: CallRecord | None, lease: Lease) -> CallRecord:
    if record is None:
        raise LeaseLost(f"call {lease.call_id!r} was forgotten")
    if record.fence != lease.fence:
        raise LeaseLost(f"call {lease.call_id!r} has been taken over (fence {record.fence}, not {lease.fence})")
    return record


def check_change(record: CallRecord | None, lease: Lease, state: CallState, changes: Mapping[str, Any]) -> CallRecord:
    """Return the record if it may be changed so.

    Raises:
        LeaseLost: the lease is not the row's any more.
        IllegalTransition: the journal does not have this change, it would lose the provider's job, or
            ``submitted`` or ``running`` was said without one.
        TypeError: a column that cannot be changed.
    """
    if not _CHANGEABLE.issuperset(changes):
        raise TypeError(f"advance() cannot change {', '.join(sorted(set(changes) - _CHANGEABLE))}")
    held = _check_held(record, lease)
    if state not in TRANSITIONS[held.state]:
        raise IllegalTransition(f"call {held.id!r} cannot go from {held.state!r} to {state!r}")
    if changes.get("job", held.job) is None and (held.job is not None or state in _NEEDS_JOB):
        raise IllegalTransition(f"call {held.id!r} cannot be {state!r} without the provider's job")
    return held


def advanced(record: CallRecord | None, lease: Lease, state: CallState, *, now: float, changes: Mapping[str, Any]) -> CallRecord:
    """Return the record after a change of state and columns; a final state ends its lease and wipes its secret.

    A cost that is negative or not finite counts as not known.

    Raises:
        LeaseLost, IllegalTransition: see `check_change`.
        TypeError: a column that cannot be changed, or a cost that is no number.
    """
    held = check_change(record, lease, state, changes)
    values: dict[str, Any] = {**changes, "state": state, "updated_at": now}
    if "cost_usd" in values:
        values["cost_usd"] = _known_cost(values["cost_usd"])
    if "attempts" in values:
        values["attempts"] = tuple(values["attempts"])
    if state in FINAL_STATES:
        values |= {"secret": None, "owner": None, "lease_until": 0.0}
    return attrs.evolve(held, **values)


def _known_cost(cost: object) -> float | None:
    if cost is None:
        return None
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        raise TypeError(f"cost_usd must be a number or None, not {type(cost).__name__}")
    return float(cost) if math.isfinite(cost) and cost >= 0 else None


def claimed(record: CallRecord, *, owner: str, lease_seconds: float, now: float) -> CallRecord | None:
    """Return the record under a new lease; None while somebody else's lasts, and once the call has ended.

    A lease that would last for longer than leases do was taken while the clock was ahead, and counts as run out.
    """
    held = record.owner not in (None, owner) and now < record.lease_until <= now + max(2 * lease_seconds, _LONGEST_LEASE)
    if record.state in FINAL_STATES or held:
        return None
    return attrs.evolve(record, owner=owner, lease_until=now + lease_seconds, fence=record.fence + 1)


def renewed(record: CallRecord | None, lease: Lease, *, lease_seconds: float, now: float) -> CallRecord:
    """Return the record with its lease prolonged (as it is, when the call has ended under this very lease).

    Raises:
        LeaseLost: the lease is not the row's any more.
    """
    held = _check_held(record, lease)
    return held if held.state in FINAL_STATES else attrs.evolve(held, owner=lease.owner, lease_until=now + lease_seconds)


def released(record: CallRecord | None, lease: Lease) -> CallRecord | None:
    """Return the record with its lease given up, or None when there is nothing to give up."""
    if record is None or record.fence != lease.fence or record.state in FINAL_STATES:
        return None
    # The fence moves on, so that the lease that was given up cannot be used any more.
    return attrs.evolve(record, owner=None, lease_until=0.0, fence=record.fence + 1)


def check_forgettable(record: CallRecord) -> None:
    """Refuse to forget a call that is still at work.

    Raises:
        InvalidRequest: it is in none of the final states, nor unknown.
    """
    if record.state not in FINAL_STATES and record.state != "unknown":
        problem = Problem("$.job_id", f"job {record.id!r} is {record.state}; forgetting it would lose what it has cost")
        raise InvalidRequest([problem], fix="Resume it or cancel it first.")
