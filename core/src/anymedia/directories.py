"""The user's directories for settings, state and cache, as platformdirs gives them; how processes share the files in them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path
from typing import Literal

#: Linux is handled here with the same result, because importing platformdirs takes longer than reading the settings.
_LINUX = {"config": "~/.config", "state": "~/.local/state", "cache": "~/.cache"}


def user_dir(kind: Literal["config", "state", "cache"]) -> Path:
    """Return anymedia's directory of a kind for this user; nothing is created."""
    if sys.platform == "linux" and "ANDROID_ROOT" not in os.environ:
        base = os.environ.get(f"XDG_{kind.upper()}_HOME") or os.path.expanduser(_LINUX[kind])  # noqa: PTH111 - works without a home directory too
        if base.startswith("/"):
            return Path(base) / "anymedia"
    import platformdirs

    find = {"config": platformdirs.user_config_path, "state": platformdirs.user_state_path, "cache": platformdirs.user_cache_path}
    return find[kind]("anymedia", appauthor=False)


def cache_dir() -> Path:
    """Return the cache directory; the environment variable ANYMEDIA_CACHE overrides it."""
    own = os.environ.get("ANYMEDIA_CACHE")
    return Path(own) if own else user_dir("cache")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file atomically, readable by this user only; the last of several writers wins.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def lock_file(fd: int, *, shared: bool = False, wait: bool = False) -> bool | None:
    """Lock a file until its descriptor is closed.

    Returns:
        Whether it is locked now; None if the system or the file system does not support locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return False if error.errno in {errno.EWOULDBLOCK, errno.EACCES} else None
    return True


def installation_id(state: Path) -> str:
    """Return the random name of the installation that a state directory belongs to; it is chosen with the first use.

    Raises:
        OSError: it cannot be read or written.
    """
    path = state / "installation"
    if not path.exists():
        own = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
        write_atomically(own, os.urandom(16).hex().encode())
        try:
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(own, path)
        except OSError:  # a file system without hard links
            own.replace(path)
        own.unlink(missing_ok=True)
    return path.read_text("utf-8")
