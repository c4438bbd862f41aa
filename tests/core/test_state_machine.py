"""Random journal histories on both stores side by side: they agree, no job is lost, no cost is invented.

Hypothesis opens, submits, polls, crashes, claims, cancels and forgets calls in any order, also through owners that have lost
their lease to another owner.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import attrs
import postgres
import pytest
from blocking_store import BlockingStore
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from state_samples import DAY, NOW, continuation, new_call
from tiers import examples

from anymedia.errors import BudgetExceeded, InvalidRequest, UnknownContinuation, UnknownJob
from anymedia.policy import Budget
from anymedia.state.store import ACTIVE_STATES, FINAL_STATES, TRANSITIONS, CallState, IllegalTransition, Lease, LeaseLost

OWNERS = st.sampled_from(["p1", "p2", "p3"])
MONEY = st.sampled_from([0.0, 0.01, 0.1, 0.25, 1 / 3])
QUOTES = st.none() | st.tuples(MONEY, MONEY).map(lambda pair: (min(pair), max(pair)))
BUDGETS = st.sampled_from(
    [Budget(), Budget(per_call=0.25), Budget(per_session=0.6), Budget(per_day=1.0, allow_unknown=True), Budget(per_backend={"google": 0.5})]
)
WAYS: tuple[tuple[CallState, ...], ...] = (
    ("submitting", "submitted", "running", "collecting", "done"),
    ("submitting", "queued", "submitting", "collecting", "done"),
    ("submitting", "collecting", "done"),
    ("submitting", "submitted", "failed"),
    ("submitting", "submitted", "lost", "running", "collecting", "done"),
    ("submitting", "submitted", "cancelled", "running", "failed", "collecting", "done"),
    ("submitting", "refused"),
    ("submitting", "unknown"),
)
CHARGED = st.sampled_from([None, "no", "yes", "unknown"])
LEASE = 30.0
#: Thousands of syncs to a busy disk would take minutes, and durability is not what is tested here.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
STATES: tuple[CallState, ...] = get_args(CallState)
EXPECTED = (BudgetExceeded, InvalidRequest, UnknownJob, UnknownContinuation, LeaseLost, IllegalTransition)


@attrs.define
class Known:
    """What the test itself remembers of a call."""

    quote: tuple[float, float] | None
    job: str | None = None
    fence: int = 1
    forgotten: bool = False
    state: CallState = "queued"
    cost: float | None = None
    charged: str | None = None

    @property
    def spent(self) -> float:
        """The certain cost, or the possible cost of a forgotten call: computed independently of the ledger."""
        high = self.quote[1] if self.quote else 0.0
        if self.state == "unknown":
            return high if self.forgotten else 0.0
        if self.state not in FINAL_STATES:
            return 0.0
        if self.cost is not None:
            return self.cost
        return high if self.state == "done" or self.charged in {"yes", "unknown"} else 0.0


class Journal(RuleBasedStateMachine):
    """Every step goes to both stores; what comes back, results and errors alike, must be the same."""

    calls = Bundle("calls")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        self.stores: tuple[BlockingStore, BlockingStore] = (BlockingStore(":memory:"), BlockingStore(self.place()))
        self.known: dict[str, Known] = {}
        self.now = NOW
        self.saved = 0

    def place(self) -> Path | str:
        return self.directory / "journal.db"

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        shutil.rmtree(self.directory)

    def both(self, step: Callable[[BlockingStore], Any]) -> Any:
        found: list[Any] = []
        for store in self.stores:
            try:
                found.append(step(store))
            except EXPECTED as error:
                found.append((type(error), str(error)))
        assert found[0] == found[1]
        return found[0]

    def state(self, call_id: str) -> CallState | None:
        record = self.stores[0].get(call_id)
        return None if record is None else record.state

    @rule(
        target=leases,
        owner=OWNERS,
        quote=QUOTES,
        budget=BUDGETS,
        session=st.sampled_from(["s", "t"]),
        backend=st.sampled_from(["google", "openai"]),
    )
    def open(self, owner: str, quote: tuple[float, float] | None, budget: Budget, session: str, backend: str) -> Any:
        name = f"call_{len(self.known)}"
        call = new_call(name, run=f"run_{len(self.known) // 3}", quote_usd=quote, session=session, backend=backend)
        found = self.both(lambda store: store.queue_call(call, budget, owner=owner, lease_seconds=LEASE, now=self.now))
        if not isinstance(found, Lease):
            assert found[0] is BudgetExceeded
            return multiple()
        self.known[name] = Known(quote)
        return found

    @rule(lease=leases, steps=st.integers(1, 5), data=st.data())
    def advance(self, lease: Lease, steps: int, data: st.DataObject) -> None:
        """Several steps in a row, for else hardly a call comes to its end."""
        for _ in range(steps):
            before = self.state(lease.call_id)
            likely: list[CallState] = sorted(TRANSITIONS[before]) if before and TRANSITIONS[before] else ["done"]
            state: CallState = data.draw(st.sampled_from(likely * 3 + list(STATES)), label="state")
            job = data.draw(st.sampled_from(["new", "kept", "kept", "lost"]), label="job")
            cost, charged = data.draw(st.none() | MONEY, label="cost"), data.draw(CHARGED, label="charged")
            self.step(lease, before, state, job, cost, charged)

    def step(self, lease: Lease, before: CallState | None, state: CallState, job: str, cost: float | None, charged: str | None) -> None:
        known = self.known[lease.call_id]
        changes: dict[str, Any] = {} if cost is None else {"cost_usd": cost}
        if job == "new":
            changes |= {"job": {"id": f"job-{lease.call_id}"}, "secret": {"url": "https://x/?s=hush"}}
        if job == "lost":
            changes["job"] = None
        if charged is not None:
            changes["error"] = {"code": "backend_error", "charged": charged}
        onward = [continuation(f"veo_vid_{self.saved + 1}", created_at=self.now, expires_at=self.now + DAY)] if state == "done" else []
        found = self.both(lambda store: store.advance(lease, state, now=self.now, continuations=onward, **changes))
        holds = not known.forgotten and known.fence == lease.fence
        if isinstance(found, tuple):
            assert found[0] is IllegalTransition if holds else found[0] is LeaseLost
            for each in onward:  # a change that is refused keeps nothing
                refused = self.both(lambda store, name=each.id: store.load_continuation(name, now=self.now))
                assert isinstance(refused, tuple) and refused[0] is UnknownContinuation
            return
        self.saved += len(onward)
        for each in onward:
            assert self.both(lambda store, name=each.id: store.load_continuation(name, now=self.now)) == each
        assert holds and before is not None and state in TRANSITIONS[before]
        known.job = f"job-{lease.call_id}" if job == "new" else known.job
        assert known.job is not None or (state not in {"submitted", "running", "lost"} and before not in {"failed", "cancelled"})
        if before in {"failed", "cancelled", "lost"} and state in {"running", "collecting"}:
            known.cost = known.charged = None  # the end of it did not hold
        known.state, known.charged = state, charged or known.charged
        known.cost = known.cost if cost is None else cost
        assert (found.state, found.updated_at) == (state, self.now)

    @rule(lease=leases, way=st.sampled_from(WAYS), cost=st.none() | MONEY, charged=CHARGED)
    def carry_out(self, lease: Lease, way: tuple[CallState, ...], cost: float | None, charged: str | None) -> None:
        """A whole life, or what is left of it: what it cost comes with its end."""
        for state in way:
            end = state in FINAL_STATES
            job = "new" if state == "submitted" else "kept"
            self.step(lease, self.state(lease.call_id), state, job, cost if end else None, charged if end else None)

    @rule(target=leases, lease=leases, owner=OWNERS, revise=st.booleans())
    def claim(self, lease: Lease, owner: str, revise: bool) -> Any:
        """Claim the call: after a crash, as its current owner, to check again how it ended, or without success."""
        name = lease.call_id
        record = self.stores[0].get(name)
        found = self.both(lambda store: store.claim(name, owner=owner, lease_seconds=LEASE, now=self.now, revise=revise))
        if record is None:
            assert found[0] is UnknownJob
            return multiple()
        free = record.owner in (None, owner) or record.lease_until <= self.now
        ended = record.state in FINAL_STATES and not (revise and record.job is not None and record.state in {"failed", "cancelled"})
        if not free or ended:
            assert found is None
            return multiple()
        assert found == Lease(call_id=name, owner=owner, fence=record.fence + 1, until=self.now + LEASE)
        self.known[name].fence += 1
        return found

    @rule(target=leases, lease=leases)
    def renew(self, lease: Lease) -> Any:
        found = self.both(lambda store: store.renew(lease, lease_seconds=LEASE, now=self.now))
        return found if isinstance(found, Lease) else multiple()

    @rule(lease=consumes(leases))
    def release(self, lease: Lease) -> None:
        before = self.stores[0].get(lease.call_id)
        self.both(lambda store: store.release(lease, now=self.now))
        if before is not None and before.fence == lease.fence and before.owner is not None:
            self.known[lease.call_id].fence += 1

    @rule(lease=leases)
    def crash(self, lease: Lease) -> None:
        """The owner is gone: nothing happens but that its lease runs out."""
        self.now = max(self.now, lease.until + 0.5)

    @rule(seconds=st.sampled_from([0.0, 1.0, 29.0, 3600.0, DAY]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(lease=leases)
    def cancel(self, lease: Lease) -> None:
        found = self.both(lambda store: store.advance(lease, "cancelled", now=self.now))
        if not isinstance(found, tuple):
            self.known[lease.call_id].state = "cancelled"

    @rule(lease=leases)
    def forget(self, lease: Lease) -> None:
        before = self.state(lease.call_id)
        found = self.both(lambda store: store.forget(lease.call_id))
        if before is None:
            assert found[0] is UnknownJob
        elif before in ACTIVE_STATES:
            assert found[0] is InvalidRequest
        else:
            assert found is None
            self.known[lease.call_id].forgotten = True

    @rule(age=st.sampled_from([None, 10.0, DAY]), media=st.sampled_from(["image", "video"]))
    def save_continuation(self, age: float | None, media: str) -> None:
        self.saved += 1
        expires_at = None if age is None else self.now + age
        kept = continuation(f"veo_vid_{self.saved}", media=media, created_at=self.now, expires_at=expires_at)
        self.both(lambda store: store.save_continuation(kept))

    @rule(number=st.integers(1, 8), media=st.sampled_from([None, "image", "video"]))
    def load_continuation(self, number: int, media: str | None) -> None:
        self.both(lambda store: store.latest_continuation(media=media, now=self.now))
        if number <= self.saved:
            self.both(lambda store: store.load_continuation(f"veo_vid_{number}", now=self.now))

    @invariant()
    def both_stores_show_the_same(self) -> None:
        self.both(lambda store: list(store.calls()))
        self.both(lambda store: list(store.calls(states=["submitted", "unknown"], since=NOW + 1)))
        self.both(lambda store: [record.id for record in store.run("run_0")])
        for backend in (None, "google"):
            for session in (None, "s"):
                self.both(lambda store, b=backend, s=session: store.spend(since=NOW + 1, backend=b, session=s))  # type: ignore[misc]

    @invariant()
    def no_job_is_ever_lost(self) -> None:
        for name, known in self.known.items():
            record = self.stores[1].get(name)
            assert (record is None) == known.forgotten
            if record is not None:
                assert record.fence == known.fence
                assert (None if record.job is None else record.job["id"]) == known.job
                assert record.secret is None or record.state not in FINAL_STATES

    @invariant()
    def what_is_reserved_is_the_sum_of_the_high_quotes_of_open_rows(self) -> None:
        spent, rows = self.stores[1].spend(), self.stores[1].calls()
        opened = [r for r in rows if r.state not in FINAL_STATES]
        assert spent.reserved_usd == pytest.approx(sum(r.quote_usd[1] for r in opened if r.quote_usd), abs=1e-7)
        assert spent.reserved_usd == pytest.approx(sum(r.reserved_usd for r in rows), abs=1e-7)
        assert spent.reserved_usd >= 0
        assert spent.committed_usd == pytest.approx(sum(known.spent for known in self.known.values()), abs=1e-7)
        assert spent.calls == len(self.known)


class PostgresJournal(Journal):
    """The same, with PostgreSQL beside the store in memory."""

    def place(self) -> str:
        return postgres.server().new()


TestJournal = Journal.TestCase
TestPostgresJournal = pytest.mark.exhaustive(PostgresJournal.TestCase)
TestJournal.settings = examples(50, stateful_step_count=40)
TestPostgresJournal.settings = examples(10, stateful_step_count=40)
