"""The protocol of a store, for the durable one and the one in memory alike: the rows of the journal."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import attrs
import pytest
from blocking_store import BlockingStore
from hypothesis import given
from hypothesis import strategies as st
from state_calls import FREE, JOB, STATES, bring, open_call
from state_samples import DAY, NOW, new_call

from anymedia.errors import InvalidRequest, MediaError, PluginContractError
from anymedia.state.store import FINAL_STATES, TRANSITIONS, CallState, IllegalTransition, NewCall, RunKey, RunKeyTaken, Spend, StateError


def test_opened_call_is_a_queued_record_with_its_quote_reserved(store: BlockingStore) -> None:
    lease = store.queue_call(new_call(), FREE, owner="me", lease_seconds=60)
    record = store.get("call_1")
    assert record is not None
    assert (record.state, record.submits, record.attempts, record.job) == ("queued", 0, (), None)
    assert (record.owner, record.lease_until, record.fence) == ("me", NOW + 60, lease.fence)
    assert record.reserved_usd == 0.4
    assert record.quote_usd == (0.1, 0.4)
    assert store.spend() == Spend(reserved_usd=0.4, committed_usd=0.0, unknown_calls=0, calls=1)


def test_record_keeps_every_field_of_its_call(store: BlockingStore) -> None:
    call = new_call(index=3, run="run_9")
    open_call(store, call)
    record = store.get("call_1")
    assert record is not None
    for field in attrs.fields(NewCall):
        if field.name not in {"request", "request_digest"}:  # the digest belongs to the run key
            assert getattr(record, field.name) == getattr(call, field.name)
    assert record.request == {"kind": "generate_video", "prompt": "waves", "duration": 8, "references": [{"path": "a.png"}]}


_WRITTEN: dict[str, Any] = {
    "job": JOB,
    "outcome": {"pieces": [{"id": "files/3"}]},
    "attempts": ({"code": "rate_limited", "delivery": "refused"},),
    "secret": {"url": "https://media.example/x?signature=hush"},
}


@given(st.lists(st.sampled_from(["request", "plan", "target", "job", "outcome", "attempts", "secret", "result", "error"]), max_size=6))
def test_change_of_one_record_is_not_seen_in_another(columns: list[str]) -> None:
    store = BlockingStore(":memory:")
    lease = open_call(store)
    records = [store.advance(lease, "submitted", now=NOW + 1, **_WRITTEN), *store.calls(), *store.run("call_1")]
    for record in records:
        for column in columns:
            spoil(getattr(record, column))
            spoil(getattr(attrs.evolve(record, submits=2), column))
    for again in (store.get("call_1"), store.advance(lease, "running", now=NOW + 2), store.get("call_1")):
        assert again is not None
        assert again.request == {"kind": "generate_video", "prompt": "waves", "duration": 8, "references": [{"path": "a.png"}]}
        assert {name: getattr(again, name) for name in _WRITTEN} == _WRITTEN
        assert (again.result, again.error) == (None, None)


def spoil(value: Any) -> None:
    """Change all that can be changed in a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            spoil(inner)
        value["spoilt"] = True
    elif isinstance(value, list | tuple):
        for inner in value:
            spoil(inner)


@pytest.mark.parametrize(
    ("state", "changes", "quote", "charged"),
    [
        ("submitted", {"job": JOB}, (0.1, 0.4), None),
        ("done", {}, (0.1, 0.4), "yes"),
        ("done", {"cost_usd": 0.3}, None, "yes"),
        ("done", {"cost_usd": 0.0}, (0.1, 0.4), "no"),
        ("done", {}, (0, 0), "no"),
        ("unknown", {}, (0.1, 0.4), "unknown"),
        ("failed", {}, (0.1, 0.4), "no"),
        ("failed", {"error": {"code": "x", "charged": "unknown"}}, (0.1, 0.4), "unknown"),
        ("failed", {"cost_usd": 0.2}, (0.1, 0.4), "yes"),
        ("cancelled", {"error": {"code": "cancelled", "charged": "yes"}}, (0.1, 0.4), "yes"),
    ],
)
def test_record_says_whether_it_was_charged(store: BlockingStore, state: CallState, changes: Any, quote: Any, charged: str | None) -> None:
    lease = open_call(store, new_call(quote_usd=quote))
    if state == "done":
        store.advance(lease, "collecting", now=NOW + 1)
    assert store.advance(lease, state, now=NOW + 2, **changes).charged == charged


def test_record_copied_or_pickled_stays_equal(store: BlockingStore) -> None:
    open_call(store)
    record = store.get("call_1")
    assert record == copy.deepcopy(record) == pickle.loads(pickle.dumps(record))


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_state_follows_another_only_where_the_journal_has_it(store: BlockingStore, before: CallState, after: CallState) -> None:
    lease = open_call(store)
    bring(store, lease, before)
    row = store.get("call_1")
    if after in TRANSITIONS[before]:
        changes = {"job": JOB} if after in {"submitted", "running"} or before in {"failed", "cancelled"} else {}
        assert store.advance(lease, after, now=NOW + 2, **changes).state == after
    else:
        with pytest.raises(IllegalTransition):
            store.advance(lease, after, now=NOW + 2)
        assert store.get("call_1") == row


def test_every_named_column_is_written(store: BlockingStore) -> None:
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


