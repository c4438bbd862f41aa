"""Fifty concurrent downloads, compared with a bare streamed download."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from . import downloads
from .figures import Figure


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    count, megabytes, rounds = (50, 4, 1) if quick else (50, 20, 3)
    command = [sys.executable, downloads.__file__, "--way", "serve", "--megabytes", str(megabytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            seen = [{way: downloads.measure(way, port, count) for way in ("bare", "collect")} for _ in range(rounds)]
        finally:
            server.kill()
    peak = median(r["collect"]["peak_mb"] for r in seen)
    ratio = median(r["collect"]["peak_mb"] / r["bare"]["peak_mb"] for r in seen)
    how = f"{count} downloads of {megabytes} MB concurrently, with format detection, hashing and fsync; median of {rounds} rounds"
    yield Figure(name="downloads: peak memory above idle", value=peak, unit="MB", bar=downloads.BAR_MB, note=how)
    yield Figure(
        name="downloads: compared with bare aiohttp", value=ratio, unit="x", bar=downloads.BAR_RATIO, note="peak memory above idle"
    )
    cpu = median(r["collect"]["cpu"] / r["bare"]["cpu"] for r in seen)
    yield Figure(name="downloads: CPU compared with bare aiohttp", value=cpu, unit="x", note="with SHA-256 and the header check; no limit")
