"""An image call through the router compared with the unmodified OpenAI SDK: CPU per call, peak memory, decoding.

    python benchmarks/openai_call.py [--rounds 5] [--calls 400] [--only cpu|memory|decode]

A child process serves the same image for every call over the loopback interface; each method runs in a separate process, in turns
within a round; ratios are taken within a round, and their median is shown. ``sdk`` is ``AsyncOpenAI`` with its defaults (without
retries), the base64 decoded and the bytes written to a file. ``plugin`` is the hook of the plugin alone, its bytes written the same
way. ``router`` is ``Router.generate_image`` with a store in memory: planned, reserved, journalled, submitted once, the file checked,
hashed, synced and saved. Files are written to a file system in memory if available, so that the disk is not measured.

Limits: 1.1 x the CPU time of the SDK for 1 call, 1 x for 50 and 500 concurrent calls, for a realistic image of 1.5 MB and for one of
120 bytes, which shows the overhead of the router; half the peak memory above idle of the SDK for 500 concurrent images of 1.5 MB;
0.25 x the time of json and base64 to decode a 4 MB image.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import functools
import gc
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anymedia.state.sqlite import SqliteStore

WAYS = ("sdk", "plugin", "router")
BARS = {1: 1.1, 50: 1.0, 500: 1.0}
MEMORY_BAR, DECODE_BAR = 0.5, 0.25


def picture(size: int) -> bytes:
    """Return a PNG of noise of about ``size`` bytes."""
    from PIL import Image

    edge = max(1, round((size / 3) ** 0.5))
    out = io.BytesIO()
    Image.frombytes("RGB", (edge, edge), random.Random(1).randbytes(edge * edge * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def answer(size: int) -> bytes:
    """Return a response of the Images API with one image."""
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
        "output_tokens": 1056,
        "total_tokens": 1068,
    }
    data = [{"b64_json": base64.b64encode(picture(size)).decode()}]
    return json.dumps({"created": 1_790_000_000, "output_format": "png", "usage": usage, "data": data}).encode()


async def serve(size: int) -> None:
    """Print the port and answer every POST with the image."""
    from aiohttp import web

    body = answer(size)

    async def reply(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "application/json", "x-request-id": "req_1"})
        response.content_length = len(body)
        await response.prepare(request)
        for start in range(0, len(body), 1 << 18):
            await response.write(body[start : start + (1 << 18)])
        return response

    runner = web.ServerRunner(web.Server(reply, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


class Measured:
    """Measures CPU seconds and peak memory above idle of a block."""

    journal = 0.0

    def __enter__(self) -> Measured:
        gc.collect()  # excludes garbage of the start-up
        self._idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._cpu = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = time.process_time() - self._cpu
        self.peak_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._idle) / 1024


def clocked(store: SqliteStore) -> Callable[[], float]:
    """Return a function that returns the CPU seconds that a store has spent on its threads."""
    spent = [0.0]

    def timed(run: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(work: Callable[[Any], Any], **options: Any) -> Any:
            def measured(connection: Any) -> Any:
                started = time.thread_time()
                try:
                    return work(connection)
                finally:
                    spent[0] += time.thread_time() - started

            return run(measured, **options)

        return wrapped

    database: Any = store._database
    database.read, database.write = timed(database.read), timed(database.write)
    return lambda: spent[0]


async def in_flight(one: Callable[[int], Awaitable[Any]], calls: int, at_once: int) -> None:
    """Make a number of calls, a number of them concurrently."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(worker() for _ in range(at_once)))


