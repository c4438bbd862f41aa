"""Read files recorded earlier, verified by their content: by now their path may refer to something else."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import IO

from ..errors import InvalidRequest
from ..probe.probe import open_plainly
from .part_file import CHUNK

__all__ = ["copy_kept", "read_kept"]


def read_kept(path: Path, sha256: str, *, most: int) -> bytes | None:
    """Return the contents of a file recorded earlier.

    Args:
        path: its path, which may have been replaced by a pipe, a device or a link.
        sha256: the recorded hash of its contents, in hexadecimal.
        most: maximum size in bytes; a larger file is not the recorded one.

    Returns:
        The contents, or None if the file is missing, is not a regular file, or has changed.
    """
    out = io.BytesIO()
    return out.getvalue() if copy_kept(path, sha256, out, most=most) else None


def copy_kept(path: Path, sha256: str, into: IO[bytes], *, most: int) -> bool:
    """Copy a file recorded earlier.

    Args:
        path: its path.
        sha256: the recorded hash of its contents, in hexadecimal.
        into: the file to write to.
        most: maximum size in bytes.

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
