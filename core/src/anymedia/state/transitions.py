"""Changes of call records that are allowed, and by whom, without I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import InvalidRequest, Problem
from .store import FINAL_STATES, TRANSITIONS, Call, CallRecord, CallState, IllegalTransition, Lease, LeaseLost, NewCall

_CHANGEABLE = frozenset({"submits", "attempts", "job", "outcome", "secret", "result", "error", "cost_usd", "target", "plan", "account"})
#: Maximum length of a lease in seconds, with a margin for clocks that differ.
LONGEST_LEASE = 300.0
_OPENED_WITH = tuple(field.name for field in attrs.fields(Call))
_NEEDS_JOB = frozenset({"submitted", "running", "lost"})
_REVISABLE = frozenset({"failed", "cancelled"})


def opened(call: NewCall, *, owner: str | None, lease_seconds: float, now: float) -> CallRecord:
    """Return the first record of a call, leased to its owner, if there is one."""
    fields: dict[str, Any] = {name: getattr(call, name) for name in _OPENED_WITH}
    fields |= {"created_at": now, "updated_at": now, "read_at": now, "lease_until": 0.0 if owner is None else now + lease_seconds}
    return CallRecord(state="queued", owner=owner, fence=1, reserved_usd=call.reserve_usd or 0.0, **fields)


def advanced(held: CallRecord | None, lease: Lease, state: CallState, *, now: float, changes: Mapping[str, Any]) -> CallRecord:
    """Return the record after a change of state and columns; a final state ends its lease and deletes its secret.

    A call that was lost or had ended, and is seen again, loses the error and the cost of that end. A cost that is negative or not
    finite counts as unknown.

    Raises:
        LeaseLost: the lease is not valid any more.
        IllegalTransition: the transition does not exist, would remove the provider's job, or needs one.
        TypeError: a column that cannot be changed, or a cost that is not a number.
    """
    if not _CHANGEABLE.issuperset(changes):
        raise TypeError(f"advance() cannot change {', '.join(sorted(set(changes) - _CHANGEABLE))}")
    if held is None:
        raise LeaseLost(f"call {lease.call_id!r} was deleted")
    if held.fence != lease.fence:
        raise LeaseLost(f"call {lease.call_id!r} was claimed by another owner (fence {held.fence}, not {lease.fence})")
    if state not in TRANSITIONS[held.state]:
        raise IllegalTransition(f"call {held.id!r} cannot change from {held.state!r} to {state!r}")
    if changes.get("job", held.job) is None and (held.job is not None or state in _NEEDS_JOB or held.state in _REVISABLE):
        raise IllegalTransition(f"call {held.id!r} cannot be {state!r} without the provider's job")
    values: dict[str, Any] = {**changes, "state": state, "updated_at": now}
    if held.state in {*_REVISABLE, "lost"} and state in {"running", "collecting"}:
        values = {"error": None, "cost_usd": None, **values}
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


def claimed(record: CallRecord, *, owner: str, lease_seconds: float, now: float, revise: bool = False) -> CallRecord | None:
    """Return the record with a new lease; None while another owner's lease lasts, and once the call has ended.

    ``revise``: a call that has ended and is revisable can be claimed, too.

    A lease that would last longer than leases do was taken while the clock was ahead, and counts as expired.
    """
    held = record.owner not in (None, owner) and now < record.lease_until <= now + max(2 * lease_seconds, LONGEST_LEASE)
    if held or (record.state in FINAL_STATES and not (revise and record.is_revisable)):
        return None
    return attrs.evolve(record, owner=owner, lease_until=now + lease_seconds, fence=record.fence + 1)


def released(record: CallRecord | None, lease: Lease) -> CallRecord | None:
    """Return the record without its lease, or None if the lease is not valid any more."""
    if record is None or record.fence != lease.fence or record.owner is None:
        return None
    # The fence changes, so that the released lease is not valid any more.
    return attrs.evolve(record, owner=None, lease_until=0.0, fence=record.fence + 1)


def check_forgettable(record: CallRecord) -> None:
    """Refuse to delete a call that is still active.

    Raises:
        InvalidRequest: it is neither in a final state nor ``unknown`` or ``lost``.
    """
    if record.state not in FINAL_STATES and record.state not in {"unknown", "lost"}:
        problem = Problem("$.job_id", f"job {record.id!r} is {record.state}; deleting it would lose what it has cost")
        raise InvalidRequest([problem], fix="Resume it or cancel it first.")
