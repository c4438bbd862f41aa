"""The command line: prompt in, path out.

app.py             the command group; every error becomes a message, JSON and an exit code
media_commands.py  image, edit, video, audio, plan
build_request.py   arguments and config file -> a request
continuation.py    ``--continue last|ID|FILE``
run_media.py       a request -> plan, run, files
render.py          plans, results and model specs, as text or as JSON
console.py         paths on stdout, everything else on stderr, or one JSON document
options.py         options that several commands share
progress.py        the progress line
environment.py     settings, plugins and instances, for commands that only read

Each other command has a module of its own: models, capabilities, doctor, jobs, cost, tour, mcp, schema, guide, new_backend.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as typing's own, whose import takes a third of the time of a start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; always exits."""
    try:
        from .app import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # the part that reports an interruption is not loaded yet
    run(args)
