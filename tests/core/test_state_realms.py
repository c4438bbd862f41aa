"""Views of one realm: what happens in another realm changes nothing that a view observes.

Hypothesis lets two realms share a store, with any operation in any order. One of them repeats each of its operations in a store of
its own; both must answer alike, errors included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import postgres
import pytest
from blocking_store import BlockingStore, wait_for
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from state_calls import JOB, bring, open_call
from state_samples import DAY, NOW, continuation, new_call
from tiers import examples

from anymedia.errors import BudgetExceeded, MediaError, UnknownContinuation, UnknownJob
from anymedia.policy import Budget
from anymedia.state.sql import Store
from anymedia.state.sqlite import SqliteStore
from anymedia.state.store import LOCAL_REALM, CallRecord, CallState, IllegalTransition, Lease, LeaseLost, RunKeyTaken

CALLS = st.sampled_from([f"{realm}_call_{number}" for realm in "ab" for number in range(3)])
HANDLES = st.sampled_from(["img_1", "img_2", "img_3"])
KEYS = st.sampled_from(["order-1", "order-2"])
STEPS: st.SearchStrategy[CallState] = st.sampled_from(["submitted", "collecting", "done", "failed", "unknown", "lost"])
BUDGETS = st.sampled_from([Budget(), Budget().within(Budget(per_day=1.0)), Budget().within(Budget(per_backend={"google": 0.5}))])


@attrs.define
class Realm:
    """A view in the shared store, for one realm also the only one in a store of its own, and the leases it has in each."""

    views: list[Store]
    leases: list[dict[str, Lease]]

    def ask(self, work: Callable[[Store, dict[str, Lease]], Any]) -> None:
        answers = [outcome(work, *pair) for pair in zip(self.views, self.leases, strict=True)]
        assert all(answer == answers[0] for answer in answers)


def outcome(work: Callable[[Store, dict[str, Lease]], Any], view: Store, leases: dict[str, Lease]) -> Any:
    try:
        found = wait_for(work(view, leases))
    except (MediaError, LeaseLost, IllegalTransition, RunKeyTaken) as error:
        return type(error), str(error), getattr(error, "fix", "")
    return list(found) if isinstance(found, tuple | list) else found


class Realms(RuleBasedStateMachine):
    """Realm ``a`` is compared with a store of its own; realm ``b`` shares one with it and uses the same ids wherever it can."""

    realms = st.sampled_from("ab")

    def __init__(self) -> None:
        super().__init__()
        self.time = NOW
        self.stores = [self.new_store(), self.new_store()]
        shared, alone = self.stores
        self.realm = {"a": Realm([shared.scoped("a"), alone.scoped("a")], [{}, {}]), "b": Realm([shared.scoped("b")], [{}])}

    def new_store(self) -> Store:
        return SqliteStore(clock=lambda: self.time)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    @rule(name=realms, number=st.integers(0, 2), key=st.none() | KEYS, digest=st.sampled_from("xy"), budget=BUDGETS)
    def open(self, name: str, number: int, key: str | None, digest: str, budget: Budget) -> None:
        call = new_call(f"{name}_call_{number}", run_key=key, request_digest=digest)

        async def work(view: Store, leases: dict[str, Lease]) -> CallRecord:
            record = await view.open_call(call, budget, owner="me", lease_seconds=60)
            leases[call.id] = record.lease
            return record

        self.realm[name].ask(work)

    @rule(name=realms, call=CALLS, state=STEPS, handles=st.lists(HANDLES, max_size=2))
    def advance(self, name: str, call: str, state: CallState, handles: list[str]) -> None:
        kept = [continuation(handle, data={"realm": name}) for handle in handles]
        changes = {"job": JOB} if state == "submitted" else {}

        async def work(view: Store, leases: dict[str, Lease]) -> CallRecord:
            lease = leases.get(call, Lease(call_id=call, owner="me", fence=1, until=0.0))
            return await view.advance(lease, state, continuations=kept, **changes)

        self.realm[name].ask(work)

    @rule(name=realms, call=CALLS, key=KEYS, handle=HANDLES)
    def read(self, name: str, call: str, key: str, handle: str) -> None:
        realm = self.realm[name]
        realm.ask(lambda view, _: view.get(call))
        realm.ask(lambda view, _: view.run(call))
        realm.ask(lambda view, _: view.calls())
        realm.ask(lambda view, _: view.calls(states=["done"], limit=1))
        realm.ask(lambda view, _: view.run_key(key))
        realm.ask(lambda view, _: view.spend())
        realm.ask(lambda view, _: view.backends())
        realm.ask(lambda view, _: view.load_continuation(handle))
        realm.ask(lambda view, _: view.load_continuation("img_99"))
        realm.ask(lambda view, _: view.latest_continuation())
        realm.ask(lambda view, _: view.continuation_of_file("aa" * 32))

    @rule(name=realms, call=CALLS)
    def claim(self, name: str, call: str) -> None:
        async def work(view: Store, leases: dict[str, Lease]) -> CallRecord | None:
            record = await view.claim(call, owner="me", lease_seconds=60)
            if record is not None:
                leases[call] = record.lease
            return record

        self.realm[name].ask(work)

    @rule(name=realms, call=CALLS, handle=HANDLES)
    def write(self, name: str, call: str, handle: str) -> None:
        self.realm[name].ask(lambda view, _: view.save_continuation(continuation(handle, data={"by": name})))
        self.realm[name].ask(lambda view, _: view.drop_run_keys(call, "order-1"))

    @rule(name=realms, call=CALLS)
    def forget(self, name: str, call: str) -> None:
        self.realm[name].ask(lambda view, _: view.forget(call))

    @rule(seconds=st.sampled_from([1.0, 120.0, DAY]))
    def wait(self, seconds: float) -> None:
        self.time += seconds


class PostgresRealms(Realms):
    """The same in PostgreSQL."""

    def new_store(self) -> Store:
        from anymedia.state.postgres import PostgresStore

        return PostgresStore(postgres.server().new(), clock=lambda: self.time)


TestRealms = Realms.TestCase
TestPostgresRealms = pytest.mark.exhaustive(PostgresRealms.TestCase)
TestRealms.settings = examples(40, stateful_step_count=30)
TestPostgresRealms.settings = examples(10, stateful_step_count=30)


def test_whole_store_sees_every_realm_and_writes_to_the_local_one(store: BlockingStore) -> None:
    open_call(store, new_call("call_a", realm="a"))
    open_call(store, new_call("call_local"))
    assert {record.id: record.realm for record in store.calls()} == {"call_a": "a", "call_local": LOCAL_REALM}
    local = store.store.scoped(LOCAL_REALM)
    assert [record.id for record in wait_for(local.calls())] == ["call_local"]


def test_call_opened_in_a_view_belongs_to_the_realm_of_the_view(store: BlockingStore) -> None:
    view = store.store.scoped("a")
    record = wait_for(view.open_call(new_call(realm="b"), Budget(), owner="me", lease_seconds=60))
    assert record.realm == "a"
    assert wait_for(view.get("call_1")).realm == "a"


def test_continuation_belongs_to_the_realm_of_its_call(store: BlockingStore) -> None:
    lease = open_call(store, new_call(realm="a"))
    bring(store, lease, "collecting")
    store.advance(lease, "done", continuations=[continuation("img_1")])
    assert wait_for(store.store.scoped("a").load_continuation("img_1")).id == "img_1"
    with pytest.raises(UnknownContinuation) as caught:
        wait_for(store.store.scoped("b").load_continuation("img_1"))
    assert caught.value.fix == "Make a new request without continue_from; every result has its own continuation id."


def test_view_does_not_show_the_id_of_a_conflicting_call_of_another_realm(store: BlockingStore) -> None:
    for call, realm in (("call_a", "a"), ("call_b", "b")):
        bring(store, open_call(store, new_call(call, realm=realm, account="same")), "submitted")
    assert store.get("call_b").conflict == "call_a"
    assert wait_for(store.store.scoped("b").get("call_b")).conflict is None


def test_realms_budget_counts_its_own_spending_only(store: BlockingStore) -> None:
    budget = Budget(per_day=2.0).within(Budget(per_day=0.5))
    open_call(store, new_call("call_b", realm="b"), budget)
    open_call(store, new_call("call_a", realm="a"), budget)
    with pytest.raises(BudgetExceeded, match=r"per_day of the realm of 0\.5 USD, 0\.1 USD is left"):
        open_call(store, new_call("call_a2", realm="a"), budget)
    open_call(store, new_call("call_c", realm="c"), budget)
    with pytest.raises(UnknownJob):
        wait_for(store.store.scoped("a").forget("call_b"))


@pytest.mark.parametrize("cap", ["per_session", "per_day"])
def test_budget_of_a_realm_never_loosens_the_policys(store: BlockingStore, cap: str) -> None:
    budget = Budget(**{cap: 0.5}).within(Budget(**{cap: 100.0}))
    open_call(store, new_call("call_b", realm="b"), budget)
    with pytest.raises(BudgetExceeded, match=f"cap {cap} of"):
        open_call(store, new_call("call_a", realm="a"), budget)


def test_budget_of_a_realm_caps_its_projects(store: BlockingStore) -> None:
    budget = Budget(per_project={"film": 9.0}).within(Budget(per_project={"film": 0.5}))
    open_call(store, new_call("call_a", realm="a", project="film"), budget)
    open_call(store, new_call("call_b", realm="a", project="song"), budget)
    with pytest.raises(BudgetExceeded, match="per_project"):
        open_call(store, new_call("call_c", realm="a", project="film"), budget)
