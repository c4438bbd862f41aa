"""Write a file under a private temporary name, then link it into place once it is complete.

The temporary's name contains the call id, so that the process that resumes the call of a killed one finds it. A file lock
distinguishes the temporary of a dead process from that of a live one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path

from ..errors import MediaError
from .part_file import PartFile
from .paths import OutputTarget, mode_of_new
from .safe_dir import Directory, explain, show_path

#: Prefix of all temporary files.
_HIDDEN = ".anymedia-"
#: Call ids that are used in a file name unchanged.
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,80}")
#: Error codes of ``link`` on file systems without hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EACCES})
_MOST_NAMES = 100_000


def hidden_prefix(call_id: str) -> str:
    """Return the name prefix of all temporary files of a call."""
    safe = call_id if _SAFE.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:32]
    return f"{_HIDDEN}{safe}-"


def part_name(call_id: str, index: int) -> str:
    """Return the name of the temporary file for one piece of a call."""
    return f"{hidden_prefix(call_id)}{index}.part"


class CannotWrite(MediaError):
    """A file could not be written."""

    code = "cannot_write"


class Writer(PartFile):
    """Writes one file of a call; a context manager that removes the temporary file unless `commit` was called."""

    def __init__(self, target: OutputTarget, *, call_id: str, index: int = 0, of: int = 1) -> None:
        self._target, self._index, self._of = target, index, of
        super().__init__(part_name(call_id, index), spare=f".anymedia-{secrets.token_hex(12)}-{index}.part")

    @property
    def wanted(self) -> str:
        """The requested file name."""
        return next(self._target.names(self._index, self._of))

    def _open_folder(self) -> Directory:
        return self._target.open()

    def commit(self, *, suffix: str = "") -> Path:
        """Sync the file, give it its final name and return its path.

        If the name has been taken in the meantime, a number is appended: a paid result is never lost to a name clash. An
        existing file is an error only before the call (`OutputTarget.check`).

        Args:
            suffix: file suffix to use in place of the requested one.

        Raises:
            CannotWrite: the disk is full or fails.
        """
        try:
            os.fsync(self._fd)
            if hasattr(os, "fchmod"):
                os.fchmod(self._fd, mode_of_new(self._opened) if self._target.mode is None else self._target.mode)
            name = self._name_it(suffix)
            self._opened.unlink(self._part)
            self._opened.sync()
        except OSError as error:
            raise self._failed(error) from None
        path = self._opened.path / name
        self._close()
        return path

    def _name_it(self, suffix: str) -> str:
        """Give the file its final name; return it."""
        wanted, folder = self.wanted, self._opened
        is_folder = folder.exists(wanted) and stat.S_ISDIR(folder.lstat(wanted).st_mode)
        if self._target.overwrite and not self._target.made_up and not suffix and not is_folder:
            folder.replace(self._part, wanted)
            return self._verified(wanted)
        for _, name in zip(range(_MOST_NAMES), self._target.names(self._index, self._of, suffix=suffix), strict=False):
            if self._give(name):
                return self._verified(name)
        raise OSError(errno.EEXIST, "no free name")

    def _give(self, name: str) -> bool:
        """Link the file to a name if that is free; return whether it was."""
        try:
            try:
                self._opened.link(self._part, name)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # An empty file reserves the name and is then replaced atomically; a crash in between leaves the empty file.
                os.close(self._opened.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                self._opened.replace(self._part, name)
        except FileExistsError:
            return False
        return True

    def _verified(self, name: str) -> str:
        """Check that the name refers to what was written, not to a file that has replaced it."""
        if not os.path.samestat(self._opened.lstat(name), os.fstat(self._fd)):
            if stat.S_ISLNK(self._opened.lstat(name).st_mode):
                self._opened.unlink(name)  # a regular file there belongs to another call that overwrites this one
            raise OSError(errno.ESTALE, "changed")
        return name

    def _failed(self, error: OSError) -> MediaError:
        where = show_path(self._target.folder)
        return CannotWrite(f"The file could not be written: {where} {explain(error)}.", fix="Make room or choose another directory.")
