"""What a provider's answer says about a job: its state in one word, and when something expires."""

from __future__ import annotations

import contextlib
import email.utils
import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from ..context import Context

__all__ = ["job_status", "provider_time"]

#: Words in lower case without separators. "expired", "timeout": the job did not end in time.
_DONE = frozenset({"completed", "complete", "succeeded", "success", "successful", "done", "ready", "finished"})
_FAILED = frozenset(
    {
        *("failed", "failure", "fail", "cancelled", "canceled", "expired", "deleted", "error", "errored", "rejected", "timeout"),
        *("timedout", "aborted", "terminated", "moderationblocked", "blocked", "refused", "contentfiltered"),
    }
)


def job_status(word: object, *, done: Iterable[str] = (), failed: Iterable[str] = ()) -> Literal["done", "failed", "running"]:
    """Return what a provider's status word means, without regard to case and separators.

    Servers that speak another one's protocol spell the end of a job in their own way. An unknown word counts as running: put it
    into the note of ``Running``, so that it is quoted when waiting ends.

    Args:
        word: the status, or an enumeration's member.
        done: further words of this provider for a job with a result.
        failed: further words of this provider for a job that ended without a result.
    """
    plain = _plain(getattr(word, "value", word))
    if plain in _DONE or plain in map(_plain, done):
        return "done"
    return "failed" if plain in _FAILED or plain in map(_plain, failed) else "running"


def _plain(word: object) -> str:
    return re.sub(r"[^a-z]", "", word.lower()) if isinstance(word, str) else ""


def provider_time(at: object, headers: Mapping[str, str], context: Context) -> float | None:
    """Return a provider's time on the core's clock, for ``expires_at``; None where it says nothing.

    The clocks of provider and caller may differ, so the time counts from the ``Date`` of the same answer, and is not used without it.

    Args:
        at: seconds since the epoch by the provider's clock.
        headers: of the answer.
        context: of the call.
    """
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < math.inf:
        return None
    with contextlib.suppress(KeyError, ValueError, TypeError):
        date = {str(name).lower(): value for name, value in headers.items()}["date"]
        return context.now() + at - email.utils.parsedate_to_datetime(date).timestamp()
    return None
