"""Where words go: results on stdout, everything else on stderr; or exactly one JSON document on stdout."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from ..errors import FixAction, MediaError

__all__ = ["COMMANDS", "Console", "StdoutClosed", "clean"]

#: How a person at a command line carries out what an error suggests.
COMMANDS: Mapping[FixAction, str] = {"resume": "anymedia jobs resume {run_id}", "list_jobs": "anymedia jobs list"}

#: Control characters, bidirectional overrides included: a provider's words must not steer a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class StdoutClosed(Exception):
    """Stdout takes no more: whoever read it went away (no words), or it cannot be written (the reason)."""


def clean(text: str) -> str:
    """Return a text without characters that steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _write(data: bytes) -> None:
    try:
        click.echo(data, nl=False)
    except BrokenPipeError:
        raise StdoutClosed from None
    except OSError as error:
        raise StdoutClosed(error.strerror) from None


@attrs.frozen(kw_only=True)
class Console:
    """One command's way to speak. ``json``: one document and nothing else on stdout; ``quiet``: no notes."""

    json: bool = False
    quiet: bool = False

    def result(self, line: str | Path) -> None:
        """Print one line of result on stdout (a path keeps its very bytes)."""
        _write((os.fsencode(line) if isinstance(line, Path) else clean(line).encode(errors="replace")) + b"\n")

    def document(self, value: Mapping[str, Any]) -> None:
        """Print the one JSON document: laid out on a terminal, else on one line."""
        _write(json.dumps(value, indent=2 if is_terminal(sys.stdout) else None, default=str).encode() + b"\n")

    def data(self, data: bytes) -> None:
        """Write bytes to stdout as they are."""
        _write(data)

    def note(self, text: str) -> None:
        """Tell something beside the result, on stderr."""
        if not self.quiet:
            click.echo(clean(text), err=True)

    def error(self, error: MediaError) -> None:
        """Tell what went wrong: as the one JSON document, or in words on stderr."""
        if self.json:
            self.document({"success": False, "error": error.to_json() | {"fix": error.hint(COMMANDS)}})
        for line in _error_lines(error):
            click.echo(clean(line), err=True)


def _error_lines(error: MediaError) -> list[str]:
    lines = [f"anymedia: {error.to_json()['message']}"]
    if hint := error.hint(COMMANDS):
        lines.append(f"  hint: {hint}")
    if error.try_backends:
        lines.append(f"  usable here and now: {', '.join(error.try_backends)}")
    if error.job_id:
        lines.append(f"  job: {error.job_id} (anymedia jobs show {error.job_id})")
    if error.charged != "no":
        lines.append(f"  charged: {error.charged}")
    return lines


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal; a closed or missing one is not."""
    try:
        return bool(stream is not None and stream.isatty())
    except ValueError:
        return False


def drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
