"""Output: results on stdout, everything else on stderr; or exactly one JSON document on stdout."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from ..errors import Argument, FixAction, MediaError
from ..records import frozen
from .process import is_terminal, job_ids, stdout_is_terminal, stdout_width, write_stdout

if TYPE_CHECKING:
    import asyncio

    from ..router import Progress

#: The command for each action that an error suggests.
COMMANDS: Mapping[FixAction, str] = {
    "resume": "anymedia jobs resume {run_id}",
    "rebind": "anymedia jobs resume {run_id} --rebind",
    "list_jobs": "anymedia jobs list",
    "export": "anymedia jobs export {run_id} folder/",
}

#: Control characters, including bidirectional overrides: text from a provider must not control the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class StdoutClosed(Exception):
    """Stdout cannot be written: its reader closed it (empty message), or another reason, which is the message."""


def clean(text: str) -> str:
    """Replace the characters of a text that could control a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def has_colours(terminal: bool) -> bool:
    """Return whether to print colours: only on a terminal that says which kind it is, and not with ``NO_COLOR``."""
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in {"", "dumb", "unknown"}


def _write(data: bytes) -> None:
    try:
        write_stdout(data)
    except BrokenPipeError:
        raise StdoutClosed from None
    except OSError as error:
        raise StdoutClosed(error.strerror) from None


@frozen(kw_only=True)
class Console:
    """Output of one command.

    Attributes:
        json: print one JSON document and nothing else on stdout.
        quiet: print no notes.
        verbose: print all notes of a result, rather than at most three lines.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def result(self, line: str | Path) -> None:
        """Print one result line on stdout; a path keeps its exact bytes."""
        _write((os.fsencode(line) if isinstance(line, Path) else clean(line).encode(errors="replace")) + b"\n")

    def table(self, rows: Sequence[Sequence[str]], *, shrink: Sequence[int] = (), least: int = 12, wrap: bool = False) -> None:
        """Print a table on stdout, see `table`; with colours on a terminal."""
        if not has_colours(stdout_is_terminal()):
            for line in table(rows, shrink=shrink, least=least, wrap=wrap):
                self.result(line)
        elif rows:
            _write(_coloured_table(fitted(rows, shrink=shrink, least=least, wrap=wrap)).encode())

    def document(self, value: Mapping[str, Any]) -> None:
        """Print the JSON document: indented on a terminal, otherwise on one line."""
        _write(json.dumps(value, indent=2 if stdout_is_terminal() else None, default=str).encode() + b"\n")

    def answer(self, document: Mapping[str, Any], lines: Iterable[str | Path] = (), note: str = "") -> None:
        """Print what a command found: a document if JSON was asked for, otherwise lines on stdout and a note on stderr."""
        if self.json:
            self.document({"success": True, **document})
            return
        for line in lines:
            self.result(line)
        if note:
            self.note(note)

    def data(self, data: bytes) -> None:
        """Write bytes to stdout unchanged."""
        _write(data)

    def note(self, text: str, *, important: bool = False) -> None:
        """Print a note on stderr; if ``quiet``, only an important one."""
        if important or not self.quiet:
            click.echo(_coloured(clean(text)), err=True)

    def error(self, error: MediaError) -> None:
        """Print an error on stderr, and as the JSON document if asked for."""
        if self.json:
            kept = {"kept": error.kept} if error.kept else {}
            self.document({"success": False, "error": error.to_json() | {"fix": hint_of(error)} | kept})
        for line in _error_lines(error):
            click.echo(_coloured(clean(line)), err=True)


def _coloured(line: str) -> str:
    """Return a line for stderr with its first word in a colour, if that is a terminal and the word says what the line is."""
    word, colon, rest = line.partition(":")
    colour = {"anymedia": "red", "warning": "yellow", "hint": "cyan"}.get(word.strip())
    if colour is None or not colon or not has_colours(is_terminal(sys.stderr)):
        return line
    return click.style(word + colon, fg=colour, bold=word == "anymedia") + rest


#: Column -> style; a cell that is in `_CELLS` has its own.
_COLUMNS = {"JOB": "cyan", "MODEL": "cyan", "BACKEND": "cyan", "TASKS": "dim", "CREATED": "dim", "STAGE": "yellow", "#": "cyan"}
_CELLS = {
    **dict.fromkeys(("done", "active", "free"), "green"),
    **dict.fromkeys(("failed", "refused", "lost"), "red"),
    **dict.fromkeys(("unknown", "cancelled"), "yellow"),
    **dict.fromkeys(("queued", "submitting", "submitted", "running", "collecting"), "blue"),
}


def _coloured_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows that fit the width as a table with colours and a line below the head."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head, *body = rows
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in head:
        made.add_column(name, no_wrap=True)
    for row in body:
        made.add_row(*(Text(cell, _CELLS.get(cell, _COLUMNS.get(name, ""))) for name, cell in zip(head, row, strict=True)))
    return _rendered(made, max(stdout_width(), sum(max(len(row[i]) for row in rows) + 3 for i in range(len(head)))))


def _rendered(what: Any, width: int) -> str:
    """Return something that rich can render as text with colours."""
    import io

    from rich.console import Console as RichConsole

    out = io.StringIO()
    RichConsole(file=out, force_terminal=True, color_system="standard", width=width, legacy_windows=False, highlight=False).print(what)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def hint_of(error: MediaError) -> str:
    """Return what to do about an error, with the options and commands of the command line."""
    return error.hint(COMMANDS, _option_text)


def _option_text(argument: Argument) -> str:
    from .build_request import option_text

    return option_text(argument)


def _error_lines(error: MediaError) -> list[str]:
    lines = [f"anymedia: {error.to_json()['message']}"]
    if hint := hint_of(error):
        lines.append(f"  hint: {hint}")
    if error.try_backends:
        lines.append(f"  usable now: {', '.join(error.try_backends)}")
    if error.job_id:
        lines.append(f"  job: {error.job_id} (anymedia jobs show {error.job_id})")
    if error.charged != "no":
        lines.append(f"  charged: {error.charged}")
    return lines


def table(rows: Iterable[Sequence[str]], *, shrink: Sequence[int] = (), least: int = 12, wrap: bool = False) -> list[str]:
    """Return rows as aligned lines that fit the width of the output where possible.

    Args:
        rows: cells of equal number per row; control characters and line breaks are replaced.
        shrink: indexes of the columns that may be made narrower, in this order.
        least: the width that such a column keeps, in characters.
        wrap: continue a cell of such a column on the next line, between words, instead of cutting it.
    """
    cells = fitted(rows, shrink=shrink, least=least, wrap=wrap)
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def fitted(rows: Iterable[Sequence[str]], *, shrink: Sequence[int] = (), least: int = 12, wrap: bool = False) -> list[list[str]]:
    """Return the cells of a table, cut or wrapped where the columns would not fit; see `table`."""
    cells = [[" ".join(clean(cell).split()) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for index in shrink:
        excess = sum(widths) + 2 * (len(widths) - 1) - stdout_width()
        longest = max((len(word) for row in cells for word in row[index].split()), default=0) if wrap else 0
        widths[index] = min(widths[index], max(widths[index] - excess, least, longest))
    if wrap:
        import textwrap

        lines = ([textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)] for row in cells)
        return [list(line) for row in lines for line in itertools.zip_longest(*row, fillvalue="")]
    return [[cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(row, widths, strict=True)] for row in cells]


def local_time(seconds: float) -> str:
    """Return a time in seconds since the epoch as local date and time."""
    import datetime

    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def short_time(seconds: float, now: float) -> str:
    """Return a time as month, day and time, or as a date if it is not in the current year."""
    text = local_time(seconds)
    return text[5:] if text[:4] == local_time(now)[:4] else text[:10]


def drop_stdout() -> None:
    """Redirect stdout to the null device, so that the interpreter's final flush does not fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


