"""The store: call records (the journal), the ledger, continuations and durations, as one asynchronous protocol.

`anymedia.state.sqlite.SqliteStore` implements it in a file or in memory, `anymedia.state.postgres.PostgresStore` for many machines.
All methods may be called from any event loop and thread.
Times are seconds since the epoch on the store's own clock: leases and ages are never compared with the clock of a caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, Self

import attrs

from ..errors import Charged, MediaError
from ..policy import Budget
from ..records import frozen
from ..requests import Continuation

__all__ = [
    "ACTIVE_STATES",
    "FINAL_STATES",
    "LOCAL_REALM",
    "TRANSITIONS",
    "UNKNOWN_ACCOUNT",
    "CallRecord",
    "CallState",
    "IllegalTransition",
    "Lease",
    "LeaseLost",
    "NewCall",
    "RunKey",
    "RunKeyTaken",
    "Spend",
    "StateBusy",
    "StateDamaged",
    "StateError",
    "StateNotWritable",
    "StateTooNew",
    "StateUnreachable",
    "Store",
]


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
class NewCall:
    """A call to be recorded. Its JSON never contains credentials, media bytes or signed URLs.

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
        request_digest: hash of the request as the caller gave it, compared with that of a later request with the same key.
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
    request_digest: str = ""
    priority: int | None = None

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
class CallRecord:
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
    realm: str = LOCAL_REALM
    account: str = UNKNOWN_ACCOUNT
    project: str | None = None
    run_key: str | None = None
    priority: int | None = None
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


