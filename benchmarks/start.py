"""Start-up: imports, commands as processes compared with a bare interpreter, reading the matrices."""

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
#: The first messages of an MCP host; the server answers each of the two.
HANDSHAKE = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, '
    '"clientInfo": {"name": "benchmark", "version": "1"}}}\n',
    '{"jsonrpc": "2.0", "method": "notifications/initialized"}\n{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}\n',
)
#: A path that cannot be used as the cache directory, so that no matrix is cached.
NO_CACHE = os.devnull
#: Command -> limit of its CPU time relative to importing its dependencies, and a note.
COMMANDS = {
    "plan image x": (2.2, ""),
    "models": (2.2, ""),
    "jobs list": (2.2, ""),
    "doctor": (4.0, "loads Pillow and PyAV to list their codecs"),
    "--version": (1.3, ""),
    "--help": (1.3, ""),
    "capabilities --json": (None, ""),
}


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as folder:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANYMEDIA_", "PYTHON")) and not k.endswith("_BASE_URL")}
        clean |= {"HOME": folder, "XDG_CONFIG_HOME": folder, "ANYMEDIA_CACHE": folder, "ANYMEDIA_STATE": folder}
        seen = in_turns(_ways(clean), rounds)
    wall = f"bare Python {_ms(seen['bare'])}; wall"
    yield Figure(
        name="import anymedia",
        value=ratio(seen, "anymedia", "base"),
        unit="x",
        bar=1.3,
        note=f"{_ms(seen['anymedia'])} compared with import pluggy, attrs, cattrs ({_ms(seen['base'])}); "
        f"wall {ratio(seen, 'anymedia', 'base', 'wall'):.2f} x",
    )
    yield Figure(
        name="import anymedia, every public name",
        value=ratio(seen, "names", "base"),
        unit="x",
        note=f"{_ms(seen['names'])}: including router, stores and requests; no limit",
    )
    base, anymedia = _peak("pluggy, attrs, cattrs", rounds), _peak("anymedia", rounds)
    note = f"{anymedia:.1f} MiB compared with {base:.1f} MiB"
    yield Figure(name="import anymedia, peak memory", value=anymedia / base, unit="x", bar=1.3, note=note)
    for name, (bar, remark) in COMMANDS.items():
        cpu = f"{_ms(seen[name])} compared with import pluggy, attrs, cattrs, click ({_ms(seen['needed'])})"
        note = "; ".join(filter(None, (cpu, remark, f"{wall} {ratio(seen, name, 'needed', 'wall'):.2f} x")))
        yield Figure(name=f"anymedia {name}", value=ratio(seen, name, "needed"), unit="x", bar=bar, note=note)
    yield Figure(
        name="anymedia models, no cache",
        value=ratio(seen, "models, no cache", "needed"),
        unit="x",
        note=f"{_ms(seen['models, no cache'])}: every matrix parsed",
    )
    yield Figure(
        name="anymedia mcp, to its first responses",
        value=ratio(seen, "mcp", "mcp sdk"),
        unit="x",
        bar=1.5,
        note=f"{_ms(seen['mcp'])} of CPU to answer initialize and tools/list and exit; compared with import mcp "
        f"({_ms(seen['mcp sdk'])}); wall {median(p.wall for p in seen['mcp']):.2f} s",
    )
    yield from _matrices(rounds)


def _ways(clean: dict[str, str]) -> dict[str, partial[Process]]:
    def way(*words: str, **more: str) -> partial[Process]:
        return partial(run, [sys.executable, *words], clean | more)

    return {
        "bare": way("-c", "pass"),
        "base": way("-c", "import pluggy, attrs, cattrs"),
        "anymedia": way("-c", "import anymedia"),
        "names": way("-c", "import anymedia; [getattr(anymedia, n) for n in anymedia.__all__]"),
        "needed": way("-c", "import pluggy, attrs, cattrs, click"),
        **{name: way("-c", CLI, *name.split()) for name in COMMANDS},
        "models, no cache": way("-c", CLI, "models", ANYMEDIA_CACHE=NO_CACHE),
        "mcp sdk": way("-c", "import mcp"),
        "mcp": partial(run, [sys.executable, "-c", CLI, "mcp"], clean, HANDSHAKE),
    }


def _peak(modules: str, rounds: int) -> float:
    """Return the peak memory in MiB of a process that imports some modules."""
    code = f"import {modules}\nfrom benchmarks.figures import peak_memory\nprint(peak_memory())"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT) for _ in range(rounds)]
    return median(float(one.stdout) for one in runs)


def _ms(seen: list[Process]) -> str:
    return f"{median(p.cpu for p in seen) * 1000:.0f} ms"


def _matrices(rounds: int) -> Iterator[Figure]:
    from anymedia.capabilities import load_matrix
    from anymedia.capabilities.loader import read_matrix
    from anymedia.plugins.registry import discover

    registry = discover()
    paths = [Path(p.module.__file__).with_name("capabilities.toml") for p in registry.plugins.values() if p.module.__file__]
    files = [path for path in paths if path.is_file()]

    def load_cached() -> int:
        load_matrix.cache_clear()
        return sum(len(load_matrix(path).models) for path in files)

    models = load_cached()  # fills the cache
    for name, work, bar in (("parsing", lambda: [read_matrix(path) for path in files], 30.0), ("from the cache", load_cached, None)):
        took = milliseconds(work, rounds=rounds, times=1)
        note = f"{len(files)} backends, {models} models, minimum of {rounds} rounds, CPU time"
        yield Figure(name=f"reading all installed matrices, {name}", value=took, unit="ms", bar=bar, note=note)
