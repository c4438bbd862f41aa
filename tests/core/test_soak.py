"""Many clients over MCP and Python for a long time, with faults and killed workers: nothing is lost, doubled, or grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_router, fake_settings
from mcp_clients import connect

from anymedia import SqliteStore
from anymedia.errors import MediaError

pytestmark = pytest.mark.anyio
CHILD = Path(__file__).with_name("soak_child.py")
_WORKERS, _CLIENTS = 2, 10


class Soak:
    """The processes of one soak."""

    def __init__(self, folder: Path, service: FakeService) -> None:
        self.folder, self.service = folder, service
        (folder / "out").mkdir()
        self.dice = random.Random(21)
        self.series: list[dict[str, Any]] = []
        self.gaps: list[int] = []
        self.control: list[int] = []
        self.answers: Counter[str] = Counter()
        self.kills = 0

    def start(self, role: str, **more: Any) -> subprocess.Popen[str]:
        words = [str(self.folder / "state"), str(self.folder / "out"), self.service.http.url, self.service.files.url, role]
        errors = (self.folder / f"{role}.log").open("a")
        with errors:
            return subprocess.Popen([sys.executable, str(CHILD), *words], text=True, stderr=errors, **more)

    async def client(self, url: str) -> None:
        """Ask for one image after the other, in sessions of ten calls."""
        while True:
            with contextlib.suppress(Exception):  # a session that a fault has ended
                async with connect(url) as client:
                    for _ in range(10):
                        given = {"prompt": uuid.uuid4().hex, "mode": "image", "backend": "fake", "output_path": f"{uuid.uuid4().hex}.png"}
                        result = await client.call_tool("generate_media", given)
                        said = json.loads(result.content[0].text)
                        self.answers["delivered" if said["success"] else said["error"]["code"]] += 1

    async def faults(self) -> None:
        """Break a request now and then, at the service and where its files are."""
        while True:
            await asyncio.sleep(0.2)
            kind = self.dice.choice(["drop", "lost", "reset", "truncate", "delay", "status"])
            self.service.http.fail(kind, times=1, **({"status": 503} if kind == "status" else {"seconds": 0.5} if kind == "delay" else {}))
            self.service.files.fail(self.dice.choice(["reset", "truncate"]), times=1)

    async def killing(self, workers: list[subprocess.Popen[str]]) -> None:
        """Kill a worker every few seconds, and start another."""
        while True:
            await asyncio.sleep(4)
            number = self.dice.randrange(len(workers))
            workers[number].kill()
            await asyncio.to_thread(workers[number].wait)
            self.kills += 1
            workers[number] = self.start("worker")

    async def run(self, seconds: float) -> None:
        server = self.start("server", stdout=subprocess.PIPE)
        control = self.start("control", stdout=subprocess.PIPE)
        workers = [self.start("worker") for _ in range(_WORKERS)]
        assert server.stdout is not None
        assert control.stdout is not None
        tasks: list[asyncio.Task[None]] = []
        try:
            url = (await asyncio.to_thread(server.stdout.readline)).strip()
            tasks = [asyncio.create_task(self.client(url)) for _ in range(_CLIENTS)]
            tasks += [asyncio.create_task(self.faults()), asyncio.create_task(self.killing(workers))]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.series.append(json.loads(await asyncio.to_thread(server.stdout.readline)))
                self.gaps += self.series[-1].pop("gaps")
                self.control += json.loads(await asyncio.to_thread(control.stdout.readline))["gaps"]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for process in (server, control, *workers):
                process.kill()
                await asyncio.to_thread(process.wait)
            server.stdout.close()
            control.stdout.close()


@pytest.mark.parametrize("seconds", [pytest.param(25, marks=pytest.mark.exhaustive), pytest.param(1800, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads /proc")
async def test_many_clients_with_faults_and_kills_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with FakeService(looks=2) as service:
        soak = Soak(tmp_path, service)
        await soak.run(seconds)
        service.http.faults.clear()
        service.files.faults.clear()
        delivered, flagged = await _resumed(tmp_path, service)
        submitted = Counter(fields["prompt"] for fields in service.submits)
    third = len(soak.series) // 3
    for name in ("rss", "fds", "threads"):
        print(name, [one[name] for one in soak.series[:: max(1, third // 10)]])
    gap, control = (statistics.quantiles(gaps, n=100)[98] for gaps in (soak.gaps, soak.control))
    print(f"event loop late by, p99: {gap:.0f} ms, an idle one {control:.0f} ms ({gap - control:.0f} ms beyond it, bar 50 ms)")
    print(f"{len(submitted)} submits, {len(delivered)} delivered, {soak.kills} kills, answers {dict(soak.answers)}")
    assert soak.answers["delivered"] > 0
    assert [prompt for prompt, count in submitted.items() if count > 1] == []  # nothing is billed twice
    assert submitted.keys() - delivered - flagged == set()  # nothing is lost in silence
    for name, slack in (("rss", 40), ("fds", 40), ("threads", 8)):
        middle, last = (statistics.median(one[name] for one in part) for part in (soak.series[third : 2 * third], soak.series[2 * third :]))
        assert last <= 1.25 * middle + slack, (name, middle, last)


async def _resumed(folder: Path, service: FakeService) -> tuple[set[str], set[str]]:
    """Finish what is left, as a later process does; return the prompts that were delivered, and those whose outcome is named."""
    path = folder / "state" / "state.db"
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("UPDATE calls SET lease_until = 0")
        connection.commit()
    settings = fake_settings(service, state=folder / "state")
    async with fake_router(service, settings=settings, store=SqliteStore(path)) as router:
        router._engine.polls.rate = 1e6
        for record in await router.jobs(limit=1_000_000):
            if record.state not in {"done", "failed", "refused", "cancelled"}:
                with contextlib.suppress(MediaError):
                    await router.resume(record.run)
        records = await router.jobs(limit=1_000_000)
    done = [record for record in records if record.result is not None]
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for record in done for file in record.result["files"])  # type: ignore[index]
    named = {str(record.request["prompt"]) for record in records if record.state == "unknown" or record.charged in {"yes", "unknown"}}
    return {str(record.request["prompt"]) for record in done}, named
