"""The store and the event loop: a lock held elsewhere, a cancelled caller, renewals, one job of two calls."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from blocking_store import store_at
from core.fake_service import FakeService
from core.routing import fake_router, fake_settings
from state_samples import new_call

from anymedia import GenerateImage, SqliteStore, SyncRouter
from anymedia.errors import BackendTimeout, UnknownJob
from anymedia.policy import Budget
from anymedia.state.sql import Store
from anymedia.state.store import CallRecord

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


@contextlib.contextmanager
def locked(place: Path | str) -> object:
    """Hold the write lock of a journal, as a backup or a stopped process does."""
    if isinstance(place, str):
        import psycopg

        with psycopg.connect(place) as connection:
            connection.execute("LOCK TABLE calls, ledger IN EXCLUSIVE MODE")
            yield
        return
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def opened(store: Store, name: str) -> CallRecord:
    record = await store.open_call(new_call(name), Budget(), owner="me", lease_seconds=60)
    return await store.advance(record.lease, "submitting")


async def test_lock_held_elsewhere_delays_neither_the_event_loop_nor_readers(place: Path | str) -> None:
    store = store_at(place)
    await opened(store, "before")
    with locked(place):
        writing = asyncio.create_task(opened(store, "waiting"))
        for _ in range(20):  # a read or a turn of the event loop that waits for the lock waits for ever
            assert [record.id for record in await store.calls()] == ["before"]
            await asyncio.sleep(0)
        assert not writing.done()
    await writing
    assert {record.id for record in await store.calls()} == {"before", "waiting"}
    await store.aclose()


async def test_call_that_waits_for_a_lock_keeps_its_deadline_and_reserves_nothing(place: Path | str, tmp_path: Path) -> None:
    with FakeService() as service:
        settings = fake_settings(service, state=tmp_path / "state")
        patient = store_at(place, busy_seconds=3600)
        async with fake_router(service, settings=settings, store=patient) as router, asyncio.timeout(60):
            await router.generate_image(prompt="first")
            with locked(place), pytest.raises(BackendTimeout, match="nothing was spent"):
                await router.generate_image(prompt="second", deadline=0.2)
            assert len(service.submits) == 1
            assert len(await router.jobs()) == 1
            assert (await router.store.spend()).reserved_usd == 0


async def test_cancelled_open_call_changes_nothing_while_it_waits_for_a_lock(place: Path | str) -> None:
    store = store_at(place, busy_seconds=3600)
    await opened(store, "before")
    with locked(place):
        first, second = (asyncio.create_task(opened(store, name)) for name in ("running", "queued"))
        await asyncio.sleep(0.1)
        for task in (first, second):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(60):
                    await task
    assert [record.id for record in await store.calls()] == ["before"]
    await store.aclose()


async def test_cancelled_advance_is_completed_before_the_cancellation_is_raised(place: Path | str) -> None:
    store = store_at(place)
    record = await opened(store, "paid")
    with locked(place):
        advancing = asyncio.create_task(store.advance(record.lease, "submitted", job={"id": "17"}))
        await asyncio.sleep(0.05)
        advancing.cancel()
        await asyncio.sleep(0.05)
        assert not advancing.done()
    with pytest.raises(asyncio.CancelledError):
        await advancing
    found = await store.get("paid")
    assert found is not None and (found.state, found.job) == ("submitted", {"id": "17"})
    await store.aclose()


async def test_one_statement_renews_all_leases_and_leaves_out_the_lost_ones(place: Path | str) -> None:
    now = [1000.0]
    store = store_at(place, clock=lambda: now[0])
    kept, ended, lost = [await opened(store, name) for name in ("kept", "ended", "lost")]
    await store.advance(ended.lease, "failed")
    now[0] += 61
    assert await store.claim("lost", owner="you", lease_seconds=60) is not None
    renewed = await store.renew([kept.lease, ended.lease, lost.lease], lease_seconds=60)
    assert [lease.call_id for lease in renewed] == ["kept", "ended"]
    found = {record.id: record for record in await store.calls()}
    assert (found["kept"].owner, found["kept"].lease_until) == ("me", now[0] + 60)
    assert (found["ended"].owner, found["lost"].owner) == (None, "you")
    await store.aclose()


@pytest.mark.parametrize(
    ("accounts", "conflict"), [(("a", "a"), True), (("a", "b"), False), (("unknown", "a"), True), (("a", "unknown"), True)]
)
async def test_provider_job_of_two_calls_of_an_account_is_a_conflict_of_the_second(
    place: Path | str, accounts: tuple[str, str], conflict: bool
) -> None:
    store = store_at(place)
    records = []
    for name, account in zip(("first", "second"), accounts, strict=True):
        record = await store.open_call(new_call(name, account=account), Budget(), owner="me", lease_seconds=60)
        await store.advance(record.lease, "submitting")
        records.append(await store.advance(record.lease, "submitted", job={"id": "job-1"}))
    assert [record.conflict for record in records] == [None, "first" if conflict else None]
    assert records[1].state == "submitted"  # a conflict is recorded, and never raised
    await store.aclose()


def test_sync_router_runs_from_a_script_and_is_closed_with_its_thread(tmp_path: Path) -> None:
    with FakeService() as service:
        from core.routing import fake_registry

        with SyncRouter(settings=fake_settings(service, state=tmp_path), registry=fake_registry(), store=SqliteStore()) as router:
            plan = router.plan(GenerateImage(prompt="a fox"))
            assert router.run(plan, output=tmp_path / "a.png").path.exists()
            assert router.generate_image(prompt="a fox", output=tmp_path / "b.png").path.exists()
            job = router.jobs()[0]
            assert router.job(job.id).state == router.run_status(job.id).state == "done"
            assert router.result_if_done(job.id) == router.wait(job.id) == router.resume(job.id)
            assert router.is_active(job.id) is False
            router.forget(job.id)
            with pytest.raises(UnknownJob):
                router.job(job.id)
    with pytest.raises(RuntimeError, match="closed"):
        router.jobs()
    router.close()


async def test_sync_router_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    from core.routing import fake_registry

    with FakeService() as service:
        router = SyncRouter(settings=fake_settings(service, state=tmp_path), registry=fake_registry(), store=SqliteStore())
        assert router.generate_image(prompt="a fox", output=tmp_path / "a.png").path.exists()
        router.close()


async def test_video_with_ten_status_checks_takes_few_store_operations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, done = SqliteStore(), []
    database = store._database
    for name in ("read", "write"):
        operation = getattr(database, name)
        monkeypatch.setattr(database, name, lambda work, operation=operation, **more: done.append(work) or operation(work, **more))
    with FakeService(looks=10) as service:
        async with fake_router(service, store=store, settings=fake_settings(service, state=tmp_path)) as router:
            done.clear()
            await router.generate_video(prompt="waves")
            assert len([request for request in service.http.received if request.method == "GET"]) == 11
            assert len(done) <= 10  # one is the key for accounts, read once per router; and 6 renewals in two minutes
