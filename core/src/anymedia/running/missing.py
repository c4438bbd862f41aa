"""A job that its provider does not find: perhaps it has not heard of it yet, and it is paid for; so it is looked at again.

Services of many machines answer so for a moment after they took a job, and now and then later. Only looks in a row that
all find nothing, over a time that no machine is behind for, are the end of it; none of them sends anything again.
"""

from __future__ import annotations

import attrs

from ..errors import JobNotFound
from ..redaction import clean_text
from ..results import Job
from ..state.store import CallRecord

__all__ = ["WAITS", "Missing", "lost_job"]

#: How long to wait at least after each look in a row that found nothing, in seconds; one more, and the job is given up.
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@attrs.define
class Missing:
    """The looks in a row that did not find a job, and the seconds from the first of them to the last."""

    looks: int = 0
    seconds: float = 0.0

    def waited(self, seconds: float) -> None:
        """Count a pause before a look; what goes before the first of them is none of theirs."""
        if self.looks:
            self.seconds += seconds

    def found(self) -> None:
        """Begin anew: the job was seen."""
        self.looks, self.seconds = 0, 0.0

    def not_found(self, error: JobNotFound) -> float:
        """Count a look that found nothing; return how many seconds to wait for the next at least."""
        self.looks += 1
        return max(WAITS[min(self.looks, len(WAITS)) - 1], error.retry_after or 0.0)

    @property
    def for_good(self) -> bool:
        """Whether that is enough: as many looks as are waited between, over as long. A wait that was cut short does not count whole."""
        return self.looks > len(WAITS) and self.seconds >= sum(WAITS)

    def __str__(self) -> str:
        times = "a look" if self.looks == 1 else f"{self.looks} looks in a row"
        return f"{times} did not find the job at the provider"


def lost_job(record: CallRecord, job: Job, missing: Missing, error: JobNotFound, *, expired: bool) -> JobNotFound:
    """Return the error for a job that is given up: what is known of it, and of the money."""
    why = "its time there has expired" if expired else f"{missing.looks} looks in {missing.seconds:.0f} s found nothing"
    known = clean_text(job.id, 200)
    text = f"'{record.backend}/{record.model}' does not know the job {known!r} of {record.id} any more: {why} ({error.message})"
    fix = "Ask the provider about that job: it may have been charged, and was not sent again. A new request is charged anew."
    found = JobNotFound(text, fix=fix, request_id=error.request_id)
    found.status = error.status
    if record.outcome is not None:  # it was made, and not collected
        found.charged, found.cost_usd = "yes", record.outcome["cost_usd"]
    return found
