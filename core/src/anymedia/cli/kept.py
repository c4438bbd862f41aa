"""Keeping an answer for `quick`: what was read to make it, and writing it down.

From `record` on an audit hook notes every file that is opened for reading and every directory that is listed: whatever a
plugin, the settings or the import system look at is then known, without any of them having to tell. What is only asked
for (is there a configuration file? a library that a model requires?) is added by name.
"""

from __future__ import annotations

import contextlib
import os
import sys
from binascii import crc32
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import quick

__all__ = ["keep", "record"]

#: File stamps of some systems are this coarse, in seconds: a file changed so short before the start may change again unseen.
_COARSE = 2.0

_asked: tuple[list[str], str] | None = None
_opened: set[str] = set()
_STDLIB = os.path.dirname(os.__file__)  # noqa: PTH120


def record(words: list[str]) -> None:
    """Note from now on what is read, for the answer to ``words``. At most once in a process."""
    global _asked
    _asked = (words, quick.key_of(words))
    sys.addaudithook(_note)


def _note(event: str, args: tuple[Any, ...]) -> None:
    if _asked is None or event not in {"open", "os.listdir", "os.scandir"}:
        return
    path = args[0] if args else None
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        return
    if path is None or isinstance(path, str | bytes | os.PathLike):
        _opened.add(os.fsdecode("." if path is None else path))


def keep(document: bytes, live: Any) -> None:
    """Write an answer down, if one is being recorded and it can be trusted to be the same next time; never raises.

    Args:
        document: the answer, whole.
        live: the `anymedia.cli.live.Live` that it was made from.
    """
    global _asked
    asked, _asked = _asked, None
    if asked is None:
        return
    with contextlib.suppress(OSError, ValueError):
        variables = _variables(live)
        if variables is not None and (lines := _stamps(_files(live))) is not None:
            words, key = asked
            _write(quick.place_of(words), [" ".join(["asked:", *variables]), quick.set_among(variables), key, *lines], document)


def _variables(live: Any) -> list[str] | None:
    """Return the variables of which it counts whether they are set; None where an answer hangs on more than that."""
    if live.registry.broken:
        return None  # what is broken may heal in ways that leave no trace in the files that were read
    found: set[str] = set()
    for name in live.registry.plugins:
        matrix = live.registry.capabilities(name)
        found.update(variable for s in matrix.credentials for usual in s.names.values() for variable in usual)
        addresses = [entry.rpartition(":")[2] for entry in matrix.base_url_env]
        if any(os.environ.get(variable, "").strip() for variable in addresses):
            return None  # an address is judged by its text, which is not ours to keep
        found.update(addresses)
    for own in live.settings.instances.values():
        found.update(own.credentials.values())
    return sorted(found)


def _files(live: Any) -> Iterable[str]:
    from platformdirs import user_config_path

    from ..capabilities.installed import places_of

    needed = {row.requires.module for i in live.instances.values() for row in i.matrix.models if row.requires is not None}
    libraries = [place for module in needed for place in places_of(module)]
    own = user_config_path("anymedia", appauthor=False)
    modules: list[str] = [file for m in list(sys.modules.values()) if isinstance(file := vars(m).get("__file__"), str)]
    answers = os.path.join(quick.cache_folder(), "answers")  # noqa: PTH118
    for path in {*map(os.path.abspath, (*_opened, *modules, *libraries, *sys.path, str(own / "config.toml"), str(own / "keys.toml")))}:
        if not path.startswith((answers, "/dev/", "/proc/")) and not _is_pythons_own(path) and "__pycache__" not in path:
            yield path


def _is_pythons_own(path: str) -> bool:
    """The standard library: the version of Python, which the key holds, stands for it."""
    return path.startswith(_STDLIB) and not {"site-packages", "dist-packages"} & {*Path(path[len(_STDLIB) :]).parts}


def _stamps(paths: Iterable[str]) -> list[str] | None:
    """Return a line for each path; None where one changed since, or just before, this process began."""
    lines = []
    for path in sorted(paths):
        if "\n" in path:
            return None
        seen = quick.stamp(path)
        if seen != "-" and max(int(part) for part in seen.split(".")[:2]) > (quick.TIME_STARTED - _COARSE) * 1e9:
            return None
        lines.append(f"{seen} {path}")
    return lines


def _write(place: str, lines: list[str], document: bytes) -> None:
    rest = "\n".join(lines).encode()
    head = f"{quick.MAGIC}\n{crc32(rest)} {crc32(document)}\n".encode() + rest
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
    scratch = f"{place}.{os.getpid()}.tmp"
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(head + b"\n\n" + document)
        os.replace(scratch, place)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)  # noqa: PTH108
        raise
