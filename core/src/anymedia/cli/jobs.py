"""``anymedia jobs``: list, show, resume, cancel, export and forget runs."""

from __future__ import annotations

import contextlib
import datetime
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from ..errors import InvalidRequest, Problem
from ..formatting import in_bytes, in_digits, in_dollars, in_dollars_between
from . import complete
from .app import Group
from .console import Console, local_time, short_time
from .environment import AS_JSON, DEADLINE, VERBOSE, warn_about_names
from .process import run, stdout_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..router import Router
    from ..state.sql import Store
    from ..state.store import CallRecord, Spend
    from .console import ProgressLine

_T = TypeVar("_T")
#: Never shown: signed URLs, and fields that only the store needs.
_HIDDEN = ("secret", "idempotency_key", "owner", "lease_until", "fence", "session", "account", "read_at")
_ID = click.argument("job_id", metavar="ID|last", shell_complete=complete.job_ids)


class _Jobs(Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take options without a command, or nothing, as those of ``list``."""
        listed = not args or (args[0].startswith("-") and {"-h", "--help"}.isdisjoint(args))
        completing = ctx.resilient_parsing
        return super().parse_args(ctx, ["list", *args] if listed and not completing else args)


@click.group("jobs", cls=_Jobs, invoke_without_command=True)
def jobs() -> None:
    """List, show, resume, cancel or forget jobs; any process can resume the job of another one. Without a command: list."""


def with_router(work: Callable[[Router, ProgressLine], Awaitable[_T]], *, quiet: bool = True) -> _T:
    """Run a coroutine function with an open Router; ``quiet`` suppresses the progress line."""
    from ..router import Router
    from .console import ProgressLine

    async def with_open_router() -> _T:
        async with ProgressLine(quiet=quiet) as line, Router(on_progress=line) as router:
            for warning in router.name_warnings():
                Console().note(warning)
            return await work(router, line)

    return run(with_open_router())


async def _id_of(router: Router, job_id: str) -> str:
    """Return the id that a user gave; for ``last`` that of the newest job."""
    newest = await router.store.calls(limit=1) if job_id == "last" else []
    return newest[0].run if newest else job_id


def _on_job(job_id: str, work: Callable[[Router, str], Awaitable[_T]]) -> _T:
    """Run a coroutine function with an open Router and the id of a job."""

    async def with_id(router: Router, _line: ProgressLine) -> _T:
        return await work(router, await _id_of(router, job_id))

    return with_router(with_id)


def with_store(work: Callable[[Store], Awaitable[_T]]) -> _T:
    """Run a coroutine function with the journal, without loading any backend."""
    from ..settings import load_settings
    from ..state.sqlite import store_at

    settings = load_settings()
    warn_about_names(settings)

    async def with_open_store() -> _T:
        async with contextlib.aclosing(store_at(settings.journal)) as store:
            return await work(store)

    return run(with_open_store())


@jobs.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only unfinished jobs, lost ones and those with an unknown outcome.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Maximum number of jobs.")
@AS_JSON
def list_jobs(only_open: bool, limit: int, as_json: bool) -> None:
    """List jobs, the newest first."""
    from ..state.store import ACTIVE_STATES

    states = [*sorted(ACTIVE_STATES), "lost", "unknown"] if only_open else None
    console = Console(json=as_json)
    records = with_store(lambda store: store.calls(states=states, limit=limit))
    console.answer({"jobs": [record_json(r) for r in records]}, note="" if records else "no jobs")
    if records and not as_json:
        rows = [[*_row(r), money(r), str(r.request.get("prompt") or r.request.get("task", ""))] for r in records]
        console.table([["JOB", "CREATED", "STATE", "MODEL", "COST", "PROMPT"], *rows], shrink=(5, 3, 5), least=10)


@jobs.command("show")
@_ID
@click.option("-v", "--verbose", is_flag=True, help="Show every field of the record.")
@AS_JSON
def show(job_id: str, verbose: bool, as_json: bool) -> None:
    """Show the details of one job."""
    record = _on_job(job_id, lambda router, found: router.job(found))
    Console(json=as_json).answer({"job": record_json(record)}, _lines(record_json(record) if verbose else _summary(record)))


@jobs.command("resume")
@_ID
@DEADLINE
@AS_JSON
@VERBOSE
@click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on stderr.")
@click.option("--rebind", is_flag=True, help="Ask for the job at the address configured now: the service has moved.")
def resume(job_id: str, deadline: float | None, as_json: bool, verbose: bool, quiet: bool, rebind: bool) -> None:
    """Wait for a job and save its files."""
    from .render import show_result
    from .run_media import resumable

    async def work(router: Router, line: ProgressLine) -> Any:
        found = await _id_of(router, job_id)
        line.job_ids[(await router.job(found)).id] = None
        async with resumable(router, line):
            return await router.resume(found, deadline=deadline, rebind=rebind)

    show_result(Console(json=as_json, quiet=quiet, verbose=verbose), with_router(work, quiet=quiet))


@jobs.command("cancel")
@_ID
@AS_JSON
def cancel(job_id: str, as_json: bool) -> None:
    """Ask the provider to stop a job; the provider may still charge for it."""
    record = _on_job(job_id, lambda router, found: router.cancel(found))
    why = "" if record.error is None else f": {record.error['message']}"
    note = "" if record.charged == "no" else f"  {'it may be' if record.charged == 'unknown' else 'it is'} charged{why}"
    Console(json=as_json).answer({"job": record_json(record)}, [f"{record.id}  {record.state}"], note)


@jobs.command("forget")
@_ID
@click.option("--force", is_flag=True, help="Delete results as well that were never saved to a file, or whose file is gone.")
@AS_JSON
def forget(job_id: str, force: bool, as_json: bool) -> None:
    """Delete a finished job from the list; its files and its recorded cost are kept."""

    async def work(router: Router, found: str) -> str:
        await router.forget(found, force=force)
        return found

    forgotten = _on_job(job_id, work)
    Console(json=as_json).answer({"forgotten": forgotten}, note=f"forgotten: {forgotten}")


@jobs.command("export")
@_ID
@click.argument("output", metavar="FOLDER/|FILE.bin", default="./")
@AS_JSON
def export(job_id: str, output: str, as_json: bool) -> None:
    """Copy what was received for a job and could not be interpreted, as it is."""
    files = _on_job(job_id, lambda router, found: router.export(found, output))
    Console(json=as_json).answer({"files": [file.to_json() for file in files]}, [file.path for file in files])


@jobs.command("hand")
@_ID
@click.argument("realm", metavar="REALM")
@AS_JSON
def hand(job_id: str, realm: str, as_json: bool) -> None:
    """Give a copy of a finished job's result to a realm, such as that of an agent (anymedia mcp prints its realm)."""
    record = _on_job(job_id, lambda router, found: router.share(found, realm=realm))
    Console(json=as_json).answer({"job": record_json(record)}, [record.run])


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@AS_JSON
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove stored inputs and results that are old or exceed the limit.

    The limits are keep_days and max_bytes in the section [artifacts] of the configuration. Results that were never saved to a file,
    and everything that an unfinished job needs, are kept.
    """
    swept = with_router(lambda router, _: router.gc(dry_run=dry_run))
    removed = [{"job_id": a.call_id, "kind": a.kind, "bytes": a.size, "sha256": a.sha256} for a in swept.removed]
    found = {"removed": removed, "freed_bytes": swept.freed, "left_bytes": swept.left, "required_bytes": swept.required}
    freed = f"{'would free' if dry_run else 'freed'} {in_bytes(swept.freed)}"
    left = f"{in_bytes(swept.left)} remain, of which {in_bytes(swept.required)} are needed"
    lines = [f"{a.call_id}  {a.kind} {a.index}  {in_bytes(a.size)}" for a in swept.removed]
    Console(json=as_json).answer({"dry_run": dry_run, **found}, lines, f"{freed}; {left}")


def record_json(record: CallRecord) -> dict[str, Any]:
    """Return a call record as JSON values, without the fields private to the store."""
    return attrs.asdict(record, recurse=False, filter=lambda field, _value: field.name not in _HIDDEN)


def money(record: CallRecord) -> str:
    """Format the cost of a call, or its quote in parentheses."""
    if record.cost_usd is not None:
        return in_dollars(record.cost_usd)
    if record.quote_usd is None:
        return "unknown"
    return f"({in_dollars_between(*record.quote_usd, to='-')})"


def _row(record: CallRecord) -> list[str]:
    return [record.id, short_time(record.created_at, time.time()), record.state, f"{record.backend}/{record.model}"]


def _summary(record: CallRecord) -> dict[str, Any]:
    """Return the fields of a record that concern the user."""
    request = {key: value for key, value in record.request.items() if key != "kind"}
    error = {key: (record.error or {}).get(key) for key in ("code", "message", "fix")}
    return {
        "id": record.id,
        "state": record.state,
        "model": f"{record.backend}/{record.model}",
        "operation": record.operation,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "request": request,
        "provider_job": (record.job or {}).get("id"),
        "quote_usd": record.quote_usd,
        "cost_usd": record.cost_usd,
        "charged": record.charged,
        "error": error,
        "files": [file.get("path") for file in (record.result or {}).get("files", ())],
    }


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield nested values as indented lines, without empty ones; times as dates."""
    for key, inner in value.items():
        if inner in (None, "", [], (), {}):
            continue
        if isinstance(inner, Mapping):
            if lines := list(_lines(inner, f"{indent}  ")):
                yield from (f"{indent}{key}:", *lines)
        elif isinstance(inner, list | tuple) and any(isinstance(item, Mapping) for item in inner):
            for number, item in enumerate(inner, 1):
                yield f"{indent}{key} {number}:"
                yield from _lines(item if isinstance(item, Mapping) else {"value": item}, f"{indent}  ")
        else:
            yield from _wrapped(f"{indent}{key}: ", _scalar(key, inner))


def _wrapped(start: str, text: str) -> list[str]:
    """Return a value as lines that fit the width; a word that is longer, as a path, stays whole."""
    import textwrap

    return textwrap.wrap(
        start + text,
        stdout_width(),
        subsequent_indent=" " * (len(start) - len(start.lstrip()) + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _scalar(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return (" to " if key.endswith("_usd") else ", ").join(dict.fromkeys(_scalar(key, item) for item in value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if key.endswith(("_at", "expires")) and value > 1e9:
            return local_time(value)
        return in_dollars(value) if key.endswith("_usd") else in_digits(value)
    return " ".join(str(value).split())


_UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def since_when(text: str | None, now: datetime.datetime) -> float:
    """Return the seconds since the epoch for ``today``, a span before now like ``7d``, or a UTC date; 0 for None."""
    if text is None:
        return 0.0
    if text == "today":
        return now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    if span := re.fullmatch(r"([0-9]{1,5})([hdw])", text):
        return now.timestamp() - int(span[1]) * _UNITS[span[2]]
    try:
        day = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest([Problem("--since", f"expected today, 12h, 7d, 2w or a date like 2026-11-01, got {text!r:.40}")]) from None
    return (day if day.tzinfo else day.replace(tzinfo=datetime.UTC)).timestamp()


@click.command("cost")
@click.option("--since", metavar="TIME", help="today, 12h, 7d, 2w, or a date like 2026-11-01 (UTC); default: everything.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="List at most this many calls; the totals include all."
)
@AS_JSON
def cost(since: str | None, limit: int, as_json: bool) -> None:
    """Show quoted and actual costs in US dollars, by backend and by call, the newest first."""
    console, start = Console(json=as_json), since_when(since, datetime.datetime.now(datetime.UTC))

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
    rows += [
        [name, str(spend.calls), f"{spend.committed_usd:.4f}", f"{spend.reserved_usd:.4f}", str(spend.unknown_calls)]
        for name, spend in [*by_backend.items(), ("all", total)]
    ]
    console.table(rows, shrink=(0,))
    if records:
        console.result("")
        console.table([["JOB", "CREATED", "STATE", "MODEL", "QUOTED", "COST"], *map(_cost_row, records)], shrink=(3,))
    if len(records) == limit < total.calls:
        console.result(f"older calls are not listed; --limit {total.calls} lists all that were not forgotten")


def _cost_row(record: CallRecord) -> list[str]:
    quoted = "unknown" if record.quote_usd is None else in_dollars_between(*record.quote_usd, to="-")
    actual = "-" if record.cost_usd is None else in_dollars(record.cost_usd)
    return [*_row(record), quoted, actual]


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