class ProgressLine:
    """Receives the progress reports of a Router, records their job ids and draws the latest report.

    Writes to stderr if that is a terminal, redraws once a second and clears itself at the end; with ``quiet`` it draws nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._draws = not quiet and is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._has_colours = self._draws and has_colours(True)
        #: Written before the latest report, as the number of finished calls of a batch.
        self.prefix = ""
        self._started = time.monotonic()
        self._newest: Progress | None = None
        self._width = 0
        self._ticker: asyncio.Task[None] | None = None
        self.job_ids: dict[str, None] = {}

    def __call__(self, progress: Progress) -> None:
        """Receive a report."""
        self._newest = progress
        if progress.job_id:
            self.job_ids[progress.job_id] = job_ids[progress.job_id] = None
        self._draw()

    async def __aenter__(self) -> Self:
        if self._draws:
            import asyncio

            self._ticker = asyncio.create_task(self._tick())
        return self

    def clear(self) -> None:
        """Clear the line so that other text can be printed; the next report redraws it."""
        self._put("")

    async def stop(self) -> None:
        """Clear the line and draw no more."""
        import asyncio

        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        self.clear()
        self._draws = False

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def _tick(self) -> None:
        import asyncio

        while True:
            self._draw()
            await asyncio.sleep(0.2 if self._has_colours else 1)

    def _draw(self) -> None:
        elapsed = time.monotonic() - self._started
        line = f"{self.prefix}  {line_of(self._newest, elapsed)}".strip()
        self._put(line, self._newest if self._has_colours else None, elapsed)

    def _put(self, line: str, progress: Progress | None = None, elapsed: float = 0.0) -> None:
        if not self._draws:
            return
        import shutil

        width = shutil.get_terminal_size().columns - 1
        line = line[:width]
        if progress is not None and progress.state not in FINAL:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"\r{_bar_line(self.prefix, progress, elapsed, width)}\x1b[K")
                sys.stderr.flush()
            self._width = width
            return
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
            sys.stderr.flush()
        self._width = len(line)


#: States after which no bar is drawn.
FINAL = frozenset({"done", "failed", "refused", "cancelled"})


def _bar_line(prefix: str, progress: Progress, elapsed: float, width: int) -> str:
    """Return the line for a report with colours and a bar, which moves while the progress is unknown."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    known = progress.fraction
    bar = ProgressBar(total=1.0, completed=known or 0.0, width=max(8, min(30, width // 4)), pulse=known is None, animation_time=elapsed)
    line = Table.grid(padding=(0, 1))
    note = " ".join(clean(progress.note).split())
    name = Text(f"{progress.backend}/{progress.model}", "cyan", overflow="ellipsis")
    shown = "" if known is None else f"{known:.0%}"
    line.add_row(
        *([Text(prefix, "bold")] if prefix else []), bar, shown, Text(f"{elapsed:.0f} s", "dim"), name, Text(progress.state, "blue"), note
    )
    for column in line.columns:
        column.no_wrap = True
    return _rendered(line, width).rstrip("\n").replace("\n", " ")


def line_of(progress: Progress | None, elapsed: float) -> str:
    """Return the line for the latest report, if there is one, so many seconds after the start."""
    if progress is None:
        return f"{elapsed:4.0f} s"
    parts = [f"{elapsed:4.0f} s", f"{progress.backend}/{progress.model}", progress.state]
    if progress.fraction is not None:
        parts.append(f"{progress.fraction:.0%}")
    if progress.note:
        parts.append(" ".join(clean(progress.note).split()))
    return "  ".join(parts)
