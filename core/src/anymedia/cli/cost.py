"""``anymedia cost``: quoted and actual costs."""

from __future__ import annotations

import datetime
import re
import time
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import InvalidRequest, Problem
from ..formatting import in_dollars, in_dollars_between
from .console import Console, short_time, table
from .environment import AS_JSON
from .jobs import with_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..state.store import CallRecord, Spend, Store

__all__ = ["cost", "since_when"]

_UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


@click.command("cost")
@click.option("--since", metavar="TIME", help="today, 12h, 7d, 2w, or a date like 2026-11-01 (UTC); default: everything.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="List at most this many calls; the totals include all."
)
@AS_JSON
def cost(since: str | None, limit: int, as_json: bool) -> None:
    """Show quoted and actual costs in US dollars, by backend and by call, the newest first."""
    start = since_when(since, datetime.datetime.now(datetime.UTC))
    console = Console(json=as_json)

    async def read(store: Store) -> tuple[Sequence[CallRecord], dict[str, Spend], Spend]:
        by_backend = {name: await store.spend(since=start, backend=name) for name in await store.backends(since=start)}
        return await store.calls(since=start, limit=limit), by_backend, await store.spend(since=start)

    records, by_backend, total = with_store(read)
    if as_json:
        calls = [_call(r) for r in records]
        document = {"total": attrs.asdict(total), "backends": {n: attrs.asdict(s) for n, s in by_backend.items()}, "calls": calls}
        console.document({"success": True, "since": start, **document})
        return
    rows = [["BACKEND", "CALLS", "SPENT", "RESERVED", "UNKNOWN COST"]]
    rows += [_line(name, spend) for name, spend in [*by_backend.items(), ("all", total)]]
    for line in table(rows, shrink=(0,)):
        console.result(line)
    if records:
        console.result("")
    for line in table([["JOB", "CREATED", "STATE", "MODEL", "QUOTED", "COST"], *map(_row, records)] if records else [], shrink=(3,)):
        console.result(line)
    if len(records) == limit < total.calls:
        console.result(f"older calls are not listed; --limit {total.calls} lists all that were not forgotten")


def since_when(text: str | None, now: datetime.datetime) -> float:
    """Return a time as seconds since the epoch.

    Args:
        text: ``today``, a span before now like ``7d``, or a UTC date; None is 0.
        now: the current time.

    Raises:
        InvalidRequest: the text is none of these.
    """
    if text is None:
        return 0.0
    if text == "today":
        return now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    if span := re.fullmatch(r"([0-9]{1,5})([hdw])", text):
        return now.timestamp() - int(span[1]) * _UNITS[span[2]]
    try:
        day = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest([Problem("$.since", f"expected today, 12h, 7d, 2w or a date like 2026-11-01, got {text!r:.40}")]) from None
    return (day if day.tzinfo else day.replace(tzinfo=datetime.UTC)).timestamp()


def _line(name: str, spend: Spend) -> list[str]:
    return [name, str(spend.calls), f"{spend.committed_usd:.4f}", f"{spend.reserved_usd:.4f}", str(spend.unknown_calls)]


def _row(record: CallRecord) -> list[str]:
    quoted = "unknown" if record.quote_usd is None else in_dollars_between(*record.quote_usd, to="-")
    actual = "-" if record.cost_usd is None else in_dollars(record.cost_usd)
    return [record.id, short_time(record.created_at, time.time()), record.state, f"{record.backend}/{record.model}", quoted, actual]


def _call(record: CallRecord) -> dict[str, Any]:
    return {
        "job_id": record.id,
        "created_at": record.created_at,
        "state": record.state,
        "backend": record.backend,
        "model": record.model,
        "operation": record.operation,
        "quoted_usd": None if record.quote_usd is None else list(record.quote_usd),
        "actual_usd": record.cost_usd,
    }
