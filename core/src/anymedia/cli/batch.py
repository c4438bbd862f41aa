"""``anymedia batch``: run the requests of a file concurrently, within a budget; a repeat does only what is left."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import InvalidRequest, MediaError, Problem, did_you_mean
from ..formatting import in_dollars, in_dollars_between
from ..generation_config import GenerationConfig
from ..strict_json import parse_json
from . import complete
from .app import exit_of
from .build_request import read_config, split_model, with_output_name
from .console import Console, hint_of
from .environment import AS_JSON, VERBOSE, amount_option
from .process import run
from .render import cost_text

if TYPE_CHECKING:
    from ..agents.tool import SharedBudget
    from ..planning.types import Plan
    from ..results import Result
    from ..router import Router
    from .console import ProgressLine

#: Problems of the file that are printed at most.
_MOST_PROBLEMS = 10
_SUFFIXES = {"image": ".png", "video": ".mp4", "audio": ".wav"}


@attrs.define(kw_only=True)
class _Entry:
    """One request of the file, and what became of it."""

    index: int
    line: int
    config: GenerationConfig
    key: str
    plan: Plan | None = None
    result: Result | None = None
    error: MediaError | None = None
    repeated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the entry JSON-ready."""
        about = {"index": self.index, "line": self.line}
        if self.result is not None:
            return about | {"repeated": self.repeated} | self.result.to_json()
        if self.plan is not None and self.error is None:
            return about | {"success": True, "planned": True} | self.plan.to_json()
        assert self.error is not None
        return about | {"repeated": False, "success": False, "error": self.error.to_json()}


