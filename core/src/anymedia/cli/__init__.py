"""The command line: prompt in, path out.

entry.py        the group of commands; turns every error into words, JSON and an exit code
lazy.py         commands that are imported one at a time, when they are called
exits.py        what each exit code means
console.py      paths on stdout, everything else on stderr, or one JSON document
options.py      the options that several commands share
order.py        one call of a media command: what was given, and the config file beside it
arguments.py    the words of a command line -> values (models, masks, references, KEY=JSON)
asking.py       values -> a request
continuing.py   ``--continue last|ID|FILE``
carrying_out.py a request -> plan, run, files
showing.py      plans and results, for a person or as JSON
progress.py     the line that moves while one waits
rows.py         what a model's row says, in words and as JSON values
live.py         what is installed and configured, for the commands that only look
touring/        the tour's steps and page

One file per command: image, edit, video, audio, plan, models, capabilities, doctor, jobs, cost, tour.
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
