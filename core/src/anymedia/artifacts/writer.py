"""What a living process holds of the artifacts: temporary files that it writes, and calls that it protects from retention."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote

from ..directories import lock_file
from ..files.part_file import PartFile
from ..files.safe_dir import Directory, explain, show_path
from ..threads import in_thread
from .records import KINDS, SEPARATOR, Artifact, ArtifactNotStored, Kind

if TYPE_CHECKING:
    from .store import ArtifactStore

_T = TypeVar("_T")
UNKNOWN_MIME = "application/octet-stream"
_CALL = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+/;= -]{1,60}")
#: Written bytes are collected up to this many before a thread hashes and writes them.
BUFFER = 262_144
#: A dead process's temporary file is kept this many seconds for a resume to continue.
PART_SECONDS = 86_400.0


class Part(PartFile):
    """The temporary file of an artifact."""

    def __init__(self, store: ArtifactStore, call_id: str, kind: Kind, index: int) -> None:
        if not _CALL.fullmatch(call_id) or kind not in KINDS or index < 0:
            raise ValueError(f"not a name for an artifact: {call_id!r}, {kind!r}, {index}")
        name = SEPARATOR.join([quote(call_id, safe=""), kind, str(index)])
        super().__init__(f"{name}.part", spare=f"{name}{SEPARATOR}{secrets.token_hex(8)}.part")
        self._store, self._call_id, self._kind, self._number = store, call_id, kind, index
        self._is_new = False  # the reference was made here

    def _open_folder(self) -> Directory:
        self._store.prepare()
        with self._store._failing():
            return Directory.at(self._store.directory / "parts")

    def _failed(self, error: OSError) -> ArtifactNotStored:
        return not_stored(self._store.directory, error)

    def commit(self, mime: str) -> Artifact:
        """Make the bytes and a reference to them durable; return the artifact."""
        made = Artifact(
            call_id=self._call_id,
            kind=self._kind,
            index=self._number,
            sha256=self.sha256,
            size=self.size,
            mime=mime if _MIME.fullmatch(mime) else UNKNOWN_MIME,
        )
        try:
            with self._store._lock(shared=True):
                self._name_it(made)
        except OSError as error:
            self.abort()
            with contextlib.suppress(ArtifactNotStored):
                self._store._remove([made] if self._is_new else [])
            raise self._failed(error) from None
        self._close()
        return made

    def _name_it(self, made: Artifact) -> None:
        final = self._store._files + made.sha256
        # On most file systems the file's sync makes its new names durable as well, and the directory's sync then costs little. A
        # name that is there before its bytes does no harm: `find` checks them. Only an object in use is not replaced before that.
        if os.path.exists(final):  # noqa: PTH110
            os.fsync(self._fd)
        os.replace(self.path, final)  # noqa: PTH105
        self._is_new = self._store._add_reference(made)
        os.fsync(self._fd)
        sync(self._store._files)


class ArtifactWriter:
    """Receives the bytes of one artifact; an asynchronous context manager that discards them unless `commit` was called."""

    def __init__(self, store: ArtifactStore, call_id: str, kind: Kind, index: int, mime: str) -> None:
        self._part = Part(store, call_id, kind, index)
        self._mime = mime
        self._buffer = bytearray()

    @property
    def size(self) -> int:
        """Bytes written so far; more than 0 at the start if an interrupted write is being resumed."""
        return self._part.size + len(self._buffer)

    @property
    def sha256(self) -> str:
        """Hexadecimal hash of the bytes written so far."""
        digest = self._part._hash.copy()
        digest.update(self._buffer)
        return digest.hexdigest()

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            ArtifactNotStored: they cannot be written; the caller leaves the context, which removes what was written.
        """
        self._buffer += data
        if len(self._buffer) >= BUFFER:
            await self._flushed(lambda: None)

    async def _flushed(self, work: Callable[[], _T]) -> _T:
        """Write what was collected, and do some work, in a thread."""

        def flushed() -> _T:
            if self._buffer:
                data, self._buffer = self._buffer, bytearray()
                self._part.write(memoryview(data))
            return work()

        return await in_thread(flushed)

    async def tail(self, count: int) -> bytes:
        """Return the last ``count`` bytes written, or all if there are fewer."""
        return await self._flushed(lambda: self._part.tail(count))

    async def restart(self) -> None:
        """Discard what was written and start again."""
        self._buffer.clear()
        await in_thread(self._part.restart)

    async def change(self, work: Callable[[int], _T]) -> _T:
        """Let a function change what was written, in place, see `PartFile.change`; it is called in a thread."""
        return await self._flushed(lambda: self._part.change(work))

    async def commit(self, *, mime: str | None = None) -> Artifact:
        """Make the bytes and the reference to them durable.

        Args:
            mime: the mime type, if it became known while writing.

        Raises:
            ArtifactNotStored: that was not possible; nothing is left of it.
        """
        return await self._flushed(lambda: self._part.commit(mime or self._mime))

    async def __aenter__(self) -> Self:
        """Open the temporary file, or that of a dead process."""
        await in_thread(self._part.open)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Remove the temporary file unless it was committed."""
        await in_thread(self._part.abort)


class Pins:
    """The calls whose artifacts this process protects from retention as long as it lives: lines in a file that it keeps locked."""

    def __init__(self, folder: Path) -> None:
        self.calls = set[str]()
        self._pid = os.getpid()
        self._path = folder / f"{self._pid}-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(self._path, flags, 0o600)
        lock_file(self._fd)

    @property
    def is_held(self) -> bool:
        """Whether this process has opened the file, not the one it was forked from, and it was not deleted."""
        return self._pid == os.getpid() and self._path.exists()

    def add(self, call_id: str) -> None:
        """Protect a call."""
        os.write(self._fd, f"1 {call_id}\n".encode())
        self.calls.add(call_id)

    def close(self) -> None:
        """Protect nothing any more."""
        if self._fd >= 0 and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
        self._fd = -1


#: The pins of this process, by the directory of the store.
_lasting: dict[Path, Pins] = {}
_lasting_lock = threading.Lock()


def pin(store: ArtifactStore, call_id: str) -> None:
    """Protect the artifacts of a call from retention as long as this process lives."""
    place = store.directory.absolute()
    with _lasting_lock:
        pins = _lasting.get(place)
        if pins is not None and pins.is_held and call_id in pins.calls:
            return
        store.prepare()
        with store._failing(), store._lock(shared=True):  # no clean-up sees the file before it is locked
            if pins is None or not pins.is_held:
                if pins is not None:
                    pins.close()
                pins = _lasting[place] = Pins(store.directory / "pins")
            pins.add(call_id)


def pinned_calls(folder: Path) -> set[str]:
    """Return the calls that living processes have pinned; remove the files of dead ones (under the exclusive lock)."""
    found = set[str]()
    for path in entries(folder):
        with contextlib.suppress(FileNotFoundError):
            if is_abandoned(path):
                path.unlink()
            else:
                found |= {line.partition(" ")[2] for line in path.read_text().splitlines()}
    return found


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


def remove_abandoned(folder: Path, now: float, *, dry_run: bool) -> int:
    """Remove the temporary files of dead processes that are too old for a resume; return how many they are."""
    count = 0
    for path in entries(folder):
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime >= PART_SECONDS and is_abandoned(path):
                count += 1
                if not dry_run:
                    path.unlink()
    return count


def sync(folder: Path | str) -> None:
    """Make the names in a directory durable."""
    with contextlib.closing(Directory.at(Path(folder))) as opened:
        opened.sync()
