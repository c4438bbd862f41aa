"""Fifty concurrent downloads of 20 MB: peak memory above idle, compared with a bare streamed aiohttp download.

    python benchmarks/downloads.py [--count 50] [--megabytes 20] [--rounds 3]

A child process serves a WAV of noise over the loopback interface; each method runs in a separate process and writes the files to a
temporary directory. ``collect`` does what the router does: address check, SHA-256, fsync, header check, atomic save.
Limits: 64 MB above idle, and 1.5 x the bare download.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

MB = 1_000_000
BAR_MB, BAR_RATIO = 64.0, 1.5


def wav(size: int) -> bytes:
    """Return a WAV file of ``size`` bytes of noise."""
    samples = random.Random(1).randbytes(size - 44)
    form = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, 48_000, 96_000, 2, 16, b"data", size - 44)
    return form + samples


async def serve(size: int) -> None:
    """Print the port and answer every request with the file."""
    body = wav(size)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        for start in range(0, size, 262_144):
            writer.write(body[start : start + 262_144])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def bare(url: str, folder: Path, count: int) -> None:
    """Stream to files with aiohttp alone."""
    import aiohttp

    async def one(session: aiohttp.ClientSession, path: Path) -> None:
        async with session.get(url) as response:
            with path.open("wb") as file:
                async for chunk in response.content.iter_chunked(65_536):
                    file.write(chunk)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await one(session, folder / "first")
        with Measured():
            await asyncio.gather(*(one(session, folder / str(i)) for i in range(count)))


async def collected(url: str, folder: Path, count: int) -> None:
    """Save pieces as the router does."""
    from anymedia.artifacts import ArtifactStore
    from anymedia.execution.save_piece import export_artifact, store_piece
    from anymedia.files.paths import plan_output
    from anymedia.net.fetcher import Fetcher
    from anymedia.results import Piece

    target = plan_output(f"{folder}/", default_stem="noise", suffix=".wav")
    artifacts = ArtifactStore(folder / "artifacts")
    async with Fetcher(allow=["127.0.0.1"]) as fetcher:

        async def one(name: str, index: int) -> None:
            artifact, _ = await store_piece(Piece(url=url), artifacts, fetcher=fetcher, call_id=name)
            await export_artifact(artifact, artifacts, target, index=index, of=count + 1, expect="audio")

        await one("first", count)
        with Measured():
            await asyncio.gather(*(one(f"c{i}", i) for i in range(count)))


class Measured:
    """Prints peak memory above idle (MB), CPU and wall seconds of a block, as JSON."""

    def __enter__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        self.idle, self.wall, self.cpu = status("VmRSS"), time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(json.dumps({"peak_mb": status("VmHWM") - self.idle, "idle_mb": self.idle, "cpu": cpu, "wall": wall}), flush=True)


def status(name: str) -> float:
    """Return one of Linux's memory figures of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / MB


def measure(way: str, port: int, count: int) -> dict[str, Any]:
    """Run one method in a separate process."""
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as folder:
        command = [sys.executable, __file__, "--way", way, "--port", str(port), "--folder", folder, "--count", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def table(count: int, megabytes: int, rounds: int) -> int:
    """Print the table; return 0 if the limits are met, otherwise 1."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--way", "serve", "--megabytes", str(megabytes)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        found = [{way: measure(way, port, count) for way in ("bare", "collect")} for _ in range(rounds)]
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
    print(f"{count} downloads of {megabytes} MB concurrently, median of {rounds} rounds\n")
    print(f"{'':10}{'peak above idle':>16}{'idle':>9}{'CPU':>9}{'wall':>9}")
    for way in ("bare", "collect"):
        middle = {key: median(r[way][key] for r in found) for key in found[0][way]}
        print(f"{way:10}{middle['peak_mb']:13.1f} MB{middle['idle_mb']:6.0f} MB{middle['cpu']:7.2f} s{middle['wall']:7.2f} s")
    peak = median(r["collect"]["peak_mb"] for r in found)
    ratio = median(r["collect"]["peak_mb"] / r["bare"]["peak_mb"] for r in found)
    met = peak < BAR_MB and ratio < BAR_RATIO
    print(f"\npeak {peak:.1f} MB (limit {BAR_MB:.0f}), {ratio:.2f} x bare (limit {BAR_RATIO}): {'met' if met else 'missed'}")
    return 0 if met else 1


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    for hidden in ("--way", "--folder"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    url = f"http://127.0.0.1:{given.port}/noise.wav"
    if given.way == "serve":
        asyncio.run(serve(given.megabytes * MB))
    elif given.way:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
        asyncio.run((bare if given.way == "bare" else collected)(url, Path(given.folder), given.count))
    else:
        return table(given.count, given.megabytes, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
