"""Writers of one file take turns. SQLite lets whoever asks first have it: one that writes without a pause keeps all others out."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["pause", "turn"]

#: Nobody stands in the turnstile for longer than this, in seconds, unless stopped or stuck: then it is passed by.
_LONGEST = 1.0


def pause() -> None:
    """Sleep for a moment before asking again: a millisecond or two, so that those who wait do not ask in step."""
    time.sleep(random.uniform(0.0005, 0.002))  # noqa: S311


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Stand in the turnstile, a lock on the file's folder, until the block has got what it wants.

    (A lock on the file itself would meddle with SQLite's own.)

    Who has just let go has to queue behind who stands there. Where folders cannot be locked, everybody goes straight through.
    """
    try:
        import fcntl

        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield
        return
    try:
        give_up = time.monotonic() + _LONGEST
        while time.monotonic() < give_up:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pause()
            except OSError:
                break
        yield
    finally:
        os.close(fd)
