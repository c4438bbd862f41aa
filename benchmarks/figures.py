"""A figure, its bar, and the table of them; measuring in interleaved rounds."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

#: The checkout.
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. ``bar``: what the value has to stay under; None where none is set."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.bar is None else self.value < self.bar

    def cells(self) -> tuple[str, str, str, str, str]:
        bar = "" if self.bar is None else f"< {self.bar:g} {self.unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return (self.name, f"{self.value:.3g} {self.unit}", bar, verdict, self.note)


def show(figures: Iterable[Figure]) -> str:
    """Return the figures as aligned lines; notes stand below their lines' end."""
    rows = [("figure", "measured", "bar", "", "how"), *(figure.cells() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip() for row in rows
    )


@dataclass(frozen=True)
class Process:
    """What one process took: wall and CPU seconds."""

    wall: float
    cpu: float


def run(command: Sequence[str], environment: Mapping[str, str], asked: Sequence[str] = ()) -> Process:
    """Run a process with its output thrown away; each text of ``asked`` is written to it and answered by a line before its input ends."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if asked else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd=Path(sys.executable).anchor,
    )
    assert process.stdin is not None and process.stderr is not None
    with contextlib.suppress(BrokenPipeError):  # its exit code says why
        for text in asked:
            assert process.stdout is not None
            process.stdin.write(text.encode())
            process.stdin.flush()
            process.stdout.readline()
        process.stdin.close()
    told = process.stderr.read()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {told.decode()[-2000:]}")
    return Process(took, usage.ru_utime + usage.ru_stime)


def peak_memory() -> float:
    """Return the peak resident memory of this process in MiB.

    Linux keeps in getrusage what the process that started this one had, so the memory's own mark is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def in_turns(ways: Mapping[str, Callable[[], Process]], rounds: int) -> dict[str, list[Process]]:
    """Run each way once a round: whatever else the machine does falls on all of them alike."""
    seen: dict[str, list[Process]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # byte-code and caches are there from now on
    for _ in range(rounds):
        for name, way in ways.items():
            seen[name].append(way())
    return seen


def ratio(seen: Mapping[str, Sequence[Process]], of: str, to: str, what: Literal["cpu", "wall"] = "cpu") -> float:
    """Return the median over the rounds of one way's share of another's in the same round."""
    pairs = zip(seen[of], seen[to], strict=True)
    return median(a.cpu / b.cpu if what == "cpu" else a.wall / b.wall for a, b in pairs)


def milliseconds(work: Callable[[], object], *, rounds: int, times: int) -> float:
    """Return the CPU time of one call in ms: the least of several rounds, each the mean of some calls."""
    gc.collect()
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - begun) / times)
    return best * 1000
