"""Show plans, results and model specs, as text or as JSON."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..capabilities import ModelSpec, Price
from ..formatting import in_dollars, in_dollars_between
from ..plugins.instances import BackendInstance
from .console import Console

if TYPE_CHECKING:
    from ..planning.types import Candidate, Plan
    from ..results import Cost, Result


def usable(instance: BackendInstance, spec: ModelSpec | None = None) -> str:
    """Return "yes", or what an instance or one of its models lacks."""
    missing = [] if instance.usable else [f"missing: {', '.join(instance.missing)}"]
    if spec is not None and (text := not_installed(instance, spec)):
        missing.append(text)
    return "; ".join(missing) or "yes"


def not_installed(instance: BackendInstance, spec: ModelSpec) -> str:
    """Return the command that installs what a model requires; empty if it is installed or nothing is required."""
    needs = spec.unmet(instance.absent)
    return "" if needs is None else f"not installed: {needs.install}"


def requirement(instance: BackendInstance, spec: ModelSpec) -> dict[str, Any] | None:
    """Return what a model requires beyond the plugin and whether it is installed, as JSON values; None for no requirement."""
    return None if spec.requires is None else {**plain(spec.requires), "installed": spec.unmet(instance.absent) is None}


def life(instance: BackendInstance, spec: ModelSpec, today: datetime.date) -> str:
    """Format the lifecycle stage of a model."""
    stage = spec.lifecycle.stage_on(today)
    text: str = "preview" if spec.preview and stage == "active" else stage
    if spec.lifecycle.retires and stage != "active":
        text += f" {spec.lifecycle.retires}"
    elif spec.lifecycle.retires and spec.lifecycle.certainty == "firm":
        text = f"until {spec.lifecycle.retires}"
    return text if instance.enforce_lifecycle else f"({text})"


def all_prices(spec: ModelSpec) -> list[Price]:
    """Return the distinct prices of all operations."""
    return list(dict.fromkeys(price for operation in spec.operations.values() for price in operation.prices))


#: Units of prices -> how a table shows them.
_UNITS = {"second": "s", "input_image": "input", "1k_chars": "k chars", "megapixel": "MP", "gpu_second": "GPU s"}


def prices(spec: ModelSpec) -> str:
    """Format the price range per unit; what images of the usual size cost by the megapixel is added to the price per image."""
    units: dict[str, tuple[float, float]] = {}
    firsts: dict[str, tuple[float, float]] = {}
    lines = [price for operation in spec.operations.values() for price in operation.prices]
    for price in lines:
        units[price.per] = _widened(units.get(price.per, price.usd), price.usd)
        if price.first is not None:
            firsts[price.per] = _widened(firsts.get(price.per, price.first), price.first)
    usual = next((price.usual for price in lines if price.per == "megapixel" and price.usual), None)
    if usual is not None:
        each, image, first = units.pop("megapixel"), units.get("image", (0.0, 0.0)), firsts.pop("megapixel", None)
        more = [a * n if first is None else first[i] + a * max(0.0, n - 1) for i, (a, n) in enumerate(zip(each, usual, strict=True))]
        units["image"] = (float(f"{image[0] + more[0]:.2g}"), float(f"{image[1] + more[1]:.2g}"))
    if units and all(high == 0 for _, high in (*units.values(), *firsts.values())):
        return "free"
    then = {unit: f" (first {_range(amounts)})" for unit, amounts in firsts.items()}
    return ", ".join(f"{_range(each)}/{_UNITS.get(unit, unit)}{then.get(unit, '')}" for unit, each in units.items()) or "unknown"


def _widened(known: tuple[float, float], usd: tuple[float, float]) -> tuple[float, float]:
    return min(known[0], usd[0]), max(known[1], usd[1])


def _range(usd: tuple[float, float]) -> str:
    return f"{usd[0]:g}" if usd[0] == usd[1] else f"{usd[0]:g}-{usd[1]:g}"


@functools.cache
def _shown(kind: type) -> tuple[tuple[str, Any], ...] | None:
    """Return names and defaults of the shown fields of an attrs class; None for other classes."""
    return tuple((f.name, f.default) for f in attrs.fields(kind) if f.name != "wire") if attrs.has(kind) else None


def plain(value: Any) -> Any:
    """Return matrix records as JSON values, without ``wire`` and without absent or default values."""
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


#: How many reasons for rejections a plan shows without ``-v``.
_REASONS = 5


def show_plan(console: Console, plan: Plan) -> None:
    """Print what would be sent, where, at what price, and why other candidates were rejected."""
    lines = (*str(attrs.evolve(plan, rejected=())).splitlines(), *_rejected(plan, console.verbose))
    console.answer({"planned": True, **plan.to_json()}, lines)


def _rejected(plan: Plan, verbose: bool) -> list[str]:
    """Format the rejected candidates, grouped by reason; of those not asked for only their number."""
    summarized = len(plan.rejected) - len(plan.considered)
    lines = [f"  not {_listed(candidates, verbose)}: {reason}" for reason, candidates in plan.rejected_by_reason().items()]
    if not verbose and len(lines) > _REASONS:
        lines[_REASONS - 1 :] = [f"  {len(lines) - _REASONS + 1} more reasons (-v shows all)"]
    return lines + ([f"  {summarized} more candidates were not requested or do not support the operation"] if summarized else [])


def _listed(candidates: Sequence[Candidate], verbose: bool) -> str:
    return ", ".join(map(str, candidates)) if verbose or len(candidates) <= 2 else f"{candidates[0]} and {len(candidates) - 1} more"


def show_result(console: Console, result: Result, *, paths: bool = True) -> None:
    """Print the paths on stdout (unless the bytes were written there) and notes on stderr, at most three lines without ``-v``."""
    if console.json:
        console.document(result.to_json())
        return
    if paths:
        for file in result.files:
            console.result(file.path)
        if not result.files:
            console.result(result.data_text)
    made_by = f"{result.provenance.backend}/{result.provenance.model}"
    more = f"; continue with: --continue {result.continuation_id}" if result.continuation_id else ""
    console.note(f"{result.operation} by {made_by}, {result.seconds:.1f} s, {cost_text(result.cost)}{more}")
    notes = list(_notes(result))
    if not console.verbose and len(notes) > 2:
        notes[1:] = [f"{len(notes) - 1} more notes (-v shows all)"]
    for note in notes:
        console.note(f"  {note}")


def _notes(result: Result) -> Iterator[str]:
    """Yield the notes of a result, the most important first."""
    for attempt in result.attempts:
        yield f"failed attempt: {attempt.backend}/{attempt.model}: {attempt.error}"
    ways = [adjustment for adjustment in result.adjustments if adjustment.kind in {"emulated", "transcoded"}]  # the result is as requested
    changes = [adjustment for adjustment in result.adjustments if adjustment not in ways]
    yield from (f"warning: {warning}" for warning in result.warnings if warning.code == "file_renamed")
    yield from map(str, changes)
    yield from (f"warning: {warning}" for warning in result.warnings if warning.code != "file_renamed")
    yield from map(str, ways)
    if result.outside_mask_difference is not None:
        yield f"outside the mask, the provider's image differed by {result.outside_mask_difference:.2f} of 255 on average"
    for text in result.texts:
        yield f"text: {text}"
    if result.provenance.disclosure:
        yield result.provenance.disclosure


def cost_text(cost: Cost) -> str:
    """Format the actual cost, or the quote, or "cost unknown"."""
    if cost.actual_usd is not None:
        return f"{in_dollars(cost.actual_usd)} USD"
    if cost.quoted_usd is None:
        return "cost unknown"
    return f"quoted {in_dollars_between(*cost.quoted_usd)} USD"
