"""Starting: import, commands as processes beside a bare interpreter, reading the matrices."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from .figures import ROOT, Figure, Process, in_turns, milliseconds, ratio, run

CLI = "import sys; sys.argv = ['anymedia', *sys.argv[1:]]; from anymedia.cli import main; main()"
#: What a host says first to a server of the Model Context Protocol; each of the two is answered.
GREETING = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, '
    '"clientInfo": {"name": "benchmark", "version": "1"}}}\n',
    '{"jsonrpc": "2.0", "method": "notifications/initialized"}\n{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}\n',
)
#: Nothing is kept in there: a file stands where the cache's directory would be.
NOWHERE = os.devnull


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as folder:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANYMEDIA_", "PYTHON")) and not k.endswith("_BASE_URL")}
        clean |= {"HOME": folder, "XDG_CONFIG_HOME": folder, "ANYMEDIA_CACHE": folder}
        seen = in_turns(_ways(clean), rounds)
    bare = seen["bare"]
    usual = f"bare Python {_ms(bare)}; wall"
    yield Figure(
        name="import anymedia",
        value=ratio(seen, "anymedia", "base"),
        unit="x",
        bar=1.3,
        note=f"{_ms(seen['anymedia'])} beside import pluggy, attrs, cattrs ({_ms(seen['base'])}); "
        f"wall {ratio(seen, 'anymedia', 'base', 'wall'):.2f} x",
    )
    yield Figure(
        name="import anymedia, every public name",
        value=ratio(seen, "names", "base"),
        unit="x",
        note=f"{_ms(seen['names'])}: router, stores and requests among them; no bar",
    )
    base, ours = _peak("pluggy, attrs, cattrs", rounds), _peak("anymedia", rounds)
    note = f"{ours:.1f} MiB beside {base:.1f} MiB"
    yield Figure(name="import anymedia, peak memory", value=ours / base, unit="x", bar=1.3, note=note)
    for name, bar, words in (
        ("capabilities --json", 8.0, "its answer kept from an earlier run"),
        ("capabilities --json, first time", None, "nothing kept: plugins imported, matrices read"),
        ("models --json", None, "its answer kept"),
        ("models", None, ""),
        ("--help", None, ""),
        ("doctor", None, "loads Pillow and PyAV to list their codecs"),
    ):
        text = f"{_ms(seen[name])}; {words + '; ' if words else ''}{usual} {ratio(seen, name, 'bare', 'wall'):.1f} x"
        yield Figure(name=f"anymedia {name}", value=ratio(seen, name, "bare"), unit="x", bar=bar, note=text)
    yield Figure(
        name="anymedia mcp, to its first answers",
        value=ratio(seen, "mcp", "mcp sdk"),
        unit="x",
        bar=1.5,
        note=f"{_ms(seen['mcp'])} of CPU until initialize and tools/list are answered and it has ended; beside import mcp "
        f"({_ms(seen['mcp sdk'])}); wall {median(p.wall for p in seen['mcp']):.2f} s",
    )
    yield _matrices(rounds)


def _ways(clean: dict[str, str]) -> dict[str, partial[Process]]:
    def way(*words: str, **more: str) -> partial[Process]:
        return partial(run, [sys.executable, *words], clean | more)

    return {
        "bare": way("-c", "pass"),
        "base": way("-c", "import pluggy, attrs, cattrs"),
        "anymedia": way("-c", "import anymedia"),
        "names": way("-c", "import anymedia; [getattr(anymedia, n) for n in anymedia.__all__]"),
        "capabilities --json": way("-c", CLI, "capabilities", "--json"),
        "capabilities --json, first time": way("-c", CLI, "capabilities", "--json", ANYMEDIA_CACHE=NOWHERE),
        "models --json": way("-c", CLI, "models", "--json"),
        "models": way("-c", CLI, "models"),
        "--help": way("-c", CLI, "--help"),
        "doctor": way("-c", CLI, "doctor"),
        "mcp sdk": way("-c", "import mcp"),
        "mcp": partial(run, [sys.executable, "-c", CLI, "mcp"], clean, GREETING),
    }


def _peak(modules: str, rounds: int) -> float:
    """Return the peak memory in MiB of a process that imports something."""
    code = f"import {modules}\nfrom benchmarks.figures import peak_memory\nprint(peak_memory())"
    told = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT) for _ in range(rounds)]
    return median(float(one.stdout) for one in told)


def _ms(seen: list[Process]) -> str:
    return f"{median(p.cpu for p in seen) * 1000:.0f} ms"


def _matrices(rounds: int) -> Figure:
    from anymedia.capabilities import load_matrix
    from anymedia.registry import discover

    registry = discover()
    paths = [Path(p.module.__file__).with_name("capabilities.toml") for p in registry.plugins.values() if p.module.__file__]
    files = [path for path in paths if path.is_file()]

    def read() -> int:
        load_matrix.cache_clear()
        return sum(len(load_matrix(path).models) for path in files)

    models = read()
    took = milliseconds(read, rounds=rounds, times=1)
    return Figure(
        name="reading all installed matrices",
        value=took,
        unit="ms",
        bar=30.0,
        note=f"{len(files)} backends, {models} models, TOML to records, least of {rounds} rounds, CPU time",
    )
