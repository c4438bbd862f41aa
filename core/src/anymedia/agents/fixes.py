"""For every error one thing to do, which an agent can do with the tools it has; and problems at the fields it wrote."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import (
    AuthenticationFailed,
    BackendTimeout,
    BackendUnavailable,
    BudgetExceeded,
    ContentRefused,
    InvalidRequest,
    JobCancelled,
    MediaError,
    Problem,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownBackend,
    UnknownJob,
)
from ..requests import EditWithReferences, Request

__all__ = ["as_written", "fix_of", "take_up"]

#: What to do about an error that says nothing of it, has cost nothing, and is no bug.
_USUAL: Mapping[type[MediaError], str] = {
    ContentRefused: "change the words or the inputs; the same would be refused again",
    RateLimited: "make the same call later",
    BackendUnavailable: "make the same call later",
    AuthenticationFailed: "tell the user that the key is not accepted",
    QuotaExceeded: "tell the user that the account has no money or quota left",
    BudgetExceeded: "ask for something smaller, shorter or fewer, or for leave to spend more",
}
#: How a person at a shell takes up a job.
_FOR_A_SHELL = re.compile(r"anymedia jobs resume ([\w-]+)")
#: So many problems are repeated in a fix.
_MOST = 4


def take_up(job_id: str | None) -> str:
    """Return the call by which an agent waits for a job, or takes up one that was left."""
    return f"media_job(job_id={job_id!r}, action='wait')"


def fix_of(error: MediaError, able: tuple[str, ...] = ()) -> str:
    """Return what an agent should do about an error; ``able``: backends that could do what was asked."""
    wait = take_up(error.job_id)
    if isinstance(error, UnknownJob):
        return "take the job_id of an earlier answer, error or progress message"
    if isinstance(error, JobCancelled):
        return "somebody has stopped it; ask the user before you ask for it again"
    if isinstance(error, SubmissionUnknown):
        look = f"look with {wait}, or " if error.job_id else ""
        return f"do not repeat it: it may be under way and paid for; {look}ask whoever has access to the provider's list of requests"
    if isinstance(error, BackendTimeout) and error.job_id:
        return f"the job goes on: {wait}"
    if isinstance(error, UnknownBackend) and able:
        return f"use backend={_nearest(error, able)!r}, or leave backend out"
    if error.fix:
        return _FOR_A_SHELL.sub(lambda found: take_up(found[1]), error.fix)
    if isinstance(error, InvalidRequest):
        return "correct " + "; ".join(_correction(problem) for problem in error.problems[:_MOST])
    if error.charged != "no":
        return f"it may be paid for: look with {wait} before you ask for it again" if error.job_id else "tell the user; it may be paid for"
    elsewhere = f"use backend={able[0]!r} without model" if able else ""
    usual = next((words for kind, words in _USUAL.items() if isinstance(error, kind)), "" if elsewhere else "tell the user")
    return ", or ".join(words for words in (usual, elsewhere) if words)


def _nearest(error: UnknownBackend, able: tuple[str, ...]) -> str:
    meant = re.search(r"did you mean '([^']+)'", error.message)
    return meant[1] if meant is not None and meant[1] in able else able[0]


def _correction(problem: Problem) -> str:
    name = problem.path.removeprefix("$").removeprefix(".")
    if not name:
        return f"the call: {problem.suggestion or problem.message}"
    if problem.suggestion:
        return f"{name}: {problem.suggestion}"
    doc = _docs().get(name, "")
    return f"{name}: {problem.message}" + (f" ({doc})" if doc and problem.message.startswith("expected text") else "")


@functools.cache
def _docs() -> Mapping[str, str]:
    from ..generation_config import GenerationConfig

    return {field.name: field.metadata["doc"] for field in attrs.fields(GenerationConfig)}


def as_written(error: InvalidRequest, request: Request) -> InvalidRequest:
    """Return the error with its problems at the fields of a call rather than at those of the request made from it."""
    places = {
        "source": "input_video_path" if request.media == "video" else "input_images[0]",
        "mask": "mask_path",
        "first_frame": "input_images[0]",
        "last_frame": "last_frame_path",
        **_references(request),
    }
    moved = []
    for problem in error.problems:
        found = re.match(r"\$\.(references\[\d+\]|\w+)", problem.path)
        place = places.get(found[1]) if found is not None else None
        moved.append(problem if found is None or place is None else attrs.evolve(problem, path=f"$.{place}{problem.path[found.end() :]}"))
    return InvalidRequest(moved, fix=error.fix, try_backends=error.try_backends)


def _references(request: Request) -> dict[str, str]:
    """Return for each reference the field it came from; sources keep their order in input_images."""
    places: dict[str, str] = {}
    sources = 0
    references: Any = getattr(request, "references", ())
    for i, reference in enumerate(references):
        if reference.role == "source":
            places[f"references[{i}]"] = f"input_images[{sources}]"
            sources += 1
        elif reference.role == "subject" and not isinstance(request, EditWithReferences):
            places[f"references[{i}]"] = f"video_reference_images[{i}]"
        else:
            places[f"references[{i}]"] = f"{reference.role}_image_path"
    return places
