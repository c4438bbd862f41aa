"""What a provider's answer says about a job: its state in one word, and when something expires."""

from __future__ import annotations

import contextlib
import email.utils
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ..answers.media import extract_media
from ..context import Context
from ..media import without_query

__all__ = ["job_object", "job_status", "provider_time"]

#: Words in lower case without separators. A phase of the input, or a part of the work, that is complete is not the job.
_PHASE = r".*(?:upload|input|prompt|preproc|prepar|queue|valid|verif|moderat|safety|submi|accept|model|worker|stage|step|phase|partial)"
_DONE = re.compile(
    rf"(?!incomplete|not|un|almost|nearly|preview|draft|{_PHASE})[a-z]*"
    r"(?:complete|completed|succeed|succeeded|success|successful|successfully|done|ready|finish|finished)|ok"
)
#: "expired", "timeout": the job did not end in time.
_FAILED = re.compile(
    r"[a-z]*(?:fail|failed|failure|cancell?ed|expired|deleted|error|errored|rejected|timeout|timedout|aborted|terminated|blocked|refused"
    r"|filtered|moderated|killed|banned|incomplete)|nsfw"
)
#: Links that are not the result of a job that makes videos or sound: its cover, or its first frame.
_PICTURE = re.compile(r"^image/|\.(?:png|jpe?g|webp|gif|avif)$", re.IGNORECASE)
#: Where gateways put what they say of a job: the keys of its state and its id, and those of the object that holds them.
_STATES = ("status", "state", "task_status", "job_status", "status_text", "status_name", "statusText", "statusName")
_IDS = ("id", "task_id", "job_id", "video_id")
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
    node = max(chain[::-1], key=lambda node: (_status_in(node) is not None, _id_in(node) is not None))
    found = {"status": _status_in(node) or _status_shown(node), "id": _id_in(node)}
    return {**node, **{key: value for key, value in found.items() if value is not None}}


def _id_in(node: Mapping[str, Any]) -> str | None:
    """Return the id of a job; small servers count theirs."""
    return next((str(value) for key in _IDS if type(value := node.get(key)) in {str, int} and value != ""), None)


def _status_in(node: Mapping[str, Any]) -> str | None:
    return next((word for key in _STATES if _plain(word := _word(node.get(key)))), None)


def _word(status: object) -> str:
    """Return the word in a status: a text, an enumeration's member, the last of a list, or what an object names so; else nothing."""
    if isinstance(status, list | tuple):
        return next((word for item in reversed(status) if (word := _word(item))), "")
    if isinstance(status, Mapping):
        return next((word for key in (*_STATES, "name", "value", "text", "code") if (word := _word(status.get(key)))), "")
    value = getattr(status, "value", status)
    return value if isinstance(value, str) else ""


def _status_shown(node: Mapping[str, Any]) -> str | None:
    """Return what an answer without a word for the state shows by the rest of it: a number means something else at each service."""
    if node.get("done") is True:
        return "failed" if node.get("error") else "done"
    if not any(isinstance(node.get(key), str | int) for key in _STATES):
        return None
    if node.get("error"):
        return "failed"
    made = extract_media(node).items
    return "done" if any(not _PICTURE.search(f"{item.mime} {without_query(item.url or '')}") for item in made) else None


def job_status(word: object, *, done: Iterable[str] = (), failed: Iterable[str] = ()) -> Literal["done", "failed", "running"]:
    """Return what a provider's status word means, without regard to case and separators.

    Servers that speak another one's protocol spell the end of a job in their own way. An unknown word counts as running: put it
    into the note of ``Running``, so that it is quoted when waiting ends.

    Args:
        word: the status: a text, an enumeration's member, a list that ends with one, or an object that holds one.
        done: further words of this provider for a job with a result.
        failed: further words of this provider for a job that ended without a result.
    """
    plain = _plain(_word(word))
    if _DONE.fullmatch(plain) or plain in map(_plain, done):
        return "done"
    return "failed" if _FAILED.fullmatch(plain) or plain in map(_plain, failed) else "running"


def _plain(word: str) -> str:
    return re.sub(r"[^a-z]", "", word.lower())


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