async def by_sdk(url: str, folder: Path, calls: int, at_once: int) -> Measured:
    """Call the unmodified SDK."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="sk-benchmark", max_retries=0) as sdk:

        async def one(number: int) -> None:
            made = await sdk.images.generate(model="gpt-image-2.6-sunburst", prompt="a boat")
            assert made.data is not None
            (folder / f"{number}.png").write_bytes(base64.b64decode(made.data[0].b64_json or ""))

        await in_flight(one, min(calls, at_once, 20), min(at_once, 20))
        with Measured() as measured:
            await in_flight(one, calls, at_once)
    return measured


async def by_plugin(url: str, folder: Path, calls: int, at_once: int) -> Measured:
    """Call the hook of the plugin alone."""
    from anymedia.context import Context
    from anymedia.credentials import Secret
    from anymedia.requests import GenerateImage
    from openai_media import plugin

    row = plugin.capabilities().model("gpt-image-2.6-sunburst")
    assert row is not None
    made: dict[str, Any] = {}

    def client(name: str, factory: Callable[[], Any]) -> Any:
        if name not in made:
            made[name] = factory()
        return made[name]

    async def one(number: int) -> None:
        context = Context(
            backend="openai",
            model=row.id,
            service="openai",
            spec=row,
            operation=row.operations["generate_image"],
            settings={"base_url": url},
            secrets={"api_key": Secret("sk-benchmark")},
            clients=client,
        )
        outcome = await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=context)
        (folder / f"{number}.png").write_bytes(outcome.pieces[0].data or b"")

    await in_flight(one, min(calls, at_once, 20), min(at_once, 20))
    with Measured() as measured:
        await in_flight(one, calls, at_once)
    for found in made.values():
        await found.aclose()
    return measured


async def by_router(url: str, folder: Path, calls: int, at_once: int, *, journal: bool = False) -> Measured:
    """Call the router; ``journal`` also measures the journal, which takes time itself."""
    from anymedia.router import Router
    from anymedia.settings import InstanceSettings, Settings
    from anymedia.state.sqlite import SqliteStore

    os.environ["OPENAI_API_KEY"] = "sk-benchmark"
    own = InstanceSettings(name="openai", plugin="openai", service="openai", base_url=url)
    settings = Settings(instances={"openai": own}, state_dir=folder)
    store = SqliteStore(":memory:")
    cpu = clocked(store) if journal else lambda: 0.0
    async with Router(store=store, settings=settings) as router:

        async def one(number: int) -> None:
            output = folder / f"{number}.png"
            await router.generate_image(prompt="a boat", backend="openai", model="gpt-image-2.6-sunburst", output=output, overwrite=True)

        await in_flight(one, min(calls, at_once, 20), min(at_once, 20))
        with Measured() as measured:
            before = cpu()
            await in_flight(one, calls, at_once)
    measured.journal = cpu() - before
    return measured


def run_way(way: str, url: str, calls: int, at_once: int) -> dict[str, float]:
    """Run one method in a separate process."""
    command = [sys.executable, __file__, "--way", way, "--url", url, "--calls", str(calls), "--at-once", str(at_once)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Server:
    """The child process that serves the image."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> str:
        self._process = subprocess.Popen([sys.executable, __file__, "--serve", str(self._size)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def cpu(rounds: int, calls: int) -> None:
    """Print the CPU time per call with 1, 50 and 500 concurrent calls, for a realistic and a tiny image."""
    print(f"\nCPU per call, an image of 1.5 MB, median of {rounds} rounds")
    _cpu(1_500_000, rounds, {at_once: max(calls // 4, at_once) for at_once in BARS})
    print(f"\nCPU per call, an image of 120 bytes, median of {rounds} rounds")
    _cpu(60, rounds, {at_once: max(calls, at_once * 2) for at_once in BARS})


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median, over the rounds, of the ratio within each round."""
    return median(a / b for a, b in zip(values, reference, strict=True))


def _cpu(size: int, rounds: int, calls: Mapping[int, int]) -> None:
    with Server(size) as url:
        for at_once, number in calls.items():
            seen: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way in WAYS:
                    seen[way].append(run_way(way, url, number, at_once)["cpu"] / number * 1000)
            sdk, plugin, router = (median(seen[way]) for way in WAYS)
            journal = run_way("clocked", url, number, at_once)["journal"] / number * 1000
            alone = f"plugin alone {plugin:.2f} ms = {median_ratio(seen['plugin'], seen['sdk']):.2f} x"
            ratio, bare = median_ratio(seen["router"], seen["sdk"]), median_ratio([took - journal for took in seen["router"]], seen["sdk"])
            through = f"router {router:.2f} ms = {ratio:.2f} x, without the journal {bare:.2f} x"
            bar = BARS[at_once]
            through += f" (limit {bar} x): {'met' if ratio <= bar else 'MISSED'}"
            print(f"  {at_once:>3} in flight: sdk {sdk:.2f} ms, {alone}, {through}")


def memory(rounds: int) -> None:
    """Print the peak memory above idle of 500 concurrent images of 1.5 MB."""
    print(f"\nPeak memory above idle, 500 images of 1.5 MB in flight, median of {rounds} rounds")
    with Server(1_500_000) as url:
        seen: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                seen[way].append(run_way(way, url, 500, 500)["peak_mb"])
    sdk, plugin, router = (median(seen[way]) for way in WAYS)
    ratio = median_ratio(seen["router"], seen["sdk"])
    verdict = "met" if ratio <= MEMORY_BAR else "MISSED"
    print(f"  sdk {sdk:.0f} MB, plugin alone {plugin:.0f} MB, router {router:.0f} MB = {ratio:.2f} x (limit {MEMORY_BAR} x): {verdict}")


def decode(rounds: int) -> None:
    """Print the time to decode a 4 MB image from JSON, compared with json and base64."""
    from openai_media._answers import decode_images

    body = answer(4_000_000)

    def plain() -> bytes:
        return base64.b64decode(json.loads(body)["data"][0]["b64_json"])

    def plugin() -> bytes:
        found = decode_images(body).data
        assert found is not None
        return found[0].data or b""

    assert plain() == plugin()
    seen: dict[str, list[float]] = {"plain": [], "plugin": []}
    for _ in range(rounds * 5):
        for name, way in (("plain", plain), ("plugin", plugin)):
            started = time.perf_counter()
            way()
            seen[name].append(time.perf_counter() - started)
    usual, took = median(seen["plain"]) * 1000, median(seen["plugin"]) * 1000
    verdict = "met" if took <= DECODE_BAR * usual else "MISSED"
    ratio = f"{took / usual:.2f} x (limit {DECODE_BAR} x)"
    print(f"\nA 4 MB image decoded from JSON: json+base64 {usual:.1f} ms, plugin {took:.1f} ms = {ratio}: {verdict}")


def main() -> None:
    """Run the selected parts, or one child process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--only", choices=["cpu", "memory", "decode"])
    for hidden in ("--serve", "--way", "--url", "--at-once"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(int(options.serve)))
    elif options.way is not None:
        with_journal = functools.partial(by_router, journal=True)
        way: Any = {"sdk": by_sdk, "plugin": by_plugin, "router": by_router, "clocked": with_journal}[options.way]
        memory_files = Path("/dev/shm")
        with tempfile.TemporaryDirectory(prefix="anymedia-bench-", dir=memory_files if memory_files.is_dir() else None) as folder:
            measured = asyncio.run(way(options.url, Path(folder), options.calls, int(options.at_once)))
        print(json.dumps({"cpu": measured.cpu, "journal": measured.journal, "peak_mb": measured.peak_mb}))
    else:
        if options.only in {None, "decode"}:
            decode(options.rounds)
        if options.only in {None, "cpu"}:
            cpu(options.rounds, options.calls)
        if options.only in {None, "memory"}:
            memory(max(1, options.rounds // 2))


if __name__ == "__main__":
    main()
