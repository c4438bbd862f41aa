"""The router compared with the unmodified OpenAI SDK; decoding a 4 MB image from JSON."""

from __future__ import annotations

import base64
import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import median

from . import openai_call
from .figures import Figure

#: Concurrent calls -> limit of the CPU time relative to the SDK.
BARS = openai_call.BARS


def decoding(quick: bool) -> Iterator[Figure]:
    """Measure time and heap of decoding a 4 MB image from JSON."""
    from openai_media._answers import decode_images

    body = openai_call.answer(4_000_000)

    def plain() -> bytes:
        return base64.b64decode(json.loads(body)["data"][0]["b64_json"])

    def plugin() -> bytes:
        found = decode_images(body).data
        assert found is not None
        return found[0].data or b""

    size = len(plugin())
    if plain() != plugin():
        raise SystemExit("the two ways of decoding differ")
    rounds = 15 if quick else 60
    seen: dict[Callable[[], bytes], list[float]] = {plain: [], plugin: []}
    for _ in range(rounds):
        for way, times in seen.items():
            begun = time.process_time()
            way()
            times.append(time.process_time() - begun)
    usual, took = min(seen[plain]) * 1000, min(seen[plugin]) * 1000
    note = f"{took:.1f} ms compared with {usual:.1f} ms for json and base64; minimum of {rounds} interleaved rounds, CPU time"
    yield Figure(name="4 MB image decoded from JSON: time", value=took / usual, unit="x", bar=openai_call.DECODE_BAR, note=note)
    heap = _heap(plugin)
    note = f"{heap / 1e6:.1f} MB peak for an image of {size / 1e6:.1f} MB; json and base64 {_heap(plain) / size:.1f} x"
    yield Figure(name="4 MB image decoded from JSON: heap", value=heap / size, unit="x", bar=1.1, note=note)


def _heap(way: Callable[[], bytes]) -> int:
    gc.collect()
    tracemalloc.start()
    kept = way()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak


def calls(quick: bool) -> Iterator[Figure]:
    """Measure the CPU time per call for a realistic and a tiny image, and without ``quick`` the peak memory of 500 calls."""
    for what, size, share in (("an image of 1.5 MB", 1_500_000, 4), ("a tiny image", 60, 1)):
        for at_once, bar in BARS.items():
            if quick and (at_once == 500 or (size > 60 and at_once > 1)):
                continue
            yield _cpu(what, size, at_once, bar, rounds=2 if quick else 5, number=max((150 if quick else 400) // share, at_once))
    if not quick:
        yield _memory()


def _cpu(what: str, size: int, at_once: int, bar: float, *, rounds: int, number: int) -> Figure:
    seen: dict[str, list[float]] = {way: [] for way in openai_call.WAYS}
    with openai_call.Server(size) as url:
        for _ in range(rounds):
            for way in openai_call.WAYS:
                seen[way].append(openai_call.run_way(way, url, number, at_once)["cpu"] / number * 1000)
    sdk, plugin, router = (median(seen[way]) for way in openai_call.WAYS)
    ratio = openai_call.median_ratio(seen["router"], seen["sdk"])
    note = f"router {router:.2f} ms, plugin alone {plugin:.2f} ms, SDK {sdk:.2f} ms per call; {rounds} interleaved rounds"
    return Figure(
        name=f"{what} through the router, {at_once} in flight: CPU relative to the SDK", value=ratio, unit="x", bar=bar, note=note
    )


def _memory() -> Figure:
    with openai_call.Server(1_500_000) as url:
        seen = [{way: openai_call.run_way(way, url, 500, 500)["peak_mb"] for way in ("sdk", "router")} for _ in range(2)]
    sdk, router = (median(r[way] for r in seen) for way in ("sdk", "router"))
    note = f"500 images of 1.5 MB in flight: router {router:.0f} MB above idle, SDK {sdk:.0f} MB"
    return Figure(name="image calls, 500 in flight: peak memory", value=router / sdk, unit="x", bar=openai_call.MEMORY_BAR, note=note)
