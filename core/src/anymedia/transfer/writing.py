"""A file appears under its name only when it is whole: a private temporary beside it, then a link into place.

The temporary is named by the call, so that a download broken off by a killed process can be taken up again by
whoever resumes the call. A lock tells a dead call's temporary from a live one's.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ..errors import MediaError
from . import pace
from .paths import OutputTarget
from .walk import Directory, explain, show_path

__all__ = ["CannotWrite", "Writer", "hidden_prefix", "part_name"]

#: How the names of all our temporaries begin.
_HIDDEN = ".anymedia-"
#: Call ids that stand in a file name as they are.
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,80}")
#: Bytes read, hashed and written at a time.
CHUNK = 65_536
#: What a file system without hard links answers to a link.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EACCES})
_MOST_NAMES = 100_000
_umask_lock = threading.Lock()


def hidden_prefix(call_id: str) -> str:
    """Return how the names of all files begin that lie beside a call's place until it is closed."""
    safe = call_id if _SAFE.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:32]
    return f"{_HIDDEN}{safe}-"


def part_name(call_id: str, index: int) -> str:
    """Return the name of the temporary file of one piece of a call."""
    return f"{hidden_prefix(call_id)}{index}.part"


class CannotWrite(MediaError):
    """The disk does not take a file."""

    code = "cannot_write"


