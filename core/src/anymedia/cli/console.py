"""Output: results on stdout, everything else on stderr; or exactly one JSON document on stdout."""

from __future__ import annotations

import contextlib
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

from ..errors import FixAction, MediaError
from ..records import frozen
from .process import job_ids, stdout_is_terminal, stdout_width, write_stdout

if TYPE_CHECKING:
    import asyncio

    from ..router import Progress

#: The command for each action that an error suggests.
COMMANDS: Mapping[FixAction, str] = {"resume": "anymedia jobs resume {run_id}", "list_jobs": "anymedia jobs list"}

#: Control characters, including bidirectional overrides: text from a provider must not control the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class StdoutClosed(Exception):
    """Stdout cannot be written: its reader closed it (empty message), or another reason, which is the message."""


def clean(text: str) -> str:
    """Replace the characters of a text that could control a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


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

    def document(self, value: Mapping[str, Any]) -> None:
        """Print the JSON document: indented on a terminal, otherwise on one line."""
        _write(json.dumps(value, indent=2 if stdout_is_terminal() else None, default=str).encode() + b"\n")

    def data(self, data: bytes) -> None:
        """Write bytes to stdout unchanged."""
        _write(data)

    def note(self, text: str) -> None:
        """Print a note on stderr."""
        if not self.quiet:
            click.echo(clean(text), err=True)

    def error(self, error: MediaError) -> None:
        """Print an error on stderr, and as the JSON document if asked for."""
        if self.json:
            self.document({"success": False, "error": error.to_json() | {"fix": error.hint(COMMANDS)}})
        for line in _error_lines(error):
            click.echo(clean(line), err=True)


def _error_lines(error: MediaError) -> list[str]:
    lines = [f"anymedia: {error.to_json()['message']}"]
    if hint := error.hint(COMMANDS):
        lines.append(f"  hint: {hint}")
    if error.try_backends:
        lines.append(f"  usable now: {', '.join(error.try_backends)}")
    if error.job_id:
        lines.append(f"  job: {error.job_id} (anymedia jobs show {error.job_id})")
    if error.charged != "no":
        lines.append(f"  charged: {error.charged}")
    return lines


def table(rows: Iterable[Sequence[str]], *, shrink: Sequence[int] = (), least: int = 12) -> list[str]:
    """Return rows as aligned lines that fit the width of the output where possible.

    Args:
        rows: cells of equal number per row; control characters and line breaks are replaced.
        shrink: indexes of the columns that may be cut, in this order.
        least: the width that a cut column keeps, in characters.
    """
    cells = [[" ".join(clean(cell).split()) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for index in shrink:
        excess = sum(widths) + 2 * (len(widths) - 1) - stdout_width()
        widths[index] = min(widths[index], max(widths[index] - excess, least))
    return ["  ".join(_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def local_time(seconds: float) -> str:
    """Return a time in seconds since the epoch as local date and time."""
    import datetime

    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def short_time(seconds: float, now: float) -> str:
    """Return a time as month, day and time, or as a date if it is not in the current year."""
    text = local_time(seconds)
    return text[5:] if text[:4] == local_time(now)[:4] else text[:10]


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; a closed or missing one is not."""
    try:
        return bool(stream is not None and stream.isatty())
    except ValueError:
        return False


def drop_stdout() -> None:
    """Redirect stdout to the null device, so that the interpreter's final flush does not fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


class ProgressLine:
    """Receives the progress reports of a Router, records their job ids and draws the latest report.

    Writes to stderr, redraws once a second and clears itself at the end.

    Args:
        quiet: draw nothing, as when stderr is not a terminal.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._draws = not quiet and is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
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
            await asyncio.sleep(1)

    def _draw(self) -> None:
        self._put(line_of(self._newest, time.monotonic() - self._started))

    def _put(self, line: str) -> None:
        if not self._draws:
            return
        import shutil

        line = line[: shutil.get_terminal_size().columns - 1]
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
            sys.stderr.flush()
        self._width = len(line)


def line_of(progress: Progress | None, elapsed: float) -> str:
    """Return the line for a report.

    Args:
        progress: the latest report, None before the first.
        elapsed: seconds since the start.
    """
    if progress is None:
        return f"{elapsed:4.0f} s"
    parts = [f"{elapsed:4.0f} s", f"{progress.backend}/{progress.model}", progress.state]
    if progress.fraction is not None:
        parts.append(f"{progress.fraction:.0%}")
    if progress.note:
        parts.append(" ".join(clean(progress.note).split()))
    return "  ".join(parts)
