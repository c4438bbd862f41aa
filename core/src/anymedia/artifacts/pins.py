"""Pins: calls whose artifacts a living process protects from retention."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..files.part_file import lock_file
from ..files.safe_dir import explain, show_path
from .store import ArtifactNotStored

if TYPE_CHECKING:
    from .local import LocalArtifacts

#: A dead process's temporary file is kept this many seconds for a resume to continue.
PART_SECONDS = 86_400.0


class Pins:
    """The calls that this process protects: lines in a file that it keeps locked as long as it lives."""

    def __init__(self, store: LocalArtifacts) -> None:
        self._store = store
        self._fd, self._pid = -1, 0
        self._path = store.directory

    @property
    def is_held(self) -> bool:
        """Whether the file is open in this process, rather than in the one it was forked from, and was not deleted."""
        return self._fd >= 0 and self._pid == os.getpid() and self._path.exists()

    def change(self, call_id: str, count: Literal[1, -1]) -> None:
        """Add or remove one pin of a call."""
        self._store.prepare()
        with self._store._failing(), self._store._lock(shared=True):  # no clean-up sees the file before it is locked
            if not self.is_held:
                self.close()
                self._pid = os.getpid()
                self._path = self._store.directory / "pins" / f"{self._pid}-{secrets.token_hex(8)}"
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
                self._fd = os.open(self._path, flags, 0o600)
                lock_file(self._fd)
            os.write(self._fd, f"{count} {call_id}\n".encode())

    def living(self) -> set[str]:
        """Return the calls that a living process has pinned; remove the files of dead ones (under the exclusive lock)."""
        counts: dict[str, int] = {}
        for path in entries(self._store.directory / "pins"):
            with contextlib.suppress(FileNotFoundError):
                if is_abandoned(path):
                    path.unlink()
                    continue
                for line in path.read_text().splitlines():
                    change, _, call_id = line.partition(" ")
                    counts[call_id] = counts.get(call_id, 0) + int(change)
        return {call_id for call_id, count in counts.items() if count > 0}

    def close(self) -> None:
        """Give up all pins of this process."""
        if self._fd >= 0 and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
        self._fd = -1


#: The pins of `LocalArtifacts.keep`, by directory, and the calls they protect: they last as long as the process.
_lasting: dict[Path, tuple[Pins, set[str]]] = {}
_lasting_lock = threading.Lock()


def pin_for_good(store: LocalArtifacts, call_id: str) -> None:
    """Protect the artifacts of a call from retention as long as this process lives."""
    with _lasting_lock:
        pins, pinned = _lasting.setdefault(store.directory.absolute(), (Pins(store), set()))
        if call_id not in pinned or not pins.is_held:
            pins.change(call_id, 1)
            pinned.add(call_id)


def not_stored(directory: Path, error: OSError) -> ArtifactNotStored:
    """Return the error for bytes that the system refused to store."""
    text = f"The bytes could not be stored: {show_path(directory)} {explain(error)}."
    return ArtifactNotStored(text, fix="Free some space there, or set ANYMEDIA_STATE to a directory on another disk.")


def entries(folder: Path) -> list[Path]:
    """Return the files in a directory; none if it does not exist."""
    try:
        return [folder / name for name in os.listdir(folder)]  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        raise not_stored(folder, error) from None


def is_abandoned(path: Path) -> bool:
    """Return whether the process that locked a file is dead; without file locks, whether it is a day old."""
    fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    try:
        locked = lock_file(fd)
        return time.time() - os.fstat(fd).st_mtime > PART_SECONDS if locked is None else locked
    finally:
        os.close(fd)
