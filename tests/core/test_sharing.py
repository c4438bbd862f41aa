"""Several processes on one journal: a job is collected once, a budget holds for all of them together."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_router, fake_settings
from tiers import quick_first

from anymedia import GenerateVideo, SqliteStore

CHILD = Path(__file__).with_name("sharing_child.py")


def together(count: int, folder: Path, service: FakeService, what: str, store: str | None = None) -> list[int]:
    words = [store or str(folder / "state.db"), str(folder / "out"), service.http.url, service.files.url, what]
    started = [subprocess.Popen([sys.executable, str(CHILD), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(count)]
    said = []
    for child in started:
        out, err = child.communicate(timeout=600)
        assert child.returncode == 0, err.decode()[-2000:]
        said.append(int(out))
    return said


@pytest.mark.anyio
@pytest.mark.parametrize(("processes", "jobs"), quick_first([(2, 10), (2, 100), (8, 100)]))
async def test_several_processes_collect_each_job_just_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, jobs: int
) -> None:
    monkeypatch.setitem(os.environ, "FAKE_KEY", KEY)
    with FakeService(looks=1_000_000) as service:
        store = SqliteStore(tmp_path / "state.db")
        async with fake_router(service, settings=fake_settings(service, timeout=30), store=store) as router:
            for number in range(jobs):
                await router.submit(GenerateVideo(prompt=f"job {number}"), output=f"{tmp_path}/out/")
        with sqlite3.connect(tmp_path / "state.db", timeout=30) as connection:
            connection.execute("UPDATE calls SET lease_until = 0")
        connection.close()
        for job in service.jobs.values():
            job["left"] = 0
        assert together(processes, tmp_path, service, "resume") == [jobs] * processes
        fetched = Counter(r.path for r in service.files.received)
        assert len(service.submits) == jobs
        assert set(fetched.values()) == {1}
        assert len(fetched) == jobs
        assert len(list((tmp_path / "out").glob("*.mp4"))) == jobs


@pytest.mark.exhaustive
def test_five_processes_under_a_budget_for_ten_submit_just_ten(tmp_path: Path) -> None:
    with FakeService() as service:
        assert sum(together(5, tmp_path, service, "spend")) == len(service.submits) == 10
