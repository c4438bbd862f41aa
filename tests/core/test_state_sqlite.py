"""The journal file: who may read it, what is left in it, and what is said when it cannot be used."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocking_store import BlockingStore
from state_samples import NOW, fill, new_call, opened

from anymedia.policy import Budget
from anymedia.state.schema import SCHEMA_VERSION
from anymedia.state.store import StateBusy, StateDamaged, StateNotWritable, StateTooNew

posix = pytest.mark.skipif(os.name != "posix", reason="modes and forks are POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "anymedia" / "journal.db"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
def test_file_and_what_lies_beside_it_are_the_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as store:
            fill(store)
            names = sorted(p.name for p in path.parent.iterdir())
            assert names == ["journal.db", "journal.db-shm", "journal.db-wal"]
            assert {mode(p) for p in path.parent.iterdir()} == {0o600}
            assert mode(path.parent) == 0o700
    finally:
        os.umask(before)


@posix
def test_file_that_others_could_read_is_made_private(path: Path) -> None:
    with opened(path) as store:
        store.calls()
    path.chmod(0o644)
    with opened(path) as store:
        store.calls()
        assert mode(path) == 0o600


@posix
def test_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    with opened(shared / "journal.db") as store:
        store.calls()
        assert mode(shared) == 0o755


def test_it_is_durable_and_shared(path: Path) -> None:
    with opened(path) as store:
        fill(store)
    with contextlib.closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with opened(path) as store:
        assert store.read("PRAGMA synchronous") == (2,)
        assert store.read("PRAGMA secure_delete") == (1,)
        assert store.read("PRAGMA busy_timeout") == (30_000,)


def test_signed_url_leaves_the_file_once_the_call_has_ended(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        lease = store.claim("call_1", owner="me", lease_seconds=60, now=NOW)
        assert lease is not None
        assert store.advance(lease, "collecting", now=NOW).secret is not None
        store.advance(lease, "done", now=NOW, secret={"url": "https://media.example/?signature=hush"})
    assert b"hush" not in path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["journal.db"]


def test_two_stores_see_each_others_records_at_once(path: Path) -> None:
    with opened(path) as one, opened(path) as other:
        fill(one)
        record = other.get("call_1")
        assert record == one.get("call_1")
        assert record is not None and record.job == {"id": "17"}


# --- files that cannot be used


def test_text_where_a_journal_should_be_is_named_damaged(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("this is a shopping list\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StateDamaged, match=r"journal\.db.*damaged, or not a journal") as caught:
        BlockingStore(path).calls().calls()
    assert "ANYMEDIA_STATE" in caught.value.fix
    assert path.read_bytes() == before


def test_database_of_another_program_is_refused_and_left_unchanged(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE recipes (name)")
        foreign.commit()
    before = path.read_bytes()
    with pytest.raises(StateDamaged, match="not a journal of anymedia"):
        BlockingStore(path).calls()
    assert path.read_bytes() == before


def test_damaged_page_is_a_clear_error_not_a_wrong_answer(path: Path) -> None:
    with opened(path) as store:
        for i in range(60):
            fill(store, f"call_{i}")
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with opened(path) as store, pytest.raises(StateDamaged, match="damaged"):
        store.calls()


def test_journal_of_a_newer_version_is_refused(path: Path) -> None:
    with opened(path) as store:
        store.calls()
    with contextlib.closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA user_version = 99")
    with pytest.raises(StateTooNew, match=f"newer anymedia \\(format 99; this one reads up to {SCHEMA_VERSION}\\)") as caught:
        BlockingStore(path).calls()
    assert "Update anymedia" in caught.value.fix


def test_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StateNotWritable, match=r"journal\.db"):
        BlockingStore(path).calls()


@posix
def test_pipe_in_place_of_the_file_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(StateNotWritable, match="not a regular file"):
        BlockingStore(path).calls()


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateNotWritable, match="cannot be created or opened"):
        BlockingStore(tmp_path / "file" / "journal.db").calls()


@contextlib.contextmanager
def as_a_user_without_rights() -> Iterator[None]:
    """Root may write anywhere, so the tests step down from it."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that all users can enter but only its owner can write to (the user who runs the tests cannot)."""
    made = Path(tempfile.mkdtemp())
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


@posix
def test_read_only_directory_is_a_clear_error(open_directory: Path) -> None:
    open_directory.chmod(0o555)
    with as_a_user_without_rights():
        for path in (open_directory / "journal.db", open_directory / "deeper" / "journal.db"):
            with pytest.raises(StateNotWritable, match="Permission denied") as caught:
                BlockingStore(path).calls()
            assert "ANYMEDIA_STATE" in caught.value.fix


@posix
def test_journal_that_may_only_be_read_is_a_clear_error(open_directory: Path) -> None:
    path = open_directory / "journal.db"
    with opened(path) as store:
        fill(store)
    path.chmod(0o400)
    open_directory.chmod(0o555)
    with as_a_user_without_rights(), pytest.raises(StateNotWritable), opened(path) as store:
        fill(store, "call_2")


def limit_pages(store: BlockingStore) -> None:
    """Let the file grow no further, as on a full disk."""

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    store.transact(limit)


def test_full_disk_is_a_clear_error_and_the_journal_goes_on_afterwards(path: Path) -> None:
    with opened(path) as store:
        fill(store)
        limit_pages(store)
        with pytest.raises(StateNotWritable, match="disk is full") as caught:
            store.open_call(new_call("big", request={"prompt": "x" * 50_000}), Budget(), owner="me", lease_seconds=60)
        assert caught.value.charged == "no"
        assert store.get("big") is None
        assert store.spend().calls == 1
        store.transact(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
        fill(store, "call_2")


def test_full_disk_after_the_submit_says_that_money_may_be_gone(path: Path) -> None:
    with opened(path) as store:
        lease = store.open_call(new_call(), Budget(), owner="me", lease_seconds=60)
        limit_pages(store)
        with pytest.raises(StateNotWritable) as caught:
            store.advance(lease, "submitted", now=NOW, job={"id": "1", "data": {"long": "x" * 100_000}})
        assert caught.value.to_json()["charged"] == "unknown"
        record = store.get("call_1")
        assert record is not None and record.state == "submitting"


def test_journal_locked_by_another_process_is_reported_busy(path: Path) -> None:
    with opened(path, busy_seconds=0.1) as store:
        store.calls()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateBusy, match=r"more than 0\.1 s") as caught:
                fill(store)
            assert caught.value.retry
            assert store.get("call_1") is None
            other.execute("ROLLBACK")
            fill(store)


@posix
@pytest.mark.parametrize("replaced", [False, True])
def test_journal_moved_away_while_in_use_is_noticed_before_the_next_write(path: Path, replaced: bool) -> None:
    with opened(path) as store:
        fill(store)
        path.rename(path.with_name("elsewhere.db"))
        if replaced:
            path.write_bytes(b"")
        with pytest.raises(StateDamaged, match="moved or deleted"):
            fill(store, "call_2")


# --- transactions, threads, processes


def test_exception_in_the_middle_undoes_everything(path: Path) -> None:
    with opened(path) as store:
        fill(store)

        def interrupted(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM ledger")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            store.transact(interrupted)
        assert store.spend().calls == 1
        fill(store, "call_2")
