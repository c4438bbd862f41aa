"""``anymedia tour``: run the tour that the local backend provides, and write a page that shows its steps.

The page is static HTML: no script, a strict content security policy, all text escaped.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import click

from ..errors import MediaError, UnknownBackend
from ..results import Result
from .console import Console, ProgressLine
from .environment import AS_JSON
from .pages import PAGE, claim_directory, href, mark, outside_mask, render_page
from .process import run
from .render import cost_text
from .run_media import resumable

if TYPE_CHECKING:
    from ..requests import Request
    from ..results import Result
    from ..router import Router

#: Marks a page, and so the files in its directory, as made by a tour.
_GENERATOR = "anymedia tour"
MARK = mark(_GENERATOR)
_TITLE = "A tour of anymedia"
#: The page while the tour runs.
UNFINISHED = f'<!doctype html>\n<meta charset="utf-8">\n{MARK}\n<title>{_TITLE}</title>\n<p>This tour was not finished. Run it again.</p>\n'


@attrs.frozen(kw_only=True)
class Input:
    """An input of a step: its role, an image of it, and the number of the step that made it (0: none)."""

    role: str
    picture: Path
    step: int = 0


@attrs.frozen(kw_only=True)
class Step:
    """A step on the page: its number, counted from 1, what it shows, the shell command that makes the same file, and its result."""

    number: int
    title: str
    text: str
    prompt: str
    command: str
    inputs: tuple[Input, ...] = ()
    result: Result
    poster: Path | None = None

    @property
    def starts_chain(self) -> bool:
        """Whether no input was made by an earlier step."""
        return all(given.step == 0 for given in self.inputs)


@attrs.frozen(kw_only=True)
class Skipped:
    """A step that failed, and why."""

    title: str
    reason: str


def make_page(steps: Sequence[Step], skipped: Sequence[Skipped], folder: Path) -> str:
    """Return the HTML of the page; it refers to files relative to ``folder``."""
    return render_page(
        "tour.html",
        generator=_GENERATOR,
        title=_TITLE,
        steps=steps,
        chains=_chains(steps),
        makers=dict.fromkeys(_maker(step.result) for step in steps),
        disclosures=[words for words in dict.fromkeys(step.result.provenance.disclosure for step in steps) if words],
        skipped=skipped,
        facts=_facts,
        href=lambda path: href(path, folder),
    )


def _chains(steps: Sequence[Step]) -> list[list[Step]]:
    """Split the steps into chains, each of which starts without an earlier step."""
    chains: list[list[Step]] = []
    for step in steps:
        if step.starts_chain or not chains:
            chains.append([])
        chains[-1].append(step)
    return chains


def _maker(result: Result) -> str:
    return f"{result.provenance.backend}/{result.provenance.model}"


def _facts(result: Result) -> list[tuple[str, str]]:
    file = result.files[0]
    shape = f"{file.width} x {file.height}, " if file.width and file.height else ""
    shape += f"{file.seconds:.1f} s, " if file.seconds else ""
    facts = [("model", _maker(result)), ("file", f"{file.path.name}, {shape}{file.size / 1000:,.0f} kB")]
    facts += [("duration", f"{result.seconds:.1f} s"), ("cost", cost_text(result.cost))]
    if result.outside_mask_difference is not None:
        facts.append(("outside the mask", outside_mask(result.outside_mask_difference)))
    facts += [(a.kind, str(a).removeprefix(f"{a.kind}: ")) for a in result.adjustments]
    facts += [("note", str(warning)) for warning in result.warnings]
    if result.continuation_id:
        facts.append(("continue with", result.continuation_id))
    return facts


_BACKEND = "local"


class TourStep(Protocol):
    """A step as the backend's module ``tour`` yields it; the result of its request is sent back to the generator.

    Attributes:
        request: the request to run.
        name: file name of the result.
        title: heading of the step on the page; empty for a result that is only an input of later steps.
        text: what the step shows.
        command: the arguments of ``anymedia`` that make the same file.
        inputs: (role, file name, number of the step that made the file or 0) for each input.
        poster: file name of the still image of a video, or None.
        optional: whether the step may fail, for example because an extra is not installed.
    """

    request: Request
    name: str
    title: str
    text: str
    command: str
    inputs: Sequence[tuple[str, str, int]]
    poster: str | None
    optional: bool


class TourModule(Protocol):
    """The module ``tour`` beside a backend's plugin module: every file name that it may write, and its steps in a directory."""

    NAMES: Sequence[str]
    steps: Callable[[Path], Generator[TourStep, Result | None, None]]


