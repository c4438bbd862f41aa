"""Results, plans, jobs and errors as JSON, each error with one action that an agent can take."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import (
    Argument,
    AuthenticationFailed,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    BudgetExceeded,
    Charged,
    ContentRefused,
    FixAction,
    InvalidRequest,
    JobCancelled,
    MediaError,
    NotApproved,
    Problem,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnknownBackend,
    UnknownJob,
)
from ..generation_config import GenerationConfig
from ..redaction import clean_text
from ..results import Warning, to_warnings

#: Maximum length of a quoted text that may come from a provider, in characters.
_LONGEST = 1000
_MOST_ITEMS = 200


class Internal(MediaError):
    """A bug in anymedia or in a plugin."""

    code = "internal"


def plain(value: Any) -> Any:
    """Return a value as JSON with each text on one clean line; values that JSON cannot represent become text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return clean_text(value, _LONGEST)
    if isinstance(value, Mapping):
        return {clean_text(key, 100): plain(inner) for key, inner in list(value.items())[:_MOST_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in list(value)[:_MOST_ITEMS]]
    return clean_text(value, _LONGEST)


def error_answer(error: MediaError, able: Iterable[str] = ()) -> dict[str, Any]:
    """Return the answer to a call that failed; ``able``: backends that could do it, where the error names none."""
    found = error.to_json()
    if isinstance(error, InvalidRequest):
        error = error.renamed({"output": "$.output_path"})
        found |= {name: value for name, value in error.to_json().items() if name in {"message", "problems"}}
    if not found["try_backends"]:
        found["try_backends"] = list(able)
    found["fix"] = fix_of(error, tuple(found["try_backends"]))
    return {"success": False, "error": plain(found)}


def internal(error: BaseException, *, charged: Charged = "no", job_id: str | None = None) -> Internal:
    """Return the error for an unexpected exception: its type and place, not its message, which may contain a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    made = Internal(f"internal error: {type(error).__name__}{where}", fix="this is a bug; report it with this message", job_id=job_id)
    made.charged = charged
    return made


def several_answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one answer for several calls; ``results`` has the answer of each, in order.

    ``success`` is true if all succeeded; otherwise ``error`` gives the number of failures.
    """
    failed = [r for r in results if not r["success"]]
    answer: dict[str, Any] = {
        "success": not failed,
        "results": results,
        "succeeded": len(results) - len(failed),
        "failed": len(failed),
    }
    if failed:
        charges = {r["error"]["charged"] for r in failed}
        charged = next((word for word in ("yes", "unknown") if word in charges), "no")
        warning = "" if charged == "no" else "; do not repeat one that may be paid for"
        answer["error"] = {
            "code": "some_failed",
            "message": f"{len(failed)} of {len(results)} calls failed; each result says why.",
            "fix": f"do for each that failed what its own fix says{warning}",
            "try_backends": [],
            "retry": all(r["error"]["retry"] for r in failed),
            "charged": charged,
        }
    return answer


def job_answer(record: Any) -> dict[str, Any]:
    """Return the answer for a call record."""
    quote = None if record.quote_usd is None else list(record.quote_usd)
    warnings = list(to_warnings(record.plan.get("warnings", ())))
    if record.state == "cancelled" and record.error is not None and record.charged != "no":
        warnings.append(Warning("may_be_charged", record.error["message"]))
    return plain(  # type: ignore[no-any-return]
        {
            "success": True,
            "job_id": record.run,
            "state": record.state,
            "operation": record.operation,
            "backend": record.backend,
            "model": record.model,
            "adjustments": list(record.plan.get("adjustments", ())),
            "warnings": [warning.to_json() for warning in warnings],
            **({} if record.charged is None else {"charged": record.charged}),
            "cost": {"quoted_usd": quote, "actual_usd": record.cost_usd, "basis": record.plan.get("quote_basis", "")},
            "seconds": round(max(0.0, record.updated_at - record.created_at), 3),
        }
    )


def result_answer(result: Any) -> dict[str, Any]:
    """Return a result; paths and ids stay as they are."""
    found: dict[str, Any] = result.to_json()
    files = found.pop("files")
    return {"success": found.pop("success"), "files": files, **plain(found)}


def plan_answer(plan: Any) -> dict[str, Any]:
    """Return a plan: what would be sent, to which backend, at what price, and why other candidates were rejected."""
    found: dict[str, Any] = plan.to_json()
    answer = {"success": True, "planned": True, **found, "rejected": found["rejected"][:20]}
    return plain(answer)  # type: ignore[no-any-return]


#: Fix for an error that has none, has cost nothing, and is not a bug.
_USUAL: Mapping[type[MediaError], str] = {
    ContentRefused: "change the prompt or the inputs; the same call would be refused again",
    RateLimited: "make the same call later",
    BackendUnavailable: "make the same call later",
    AuthenticationFailed: "tell the user that the key is not accepted",
    QuotaExceeded: "tell the user that the account has no credit or quota left",
    NotApproved: "tell the user what it may cost; do not repeat it unless they ask for it",
    BudgetExceeded: "ask for something smaller, shorter or fewer, or for a higher max_cost_usd",
}
#: How an agent carries out what an error suggests.
_COMMANDS: Mapping[FixAction, str] = {
    "resume": "media_job(job_id='{run_id}', action='wait')",
    "rebind": "anymedia jobs resume {run_id} --rebind (a person, on the command line)",
    "list_jobs": "the job_id of an earlier answer",
    "export": "media_job(job_id='{run_id}', action='export', output_path='./')",
}
#: The field of the tool for what Python code sets elsewhere.
_FIELDS = {"per_request": "max_cost_usd"}
#: Maximum number of problems in a fix.
_MOST = 4


def resume_call_text(job_id: str | None) -> str:
    """Return the call with which an agent waits for a job or resumes it."""
    return f"media_job(job_id={job_id!r}, action='wait')"


def fix_of(error: MediaError, able: tuple[str, ...] = ()) -> str:
    """Return what an agent should do about an error; ``able``: backends that could do what was asked."""
    wait = resume_call_text(error.job_id)
    if isinstance(error, UnknownJob):
        return "use the job_id of an earlier answer, error or progress message"
    if isinstance(error, JobCancelled):
        return "it was cancelled; ask the user before you repeat the call"
    if isinstance(error, SubmissionUnknown):
        check = f"check with {wait}, or " if error.job_id else ""
        return f"do not repeat it: it may be running and charged; {check}ask the user to look at the provider's list of requests"
    if isinstance(error, BackendTimeout) and error.job_id:
        return f"the job is not lost, follow it: {wait}"
    if isinstance(error, UnknownBackend) and able:
        backend = Argument("backend", error.nearest if error.nearest in able else able[0])
        return f"use {_argument(backend)}, or omit backend"
    if error.kept:  # the path is the local user's
        then = "" if error.action is None else f". {error.action.render(_COMMANDS)}"
        return f"do not repeat it: it may be charged again; tell the user that what was received is kept with {error.job_id}{then}"
    if (error.fix or error.action is not None) and not isinstance(error, NotApproved):
        return error.hint(_COMMANDS, _argument)
    if isinstance(error, InvalidRequest):
        return "correct " + "; ".join(_correction(problem) for problem in error.problems[:_MOST])
    if isinstance(error, BadBackendResponse) and error.charged != "no":
        return "do not repeat it without asking the user: it may be charged again"
    if error.charged != "no":
        return f"it may be charged: check with {wait} before you repeat it" if error.job_id else "tell the user; it may be charged"
    alternative = f"use {_argument(Argument('backend', able[0]))} without model" if able else ""
    usual = next((words for kind, words in _USUAL.items() if isinstance(error, kind)), "" if alternative else "tell the user")
    return ", or ".join(words for words in (usual, alternative) if words)


def _argument(argument: Argument) -> str:
    """Return a field and its value as in the JSON of a call: ``"backend": "local"``."""
    name = _FIELDS.get(argument.name, argument.name)
    return name if argument.value is None else json.dumps({name: argument.value})[1:-1]


def _correction(problem: Problem) -> str:
    name = problem.path.removeprefix("$").removeprefix(".")
    if not name:
        return f"the call: {problem.suggestion or problem.message}"
    if problem.suggestion:
        return f"{name}: {problem.suggestion}"
    field = attrs.fields_dict(GenerationConfig).get(name)
    explained = field is not None and problem.message.startswith("expected text")
    return f"{name}: {problem.message}" + (f" ({field.metadata['doc']})" if field is not None and explained else "")
