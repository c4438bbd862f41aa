"""SIGKILL at random times and at each journal transition: count double submits and lost results.

    python benchmarks/kills.py [--kills 500]

Each design runs jobs against a fake service on the loopback interface that counts submits; the process is killed, its leases expire,
and the next process resumes its jobs. Limits: nothing billed twice; with job listing no paid result is lost; without it every loss is
marked ``unknown``; whatever was stored as an artifact is delivered; no file with its final name is incomplete.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from core.killing import TRANSITIONS, Toll, killed


def _sum(tolls: list[Toll]) -> Toll:
    return Toll(**{field.name: sum(getattr(toll, field.name) for toll in tolls) for field in attrs.fields(Toll)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=500)
    total = parser.parse_args().kills
    per_design = max(1, (total - 2 * len(TRANSITIONS)) // 3)
    every: list[Toll] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, kind, can_list in (
            ("video, with job listing", "video", True),
            ("video, without job listing", "video", False),
            ("image, without job listing", "image", False),
        ):
            rounds = []
            while (left := per_design - sum(t.kills for t in rounds)) > 0:
                where = folder / f"{kind}-{can_list}-{len(rounds)}"
                # Twice as many jobs as kills, so that no round finishes before its kills.
                rounds.append(killed(where, kind=kind, jobs=40, can_list=can_list, kills=min(20, left), seed=len(rounds)))  # type: ignore[arg-type]
            every += rounds
            print(_sum(rounds).line(name), flush=True)
        points = [
            killed(folder / f"{t}-{w}", kind="video", jobs=1, can_list=True, kills=1, at=f"{t}:{w}")
            for t in TRANSITIONS
            for w in ("before", "after")
        ]
        every += points
        print(_sum(points).line("video, at each transition"))
    print(_sum(every).line("all"))


if __name__ == "__main__":
    main()
