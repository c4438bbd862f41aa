"""Several real processes on one journal: each job collected once, budgets held, kills survived, chains continued."""

from __future__ import annotations

import collections
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blocking_store import BlockingStore
from state_samples import NOW, new_call
from state_worker import CAP, PRICE
from tiers import quick_first

from anymedia.errors import BudgetExceeded
from anymedia.policy import Budget
from anymedia.state.store import FINAL_STATES

WORKER = Path(__file__).with_name("state_worker.py")


def start(command: str, path: Path | str, *rest: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-W", "error", str(WORKER), command, str(path), *(str(word) for word in rest)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def together(path: Path | str, command: str, count: int, gun: Path) -> list[str]:
    """Run some workers that begin at the same moment; return all they said. None may fail or complain."""
    workers = [start(command, path, f"{command}-{i}", gun) for i in range(count)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        gun.touch()
        said = [worker.communicate(timeout=110) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [errors for _, errors in said] == [""] * count
    assert [worker.returncode for worker in workers] == [0] * count
    return [line for out, _ in said for line in out.splitlines()]


def make_jobs(place: Path | str, names: list[str]) -> None:
    """Rows as a crashed process leaves them: submitted, with a lease that ran out."""
    store = BlockingStore(place)
    for name in names:
        lease = store.open_call(new_call(name, quote_usd=(0.0, 0.1)), Budget(), owner="crashed", lease_seconds=1)
        store.advance(lease, "submitted", now=NOW, job={"id": f"job-of-{name}"})
    store.close()


@pytest.mark.parametrize("processes", quick_first([2, 8]))
def test_each_of_100_jobs_is_collected_exactly_once_by_several_processes(place: Path | str, tmp_path: Path, processes: int) -> None:
    names = [f"call_{i}" for i in range(100)]
    make_jobs(place, names)
    said = together(place, "collect", processes, tmp_path / "start")
    assert collections.Counter(said) == collections.Counter(f"collected {name}" for name in names)
    store = BlockingStore(place)
    assert {record.state for record in store.calls()} == {"done"}
    assert {record.fence for record in store.calls()} == {2}
    spent = store.spend()
    assert (spent.reserved_usd, spent.committed_usd, spent.calls) == (0.0, 5.0, 100)
    store.close()


def test_under_a_shared_budget_for_10_just_10_of_50_calls_of_5_processes_are_opened(place: Path | str, tmp_path: Path) -> None:
    said = together(place, "spend", 5, tmp_path / "start")
    opened = [line for line in said if line.startswith("opened")]
    assert len(opened) == round(CAP / PRICE) == 10
    assert sum(line.startswith("refused") for line in said) == 40
    store = BlockingStore(place)
    assert len(store.calls()) == 10
    assert store.spend().reserved_usd == CAP
    store.close()


@pytest.mark.exhaustive
def test_record_claimed_by_several_changes_only_under_the_newest_lease(place: Path | str, tmp_path: Path) -> None:
    make_jobs(place, ["prize"])
    said = together(place, "steal", 4, tmp_path / "start")
    won = sum(int(line.split()[1]) for line in said)
    store = BlockingStore(place)
    record = store.get("prize")
    store.close()
    assert record is not None and record.outcome is not None
    assert record.outcome["count"] == won > 0
    assert record.fence <= 1 + 4 * 60


def test_chain_of_continuations_goes_from_process_to_process(place: Path | str) -> None:
    names = [f"veo_vid_{i}" for i in range(4)]
    for earlier, new in zip(["-", *names], names, strict=False):
        worker = start("go_on", place, earlier, new)
        assert worker.communicate(timeout=110) == ("", "")
        assert worker.returncode == 0
    store = BlockingStore(place)
    latest = store.latest_continuation(now=NOW)
    assert latest is not None
    assert (latest.id, latest.data["chain"]) == (names[-1], names[:-1])
    assert latest.secret["url"].endswith("hush")
    store.close()


def kill_in_the_middle(place: Path | str, owner: str, rng: random.Random) -> list[str]:
    """Let a process write until it has said some lines, kill it a moment later; return what it said was durable."""
    with start("churn", place, owner) as worker:
        assert worker.stdout is not None and worker.stderr is not None
        said = [worker.stdout.readline() for _ in range(rng.randint(1, 60))]
        time.sleep(rng.uniform(0.0, 0.003))
        worker.send_signal(signal.SIGKILL)
        said += worker.stdout.readlines()
        assert worker.stderr.read() == ""
    assert worker.returncode == -signal.SIGKILL
    assert said[0] == "ready\n"
    return [line.strip() for line in said[1:]]


def check_all_that_was_said(store: BlockingStore, said: list[str]) -> None:
    order = {"opened": 0, "refused": 3, "submitted": 1, "done": 3}
    reached = {"submitting": 0, "submitted": 1, "collecting": 2, "done": 3, "refused": 3}
    for line in said:
        what, name = line.split()
        if what == "continuation":
            assert store.load_continuation(name, now=NOW).data == {"video": {"id": f"files/{name}"}}
            continue
        record = store.get(name)
        assert record is not None
        assert reached[record.state] >= order[what]
        if what in {"submitted", "done"}:
            assert record.job == {"id": f"job-of-{name}"}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("kills", quick_first([1, 20]))
def test_process_killed_while_writing_loses_no_confirmed_change_and_leaves_a_valid_journal(place: Path | str, kills: int) -> None:
    rng, all_said = random.Random(11), []
    for kill in range(kills):
        all_said += kill_in_the_middle(place, f"p{kill}", rng)
        if isinstance(place, Path):
            with contextlib.closing(sqlite3.connect(place)) as plain:
                assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store = BlockingStore(place)
        rows = store.calls(limit=1_000_000)
        spent = store.spend()
        assert spent.calls == len(rows)
        assert spent.reserved_usd == pytest.approx(sum(0.3 for r in rows if r.state not in FINAL_STATES))
        assert spent.committed_usd == pytest.approx(sum(0.2 for r in rows if r.state == "done"))
        store.close()
    store = BlockingStore(place)
    check_all_that_was_said(store, all_said)
    assert len(all_said) > 5 * kills
    with pytest.raises(BudgetExceeded):
        store.open_call(new_call("more"), Budget(per_day=0.3), owner="me", lease_seconds=1)
    store.close()
