"""Results, plans, jobs and errors as an agent reads them: plain JSON, other people's words cleaned and cut."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import Charged, MediaError
from ..redaction import clean_text
from .fixes import fix_of

__all__ = ["Internal", "error_answer", "internal", "job_answer", "plain", "plan_answer", "result_answer", "several_answer"]

#: How much is quoted of a text that may be a provider's, in characters.
_LONGEST = 1000
_MOST_ITEMS = 200


class Internal(MediaError):
    """A bug in anymedia or in a plugin."""

    code = "internal"


def plain(value: Any) -> Any:
    """Return a value as JSON, every text in one clean line; what JSON cannot hold becomes text."""
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
    if not found["try_backends"]:
        found["try_backends"] = list(able)
    found["fix"] = fix_of(error, tuple(found["try_backends"]))
    return {"success": False, "error": plain(found)}


def internal(error: BaseException, *, charged: Charged = "no", job_id: str | None = None) -> Internal:
    """Return the error for an exception nobody expected: where it broke, not its words, which may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    made = Internal(f"internal error: {type(error).__name__}{where}", fix="this is a bug; report it with this message", job_id=job_id)
    made.charged = charged
    return made


def several_answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer to several calls, each with its own, in order.

    ``success`` means that every one succeeded; otherwise ``error`` says how many did not.
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
        beware = "" if charged == "no" else "; do not repeat one that may be paid for"
        answer["error"] = {
            "code": "some_failed",
            "message": f"{len(failed)} of {len(results)} calls failed; each result says why.",
            "fix": f"do for each that failed what its own fix says{beware}",
            "try_backends": [],
            "retry": all(r["error"]["retry"] for r in failed),
            "charged": charged,
        }
    return answer


def job_answer(record: Any) -> dict[str, Any]:
    """Return a row of the journal."""
    quote = None if record.quote_usd is None else list(record.quote_usd)
    warnings = list(record.plan.get("warnings", ()))
    if record.state == "cancelled" and record.error is not None:
        warnings.append(record.error["message"])
    return plain(  # type: ignore[no-any-return]
        {
            "success": True,
            "job_id": record.run,
            "state": record.state,
            "operation": record.operation,
            "backend": record.backend,
            "model": record.model,
            "adjustments": list(record.plan.get("adjustments", ())),
            "warnings": warnings,
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
    """Return a plan: what would be sent, where, at what price, and why not elsewhere."""
    found: dict[str, Any] = plan.to_json()
    rejected = found.pop("rejected")
    kept = [r for r in rejected if r["reasons"][0]["code"] not in {"not_named", "operation_unsupported"}]
    told = {"success": True, "planned": True, **found, "rejected": kept[:20]}
    return plain(told)  # type: ignore[no-any-return]
