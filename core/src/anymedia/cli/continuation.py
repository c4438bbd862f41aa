"""``--continue last|ID|FILE``: an earlier result's handle, or a video file to go on from."""

from __future__ import annotations

import time
from pathlib import Path

from ..errors import InvalidRequest, Problem, UnknownContinuation
from ..files.names import MEDIA_SUFFIXES
from ..files.safe_dir import refuse
from ..media import Video
from ..requests import Continuation
from ..state.store import Store
from .build_request import Start

__all__ = ["start_from"]


def start_from(text: str, medium: str, store: Store, backend: str | None = None) -> Start:
    """Resolve ``last`` (the newest one of the medium), an id, or a file.

    A file that was collected earlier leads to its continuation (by its checksum), unless another backend is named;
    any other video file is itself what is gone on from.

    Raises:
        UnknownContinuation: there is no such thing, or it has expired.
        InvalidRequest: a file that is not there; an image file that nobody here made.
    """
    if text == "last":
        found = store.latest_continuation(media=medium, now=time.time())
        if found is None:
            raise UnknownContinuation(f"there is no earlier {medium} to go on from.", fix=f"make one first: anymedia {medium} PROMPT")
        return found
    path = Path(text)
    if not path.is_file():
        if path.suffix.lower() in MEDIA_SUFFIXES or path.name != text:
            raise refuse("$.continue_from", text, "is a directory" if path.is_dir() else "does not exist")
        return Continuation(id=text)
    known = store.continuation_of_file(_sha256(path), now=time.time())
    if known is not None and known.media == medium and backend in {None, known.backend}:
        return known
    if medium == "video":
        return Video(path=path)
    hint = f"change it as a file: anymedia edit {text} PROMPT"
    raise InvalidRequest([Problem("$.continue_from", f"{text!r} was not made here, so it has no history to go on with", hint)])


def _sha256(path: Path) -> str:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidRequest([Problem("$.continue_from", f"{path}: {error.strerror}")]) from None
