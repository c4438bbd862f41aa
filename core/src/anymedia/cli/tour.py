"""``anymedia tour``: a chain of media without any key, and a page that shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidRequest, Problem
from .console import Console
from .options import AS_JSON
from .progress import ProgressLine
from .run_media import resumable
from .touring.page import MARK, UNFINISHED, make_page
from .touring.steps import NAMES, Skipped, Step, make_steps

__all__ = ["tour"]

_PAGE = "index.html"


@click.command("tour")
@click.argument("folder", default="tour", metavar="[DIR]")
@click.option("-f", "--force", is_flag=True, help="Replace files of the same names that no tour made.")
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on stderr.")
def tour(folder: str, force: bool, as_json: bool, quiet: bool) -> None:
    """Make an image, edits of it, a video and its continuation into DIR (default: ./tour), and a page that shows them.

    Needs no key and no network: the local backend makes everything, by rules.
    """
    console, target = Console(json=as_json, quiet=quiet), Path(folder)
    _check_folder(target, force)
    page = target.resolve() / _PAGE
    page.write_text(UNFINISHED, encoding="utf-8")  # should it be broken off, the next tour knows these files for a tour's
    try:
        steps, skipped = asyncio.run(_make(console, target))
    finally:
        if not any((target / name).exists() for name in NAMES):
            page.unlink()  # nothing was made
    page.write_text(make_page(steps, skipped, target), encoding="utf-8")
    if as_json:
        console.document(_document(page, steps, skipped))
        return
    for step in steps:
        console.result(step.result.path)
    console.result(page)
    for left_out in skipped:
        console.note(f"not made here: {left_out.title}: {left_out.why}")
    console.note(f"Open in a browser: {page.as_uri()}")


def _check_folder(folder: Path, force: bool) -> None:
    """Make the folder; refuse one that holds files of our names which no tour made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / _PAGE
        own = page.is_file() and MARK in page.read_text("utf-8", errors="replace")
    except OSError as error:
        raise InvalidRequest([Problem("$.output_path", f"cannot use the folder {str(folder)!r}: {error.strerror}")]) from None
    taken = [name for name in (*NAMES, _PAGE) if (folder / name).exists()]
    if taken and not own and not force:
        text = f"{str(folder)!r} already holds {taken[0]!r}, which no tour made"
        raise InvalidRequest([Problem("$.output_path", text, "name another folder, or give -f")])


async def _make(console: Console, folder: Path) -> tuple[list[Step], list[Skipped]]:
    from ..router import Router

    async with ProgressLine(quiet=console.quiet) as line, Router(on_progress=line) as router, resumable(router, line):

        def tell(title: str) -> None:
            line.clear()
            console.note(title)

        return await make_steps(router, folder, tell)


def _document(page: Path, steps: list[Step], skipped: list[Skipped]) -> dict[str, Any]:
    made = [{"title": s.title, "prompt": s.prompt, "command": s.command, "result": s.result.to_json()} for s in steps]
    return {"success": True, "page": str(page), "steps": made, "skipped": [{"title": s.title, "why": s.why} for s in skipped]}
