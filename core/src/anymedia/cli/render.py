"""Show plans, results and model specs, as text or as JSON."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ..capabilities import ModelSpec, Price
from ..formatting import in_dollars, in_dollars_between
from ..plugins.instances import BackendInstance
from .console import Console

if TYPE_CHECKING:
    from ..planning.types import Plan
    from ..results import Adjustment, Cost, Result

__all__ = [
    "adjusted",
    "all_prices",
    "cost_words",
    "life",
    "not_installed",
    "plain",
    "prices",
    "requirement",
    "show_plan",
    "show_result",
    "usable",
]


def usable(instance: BackendInstance, row: ModelSpec | None = None) -> str:
    """Say whether an instance is usable, or one of its models, or what it lacks."""
    wanting = [] if instance.usable else [f"no: {', '.join(instance.missing)}"]
    if row is not None and (words := not_installed(instance, row)):
        wanting.append(words)
    return "; ".join(wanting) or "yes"


def not_installed(instance: BackendInstance, row: ModelSpec) -> str:
    """Say that what a model requires is not installed, with the command that installs it; empty where nothing is wanting."""
    needs = row.unmet(instance.absent)
    return "" if needs is None else f"not installed: {needs.install}"


def requirement(instance: BackendInstance, row: ModelSpec) -> dict[str, Any] | None:
    """Return what a model requires, and whether that is installed, as JSON values; None where the plugin is enough."""
    return None if row.requires is None else {**plain(row.requires), "installed": row.unmet(instance.absent) is None}


def life(instance: BackendInstance, row: ModelSpec, today: datetime.date) -> str:
    """Say where a model is in its life."""
    stage = row.lifecycle.stage_on(today)
    words: str = "preview" if row.preview and stage == "active" else stage
    if row.lifecycle.retires and stage != "active":
        words += f" {row.lifecycle.retires}"
    elif row.lifecycle.retires and row.lifecycle.certainty == "firm":
        words += f" until {row.lifecycle.retires}"
    return words if instance.enforce_lifecycle else f"({words})"


def all_prices(row: ModelSpec) -> list[Price]:
    """Return the prices of all operations, each once."""
    found: list[Price] = []
    for operation in row.operations.values():
        found += [price for price in operation.prices if price not in found]
    return found


def prices(row: ModelSpec) -> str:
    """Say the whole range of prices per unit."""
    units: dict[str, tuple[float, float]] = {}
    for price in all_prices(row):
        low, high = units.get(price.per, price.usd)
        units[price.per] = (min(low, price.usd[0]), max(high, price.usd[1]))
    said = [f"{low:g}/{unit}" if low == high else f"{low:g}-{high:g}/{unit}" for unit, (low, high) in units.items()]
    return ", ".join(said) or "unknown"


@functools.cache
def _shown(kind: type) -> tuple[tuple[str, Any], ...] | None:
    """Return names and defaults of a record's fields that are shown; None for what is no record."""
    return tuple((f.name, f.default) for f in attrs.fields(kind) if f.name != "wire") if attrs.has(kind) else None


def plain(value: Any) -> Any:
    """Return matrix records as JSON values; what is absent or the default is left out, and so is ``wire``."""
    if value is None or isinstance(value, str | int | float):
        return value
    if (shown := _shown(value.__class__)) is not None:
        fields = ((name, getattr(value, name), default) for name, default in shown)
        return {n: plain(v) for n, v, default in fields if v is not None and v != default and v not in ({}, ())}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


#: Reasons that say nothing about the request.
_BESIDE_THE_POINT = frozenset({"not_selected", "operation_unsupported"})


def show_plan(console: Console, plan: Plan) -> None:
    """Print what would be sent, where, at what price, and why not elsewhere."""
    if console.json:
        console.document({"success": True, "planned": True, **plan.to_json()})
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
