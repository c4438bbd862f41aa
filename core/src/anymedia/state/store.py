"""What outlives a call, as one protocol: the journal, the ledger, the continuations, the durations.

`anymedia.state.sqlite.SqliteStore` implements it, in a file or in memory. All methods are safe to call from several threads.
Times are seconds since the epoch, given by the caller, so that tests can inject a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs

from ..errors import Charged
from ..policy import Budget
from ..requests import Continuation

__all__ = [
    "ACTIVE_STATES",
    "FINAL_STATES",
    "TRANSITIONS",
    "CallRecord",
    "CallState",
    "Lease",
    "NewCall",
    "Spend",
    "Store",
]

CallState = Literal["submitting", "submitted", "running", "collecting", "done", "failed", "refused", "unknown", "cancelled"]

#: Which state may follow which. ``unknown`` may still be reconciled by a look-up, never by a resubmission.
#: ``submitting -> submitting`` records another try after a submit that was certainly not delivered or was refused.
TRANSITIONS: Mapping[CallState, frozenset[CallState]] = {
    "submitting": frozenset({"submitting", "submitted", "collecting", "failed", "refused", "unknown", "cancelled"}),
    "submitted": frozenset({"submitted", "running", "collecting", "failed", "cancelled"}),
    "running": frozenset({"running", "collecting", "failed", "cancelled"}),
    "collecting": frozenset({"collecting", "done", "failed", "cancelled"}),
    "unknown": frozenset({"unknown", "submitted", "collecting", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "refused": frozenset(),
    "cancelled": frozenset(),
}
ACTIVE_STATES: frozenset[CallState] = frozenset({"submitting", "submitted", "running", "collecting"})
FINAL_STATES: frozenset[CallState] = frozenset({"done", "failed", "refused", "cancelled"})


@attrs.frozen(kw_only=True)
class NewCall:
    """A call about to be made. JSON in ``request``, ``plan``; never keys, never media bytes, never signed URLs.

    Attributes:
        id: the call's own id; ``run``: the id of the run it is part of (equal for a run of one call).
        idempotency_key: minted once per call, outside any retry.
        reserve_usd: the high end of the quote, reserved in the ledger; None for an unknown price.
        target: where the file is wanted (a path as text) and how (JSON).
    """

    id: str
    run: str
    index: int
    backend: str
    model: str
    operation: str
    request: Mapping[str, Any] = attrs.field(hash=False)
    plan: Mapping[str, Any] = attrs.field(hash=False)
    target: Mapping[str, Any] = attrs.field(hash=False)
    idempotency_key: str
    session: str
    quote_usd: tuple[float, float] | None
    created_at: float

    @property
    def reserve_usd(self) -> float | None:
        """The high end of the quote, or None for an unknown price."""
        return None if self.quote_usd is None else self.quote_usd[1]


@attrs.frozen(kw_only=True)
class CallRecord:
    """One row of the journal, as it stands.

    Attributes:
        state: see `TRANSITIONS`.
        submits: how many submits were begun (more than 1 only after not_sent or refused ones).
        attempts: JSON of each submit that did not work out: error code and delivery.
        job: the provider's handle as JSON (`anymedia.results.Job`), once known.
        outcome: JSON of what the provider made (pieces as URLs or provider ids; never bytes), once known, so that a
            broken collection can be taken up again; ``secret`` holds the signed URLs it needs, shown nowhere.
        result: JSON of the collected files, once done.
        error: JSON of the error it ended with.
        reserved_usd, cost_usd: what the ledger holds for it now, and what it cost in the end (None: not known).
        owner, lease_until, fence: who may poll and collect it, until when; the token that proves it.
    """

    id: str
    run: str
    index: int
    state: CallState
    backend: str
    model: str
    operation: str
    request: Mapping[str, Any] = attrs.field(hash=False)
    plan: Mapping[str, Any] = attrs.field(hash=False)
    target: Mapping[str, Any] = attrs.field(hash=False)
    idempotency_key: str
    session: str
    quote_usd: tuple[float, float] | None
    created_at: float
    updated_at: float
    submits: int = 0
    attempts: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False)
    job: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    outcome: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    secret: Mapping[str, Any] | None = attrs.field(default=None, hash=False, repr=False)
    result: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    error: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    reserved_usd: float = 0.0
    cost_usd: float | None = None
    owner: str | None = None
    lease_until: float = 0.0
    fence: int = 0

    @property
    def charged(self) -> Charged | None:
        """Whether it was charged, as far as that is known; None while it is at work. What is free is not charged."""
        if self.state in ACTIVE_STATES:
            return None
        if self.cost_usd is not None:
            return "yes" if self.cost_usd else "no"
        if self.state == "done":
            return "no" if self.quote_usd == (0, 0) else "yes"
        return "unknown" if self.state == "unknown" else (self.error or {}).get("charged", "no")


@attrs.frozen(kw_only=True)
class Lease:
    """The right to poll and collect one call: its fence goes with every change, so a late owner changes nothing."""

    call_id: str
    owner: str
    fence: int
    until: float


@attrs.frozen(kw_only=True)
class Spend:
    """What the ledger holds: open reservations and committed costs in US dollars, and calls of unknown cost."""

    reserved_usd: float
    committed_usd: float
    unknown_calls: int
    calls: int


class Store(Protocol):
    """The one place where state is kept."""

    def open_call(self, call: NewCall, budget: Budget, *, owner: str, lease_seconds: float) -> Lease:
        """Write the intent row (``submitting``) and its reservation in one transaction, and take its lease.

        Caps: ``per_call`` against this call; ``per_run`` against open and committed money of ``call.session``;
        ``per_day`` and ``per_backend`` against the UTC day of ``call.created_at``.

        Raises:
            BudgetExceeded: when a cap would be exceeded, or the price is unknown, a cap is set and
                ``budget.allow_unknown`` is False; nothing is written.
        """

    def advance(
        self, lease: Lease, state: CallState, *, now: float, continuations: Sequence[Continuation] = (), **changes: Any
    ) -> CallRecord:
        """Move a call on in one durable transaction: change its state and the named columns, and keep continuations with it.

        Columns: submits, attempts, job, outcome, secret, result, error, cost_usd, target, plan. Final states settle
        the ledger: done commits ``cost_usd`` (or the high quote when it is None and the quote is known), refused, failed and
        cancelled commit ``cost_usd`` if given, the high quote if their error says ``charged`` yes or unknown, else release
        the reservation; unknown keeps it reserved.

        Raises:
            LeaseLost: when the fence is not the row's any more (nothing is changed).
            IllegalTransition: when `TRANSITIONS` does not have it, when it would take a recorded job away, or
                for ``submitted`` or ``running`` without one (nothing is changed).
        """

    def claim(self, call_id: str, *, owner: str, lease_seconds: float, now: float) -> Lease | None:
        """Take the lease of a call whose lease has run out or is one's own (an earlier lease of one's own ends with it).

        None when somebody else holds it, or when the call has ended.

        Raises:
            UnknownJob: there is no such call.
        """

    def renew(self, lease: Lease, *, lease_seconds: float, now: float) -> Lease:
        """Prolong a lease; raises LeaseLost when it is somebody else's by now."""

    def release(self, lease: Lease) -> None:
        """Give a lease up early, so that another process need not wait; quiet when it is lost already."""

    def holds(self, lease: Lease) -> bool:
        """Whether a lease is still its row's: nobody has taken the call over, and nobody has forgotten it."""

    def get(self, call_id: str) -> CallRecord | None:
        """Return one row."""

    def run(self, run_id: str) -> Sequence[CallRecord]:
        """Return the rows of a run, in order."""

    def calls(self, *, states: Sequence[CallState] | None = None, since: float = 0.0, limit: int = 1000) -> Sequence[CallRecord]:
        """Return rows, newest first."""

    def forget(self, call_id: str) -> None:
        """Delete a row that is in a final state or unknown; its spending stays in the ledger.

        What an unknown one had reserved may have been charged, so it counts as spent from then on.

        Raises:
            UnknownJob: there is no such call.
            InvalidRequest: it is still at work.
        """

    def spend(self, *, since: float = 0.0, session: str | None = None, backend: str | None = None) -> Spend:
        """Sum up the ledger."""

    def backends(self, *, since: float = 0.0) -> Sequence[str]:
        """Return the names in the ledger of calls made since then, sorted: also of backends that are gone, of calls forgotten."""

    def add_duration(self, key: str, seconds: float) -> None:
        """Record how long a job took, under a key of backend, model and length."""

    def durations(self, key: str) -> Sequence[float]:
        """Return the recorded durations under a key, at most the newest 200."""

    def save_continuation(self, continuation: Continuation) -> None:
        """Keep a continuation under its id."""

    def load_continuation(self, continuation_id: str, *, now: float) -> Continuation:
        """Return a continuation and count it as used.

        Raises:
            UnknownContinuation: when it is unknown, expired or evicted; with the nearest known ids.
        """

    def latest_continuation(self, *, media: str | None = None, now: float) -> Continuation | None:
        """Return the newest continuation (of a media kind)."""

    def continuation_of_file(self, sha256: str, *, now: float) -> Continuation | None:
        """Return the newest continuation that goes on from a file with this checksum."""

    def close(self) -> None:
        """Close what is open."""
