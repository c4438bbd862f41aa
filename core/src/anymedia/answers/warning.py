"""A warning as a code that programs compare and a sentence that people read."""

from __future__ import annotations

import attrs

__all__ = ["Warning"]


@attrs.frozen
class Warning:
    """One thing that the caller should know about a result.

    Attributes:
        code: a stable identifier (``fewer_pieces``, ``trailing_bytes_removed`` ...).
        text: our own sentence; what the provider wrote is quoted in it, if it is there at all.
    """

    code: str
    text: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text
