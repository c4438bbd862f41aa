"""What the store keeps: call records (the journal), leases and sums of the ledger; its errors; which state may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from ..errors import Charged, MediaError
from ..records import frozen


class LeaseLost(Exception):
    """Another process has claimed the call; stop processing it."""


class RunKeyTaken(Exception):
    """A run key belongs to another run."""


class JobTaken(Exception):
    """Another call has a provider job that was found for a call."""


class IllegalTransition(Exception):
    """A change of state that is not in `TRANSITIONS`."""


class StateError(MediaError):
    """The journal cannot be used; ``charged`` is ``unknown`` after a submit was started."""

    code = "state_error"

    def __init__(self, message: str, *, fix: str = "", charged: Charged = "no") -> None:
        super().__init__(message, fix=fix)
        self.charged = charged


class StateNotWritable(StateError):
    """The journal's directory or file cannot be created or written, or the disk is full."""

    code = "state_not_writable"


class StateDamaged(StateError):
    """The file is damaged, or is not a journal of anymedia."""

    code = "state_damaged"


class StateTooNew(StateError):
    """The journal was written by a newer version."""

    code = "state_too_new"


class StateBusy(StateError):
    """Other processes kept the journal locked for longer than the timeout."""

    code = "state_busy"
    retry = True


class StateUnreachable(StateError):
    """The database server cannot be reached."""

    code = "state_unreachable"
    retry = True


CallState = Literal[
    "queued", "submitting", "submitted", "running", "collecting", "done", "failed", "refused", "unknown", "lost", "cancelled"
]

