"""What the operating system allows this process: file descriptors and memory."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "decoder_slots", "descriptor_limit", "open_descriptors"]

#: Memory that is assumed where the system does not tell it, in bytes.
_USUAL_MEMORY = 4 * 1024**3
#: A decoder in the sandbox needs up to this many bytes for a large picture.
_DECODER_MEMORY = 1024**3
_MOST_DECODERS = 4
_CGROUP = Path("/sys/fs/cgroup")


def descriptor_limit() -> int | None:
    """Return how many file descriptors the process may have now; None for no limit (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def open_descriptors() -> int:
    """Return how many file descriptors the process has open; 0 where the system does not tell it."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))  # noqa: PTH208 - often, and without paths
        except OSError:
            continue
    return 0


def available_memory() -> int:
    """Return how many bytes of memory the process may still use: of the machine, and of the control groups that contain it."""
    found = [left for group in _groups() if (left := _left_in(group)) is not None]
    return max(0, min([*found, _of_machine()]))


def decoder_slots() -> int:
    """Return how many decoders may run at the same time."""
    return max(1, min(_MOST_DECODERS, os.cpu_count() or 1, available_memory() // _DECODER_MEMORY))


def _of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError, AttributeError):
        return _USUAL_MEMORY


def _groups() -> list[Path]:
    """Return the directories of the control groups that limit memory, from the process's own to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            root = _CGROUP / controllers
            own = root / path.lstrip("/")
            found += [folder for folder in (own, *own.parents) if folder == root or root in folder.parents]
    return found


def _left_in(group: Path) -> int | None:
    """Return the bytes that a control group may still use, by version 2 or 1 of their files; None for no limit."""
    for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            return int((group / most).read_text()) - int((group / used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None
