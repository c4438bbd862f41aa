"""Killing processes at every moment of a paid call, and counting what the service was asked to do."""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import attrs
from core.fake_service import FakeService, mp4, png

from anymedia.state.sqlite import SqliteStore

CHILD = Path(__file__).with_name("kill_child.py")
TRANSITIONS = ("submitting", "submitted", "running", "collecting", "done")


@attrs.frozen(kw_only=True)
class Toll:
    """What a round of kills did."""

    jobs: int
    kills: int
    submits: int
    billed_twice: int
    done: int
    flagged: int
    unsent: int
    lost: int
    damaged: int
    undelivered: int

    def line(self, name: str) -> str:
        per_job = self.submits / self.jobs
        return (
            f"{name:34} {self.kills:5} kills  {per_job:.2f} submits a job  billed twice {self.billed_twice}  "
            f"collected {self.done}  flagged unknown {self.flagged}  never sent {self.unsent}  "
            f"never collected {self.lost}  stored and not delivered {self.undelivered}  damaged files {self.damaged}"
        )


def killed(
    folder: Path,
    *,
    kind: Literal["image", "video"],
    jobs: int,
    can_list: bool,
    kills: int,
    seed: int = 0,
    at: str | None = None,
    full: bool = False,
    refusals: int = 0,
) -> Toll:
    """Run jobs in a child that is killed again and again (or at one transition), then let it finish in peace.

    ``refusals``: how many submits the service refuses for lack of capacity.
    ``full``: the disk is full for each child at another size of its files, but not for the last one.
    """
    chance, dead = random.Random(seed), 0
    state, out = folder / "state.db", folder / "out"
    out.mkdir(parents=True)
    with FakeService(looks=1) as service:
        if refusals:
            service.http.fail("status", on="POST /", times=refusals, status=429)
        service.http.fail("delay", on="POST /", times=None, seconds=0.05)

        def start(*more: str) -> "subprocess.Popen[bytes]":
            words = [str(state), str(out), service.http.url, service.files.url, str(jobs), kind]
            extra = [*(["can_list"] if can_list else []), *more]
            return subprocess.Popen([sys.executable, str(CHILD), *words, *extra], stderr=subprocess.PIPE)

        while dead < kills:
            child = start(*([at] if at else []), *([f"full={chance.randrange(1_000, 200_000)}"] if full else []))
            if at is None:
                begun = len(service.http.received)
                deadline = time.monotonic() + 300  # for a machine that is busy elsewhere
                while child.poll() is None and len(service.http.received) == begun and time.monotonic() < deadline:
                    time.sleep(0.002)
                time.sleep(chance.random() * 0.35)
                child.kill()
            _, told = child.communicate(timeout=60)
            if child.returncode == 0 and not full:
                break
            if full and child.returncode > 0:  # not even the journal could be opened
                dead += 1
                continue
            assert full or child.returncode == -9, told.decode()
            dead += 1
            expire_leases(state)
        final = start()
        _, told = final.communicate(timeout=300)
        assert final.returncode == 0, told.decode()
        return asyncio.run(_count(service, state, out, kind, jobs, dead))


def expire_leases(state: Path) -> None:
    """Let a minute pass: the leases of the dead run out."""
    import sqlite3

    if not state.exists():
        return
    connection = sqlite3.connect(state, timeout=30)
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'calls'").fetchone() == (0,):
        connection.close()  # it died before there was a journal
        return
    with connection:
        connection.execute("UPDATE calls SET lease_until = 0")
    connection.close()


async def _count(service: FakeService, state: Path, out: Path, kind: str, jobs: int, dead: int) -> Toll:
    per_job = Counter(fields["prompt"] for fields in service.submits)
    store = SqliteStore(state)
    rows = {row.request["prompt"]: row for row in await store.calls()}
    await store.aclose()
    whole = png() if kind == "image" else mp4()
    done = [p for p, row in rows.items() if row.state == "done"]
    flagged = [p for p, row in rows.items() if row.state == "unknown"]
    paid = set(per_job)
    unsent = [p for p, row in rows.items() if row.state == "failed" and p not in paid and (row.error or {}).get("delivery") == "not_sent"]
    log = state.with_name("stored.log")
    stored = set(log.read_text().split()) if log.exists() else set()
    named = [p for p in out.iterdir() if not p.name.startswith(".")]
    return Toll(
        jobs=jobs,
        kills=dead,
        submits=sum(per_job.values()),
        billed_twice=sum(count > 1 for count in per_job.values()),
        done=len(done),
        flagged=len(flagged),
        unsent=len(unsent),
        lost=len([p for p in paid if p not in done and p not in flagged and rows[p].state != "failed"]),
        undelivered=len(stored - {row.id for row in rows.values() if row.state == "done"}),
        damaged=sum(path.read_bytes() != whole for path in named),
    )
