"""Files of ours that are read again later: by then their name may lead to something else, so what counts is the content."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import IO

from ..errors import InvalidRequest
from .sniff import open_plainly
from .writing import CHUNK

__all__ = ["copy_kept", "read_kept"]


def read_kept(path: Path, sha256: str, *, most: int) -> bytes | None:
    """Return what a file of ours holds; None where it is gone, is no regular file any more, or holds something else.

    Args:
        path: its name, which somebody may have given to a pipe, a device or a link meanwhile.
        sha256: of its content, in hex.
        most: bytes after which it certainly is another one.
    """
    out = io.BytesIO()
    return out.getvalue() if copy_kept(path, sha256, out, most=most) else None


def copy_kept(path: Path, sha256: str, into: IO[bytes], *, most: int) -> bool:
    """Copy what a file of ours holds; False where `read_kept` gives None, and then the copy is good for nothing."""
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
