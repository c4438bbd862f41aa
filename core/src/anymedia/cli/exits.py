"""What each exit code means."""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    BackendError,
    BackendTimeout,
    ContentRefused,
    MediaError,
    ModelRetired,
    NoBackendAvailable,
    PluginError,
    SubmissionUnknown,
    UnsupportedInput,
    UnsupportedOperation,
)

__all__ = ["Exit", "Interrupted", "exit_of"]


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    NOTHING_USABLE = 3
    UNSUPPORTED = 4
    REFUSED = 5
    PROVIDER = 6
    TIMEOUT = 7
    OUTCOME_UNKNOWN = 8
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Interrupted(MediaError):
    """Somebody pressed Ctrl-C; what runs at a provider goes on and can be resumed."""

    code = "interrupted"


_TABLE: tuple[tuple[type[MediaError], Exit], ...] = (
    (Interrupted, Exit.INTERRUPTED),
    (NoBackendAvailable, Exit.NOTHING_USABLE),
    (UnsupportedOperation, Exit.UNSUPPORTED),
    (UnsupportedInput, Exit.UNSUPPORTED),
    (ModelRetired, Exit.UNSUPPORTED),
    (ContentRefused, Exit.REFUSED),
    (BackendTimeout, Exit.TIMEOUT),
    (SubmissionUnknown, Exit.OUTCOME_UNKNOWN),
    (BackendError, Exit.PROVIDER),
    (PluginError, Exit.PROVIDER),
)


def exit_of(error: MediaError) -> Exit:
    """Return the exit code of an error; whatever the caller has to put right is a usage error, but for a full disk."""
    if error.code == "cannot_write":
        return Exit.INTERNAL
    return next((code for kind, code in _TABLE if isinstance(error, kind)), Exit.USAGE)
