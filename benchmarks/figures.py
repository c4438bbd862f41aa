"""A measurement, its limit and the table; measuring in interleaved rounds."""

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
    """One line of the table.

    Attributes:
        bar: the limit that the value must stay below; None for no limit.
        note: how it was measured.
    """

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
    """Return the measurements as aligned lines."""
    rows = [("figure", "measured", "limit", "", "method"), *(figure.cells() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip() for row in rows
    )


@dataclass(frozen=True)
class Process:
    """Wall and CPU seconds of a process."""

    wall: float
    cpu: float


def run(command: Sequence[str], environment: Mapping[str, str], requests: Sequence[str] = ()) -> Process:
    """Run a process and discard its output.

    Args:
        command: the command line.
        environment: its environment variables.
        requests: texts written to its stdin, each of which it must answer with a line.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if requests else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd=Path(sys.executable).anchor,
    )
    assert process.stdin is not None and process.stderr is not None
    with contextlib.suppress(BrokenPipeError):  # its exit code is checked below
        for text in requests:
            assert process.stdout is not None
            process.stdin.write(text.encode())
            process.stdin.flush()
            process.stdout.readline()
        process.stdin.close()
    errors = process.stderr.read()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {errors.decode()[-2000:]}")
    return Process(took, usage.ru_utime + usage.ru_stime)


def peak_memory() -> float:
    """Return the peak resident memory of this process in MiB.

    On Linux, getrusage includes the memory of the parent process before exec, so VmHWM is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def in_turns(ways: Mapping[str, Callable[[], Process]], rounds: int) -> dict[str, list[Process]]:
    """Run each way once per round, so that other load on the machine affects all of them equally."""
    seen: dict[str, list[Process]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # warms byte-code and caches
    for _ in range(rounds):
        for name, way in ways.items():
            seen[name].append(way())
    return seen


def ratio(seen: Mapping[str, Sequence[Process]], of: str, to: str, what: Literal["cpu", "wall"] = "cpu") -> float:
    """Return the median, over the rounds, of the ratio of two ways within the same round."""
    pairs = zip(seen[of], seen[to], strict=True)
    return median(a.cpu / b.cpu if what == "cpu" else a.wall / b.wall for a, b in pairs)


def milliseconds(work: Callable[[], object], *, rounds: int, times: int) -> float:
    """Return the CPU time of one call in milliseconds: the minimum of several rounds, each the mean of several calls."""
    gc.collect()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - started) / times)
    return best * 1000
