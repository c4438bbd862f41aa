"""The command line.

app.py             the command group; turns every error into a message, a JSON document and an exit code
media_commands.py  the commands image, edit, video, audio, plan
build_request.py   builds a request from arguments and the config file
run_media.py       plans and runs a request, resolves ``--continue``
render.py          formats plans, results and model specs as text or JSON
console.py         writes results to stdout and everything else to stderr; the progress line
process.py         standard output, signals, running a coroutine
environment.py     settings, plugins and instances for commands that only read; options shared by several commands
tour.py, page.css  the HTML page of the tour

The other modules are one command each; agent_commands.py holds mcp, schema and guide.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing would take a third of the start-up time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; always exits."""
    try:
        from .app import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # the code that reports an interruption is not loaded yet
    run(args)
