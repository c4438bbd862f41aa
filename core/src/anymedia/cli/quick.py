"""An answer that was given before, given again without loading what made it.

``capabilities --json`` and the like depend only on files, a few environment variables and the day. `kept` writes
such an answer into the user's cache with a stamp of every file and directory that was read on the way (settings, keys,
metadata of distributions, modules, matrices); here it is read back. If any stamp differs, or anything at all is odd,
there is no answer, and the command runs as if there were no cache. Only light modules are imported here, and nothing of a
plugin: an interpreter starts in 10 ms, everything that would be loaded otherwise takes ten times that.

A kept answer holds names of environment variables and whether each is set; values only of those in `PLAIN`.
"""

from __future__ import annotations

import os
import sys
import time
from binascii import crc32

__all__ = ["MAGIC", "PLAIN", "TIME_STARTED", "answer", "cache_folder", "is_asked", "key_of", "place_of", "set_among", "stamp"]

MAGIC = "anymedia-answer 1"
#: When this process began, as far as it matters: what changed later than this may not have been read as it is.
TIME_STARTED = time.time()
#: Variables whose values say where things are; no secrets.
PLAIN = (
    "ANYMEDIA_CACHE",
    "ANYMEDIA_CONFIG",
    "ANYMEDIA_DISABLE",
    "ANYMEDIA_PREFER",
    "ANYMEDIA_STATE",
    "APPDATA",
    "HOME",
    "LOCALAPPDATA",
    "USERPROFILE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)
_COMMANDS = frozenset({"capabilities", "models"})
#: So many answers are kept at most.
_PLACES = 64


def is_asked(words: list[str]) -> bool:
    """Whether these words ask for one of the documents that are kept: a command, ``--json``, at most one name."""
    rest = words[1:]
    names = [word for word in rest if word != "--json"]
    return bool(words) and words[0] in _COMMANDS and len(rest) == len(names) + 1 and len(names) < 2 and not "".join(names).startswith("-")


def answer(words: list[str]) -> bytes | None:
    """Return the kept answer to these words if it would be the same today, else None; never raises."""
    try:
        return _read(place_of(words), words)
    except (OSError, ValueError, ArithmeticError, AttributeError):
        return None


def cache_folder() -> str:
    """Return the user's cache directory, as platformdirs gives it; ANYMEDIA_CACHE names another."""
    if own := os.environ.get("ANYMEDIA_CACHE"):
        return own
    if sys.platform == "linux":  # what platformdirs says there, without the time to import it
        given = os.environ.get("XDG_CACHE_HOME", "")
        return os.path.join(given if given.strip() else os.path.expanduser("~/.cache"), "anymedia")  # noqa: PTH111, PTH118
    from platformdirs import user_cache_dir

    return user_cache_dir("anymedia", appauthor=False)


def place_of(words: list[str]) -> str:
    """Return the file that holds the answer to these words in this environment of Python, if any does."""
    return os.path.join(cache_folder(), "answers", f"{crc32(repr((sys.prefix, words)).encode()) % _PLACES:02x}")  # noqa: PTH118


def key_of(words: list[str]) -> str:
    """Return what an answer depends on beside files and `set_among`, as one line."""
    environ = os.environ
    plain = {name: environ[name] for name in PLAIN if name in environ}
    here = os.getcwd() if {"ANYMEDIA_CACHE", "ANYMEDIA_CONFIG", "ANYMEDIA_STATE"} & plain.keys() else ""  # noqa: PTH109
    today = time.strftime("%Y-%m-%d", time.gmtime())
    finders = [getattr(finder, "__module__", "") for finder in sys.meta_path]
    return repr((today, words, sys.version, sys.prefix, sys.path, finders, plain, here))


def set_among(variables: list[str]) -> str:
    """Return those of the variables that are set, as one line; what they hold is nobody's business here."""
    return " ".join(["set:", *(name for name in variables if os.environ.get(name, "").strip())])


def stamp(path: str) -> str:
    """Return what changes whenever a file, or the list of names in a directory, does; ``-`` where there is nothing."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return "-"
    # the time of the last change of the inode cannot be set back, as the other can: wheels have one and the same in all versions
    return f"{found.st_mtime_ns}.{found.st_ctime_ns}.{found.st_size}.{found.st_ino}"


def _read(place: str, words: list[str]) -> bytes | None:
    with open(place, "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            return None
        head, _, body = file.read().partition(b"\n\n")
    magic, sums, variables, given, key, *stamps = head.decode().split("\n")
    if magic != MAGIC or sums != f"{crc32(head[len(magic) + len(sums) + 2 :])} {crc32(body)}":
        return None
    if key != key_of(words) or given != set_among(variables.split()[1:]):
        return None
    for line in stamps:
        seen, _, path = line.partition(" ")
        if stamp(path) != seen:
            return None
    return body
