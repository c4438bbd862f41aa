"""Functions for the host of an agent: the calls of `MediaTool`, over one router per event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from ..errors import MediaError
from ..router import Router
from .normalize import directories
from .responses import error_answer, internal
from .tool import Action, MediaTool, tell

#: Event loop -> its router and the generator that keeps it open.
_routers: dict[asyncio.AbstractEventLoop, tuple[Router, AsyncGenerator[Router, None]]] = {}


async def _lifetime() -> AsyncGenerator[Router, None]:
    """Keep a router open; an event loop closes its asynchronous generators when it ends, this one included."""
    async with Router(on_progress=tell) as router:
        try:
            yield router
        finally:
            loop = asyncio.get_running_loop()
            if loop in _routers and _routers[loop][0] is router:
                del _routers[loop]


async def _router() -> Router:
    """Return the router of the running event loop; the first call creates it, and drops the routers of closed event loops."""
    loop = asyncio.get_running_loop()
    if loop not in _routers:
        for closed in [known for known in list(_routers) if known.is_closed()]:
            _routers.pop(closed)[0].store.close()  # all that can be closed without the loop
        lifetime = _lifetime()
        _routers[loop] = (await anext(lifetime), lifetime)
    return _routers[loop][0]


async def close_media() -> None:
    """Close the running event loop's router now instead of with the loop; the next call creates a new one.

    Submits in flight are completed (``asyncio.run`` would cancel them at its end); running jobs stay resumable.
    """
    if (entry := _routers.pop(asyncio.get_running_loop(), None)) is not None:
        await entry[1].aclose()


#: What the host of an agent sets: the router, where relative paths start, the directories for paths, and the realm.
_Host = tuple[Router | None, str | Path | None, Iterable[str | Path] | None, str | None]


async def _with_tool(work: Callable[[MediaTool], Awaitable[dict[str, Any]]], host: _Host) -> dict[str, Any]:
    """Call a function with the tool of a host; settings that cannot be read are an error answer, too."""
    router, agent_cwd, allowed_paths, realm = host
    try:
        roots = [agent_cwd if str(p) == "." and agent_cwd else p for p in directories(allowed_paths)]
        return await work(MediaTool(router or await _router(), roots=roots or None, base=agent_cwd, realm=realm))
    except Exception as error:  # noqa: BLE001
        return error_answer(error if isinstance(error, MediaError) else internal(error))


async def generate_media(
    config: Any = None,
    /,
    *,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
    realm: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Make an image, a video or audio and return a JSON-ready dict; expected errors are returned, not raised.

    Args:
        config: the fields as a mapping, JSON text or a `GenerationConfig`. Give a model's own arguments here:
            directories named in them can only narrow what is allowed.
        router: by default one per event loop, closed with it.
        agent_cwd: where relative paths start, by default the working directory (set by your code, not by a model).
        allowed_paths: directories that every path must lie in, by default the tree of ``agent_cwd`` (likewise).
        realm: the jobs and continuations that the call sees (set by your code); by default derived from these directories.
        fields: the fields of `GenerationConfig` and the other spellings of `anymedia.agents.normalize`, and

            prompts, backend=[...]: several calls concurrently (``max_concurrent``, by default 4, at most 16);
            wait: False returns a job at once;
            deadline: seconds after which waiting ends; the job keeps running.

    Returns:
        ``success`` and ``files``, ``continuation_id``, ``backend``, ``model``, ``operation``, ``adjustments``,
        ``ignored``, ``warnings``, ``cost``, ``job_id``; or ``error`` {code, message, fix, try_backends, retry,
        charged}; for several calls ``results``, in order.
    """
    return await _with_tool(lambda tool: tool.generate(config, **fields), (router, agent_cwd, allowed_paths, realm))


async def plan_media(
    config: Any = None,
    /,
    *,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
    realm: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the plan of `generate_media` for the same fields: backend, adjustments, price. Spends nothing."""
    return await _with_tool(lambda tool: tool.plan(config, **fields), (router, agent_cwd, allowed_paths, realm))


async def media_job(
    job_id: str,
    action: Action = "status",
    deadline: float | None = None,
    output_path: str | None = None,
    *,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
    realm: str | None = None,
) -> dict[str, Any]:
    """Return the status of a job, wait for its result (up to ``deadline`` seconds), cancel it, or export what was received.

    The job is found by a caller with the directories, or the ``realm``, that it was started with.
    """
    return await _with_tool(lambda tool: tool.job(job_id, action, deadline, output_path), (router, agent_cwd, allowed_paths, realm))


async def generate_batch(
    calls: Iterable[Any],
    *,
    max_concurrent: int = 4,
    max_cost_usd: float | None = None,
    router: Router | None = None,
    agent_cwd: str | Path | None = None,
    allowed_paths: Iterable[str | Path] | None = None,
    realm: str | None = None,
) -> dict[str, Any]:
    """Run a list of calls concurrently under a shared budget in US dollars; ``results`` keep their order."""
    batch = functools.partial(MediaTool.batch, calls=calls, max_concurrent=max_concurrent, max_cost_usd=max_cost_usd)
    return await _with_tool(batch, (router, agent_cwd, allowed_paths, realm))


def generate_media_sync(config: Any = None, /, **fields: Any) -> dict[str, Any]:
    """Blocking form of `generate_media`, for code without an event loop; each call opens and closes its own router."""
    return _run(generate_media(config, **fields))


def plan_media_sync(config: Any = None, /, **fields: Any) -> dict[str, Any]:
    """Blocking form of `plan_media`."""
    return _run(plan_media(config, **fields))


def media_job_sync(job_id: str, action: Action = "status", deadline: float | None = None, **host: Any) -> dict[str, Any]:
    """Blocking form of `media_job`; any process can resume a job that another one started."""
    return _run(media_job(job_id, action, deadline, **host))


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
