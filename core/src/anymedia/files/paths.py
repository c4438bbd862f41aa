"""Open input files, and plan where results are saved.

With roots (an agent, a server), a path must be inside one of them, without symbolic links, and a regular file with a single
hard link and a media suffix. Without roots (a person at the command line), links are followed and any regular file is
accepted.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from ..errors import Argument
from ..probe.probe import has_media_signature
from .names import MEDIA_SUFFIXES, is_media_name, name_problem, plain_name
from .safe_dir import CAREFUL, Directory, Location, check_regular, explain, locate, nearest, refuse, walk

_PLAIN = ("stem", "suffix", "overwrite", "made_up", "makes_folders", "confined", "field", "mode")
#: Names in journals of the first edition.
_RENAMED = {"walled": "confined"}
#: Stands in an output name for the number of the file, from 1: ``fox-{index:03d}.png``.
_INDEX = re.compile(r"\{index(?::0?([1-9])d)?\}")
_SUFFIX_HELP = "a media suffix like .png, .jpg, .webp, .mp4, .wav"
#: Seconds for which a successful write test of a directory is remembered, including the resulting file mode.
_TRIED_SECONDS = 5.0
_MOST_TRIED = 1_000
#: Names of a directory that are compared with one that does not exist.
_MOST_NAMES = 10_000
#: Directory and its permissions -> time of the test (monotonic clock), mode of a new file there.
_tried: dict[tuple[object, ...], tuple[float, int]] = {}


def open_input(path: str | Path, roots: Sequence[Path] | None = None, *, field: str = "$") -> BinaryIO:
    """Open an input file for reading; with ``roots``, one of these directories must contain it.

    Raises:
        InvalidRequest: it does not exist, is not a regular file, or is not allowed.
    """
    found = locate(path, roots, field=field)
    if os.fspath(path).endswith(("/", "/.", os.sep)):
        raise refuse(field, path, "names a directory")
    try:
        file = os.fdopen(_open_free(found.path) if roots is None else _open_walked(found), "rb")
    except FileNotFoundError as error:
        near = _similar_name(found)
        hint = f"a similar name exists there: {near!a}" if near else ""
        raise refuse(field, path, explain(error), hint) from None
    except OSError as error:
        why = error.strerror if error.errno in {errno.ENXIO, errno.EMLINK, errno.EISDIR} else None
        raise refuse(field, path, why or explain(error), "give a regular file" if why else "") from None
    if roots is not None and not is_media_name(found.path.name) and not has_media_signature(file.peek(16)[:16]):
        file.close()
        raise refuse(field, path, "is neither named like a media file nor recognised as one", "convert it to PNG, JPEG, WebP, MP4 or WAV")
    return file


def _similar_name(found: Location) -> str | None:
    """Return the one path that differs from the wanted one by spaces, case or Unicode normalization only."""
    steps: list[str] = []
    for wanted in found.steps or (found.path.name,):
        try:
            with contextlib.closing(walk(found.root, steps) if found.steps else Directory.at(found.path.parent)) as folder:
                names = list(itertools.islice(folder.names(), _MOST_NAMES))
        except OSError:
            return None
        near = [wanted] if wanted in names else [name for name in names if plain_name(name) == plain_name(wanted)]
        if len(near) != 1:
            return None
        steps += near
    return "/".join(steps) if tuple(steps[:-1]) != tuple(found.steps[:-1]) else steps[-1]


def _open_free(path: Path) -> int:
    check_regular(path.stat())  # before opening, which may have effects on a device
    fd = os.open(path, os.O_RDONLY | CAREFUL)
    try:
        check_regular(os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def _open_walked(found: Location) -> int:
    if not found.steps:
        raise OSError(errno.EISDIR, "is a directory")
    with contextlib.closing(walk(found.root, found.steps[:-1])) as folder:
        return folder.open_regular(found.steps[-1])


@attrs.frozen(kw_only=True)
class OutputTarget:
    """Where the files of one call are saved.

    Attributes:
        stem: the file name without suffix (``fox``).
        suffix: the suffix with its dot (``.png``).
        made_up: the name is a default: it is numbered until a free one is found, and never replaces a file.
        makes_folders: whether missing directories are created.
        confined: the location is confined to an allowed root, and links are not followed.
        field: JSON path of the output in the request, for messages.
        mode: permissions for a new file, as found by `check`; None: according to the process's umask.
    """

    location: Location
    stem: str
    suffix: str
    overwrite: bool = False
    made_up: bool = False
    makes_folders: bool = False
    confined: bool = False
    field: str = "$.output"
    mode: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form, with which another process can write to the same location."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {"root": str(self.location.root), "steps": list(self.location.steps)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OutputTarget:
        """Return the target that `to_json` was called on."""
        location = Location(Path(data["root"]), tuple(data["steps"]))
        values = {_RENAMED.get(name, name): value for name, value in data.items()}
        return cls(location=location, **{name: values[name] for name in _PLAIN if name in values})

    @property
    def folder(self) -> Path:
        """The path of the directory."""
        return self.location.path

    def names(self, index: int = 0, of: int = 1, *, suffix: str = "") -> Iterator[str]:
        """Yield file names for piece ``index`` of ``of``: the requested one, then numbered ones without end."""
        suffix = suffix or self.suffix
        first = self._wanted(index, of, suffix)
        yield first
        stem = first.removesuffix(suffix) if _INDEX.search(self.stem) else self.stem
        for count in itertools.count(2):
            if (name := f"{stem}-{count}{suffix}") != first:
                yield name

    def _wanted(self, index: int, of: int, suffix: str) -> str:
        if _INDEX.search(self.stem):
            return _INDEX.sub(lambda found: f"{index + 1:0{found[1] or 1}d}", self.stem) + suffix
        numbered = self.made_up or of > 1
        return f"{self.stem}-{index + 1}{suffix}" if numbered else f"{self.stem}{suffix}"

    def open(self) -> Directory:
        """Open the directory, creating it if ``makes_folders`` is set; the caller closes it.

        Raises:
            InvalidRequest: it does not exist or is not allowed.
        """
        try:
            if self.confined:
                return walk(self.location.root, self.location.steps, create=self.makes_folders)
            if self.makes_folders:
                self.folder.mkdir(parents=True, exist_ok=True)
            return Directory.at(self.folder)
        except OSError as error:
            raise self._unusable(error) from None

    def check(self, *, of: int = 1) -> OutputTarget:
        """Check, before anything is spent, that ``of`` files could be written; leaves nothing behind.

        Returns:
            The target with ``mode`` set.

        Raises:
            InvalidRequest: a file exists (and ``overwrite`` is off), or the directory is missing or not writable.
        """
        try:
            folder, missing = self._nearest()
            with contextlib.closing(folder):
                if missing and not self.makes_folders:
                    raise refuse(self.field, self.folder, "does not exist", "create the directory first, or end the path with '/'")
                if not missing:
                    self._check_names(folder, of)
                return attrs.evolve(self, mode=mode_of_new(folder))
        except OSError as error:
            raise self._unusable(error) from None

    def _check_names(self, folder: Directory, of: int) -> None:
        for name in [] if self.made_up else [self._wanted(i, of, self.suffix) for i in range(of)]:
            if not folder.exists(name):
                continue
            if not self.overwrite:
                error = refuse(self.field, folder.path / name, "exists")
                error.fix = ("choose another name, or replace the file with ", Argument("overwrite", True))
                raise error
            if stat.S_ISDIR(folder.lstat(name).st_mode):
                raise refuse(self.field, folder.path / name, "is a directory")

    def _nearest(self) -> tuple[Directory, bool]:
        """Open the directory or its nearest existing parent; return it and whether anything is missing."""
        if not self.confined:
            with contextlib.suppress(FileNotFoundError):
                return Directory.at(self.folder), False
            here = self.folder.parent
            while not here.exists() and here.parent != here:
                here = here.parent
            return Directory.at(here), True
        folder, missing = nearest(self.location.root, self.location.steps)
        return folder, bool(missing)

    def _unusable(self, error: OSError) -> Exception:
        return refuse(self.field, self.folder, explain(error), "choose a directory that can be written to")


def mode_of_new(folder: Directory) -> int:
    """Return the mode of a new file in a directory, found by creating one unless that was done recently."""
    info = folder.facts()
    key = (info.st_dev, info.st_ino, info.st_mode, info.st_uid, info.st_gid, folder.path)
    now = time.monotonic()
    tried = _tried.get(key)
    if tried is not None and now - tried[0] < _TRIED_SECONDS:
        return tried[1]
    mode = _try_writing(folder)
    if len(_tried) >= _MOST_TRIED:
        _tried.clear()
    _tried[key] = (now, mode)
    return mode


def _try_writing(folder: Directory) -> int:
    """Create an empty file and remove it; return its mode."""
    # os.access() is unreliable on read-only and network file systems; creating a file is not.
    name = f".anymedia-{secrets.token_hex(6)}.try"
    fd = folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return os.fstat(fd).st_mode & 0o666
    finally:
        os.close(fd)
        folder.unlink(name)


def plan_output(
    output: str | Path | None,
    *,
    roots: Sequence[Path] | None = None,
    overwrite: bool = False,
    default_stem: str | Callable[[], str],
    suffix: str,
    only: str = "",
    field: str = "$.output",
) -> OutputTarget:
    """Decide where results are saved, without writing anything (`OutputTarget.check` tests that).

    ``output`` is a file, an existing directory, a path ending in ``/`` (a directory to create), or None for the working directory (the
    first root, if that is outside all roots). If it has no name, ``default_stem`` and ``suffix`` are used, which is adjusted to the bytes
    received; ``only`` is the suffix that a name must have, by default any of a media file. A default name never replaces a file.

    Raises:
        InvalidRequest: outside the roots, through a link, without a media suffix, or with a name that is not portable.
    """
    text = "." if output is None else os.fspath(output)
    asked_folder = output is None or text.endswith(("/", os.sep))
    found = locate(text, roots, field=field)
    confined = roots is not None
    if made_up := asked_folder or _is_folder(found, confined):
        stem = default_stem if isinstance(default_stem, str) else default_stem()
    else:
        stem, suffix = _checked_name(found, text, only, field)
        found = Location(found.root, found.steps[:-1]) if confined else Location(found.root.parent, ())
    _check_folders(found, text, confined, field)
    return OutputTarget(
        location=found,
        stem=stem,
        suffix=suffix,
        overwrite=overwrite,
        made_up=made_up,
        makes_folders=confined or asked_folder,
        confined=confined,
        field=field,
    )


def _is_folder(found: Location, confined: bool) -> bool:
    try:
        if not confined:
            return os.path.isdir(found.path)  # noqa: PTH112 - twice as fast
        walk(found.root, found.steps).close()
    except OSError:
        return False
    return True


def _checked_name(found: Location, text: str, only: str, field: str) -> tuple[str, str]:
    """Return the stem and the suffix of an output file's name."""
    name = os.path.basename(found.path)  # noqa: PTH119 - faster on text
    if problem := name_problem(_INDEX.sub("1", name)):
        raise refuse(field, text, f"has a file name that is not portable: it {problem}")
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    if suffix.lower() not in ({only} if only else MEDIA_SUFFIXES) or stem.startswith("."):
        raise refuse(field, text, "is not named like a media file", f"use {only or _SUFFIX_HELP}, or '/' at the end for a directory")
    return stem, suffix


def _check_folders(found: Location, text: str, confined: bool, field: str) -> None:
    """With roots, refuse links in the path, and names of directories to create that are not portable."""
    if not confined:
        return
    try:
        folder, missing = nearest(found.root, found.steps)
    except OSError as error:
        raise refuse(field, text, explain(error)) from None
    folder.close()
    if bad := next((problem for step in missing if (problem := name_problem(step))), None):
        raise refuse(field, text, f"has a directory name that is not portable: it {bad}")
