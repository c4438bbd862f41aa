"""What was reserved, spent and capped, for the durable store and the one in memory alike."""

from __future__ import annotations

import threading

import pytest
from blocking_store import BlockingStore
from state_calls import FREE, JOB, bring, open_call
from state_samples import DAY, NOW, new_call

from anymedia.errors import BudgetExceeded, InvalidRequest, UnknownJob
from anymedia.policy import Budget
from anymedia.state.store import ACTIVE_STATES, CallState, NewCall, Spend


def test_done_commits_the_cost_and_releases_the_reservation(store: BlockingStore) -> None:
    bring(store, open_call(store), "done", cost_usd=0.15)
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.15, unknown_calls=0, calls=1)


def test_done_without_a_cost_commits_the_high_quote(store: BlockingStore) -> None:
    bring(store, open_call(store), "done")
    record = store.get("call_1")
    assert record is not None and record.cost_usd is None and record.reserved_usd == 0.0
    assert store.spend().committed_usd == 0.4


def test_cost_told_on_the_way_counts_at_the_end(store: BlockingStore) -> None:
    lease = open_call(store)
    store.advance(lease, "collecting", now=NOW, cost_usd=0.2)
    assert store.spend() == Spend(reserved_usd=0.4, committed_usd=0.0, unknown_calls=0, calls=1)
    store.advance(lease, "done", now=NOW)
    assert store.spend().committed_usd == 0.2


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_cost_that_cannot_be_counts_as_not_known(store: BlockingStore, cost: float) -> None:
    bring(store, open_call(store), "done", cost_usd=cost)
    assert store.spend().committed_usd == 0.4


@pytest.mark.parametrize("state", ["failed", "refused", "cancelled"])
def test_end_without_a_result_releases_or_commits_what_it_cost(store: BlockingStore, state: CallState) -> None:
    bring(store, open_call(store, new_call("a")), state)
    bring(store, open_call(store, new_call("b")), state, cost_usd=0.05)
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.05, unknown_calls=0, calls=2)


def test_unknown_submit_keeps_its_money_reserved_until_it_is_settled(store: BlockingStore) -> None:
    lease = open_call(store)
    bring(store, lease, "unknown")
    assert store.spend().reserved_usd == 0.4
    store.advance(lease, "submitted", now=NOW, job=JOB)
    store.advance(lease, "collecting", now=NOW)
    store.advance(lease, "done", now=NOW, cost_usd=0.3)
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.3, unknown_calls=0, calls=1)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_late_success_commits_to_the_period_of_its_reservation_even_above_the_cap(store: BlockingStore, state: CallState) -> None:
    lease = open_call(store, new_call("late"), Budget(per_day=0.5), at=NOW)
    store.advance(lease, "submitted", now=NOW, job=JOB)
    store.advance(lease, state, now=NOW)
    assert store.spend().reserved_usd == 0  # certainly not charged, it seemed
    open_call(store, new_call("other"), Budget(per_day=0.5), at=NOW + 1)
    lease = store.claim("late", owner="me", lease_seconds=60, now=NOW + 2 * DAY, revise=True)
    store.advance(lease, "running", now=NOW + 2 * DAY)
    assert store.spend(since=NOW).reserved_usd == pytest.approx(0.8)
    store.advance(lease, "collecting", now=NOW + 2 * DAY)
    store.advance(lease, "done", now=NOW + 2 * DAY, cost_usd=0.45)
    assert store.spend(since=NOW + DAY).committed_usd == 0
    assert store.spend(since=NOW).committed_usd == 0.45
    with pytest.raises(BudgetExceeded, match=r"of the cap per_day of 0\.9 USD, 0\.05 USD is left"):
        open_call(store, new_call("more", quote_usd=(0.1, 0.1)), Budget(per_day=0.9), at=NOW + 3)


def test_call_of_unknown_price_is_counted_until_its_cost_is_known(store: BlockingStore) -> None:
    first = open_call(store, new_call("a", quote_usd=None))
    second = open_call(store, new_call("b", quote_usd=None))
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.0, unknown_calls=2, calls=2)
    bring(store, first, "done", cost_usd=0.5)
    bring(store, second, "done")
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.5, unknown_calls=1, calls=2)


def test_spending_of_a_forgotten_record_stays(store: BlockingStore) -> None:
    bring(store, open_call(store, new_call("a")), "done", cost_usd=0.3)
    bring(store, open_call(store, new_call("b")), "unknown")
    store.forget("a")
    store.forget("b")
    assert store.calls() == []
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.7, unknown_calls=0, calls=2)


@pytest.mark.parametrize("state", sorted(ACTIVE_STATES))
def test_active_call_cannot_be_forgotten(store: BlockingStore, state: CallState) -> None:
    bring(store, open_call(store), state)
    with pytest.raises(InvalidRequest, match=r"call_1.*cancel"):
        store.forget("call_1")
    assert store.get("call_1") is not None


def test_forget_of_an_unknown_call_is_refused(store: BlockingStore) -> None:
    with pytest.raises(UnknownJob):
        store.forget("nowhere")


def test_spending_is_summed_by_time_session_and_backend(store: BlockingStore) -> None:
    bring(store, open_call(store, new_call("a", session="s", backend="x"), at=NOW), "done", cost_usd=1)
    bring(store, open_call(store, new_call("b", session="t", backend="x"), at=NOW + 10), "done", cost_usd=2)
    open_call(store, new_call("c", session="t", backend="y"), at=NOW + 20)
    assert store.spend(since=NOW + 10).committed_usd == 2
    assert store.spend(session="s").committed_usd == 1
    assert store.spend(backend="x").committed_usd == 3
    assert store.spend(session="t", backend="y") == Spend(reserved_usd=0.4, committed_usd=0.0, unknown_calls=0, calls=1)
    assert store.spend(session="u") == Spend(reserved_usd=0.0, committed_usd=0.0, unknown_calls=0, calls=0)


