"""A media command, carried out: words -> request -> plan -> files, or a job id, or just the plan."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest, Problem
from .app import Interrupted
from .build_request import CliInvocation, ask, format_of_output, medium_of, request_fields, split_model
from .console import Console
from .render import show_plan, show_result

if TYPE_CHECKING:
    from ..planning.types import Plan
    from ..requests import Request
    from ..router import Router
    from ..state.store import Store
    from .progress import ProgressLine

__all__ = ["resumable", "run_media_command"]

#: Parameters that say how to run, not what to make.
_HOW = ("model", "backend", "output", "force", "config", "strict", "max_cost", "deadline", "no_wait", "dry_run", "as_json", "quiet")


def run_media_command(command: str, given: Mapping[str, Any]) -> None:
    """Carry out a media command; prints what it made.

    Raises:
        MediaError: whatever went wrong; Interrupted after Ctrl-C.
        click.UsageError: options that contradict each other.
    """
    console = Console(json=given["as_json"], quiet=given["quiet"])
    invocation = CliInvocation.of(command, given)
    if given["dry_run"]:
        _plan(invocation, console)
        return
    import asyncio

    asyncio.run(_run_media_command(invocation, console))


def _plan(invocation: CliInvocation, console: Console) -> None:
    """Print the plan; a store is opened only where an earlier result is asked for."""
    from ..plan_maker import PlanMaker
    from ..settings import load_settings
    from .environment import load_environment

    live = load_environment(load_settings())
    with contextlib.ExitStack() as stack:
        opened: list[Store] = []

        def store() -> Store:
            from ..state.sqlite import SqliteStore

            if not opened:
                opened.append(SqliteStore(live.settings.state_dir / "state.db"))
                stack.callback(opened[0].close)
            return opened[0]

        plans = PlanMaker(
            settings=live.settings,
            instances=live.instances,
            policy=invocation.policy(live.settings.policy),
            find=lambda continuation_id: store().load_continuation(continuation_id, now=time.time()),
        )
        backend, model = split_model(invocation.either("model"), invocation.either("backend"), live.instances)
        show_plan(console, plans.make(_request(invocation, store, backend), None, backend, model))


async def _run_media_command(invocation: CliInvocation, console: Console) -> None:
    from ..router import Router
    from ..settings import load_settings
    from .progress import ProgressLine

    settings = load_settings()
    policy = invocation.policy(settings.policy)
    async with ProgressLine(quiet=console.quiet) as line, Router(settings=settings, policy=policy, on_progress=line) as router:
        backend, model = split_model(invocation.either("model"), invocation.either("backend"), router.instances)
        request = _request(invocation, lambda: router.store, backend)
        plan = router.plan(request, backend=backend, model=model)
        if invocation.given["no_wait"]:
            await _submit(invocation, console, router, plan, line)
        else:
            await _run(invocation, console, router, plan, line)


def _request(invocation: CliInvocation, store: Callable[[], Store], backend: str | None) -> Request:
    given = dict(invocation.given)
    given["output_format"] = format_of_output(invocation.output, given["output_format"])
    fields = request_fields(given, (*_HOW, "go_on"))
    if invocation.config is not None:
        if given.get("go_on") is not None:
            raise InvalidRequest([Problem("$.continue_from", "--continue belongs into the config file, as continue_from")])
        return ask(invocation.command, fields, base=invocation.config.to_request())
    if given.get("go_on") is None:
        return ask(invocation.command, fields)
    from .continuation import start_from

    return ask(invocation.command, fields, start_from(given["go_on"], medium_of(invocation.command), store(), backend))


async def _submit(invocation: CliInvocation, console: Console, router: Router, plan: Plan, line: ProgressLine) -> None:
    record = await router.submit(plan, output=invocation.output, overwrite=invocation.force)
    await line.stop()
    if console.json:
        console.document({"success": True, "job_id": record.id, "state": record.state, "plan": plan.to_json()})
        return
    console.result(record.id)
    console.note(f"{plan.chosen}: {record.state}; get the result with: anymedia jobs resume {record.id}")


async def _run(invocation: CliInvocation, console: Console, router: Router, plan: Plan, line: ProgressLine) -> None:
    output, deadline = invocation.output, invocation.given["deadline"]
    if output != "-":
        async with resumable(router, line):
            result = await router.run(plan, output=output, overwrite=invocation.force, deadline=deadline)
        await line.stop()
        show_result(console, result)
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="anymedia-") as folder:
        async with resumable(router, line):
            result = await router.run(plan, output=f"{folder}/", deadline=deadline)
        await line.stop()
        console.data(result.path.read_bytes())
    show_result(console, result, paths=False)


@contextlib.asynccontextmanager
async def resumable(router: Router, line: ProgressLine) -> AsyncIterator[None]:
    """Turn Ctrl-C inside the block into `Interrupted`, which names the jobs that go on."""
    import asyncio

    try:
        yield
    except asyncio.CancelledError:
        raise _interrupted(router, list(line.job_ids)) from None


def _interrupted(router: Router, job_ids: list[str]) -> Interrupted:
    from ..state.store import FINAL_STATES

    rows = [router.job(job_id) for job_id in job_ids]
    open_rows = {row.run: row.state for row in rows if row.state not in FINAL_STATES}
    if not open_rows:
        return Interrupted("interrupted; nothing is left running.")
    first = next(iter(open_rows))
    said = ", ".join(f"{run} ({state})" for run, state in open_rows.items())
    error = Interrupted(f"interrupted; still open: {said}.", fix=f"get the result with: anymedia jobs resume {first}", job_id=first)
    error.charged = "unknown"
    return error
