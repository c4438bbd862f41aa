"""A journal of each earlier version: migrated under the write lock, backed up, and its running job delivered."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import time
from pathlib import Path

import pytest
from clocks import FastClock
from core.fake_service import FakeService, mp4
from core.routing import fake_router, fake_settings
from state_samples import new_call

from anymedia import SqliteStore
from anymedia.policy import Budget
from anymedia.state.schema import SCHEMA_VERSION
from anymedia.state.store import LOCAL_REALM, UNKNOWN_ACCOUNT, CallRecord, StateBusy

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
#: Written by the version itself: the journal of the first edition, then the same after each migration.
JOURNALS = {1: "first_edition.sql", 2: "version_2.sql", 3: "version_3.sql", 4: "version_4.sql", 5: "version_5.sql"}


@pytest.fixture(params=JOURNALS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def journal(version: int, tmp_path: Path) -> Path:
    """A journal of an earlier version: done, refused, unknown and cancelled calls, and two running ones with one job."""
    path = tmp_path / "state.db"
    text = Path(__file__).with_name("journals").joinpath(JOURNALS[version]).read_text()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(text.replace("@FOLDER@", str(tmp_path)))
    return path


def test_every_earlier_version_has_a_journal_to_migrate() -> None:
    assert list(JOURNALS) == list(range(1, SCHEMA_VERSION))


async def by_prompt(store: SqliteStore) -> dict[str, CallRecord]:
    return {str(record.request["prompt"]): record for record in await store.calls()}


async def test_migrated_records_keep_their_state_and_belong_to_the_local_user(journal: Path) -> None:
    store = SqliteStore(journal)
    records = await by_prompt(store)
    assert {prompt: record.state for prompt, record in records.items()} == {
        "a red fox": "done",
        "refused": "refused",
        "unknown outcome": "unknown",
        "waves": "running",
        "clouds": "running",
        "to be cancelled": "cancelled",
    }
    assert {(record.realm, record.account) for record in records.values()} == {(LOCAL_REALM, UNKNOWN_ACCOUNT)}
    spent = await store.spend()
    assert (spent.reserved_usd, spent.committed_usd, spent.calls) == (pytest.approx(0.5), pytest.approx(0.28), 6)
    for view in (store, store.scoped(LOCAL_REALM)):
        assert (await view.load_continuation("fake_img_55c07417898d")).model == "still"
    latest = await store.latest_continuation()
    assert latest is not None and latest.files[0].path.endswith("fox.png")
    await store.aclose()


async def test_migration_records_the_second_call_of_a_provider_job_as_a_conflict(journal: Path) -> None:
    store = SqliteStore(journal)
    records = await by_prompt(store)
    assert records["clouds"].conflict == records["waves"].id
    assert [record.conflict for prompt, record in records.items() if prompt != "clouds"] == [None] * 5
    assert await store.call_of_job("fake", "an account", "vid-2") == records["waves"].id
    await store.aclose()


def schema_of(path: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


async def test_migration_backs_the_file_up_for_the_owner_only(journal: Path, version: int) -> None:
    before = schema_of(journal)
    store = SqliteStore(journal)
    await store.calls()
    await store.aclose()
    backup = journal.with_name(f"state.db.v{version}")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert schema_of(backup) == before
    with contextlib.closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (6,)


async def test_migrated_call_that_was_not_sent_is_queued_and_can_be_sent(version: int, journal: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        connection.execute(
            "UPDATE calls SET state = ?, submits = 0, job = NULL, error = NULL, cost_usd = NULL, owner = 'gone', attempts = '[]'"
            " WHERE json_extract(request, '$.prompt') = 'to be cancelled'",
            ("submitting" if version < 5 else "queued",),
        )
        connection.commit()
    with FakeService() as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(journal), clock=FastClock()) as router:
            (queued,) = await router.jobs(["queued"])
            result = await router.resume(queued.id)
            assert (result.job_id, len(service.submits), (await router.job(queued.id)).state) == (queued.run, 1, "done")


async def test_migrated_totals_count_towards_the_cap_of_the_day_they_were_spent(journal: Path) -> None:
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        ((when,),) = connection.execute("SELECT max(created_at) FROM ledger").fetchall()
    store = SqliteStore(journal, clock=lambda: float(when) + 1)
    call = new_call("one more", quote_usd=(0.1, 0.1))
    with pytest.raises(Exception, match=r"of the cap per_day of 0\.8 USD, 0\.02 USD is left"):
        await store.open_call(call, Budget(per_day=0.8), owner="me", lease_seconds=60)
    await store.open_call(call, Budget(per_day=0.9), owner="me", lease_seconds=60)
    await store.aclose()


async def test_migration_is_refused_while_a_process_of_the_earlier_version_processes_a_call(journal: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        connection.execute(
            "UPDATE calls SET owner = '4711-cafe', lease_until = ? WHERE json_extract(request, '$.prompt') = 'waves'", (time.time() + 50,)
        )
        connection.commit()
    before = schema_of(journal)
    store = SqliteStore(journal)
    with pytest.raises(StateBusy, match="process 4711") as caught:
        await store.calls()
    assert "Stop that process" in caught.value.fix
    await store.aclose()
    assert schema_of(journal) == before
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)


async def test_running_job_of_an_earlier_version_is_delivered(journal: Path, tmp_path: Path) -> None:
    with FakeService() as service:
        service.jobs["vid-2"] = {"label": "-", "left": 0, "looks": 0}
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(journal), clock=FastClock()) as router:
            waves = next(record for record in await router.jobs() if record.request["prompt"] == "waves")
            result = await router.resume(waves.id)
            assert result.path == tmp_path / "waves.mp4"
            assert result.path.read_bytes() == mp4()
            assert (await router.job(waves.id)).state == "done"
        assert service.submits == []
