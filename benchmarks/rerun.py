"""A naive handler on an engine that runs a job again until it ends, beside one that calls `Router` with a run key.

    python benchmarks/rerun.py [--jobs 40] [--kills 40]

The engine delivers each job at least once, as queues and workflow engines do: it starts a worker, the worker is killed at a random time,
and the next worker runs every job that was not acknowledged, from its beginning. The fake service on the loopback interface counts what
was submitted. A submit that was on its way when a worker died is reported as unknown; a person decides about it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clocks import FastClock
from core.fake_service import FakeService
from core.killing import expire_leases
from core.routing import KEY, fake_registry

from anymedia import Router, SqliteStore
from anymedia.errors import SubmissionUnknown
from anymedia.settings import InstanceSettings, Settings

Handler = Callable[[str, Path, str, str], None]


def naive(job: str, folder: Path, service: str, files: str) -> None:
    """Submit, poll, download: correct, as long as nothing ends the process."""

    def ask(path: str, body: bytes | None = None) -> dict[str, str]:
        request = urllib.request.Request(f"{service}{path}", body, {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, str] = json.load(answer)
            return found

    started = ask("/videos", json.dumps({"prompt": job, "label": job}).encode())
    while (state := ask(f"/videos/{started['id']}"))["status"] != "done":
        time.sleep(0.01)
    with urllib.request.urlopen(state["url"], timeout=60) as answer:
        (folder / f"{job}.mp4").write_bytes(answer.read())


def keyed(job: str, folder: Path, service: str, files: str) -> None:
    """The same with the job's id as run key: a repeat continues the run that was begun."""

    async def work() -> None:
        own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"can_list": True, "timeout": 20})
        settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),), state_dir=folder)
        store = SqliteStore(folder / "state.db")
        async with Router(store=store, settings=settings, registry=fake_registry(), clock=FastClock()) as router:
            try:
                await router.generate_video(prompt=job, key=job, output=folder / f"{job}.mp4", overwrite=True)
            except SubmissionUnknown:  # for a person to decide: it may be charged, and is not sent again
                (folder / f"{job}.unknown").touch()

    asyncio.run(work())


HANDLERS: dict[str, Handler] = {"naive": naive, "keyed": keyed}


def worker(handler: str, folder: Path, service: str, files: str, jobs: int) -> None:
    """Run every job that is not acknowledged, and acknowledge it."""
    os.environ["FAKE_KEY"] = KEY
    for number in range(jobs):
        done = folder / f"job-{number}.done"
        if not done.exists():
            HANDLERS[handler](f"job-{number}", folder, service, files)
            done.touch()


def killed(handler: str, jobs: int, kills: int, seed: int = 0) -> str:
    """Run jobs by workers that are killed at random times; return what the service counted."""
    chance, dead = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as scratch, FakeService(looks=2) as service:
        service.http.fail("delay", on="POST /", times=None, seconds=0.05)
        command = [sys.executable, __file__, "--worker", handler, scratch, service.http.url, service.files.url, str(jobs)]
        while dead < kills:
            begun = len(service.http.received)
            child = subprocess.Popen(command)
            while child.poll() is None and len(service.http.received) == begun:
                time.sleep(0.002)
            time.sleep(chance.random() * 0.3)
            child.kill()
            if (ended := child.wait(60)) >= 0:
                assert ended == 0, "a worker failed"
                break
            dead += 1
            expire_leases(Path(scratch) / "state.db")
        subprocess.run(command, check=True, timeout=600)
        per_job = Counter(fields["prompt"] for fields in service.submits)
        twice = sum(count > 1 for count in per_job.values())
        made, unknown = (len(list(Path(scratch).glob(pattern))) for pattern in ("*.mp4", "*.unknown"))
        return (
            f"{handler:8}{jobs:5} jobs {dead:4} kills {sum(per_job.values()):5} submits  "
            f"{twice:3} jobs paid for more than once  {made:3} delivered  {unknown:2} reported as unknown"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker is not None:
        handler, folder, service, files, jobs = asked.worker
        worker(handler, Path(folder), service, files, int(jobs))
        return
    for handler in HANDLERS:
        print(killed(handler, asked.jobs, asked.kills), flush=True)


if __name__ == "__main__":
    main()
