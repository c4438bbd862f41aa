"""Runs: the status and the result of one from its call records, whichever process has executed them, and the keys that identify it.

One key, one run: a repeat returns the run that was already started, in any process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ..errors import BackendError, Fix, FixAction, MediaError, RequestError, RunKeyConflict
from ..requests import Request
from ..results import Adjustment, Attempt, Cost, MediaFile, Provenance, Result, Warning, to_warnings
from ..state.codec import request_json
from ..state.sql import Store
from ..state.store import ACTIVE_STATES, FINAL_STATES, CallRecord
from ..threads import in_thread
from .prepare_inputs import InputReader, with_contents

_E = TypeVar("_E", bound=MediaError)
#: Whether a call was charged, the most serious last.
_GRAVITY = ("no", "yes", "unknown")
#: How long a result that was not returned is the answer to a repeated request, in seconds.
_REPEAT_SECONDS = 3_600.0


def about(error: _E, record: CallRecord, action: FixAction | None = None) -> _E:
    """Return an error with the call that it is about, and what can be done with its run."""
    error.job_id = record.id
    if isinstance(error, BackendError):
        error.backend, error.model = record.backend, record.model
    error.action = error.action if action is None else Fix(action, record.run)
    return error


def _file(raw: Mapping[str, Any]) -> MediaFile:
    """Return the file that `MediaFile.to_json` wrote."""
    facts: dict[str, Any] = {name: raw.get(name) for name in ("mime", "sha256", "width", "height", "seconds", "continuation_id")}
    return MediaFile(path=Path(raw["path"]), size=raw["bytes"], **facts)


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
    quotes = [row.quote_usd for row in rows if row.quote_usd is not None]
    quoted = (sum(low for low, _ in quotes), sum(high for _, high in quotes)) if len(quotes) == len(rows) else None
    actual = [cost for row in every if (cost := _spent(row)) is not None]
    spent = sum(actual) if len(actual) == len(every) else None
    if spent is None:
        basis = str(done[0].plan.get("quote_basis", ""))
    else:
        computed = next((str(made["cost_basis"]) for row in done if (made := row.result or {}).get("cost_basis")), "")
        basis = computed or "reported by the provider"
    return Cost(quoted_usd=quoted, actual_usd=spent, basis=basis)


def result_of(rows: Sequence[CallRecord]) -> Result:
    """Return the result of a run from its records, at least one of which is done."""
    every, rows = rows, latest(rows)
    done = [row for row in rows if row.state == "done" and row.result is not None]
    first = done[0]
    results: list[Mapping[str, Any]] = [row.result for row in done if row.result is not None]
    files = tuple(_file(raw) for result in results for raw in result["files"])
    differences = [d for r in results if (d := r.get("outside_mask_difference")) is not None]
    attempts = [a for row in every for a in row.attempts]
    return Result(
        operation=first.operation,
        files=files,
        provenance=Provenance(
            backend=first.backend,
            model=first.model,
            request_ids=tuple(dict.fromkeys(r["request_id"] for r in results if r.get("request_id"))),
            disclosure=str(first.plan.get("disclosure", "")),
        ),
        job_id=first.run,
        continuation_id=next((f.continuation_id for f in files if f.continuation_id), None),
        continued_as=results[0].get("continued_as"),
        adjustments=tuple(Adjustment(**raw) for raw in first.plan["adjustments"]),
        warnings=to_warnings([*first.plan["warnings"], *(w for r in results for w in r["warnings"]), *_missing(rows)]),
        cost=_cost(every, rows, done),
        attempts=tuple(Attempt(**raw) for raw in attempts),
        seconds=max(row.updated_at for row in done) - min(row.created_at for row in every),
        outside_mask_difference=max(differences) if differences else None,
        data=next((r["data"] for r in results if r.get("data") is not None), None),
        texts=tuple(dict.fromkeys(t for r in results for t in r.get("texts", ()))),
    )


def _missing(rows: Sequence[CallRecord]) -> list[Warning]:
    """Return warnings for the calls without files: those that have ended, and those that have not."""
    found = []
    for code, is_active, what in (("calls_failed", False, "returned nothing"), ("calls_active", True, "have not ended yet")):
        without = [row for row in rows if row.state != "done" and (row.state in ACTIVE_STATES) is is_active]
        if without:
            why = "; ".join(f"{row.id} {row.state}" + (f" ({row.error['code']})" if row.error else "") for row in without)
            found.append(Warning(code, f"{len(without)} of {len(rows)} calls {what}: {why}"))
    return found


@attrs.frozen
class KeyedRequest:
    """A run key, and the hash of the request as given, with its inputs by their contents."""

    key: str
    digest: str


async def keyed_request(key: str | None, request: Request, inputs: InputReader, **given: Any) -> KeyedRequest | None:
    """Return what a request with a key is compared by.

    That is the request as the caller gave it, the contents of its files, and what is ``given`` as JSON: never the plan or the chosen model.

    Raises:
        RequestError: the key is empty or longer than 200 characters, or a file cannot be read.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not key.strip() or not key.isprintable() or len(key) > 200:
        raise RequestError("a run key must be a text of 1 to 200 printable characters")
    return KeyedRequest(key, await request_digest(request, inputs, given))


async def request_digest(request: Request, inputs: InputReader, given: Mapping[str, Any]) -> str:
    """Return a hash of a request as given, with its inputs by their contents, and of further JSON values."""
    whole = await with_contents(request, inputs)

    def digest() -> str:
        text = json.dumps([request_json(whole), given], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    return await in_thread(digest)


async def repeated_run(store: Store, key: str, *, again: bool = False) -> str | None:
    """Return the run that an agent's request repeats; one that is not a repeat, or is wanted ``again``, makes its key free.

    It is a repeat of a run that is active or of unknown outcome, or that ended within the last hour without its result having been
    returned (which deletes its key).
    """
    found = await store.run_key(key)
    if found is None:
        return None
    records = () if again or found.forgotten_at is not None else await store.run(found.run)
    if records:
        record = run_status(records)
        if record.state not in FINAL_STATES or record.read_at - record.updated_at < _REPEAT_SECONDS:
            return None if may_retry(records) else found.run
    await store.drop_run_keys(found.run, key)
    return None


async def earlier_records(store: Store, keyed: KeyedRequest) -> Sequence[CallRecord]:
    """Return the records of the run that a key belongs to; none if it is new. That of another request, or of a deleted run, is refused."""
    found = await store.run_key(keyed.key)
    if found is None:
        return ()
    if found.digest != keyed.digest:
        text = f"the run key {keyed.key!r} belongs to another request (job {found.run})"
        raise RunKeyConflict(text, fix="Use another key for another request.", job_id=found.run)
    records = () if found.forgotten_at is not None else await store.run(found.run)
    if not records:
        text = f"the run key {keyed.key!r} belongs to job {found.run}, which was deleted; nothing was sent"
        raise RunKeyConflict(text, fix="Use another key to request it again.", job_id=found.run)
    return records


def may_retry(records: Sequence[CallRecord]) -> bool:
    """Whether all calls of a run ended and certainly none was charged, so that a new attempt may start in that run."""
    ended = FINAL_STATES - {"done"} | {"unknown"}
    return all(record.state in ended and record.charged == "no" for record in latest(records))
