"""What a provider's answer says about a job: its state in one word, and when something expires."""

from __future__ import annotations

import contextlib
import email.utils
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ..context import Context

__all__ = ["job_object", "job_status", "provider_time"]

#: Words in lower case without separators. "expired", "timeout": the job did not end in time.
_DONE = re.compile(r"(?!in|not|un)[a-z]*(?:complete|completed|succeed|succeeded|success|successful|done|ready|finish|finished)|ok")
_FAILED = re.compile(
    r"[a-z]*(?:fail|failed|failure|cancell?ed|expired|deleted|error|errored|rejected|timeout|timedout|aborted|terminated|blocked|refused"
    r"|filtered|moderated|killed|banned|incomplete)|nsfw"
)
#: Where gateways put what they say of a job: the keys of its state and its id, and those of the object that holds them.
_STATES, _IDS = ("status", "state", "task_status", "job_status"), ("id", "task_id", "job_id", "video_id")
_INSIDE = ("data", "result", "output", "response", "task", "job", "video")


def job_object(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object of an answer that speaks of a job, with its ``status`` and ``id`` under these names.

    Gateways wrap it (``{"code": 0, "data": {...}}``) and name the two in other ways.

    Args:
        answer: the decoded answer; it is returned as it is where nothing in it speaks of a job.
    """
    chain: list[Mapping[str, Any]] = [answer]
    while len(chain) < len(_INSIDE) and (inner := next((v for key in _INSIDE if isinstance(v := chain[-1].get(key), Mapping)), None)):
        chain.append(inner)
    node = max(chain[::-1], key=lambda node: (_text_at(node, _STATES) is not None, _text_at(node, _IDS) is not None))
    found = {"status": _text_at(node, _STATES) or ("done" if node.get("done") is True else None), "id": _text_at(node, _IDS)}
    return {**node, **{key: value for key, value in found.items() if value is not None}}


def _text_at(node: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    return next((value for key in keys if isinstance(value := node.get(key), str) and value), None)


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
    if _DONE.fullmatch(plain) or plain in map(_plain, done):
        return "done"
    return "failed" if _FAILED.fullmatch(plain) or plain in map(_plain, failed) else "running"


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
