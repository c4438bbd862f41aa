"""``anymedia jobs``: list, show, resume, cancel and forget runs."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from ..formatting import in_dollars, in_dollars_between
from .console import Console
from .environment import columns
from .options import AS_JSON, DEADLINE
from .process import run

if TYPE_CHECKING:
    from ..router import Router
    from ..state.store import CallRecord, Store
    from .progress import ProgressLine

__all__ = ["jobs", "opened_store", "record_json", "with_router"]

_T = TypeVar("_T")
#: Never shown: signed URLs, and fields that only the store needs.
_HIDDEN = ("secret", "idempotency_key", "owner", "lease_until", "fence", "session")
_ID = click.argument("job_id", metavar="ID")


@click.group("jobs", no_args_is_help=True)
def jobs() -> None:
    """List, show, resume, cancel or forget jobs; any process can resume the job of another one."""


def with_router(work: Callable[[Router, ProgressLine], Awaitable[_T]], *, quiet: bool = True) -> _T:
    """Run a coroutine function with an open Router; ``quiet`` suppresses the progress line."""
    from ..router import Router
    from .progress import ProgressLine

    async def with_open_router() -> _T:
        async with ProgressLine(quiet=quiet) as line, Router(on_progress=line) as router:
            for warning in router.name_warnings():
                Console().note(warning)
            return await work(router, line)

    return run(with_open_router())


@contextlib.contextmanager
def opened_store() -> Iterator[Store]:
    """Open the journal without loading any backend, for commands that only read."""
    from ..settings import load_settings
    from ..state.sqlite import SqliteStore

    store = SqliteStore(load_settings().state_dir / "state.db")
    try:
        yield store
    finally:
        store.close()


@jobs.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only unfinished jobs and those with an unknown outcome.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Maximum number of jobs.")
@AS_JSON
def list_jobs(only_open: bool, limit: int, as_json: bool) -> None:
    """List jobs, the newest first."""
    from ..state.store import ACTIVE_STATES

    states = [*sorted(ACTIVE_STATES), "unknown"] if only_open else None
    console = Console(json=as_json)
    with opened_store() as store:
        records = list(store.calls(states=states, limit=limit))
    if as_json:
        console.document({"success": True, "jobs": [record_json(r) for r in records]})
        return
    for line in columns([_row(r) for r in records]):
        console.result(line)


@jobs.command("show")
@_ID
@AS_JSON
def show(job_id: str, as_json: bool) -> None:
    """Show the details of one job."""

    async def work(router: Router, _line: ProgressLine) -> CallRecord:
        return router.job(job_id)

    console, record = Console(json=as_json), with_router(work)
    if as_json:
        console.document({"success": True, "job": record_json(record)})
        return
    for key, value in record_json(record).items():
        if value not in (None, [], {}, ""):
            console.result(f"{key}: {value}")


@jobs.command("resume")
@_ID
@DEADLINE
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on stderr.")
def resume(job_id: str, deadline: float | None, as_json: bool, quiet: bool) -> None:
    """Wait for a job and save its files."""
    from .render import show_result
    from .run_media import resumable

    async def work(router: Router, line: ProgressLine) -> Any:
        line.job_ids[router.job(job_id).id] = None
        async with resumable(router, line):
            return await router.resume(job_id, deadline=deadline)

    show_result(Console(json=as_json, quiet=quiet), with_router(work, quiet=quiet))


@jobs.command("cancel")
@_ID
@AS_JSON
def cancel(job_id: str, as_json: bool) -> None:
    """Ask the provider to stop a job; the provider may still charge for it."""

    async def work(router: Router, _line: ProgressLine) -> CallRecord:
        return await router.cancel(job_id)

    console, record = Console(json=as_json), with_router(work)
    if as_json:
        console.document({"success": True, "job": record_json(record)})
    else:
        console.result(f"{record.id}  {record.state}")
        if record.charged != "no":
            why = "" if record.error is None else f": {record.error['message']}"
            console.note(f"  {'it may be' if record.charged == 'unknown' else 'it is'} charged{why}")


@jobs.command("forget")
@_ID
@AS_JSON
def forget(job_id: str, as_json: bool) -> None:
    """Delete a finished job from the list; its files and its recorded cost are kept."""

    async def work(router: Router, _line: ProgressLine) -> None:
        router.job(job_id)
        router.forget(job_id)

    console = Console(json=as_json)
    with_router(work)
    if as_json:
        console.document({"success": True, "forgotten": job_id})
    else:
        console.note(f"forgotten: {job_id}")


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
    when = datetime.datetime.fromtimestamp(record.created_at).astimezone().strftime("%Y-%m-%d %H:%M")
    prompt = " ".join(str(record.request.get("prompt", "")).split())
    short = prompt if len(prompt) <= 40 else prompt[:39] + "…"
    return [record.id, when, record.state, record.operation, f"{record.backend}/{record.model}", money(record), short]
