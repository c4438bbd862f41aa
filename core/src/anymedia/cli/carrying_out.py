"""A media command, carried out: words -> request -> plan -> files, or a job id, or just the plan."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import InvalidRequest, Problem
from .arguments import prompt_of, split_model
from .asking import ask, format_of_output, request_fields
from .console import Console, is_terminal
from .continuing import start_from
from .exits import Interrupted
from .progress import ProgressLine
from .showing import show_plan, show_result

if TYPE_CHECKING:
    from ..generation_config import GenerationConfig
    from ..planning.types import Plan
    from ..policy import Policy
    from ..requests import Request
    from ..router import Router

__all__ = ["carry_out", "resumable"]

#: Parameters that say how to run, not what to make.
_HOW = ("model", "backend", "output", "force", "config", "strict", "max_cost", "deadline", "no_wait", "dry_run", "as_json", "quiet")


def medium_of(command: str) -> str:
    """Return the medium that a command makes."""
    return "image" if command == "edit" else command


@attrs.frozen(kw_only=True)
class Order:
    """One call of a media command: what was given, and how it is to run."""

    command: str
    given: Mapping[str, Any]
    console: Console
    config: GenerationConfig | None

    def how(self, name: str) -> Any:
        """Return a parameter that says how to run."""
        return self.given[name]


def carry_out(command: str, given: Mapping[str, Any]) -> None:
    """Carry out a media command; prints what it made.

    Raises:
        MediaError: whatever went wrong; Interrupted after Ctrl-C.
        click.UsageError: options that contradict each other.
    """
    _check_output(given)
    taken = _words(command, given)
    console = Console(json=given["as_json"], quiet=given["quiet"])
    asyncio.run(_carry_out(Order(command=command, given=taken, console=console, config=_read_config(command, taken))))


def _check_output(given: Mapping[str, Any]) -> None:
    if given["output"] != "-" or given["dry_run"]:
        return
    for name, flag in (("as_json", "--json"), ("no_wait", "--no-wait")):
        if given[name]:
            raise click.UsageError(f"-o - writes the file's bytes to stdout; that excludes {flag}")
    if (given.get("n") or 1) > 1:
        raise click.UsageError("-o - writes one file to stdout; give -o DIR/ for several")
    if is_terminal(click.get_text_stream("stdout")):
        raise click.UsageError("-o - writes bytes to stdout, which is a terminal; redirect it")


async def _carry_out(order: Order) -> None:
    from ..router import Router
    from ..settings import load_settings

    settings = load_settings()
    policy = _policy(order, settings.policy)
    async with ProgressLine(quiet=order.console.quiet) as line, Router(settings=settings, policy=policy, on_progress=line) as router:
        backend, model = split_model(_either(order, "model"), _either(order, "backend"), router.instances)
        request = _request(order, router, backend)
        plan = router.plan(request, backend=backend, model=model)
        if order.how("dry_run"):
            show_plan(order.console, plan)
        elif order.how("no_wait"):
            await _submit(order, router, plan)
        else:
            await _run(order, router, plan, line)


def _either(order: Order, name: str) -> Any:
    """Return what the command line says, or else the config file."""
    return order.given[name] if order.given[name] is not None else getattr(order.config, name, None)


def _policy(order: Order, policy: Policy) -> Policy:
    """Return the configured policy with what this call changes; a cap is only ever made tighter."""
    policy = policy if order.config is None else order.config.policy(policy)
    cap, budget = order.how("max_cost"), policy.budget
    if cap is not None:
        per_call, per_run = (cap if old is None else min(cap, old) for old in (budget.per_call, budget.per_run))
        budget = attrs.evolve(budget, per_call=per_call, per_run=per_run, allow_unknown=False)
    return policy.but(strict=order.how("strict") or policy.strict, budget=budget)


def _request(order: Order, router: Router, backend: str | None) -> Request:
    given = dict(order.given)
    given["output_format"] = format_of_output(_output(order), given["output_format"])
    fields = request_fields(given, (*_HOW, "go_on"))
    if order.config is not None:
        if given.get("go_on") is not None:
            raise InvalidRequest([Problem("$.continue_from", "--continue belongs into the config file, as continue_from")])
        return ask(order.command, fields, base=order.config.to_request())
    return ask(order.command, fields, start_from(given.get("go_on"), medium_of(order.command), router.store, backend))


def _words(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given with its positional words taken apart: pictures first, the prompt last."""
    taken = dict(given)
    words: tuple[str, ...] | None = taken.pop("words", None)
    if words is not None:
        if command == "video" and len(words) > 2:
            raise click.UsageError(f"expected [IMAGE] PROMPT, got {len(words)} arguments (quote the prompt)")
        if len(words) == 1 and given["config"] is None and Path(words[0]).is_file():
            raise click.UsageError(f"a prompt is needed beside the file {words[0]!r}")
        taken |= {"prompt": words[-1] if words else None, "sources": words[:-1]}
    if taken["prompt"] is not None:
        taken["prompt"] = prompt_of(taken["prompt"])
    return taken


