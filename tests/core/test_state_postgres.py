"""The store in PostgreSQL: whose clock counts, what a lost connection leaves, who may create the tables, what is said when it fails."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import postgres
import psycopg
import pytest
from clocks import FastClock
from core.fake_service import FakeService, png
from core.routing import fake_registry, fake_settings
from state_samples import new_call

from anymedia import Router
from anymedia.errors import BudgetExceeded, SettingsError
from anymedia.policy import Budget
from anymedia.settings import load_settings
from anymedia.state import schema
from anymedia.state.postgres import PostgresConnection, PostgresDatabase, PostgresStore
from anymedia.state.sql import Store
from anymedia.state.sqlite import SqliteStore, store_at
from anymedia.state.store import CallRecord, LeaseLost, NewCall, StateBusy, StateDamaged, StateError, StateTooNew, StateUnreachable

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
FREE = Budget()
slow = pytest.mark.exhaustive


async def sending(store: Store, call: NewCall, budget: Budget = FREE, owner: str = "me") -> CallRecord:
    """Open a call, and begin its submit."""
    record = await store.open_call(call, budget, owner=owner, lease_seconds=60)
    return await store.advance(record.lease, "submitting", submits=1)


@pytest.fixture
def url() -> str:
    return postgres.server().new()


@pytest.fixture
async def shared(url: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(url, busy_seconds=20)
    yield made
    await made.aclose()


async def test_request_is_carried_out_with_a_journal_in_postgresql(url: str, tmp_path: Any) -> None:
    with FakeService() as service:
        settings = fake_settings(service, state=tmp_path)
        async with Router(settings=settings, registry=fake_registry(), store=url, clock=FastClock()) as router:
            result = await router.generate_image(prompt="a fox", output=tmp_path / "a.png")
            assert result.path.read_bytes() == png()
            assert [record.state for record in await router.jobs()] == ["done"]
        assert not (tmp_path / "state.db").exists()
        assert len(service.submits) == 1


@slow
async def test_times_are_the_servers_whatever_the_callers_clock_says(shared: PostgresStore, url: str, monkeypatch: Any) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 600)
    record = await shared.open_call(new_call(), FREE, owner="me", lease_seconds=60)
    assert abs(record.created_at - real()) < 120
    other = PostgresStore(url)
    monkeypatch.setattr(time, "time", lambda: real() - 600)
    assert await other.claim(record.id, owner="you", lease_seconds=60) is None
    assert abs((await other.calls())[0].read_at - real()) < 120
    await other.aclose()


@slow
async def test_tables_have_the_columns_and_the_order_of_sqlites(shared: PostgresStore) -> None:
    local = SqliteStore()

    def of_postgres(connection: Any) -> set[tuple[str, str]]:
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        return set(connection.execute(query).fetchall())

    def of_sqlite(connection: Any) -> set[tuple[str, str]]:
        query = "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'"
        return {row for row in connection.execute(query).fetchall() if not row[0].startswith("sqlite_")}

    assert await shared._database.read(of_postgres) == await local._database.read(of_sqlite)
    assert len(await shared.account_key()) == 32
    await local.aclose()


@slow
async def test_schema_of_its_own_is_created_without_options() -> None:
    plain = postgres.server().url().partition("&options")[0]
    store = PostgresStore(plain)
    assert list(await store.calls()) == []
    assert await store._database.read(lambda c: c.execute("SELECT to_regclass('anymedia.calls')::text").fetchone()) == ("calls",)
    await store.aclose()
    with psycopg.connect(plain) as connection:
        connection.execute("DROP SCHEMA anymedia CASCADE")


@slow
async def test_tables_of_a_newer_version_or_of_another_program_are_refused(shared: PostgresStore, url: str) -> None:
    await shared.open()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'version'")
    newer = PostgresStore(url)
    with pytest.raises(StateTooNew, match=f"format 99; this one reads up to {schema.SCHEMA_VERSION}"):
        await newer.calls()
    await newer.aclose()
    other = postgres.server().new()
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("CREATE TABLE calls (phone TEXT)")
    foreign = PostgresStore(other)
    with pytest.raises(StateDamaged, match="not those of anymedia"):
        await foreign.calls()
    await foreign.aclose()


@slow
async def test_tables_of_an_earlier_version_are_migrated_unless_a_call_is_being_processed(
    shared: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await sending(shared, new_call(), owner="4711-cafe")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM budgets")  # summed up again from the ledger
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS, ("ALTER TABLE slots ADD COLUMN weight INTEGER NOT NULL DEFAULT 1",)))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    newer = PostgresStore(url)
    with pytest.raises(StateBusy, match="process 4711"):
        await newer.calls()
    await shared.advance(record.lease, "unknown")
    await shared.release(record.lease)
    with pytest.raises(BudgetExceeded, match=r"0\.1 USD is left"):
        await newer.open_call(new_call("second", quote_usd=(0.2, 0.2)), Budget(per_day=0.5), owner="me", lease_seconds=60)
    assert await newer._database.read(lambda c: c.execute("SELECT count(weight) FROM slots").fetchone()) == (0,)
    again = PostgresStore(url)
    assert [found.id for found in await again.calls()] == [record.id]
    for store in (newer, again):
        await store.aclose()


@slow
async def test_process_that_finds_the_tables_made_meanwhile_changes_nothing(
    shared: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shared.open_call(new_call(), FREE, owner="me", lease_seconds=60)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE budgets SET amount = 7")  # as totals that calls in progress are adding to
    answers, version = [0], PostgresDatabase._version
    monkeypatch.setattr(PostgresDatabase, "_version", lambda self, connection: answers.pop() if answers else version(self, connection))
    late = PostgresStore(url)
    assert await late._database.read(lambda c: c.execute("SELECT DISTINCT amount FROM budgets").fetchall()) == [(7,)]
    assert answers == []
    await late.aclose()


@slow
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush-hush pw@db/media",
        "postgresql://me:hush-hush%zz@db/media",
        "postgresql:/me:hush-hush@db/media",
        "postgresql://me:hush-hush@[db/media",
        "postgresql://me@db/media?hush-hush=1",
    ],
)
def test_address_that_is_not_valid_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StateError, match="address of the PostgreSQL store is not valid") as caught:
        PostgresStore(url)
    assert "hush" not in str(caught.value) + caught.value.fix


def test_identity_of_a_database_has_no_password() -> None:
    database = PostgresDatabase("postgresql://me:hush@db/media?sslpassword=hush", busy_seconds=1, clock=None)
    assert "hush" not in database.identity + database.name


async def test_server_that_is_not_there_is_named_without_the_password() -> None:
    store = PostgresStore("postgresql://someone:hush@/media?host=/nowhere")
    with pytest.raises(StateUnreachable, match="'media' at /nowhere cannot be reached") as caught:
        await store.calls()
    assert caught.value.retry
    assert "hush" not in str(caught.value) + store.identity
    await store.aclose()


@slow
async def test_killed_server_comes_back_under_load_and_every_confirmed_change_is_there(shared: PostgresStore) -> None:
    """The server is killed again and again while calls are opened and submitted; the store carries on with the next one."""
    done: list[str] = []

    async def work(name: str) -> None:
        for number in range(8):
            call = new_call(f"{name}-{number}", quote_usd=(0.0, 0.1))
            record = await sending(shared, call, Budget(per_day=50), name)
            await shared.advance(record.lease, "submitted", job={"id": f"job-{record.id}"})
            await shared.advance(record.lease, "collecting")
            await shared.advance(record.lease, "done", cost_usd=0.05)
            done.append(record.id)

    async def restart() -> None:
        server = postgres.server()
        for _ in range(3):
            before = len(done)
            while len(done) < min(before + 4, 32):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            await asyncio.sleep(0.1)  # statements fail meanwhile
            server.start()  # from the main thread: it dies with the thread that started it

    await asyncio.gather(restart(), *(work(name) for name in "abcd"))
    records = {record.id: record for record in await shared.calls()}
    assert sorted(records) == sorted(done)
    assert {record.state for record in records.values()} == {"done"}
    spent = await shared.spend()
    assert (spent.reserved_usd, spent.committed_usd, spent.calls) == (0.0, pytest.approx(1.6), 32)
    with pytest.raises(BudgetExceeded, match=r"of the cap per_day of 2 USD, 0\.4 USD is left"):
        await shared.open_call(new_call("more", quote_usd=(0.5, 0.5)), Budget(per_day=2), owner="me", lease_seconds=60)


def lose_after(monkeypatch: pytest.MonkeyPatch, store: PostgresStore, when: Callable[[str], bool]) -> list[str]:
    """Let the connection be lost once, just after a COMMIT (or just before it) that meets a condition."""
    lost: list[str] = []
    original = PostgresConnection.end

    def end(self: PostgresConnection, how: str) -> None:
        if lost or how != "COMMIT" or not store._database._prepared:
            return original(self, how)
        lost.append(how)
        if when("after"):
            original(self, how)
        self.raw.close()
        raise psycopg.OperationalError("the connection was lost")

    monkeypatch.setattr(PostgresConnection, "end", end)
    return lost


@slow
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_change_whose_commit_was_not_answered_is_made_exactly_once(
    shared: PostgresStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await shared.open()

    def lose() -> list[str]:
        return lose_after(monkeypatch, shared, lambda when: when == moment)

    with monkeypatch.context():
        lost = lose()
        record = await shared.open_call(new_call(quote_usd=(0.0, 0.5)), Budget(per_day=1), owner="me", lease_seconds=60)
        assert (lost, record.state, record.fence) == (["COMMIT"], "queued", 1)
    assert (await shared.spend()).calls == 1
    for state, changes in (
        ("submitting", {"submits": 1}),
        ("submitted", {"job": {"id": "1"}}),
        ("collecting", {}),
        ("done", {"cost_usd": 0.25}),
    ):
        lost = lose()
        advanced = await shared.advance(record.lease, state, **changes)  # type: ignore[arg-type]
        assert (lost, advanced.state) == (["COMMIT"], state)
    lose()
    await shared.add_duration("k", 1.0)
    lose()
    await shared.forget(record.id)
    assert await shared.get(record.id) is None
    spent = await shared.spend()
    assert (spent.reserved_usd, spent.committed_usd, spent.calls) == (0.0, 0.25, 1)
    (total,) = await shared._database.read(lambda c: c.execute("SELECT amount FROM budgets WHERE scope = 'all'").fetchone())
    assert total == 250_000_000


@slow
async def test_lock_held_for_too_long_is_reported_busy(url: str) -> None:
    store = PostgresStore(url, busy_seconds=0.1)
    record = await store.open_call(new_call(), FREE, owner="me", lease_seconds=60)
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM calls FOR UPDATE")
        with pytest.raises(StateBusy, match=r"more than 0\.1 s") as caught:
            await store.advance(record.lease, "failed")
        assert (caught.value.charged, caught.value.retry) == ("unknown", True)
    assert (await store.advance(record.lease, "failed")).state == "failed"
    await store.aclose()


@slow
async def test_text_that_postgresql_cannot_store_is_stored_escaped(shared: PostgresStore) -> None:
    record = await shared.open_call(new_call(project="a\0b", run_key="k\0"), FREE, owner="me", lease_seconds=60)
    assert (await shared.calls())[0].project == "a\\x00b"
    found = await shared.run_key("k\0")
    assert found is not None and found.run == record.run
    assert await shared.get("call\0") is None


@slow
async def test_provider_job_that_two_processes_record_at_once_is_a_conflict_of_one(url: str) -> None:
    stores = [PostgresStore(url) for _ in range(6)]
    records = [await sending(store, new_call(f"call_{i}", account="same")) for i, store in enumerate(stores)]
    advanced = await asyncio.gather(
        *(store.advance(record.lease, "submitted", job={"id": "17"}) for store, record in zip(stores, records, strict=True))
    )
    assert sorted(record.conflict is None for record in advanced) == [False] * 5 + [True]
    for store in stores:
        await store.aclose()


@slow
async def test_slots_of_an_account_are_never_exceeded_by_several_processes(url: str) -> None:
    stores = [PostgresStore(url) for _ in range(4)]
    for number in range(24):
        await stores[0].open_call(new_call(f"c{number}"), FREE, owner="me", lease_seconds=600)

    async def take(number: int) -> float:
        return await stores[number % 4].take_slot(f"c{number}", "account", most=5, per_minute=None)

    for _ in range(3):
        await asyncio.gather(*(take(number) for number in range(24)))
    (granted,) = await stores[0]._database.read(lambda c: c.execute("SELECT count(*) FROM slots WHERE granted_at IS NOT NULL").fetchone())
    assert granted == 5
    for store in stores:
        await store.aclose()


def test_store_of_the_settings_is_a_url_without_a_password(tmp_path: Any) -> None:
    def read(store: str) -> Any:
        (tmp_path / "config.toml").write_text(f'[fleet]\nstore = "{store}"\n')
        return load_settings(environ={}, files=[tmp_path / "config.toml"])

    assert read("postgresql://anymedia@db/media").journal == "postgresql://anymedia@db/media"
    assert attrs.evolve(read("postgresql://db/media"), fleet_store=None).journal == read("postgres://db/m").state_dir / "state.db"
    with pytest.raises(SettingsError, match="not a PostgreSQL database"):
        store_at("mysql://db/media")
    for wrong, message in (
        ("mysql://db/media", "expected a URL"),
        ("postgres:/media", "expected a URL"),
        ("postgresql://a:hush@db/media", "PGPASSWORD"),
        ("postgresql://db/media?password=hush", "PGPASSWORD"),
        ("postgresql://db/media?sslpassword=hush", "PGPASSWORD"),
    ):
        with pytest.raises(SettingsError, match=message) as caught:
            read(wrong)
        assert "hush" not in str(caught.value)


def test_store_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "anymedia.state.postgres", None)
    with pytest.raises(SettingsError) as caught:
        store_at("postgresql://db/media")
    assert "anymedia[fleet]" in caught.value.fix


@slow
async def test_call_that_is_known_is_changed_without_being_read_and_never_over_a_later_change(shared: PostgresStore, url: str) -> None:
    record = await sending(shared, new_call())
    await shared.advance(record.lease, "submitted", job={"id": "vid-1"})
    known = dict(shared._known)
    await shared.advance(record.lease, "submitted", account="0123 http://a")
    shared._known.update(known)  # as a process would have it that missed the last change
    running = await shared.advance(record.lease, "running")
    assert (running.state, running.job, running.account) == ("running", {"id": "vid-1"}, "0123 http://a")
    assert await shared.get(record.id) == running
    other = PostgresStore(url)
    await shared.release(record.lease)
    claimed = await other.claim(record.id, owner="other", lease_seconds=60)
    assert claimed is not None
    shared._known.update(known)
    with pytest.raises(LeaseLost):
        await shared.advance(record.lease, "running")
    assert await other.get(record.id) == claimed
    await other.aclose()
