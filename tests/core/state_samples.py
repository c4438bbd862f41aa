"""Calls and continuations to keep, for the tests of the stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anymedia.requests import Continuation, StoredFile
from anymedia.state.store import NewCall

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
        "created_at": NOW,
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
