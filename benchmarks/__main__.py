"""Print a table of measurements and their limits.

    python -m benchmarks [--quick] [--only NAME ...] [--json FILE]

Run it from the checkout, in an environment with the core and the backends installed. ``--quick`` takes less than a minute and is
less precise. Nothing is asserted: the table marks a missed limit, and the exit code is 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .figures import Figure, show

#: Name of a part -> the function that measures it, in the order of the table.
PARTS = {
    "start": "start:figures",
    "plan": "plans:figures",
    "state": "keeping:state",
    "artifacts": "keeping:artifacts",
    "latency": "latency:figures",
    "waiting": "keeping:polling",
    "guards": "guards:figures",
    "router": "calls:figures",
    "decode": "openai_sdk:decoding",
    "openai": "openai_sdk:calls",
    "downloads": "fetching:figures",
    "local": "local:figures",
    "gallery": "gallery:figures",
    "fleet": "fleet:figures",
    "workers": "fleet_workers:figures",
    "rate": "fleet_rate:figures",
}


def part(name: str) -> Callable[[bool], Iterator[Figure]]:
    """Return the function that measures a part."""
    module, _, function = PARTS[name].partition(":")
    found: Callable[[bool], Iterator[Figure]] = getattr(importlib.import_module(f".{module}", __package__), function)
    return found


def main() -> int:
    """Measure the selected parts and print the table."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than a minute, less precise")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="NAME", help=f"parts to measure: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measurements to this file")
    options = parser.parse_args()
    found: list[Figure] = []
    started = time.perf_counter()
    for name in options.only or PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        found += part(name)(options.quick)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors{load}\n")
    print(show(found))
    missed = [figure.name for figure in found if figure.met is False]
    met = sum(figure.met is True for figure in found)
    print(f"\n{met} limits met, {len(missed)} missed{': ' + ', '.join(missed) if missed else ''}; {time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(figure) | {"met": figure.met} for figure in found], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