class Store(Protocol):
    """Durable state. A cancelled `advance` is completed before the cancellation is raised; a cancelled `open_call` changes nothing.

    Attributes:
        realm: the realm of a view; None for the whole store, which sees all realms and writes to the one that a call names, or else
            to the local user's.
    """

    realm: str | None

    def scoped(self, realm: str) -> Self:
        """Return a view that sees and changes one realm only: the ids of others are unknown to it.

        Durations and the accounts' provider jobs belong to no realm. Closing a view does nothing.
        """

    @property
    def identity(self) -> str:
        """A name of the store's contents: the same for all stores of a process that share them."""

    async def account_key(self) -> bytes:
        """Return the key with which the accounts of this store's calls are hashed; it is made with the store and never changes."""

    async def open_call(self, call: NewCall, budget: Budget, *, owner: str | None, lease_seconds: float) -> CallRecord:
        """Record a call as ``queued``, reserve its quote and take its lease, in one transaction.

        Without an ``owner``, the call has no lease: any process may claim it. A notice ``queued`` is sent.

        Caps: ``per_call`` applies to this call; ``per_session`` to ``call.session``; ``per_day`` and ``per_backend`` to the UTC day.

        Raises:
            BudgetExceeded: a cap would be exceeded, or the price is unknown, a cap is set and ``budget.allow_unknown``
                is False; nothing is recorded.
            RunKeyTaken: ``run_key`` belongs to another run, or the same attempt of this run was already recorded.
        """

    async def take_slot(self, call_id: str, account: str, *, most: int | None, per_minute: int | None) -> float:
        """Let a call that is leased begin under the limits of its account, in order of arrival, in all processes.

        A call takes part from its first attempt until it is no longer ``queued``, ``submitting``, ``submitted`` or ``running``, or its
        lease has run out: what a dead process had comes back with its lease.

        Args:
            call_id: the call.
            account: the account, or another name under which calls are counted.
            most: maximum number of calls at the same time.
            per_minute: maximum number that begin within any 60 seconds.

        Returns:
            0 if the call may begin; else the seconds after which another attempt is worthwhile, infinite if only the end of another
            call can help.
        """

    async def run_key(self, key: str) -> RunKey | None:
        """Return a run key of the view's realm, or else of the local user's."""

    async def drop_run_keys(self, run: str, prefix: str = "") -> None:
        """Delete the keys of a run that begin with a prefix: the next request with such a key starts a new run."""

    async def advance(
        self, lease: Lease, state: CallState, *, continuations: Sequence[Continuation] = (), sole_job: bool = False, **changes: Any
    ) -> CallRecord:
        """Change the state and columns of a call, and save continuations, in one durable transaction.

        A provider job that another call of the account has is recorded with that call as its ``conflict``.

        Columns: submits, attempts, job, outcome, secret, result, error, cost_usd, target, plan, account. Final states settle the
        ledger: done commits ``cost_usd`` (or the high quote if it is None and the quote is known); refused, failed and cancelled
        commit ``cost_usd`` if given, the high quote if their error has ``charged`` yes or unknown, else release the reservation;
        all other states keep it. A call that leaves ``failed`` or ``cancelled`` has its original reservation again, even above a cap;
        its error and cost are cleared.

        Raises:
            JobTaken: with ``sole_job``, when another call has the provider job (nothing is changed).
            LeaseLost: the fence is not the record's any more (nothing is changed).
            IllegalTransition: see `TRANSITIONS`; or a recorded job would be removed, or is missing for ``submitted``, ``running``,
                ``lost``, or leaving ``failed`` or ``cancelled`` (nothing is changed).
        """

    async def claim(self, call_id: str, *, owner: str, lease_seconds: float, revise: bool = False) -> CallRecord | None:
        """Take the lease of a call if it has run out or is the owner's own (which ends the earlier lease).

        Args:
            call_id: the call.
            owner: who takes it.
            lease_seconds: how long it lasts, in seconds.
            revise: also the lease of a call that has ended and is revisable; its state does not change.

        Returns:
            The record with the new lease, or None if another owner has the lease, or the call has ended.

        Raises:
            UnknownJob: there is no such call.
        """

    async def take(self, worker: WorkerRecord, *, most: int, lease_seconds: float, skip: Sequence[str] = ()) -> Sequence[CallRecord]:
        """Claim calls for a worker: those with a priority that are queued or were left by a process that is dead.

        What was begun comes first, then the highest priority, then what was queued first. A call whose outcome is unknown, or whose job
        is lost, is taken only from a process that died while it looked it up.

        Args:
            worker: who takes them; only calls of its accounts.
            most: maximum number.
            lease_seconds: how long each lease lasts, in seconds.
            skip: ids of calls and runs to leave alone.
        """

    async def note_worker(self, worker: WorkerRecord) -> None:
        """Record that a worker is alive."""

    async def drop_worker(self, owner: str) -> None:
        """Delete a worker that has ended."""

    async def workers(self, *, within: float) -> Sequence[WorkerRecord]:
        """Return the workers that were alive within the last seconds."""

    async def queues(self) -> Sequence[Queue]:
        """Return the calls for workers that have not ended, by backend, account and state."""

    async def renew(self, leases: Sequence[Lease], *, lease_seconds: float) -> Sequence[Lease]:
        """Extend leases in one transaction, except those that have ended; lost leases are missing from the result."""

    async def release(self, lease: Lease) -> None:
        """End a lease early, so that other processes need not wait; does nothing if it is lost."""

    async def holds(self, lease: Lease) -> bool:
        """Whether a lease is still valid: the call was neither claimed by another owner nor deleted."""

    async def free(self, call_ids: Sequence[str]) -> Sequence[str]:
        """Return those of some calls that no process is processing, or will: without a lease that lasts, or deleted.

        A call for workers is free once it has ended, or is unknown or lost and not being looked up.
        """

    def listen(self, tell: Callable[[str], None]) -> Callable[[], None] | None:
        """Have a function called with each notice of the store's other users, on a thread of the store.

        The store itself sends ``free ID`` when the lease of a call ends, and for a call for workers with each change.

        Returns:
            What ends it; None for a store that does not pass notices on.
        """

    async def notify(self, notice: str) -> bool:
        """Send a notice to all who listen; False for a store that does not pass notices on."""

    async def get(self, call_id: str) -> CallRecord | None:
        """Return one record."""

    async def run(self, run_id: str) -> Sequence[CallRecord]:
        """Return the records of a run, in order."""

    async def calls(self, *, states: Sequence[CallState] | None = None, since: float = 0.0, limit: int = 1000) -> Sequence[CallRecord]:
        """Return records, newest first."""

    async def call_of_job(self, backend: str, account: str, provider_job: str) -> str | None:
        """Return the id of the call that has a provider job, whatever its age."""

    async def forget(self, call_id: str) -> None:
        """Delete a record in a final state, ``unknown`` or ``lost``; its spending stays in the ledger.

        The reservation of an unknown or lost call may have been charged, and counts as spent from then on.

        Raises:
            UnknownJob: there is no such call.
            InvalidRequest: the call is still active.
        """

    async def spend(self, *, since: float = 0.0, session: str | None = None, backend: str | None = None) -> Spend:
        """Return sums over the ledger."""

    async def backends(self, *, since: float = 0.0) -> Sequence[str]:
        """Return the backends of all calls since a time, sorted, deleted calls and uninstalled backends included."""

    async def add_duration(self, key: str, seconds: float) -> None:
        """Record how long a job took, under a key of backend, model and length."""

    async def durations(self, key: str) -> Sequence[float]:
        """Return the recorded durations of a key, at most the newest 200, oldest first."""

    async def save_continuation(self, continuation: Continuation) -> None:
        """Save a continuation under its id."""

    async def load_continuation(self, continuation_id: str) -> Continuation:
        """Return a continuation.

        Raises:
            UnknownContinuation: it is unknown or expired; with the most similar ids.
        """

    async def latest_continuation(self, *, media: str | None = None) -> Continuation | None:
        """Return the newest continuation (of a medium)."""

    async def continuation_of_file(self, sha256: str) -> Continuation | None:
        """Return the newest continuation for a file with this checksum."""

    async def open(self) -> None:
        """Open the store now rather than with the first use of it.

        Raises:
            StateError: it cannot be opened.
        """

    async def aclose(self) -> None:
        """Close all connections; closing again does nothing."""
