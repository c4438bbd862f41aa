"""Print the fault matrix: the number of submits and the final state for each operation, step and fault.

    python benchmarks/faults.py

Limit: 1 in every cell; more only if the journal shows that the earlier submits were certainly refused (``+``).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from core.faults import FAULTS, STEPS, Cell, Seen, cells, run_cell


async def main() -> None:
    every = list(cells())
    found: dict[Cell, Seen] = {cell: await run_cell(cell) for cell in every}
    rows = sorted({(c.operation, c.step) for c in every}, key=lambda r: (r[0], STEPS.index(r[1])))
    print(f"{'operation':22}{'step':10}" + "".join(f"{fault:>11}" for fault in FAULTS))
    for operation, step in rows:
        line = f"{operation:22}{step:10}"
        for fault in FAULTS:
            seen = found.get(Cell(operation=operation, step=step, fault=fault))
            again = "" if seen is None or "refused" not in seen.deliveries else "+"
            line += f"{'' if seen is None else f'{seen.posts}{again} {seen.state[:7]}':>11}"
        print(line)
    beyond = [c for c, s in found.items() if s.posts > 1 + s.deliveries.count("refused")]
    print(f"{len(found)} cells; unaccounted submits: {len(beyond)}   (+: an earlier submit was certainly refused)")


if __name__ == "__main__":
    asyncio.run(main())
