"""The functions an agent's host imports: the same calls as `MediaTool`'s, over a tool kept for each event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Iterable
from pathlib import Path
from typing import Any

from ..router import Router
from .path_scope import directories
from .responses import error_answer, internal
from .tool import Action, MediaTool, tell

__all__ = ["generate_batch", "generate_media", "generate_media_sync", "media_job", "media_job_sync", "plan_media", "plan_media_sync"]

#: Event loop -> its router and what holds it open.
_kept: dict[asyncio.AbstractEventLoop, tuple[Router, AsyncGenerator[Router, None]]] = {}


async def _lifetime() -> AsyncGenerator[Router, None]:
    """Hold a router open. An event loop closes its async generators when it ends, and so this one."""
    async with Router(on_progress=tell) as router:
        try:
            yield router
        finally:
            loop = asyncio.get_running_loop()
            if loop in _kept and _kept[loop][0] is router:  # whoever calls from now on makes one anew
                del _kept[loop]


async def _router() -> Router:
    """Return the router of the running event loop, made when it is first needed."""
    loop = asyncio.get_running_loop()
    if loop not in _kept:
        _drop_closed()
        held = _lifetime()
        _kept[loop] = (await anext(held), held)
    return _kept[loop][0]


def _drop_closed() -> None:
    """Let go of what was kept for loops that were closed without ending it: of their routers only the store can still be closed."""
    for loop in [loop for loop in list(_kept) if loop.is_closed()]:
        router, _ = _kept.pop(loop)
        router.store.close()


async def close_media() -> None:
    """Close the running event loop's router now rather than with the loop; the next call makes a new one.

    Submits that are on their way arrive, which ``asyncio.run`` cancels at its end otherwise; running jobs are left to be resumed.
    """
    if (kept := _kept.pop(asyncio.get_running_loop(), None)) is not None:
        await kept[1].aclose()


async def _tool(router: Router | None, agent_cwd: str | Path | None, allowed_paths: Iterable[str | Path] | None) -> MediaTool:
    found = router if router is not None else await _router()
    roots = [agent_cwd if str(p) == "." and agent_cwd else p for p in directories(allowed_paths)]
    return MediaTool(found, roots=roots or None, base=agent_cwd)


async def generate_media(
    config: Any = None,
    /,
    *,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Make an image, a video or a sound, and answer with a JSON-ready dict; nothing that can be expected is raised.

    Args:
        config: the fields as a mapping, JSON text or a `GenerationConfig`. Give a model's own arguments here:
            what they say about directories can only narrow what is allowed.
        router: by default one is kept for each event loop and closed with it.
        agent_cwd: where relative paths start, by default the working directory (said by your code, not by a model).
        allowed_paths: directories that every path must lie in, by default ``agent_cwd``'s tree (likewise).
        fields: the fields of `GenerationConfig` and the other spellings of `anymedia.agents.normalize`, and

            prompts, backend=[...]: several calls side by side (``max_concurrent``, by default 4, at most 16);
            wait: False answers with a job at once;
            deadline: seconds after which waiting ends, while the job goes on.

    Returns:
        ``success`` and ``files``, ``continuation_id``, ``backend``, ``model``, ``operation``, ``adjustments``,
        ``ignored``, ``warnings``, ``cost``, ``job_id``; or ``error`` {code, message, fix, try_backends, retry,
        charged}; for several calls ``results``, in order.
    """
    try:
        tool = await _tool(router, agent_cwd, allowed_paths)
    except Exception as error:  # noqa: BLE001 - settings that cannot be read are an answer, too
        return _refused(error)
    return await tool.generate(config, **fields)


async def plan_media(
    config: Any = None,
    /,
    *,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Say what `generate_media` would do with the same fields: by whom, adjusted how, at what price. Spends nothing."""
    try:
        tool = await _tool(router, agent_cwd, allowed_paths)
    except Exception as error:  # noqa: BLE001
        return _refused(error)
    return await tool.plan(config, **fields)


async def media_job(job_id: str, action: Action = "look", deadline: float | None = None, *, router: Router | None = None) -> dict[str, Any]:
    """Look at a job, wait for its result (up to ``deadline`` seconds), or cancel it."""
    try:
        tool = await _tool(router, None, None)
    except Exception as error:  # noqa: BLE001
        return _refused(error)
    return await tool.job(job_id, action, deadline)


async def generate_batch(
    calls: Iterable[Any],
    *,
    max_concurrent: int = 4,
    max_cost_usd: float | None = None,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
) -> dict[str, Any]:
    """Carry out a list of calls side by side, with a shared budget in US dollars; ``results`` keep their order."""
    try:
        tool = await _tool(router, agent_cwd, allowed_paths)
        return await tool.batch(calls, max_concurrent=max_concurrent, max_cost_usd=max_cost_usd)
    except Exception as error:  # noqa: BLE001
        return _refused(error)


def generate_media_sync(config: Any = None, /, **fields: Any) -> dict[str, Any]:
    """Do as `generate_media`, for code without an event loop; each call opens and closes a router of its own."""
    return _run(generate_media(config, **fields))


def plan_media_sync(config: Any = None, /, **fields: Any) -> dict[str, Any]:
    """Do as `plan_media`, for code without an event loop."""
    return _run(plan_media(config, **fields))


def media_job_sync(job_id: str, action: Action = "look", deadline: float | None = None) -> dict[str, Any]:
    """Do as `media_job`, for code without an event loop; any process may take up a job that another left."""
    return _run(media_job(job_id, action, deadline))


def _run(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    async def whole() -> dict[str, Any]:
        try:
            return await work
        finally:
            await close_media()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    with contextlib.closing(work):
        raise RuntimeError("an event loop is running here: await the function without _sync")


def _refused(error: Exception) -> dict[str, Any]:
    from ..errors import MediaError

    return error_answer(error if isinstance(error, MediaError) else internal(error))
