"""What can go wrong with state: between processes that share a journal, and with the file itself.

`LeaseLost` and `IllegalTransition` are the core's own to handle. The `StateError` family reaches the caller: the
journal cannot be opened, read or written, and without it no paid call is made.
"""

from __future__ import annotations

from ..errors import Charged, MediaError

__all__ = ["IllegalTransition", "LeaseLost", "StateBusy", "StateDamaged", "StateError", "StateNotWritable", "StateTooNew"]


class LeaseLost(Exception):
    """Another process holds the call by now; whoever gets this stops working on it."""


class IllegalTransition(Exception):
    """A state change that the journal does not have."""


class StateError(MediaError):
    """The journal could not be used; ``charged`` is ``unknown`` when that happened after a submit was begun."""

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
    """Other processes kept the journal locked for longer than the busy timeout."""

    code = "state_busy"
    retry = True
