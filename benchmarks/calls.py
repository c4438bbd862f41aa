"""Overhead of the router for one call, compared with a bare HTTP session over the loopback interface.

    python -m benchmarks --only router

The backend and the service are those of the core's tests. The bare session posts the same JSON, reads the image and writes it to a
file. The router plans, reserves, journals (in memory or durably), calls the hook, detects the format, hashes, syncs and saves the file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from .figures import ROOT, Figure

WAYS = ("bare", "memory", "durable")


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    calls, rounds = (100, 2) if quick else (400, 5)
    serving = subprocess.Popen(_command("serve", "", 0), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT)
    assert serving.stdout is not None and serving.stdin is not None
    try:
        url = serving.stdout.readline().strip()
        seen: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                done = subprocess.run(_command(way, url, calls), capture_output=True, text=True, check=True, cwd=ROOT)
                seen[way].append(json.loads(done.stdout))
    finally:
        serving.stdin.close()
        serving.wait()
        serving.stdout.close()
    bare = median(s["cpu"] for s in seen["bare"])
    for way, label in (("memory", "store in memory"), ("durable", "durable journal")):
        found = median(s["cpu"] for s in seen[way])
        wall = median(s["wall"] for s in seen[way])
        note = f"{found:.2f} ms of CPU per call ({wall:.2f} ms wall), {bare:.2f} ms for a bare aiohttp session; {rounds} rounds of {calls}"
        yield Figure(name=f"router around a call, {label}: CPU added", value=found - bare, unit="ms", note=f"{note}; no limit")


def _command(way: str, url: str, calls: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.calls", "--way", way, "--url", url, "--calls", str(calls)]


def _tests() -> None:
    sys.path.insert(0, str(ROOT / "tests"))


def serve() -> None:
    """Print the address and serve until stdin ends."""
    _tests()
    from core.fake_service import FakeService

    with FakeService() as service:
        print(service.http.url, flush=True)
        sys.stdin.read()


async def bare(url: str, folder: Path, calls: int) -> dict[str, float]:
    """Measure a bare aiohttp session."""
    import aiohttp

    headers = {"authorization": "Bearer fake-key-0123456789"}
    async with aiohttp.ClientSession() as session:

        async def one(number: int) -> None:
            fields = {"prompt": "a boat", "n": 1, "size": None, "label": f"call-{number}", "key": f"{number}"}
            async with session.post(f"{url}/images", json=fields, headers=headers) as reply:
                (folder / f"{number}.png").write_bytes(await reply.read())

        return await _timed(one, calls)


async def routed(url: str, folder: Path, calls: int, durable: bool) -> dict[str, float]:
    """Measure the router."""
    _tests()
    from core.routing import KEY, fake_router

    from anymedia import SqliteStore

    os.environ["FAKE_KEY"] = KEY
    store: Any = SqliteStore(folder / "state.db") if durable else SqliteStore(":memory:")
    async with fake_router(url, store=store) as router:

        async def one(number: int) -> None:
            await router.generate_image(prompt="a boat", backend="fake", output=folder / f"{number}.png", overwrite=True)

        return await _timed(one, calls)


async def _timed(one: Any, calls: int) -> dict[str, float]:
    for number in range(10):
        await one(number)
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(calls):
        await one(number)
    return {"cpu": (time.process_time() - cpu) / calls * 1000, "wall": (time.perf_counter() - wall) / calls * 1000}


def main() -> None:
    """Run one child process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=["serve", *WAYS], required=True)
    parser.add_argument("--url", default="")
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    if options.way == "serve":
        serve()
        return
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="anymedia-bench-", dir=in_memory if in_memory.is_dir() and options.way != "durable" else None
    ) as made:
        folder = Path(made)
        durable = options.way == "durable"
        bare_session = options.way == "bare"
        measured = bare(options.url, folder, options.calls) if bare_session else routed(options.url, folder, options.calls, durable)
        print(json.dumps(asyncio.run(measured)))


if __name__ == "__main__":
    main()