def _read_config(command: str, given: Mapping[str, Any]) -> GenerationConfig | None:
    """Read the file that ``--config`` names; the medium is the command's, and a prompt given beside it wins."""
    source = given["config"]
    if source is None:
        return None
    from ..generation_config import GenerationConfig
    from ..strict_json import parse_json

    raw = parse_json(prompt_of("-") if source == "-" else _text(source))
    if isinstance(raw, dict):
        if given["prompt"] is not None:
            raw["prompt"] = given["prompt"]
        if "media_type" not in raw:
            raw.setdefault("mode", medium_of(command))
    config = GenerationConfig.from_json(raw)
    if config.media_type != medium_of(command):
        text = f"the config asks for {config.media_type}, the command is {command!r}"
        raise InvalidRequest([Problem("$.media_type", text, f"use: anymedia {config.media_type} --config {source}")])
    return config


def _text(source: str) -> str:
    try:
        return Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidRequest([Problem("$", f"cannot read the config {source!r}: {why}")]) from None


def _output(order: Order) -> str | None:
    output: str | None = _either(order, "output")
    return output if output is not None or order.config is None else order.config.output_path


def _force(order: Order) -> bool:
    return bool(order.how("force") or (order.config is not None and order.config.overwrite))


def _target(output: str | None) -> Path | None:
    """Return where to write; a directory named with a slash is made."""
    if output is None:
        return None
    path = Path(output)
    if output.endswith("/") and not path.exists():
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise InvalidRequest([Problem("$.output_path", f"cannot make the directory {output!r}: {error.strerror}")]) from None
    return path


async def _submit(order: Order, router: Router, plan: Plan) -> None:
    record = await router.submit(plan, output=_target(_output(order)), overwrite=_force(order))
    if order.console.json:
        order.console.document({"success": True, "job_id": record.id, "state": record.state, "plan": plan.to_json()})
        return
    order.console.result(record.id)
    order.console.note(f"{plan.chosen}: {record.state}; get the result with: anymedia jobs resume {record.id}")


async def _run(order: Order, router: Router, plan: Plan, line: ProgressLine) -> None:
    output, deadline = _output(order), order.how("deadline")
    if output != "-":
        async with resumable(router, line):
            result = await router.run(plan, output=_target(output), overwrite=_force(order), deadline=deadline)
        show_result(order.console, result)
        return
    with tempfile.TemporaryDirectory(prefix="anymedia-") as folder:
        async with resumable(router, line):
            result = await router.run(plan, output=Path(folder), deadline=deadline)
        order.console.data(result.path.read_bytes())
    show_result(order.console, result, paths=False)


@contextlib.asynccontextmanager
async def resumable(router: Router, line: ProgressLine) -> AsyncIterator[None]:
    """Turn Ctrl-C inside the block into `Interrupted`, which names the jobs that go on."""
    try:
        yield
    except asyncio.CancelledError:
        raise _interrupted(router, list(line.job_ids)) from None


def _interrupted(router: Router, job_ids: list[str]) -> Interrupted:
    states = {job_id: router.job(job_id).state for job_id in job_ids}
    left = [job_id for job_id, state in states.items() if state not in {"done", "failed", "refused", "cancelled"}]
    if not left:
        return Interrupted("interrupted; nothing is left running.")
    said = ", ".join(f"{job_id} ({states[job_id]})" for job_id in left)
    error = Interrupted(f"interrupted; still open: {said}.", fix=f"get the result with: anymedia jobs resume {left[0]}", job_id=left[0])
    error.charged = "unknown"
    return error
