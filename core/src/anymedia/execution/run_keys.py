"""Run keys: one key, one run. A repeat returns the run that was already started, in any process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..errors import RequestError, RunKeyConflict
from ..requests import Request
from ..state.codec import request_json
from ..state.sql import Store
from ..state.store import FINAL_STATES, CallRecord
from ..threads import in_thread
from .prepare_inputs import InputReader, with_contents
from .run_result import latest, run_status

#: How long a result that was not returned is the answer to a repeated request, in seconds.
_REPEAT_SECONDS = 3_600.0


@attrs.frozen(kw_only=True)
class KeyedRequest:
    """A request with a run key.

    Attributes:
        key: the caller's key.
        digest: hash of the request as given, with its inputs by their contents.
    """

    key: str
    digest: str


async def keyed_request(key: str | None, request: Request, inputs: InputReader, **given: Any) -> KeyedRequest | None:
    """Return what a request with a key is compared by.

    The comparison uses the request as the caller gave it, and the contents of its files: never the plan or the chosen model.

    Args:
        key: the key; None for a request without one.
        request: the request.
        inputs: reads the files.
        given: other arguments that make it a different request (a backend, a model), as JSON values.

    Raises:
        RequestError: the key is empty or longer than 200 characters, or a file cannot be read.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not key.strip() or not key.isprintable() or len(key) > 200:
        raise RequestError("a run key must be a text of 1 to 200 printable characters")
    return KeyedRequest(key=key, digest=await request_digest(request, inputs, given))


async def request_digest(request: Request, inputs: InputReader, given: Mapping[str, Any]) -> str:
    """Return a hash of a request as given, with its inputs by their contents, and of further JSON values."""
    whole = await with_contents(request, inputs)

    def digest() -> str:
        text = json.dumps([request_json(whole), given], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    return await in_thread(digest)


async def repeated_run(store: Store, key: str, *, again: bool = False) -> str | None:
    """Return the run that an agent's request repeats; one that is not a repeat makes its key free.

    Args:
        store: the store.
        key: the key made of the request.
        again: start a new run in any case.

    Returns:
        The id of a run that is active or of unknown outcome, or that ended within the last hour without its result having been
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
    """Return the records of the run that a key belongs to; none if it is new.

    Raises:
        RunKeyConflict: it belongs to another request, or its run was deleted.
    """
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
