"""What a model's row says, in words and as JSON values."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Any

import attrs

from ..capabilities import ModelRow, Price
from ..plugins.instances import BackendInstance

__all__ = ["all_prices", "life", "not_installed", "plain", "prices", "requirement", "usable"]


def usable(instance: BackendInstance, row: ModelRow | None = None) -> str:
    """Say whether an instance is usable, or one of its models, or what it lacks."""
    wanting = [] if instance.usable else [f"no: {', '.join(instance.missing)}"]
    if row is not None and (words := not_installed(instance, row)):
        wanting.append(words)
    return "; ".join(wanting) or "yes"


def not_installed(instance: BackendInstance, row: ModelRow) -> str:
    """Say that what a model requires is not installed, with the command that installs it; empty where nothing is wanting."""
    needs = row.unmet(instance.absent)
    return "" if needs is None else f"not installed: {needs.install}"


def requirement(instance: BackendInstance, row: ModelRow) -> dict[str, Any] | None:
    """Return what a model requires, and whether that is installed, as JSON values; None where the plugin is enough."""
    return None if row.requires is None else {**plain(row.requires), "installed": row.unmet(instance.absent) is None}


def life(instance: BackendInstance, row: ModelRow, today: datetime.date) -> str:
    """Say where a model is in its life."""
    stage = row.lifecycle.stage_on(today)
    words: str = "preview" if row.preview and stage == "active" else stage
    if row.lifecycle.retires and stage != "active":
        words += f" {row.lifecycle.retires}"
    elif row.lifecycle.retires and row.lifecycle.certainty == "firm":
        words += f" until {row.lifecycle.retires}"
    return words if instance.enforce_lifecycle else f"({words})"


def all_prices(row: ModelRow) -> list[Price]:
    """Return the prices of all operations, each once."""
    found: list[Price] = []
    for operation in row.operations.values():
        found += [price for price in operation.prices if price not in found]
    return found


def prices(row: ModelRow) -> str:
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