@click.command("batch")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.jsonl|csv|txt")
@click.option("--media", type=click.Choice(sorted(_SUFFIXES)), help="Medium of requests that name none (default: image).")
@click.option("-m", "--model", metavar="[BACKEND/]MODEL", shell_complete=complete.models, help="Model of requests that name none.")
@click.option("-b", "--backend", metavar="NAME", shell_complete=complete.backends, help="Backend of requests that name none.")
@click.option(
    "--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Further fields for all, as JSON."
)
@click.option(
    "-o", "--output", metavar="NAME|DIR/", help="Names of the files (default: 'FILE/{index:03d}'): {index} {seed} {prompt} {date} {COLUMN}."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests at a time.")
@amount_option("--budget", help="For the whole batch, including what is already done of it.")
@click.option("--again", is_flag=True, help="Run everything again, and pay for it again.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the price of each request; spends nothing.")
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on stderr.")
@VERBOSE
def batch(file: Path, as_json: bool, quiet: bool, verbose: bool, **given: Any) -> int:
    """Run each request of a file: a prompt per line (.txt), fields of a request as columns (.csv) or as JSON objects (.jsonl).

    A request that was completed earlier, from the same file with the same fields, is not sent again: after an interruption or a failure,
    the same command does only what is left.
    """
    console = Console(json=as_json, quiet=quiet, verbose=verbose)
    entries = read_entries(file, given)
    return run(_run(entries, given, console))


def read_entries(file: Path, given: Mapping[str, Any]) -> list[_Entry]:
    """Read the requests of a file, whose suffix says how; the problems of all lines are reported together."""
    if given["output"] == "-":
        raise InvalidRequest([Problem("-o", "several files cannot be written to stdout", "name a directory: -o DIR/")])
    try:
        usual = read_config(None, given["config_file"] and str(given["config_file"]))
    except InvalidRequest as error:
        raise error.at("--config") from None  # there are two files
    usual |= {name: given[name] for name in ("model", "backend") if given[name] is not None} | (
        {"overwrite": True} if given["force"] else {}
    )
    entries: list[_Entry] = []
    problems: list[Problem] = []
    seen: Counter[str] = Counter()
    for index, (line, fields) in enumerate(_rows(file, problems), 1):
        try:
            config = _config(file, index, {"media_type": given["media"] or "image", **usual, **fields}, given["output"])
        except InvalidRequest as error:
            output = "output" if "output" in fields else "-o" if given["output"] and "output_path" not in fields else "output_path"
            problems += [
                attrs.evolve(problem, path=f"{file.name}, line {line}, {_field(problem.path, output)}") for problem in error.problems
            ]
            continue
        content = json.dumps(attrs.asdict(config), sort_keys=True, default=str)
        seen[content] += 1
        digest = hashlib.sha256(f"{file.absolute()} {content} {seen[content]}".encode()).hexdigest()[:32]
        entries.append(_Entry(index=index, line=line, config=config, key=f"batch:{digest}"))
    if problems:
        more = [Problem(file.name, f"{len(problems) - _MOST_PROBLEMS} more problems")] if len(problems) > _MOST_PROBLEMS else []
        raise InvalidRequest([*problems[:_MOST_PROBLEMS], *more], fix="nothing was sent")
    if not entries:
        raise InvalidRequest([Problem(file.name, "has no requests")])
    return entries


def _field(path: str, output: str) -> str:
    """Return the field of a problem's path as a column or a key: without ``$``; the output's path has its own name."""
    name = path.removeprefix("$.").removeprefix("$['").removesuffix("']")
    return output if name in {"output", "output_path"} else name


def _config(file: Path, index: int, fields: dict[str, Any], output: str | None) -> GenerationConfig:
    known = {field.name for field in attrs.fields(GenerationConfig)} | {"mode"}
    if "mode" in fields:
        fields.pop("media_type")
    name = fields.pop("output_path", None) or output or f"{file.stem}/{{index:03d}}"
    extra = {key: fields.pop(key) for key in list(fields) if key not in known and f"{{{key}" in name}
    if unknown := [key for key in fields if key not in known and not did_you_mean(key[:60], known)]:
        raise InvalidRequest(
            [Problem(f"$.{key}", "there is no such field", f"or use it in the names: -o '{{{key}}}.png'") for key in unknown]
        )
    config = GenerationConfig.from_json(fields)
    if not name.endswith("/") and not Path(name).suffix:
        name += f".{config.output_format}" if config.output_format else _SUFFIXES[config.media_type or "image"]
    config = with_output_name(attrs.evolve(config, output_path=name), {**extra, "index": index})
    try:
        config.to_request()
    except InvalidRequest as error:
        raise config.locate(error) from None
    return config


def _rows(file: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line and its fields; append what cannot be read to the problems."""
    if file.suffix.lower() not in {".txt", ".csv", ".jsonl"}:
        raise InvalidRequest([Problem("FILE", f"{file.name!r} is not a .txt, .csv or .jsonl file")])
    text = _text(file)
    if file.suffix.lower() == ".csv":
        head = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
        for row in reader:
            if None in row:
                problems.append(Problem(f"{file.name}, line {reader.line_num}", "has more cells than the first line"))
                continue
            yield reader.line_num, {key: _cell(key, value) for key, value in row.items() if value is not None and value.strip()}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or (file.suffix.lower() == ".txt" and line.startswith("#")):
            continue
        if file.suffix.lower() == ".txt":
            yield number, {"prompt": line.strip()}
            continue
        try:
            fields = parse_json(line)
        except InvalidRequest as error:
            problems += [attrs.evolve(problem, path=f"{file.name}, line {number}") for problem in error.problems]
            continue
        if isinstance(fields, dict):
            yield number, fields
        else:
            problems.append(Problem(f"{file.name}, line {number}", "expected a JSON object", "use .txt for one prompt per line"))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest([Problem("FILE", f"{file.name!r} is not UTF-8 text")]) from None


def _cell(name: str, text: str) -> Any:
    """Return a cell as the field takes it: text, or a JSON value; one value may stand for a list."""
    kind = next((str(field.type) for field in attrs.fields(GenerationConfig) if field.name == name), "str")
    if kind.startswith(("str", "Path")):
        return text
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        return [value] if kind.startswith("tuple") and not isinstance(value, list) else value
    return [text] if kind.startswith("tuple") else text


async def _run(entries: list[_Entry], given: Mapping[str, Any], console: Console) -> int:
    import asyncio

    from ..agents.tool import SharedBudget
    from ..router import Router
    from ..settings import load_settings
    from .console import ProgressLine
    from .run_media import asking, resumable

    settings = load_settings()
    policy = asking(settings.policy)
    async with ProgressLine(quiet=console.quiet) as line, Router(settings=settings, policy=policy, on_progress=line) as router:
        budget, gate = SharedBudget(given["budget"]), asyncio.Semaphore(given["concurrency"])

        async def one(entry: _Entry) -> None:
            async with gate:
                try:
                    await _one(entry, router, budget, dry_run=given["dry_run"], again=given["again"])
                except InvalidRequest as error:
                    entry.error = InvalidRequest(
                        [attrs.evolve(p, path=_field(p.path, "output_path")) for p in entry.config.locate(error).problems],
                        fix=error.fix_parts,
                        try_backends=error.try_backends,
                    )
                except MediaError as error:
                    entry.error = error
                line.prefix = f"{sum(e.result is not None or e.error is not None for e in entries)}/{len(entries)}"
                _note(console, line, entry)

        line.prefix = f"0/{len(entries)}"
        async with resumable(router, line):
            await asyncio.gather(*map(one, entries))
        await line.stop()
    return _summary(console, entries, dry_run=given["dry_run"])


async def _one(entry: _Entry, router: Router, budget: SharedBudget, *, dry_run: bool, again: bool) -> None:
    config, started = entry.config, time.time()
    policy = config.policy(router.policy)
    backend, model = split_model(config.model, config.backend, router.instances)
    plan = config.annotate(await router.plan(config.to_request(), backend=backend, model=model, policy=policy))
    async with budget.reserve(plan) as reservation:
        if dry_run:
            entry.plan = plan
            reservation.spent(None if plan.quote.usd is None else plan.quote.usd[0])
            return
        folder = Path(config.output_path or ".")
        if config.output_path and not config.output_path.endswith("/"):
            folder.parent.mkdir(parents=True, exist_ok=True)
        key = None if again else entry.key
        policy = reservation.limit(policy)
        entry.result = await router.run(plan, output=config.output_path, overwrite=config.overwrite, policy=policy, key=key)
        reservation.spent(entry.result.cost.actual_usd)
    entry.repeated = (await router.job(entry.result.job_id)).updated_at < started


def _note(console: Console, line: ProgressLine, entry: _Entry) -> None:
    """Print one line about a request that has ended."""
    line.clear()
    if entry.error is not None:
        console.note(f"{entry.index}  failed (line {entry.line}): {entry.error.to_json()['message']}", important=True)
    elif entry.result is not None and (console.verbose or not entry.repeated):
        state = "was done earlier" if entry.repeated else cost_text(entry.result.cost)
        console.note(f"{entry.index}  {entry.result.path}  {state}")


def _summary(console: Console, entries: list[_Entry], *, dry_run: bool) -> int:
    """Print the paths in the order of the requests, and the summary; return the exit code."""
    errors = [entry.error for entry in entries if entry.error is not None]
    counts, text = _planned(entries) if dry_run else _done(entries)
    if console.json:
        results = [entry.to_json() for entry in entries]
        console.document({"success": not errors, "results": results, **counts, "failed": len(errors)})
    else:
        for entry in entries:
            if entry.plan is not None:
                parts = (entry.index, entry.config.output_path, entry.plan.chosen, entry.plan.quote, entry.plan.obstacle)
                console.result("  ".join(str(part) for part in parts if part is not None))
            for file in entry.result.files if entry.result is not None else ():
                console.result(file.path)
        console.note(text.format(f"{len(errors)} failed"))
        for hint in list(dict.fromkeys(filter(None, map(hint_of, errors))))[:3]:
            console.note(f"hint: {hint}")
        if errors and not dry_run:
            console.note("hint: the same command repeats only what is not done")
    return int(exit_of(errors[0])) if errors else 0


def _done(entries: list[_Entry]) -> tuple[dict[str, Any], str]:
    """Return how much is done and what it cost, JSON-ready and as a text with a place for what failed."""
    results = [entry.result for entry in entries if entry.result is not None]
    repeated = sum(entry.repeated for entry in entries)
    known = [entry.result.cost.actual_usd for entry in entries if entry.result is not None and not entry.repeated]
    cost = None if None in known else sum(amount or 0.0 for amount in known)
    earlier = f" ({repeated} earlier)" if repeated else ""
    spent = "cost unknown" if cost is None else f"{in_dollars(cost)} USD"
    text = f"{len(results)} of {len(entries)} done{earlier}, {{}}, {spent}"
    return {"done": len(results), "repeated": repeated, "cost_usd": cost}, text


def _planned(entries: list[_Entry]) -> tuple[dict[str, Any], str]:
    """Return how many requests are planned and what they would cost, JSON-ready and as a text with a place for what is refused."""
    quotes = [entry.plan.quote.usd for entry in entries if entry.plan is not None]
    known = [usd for usd in quotes if usd is not None]
    total = (sum(low for low, _ in known), sum(high for _, high in known)) if len(known) == len(quotes) else None
    cost = "cost unknown" if total is None else f"{in_dollars_between(*total)} USD"
    return {"planned": len(quotes), "quote_usd": total}, f"{len(quotes)} of {len(entries)} planned, {{}}, {cost}"
