"""``anymedia worker`` and ``anymedia fleet``: carry out queued calls, and look after the workers and the store they share."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import RequestError
from ..formatting import in_dollars
from .app import Group
from .console import Console
from .environment import AS_JSON
from .jobs import with_store
from .process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..state.sql import Store
    from ..state.store import Queue, Spend, WorkerRecord


@click.command("worker")
@click.option("--at-once", type=click.IntRange(min=1), default=8, show_default=True, help="Maximum number of calls at the same time.")
@click.option("--backends", default="", metavar="NAMES", help="Only calls of these backends, separated by commas.")
@click.option("-q", "--quiet", is_flag=True, help="No notes on stderr.")
def worker(at_once: int, backends: str, quiet: bool) -> None:
    """Carry out queued calls for which this machine has the keys, until SIGTERM or Ctrl-C.

    Then it completes submits and downloads in progress; other workers continue the rest. A second signal ends it at once.
    """
    from ..router import Router
    from ..worker import Worker

    console = Console(quiet=quiet)

    async def work() -> None:
        async with Router(workers=False) as router:
            made = Worker(router, at_once=at_once, backends=[name.strip() for name in backends.split(",") if name.strip()] or None)
            served = sorted({account.partition(" ")[0] for account in (await made.record()).accounts})
            console.note(
                f"worker {router._engine.owner}: {at_once} calls at once, of {', '.join(served) or 'no backend: no key was found'}"
            )
            with _stopping(made.stop):
                await made.run()

    run(work())


@contextlib.contextmanager
def _stopping(stop: Any) -> Any:
    """Let the first stop signal call a function."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

    def stopped() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        stop()

    with contextlib.suppress(NotImplementedError):  # on Windows a signal cancels the work
        for number in signals:
            loop.add_signal_handler(number, stopped)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)


@click.group("fleet", cls=Group)
def fleet() -> None:
    """Look after workers and the store that several machines share."""


@fleet.command("status")
@AS_JSON
def status(as_json: bool) -> None:
    """Show the workers, the calls that are queued and in progress, and today's spending."""
    from ..worker import ALIVE_SECONDS

    async def work(store: Store) -> tuple[Sequence[WorkerRecord], Sequence[Queue], Spend]:
        midnight = time.time() // 86_400 * 86_400
        return await store.workers(within=ALIVE_SECONDS), await store.queues(), await store.spend(since=midnight)

    workers, queues, spend = with_store(work)
    rows = [_worker_json(each) for each in workers], [_queue_json(each, workers) for each in queues]
    console = Console(json=as_json)
    if as_json:
        money = {"reserved_usd": spend.reserved_usd, "committed_usd": spend.committed_usd, "unknown_calls": spend.unknown_calls}
        console.document({"success": True, "workers": rows[0], "calls": rows[1], "today": money})
        return
    if workers:
        lines = [[each["worker"], each["host"], str(each["at_once"]), ", ".join(each["backends"])] for each in rows[0]]
        console.table([["WORKER", "HOST", "AT ONCE", "BACKENDS"], *lines])
    else:
        console.note("no worker is running")
    if queues:
        lines = [[each["backend"], each["state"], str(each["calls"]), f"{each['oldest_seconds']:.0f} s", each["why"]] for each in rows[1]]
        console.table([["BACKEND", "STATE", "CALLS", "OLDEST", "WHY"], *lines])
    spent, reserved = in_dollars(spend.committed_usd), in_dollars(spend.reserved_usd)
    console.note(f"today: {spent} USD spent, {reserved} USD reserved, {spend.unknown_calls} calls of unknown cost")


def _worker_json(worker: WorkerRecord) -> dict[str, Any]:
    names = sorted({account.partition(" ")[0] for account in worker.accounts})
    return {"worker": worker.owner, "host": worker.host, "at_once": worker.at_once, "backends": names, "started_at": worker.started_at}


def _queue_json(queue: Queue, workers: Sequence[WorkerRecord]) -> dict[str, Any]:
    why = ""
    if not any(f"{queue.backend} {queue.account}" in worker.accounts for worker in workers):
        why = "no worker has the key and the address of this account" if workers else "no worker is running"
    elif queue.state in {"unknown", "lost"}:
        why = "not sent again; resume it to ask the provider again"
    elif queue.state == "queued":
        why = "waits for a free worker, or for the limits of its account"
    address = queue.account.partition(" ")[2]
    age = max(0.0, time.time() - queue.oldest)
    return {"backend": queue.backend, "address": address, "state": queue.state, "calls": queue.calls, "oldest_seconds": age, "why": why}


@fleet.command("migrate")
@AS_JSON
def migrate(as_json: bool) -> None:
    """Create the tables of the store, or bring them to this version."""
    from ..state.schema import SCHEMA_VERSION

    with_store(lambda store: store.open())
    Console(json=as_json).answer({"version": SCHEMA_VERSION}, note=f"the store has format {SCHEMA_VERSION}")


@fleet.command("drain")
@click.argument("name", metavar="[NAME]", default="")
def drain(name: str) -> None:
    """Let workers end: all, or those with the NAME of a worker or a host. They complete submits and downloads in progress."""
    from ..worker import ALIVE_SECONDS

    async def work(store: Store) -> list[str]:
        found = [each.owner for each in await store.workers(within=ALIVE_SECONDS) if name in {"", each.owner, each.host}]
        if not await store.notify(f"drain {name}".strip()):
            raise RequestError("a journal in a file passes no notices on", fix="Send SIGTERM to the worker.")
        return found

    asked = with_store(work)
    if name and not asked:
        raise RequestError(f"no worker or host {name!r} is running", fix="See anymedia fleet status.")
    Console().note(f"{len(asked)} worker{'' if len(asked) == 1 else 's'} will end: {', '.join(asked)}" if asked else "no worker is running")


@fleet.command("import")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@AS_JSON
def import_journal(journal: Path, as_json: bool) -> None:
    """Move a SQLite JOURNAL (state.db) into the PostgreSQL store of the settings, and this machine's artifacts into their storage.

    The store must be empty. The journal is renamed afterwards.
    """
    from ..artifacts import artifacts_at
    from ..settings import load_settings
    from ..state.sqlite import store_at

    settings = load_settings()

    async def work() -> tuple[int, int]:
        store, artifacts = store_at(settings.journal), artifacts_at(settings.fleet_artifacts, settings.state_dir / "artifacts")
        try:
            if settings.fleet_store is None:
                raise RequestError("there is no store to import into", fix="Set store under [fleet] in the settings.")
            stored = await artifacts.upload_copies()
            return await store.import_journal(journal), stored
        finally:
            await store.aclose()

    calls, stored = run(work())
    journal.rename(journal.with_name(f"{journal.name}.imported"))
    note = f"{calls} calls and {stored} artifacts were imported"
    Console(json=as_json).answer({"calls": calls, "artifacts": stored}, note=note)
