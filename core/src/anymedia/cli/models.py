"""``anymedia models``: one line a model."""

from __future__ import annotations

import datetime
from typing import Any, get_args

import click

from ..capabilities import ModelSpec
from ..operations import Operation
from ..plugins.instances import BackendInstance
from .console import Console
from .environment import columns, load_environment
from .options import AS_JSON
from .render import all_prices, life, prices, requirement, usable

__all__ = ["models"]

_TASKS = (*get_args(Operation), "image", "video", "audio")


@click.command("models")
@click.argument("backend", required=False)
@click.option("--task", type=click.Choice(_TASKS), metavar="OPERATION", help="Only models that do this (or make this medium).")
@click.option("--refresh", is_flag=True, help="Ask BACKEND's service what it has now, keep that, and show what changed.")
@AS_JSON
def models(backend: str | None, task: str | None, refresh: bool, as_json: bool) -> None:
    """List the models of all backends, or of BACKEND: what they do, price, whether they are usable here."""
    if refresh:
        from .refresh_models import refresh_models

        refresh_models(backend, Console(json=as_json))
        return
    console, today = Console(json=as_json), datetime.datetime.now(datetime.UTC).date()
    environment = load_environment()
    rows = [(i, row) for i in environment.pick(backend) for row in i.matrix.models if task is None or _does(row, task)]
    if as_json:
        console.document({"success": True, "models": [_as_json(i, row, today) for i, row in rows]})
        return
    lines = [[f"{i.name}/{row.id}", _operations(row), prices(row), life(i, row, today), usable(i, row)] for i, row in rows]
    for line in columns([["MODEL", "DOES", "PRICE (USD)", "LIFE", "USABLE HERE"], *lines]):
        console.result(line)


def _does(row: ModelSpec, task: str) -> bool:
    return task == row.media or task in row.operations


def _operations(row: ModelSpec) -> str:
    return " ".join(row.operations)


def _as_json(instance: BackendInstance, row: ModelSpec, today: datetime.date) -> dict[str, Any]:
    life = row.lifecycle
    return {
        "backend": instance.name,
        "model": row.id,
        "aliases": list(row.aliases),
        "media": row.media,
        "operations": list(row.operations),
        "preview": row.preview,
        "lifecycle": {
            "stage": life.stage_on(today),
            "released": _date(life.released),
            "deprecated": _date(life.deprecated),
            "retires": _date(life.retires),
            "certainty": life.certainty,
            "replacement": life.replacement,
        },
        "prices": [{"per": p.per, "usd": list(p.usd), "basis": p.basis, "checked": _date(p.checked)} for p in all_prices(row)],
        "usable": instance.usable and row.unmet(instance.absent) is None,
        "missing": list(instance.missing),
        "requires": requirement(instance, row),
    }


def _date(day: datetime.date | None) -> str | None:
    return None if day is None else day.isoformat()
