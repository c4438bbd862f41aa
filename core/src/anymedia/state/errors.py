"""What can go wrong between processes that share a journal. These are ours to handle, not the caller's."""

__all__ = ["IllegalTransition", "LeaseLost"]


class LeaseLost(Exception):
    """Another process holds the call by now; whoever gets this stops working on it."""


class IllegalTransition(Exception):
    """A state change that the journal does not have."""
