"""Eight processes on one PostgreSQL server: by the provider's own count, no limit of their account is exceeded."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from core.routing import fake_router, fake_settings
from core.test_account_slots import Counted
from core.test_sharing import together

from anymedia import GenerateImage

WORKER = Path(__file__).with_name("worker_child.py")
pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(550), pytest.mark.usefixtures("fake_key")]


@pytest.fixture
def url() -> str:
    import postgres

    return postgres.server().new()


def test_eight_processes_keep_the_number_of_calls_at_the_same_time_and_the_budget(tmp_path: Path, url: str) -> None:
    with Counted() as service:
        said = together(8, tmp_path, service, "limited", url)
    assert sum(said) == len(service.submits) == 10  # of 80, as many as the day's budget pays for
    assert 0 < service.highest <= 3


def test_eight_processes_keep_the_rate_and_the_budget(tmp_path: Path, url: str) -> None:
    with Counted() as service:
        begun = time.monotonic()
        said = together(8, tmp_path, service, "paced", url)
    assert sum(said) == len(service.submits) == 10
    for number, arrived in enumerate(service.arrived):  # in any two seconds at most four are let through
        assert arrived - begun >= 2.0 * (number // 4) - 0.05


@contextlib.contextmanager
def workers(count: int, folder: Path, *words: str) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, str(WORKER), str(folder / f"{number}"), *words]) for number in range(count)]
    try:
        yield
    finally:
        for worker in started:
            worker.kill()
            worker.wait()


@pytest.mark.anyio
async def test_eight_workers_keep_the_number_of_calls_at_the_same_time(tmp_path: Path, url: str) -> None:
    storage = f"file://{tmp_path}/storage"
    with Counted() as service:
        settings = fake_settings(service, state=tmp_path / "caller")
        async with fake_router(service, settings=settings, store=url, artifacts=storage, workers=True) as caller:
            records = [await caller.submit(GenerateImage(prompt=f"fox {number}")) for number in range(40)]
            with workers(8, tmp_path, url, storage, service.http.url, service.files.url, "most=3"):
                await asyncio.gather(*(caller.wait(record.id) for record in records))
        assert len(service.submits) == 40
        assert 0 < service.highest <= 3
