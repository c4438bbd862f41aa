"""A private temporary file that is hashed as it is written and that a later process can resume.

A file lock distinguishes the temporary file of a dead process, which is resumed, from that of a living one, which is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self, TypeVar

from ..directories import lock_file
from ..errors import InvalidRequest, MediaError
from ..probe.probe import open_plainly
from .safe_dir import Directory

#: Bytes read, hashed and written at a time.
CHUNK = 65_536
#: The ioctl request with which Linux lets two files share their blocks.
_FICLONE = 0x40049409
_T = TypeVar("_T")


class PartFile:
    """A temporary file in a directory; a context manager that removes it unless a subclass has given it another name.

    Its methods raise `MediaError` when the directory cannot be used, or the disk is full or fails.

    Args:
        name: its name; a file with that name that a dead process left is resumed.
        spare: the name to use if that one is in use.

    Attributes:
        size: bytes written so far; more than 0 after `open` if an interrupted file is being resumed.
    """

    def __init__(self, name: str, *, spare: str) -> None:
        self._part, self._spare = name, spare
        self._folder: Directory | None = None
        self._fd = -1
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def path(self) -> Path:
        """The temporary file's path."""
        return self._opened.path / self._part

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes written so far."""
        return self._hash.hexdigest()

    @property
    def _opened(self) -> Directory:
        if self._folder is None:
            raise RuntimeError("the writer is not open")
        return self._folder

    def _open_folder(self) -> Directory:
        """Open the directory to write in."""
        raise NotImplementedError

    def _failed(self, error: OSError) -> MediaError:
        """Return the error for the caller when the system refuses to write."""
        raise NotImplementedError

    def open(self) -> Self:
        """Open the directory and the temporary file; resume that of a dead process."""
        self._folder = self._open_folder()
        try:
            self._fd = self._make()
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
            return self._resume()
        if lock_file(fd) is False:  # another process has just opened it
            os.close(fd)
            return self._make_other()
        return fd

    def _make_other(self) -> int:
        self._part = self._spare
        fd = self._opened.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        lock_file(fd)
        return fd

    def _resume(self) -> int:
        """Open the temporary file of a dead process; leave one that is in use or may belong to another user."""
        try:
            fd = self._opened.open(self._part, os.O_RDWR)
        except OSError:
            return self._make_other()
        info = os.fstat(fd)
        owned = stat.S_ISREG(info.st_mode) and (not hasattr(os, "geteuid") or info.st_uid == os.geteuid())
        # What has other names must not change: the process died after it had named the file, or it is a file elsewhere.
        if not owned or not lock_file(fd) or not self._is_still(fd) or os.fstat(fd).st_nlink > 1:
            os.close(fd)
            return self._make_other()
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

    def change(self, work: Callable[[int], _T]) -> _T:
        """Change in place what was written; where ``work`` returns anything, read it again for its size and checksum."""
        try:
            if changed := work(self._fd):
                self._read_back()
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise self._failed(error) from None
        return changed

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(data)
        self._hash.update(view)
        self.size += len(view)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failed(error) from None

    def copy_from(self, source: BinaryIO) -> None:
        """Replace what was written with the bytes of a file, sharing its blocks if the file system can (a reflink)."""
        try:
            if self.size:
                self.restart()
            if _reflink(source.fileno(), self._fd):
                self._read_back()
                return
            source.seek(0)
            while chunk := source.read(CHUNK):
                self.write(chunk)
        except OSError as error:
            raise self._failed(error) from None

    def tail(self, count: int) -> bytes:
        """Return the last ``count`` bytes written, or all if there are fewer."""
        start = max(0, self.size - count)
        os.lseek(self._fd, start, os.SEEK_SET)
        found = b""
        while len(found) < self.size - start and (more := os.read(self._fd, self.size - start - len(found))):
            found += more
        os.lseek(self._fd, 0, os.SEEK_END)
        return found

    def restart(self) -> None:
        """Discard what was written and start again."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash, self.size = hashlib.sha256(), 0

    def abort(self) -> None:
        """Close and remove the temporary file; has no effect once it has its final name."""
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


def _reflink(source: int, target: int) -> bool:
    """Let an empty file share the blocks of another; return whether the file system could."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:  # another file system, or one that cannot
        return False
    return True


def read_kept(path: Path, sha256: str, *, most: int) -> bytes | None:
    """Return the contents of a file recorded earlier; None if it is missing, is not a regular file, or has changed (see `copy_kept`)."""
    out = io.BytesIO()
    return out.getvalue() if copy_kept(path, sha256, out, most=most) else None


def copy_kept(path: Path, sha256: str, into: IO[bytes], *, most: int) -> bool:
    """Copy a file recorded earlier with its hash; its path may have been replaced by a pipe, a device or a link.

    ``most``: maximum size in bytes; a larger file is not the recorded one.

    Returns:
        Whether the contents were verified; if not, the copy must be discarded.
    """
    digest, left = hashlib.sha256(), most
    try:
        with open_plainly(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                into.write(chunk)
                left -= len(chunk)
                if left < 0:
                    return False
    except (InvalidRequest, OSError):
        return False
    return digest.hexdigest() == sha256
