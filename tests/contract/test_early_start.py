"""One worker begins a whole run (tests/early_start.py); the others join it, with the same tests or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import early_start
import pytest

SUITE = """
import os, pathlib, time
import pytest

WORKER = os.environ["PYTEST_XDIST_WORKER"]
pathlib.Path("read-by-" + WORKER).write_text(str(time.monotonic_ns()))

@pytest.mark.parametrize("number", range(200))
def test_number(number):
    with open("run", "a") as file:
        file.write(f"{number} ")
"""


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "suite").mkdir()
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = suite\n")
    (folder / "suite/test_it.py").write_text(SUITE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "early_start", "-n", "3"]
    python_path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(command, cwd=folder, env=clean | python_path, capture_output=True, text=True, timeout=500)


@pytest.mark.exhaustive
@pytest.mark.timeout(550)
def test_three_workers_run_each_test_once_and_two_read_them_later(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(map(int, (tmp_path / "run").read_text().split())) == list(range(200))
    first, second, third = (int((tmp_path / f"read-by-gw{number}").read_text()) for number in range(3))
    assert first < min(second, third)


class Worker:
    """A worker as the scheduler sees it."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []
        self.send_runtest_some = self.given.extend


def test_worker_that_reads_other_tests_ends_the_run() -> None:
    values = {"dist": "load", "tx": ["3*popen"], "maxschedchunk": None}
    config: Any = SimpleNamespace(args=["all"], getini=lambda _: ["all"], getvalue=values.get, getoption=values.get)
    scheduler = early_start.pytest_xdist_make_scheduler(config, None)
    tests, workers = [f"test_{number}" for number in range(100)], [Worker(f"gw{number}") for number in range(3)]
    for worker in workers:
        scheduler.add_node(worker)
    assert not scheduler.collection_is_completed
    scheduler.add_node_collection(workers[0], tests)
    scheduler.schedule()
    assert all(worker.given for worker in workers)
    scheduler.add_node_collection(workers[1], tests)
    with pytest.raises(RuntimeError, match="gw2 has read other tests"):
        scheduler.add_node_collection(workers[2], tests[1:])
    scheduler.add_node_collection(workers[2], tests)
    scheduler.schedule()
