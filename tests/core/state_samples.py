"""Calls and continuations to keep, for the tests of the stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymedia.policy import Budget
from anymedia.requests import Continuation, StoredFile
from anymedia.state.store import NewCall

if TYPE_CHECKING:
    from blocking_store import BlockingStore

NOW = 1_790_000_000.0
DAY = 86_400.0
_REQUEST: Mapping[str, Any] = {"kind": "generate_video", "prompt": "waves", "duration": 8, "references": ({"path": "a.png"},)}


def new_call(call_id: str = "call_1", **changes: Any) -> NewCall:
    """Return a call about to be made; each field can be changed."""
    fields: dict[str, Any] = {
        "id": call_id,
        "run": call_id,
        "index": 0,
        "backend": "google",
        "model": "veo-4",
        "operation": "generate_video",
        "request": _REQUEST,
        "plan": {"adjustments": []},
        "target": {"path": "out/", "overwrite": False},
        "idempotency_key": f"key-of-{call_id}",
        "session": "session_1",
        "quote_usd": (0.1, 0.4),
    }
    return NewCall(**(fields | changes))


def continuation(continuation_id: str, **changes: Any) -> Continuation:
    """Return a resolved continuation; each field can be changed."""
    fields: dict[str, Any] = {
        "id": continuation_id,
        "backend": "google",
        "model": "veo-4",
        "media": "video",
        "data": {"video": {"id": f"files/{continuation_id}"}},
        "secret": {"url": f"https://media.example/{continuation_id}?signature=hush"},
        "files": (StoredFile(path="out/a.mp4", sha256="aa" * 32, mime="video/mp4", width=1280, height=720, seconds=8.0),),
        "created_at": NOW,
        "expires_at": NOW + 2 * DAY,
    }
    return Continuation(**(fields | changes))


@contextlib.contextmanager
def opened(path: Path | str, busy_seconds: float = 30.0) -> Iterator[BlockingStore]:
    from blocking_store import BlockingStore

    store = BlockingStore(path, busy_seconds=busy_seconds)
    try:
        yield store
    finally:
        store.close()


def fill(store: BlockingStore, call_id: str = "call_1") -> None:
    lease = store.open_call(new_call(call_id), Budget(), owner="me", lease_seconds=60)
    store.advance(lease, "submitted", now=NOW, job={"id": "17"}, secret={"url": "https://media.example/?signature=hush"})
