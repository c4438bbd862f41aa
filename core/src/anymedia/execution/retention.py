"""Remove artifacts that nothing needs any more, and refuse paid requests while the rest fills the limit."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..artifacts import Artifact, Swept
from ..errors import Fix, RequestError
from ..state.store import FINAL_STATES, CallState
from .engine import Engine

__all__ = ["collect_garbage", "make_room"]

#: Seconds between two automatic clean-ups by age, and between two measurements of the space that is used.
_AGE_INTERVAL, _SIZE_INTERVAL = 86_400.0, 60.0
#: States in which a call may have artifacts that were not delivered.
_UNDELIVERED: tuple[CallState, ...] = (
    "queued", "submitting", "submitted", "running", "collecting", "unknown", "lost", "failed", "refused", "cancelled",
)  # fmt: skip
_EVERY_CALL = 10_000_000


async def collect_garbage(engine: Engine, *, dry_run: bool = False) -> Swept:
    """Remove artifacts by age and total size, as the settings say.

    Artifacts of a call that has not ended are kept, and pieces that were never saved to a file: only `Router.forget` removes them.

    Args:
        engine: artifacts, store and settings.
        dry_run: remove nothing, only report.
    """

    async def keep(found: Sequence[Artifact]) -> Collection[Artifact]:
        records = await engine.store.calls(states=_UNDELIVERED, limit=_EVERY_CALL)
        states = {record.id: record.state for record in records}
        return [a for a in found if a.call_id in states and (a.kind != "input" or states[a.call_id] not in FINAL_STATES)]

    settings = engine.settings
    keep_seconds = None if settings.artifacts_keep_days is None else settings.artifacts_keep_days * 86_400
    return await engine.artifacts.gc(
        keep_seconds=keep_seconds, max_bytes=settings.artifacts_max_bytes, keep=keep, now=engine.clock.now(), dry_run=dry_run
    )


async def make_room(engine: Engine) -> None:
    """Clean up when it is due; called before a paid request.

    Raises:
        RequestError: the artifacts that must be kept fill the limit; nothing was spent.
    """
    steady = engine.clock.steady()
    if engine.measured_at is not None and steady - engine.measured_at < _SIZE_INTERVAL:
        return
    engine.measured_at = steady
    most = engine.settings.artifacts_max_bytes
    used = await engine.artifacts.used_bytes()
    last = await engine.artifacts.last_gc()
    is_over = most is not None and used >= most
    if not used or not (is_over or last is None or engine.clock.now() - last > _AGE_INTERVAL):
        return
    swept = await collect_garbage(engine)
    if most is not None and swept.required >= most:
        engine.measured_at = None
        text = f"The artifact store has {swept.required} bytes of undelivered results, and max_bytes is {most}; nothing was sent."
        error = RequestError(text, fix="Resume or forget the jobs that they belong to, or raise max_bytes in [artifacts].")
        error.action = Fix("list_jobs")
        raise error
