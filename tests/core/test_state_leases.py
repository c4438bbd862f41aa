"""Who may change a row: leases, for the durable store and the one in memory alike."""

from __future__ import annotations

import pytest
from blocking_store import BlockingStore
from state_calls import JOB, bring, open_call
from state_samples import NOW

from anymedia.errors import UnknownJob
from anymedia.state.store import Lease, LeaseLost


def test_valid_lease_cannot_be_claimed_by_another_owner(store: BlockingStore) -> None:
    open_call(store, lease_seconds=60)
    assert store.claim("call_1", owner="you", lease_seconds=60, now=NOW + 59) is None


def test_lease_that_ran_out_can_be_claimed_and_the_late_owner_changes_nothing(store: BlockingStore) -> None:
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


def test_lease_that_ran_out_unclaimed_still_serves_its_owner(store: BlockingStore) -> None:
    lease = open_call(store, lease_seconds=1)
    assert store.advance(lease, "submitted", now=NOW + 500, job=JOB).state == "submitted"


def test_ones_own_call_can_be_claimed_again_which_ends_the_earlier_lease(store: BlockingStore) -> None:
    first = open_call(store)
    second = store.claim("call_1", owner="me", lease_seconds=60, now=NOW + 1)
    assert second is not None
    with pytest.raises(LeaseLost):
        store.advance(first, "failed", now=NOW + 2)
    assert store.advance(second, "failed", now=NOW + 2).state == "failed"


def test_renewed_lease_lasts_longer(store: BlockingStore) -> None:
    lease = open_call(store, lease_seconds=60)
    renewed = store.renew(lease, lease_seconds=60, now=NOW + 50)
    assert (renewed.until, renewed.fence) == (NOW + 110, lease.fence)
    assert store.claim("call_1", owner="you", lease_seconds=60, now=NOW + 100) is None


def test_renewing_after_the_end_is_quiet_and_takes_nothing(store: BlockingStore) -> None:
    lease = open_call(store)
    bring(store, lease, "done")
    store.renew(lease, lease_seconds=60, now=NOW + 2)
    record = store.get("call_1")
    assert record is not None and record.owner is None


def test_released_lease_is_free_at_once_and_of_no_use_any_more(store: BlockingStore) -> None:
    lease = open_call(store)
    store.release(lease)
    with pytest.raises(LeaseLost):
        store.advance(lease, "failed", now=NOW)
    store.release(lease)
    assert store.claim("call_1", owner="you", lease_seconds=60, now=NOW) is not None


def test_call_that_is_not_there_cannot_be_claimed_and_its_lease_is_lost(store: BlockingStore) -> None:
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


def test_lease_is_held_until_another_owner_claims_it_or_the_call_is_forgotten(store: BlockingStore) -> None:
    lease = open_call(store, lease_seconds=60)
    assert store.holds(lease)
    store.advance(lease, "submitting", now=NOW + 1, submits=1)
    assert store.holds(lease)
    taken = store.claim("call_1", owner="you", lease_seconds=60, now=NOW + 61)
    assert taken is not None and store.holds(taken) and not store.holds(lease)
    store.advance(taken, "failed", now=NOW + 62)
    assert store.holds(taken)  # it ended under this very lease
    store.forget("call_1")
    assert not store.holds(taken)