#: The states that may follow a state; docs/states.md explains them. ``unknown`` is resolved by asking the provider, never by a second
#: submit. ``submitting -> queued``: the submit was certainly not delivered, or was refused, and another attempt may follow.
#: ``lost``: the provider does not find the job. It keeps its reservation, and is not final. A call with a provider job leaves ``failed``
#: and ``cancelled`` again when an explicit resume finds the job running or done.
TRANSITIONS: Mapping[CallState, frozenset[CallState]] = {
    "queued": frozenset({"queued", "submitting", "failed", "cancelled"}),
    "submitting": frozenset({"queued", "submitting", "submitted", "collecting", "failed", "refused", "unknown", "cancelled"}),
    "submitted": frozenset({"submitted", "running", "collecting", "failed", "lost", "cancelled"}),
    "running": frozenset({"running", "collecting", "failed", "lost", "cancelled"}),
    "collecting": frozenset({"collecting", "done", "failed", "lost", "cancelled"}),
    "unknown": frozenset({"unknown", "submitted", "collecting", "cancelled"}),
    "lost": frozenset({"lost", "running", "collecting", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset({"running", "collecting"}),
    "refused": frozenset(),
    "cancelled": frozenset({"running", "collecting"}),
}
ACTIVE_STATES: frozenset[CallState] = frozenset({"queued", "submitting", "submitted", "running", "collecting"})
FINAL_STATES: frozenset[CallState] = frozenset({"done", "failed", "refused", "cancelled"})
#: The realm of the local user, who sees all realms.
LOCAL_REALM = "local"
#: The account of a call of the first edition; it matches the account that is configured for the call's instance.
UNKNOWN_ACCOUNT = "unknown"


@frozen(kw_only=True)
class Call:
    """What is known of a call when it is recorded. Its JSON never contains credentials, media bytes or signed URLs.

    Attributes:
        id: the id of the call.
        run: the id of its run (equal to ``id`` for a run of one call).
        index: its place in the run.
        request, plan: JSON.
        target: where the output goes (JSON).
        idempotency_key: created once per call.
        session: the id of the Router's lifetime, the scope of ``per_session`` budgets.
        quote_usd: (low, high) in US dollars; None for an unknown price. The high end is reserved.
        realm: the realm that the call belongs to.
        account: the fingerprint and the address of the provider account.
        project: the project, a scope of budgets.
        run_key: the caller's key of the run, if there is one.
        priority: for a call that workers carry out, the higher the sooner; None for one that belongs to the process that makes it.
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
    realm: str = LOCAL_REALM
    account: str = UNKNOWN_ACCOUNT
    project: str | None = None
    run_key: str | None = None
    priority: int | None = None


@frozen(kw_only=True)
class NewCall(Call):
    """A call to be recorded.

    Attributes:
        request_digest: hash of the request as the caller gave it, compared with that of a later request with the same key.
    """

    request_digest: str = ""

    @property
    def reserve_usd(self) -> float | None:
        """The high end of the quote, or None for an unknown price."""
        return None if self.quote_usd is None else self.quote_usd[1]


@frozen(kw_only=True)
class Lease:
    """The right to process one call. Its fence is checked with every change, so that a late owner changes nothing."""

    call_id: str
    owner: str
    fence: int
    until: float


@frozen(kw_only=True)
class CallRecord(Call):
    """One record of the journal.

    Attributes:
        state: see `TRANSITIONS`.
        submits: how many submits were started (more than 1 only after undelivered or refused ones).
        attempts: JSON of each failed submit: error code and delivery.
        job: JSON of the provider's job (`anymedia.results.Job`), once known.
        outcome: JSON of the outcome (pieces as URLs or provider ids, never bytes), once known, so that saving can be resumed.
        secret: the signed URLs of the outcome; never shown.
        result: JSON of the saved files, once done.
        error: JSON of the error that the call ended with.
        conflict: the id of another call that has the same provider job.
        reserved_usd, cost_usd: the reservation in the ledger, and the final cost (None: unknown).
        owner, lease_until, fence: who may process the call, until when; the token that proves it.
        read_at: when the record was read.
    """

    state: CallState
    created_at: float
    updated_at: float
    submits: int = 0
    attempts: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False)
    job: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    outcome: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    secret: Mapping[str, Any] | None = attrs.field(default=None, hash=False, repr=False)
    result: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    error: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    conflict: str | None = None
    reserved_usd: float = 0.0
    cost_usd: float | None = None
    owner: str | None = None
    lease_until: float = 0.0
    fence: int = 0
    read_at: float = attrs.field(default=0.0, eq=False)

    @property
    def charged(self) -> Charged | None:
        """Whether it was charged, as far as known; None while it is active. A free call is not charged."""
        if self.state in ACTIVE_STATES:
            return None
        if self.cost_usd is not None:
            return "yes" if self.cost_usd else "no"
        if self.state == "done":
            return "no" if self.quote_usd == (0, 0) else "yes"
        said = (self.error or {}).get("charged")
        if self.state == "unknown":
            return "no" if self.quote_usd == (0, 0) else "unknown"
        return said or ("unknown" if self.state == "lost" else "no")

    @property
    def is_revisable(self) -> bool:
        """Whether the call has ended only as far as its provider job was observed, so that an explicit resume checks it again."""
        return self.job is not None and self.state in {"failed", "cancelled"}

    @property
    def lease(self) -> Lease:
        """The lease that the record shows, for the owner that has just taken it."""
        assert self.owner is not None
        return Lease(call_id=self.id, owner=self.owner, fence=self.fence, until=self.lease_until)


@frozen(kw_only=True)
class WorkerRecord:
    """A process that carries out queued calls.

    Attributes:
        owner: of its leases.
        host: the machine.
        at_once: how many calls it carries out at the same time.
        accounts: what it has keys for, each as a backend, a space and the account.
        seen_at: when it was last alive.
    """

    owner: str
    host: str
    at_once: int
    accounts: tuple[str, ...]
    started_at: float = 0.0
    seen_at: float = 0.0


@frozen(kw_only=True)
class Queue:
    """The calls for workers of an account that are in one state: how many, and when the oldest was recorded."""

    backend: str
    account: str
    state: CallState
    calls: int
    oldest: float


@frozen(kw_only=True)
class RunKey:
    """A caller's key of a run; it outlives the records of the run.

    Attributes:
        key: the key, unique within its realm.
        run: the id of the run.
        digest: hash of the request as the caller gave it.
        forgotten_at: when the records of the run were deleted; None while they exist.
    """

    key: str
    run: str
    digest: str
    forgotten_at: float | None = None


@frozen(kw_only=True)
class Spend:
    """Sums over the ledger: open reservations and committed cost in US dollars, calls of unknown cost, all calls."""

    reserved_usd: float
    committed_usd: float
    unknown_calls: int
    calls: int
