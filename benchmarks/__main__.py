"""One command, one table: what anymedia costs beside its bars.

    python -m benchmarks [--quick] [--only NAME ...] [--json FILE]

Run from the checkout, in an environment that has the core and the backends installed. ``--quick`` takes less than a minute and is
rougher. Nothing is asserted: a bar that is missed is said in the table, and the exit code is 0 all the same.
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

#: Name -> where it is measured, in the order of the table.
PARTS = {
    "start": "start:figures",
    "plan": "plans:figures",
    "state": "keeping:state",
    "artifacts": "keeping:artifacts",
    "waiting": "keeping:polling",
    "guards": "guards:figures",
    "router": "calls:figures",
    "decode": "openai_sdk:decoding",
    "openai": "openai_sdk:calls",
    "downloads": "fetching:figures",
    "local": "local:figures",
}


def part(name: str) -> Callable[[bool], Iterator[Figure]]:
    """Return what measures one part."""
    module, _, function = PARTS[name].partition(":")
    found: Callable[[bool], Iterator[Figure]] = getattr(importlib.import_module(f".{module}", __package__), function)
    return found


def main() -> int:
    """Measure what was asked for, print the table."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than a minute, rougher")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args()
    found: list[Figure] = []
    begun = time.perf_counter()
    for name in asked.only or PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        found += part(name)(asked.quick)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors{load}\n")
    print(show(found))
    missed = [figure.name for figure in found if figure.met is False]
    met = sum(figure.met is True for figure in found)
    print(f"\n{met} bars met, {len(missed)} missed{': ' + ', '.join(missed) if missed else ''}; {time.perf_counter() - begun:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps([dataclasses.asdict(figure) | {"met": figure.met} for figure in found], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
