"""One thread per rendering. A job's JSON contains all it needs, so any process can resume it with the same result."""

from __future__ import annotations

import atexit
import contextlib
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from anymedia.context import Context
from anymedia.errors import BackendError, BadBackendResponse, MediaError
from anymedia.hookspecs import SubmissionRecord
from anymedia.results import Failed, Job, JobState, Outcome, Running, Succeeded

from ..state import KEEP_SECONDS, Drawer, open_drawer

__all__ = ["cancel", "check_status", "find", "submit"]

#: How many renderings work at once; more wait their turn.
_AT_ONCE = threading.BoundedSemaphore(2)
#: Finished renderings are kept for this many further looks from other waiters.
_KEPT = 8


class _Stopped(Exception):
    """The rendering was cancelled."""


class Worker:
    """A rendering in its thread."""

    def __init__(self, job_id: str, spec: Mapping[str, Any], drawer: Drawer) -> None:
        self.job_id, self.spec, self.drawer = job_id, spec, drawer
        self.stop = threading.Event()
        self.done, self.total = 0, 0
        self.outcome: Outcome | None = None
        self.error: BackendError | None = None
        self.thread = threading.Thread(target=self._run, name=f"local-media-{job_id[:8]}", daemon=True)

    def _tick(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if self.stop.is_set() or (done % 12 == 0 and self.drawer.noted(f"cancelled {self.job_id}")):
            raise _Stopped

    def _run(self) -> None:
        while not _AT_ONCE.acquire(timeout=0.2):
            if self.stop.is_set():
                self.error = _cancelled()
                return
        try:
            from .render import render

            self.outcome = render(self.spec, self.drawer.get, self._tick)
        except _Stopped:
            self.error = _cancelled()
        except BackendError as error:
            self.error = error
        except MediaError as error:
            self.error = BadBackendResponse(error.message, fix=error.fix)
        except Exception as error:  # noqa: BLE001  (the thread must not die without a word)
            self.error = BadBackendResponse(f"rendering failed: {type(error).__name__}: {error!s:.200}")
        finally:
            _AT_ONCE.release()


_workers: OrderedDict[str, Worker] = OrderedDict()
_lock = threading.Lock()


def _cancelled() -> BackendError:
    return BadBackendResponse("the rendering was cancelled", fix="make the request again")


@atexit.register
def _stop_all() -> None:
    """Stop renderings when the interpreter exits; resuming the job renders it again.

    Each is waited for to its next frame, even if Ctrl-C is pressed again: a thread that the end of the
    interpreter meets inside a native library takes the whole process down with it.
    """
    for worker in list(_workers.values()):
        worker.stop.set()
    for worker in list(_workers.values()):
        while worker.thread.is_alive():
            with contextlib.suppress(KeyboardInterrupt):
                worker.thread.join()


def _worker(job_id: str, spec: Mapping[str, Any], drawer: Drawer) -> Worker:
    """Return the rendering's worker, started if there is none in this process."""
    with _lock:
        found = _workers.get(job_id)
        if found is None:
            found = _workers[job_id] = Worker(job_id, spec, drawer)
            found.thread.start()
        _workers.move_to_end(job_id)
        finished = [key for key, worker in _workers.items() if not worker.thread.is_alive() and key != job_id]
        for key in finished[:-_KEPT]:
            del _workers[key]
        return found


async def submit(spec: Mapping[str, Any], inputs: Mapping[str, bytes], context: Context) -> Job:
    """Keep the inputs, note the job under the call's label, start rendering."""
    import asyncio

    def prepare() -> Job:
        drawer = open_drawer(context)
        with contextlib.suppress(OSError):
            drawer.prune()
        kept = {name: drawer.put(data) for name, data in inputs.items()}
        made = Job(
            id=uuid.uuid4().hex,
            data={**spec, "inputs": kept},
            poll_after=0.3,
            expires_at=context.now() + KEEP_SECONDS if kept else None,
        )
        if context.label:
            drawer.note(context.label, {"id": made.id, "data": made.data, "expires_at": made.expires_at})
        _worker(made.id, made.data, drawer)
        return made

    async with context.submission():
        return await asyncio.to_thread(prepare)


async def check_status(job: Job, context: Context) -> JobState:
    """Check a rendering once; if this process has none running for the job, start it again."""
    import asyncio

    def once() -> JobState:
        drawer = open_drawer(context)
        if drawer.noted(f"cancelled {job.id}"):
            return Failed(error=_cancelled())
        worker = _worker(job.id, job.data, drawer)
        if worker.thread.is_alive():
            part = worker.done / worker.total if worker.total else 0.0
            note = f"frame {worker.done} of {worker.total}" if worker.total else "preparing"
            return Running(progress=part, note=note, poll_after=0.3)
        if worker.outcome is not None:
            return Succeeded(outcome=worker.outcome)
        return Failed(error=worker.error or _cancelled())

    return await asyncio.to_thread(once)


async def cancel(job: Job, context: Context) -> None:
    """Stop a rendering, here or in whichever process is at it, for good."""
    import asyncio

    def stop() -> None:
        open_drawer(context).note(f"cancelled {job.id}", {"id": job.id})
        with _lock:
            worker = _workers.get(job.id)
        if worker is not None:
            worker.stop.set()

    await asyncio.to_thread(stop)


async def find(record: SubmissionRecord, context: Context) -> Job | None:
    """Return the job that was noted under a call's label, or None."""
    import asyncio

    noted = await asyncio.to_thread(lambda: open_drawer(context).noted(record.label)) if record.label else None
    if noted is None or "data" not in noted:
        return None
    return Job(id=noted["id"], data=noted["data"], expires_at=noted.get("expires_at"))