def test_column_that_cannot_be_changed_is_refused(store: BlockingStore) -> None:
    lease = open_call(store)
    with pytest.raises(TypeError, match="idempotency_key"):
        store.advance(lease, "failed", now=NOW, idempotency_key="another")


def test_submitted_call_needs_the_providers_job(store: BlockingStore) -> None:
    lease = open_call(store)
    with pytest.raises(IllegalTransition, match="without the provider's job"):
        store.advance(lease, "submitted", now=NOW)


def test_job_once_recorded_cannot_be_taken_away(store: BlockingStore) -> None:
    lease = open_call(store)
    store.advance(lease, "submitted", now=NOW, job=JOB)
    with pytest.raises(IllegalTransition, match="without the provider's job"):
        store.advance(lease, "collecting", now=NOW, job=None)
    record = store.get("call_1")
    assert record is not None and record.job == JOB


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_final_state_wipes_the_secret_and_ends_the_lease(store: BlockingStore, state: CallState) -> None:
    lease = open_call(store)
    store.advance(lease, "submitting", now=NOW, secret={"url": "https://media.example/?signature=hush"})
    bring(store, lease, state)
    record = store.get("call_1")
    assert record is not None
    assert (record.secret, record.owner, record.lease_until) == (None, None, 0.0)
    assert "hush" not in repr(record)
    assert store.claim("call_1", owner="you", lease_seconds=10, now=NOW + DAY) is None


def test_what_is_read_can_be_changed_without_changing_what_is_kept(store: BlockingStore) -> None:
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
def test_media_bytes_and_what_is_not_json_are_refused(store: BlockingStore, request_json: Any) -> None:
    with pytest.raises(PluginContractError, match="call_1"):
        open_call(store, new_call(request=request_json))
    assert store.get("call_1") is None
    assert store.spend().calls == 0


def test_bytes_in_a_job_are_refused_and_the_record_stays(store: BlockingStore) -> None:
    lease = open_call(store)
    row = store.get("call_1")
    with pytest.raises(PluginContractError, match="without bytes"):
        store.advance(lease, "submitted", now=NOW, job={"id": "1", "data": {"raw": b"1"}})
    assert store.get("call_1") == row


def test_same_call_cannot_be_opened_twice_even_after_it_was_forgotten(store: BlockingStore) -> None:
    lease = open_call(store)
    with pytest.raises(InvalidRequest, match="call_1"):
        open_call(store)
    bring(store, lease, "failed")
    store.forget("call_1")
    with pytest.raises(InvalidRequest, match="call_1"):
        open_call(store)


def test_records_come_newest_first_and_can_be_chosen(store: BlockingStore) -> None:
    for i in range(5):
        bring(store, open_call(store, new_call(f"c{i}"), at=NOW + i // 2), "done" if i % 2 else "running")
    assert [r.id for r in store.calls()] == ["c4", "c3", "c2", "c1", "c0"]
    assert [r.id for r in store.calls(states=["done"])] == ["c3", "c1"]
    assert [r.id for r in store.calls(states=["done", "running"], since=NOW + 1)] == ["c4", "c3", "c2"]
    assert [r.id for r in store.calls(limit=2)] == ["c4", "c3"]
    assert list(store.calls(states=[])) == []
    assert list(store.calls(limit=0)) == []


def test_run_lists_its_calls_in_order(store: BlockingStore) -> None:
    for index in (2, 0, 1):
        open_call(store, new_call(f"c{index}", run="r", index=index))
    open_call(store, new_call("other"))
    assert [r.id for r in store.run("r")] == ["c0", "c1", "c2"]
    assert list(store.run("nowhere")) == []


def test_newest_200_durations_are_kept_per_key(store: BlockingStore) -> None:
    for i in range(203):
        store.add_duration("google/veo-4/8s", float(i))
    store.add_duration("openai/gpt-image-2", 12.5)
    assert list(store.durations("google/veo-4/8s")) == [float(i) for i in range(3, 203)]
    assert list(store.durations("openai/gpt-image-2")) == [12.5]
    assert list(store.durations("nothing")) == []


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
def test_time_of_a_clock_that_jumped_is_left_out(store: BlockingStore, seconds: float) -> None:
    store.add_duration("k", seconds)
    assert list(store.durations("k")) == []


def test_closed_store_says_so(store: BlockingStore) -> None:
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


def test_run_key_belongs_to_one_run_of_a_realm_and_outlives_its_records(store: BlockingStore) -> None:
    keyed = {"run_key": "order-17", "request_digest": "d"}
    leases = {"call_1": open_call(store, new_call("call_1", run="run_1", **keyed))}
    assert store.run_key("order-17") == RunKey(key="order-17", run="run_1", digest="d")
    with pytest.raises(RunKeyTaken):
        open_call(store, new_call("call_2", run="run_2", **keyed))
    assert store.get("call_2") is None
    open_call(store, new_call("call_3", run="run_3", realm="another", **keyed))
    leases["call_4"] = open_call(store, new_call("call_4", run="run_1", **keyed))  # another call of the same run
    for name, lease in leases.items():
        store.advance(lease, "cancelled")
        store.forget(name)
    found = store.run_key("order-17")
    assert found is not None
    assert found.forgotten_at is not None
    with pytest.raises(RunKeyTaken):
        open_call(store, new_call("call_5", run="run_1", **keyed))
    store.drop_run_keys("run_1", "other-")
    assert store.run_key("order-17") == found
    store.drop_run_keys("run_1", "order-")
    assert store.run_key("order-17") is None
