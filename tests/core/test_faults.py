"""The fault matrix: for every fault at every step, one submit, or more only where the journal shows why; and the documented end."""

import pytest
from core.faults import Cell, cells, expected, run_cell

pytestmark = pytest.mark.anyio


#: The service is silent for four seconds in some cells: they wait for real.
CELLS = [pytest.param(c, marks=[pytest.mark.exhaustive] if c.fault == "timeout" else []) for c in cells()]


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_every_fault_ends_as_documented_with_one_submit(cell: Cell) -> None:
    seen = await run_cell(cell)
    assert (seen.state, seen.charged) == expected(cell), seen
    certain = [d for d in seen.deliveries if d in {"not_sent", "refused"}]
    refused = certain.count("refused")
    if cell.fault == "refused":
        assert seen.posts == 0
    else:
        assert seen.posts == 1 + refused, seen
    assert seen.deliveries.count("unknown") <= 1
    if seen.state == "unknown":
        assert seen.error in {"submission_unknown", "bad_backend_response"}
