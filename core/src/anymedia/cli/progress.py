"""The progress line: elapsed time, model, state and fraction; drawn only on a terminal, without colours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .console import clean, is_terminal
from .process import job_ids

if TYPE_CHECKING:
    from ..router import Progress

__all__ = ["ProgressLine"]


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
            self._ticker = asyncio.create_task(self._tick())
        return self

    def clear(self) -> None:
        """Clear the line so that other text can be printed; the next report redraws it."""
        self._put("")

    async def stop(self) -> None:
        """Clear the line and draw no more."""
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        self.clear()
        self._draws = False

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def _tick(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(1)

    def _draw(self) -> None:
        self._put(line_of(self._newest, time.monotonic() - self._started))

    def _put(self, line: str) -> None:
        if not self._draws:
            return
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
