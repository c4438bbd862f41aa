"""Plans and results, for a person or as the one JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..formatting import in_dollars, in_dollars_between
from .console import Console

if TYPE_CHECKING:
    from ..planning.types import Plan
    from ..results import Adjustment, Cost, Result

__all__ = ["adjusted", "cost_words", "show_plan", "show_result"]

#: Reasons that say nothing about the request.
_BESIDE_THE_POINT = frozenset({"not_named", "operation_unsupported"})


def show_plan(console: Console, plan: Plan) -> None:
    """Print what would be sent, where, at what price, and why not elsewhere."""
    if console.json:
        console.document({"success": True, "dry_run": True, **plan.to_json()})
        return
    for line in (*str(attrs.evolve(plan, rejected=())).splitlines(), *_rejected(plan)):
        console.result(line)


def _rejected(plan: Plan) -> list[str]:
    """Say why not elsewhere: the same reasons together, and of what was not asked for only how much there is."""
    by_reason: dict[str, list[str]] = {}
    aside = 0
    for rejection in plan.rejected:
        if any(reason.code in _BESIDE_THE_POINT for reason in rejection.reasons):
            aside += 1
        else:
            by_reason.setdefault("; ".join(reason.text for reason in rejection.reasons), []).append(str(rejection.candidate))
    lines = [f"  not {', '.join(candidates)}: {why}" for why, candidates in by_reason.items()]
    return lines + ([f"  {aside} more were not asked for, or do something else (--json lists all)"] if aside else [])


def show_result(console: Console, result: Result, *, paths: bool = True) -> None:
    """Print the paths on stdout (unless the bytes went there) and what else is to be known on stderr."""
    if console.json:
        console.document(result.to_json())
        return
    if paths:
        for file in result.files:
            console.result(file.path)
    made_by = f"{result.provenance.backend}/{result.provenance.model}"
    console.note(f"{result.operation} by {made_by}, {result.seconds:.1f} s, {cost_words(result.cost)}")
    for a in result.adjustments:
        console.note(f"  {a.kind}: {adjusted(a)}")
    for attempt in result.attempts:
        console.note(f"  tried before: {attempt.backend}/{attempt.model}: {attempt.error}")
    for warning in result.warnings:
        console.note(f"  warning: {warning}")
    if result.outside_mask_difference is not None:
        console.note(f"  outside the mask, the provider's picture differed by {result.outside_mask_difference:.2f} of 255 on average")
    for text in result.texts:
        console.note(f"  it says: {text}")
    if result.provenance.disclosure:
        console.note(f"  {result.provenance.disclosure}")
    if result.continuation_id:
        console.note(f"  go on with: --continue {result.continuation_id}")


def adjusted(adjustment: Adjustment) -> str:
    """Say what was adjusted and why; both values only where they differ."""
    a = adjustment
    change = "" if a.asked == a.sent else f" {a.asked} -> {'left out' if a.sent is None else a.sent}"
    return f"{a.field}{change} ({a.why})"


def cost_words(cost: Cost) -> str:
    """Return the cost in words: what it was, else what was quoted, else that nobody knows."""
    if cost.actual_usd is not None:
        return f"{in_dollars(cost.actual_usd)} USD"
    if cost.quoted_usd is None:
        return "cost unknown"
    return f"quoted {in_dollars_between(*cost.quoted_usd)} USD"
