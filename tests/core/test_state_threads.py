"""One journal file under many threads and a forked child: no thread waits forever, no call is lost, no connection stays open."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blocking_store import BlockingStore
from state_samples import continuation, fill, new_call, opened

from anymedia.policy import Budget
from anymedia.state.store import StateError

posix = pytest.mark.skipif(os.name != "posix", reason="modes and forks are POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "anymedia" / "journal.db"


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def run(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_many_threads_write_without_an_error_or_a_lost_record(place: Path | str) -> None:
    def write(i: int) -> None:
        for j in range(10):
            fill(store, f"call_{i}_{j}")

    with opened(place) as store:
        in_threads(12, write)
        assert len(store.calls()) == 120
        assert store.spend().calls == 120


def make_together(place: Path | str) -> None:
    barrier = threading.Barrier(12)

    def make(i: int) -> None:
        barrier.wait(60)
        with opened(place) as store:
            fill(store, f"call_{i}")

    in_threads(12, make)
    with opened(place) as store:
        assert len(store.calls()) == 12


def test_many_that_make_the_same_journal_at_once_all_get_it(place: Path | str, tmp_path: Path) -> None:
    make_together(place)
    for turn in range(7 if isinstance(place, Path) else 0):
        make_together(tmp_path / str(turn) / "journal.db")


def store_threads() -> set[threading.Thread]:
    """Return the threads of all stores in this process, those that other tests left open included."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("anymedia-store")}


def test_threads_share_two_connections(path: Path) -> None:
    before = store_threads()
    with opened(path) as store:
        for i in range(30):
            in_threads(1, lambda _, i=i: fill(store, f"call_{i}"))  # type: ignore[misc]
        assert len(store_threads() - before) == 1  # the writing one; nothing was read


def test_closed_store_has_closed_its_connections_and_threads(path: Path) -> None:
    before = store_threads()
    store = BlockingStore(path)
    fill(store)
    store.calls()
    lanes = store.store._database._lanes
    assert lanes is not None
    connections = [connection for lane in lanes for connection in lane.idle]
    assert len(connections) == 2
    store.close()
    for connection in connections:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert not store_threads() - before
    with pytest.raises(StateError, match="closed"):
        store.get("call_1")


@posix
def test_forked_child_uses_connections_of_its_own(place: Path | str) -> None:
    with opened(place) as store:
        fill(store)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                fill(store, "from_the_child")
                store.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        fill(store, "from_the_parent")
        assert {r.id for r in store.calls()} == {"call_1", "from_the_child", "from_the_parent"}


def test_path_may_be_text(tmp_path: Path) -> None:
    store = BlockingStore(str(tmp_path / "journal.db"))
    store.save_continuation(continuation("veo_vid_1"))
    store.close()
    assert store.store.path == tmp_path / "journal.db"


def hog(path: Path, going: threading.Event, turns: list[float]) -> None:
    """Write without a pause, each time for as long as a slow disk takes."""

    def slow(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE calls SET updated_at = updated_at + 1 WHERE id = 'hog'")
        time.sleep(0.03)

    store = BlockingStore(path)
    store.open_call(new_call("hog"), Budget(), owner="hog", lease_seconds=1)
    while going.is_set():
        store.transact(slow)
        turns.append(time.monotonic())
    store.close()


def test_writer_without_a_pause_does_not_keep_the_others_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    going, turns = threading.Event(), list[float]()
    going.set()
    store = BlockingStore(path)
    thread = threading.Thread(target=hog, args=(path, going, turns))
    thread.start()
    try:
        while not turns:
            time.sleep(0.01)
        before = len(turns)
        for i in range(20):
            store.open_call(new_call(f"call_{i}"), Budget(), owner="me", lease_seconds=1)
        waited = len(turns) - before
    finally:
        going.clear()
        thread.join()
        store.close()
    assert waited <= 3 * 20  # its turn came each time; without an order it waits for hundreds
