"""The protocol of a store, for the durable one and the one in memory alike: journal, leases, ledger, durations."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from state_samples import DAY, NOW, new_call

from anymedia.errors import BudgetExceeded, InvalidRequest, MediaError, PluginContractError, UnknownJob
from anymedia.policy import Budget
from anymedia.state.errors import IllegalTransition, LeaseLost, StateError
from anymedia.state.memory import MemoryStore
from anymedia.state.sqlite import SqliteStore
from anymedia.state.store import ACTIVE_STATES, FINAL_STATES, TRANSITIONS, CallState, Lease, NewCall, Spend, Store

FREE = Budget()
JOB = {"id": "operations/17", "data": {"name": "x"}}
STATES: tuple[CallState, ...] = get_args(CallState)
#: How to bring a new call into each state.
PATHS: dict[CallState, tuple[CallState, ...]] = {
    "submitting": (),
    "submitted": ("submitted",),
    "running": ("submitted", "running"),
    "collecting": ("submitted", "collecting"),
    "done": ("submitted", "collecting", "done"),
    "failed": ("failed",),
    "refused": ("refused",),
    "unknown": ("unknown",),
    "cancelled": ("cancelled",),
}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state" / "journal.db")
    yield made
    made.close()


def open_call(store: Store, call: NewCall | None = None, budget: Budget = FREE, *, owner: str = "me", lease_seconds: float = 60.0) -> Lease:
    return store.open_call(call or new_call(), budget, owner=owner, lease_seconds=lease_seconds)


def bring(store: Store, lease: Lease, state: CallState, **changes: Any) -> None:
    steps = PATHS[state]
    for step in steps:
        job = {"job": JOB} if step == "submitted" else {}
        store.advance(lease, step, now=NOW + 1, **job, **(changes if step == steps[-1] else {}))


def test_an_opened_call_is_a_submitting_row_with_its_quote_reserved(store: Store) -> None:
    lease = open_call(store)
    record = store.get("call_1")
    assert record is not None
    assert (record.state, record.submits, record.attempts, record.job) == ("submitting", 0, (), None)
    assert (record.owner, record.lease_until, record.fence) == ("me", NOW + 60, lease.fence)
    assert record.reserved_usd == 0.4
    assert record.quote_usd == (0.1, 0.4)
    assert store.spend() == Spend(reserved_usd=0.4, committed_usd=0.0, unknown_calls=0, calls=1)


def test_a_record_keeps_every_field_of_its_call(store: Store) -> None:
    call = new_call(index=3, run="run_9")
    open_call(store, call)
    record = store.get("call_1")
    assert record is not None
    for field in attrs.fields(NewCall):
        if field.name != "request":
            assert getattr(record, field.name) == getattr(call, field.name)
    assert record.request == {"kind": "generate_video", "prompt": "waves", "duration": 8, "references": [{"path": "a.png"}]}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_a_state_follows_another_only_where_the_journal_has_it(store: Store, before: CallState, after: CallState) -> None:
    lease = open_call(store)
    bring(store, lease, before)
    row = store.get("call_1")
    if after in TRANSITIONS[before]:
        changes = {"job": JOB} if after in {"submitted", "running"} else {}
        assert store.advance(lease, after, now=NOW + 2, **changes).state == after
    else:
        with pytest.raises(IllegalTransition):
            store.advance(lease, after, now=NOW + 2)
        assert store.get("call_1") == row


def test_every_named_column_is_written(store: Store) -> None:
    lease = open_call(store)
    changes: dict[str, Any] = {
        "submits": 2,
        "attempts": ({"code": "rate_limited", "delivery": "refused"},),
        "job": JOB,
        "outcome": {"pieces": [{"id": "files/3"}]},
        "secret": {"url": "https://media.example/3?signature=hush"},
        "result": {"files": []},
        "error": {"code": "x"},
        "cost_usd": 0.25,
        "target": {"path": "elsewhere/"},
        "plan": {"adjustments": [1]},
    }
    told = store.advance(lease, "submitted", now=NOW + 5, **changes)
    assert told == store.get("call_1")
    assert told.updated_at == NOW + 5
    for name, value in changes.items():
        assert getattr(told, name) == value


def test_a_column_that_cannot_be_changed_is_refused(store: Store) -> None:
    lease = open_call(store)
    with pytest.raises(TypeError, match="idempotency_key"):
        store.advance(lease, "failed", now=NOW, idempotency_key="another")


def test_a_submitted_call_needs_the_providers_job(store: Store) -> None:
    lease = open_call(store)
    with pytest.raises(IllegalTransition, match="without the provider's job"):
        store.advance(lease, "submitted", now=NOW)


def test_a_job_once_recorded_cannot_be_taken_away(store: Store) -> None:
    lease = open_call(store)
    store.advance(lease, "submitted", now=NOW, job=JOB)
    with pytest.raises(IllegalTransition, match="without the provider's job"):
        store.advance(lease, "collecting", now=NOW, job=None)
    record = store.get("call_1")
    assert record is not None and record.job == JOB


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_final_state_wipes_the_secret_and_ends_the_lease(store: Store, state: CallState) -> None:
    lease = open_call(store)
    store.advance(lease, "submitting", now=NOW, secret={"url": "https://media.example/?signature=hush"})
    bring(store, lease, state)
    record = store.get("call_1")
    assert record is not None
    assert (record.secret, record.owner, record.lease_until) == (None, None, 0.0)
    assert "hush" not in repr(record)
    assert store.claim("call_1", owner="you", lease_seconds=10, now=NOW + DAY) is None


def test_what_is_read_can_be_changed_without_changing_what_is_kept(store: Store) -> None:
    request = {"prompt": "waves", "references": ["a"]}
    open_call(store, new_call(request=request))
    request["references"].append("b")  # type: ignore[attr-defined]
    record = store.get("call_1")
    assert record is not None
    record.request["references"].append("c")
    again = store.get("call_1")
    assert again is not None and again.request["references"] == ["a"]


@pytest.mark.parametrize(
    "request_json",
    [
        {"image": b"\x89PNG"},
        {"deep": [{"image": bytearray(3)}]},
        {"image": "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAA" * 4},
        {"x": float("nan")},
        {"x": {1, 2}},
        {"x": object()},
    ],
)
def test_media_bytes_and_what_is_not_json_are_refused(store: Store, request_json: Any) -> None:
    with pytest.raises(PluginContractError, match="call_1"):
        open_call(store, new_call(request=request_json))
    assert store.get("call_1") is None
    assert store.spend().calls == 0


def test_bytes_in_a_job_are_refused_and_the_row_stays(store: Store) -> None:
    lease = open_call(store)
    row = store.get("call_1")
    with pytest.raises(PluginContractError, match="without bytes"):
        store.advance(lease, "submitted", now=NOW, job={"id": "1", "data": {"raw": b"1"}})
    assert store.get("call_1") == row


def test_the_same_call_cannot_be_opened_twice_even_after_it_was_forgotten(store: Store) -> None:
    lease = open_call(store)
    with pytest.raises(InvalidRequest, match="call_1"):
        open_call(store)
    bring(store, lease, "failed")
    store.forget("call_1")
    with pytest.raises(InvalidRequest, match="call_1"):
        open_call(store)


# --- leases


def test_a_lease_that_lasts_is_nobody_elses(store: Store) -> None:
    open_call(store, lease_seconds=60)
    assert store.claim("call_1", owner="you", lease_seconds=60, now=NOW + 59) is None


def test_a_lease_that_ran_out_can_be_claimed_and_the_late_owner_changes_nothing(store: Store) -> None:
    mine = open_call(store, lease_seconds=60)
    yours = store.claim("call_1", owner="you", lease_seconds=60, now=NOW + 61)
    assert yours is not None and yours.fence > mine.fence and yours.until == NOW + 121
    with pytest.raises(LeaseLost):
        store.advance(mine, "failed", now=NOW + 62)
    with pytest.raises(LeaseLost):
        store.renew(mine, lease_seconds=60, now=NOW + 62)
    store.release(mine)
    record = store.get("call_1")
    assert record is not None
    assert (record.state, record.owner, record.fence) == ("submitting", "you", yours.fence)
    assert store.advance(yours, "unknown", now=NOW + 63).state == "unknown"


def test_a_lease_that_ran_out_unclaimed_still_serves_its_owner(store: Store) -> None:
    lease = open_call(store, lease_seconds=1)
    assert store.advance(lease, "submitted", now=NOW + 500, job=JOB).state == "submitted"


def test_ones_own_call_can_be_claimed_again_which_ends_the_earlier_lease(store: Store) -> None:
    first = open_call(store)
    second = store.claim("call_1", owner="me", lease_seconds=60, now=NOW + 1)
    assert second is not None
    with pytest.raises(LeaseLost):
        store.advance(first, "failed", now=NOW + 2)
    assert store.advance(second, "failed", now=NOW + 2).state == "failed"


def test_a_renewed_lease_lasts_longer(store: Store) -> None:
    lease = open_call(store, lease_seconds=60)
    renewed = store.renew(lease, lease_seconds=60, now=NOW + 50)
    assert (renewed.until, renewed.fence) == (NOW + 110, lease.fence)
    assert store.claim("call_1", owner="you", lease_seconds=60, now=NOW + 100) is None


def test_renewing_after_the_end_is_quiet_and_takes_nothing(store: Store) -> None:
    lease = open_call(store)
    bring(store, lease, "done")
    store.renew(lease, lease_seconds=60, now=NOW + 2)
    record = store.get("call_1")
    assert record is not None and record.owner is None


def test_a_released_lease_is_free_at_once_and_of_no_use_any_more(store: Store) -> None:
    lease = open_call(store)
    store.release(lease)
    with pytest.raises(LeaseLost):
        store.advance(lease, "failed", now=NOW)
    store.release(lease)
    assert store.claim("call_1", owner="you", lease_seconds=60, now=NOW) is not None


def test_a_call_that_is_not_there_cannot_be_claimed_and_its_lease_is_lost(store: Store) -> None:
    gone = Lease(call_id="nowhere", owner="me", fence=1, until=NOW)
    with pytest.raises(UnknownJob, match="nowhere"):
        store.claim("nowhere", owner="me", lease_seconds=60, now=NOW)
    with pytest.raises(LeaseLost):
        store.advance(gone, "failed", now=NOW)
    with pytest.raises(LeaseLost):
        store.renew(gone, lease_seconds=60, now=NOW)
    store.release(gone)
    assert store.get("nowhere") is None
    assert store.get("\ud800") is None


# --- the ledger


def test_done_commits_the_cost_and_releases_the_reservation(store: Store) -> None:
    bring(store, open_call(store), "done", cost_usd=0.15)
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.15, unknown_calls=0, calls=1)


def test_done_without_a_cost_commits_the_high_quote(store: Store) -> None:
    bring(store, open_call(store), "done")
    record = store.get("call_1")
    assert record is not None and record.cost_usd is None and record.reserved_usd == 0.0
    assert store.spend().committed_usd == 0.4


def test_a_cost_told_on_the_way_counts_at_the_end(store: Store) -> None:
    lease = open_call(store)
    store.advance(lease, "collecting", now=NOW, cost_usd=0.2)
    assert store.spend() == Spend(reserved_usd=0.4, committed_usd=0.0, unknown_calls=0, calls=1)
    store.advance(lease, "done", now=NOW)
    assert store.spend().committed_usd == 0.2


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_a_cost_that_cannot_be_counts_as_not_known(store: Store, cost: float) -> None:
    bring(store, open_call(store), "done", cost_usd=cost)
    assert store.spend().committed_usd == 0.4


@pytest.mark.parametrize("state", ["failed", "refused", "cancelled"])
def test_an_end_without_a_result_releases_or_commits_what_it_cost(store: Store, state: CallState) -> None:
    bring(store, open_call(store, new_call("a")), state)
    bring(store, open_call(store, new_call("b")), state, cost_usd=0.05)
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.05, unknown_calls=0, calls=2)


def test_an_unknown_submit_keeps_its_money_reserved_until_it_is_settled(store: Store) -> None:
    lease = open_call(store)
    bring(store, lease, "unknown")
    assert store.spend().reserved_usd == 0.4
    store.advance(lease, "submitted", now=NOW, job=JOB)
    store.advance(lease, "collecting", now=NOW)
    store.advance(lease, "done", now=NOW, cost_usd=0.3)
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.3, unknown_calls=0, calls=1)


def test_a_call_of_unknown_price_is_counted_until_its_cost_is_known(store: Store) -> None:
    first = open_call(store, new_call("a", quote_usd=None))
    second = open_call(store, new_call("b", quote_usd=None))
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.0, unknown_calls=2, calls=2)
    bring(store, first, "done", cost_usd=0.5)
    bring(store, second, "done")
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.5, unknown_calls=1, calls=2)


def test_the_spending_of_a_forgotten_row_stays(store: Store) -> None:
    bring(store, open_call(store, new_call("a")), "done", cost_usd=0.3)
    bring(store, open_call(store, new_call("b")), "unknown")
    store.forget("a")
    store.forget("b")
    assert store.calls() == []
    assert store.spend() == Spend(reserved_usd=0.0, committed_usd=0.7, unknown_calls=0, calls=2)


@pytest.mark.parametrize("state", sorted(ACTIVE_STATES))
def test_a_call_at_work_is_not_forgotten(store: Store, state: CallState) -> None:
    bring(store, open_call(store), state)
    with pytest.raises(InvalidRequest, match=r"call_1.*cancel"):
        store.forget("call_1")
    assert store.get("call_1") is not None


def test_what_is_not_there_cannot_be_forgotten(store: Store) -> None:
    with pytest.raises(UnknownJob):
        store.forget("nowhere")


def test_spending_is_summed_by_time_session_and_backend(store: Store) -> None:
    bring(store, open_call(store, new_call("a", session="s", backend="x", created_at=NOW)), "done", cost_usd=1)
    bring(store, open_call(store, new_call("b", session="t", backend="x", created_at=NOW + 10)), "done", cost_usd=2)
    open_call(store, new_call("c", session="t", backend="y", created_at=NOW + 20))
    assert store.spend(since=NOW + 10).committed_usd == 2
    assert store.spend(session="s").committed_usd == 1
    assert store.spend(backend="x").committed_usd == 3
    assert store.spend(session="t", backend="y") == Spend(reserved_usd=0.4, committed_usd=0.0, unknown_calls=0, calls=1)
    assert store.spend(session="u") == Spend(reserved_usd=0.0, committed_usd=0.0, unknown_calls=0, calls=0)


def test_sums_of_money_are_exact(store: Store) -> None:
    for i in range(10):
        open_call(store, new_call(f"c{i}", quote_usd=(0.1, 0.1)), Budget(per_day=1.0))
    assert store.spend().reserved_usd == 1.0
    with pytest.raises(BudgetExceeded, match="0 USD is left"):
        open_call(store, new_call("one more", quote_usd=(0.000001, 0.000001)), Budget(per_day=1.0))


# --- caps


def refuses(store: Store, call: NewCall, budget: Budget, match: str) -> None:
    before = store.spend()
    with pytest.raises(BudgetExceeded, match=match) as caught:
        open_call(store, call, budget)
    assert caught.value.charged == "no"
    assert caught.value.fix
    assert store.get(call.id) is None
    assert store.spend() == before


def test_a_cap_per_call_holds(store: Store) -> None:
    refuses(store, new_call("a"), Budget(per_call=0.39), r"google/veo-4 may cost up to 0\.4 USD; the cap per_call is 0\.39 USD")
    open_call(store, new_call("b"), Budget(per_call=0.4))


def test_a_cap_per_run_counts_one_session(store: Store) -> None:
    budget = Budget(per_run=0.9)
    open_call(store, new_call("a", session="s"), budget)
    bring(store, open_call(store, new_call("b", session="s"), budget), "done", cost_usd=0.4)
    refuses(store, new_call("c", session="s"), budget, r"per_run of 0\.9 USD, 0\.1 USD is left")
    open_call(store, new_call("d", session="t"), budget)


def test_a_refused_call_gives_its_money_back(store: Store) -> None:
    budget = Budget(per_run=0.5)
    lease = open_call(store, new_call("a"), budget)
    refuses(store, new_call("b"), budget, "per_run")
    bring(store, lease, "refused")
    open_call(store, new_call("c"), budget)


def test_a_cap_per_day_counts_the_utc_day_of_all_sessions(store: Store) -> None:
    midnight = NOW - NOW % DAY
    budget = Budget(per_day=0.5)
    open_call(store, new_call("a", session="s", created_at=midnight - 1), budget)
    open_call(store, new_call("b", session="t", created_at=midnight), budget)
    refuses(store, new_call("c", session="u", created_at=midnight + DAY - 1), budget, "per_day")
    open_call(store, new_call("d", created_at=midnight + DAY), budget)


def test_a_cap_per_backend_counts_that_backend_only(store: Store) -> None:
    budget = Budget(per_backend={"google": 0.5})
    open_call(store, new_call("a"), budget)
    refuses(store, new_call("b"), budget, r"per_backend\['google'\]")
    open_call(store, new_call("c", backend="openai"), budget)


def test_an_unknown_price_is_refused_under_any_cap_unless_allowed(store: Store) -> None:
    unknown = new_call("a", quote_usd=None)
    refuses(store, unknown, Budget(per_day=100), "price")
    refuses(store, unknown, Budget(per_backend={"openai": 1}), "price")
    open_call(store, unknown, Budget(per_day=100, allow_unknown=True))
    open_call(store, new_call("b", quote_usd=None), FREE)


@pytest.mark.parametrize("quote", [(0.2, 0.1), (-1.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0), (0.0, float("nan"))])
def test_a_quote_that_is_no_amount_is_refused(store: Store, quote: tuple[float, float]) -> None:
    with pytest.raises(InvalidRequest, match="quote"):
        open_call(store, new_call(quote_usd=quote), Budget(per_call=1))
    assert store.get("call_1") is None


def test_of_50_threads_that_want_a_budget_for_10_just_10_get_it(store: Store) -> None:
    barrier, outcomes = threading.Barrier(50), []

    def want(i: int) -> None:
        barrier.wait()
        try:
            open_call(store, new_call(f"c{i}", quote_usd=(0.05, 0.1)), Budget(per_run=1.0), owner=f"o{i}")
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


# --- looking


def test_rows_come_newest_first_and_can_be_chosen(store: Store) -> None:
    for i in range(5):
        bring(store, open_call(store, new_call(f"c{i}", created_at=NOW + i // 2)), "done" if i % 2 else "running")
    assert [r.id for r in store.calls()] == ["c4", "c3", "c2", "c1", "c0"]
    assert [r.id for r in store.calls(states=["done"])] == ["c3", "c1"]
    assert [r.id for r in store.calls(states=["done", "running"], since=NOW + 1)] == ["c4", "c3", "c2"]
    assert [r.id for r in store.calls(limit=2)] == ["c4", "c3"]
    assert list(store.calls(states=[])) == []
    assert list(store.calls(limit=0)) == []


def test_a_run_lists_its_calls_in_order(store: Store) -> None:
    for index in (2, 0, 1):
        open_call(store, new_call(f"c{index}", run="r", index=index))
    open_call(store, new_call("other"))
    assert [r.id for r in store.run("r")] == ["c0", "c1", "c2"]
    assert list(store.run("nowhere")) == []


# --- durations


def test_the_newest_200_durations_are_kept_per_key(store: Store) -> None:
    for i in range(203):
        store.add_duration("google/veo-4/8s", float(i))
    store.add_duration("openai/gpt-image-2", 12.5)
    assert list(store.durations("google/veo-4/8s")) == [float(i) for i in range(3, 203)]
    assert list(store.durations("openai/gpt-image-2")) == [12.5]
    assert list(store.durations("nothing")) == []


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
def test_the_time_of_a_clock_that_jumped_is_left_out(store: Store, seconds: float) -> None:
    store.add_duration("k", seconds)
    assert list(store.durations("k")) == []


# --- the end


def test_a_closed_store_says_so(store: Store) -> None:
    lease = open_call(store)
    store.close()
    store.close()
    for use in (
        lambda: store.get("call_1"),
        lambda: store.calls(),
        lambda: store.spend(),
        lambda: store.advance(lease, "failed", now=NOW),
        lambda: store.latest_continuation(now=NOW),
        lambda: open_call(store, new_call("another")),
    ):
        with pytest.raises(StateError, match="closed") as caught:
            use()
        assert isinstance(caught.value, MediaError)
