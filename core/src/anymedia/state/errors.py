"""Errors of the store: between processes that share a journal, and of the journal file itself.

`LeaseLost` and `IllegalTransition` are handled by the core. The `StateError` family reaches the caller: the journal
cannot be opened, read or written, and without it no paid call is made.
"""

from __future__ import annotations

from ..errors import Charged, MediaError

__all__ = ["IllegalTransition", "LeaseLost", "RunKeyTaken", "StateBusy", "StateDamaged", "StateError", "StateNotWritable", "StateTooNew"]


class LeaseLost(Exception):
    """Another process has claimed the call; stop processing it."""


class RunKeyTaken(Exception):
    """A run key belongs to another run."""


class IllegalTransition(Exception):
    """A change of state that is not in `TRANSITIONS`."""


class StateError(MediaError):
    """The journal cannot be used; ``charged`` is ``unknown`` after a submit was started."""

    code = "state_error"

    def __init__(self, message: str, *, fix: str = "", charged: Charged = "no") -> None:
        super().__init__(message, fix=fix)
        self.charged = charged


class StateNotWritable(StateError):
    """The journal's directory or file cannot be created or written, or the disk is full."""

    code = "state_not_writable"


class StateDamaged(StateError):
    """The file is damaged, or is not a journal of anymedia."""

    code = "state_damaged"


class StateTooNew(StateError):
    """The journal was written by a newer version."""

    code = "state_too_new"


class StateBusy(StateError):
    """Other processes kept the journal locked for longer than the timeout."""

    code = "state_busy"
    retry = True
