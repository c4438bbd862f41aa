"""The result of a run from its call records, whichever process has executed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MediaError
from ..results import Adjustment, Attempt, Cost, MediaFile, Provenance, Result, Warning, to_warnings
from ..state.store import ACTIVE_STATES, CallRecord

#: Whether a call was charged, the most serious last.
_GRAVITY = ("no", "yes", "unknown")


def file_from_json(raw: Mapping[str, Any]) -> MediaFile:
    """Return the file that `MediaFile.to_json` wrote."""
    return MediaFile(
        path=Path(raw["path"]),
        mime=raw["mime"],
        size=raw["bytes"],
        sha256=raw["sha256"],
        width=raw.get("width"),
        height=raw.get("height"),
        seconds=raw.get("seconds"),
        continuation_id=raw.get("continuation_id"),
    )


def latest(rows: Sequence[CallRecord]) -> list[CallRecord]:
    """Return the newest record of each place in a run, in the store's order; a fallback has replaced an earlier one."""
    return list({row.index: row for row in rows}.values())


def run_status(rows: Sequence[CallRecord]) -> CallRecord:
    """Return the record that shows the state of a whole run.

    An active one comes first, then one that is done, then one that is unknown or lost, then the most serious failure.
    """
    return min(latest(rows), key=_priority)


def _priority(row: CallRecord) -> tuple[int, int]:
    rank = 0 if row.state in ACTIVE_STATES else {"done": 1, "unknown": 2, "lost": 2}.get(row.state, 3)
    return rank, -_GRAVITY.index((row.error or {}).get("charged", "no"))


def most_serious(failures: Sequence[MediaError]) -> MediaError:
    """Return the first of the failures that are most serious for what may have been spent."""
    return max(failures, key=lambda error: _GRAVITY.index(error.charged))


def _spent(row: CallRecord) -> float | None:
    """Return what a call has cost; None if that is unknown, or it has not ended yet."""
    if row.state == "done" or row.cost_usd is not None:
        return row.cost_usd
    return 0.0 if row.charged == "no" else None


def _cost(every: Sequence[CallRecord], rows: Sequence[CallRecord], done: Sequence[CallRecord]) -> Cost:
    quotes = [row.quote_usd for row in rows]
    known = [q for q in quotes if q is not None]
    quoted = (sum(q[0] for q in known), sum(q[1] for q in known)) if len(known) == len(quotes) and known else None
    actual = [_spent(row) for row in every]
    known_all = [a for a in actual if a is not None]
    spent = sum(known_all) if len(known_all) == len(actual) else None
    if spent is None:
        basis = str(done[0].plan.get("quote_basis", ""))
    else:
        computed = next((str(made["cost_basis"]) for row in done if (made := row.result or {}).get("cost_basis")), "")
        basis = computed or "reported by the provider"
    return Cost(quoted_usd=quoted, actual_usd=spent, basis=basis)


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def result_of(rows: Sequence[CallRecord]) -> Result:
    """Return the result of a run from its records, at least one of which is done."""
    every, rows = rows, latest(rows)
    done = [row for row in rows if row.state == "done" and row.result is not None]
    first = done[0]
    results: list[Mapping[str, Any]] = [row.result for row in done if row.result is not None]
    files = tuple(file_from_json(raw) for result in results for raw in result["files"])
    lost = [row for row in rows if row.state != "done"]
    missing = _missing(lost, len(rows))
    differences = [d for r in results if (d := r.get("outside_mask_difference")) is not None]
    attempts = [a for row in every for a in row.attempts]
    return Result(
        operation=first.operation,
        files=files,
        provenance=Provenance(
            backend=first.backend,
            model=first.model,
            request_ids=_unique([r["request_id"] for r in results if r.get("request_id")]),
            disclosure=str(first.plan.get("disclosure", "")),
        ),
        job_id=first.run,
        continuation_id=next((f.continuation_id for f in files if f.continuation_id), None),
        continued_as=results[0].get("continued_as"),
        adjustments=tuple(Adjustment(**raw) for raw in first.plan["adjustments"]),
        warnings=to_warnings([*first.plan["warnings"], *(w for r in results for w in r["warnings"]), *missing]),
        cost=_cost(every, rows, done),
        attempts=tuple(Attempt(**raw) for raw in attempts),
        seconds=max(row.updated_at for row in done) - min(row.created_at for row in every),
        outside_mask_difference=max(differences) if differences else None,
        data=next((r["data"] for r in results if r.get("data") is not None), None),
        texts=_unique([t for r in results for t in r.get("texts", ())]),
    )


def _missing(lost: Sequence[CallRecord], total: int) -> list[Warning]:
    """Return warnings for the calls without files: those that have ended, and those that have not."""
    ended = [row for row in lost if row.state not in ACTIVE_STATES]
    active = [row for row in lost if row.state in ACTIVE_STATES]
    found = []
    if ended:
        found.append(Warning("calls_failed", f"{len(ended)} of {total} calls returned nothing: {_why(ended)}"))
    if active:
        found.append(Warning("calls_active", f"{len(active)} of {total} calls have not ended yet: {_why(active)}"))
    return found


def _why(rows: Sequence[CallRecord]) -> str:
    return "; ".join(f"{row.id} {row.state}" + (f" ({row.error['code']})" if row.error else "") for row in rows)
