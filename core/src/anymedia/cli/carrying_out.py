"""A media command, carried out: words -> request -> plan -> files, or a job id, or just the plan."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest, Problem
from ..state.store import FINAL_STATES
from .arguments import split_model
from .asking import ask, format_of_output, request_fields
from .console import Console
from .continuing import start_from
from .exits import Interrupted
from .order import Order, medium_of
from .progress import ProgressLine
from .showing import show_plan, show_result

if TYPE_CHECKING:
    from ..planning.types import Plan
    from ..requests import Request
    from ..router import Router

__all__ = ["carry_out", "resumable"]

#: Parameters that say how to run, not what to make.
_HOW = ("model", "backend", "output", "force", "config", "strict", "max_cost", "deadline", "no_wait", "dry_run", "as_json", "quiet")


def carry_out(command: str, given: Mapping[str, Any]) -> None:
    """Carry out a media command; prints what it made.

    Raises:
        MediaError: whatever went wrong; Interrupted after Ctrl-C.
        click.UsageError: options that contradict each other.
    """
    console = Console(json=given["as_json"], quiet=given["quiet"])
    asyncio.run(_carry_out(Order.of(command, given), console))


async def _carry_out(order: Order, console: Console) -> None:
    from ..router import Router
    from ..settings import load_settings

    settings = load_settings()
    policy = order.policy(settings.policy)
    async with ProgressLine(quiet=console.quiet) as line, Router(settings=settings, policy=policy, on_progress=line) as router:
        backend, model = split_model(order.either("model"), order.either("backend"), router.instances)
        request = _request(order, router, backend)
        plan = router.plan(request, backend=backend, model=model)
        if order.given["dry_run"]:
            await line.stop()
            show_plan(console, plan)
        elif order.given["no_wait"]:
            await _submit(order, console, router, plan, line)
        else:
            await _run(order, console, router, plan, line)


def _request(order: Order, router: Router, backend: str | None) -> Request:
    given = dict(order.given)
    given["output_format"] = format_of_output(order.output, given["output_format"])
    fields = request_fields(given, (*_HOW, "go_on"))
    if order.config is not None:
        if given.get("go_on") is not None:
            raise InvalidRequest([Problem("$.continue_from", "--continue belongs into the config file, as continue_from")])
        return ask(order.command, fields, base=order.config.to_request())
    return ask(order.command, fields, start_from(given.get("go_on"), medium_of(order.command), router.store, backend))


async def _submit(order: Order, console: Console, router: Router, plan: Plan, line: ProgressLine) -> None:
    record = await router.submit(plan, output=order.output, overwrite=order.force)
    await line.stop()
    if console.json:
        console.document({"success": True, "job_id": record.id, "state": record.state, "plan": plan.to_json()})
        return
    console.result(record.id)
    console.note(f"{plan.chosen}: {record.state}; get the result with: anymedia jobs resume {record.id}")


async def _run(order: Order, console: Console, router: Router, plan: Plan, line: ProgressLine) -> None:
    output, deadline = order.output, order.given["deadline"]
    if output != "-":
        async with resumable(router, line):
            result = await router.run(plan, output=output, overwrite=order.force, deadline=deadline)
        await line.stop()
        show_result(console, result)
        return
    with tempfile.TemporaryDirectory(prefix="anymedia-") as folder:
        async with resumable(router, line):
            result = await router.run(plan, output=f"{folder}/", deadline=deadline)
        await line.stop()
        console.data(result.path.read_bytes())
    show_result(console, result, paths=False)


@contextlib.asynccontextmanager
async def resumable(router: Router, line: ProgressLine) -> AsyncIterator[None]:
    """Turn Ctrl-C inside the block into `Interrupted`, which names the jobs that go on."""
    try:
        yield
    except asyncio.CancelledError:
        raise _interrupted(router, list(line.job_ids)) from None


def _interrupted(router: Router, job_ids: list[str]) -> Interrupted:
    rows = [router.job(job_id) for job_id in job_ids]
    open_rows = {row.run: row.state for row in rows if row.state not in FINAL_STATES}
    if not open_rows:
        return Interrupted("interrupted; nothing is left running.")
    first = next(iter(open_rows))
    said = ", ".join(f"{run} ({state})" for run, state in open_rows.items())
    error = Interrupted(f"interrupted; still open: {said}.", fix=f"get the result with: anymedia jobs resume {first}", job_id=first)
    error.charged = "unknown"
    return error