class Writer:
    """Writes one file of a call; a context manager that leaves nothing behind unless `commit` was reached.

    Attributes:
        size: bytes written so far (more than 0 after opening: a dead call's download was taken up).
        finished: the dead call had come as far as naming the file; nothing is left to write.
        left: the path of the temporary name that `commit` has left; None where it left none.
    """

    def __init__(self, target: OutputTarget, *, call_id: str, index: int = 0, of: int = 1) -> None:
        self._target, self._index, self._of = target, index, of
        self._part = part_name(call_id, index)
        self._folder: Directory | None = None
        self._fd = -1
        self._device = 0
        self._hash = hashlib.sha256()
        self._durable = -1  # so many bytes are known to be on the disk
        self._syncing = 0.0  # seconds that took
        self.size = 0
        self.finished: str | None = None
        self.left: Path | None = None

    @property
    def is_quick(self) -> bool:
        """Whether to make it durable takes so little time that no thread is needed."""
        return self.size <= pace.SMALL and pace.is_quick(self._device)

    @property
    def path(self) -> Path:
        """The temporary file's path."""
        return self._opened.path / self._part

    @property
    def wanted(self) -> str:
        """The file name that was asked for."""
        return next(self._target.names(self._index, self._of))

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written so far, in hex."""
        return self._hash.hexdigest()

    @property
    def _opened(self) -> Directory:
        if self._folder is None:
            raise RuntimeError("the writer is not open")
        return self._folder

    def open(self) -> Self:
        """Open the folder and the temporary file, or take up a dead call's.

        Raises:
            InvalidRequest: the folder cannot be used.
            MediaError: the temporary cannot be made.
        """
        self._folder = self._target.open()
        try:
            self._fd = self._make()
            self._device = os.fstat(self._fd).st_dev
        except OSError as error:
            self.abort()
            raise self._failed(error) from None
        except BaseException:
            self.abort()
            raise
        return self

    def _make(self) -> int:
        try:
            fd = self._opened.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return self._take_up()
        if _lock(fd) is False:  # a second process took it up in this very moment
            os.close(fd)
            return self._make_other()
        return fd

    def _make_other(self) -> int:
        self._part = f".anymedia-{secrets.token_hex(12)}-{self._index}.part"
        return self._opened.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def _take_up(self) -> int:
        """Open the temporary of a dead call. One that is alive, or that is not surely ours, is left alone."""
        try:
            fd = self._opened.open(self._part, os.O_RDWR)
        except OSError:
            return self._make_other()
        info = os.fstat(fd)
        owned = stat.S_ISREG(info.st_mode) and (not hasattr(os, "geteuid") or info.st_uid == os.geteuid())
        if not owned or not _lock(fd) or not self._is_still(fd):
            os.close(fd)
            return self._make_other()
        links = os.fstat(fd).st_nlink
        names = list(self._opened.names_of(info)) if links > 1 else [self._part]
        # With a final name, the call died between naming it and dropping the temporary name.
        self.finished = next((name for name in names if not name.startswith(_HIDDEN)), None)
        if len(names) != links:  # it has a name elsewhere, too: it is somebody's, and nothing is to be written to it
            os.close(fd)
            if self.finished is not None:
                self.finished = None
                return self._make_other()
            self._opened.unlink(self._part)
            return self._make()
        self._fd = fd
        self._read_back()
        return fd

    def _is_still(self, fd: int) -> bool:
        try:
            return os.path.samestat(self._opened.lstat(self._part), os.fstat(fd))
        except OSError:
            return False

    def _read_back(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash, self.size = hashlib.sha256(), 0
        while chunk := os.read(self._fd, CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes.

        Raises:
            MediaError: the disk does not take them.
        """
        view = memoryview(data)
        self._hash.update(view)
        self.size += len(view)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failed(error) from None

    def tail(self, count: int) -> bytes:
        """Return the last ``count`` bytes written, or all there are."""
        start = max(0, self.size - count)
        os.lseek(self._fd, start, os.SEEK_SET)
        found = b""
        while len(found) < self.size - start and (more := os.read(self._fd, self.size - start - len(found))):
            found += more
        os.lseek(self._fd, 0, os.SEEK_END)
        return found

    def head(self, count: int = 512) -> bytes:
        """Return the first bytes written."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        found = os.read(self._fd, count)
        os.lseek(self._fd, 0, os.SEEK_END)
        return found

    def reading(self) -> BinaryIO:
        """Return what was written as a file to read from; closing it closes nothing else."""
        return os.fdopen(os.dup(self._fd), "rb")

    def also(self, name: str) -> Path:
        """Give what was written a second, hidden name, which `commit` and `abort` leave alone; return its path.

        Raises:
            MediaError: the disk does not take it.
        """
        try:
            self._sync()  # before anybody writes down that it is here
            try:
                self._link_or_copy(name)
            except FileExistsError:  # of an earlier try at this very call
                if not os.path.samestat(self._opened.lstat(name), os.fstat(self._fd)):
                    self._opened.unlink(name)
                    self._link_or_copy(name)
        except OSError as error:
            raise self._failed(error) from None
        return self._opened.path / name

    def _sync(self) -> None:
        if self._durable != self.size:
            begun = time.perf_counter()
            os.fsync(self._fd)
            self._durable = self.size
            self._syncing += time.perf_counter() - begun

    def _link_or_copy(self, name: str) -> None:
        try:
            self._opened.link(self._part, name)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            fd = self._opened.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as copy, self.reading() as source:
                source.seek(0)
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            os.lseek(self._fd, 0, os.SEEK_END)

    def restart(self) -> None:
        """Drop what was written and begin anew."""
        if self.finished is not None:
            raise RuntimeError("a file that has its final name is not written to")
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash, self.size, self._durable = hashlib.sha256(), 0, -1

    def commit(self, *, suffix: str = "", keep_part: bool = False) -> Path:
        """Make it durable and give it its name, counted up where that is taken meanwhile; return its path.

        With ``keep_part`` the temporary name stays (as ``left``), for the caller to remove once it is written down that the file
        is there: whoever takes the call up before that finds the file by it, and makes no second one.

        What was paid for is never lost to a name clash, so a file that exists is an error only beforehand
        (`OutputTarget.check`).

        Raises:
            MediaError: the disk does not take it.
        """
        try:
            self._sync()
            begun = time.perf_counter()
            if hasattr(os, "fchmod"):
                os.fchmod(self._fd, 0o666 & ~_umask() if self._target.mode is None else self._target.mode)
            name, left = (self.finished, True) if self.finished else self._name_it(suffix)
            if left and not keep_part:
                self._opened.unlink(self._part)
            self._opened.sync()
            if self.size <= pace.SMALL:
                pace.note(self._device, self._syncing + time.perf_counter() - begun)
        except OSError as error:
            raise self._failed(error) from None
        path = self._opened.path / name
        self.left = self.path if left and keep_part else None
        self._close()
        return path

    def _name_it(self, suffix: str) -> tuple[str, bool]:
        """Give the temporary a name; return that, and whether the temporary's own is still there."""
        names = self._target.names(self._index, self._of, suffix=suffix)
        if self._target.overwrite and not self._target.made_up and not suffix:
            name = self._target_name_for_overwriting()
            if name is not None:
                self._opened.replace(self._part, name)
                return self._verified(name), False
        for _, name in zip(range(_MOST_NAMES), names, strict=False):
            if self._give(name):
                return self._verified(name), True
        raise OSError(errno.EEXIST, "no free name")

    def _target_name_for_overwriting(self) -> str | None:
        try:
            is_folder = stat.S_ISDIR(self._opened.lstat(self.wanted).st_mode)
        except FileNotFoundError:
            is_folder = False
        return None if is_folder else self.wanted

    def _give(self, name: str) -> bool:
        """Give the temporary a name if that is free."""
        try:
            self._opened.link(self._part, name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._give_without_links(name)
        return True

    def _give_without_links(self, name: str) -> bool:
        # The name is reserved by an empty file, then taken over in one step. Only on such file systems can a
        # crash in between leave the empty one.
        try:
            os.close(self._opened.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        self._opened.replace(self._part, name)
        return True

    def _verified(self, name: str) -> str:
        """Make sure that the name leads to what was written, and not to something put in its place meanwhile."""
        if not os.path.samestat(self._opened.lstat(name), os.fstat(self._fd)):
            if stat.S_ISLNK(self._opened.lstat(name).st_mode):
                self._opened.unlink(name)  # a file in its place is another call's, which was told to replace this one
            raise OSError(errno.ESTALE, "changed")
        return name

    def _failed(self, error: OSError) -> MediaError:
        where = show_path(self._target.folder)
        return CannotWrite(f"The file could not be written: {where} {explain(error)}.", fix="Make room or choose another directory.")

    def abort(self) -> None:
        """Close and remove the temporary; harmless after `commit`."""
        if self._folder is not None and self._fd >= 0:
            with contextlib.suppress(OSError):
                self._folder.unlink(self._part)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def __enter__(self) -> Self:
        return self if self._folder is not None else self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abort()


def _lock(fd: int) -> bool | None:
    """Lock a file for this process: False if another one holds it, None where files cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in {errno.EWOULDBLOCK, errno.EACCES} else None
    return True


def _umask() -> int:
    """Return the process's file mode mask without changing it where the system says it, else by a careful detour."""
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY)
        try:
            return int(os.read(fd, 4096).partition(b"\nUmask:")[2].split(None, 1)[0], 8)
        finally:
            os.close(fd)
    except (OSError, IndexError, ValueError):
        with _umask_lock:
            mask = os.umask(0o077)
            os.umask(mask)
        return mask
