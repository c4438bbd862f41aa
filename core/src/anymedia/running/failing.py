"""Looks at a job that failed: they do not fail the job, but whoever has waited in vain is told of what they failed."""

from __future__ import annotations

import attrs

from ..errors import MediaError
from ..redaction import clean_text

__all__ = ["Failing", "why_of"]


def why_of(error: Exception) -> str:
    """Return in a few words why a look failed; a plugin's mistake comes with its place in the code."""
    return clean_text(error.message, 200).rstrip(".") if isinstance(error, MediaError) else type(error).__name__


@attrs.define
class Failing:
    """The looks in a row that failed, and what the last of them failed of."""

    looks: int = 0
    why: str = ""

    def failed(self, error: Exception) -> str:
        """Count a look that failed; return why."""
        self.looks += 1
        self.why = why_of(error)
        return self.why

    def worked(self) -> None:
        """Begin anew: there was an answer."""
        self.looks, self.why = 0, ""

    def __str__(self) -> str:
        return f"the last {f'{self.looks} looks' if self.looks > 1 else 'look'} at it failed: {self.why}"
