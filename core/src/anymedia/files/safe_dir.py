"""Open files by walking the path one directory at a time, so that it cannot be redirected while it is in use.

Between checking a path and opening it, any part of it can be replaced by a link to another location. So an allowed root is
opened first, then each directory relative to its parent with O_NOFOLLOW, and everything else is done relative to the last
one. On systems without O_NOFOLLOW or ``dir_fd`` (Windows), each step is checked before and compared after opening, which
leaves a race.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from ..errors import InvalidRequest, Problem
from ..redaction import clean_text
from .names import name_problem

#: Whether names can be opened relative to a directory without following links.
CAN_WALK = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
#: A pipe must not block, and a terminal must not become the controlling one; no effect on regular files.
CAREFUL = _CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
#: System directories, refused even if a root is as wide as ``/``.
_SYSTEM = frozenset({"proc", "sys", "dev"})
#: What a file may be that is not regular, and how that is reported.
_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "is a directory"),
    (stat.S_ISLNK, errno.ELOOP, "is a symbolic link"),
    (stat.S_ISFIFO, errno.ENXIO, "is a pipe"),
    (stat.S_ISSOCK, errno.ENXIO, "is a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), errno.ENXIO, "is a device"),
)


def show_path(path: str | Path) -> str:
    """Return a path in a form that is safe in messages: quoted, shortened, without control characters."""
    return repr(clean_text(str(path), limit=200))


def refuse(field: str, path: str | Path, why: str, suggestion: str = "") -> InvalidRequest:
    """Return the error for a refused path; ``why`` continues a sentence that begins with the path."""
    if not suggestion and len(str(path)) >= 200 and not field.startswith("$.output"):
        suggestion = "write base64 as a data: URL (data:image/png;base64,...)"
    if str(path).startswith("~"):
        suggestion = "'~' is not expanded here: write the whole path"
    return InvalidRequest([Problem(field, f"{show_path(path)} {why}", suggestion)])


def explain(error: OSError) -> str:
    """Return the meaning of an operating system error about a path, as the end of a sentence."""
    known = {
        errno.ENOENT: "does not exist",
        errno.ENOTDIR: "has a component that is not a directory",
        errno.EISDIR: "is a directory",
        errno.ELOOP: "is or goes through a symbolic link",
        errno.EACCES: "may not be opened (permission denied)",
        errno.EPERM: "may not be opened (not permitted)",
        errno.ENAMETOOLONG: "has a name that is too long",
        errno.EROFS: "is on a read-only file system",
        errno.ENOSPC: "is on a full disk",
        errno.EEXIST: "already exists",
        errno.ENXIO: "is not a regular file",
        errno.ESTALE: "changed while it was being opened",
    }
    return known.get(error.errno or 0, f"cannot be used ({error.strerror or type(error).__name__})")


@attrs.frozen
class Directory:
    """An open directory; names are relative to it. ``fd`` is None on systems without ``dir_fd``.

    All methods raise OSError; `explain` converts it to text.
    """

    path: Path
    fd: int | None

    @classmethod
    def at(cls, path: Path) -> Directory:
        """Open a trusted directory, following links."""
        if not CAN_WALK:
            if not path.is_dir():
                raise OSError(errno.ENOTDIR if path.exists() else errno.ENOENT, "no such directory")
            return cls(path, None)
        return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC))

    def _at(self, name: str) -> str:
        return name if self.fd is not None else str(self.path / name)

    def child(self, name: str) -> Directory:
        """Open a subdirectory; a symbolic link raises ELOOP."""
        info = self.lstat(name)
        if stat.S_ISLNK(info.st_mode) or getattr(info, "st_reparse_tag", False):
            raise OSError(errno.ELOOP, "symbolic link")
        if not stat.S_ISDIR(info.st_mode):
            raise OSError(errno.ENOTDIR, "not a directory")
        if self.fd is None:
            return Directory(self.path / name, None)
        return Directory(self.path / name, os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW | _CLOEXEC, dir_fd=self.fd))

    def facts(self) -> os.stat_result:
        """Return the status of the directory itself."""
        return os.fstat(self.fd) if self.fd is not None else self.path.stat()

    def lstat(self, name: str) -> os.stat_result:
        """Return the status of a name without following links."""
        return os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Return whether the name exists, even as a dangling link."""
        try:
            self.lstat(name)
        except FileNotFoundError:
            return False
        return True

    def mkdir(self, name: str) -> None:
        """Create a subdirectory unless it exists."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._at(name), dir_fd=self.fd)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a name without following links; return the descriptor."""
        return os.open(self._at(name), flags | _NOFOLLOW | CAREFUL, mode, dir_fd=self.fd)

    def open_regular(self, name: str, *, linked: bool = False) -> int:
        """Open a regular file for reading; ELOOP, EISDIR or ENXIO otherwise, and unless ``linked`` EMLINK if it has several names."""
        before = self.lstat(name)
        check_regular(before)
        fd = self.open(name, os.O_RDONLY)
        try:
            after = os.fstat(fd)
            check_regular(after)
            if not os.path.samestat(before, after):
                raise OSError(errno.ESTALE, "changed")
            if after.st_nlink != 1 and not linked:
                raise OSError(errno.EMLINK, "has several hard links")
        except OSError:
            os.close(fd)
            raise
        return fd

    def link(self, old: str, new: str) -> None:
        """Create a hard link; the new name must not exist (FileExistsError)."""
        if self.fd is None:
            os.link(self._at(old), self._at(new))
        else:
            os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def replace(self, old: str, new: str) -> None:
        """Rename a file, replacing any file with the new name."""
        os.replace(self._at(old), self._at(new), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        """Remove a name if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self.fd)

    def names(self) -> Iterator[str]:
        """Yield the names in this directory."""
        with os.scandir(self.fd if self.fd is not None else self.path) as entries:
            yield from (entry.name for entry in entries)

    def sync(self) -> None:
        """Make new names durable, if the system supports it."""
        if self.fd is not None:
            with contextlib.suppress(OSError):  # not supported by some network file systems
                os.fsync(self.fd)

    def close(self) -> None:
        """Close the directory."""
        if self.fd is not None:
            os.close(self.fd)


def check_regular(info: os.stat_result) -> None:
    """Raise OSError unless the status is that of a regular file."""
    if not stat.S_ISREG(info.st_mode):
        found = ((code, text) for test, code, text in _KINDS if test(info.st_mode))
        raise OSError(*next(found, (errno.ENXIO, "is not a regular file")))


@attrs.frozen
class Location:
    """A path as an allowed root (links resolved) and the names below it; without roots, ``root`` is the whole path."""

    root: Path
    steps: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The full path."""
        return self.root.joinpath(*self.steps) if self.steps else self.root


def locate(path: str | Path, roots: Sequence[Path] | None, *, field: str) -> Location:
    """Find the root that contains a path, from its text only.

    Relative paths start at the working directory, or at the first root if that is outside all roots.

    Raises:
        InvalidRequest: it is not a valid path, contains ``..``, or is outside the roots.
    """
    text = os.fspath(path)
    if not text or "\0" in text or len(text) > 4096:
        raise refuse(field, text[:200].replace("\0", "?"), "is not a path")
    try:
        os.fsencode(text)
        given = path if isinstance(path, Path) else Path(text)
        if roots is None:
            return Location(given if given.is_absolute() else Path.cwd() / given, ())
    except (OSError, ValueError):
        raise refuse(field, "path", "is not a valid path on this system") from None
    if ".." in given.parts:
        raise refuse(field, text, "contains '..'", "give the path without it")
    pairs: list[tuple[Path, Path]] = []
    for root in roots:
        with contextlib.suppress(OSError):
            real = root.resolve(strict=True)
            pairs += [(real, real), (Path(os.path.abspath(root)), real)]  # noqa: PTH100  (not resolved)
    wanted = _base(pairs) / given
    for alias, real in pairs:
        if wanted.is_relative_to(alias):
            found = Location(real, wanted.relative_to(alias).parts)
            _check_steps(found, text, field)
            return found
    hint = f"give a path inside {' or '.join(show_path(root) for root in roots)}" if roots else "no directory is allowed"
    raise refuse(field, text, "lies outside the allowed directories", hint)


def _base(pairs: Sequence[tuple[Path, Path]]) -> Path:
    try:
        here = Path.cwd()
    except OSError:  # the working directory was removed
        here = Path(os.sep)
    return here if not pairs or any(here.is_relative_to(real) for _, real in pairs) else pairs[0][1]


def _check_steps(found: Location, text: str, field: str) -> None:
    if os.name == "posix" and found.path.parts[1:2] and found.path.parts[1] in _SYSTEM:
        raise refuse(field, text, "is in a system directory")
    if os.name == "nt" and (bad := next((p for step in found.steps if (p := name_problem(step))), None)):
        raise refuse(field, text, bad)


def walk(start: Path, steps: Sequence[str], *, create: bool = False) -> Directory:
    """Open a directory by descending from a trusted one without following links; the caller closes it; raises as `Directory.child`."""
    found, missing = nearest(start, steps, create=create)
    if missing:
        found.close()
        raise FileNotFoundError(errno.ENOENT, "no such directory")
    return found


def nearest(start: Path, steps: Sequence[str], *, create: bool = False) -> tuple[Directory, Sequence[str]]:
    """Open a directory as `walk` does, or the last one on the way to it that exists; return it and the missing steps."""
    here = Directory.at(start)
    for number, step in enumerate(steps):
        try:
            if create:
                here.mkdir(step)
            below = here.child(step)
        except FileNotFoundError:
            return here, steps[number:]
        except BaseException:
            here.close()
            raise
        here.close()
        here = below
    return here, ()
