"""Run a media command: plan its request, then print the plan, a job id or the files."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import Fix
from .app import Interrupted
from .build_request import CliInvocation, split_model
from .console import Console
from .process import read_line, run
from .render import show_plan, show_result

if TYPE_CHECKING:
    from pathlib import Path

    from ..generation_config import GenerationConfig
    from ..planning.types import Plan
    from ..policy import Policy
    from ..requests import Continuation
    from ..router import Router
    from ..settings import Settings
    from .console import ProgressLine


#: Files of one result that ``--open`` opens.
_MOST_OPENED = 10


def run_media_command(command: str, given: Mapping[str, Any]) -> None:
    """Run a media command (``image``, ``edit``, ``transform`` ...) with its parameters by name, and print its result."""
    console = Console(json=given["as_json"], quiet=given["quiet"], verbose=given["verbose"])
    invocation = CliInvocation.of(command, given)
    if given["dry_run"]:
        _plan(invocation, console)
        return
    run(_run_media_command(invocation, console))


def _plan(invocation: CliInvocation, console: Console) -> None:
    """Print the plan; the journal is opened only to look up an earlier result."""
    from ..execution.prepare_inputs import resolve
    from ..plan_maker import PlanMaker
    from ..settings import load_settings
    from .environment import load_environment

    environment = load_environment(load_settings())
    plans = PlanMaker(
        settings=environment.settings,
        registry=environment.registry,
        instances=environment.instances,
        policy=_policy(invocation, environment.settings),
    )
    backend, model = split_model(invocation.config.model, invocation.config.backend, environment.instances)
    config, continuation = invocation.config, None
    with invocation.naming_options():
        if invocation.given.get("continue_from") is not None:
            import asyncio

            config, continuation = asyncio.run(_continued(invocation, environment.settings.journal, backend))
        request = config.to_request()
    environment.read_on_demand(backend, model)
    with invocation.naming_options(config):
        plan = plans.plan(request if continuation is None else resolve(request, continuation), None, backend, model)
    show_plan(console, config.annotate(plan))


def _policy(invocation: CliInvocation, settings: Settings) -> Policy:
    policy = invocation.config.policy(settings.policy)
    return policy if (limit := invocation.given["ask_above"]) is None else policy.but(ask_above_usd=limit)


async def _continued(invocation: CliInvocation, journal: Path | str, backend: str | None) -> tuple[GenerationConfig, Continuation | None]:
    """Return the config with what ``--continue`` refers to, and the earlier result if it is one."""
    from ..state.sqlite import store_at

    async with contextlib.aclosing(store_at(journal)) as store:
        config = await invocation.with_start(store, backend)
        return config, None if config.continue_from is None else await store.load_continuation(config.continue_from)


async def _run_media_command(invocation: CliInvocation, console: Console) -> None:
    from ..router import Router
    from ..settings import load_settings
    from .console import ProgressLine

    settings = load_settings()
    policy = asking(_policy(invocation, settings))
    async with ProgressLine(quiet=console.quiet) as line, Router(settings=settings, policy=policy, on_progress=line) as router:
        backend, model = split_model(invocation.config.model, invocation.config.backend, router.instances)
        with invocation.naming_options():
            config = await invocation.with_start(router.store, backend)
            request = config.to_request()
        with invocation.naming_options(config):
            plan = config.annotate(await router.plan(request, backend=backend, model=model))
            if invocation.given["no_wait"]:
                await _submit(invocation, console, router, plan, line)
            else:
                await _run(invocation, console, router, plan, line)


def asking(policy: Policy) -> Policy:
    """Return a policy that asks on the terminal, if there is one, about what needs approval; one question at a time."""
    import asyncio

    if policy.ask_above_usd is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return policy
    lock = asyncio.Lock()

    async def ask(plan: Plan) -> bool:
        cost = "has no known price" if plan.quote.usd is None else f"may cost {plan.quote}"
        async with lock:
            click.echo(f"{plan.operation} by {plan.chosen} {cost}. Run it? [y/N] ", nl=False, err=True)
            return (await read_line()).strip().lower() in {"y", "yes"}

    return policy.but(on_quote=ask)


async def _submit(invocation: CliInvocation, console: Console, router: Router, plan: Plan, line: ProgressLine) -> None:
    record = await router.submit(plan, output=invocation.output, overwrite=invocation.config.overwrite)
    await line.stop()
    note = f"{plan.chosen}: {record.state}; get the result with: anymedia jobs resume {record.id}"
    console.answer({"job_id": record.id, "state": record.state, "plan": plan.to_json()}, [record.id], note)


async def _run(invocation: CliInvocation, console: Console, router: Router, plan: Plan, line: ProgressLine) -> None:
    output, deadline = invocation.output, invocation.given["deadline"]
    if output != "-":
        async with resumable(router, line):
            result = await router.run(plan, output=output, overwrite=invocation.config.overwrite, deadline=deadline)
        await line.stop()
        show_result(console, result)
        if invocation.given["open_files"]:
            for file in result.files[:_MOST_OPENED]:
                click.launch(str(file.path))
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="anymedia-") as folder:
        async with resumable(router, line):
            result = await router.run(plan, output=f"{folder}/", deadline=deadline)
        await line.stop()
        console.data(result.path.read_bytes() if result.files else f"{result.data_text}\n".encode())
    show_result(console, result, paths=False)


@contextlib.asynccontextmanager
async def resumable(router: Router, line: ProgressLine) -> AsyncIterator[None]:
    """Turn Ctrl-C inside the block into `Interrupted`, which names the jobs that continue."""
    import asyncio

    from ..state.store import FINAL_STATES

    try:
        yield
        return
    except asyncio.CancelledError:
        records = [await router.job(job_id) for job_id in line.job_ids]
    unfinished = {record.run: record.state for record in records if record.state not in FINAL_STATES}
    if not unfinished:
        raise Interrupted("interrupted; no job is running.")
    first = next(iter(unfinished))
    jobs = ", ".join(f"{run} ({state})" for run, state in unfinished.items())
    error = Interrupted(f"interrupted; still running: {jobs}.", job_id=first)
    error.action = Fix("resume", first)
    error.charged = "unknown"
    raise error