def test_sums_of_money_are_exact(store: BlockingStore) -> None:
    for i in range(10):
        open_call(store, new_call(f"c{i}", quote_usd=(0.1, 0.1)), Budget(per_day=1.0))
    assert store.spend().reserved_usd == 1.0
    with pytest.raises(BudgetExceeded, match="0 USD is left"):
        open_call(store, new_call("one more", quote_usd=(0.000001, 0.000001)), Budget(per_day=1.0))


def refuses(store: BlockingStore, call: NewCall, budget: Budget, match: str) -> None:
    before = store.spend()
    with pytest.raises(BudgetExceeded, match=match) as caught:
        open_call(store, call, budget)
    assert caught.value.charged == "no"
    assert caught.value.fix
    assert store.get(call.id) is None
    assert store.spend() == before


def test_cap_per_call_holds(store: BlockingStore) -> None:
    refuses(store, new_call("a"), Budget(per_call=0.39), r"google/veo-4 may cost up to 0\.4 USD; the cap per_call is 0\.39 USD")
    open_call(store, new_call("b"), Budget(per_call=0.4))


def test_rest_of_a_cap_is_reported_exactly_whatever_its_size(store: BlockingStore) -> None:
    open_call(store, new_call("a", quote_usd=(1000.0, 1000.0)))
    budget = Budget(per_session=1000.12345)
    refuses(
        store,
        new_call("b", quote_usd=(0.1, 0.1235)),
        budget,
        r"up to 0\.1235 USD; of the cap per_session of 1000\.12345 USD, 0\.12345 USD is left",
    )
    refuses(
        store, new_call("c", quote_usd=(2e-7, 2e-7)), Budget(per_call=1e-7), r"up to 0\.0000002 USD; the cap per_call is 0\.0000001 USD"
    )


def test_cap_per_session_counts_one_session(store: BlockingStore) -> None:
    budget = Budget(per_session=0.9)
    open_call(store, new_call("a", session="s"), budget)
    bring(store, open_call(store, new_call("b", session="s"), budget), "done", cost_usd=0.4)
    refuses(store, new_call("c", session="s"), budget, r"per_session of 0\.9 USD, 0\.1 USD is left")
    open_call(store, new_call("d", session="t"), budget)


def test_refused_call_gives_its_money_back(store: BlockingStore) -> None:
    budget = Budget(per_session=0.5)
    lease = open_call(store, new_call("a"), budget)
    refuses(store, new_call("b"), budget, "per_session")
    bring(store, lease, "refused")
    open_call(store, new_call("c"), budget)


def test_cap_per_day_counts_the_utc_day_of_all_sessions(store: BlockingStore) -> None:
    midnight = NOW - NOW % DAY
    budget = Budget(per_day=0.5)
    open_call(store, new_call("a", session="s"), budget, at=midnight - 1)
    open_call(store, new_call("b", session="t"), budget, at=midnight)
    store.time = midnight + DAY - 1
    refuses(store, new_call("c", session="u"), budget, "per_day")
    open_call(store, new_call("d"), budget, at=midnight + DAY)


def test_cap_per_backend_counts_that_backend_only(store: BlockingStore) -> None:
    budget = Budget(per_backend={"google": 0.5})
    open_call(store, new_call("a"), budget)
    refuses(store, new_call("b"), budget, r"per_backend\['google'\]")
    open_call(store, new_call("c", backend="openai"), budget)


def test_unknown_price_is_refused_under_any_cap_unless_allowed(store: BlockingStore) -> None:
    unknown = new_call("a", quote_usd=None)
    refuses(store, unknown, Budget(per_day=100), "price")
    refuses(store, unknown, Budget(per_backend={"openai": 1}), "price")
    open_call(store, unknown, Budget(per_day=100, allow_unknown=True))
    open_call(store, new_call("b", quote_usd=None), FREE)


@pytest.mark.parametrize("quote", [(0.2, 0.1), (-1.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0), (0.0, float("nan"))])
def test_invalid_quote_is_refused(store: BlockingStore, quote: tuple[float, float]) -> None:
    with pytest.raises(InvalidRequest, match="quote"):
        open_call(store, new_call(quote_usd=quote), Budget(per_call=1))
    assert store.get("call_1") is None


def test_of_50_threads_that_want_a_budget_for_10_just_10_get_it(store: BlockingStore) -> None:
    barrier, outcomes = threading.Barrier(50), []

    def want(i: int) -> None:
        barrier.wait()
        try:
            open_call(store, new_call(f"c{i}", quote_usd=(0.05, 0.1)), Budget(per_session=1.0), owner=f"o{i}")
            outcomes.append("opened")
        except BudgetExceeded:
            outcomes.append("refused")

    threads = [threading.Thread(target=want, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("opened") == 10
    assert outcomes.count("refused") == 40
    assert store.spend() == Spend(reserved_usd=1.0, committed_usd=0.0, unknown_calls=0, calls=10)


def test_backends_that_money_went_to_are_known_by_the_ledger_alone(store: BlockingStore) -> None:
    assert store.backends() == ()
    for number, (name, at) in enumerate([("openai", NOW), ("grok", NOW + 10), ("openai", NOW + 20)]):
        lease = open_call(store, new_call(f"call_{number}", backend=name), at=at)
        bring(store, lease, "failed")
        store.forget(f"call_{number}")
    assert list(store.calls()) == []
    assert store.backends() == ("grok", "openai")
    assert store.backends(since=NOW + 11) == ("openai",)
    assert store.backends(since=NOW + 21) == ()