@click.command("tour")
@click.argument("folder", default="tour", metavar="[DIR]")
@click.option("-f", "--force", is_flag=True, help="Replace existing files that no tour made.")
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress on stderr.")
def tour(folder: str, force: bool, as_json: bool, quiet: bool) -> None:
    """Generate an image, edits of it, a video and its continuation in DIR (default: ./tour), and a page that shows them.

    Needs no key and no network: the local backend generates everything by rules.
    """
    console, target, module = Console(json=as_json, quiet=quiet), Path(folder), _load_tour()
    claim_directory(target, module.NAMES, _GENERATOR, force=force)
    page = target.resolve() / PAGE
    page.write_text(UNFINISHED, encoding="utf-8")  # marks the directory as a tour's, in case this one is interrupted
    try:
        steps, skipped = run(_run_tour(console, module, target))
    finally:
        if not any((target / name).exists() for name in module.NAMES):
            page.unlink()
    page.write_text(make_page(steps, skipped, target), encoding="utf-8")
    made = [{"title": s.title, "prompt": s.prompt, "command": s.command, "result": s.result.to_json()} for s in steps]
    document = {"page": str(page), "steps": made, "skipped": [{"title": s.title, "reason": s.reason} for s in skipped]}
    notes = [*(f"skipped: {omitted.title}: {omitted.reason}" for omitted in skipped), f"Open in a browser: {page.as_uri()}"]
    console.answer(document, [*(step.result.path for step in steps), page], "\n".join(notes))


def _load_tour() -> TourModule:
    """Import the module ``tour`` of the local backend."""
    from .environment import load_environment

    environment = load_environment()
    loaded = environment.registry.plugins.get(_BACKEND)
    if loaded is None:
        if _BACKEND in environment.registry.broken or _BACKEND in environment.registry.blocked:
            raise environment.registry.unknown(_BACKEND, environment.instances)
        fix = "in a checkout: pip install -e plugins/local_media"
        raise UnknownBackend(f"the tour needs the backend {_BACKEND!r}, which is not installed", fix=fix)
    package = loaded.module.__name__.rpartition(".")[0]
    module: Any = importlib.import_module(f"{package}.tour")
    return module  # type: ignore[no-any-return]


async def _run_tour(console: Console, module: TourModule, folder: Path) -> tuple[list[Step], list[Skipped]]:
    from ..router import Router

    async with ProgressLine(quiet=console.quiet) as line, Router(on_progress=line) as router, resumable(router, line):

        def announce(title: str) -> None:
            line.clear()
            console.note(title)

        return await _run_steps(router, module.steps(folder), folder, announce)


async def _run_steps(
    router: Router, steps: Generator[TourStep, Result | None, None], folder: Path, announce: Callable[[str], None]
) -> tuple[list[Step], list[Skipped]]:
    """Run the steps in order; an optional one that fails is skipped."""
    made: list[Step] = []
    skipped: list[Skipped] = []
    result: Result | None = None
    while True:
        try:
            step = steps.send(result)
        except StopIteration:
            return made, skipped
        if step.title:
            announce(f"{len(made) + 1}. {step.title}")
        try:
            result = await router.execute(step.request, backend=_BACKEND, output=folder / step.name, overwrite=True)
        except MediaError as error:
            if not step.optional:
                raise
            skipped.append(Skipped(title=step.title, reason=str(error)))
            result = None
            continue
        if step.title:
            made.append(_shown(step, len(made) + 1, result, folder))


def _shown(step: TourStep, number: int, result: Result, folder: Path) -> Step:
    return Step(
        number=number,
        title=step.title,
        text=step.text,
        prompt=step.request.prompt,
        command=f"anymedia {step.command} -b {_BACKEND}",
        inputs=tuple(Input(role=role, picture=folder / name, step=source) for role, name, source in step.inputs),
        result=result,
        poster=None if step.poster is None else folder / step.poster,
    )
