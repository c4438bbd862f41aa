"""The private directory that keeps what a running job needs: its input bytes, its own handle, a mark when it is cancelled.

``state_dir`` of the context's settings, which the core fills in; without one the user's state directory, or (where that
cannot be written) a private directory among the temporary ones. Files are named by their contents' SHA-256; what is older than a week is
removed when a new job starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anymedia.context import Context
from anymedia.errors import BackendUnavailable

__all__ = ["KEEP_SECONDS", "Drawer", "open_drawer"]

KEEP_SECONDS = 7 * 24 * 3600.0


class Drawer:
    """A directory of mode 0700 with files of mode 0600, each written whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Keep bytes; return their name."""
        name = hashlib.sha256(data).hexdigest()
        path = self.root / name
        if path.exists():
            path.touch()
        else:
            self._write(path, data)
        return name

    def get(self, name: str) -> bytes:
        """Return kept bytes.

        Raises:
            BackendUnavailable: when they are gone (older than a week, or removed by hand) or were changed.
        """
        try:
            data = (self.root / Path(name).name).read_bytes()
        except OSError as error:
            raise BackendUnavailable("an input of this job is no longer kept", fix="make the request again") from error
        if hashlib.sha256(data).hexdigest() != name:
            raise BackendUnavailable("an input of this job was changed on disk", fix="make the request again")
        return data

    def note(self, label: str, content: Mapping[str, Any]) -> None:
        """Keep a small JSON document under a label."""
        self._write(self._noted(label), json.dumps(content).encode())

    def noted(self, label: str) -> dict[str, Any] | None:
        """Return the document kept under a label, or None."""
        try:
            found: dict[str, Any] = json.loads(self._noted(label).read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def prune(self) -> None:
        """Remove what has not been used for a week."""
        oldest = time.time() - KEEP_SECONDS
        for path in self.root.iterdir():
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_mtime < oldest:
                    path.unlink()

    def _noted(self, label: str) -> Path:
        return self.root / f"{hashlib.sha256(label.encode()).hexdigest()}.json"

    def _write(self, path: Path, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.root)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _candidates(context: Context) -> list[Path]:
    configured = context.settings.get("state_dir")
    if configured:
        return [Path(str(configured)).expanduser()]
    import platformdirs

    return [
        platformdirs.user_state_path("anymedia") / "local",
        Path(tempfile.gettempdir()) / f"anymedia-local-{os.getuid() if hasattr(os, 'getuid') else 0}",
    ]


def open_drawer(context: Context) -> Drawer:
    """Return the drawer, its directory made if need be.

    Raises:
        BackendUnavailable: when there is no directory that is writable and this user's own.
    """
    for root in _candidates(context):
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            own = not hasattr(os, "getuid") or root.lstat().st_uid == os.getuid()
            if own and root.is_dir() and not root.is_symlink() and os.access(root, os.W_OK):
                return Drawer(root)
    raise BackendUnavailable(
        "there is no directory to keep a job's inputs in", fix="set state_dir in the backend's settings", delivery="not_sent"
    )
