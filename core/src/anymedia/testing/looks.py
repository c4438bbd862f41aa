"""Patience with jobs: what would go on until its deadline is broken off, and says what is the matter."""

from __future__ import annotations

import attrs

from ..execution.engine import Progress
from ..execution.poll import LOOK_FAILED

__all__ = ["Looks"]

#: So many looks at one job, and so many in a row that fail, are no fake's doing.
_MOST, _MOST_FAILED = 500, 20


@attrs.define
class Looks:
    """The looks at jobs so far: of a fake, which keeps nobody waiting, there are few, and few that fail."""

    of: dict[str, int] = attrs.field(factory=dict)
    failed: int = 0
    why: str = ""

    def count(self, progress: Progress) -> None:
        """Count a look by what the caller is told of it."""
        if progress.state not in {"submitted", "running"}:
            return
        self.of[progress.job_id] = self.of.get(progress.job_id, 0) + 1
        self.failed = self.failed + 1 if progress.note.startswith(LOOK_FAILED) else 0
        self.why = progress.note

    def check(self) -> None:
        """Break off what would only end with the deadline.

        Raises:
            AssertionError: so many looks in a row failed, or so many saw a job at work.
        """
        assert self.failed < _MOST_FAILED, f"{self.failed} looks in a row, and each failed; the last: {self.why}"
        most = max(self.of.values(), default=0)
        assert most < _MOST, f"looked at it {most} times, and check_job never says that it is done or has failed; the last: {self.why}"
