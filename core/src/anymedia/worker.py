"""A worker: carries out the calls that routers on any machine have recorded for workers.

    router = Router(store="postgresql://...", artifacts="s3://...")
    async with router:
        await Worker(router, at_once=8).run()

The table of calls is the queue. A worker claims a call, which gives it a lease; it renews its leases, and other workers continue what a
dead one has left, from what is recorded: a submit that may have arrived is looked up, never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import math
import platform
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import attrs

from .artifacts import ArtifactError
from .errors import MediaError
from .execution.resume import continue_call
from .execution.runs import result_of
from .results import Result
from .state.store import CallRecord, LeaseLost, StateError, WorkerRecord

if TYPE_CHECKING:
    from .router import Router

__all__ = ["ALIVE_SECONDS", "Worker"]

_log = logging.getLogger("anymedia")
#: Seconds between two notes that a worker is alive, and after how many without one it counts as dead.
_HEARTBEAT, ALIVE_SECONDS = 12.0, 30.0
#: How long a worker's leases last, in seconds. With the next query of the queue, that is less than two heartbeats.
_LEASE_SECONDS = 20.0
#: Seconds between two queries of the queue: leases that run out are in no notice. Without notices, new calls are not either.
_TAKE, _TAKE_WITHOUT_NOTICES = 3.0, 1.0
#: Seconds between two checks that artifacts can be stored, and how long one may take.
_STORED, _STORE_TIMEOUT = 60.0, 30.0
#: Pauses in seconds before a call is tried again that could not be completed, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0
#: How many calls that are to be tried again later are remembered.
_MOST_LATER = 500


@attrs.define(eq=False)
class Worker:
    """Carries out queued calls for which the router has the keys.

    Args:
        router: what it works with; a view with keys of its own (`Router.scoped`) works with these.
        at_once: maximum number of calls at the same time; those that wait for their account's limits count.
        backends: only calls of these backends.

    Raises:
        UnknownBackend: one of the backends is not configured.
    """

    router: Router
    at_once: int = 8
    backends: Collection[str] | None = None
    _stopped: bool = attrs.field(default=False, init=False)
    _wake: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _running: dict[str, int] = attrs.field(factory=dict, init=False)
    _later: dict[str, tuple[float, float]] = attrs.field(factory=dict, init=False)
    _stored_at: float = attrs.field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        for name in self.backends or ():
            self.router._engine.instance(name)

    async def run(self) -> None:
        """Carry out calls until `stop`; then complete submits and downloads in progress, and leave the rest to other workers."""
        engine = self.router._engine
        engine.leases.seconds = _LEASE_SECONDS
        engine.watcher.others = self._hear
        engine.watcher.listen()
        beating = asyncio.create_task(self._beat())
        try:
            while not self._stopped:
                self._wake.clear()
                await self._take()
                await self._pause()
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            await self.router._run_registry.end()
            with contextlib.suppress(StateError):  # it is forgotten without that
                await engine.store.drop_worker(engine.owner)

    def stop(self) -> None:
        """Take no further calls; `run` then ends."""
        self._stopped = True
        self._wake.set()

    def _hear(self, notice: str) -> None:
        if notice in {"drain", f"drain {self.router._engine.owner}", f"drain {platform.node()}"}:
            self.stop()
        elif notice == "queued":
            self._wake.set()

    async def record(self) -> WorkerRecord:
        """Return what others know about this worker."""
        engine = self.router._engine
        usable = [name for name, each in engine.instances.items() if not each.missing and name in (self.backends or engine.instances)]
        accounts = [f"{name} {await engine.account(name)}" for name in usable]
        return WorkerRecord(owner=engine.owner, host=platform.node(), at_once=self.at_once, accounts=tuple(accounts))

    async def _beat(self) -> None:
        while True:
            try:
                await self.router._engine.store.note_worker(await self.record())
            except StateError as error:
                _log.warning("noting that the worker is alive failed: %s", error.code)
            await asyncio.sleep(_HEARTBEAT)

    async def _take(self) -> None:
        """Claim and begin as many calls as there is room for."""
        room = self.at_once - sum(self._running.values())
        if room <= 0 or not await self._can_store():
            return
        now = self.router._engine.clock.steady()
        resting = (name for name, (until, _) in self._later.items() if until > now)
        skip = [*self._running, *self.router._run_registry.being_stopped, *resting]
        try:
            taken = await self.router._engine.store.take(await self.record(), most=room, lease_seconds=_LEASE_SECONDS, skip=skip)
        except StateError as error:
            _log.warning("the query for queued calls failed: %s", error.code)
            return
        for run, records in itertools.groupby(sorted(taken, key=lambda record: record.run), key=lambda record: record.run):
            calls = list(records)
            self._running[run] = len(calls)
            task = self.router._run_registry.start(run, self._carry_out(calls))
            task.add_done_callback(functools.partial(self._ended, run))

    async def _can_store(self) -> bool:
        """Whether artifacts can be stored: an answer that cannot be is paid for and lost."""
        engine, name = self.router._engine, f"worker-{self.router._engine.owner}"
        if engine.clock.steady() - self._stored_at < _STORED:
            return True
        try:
            async with asyncio.timeout(_STORE_TIMEOUT):
                await engine.artifacts.put(name, "raw", b"can be stored")
                await engine.artifacts.release(name)
        except (ArtifactError, TimeoutError) as error:
            code = error.code if isinstance(error, ArtifactError) else "timeout"
            _log.warning("no call is taken, because artifacts cannot be stored: %s", code)
            return False
        self._stored_at = engine.clock.steady()
        return True

    def _ended(self, run: str, task: asyncio.Task[Result]) -> None:
        self.router._run_registry.drop(run, task)
        del self._running[run]
        self._wake.set()

    async def _carry_out(self, records: Sequence[CallRecord]) -> Result:
        """Complete calls of one run."""
        ended = await asyncio.gather(*map(self._one, records), return_exceptions=True)
        for failure in ended:
            if isinstance(failure, BaseException):
                raise failure
        return result_of([record for record in ended if isinstance(record, CallRecord)])

    async def _one(self, record: CallRecord) -> CallRecord:
        engine = self.router._engine
        try:
            done = await continue_call(engine, record, None)
        except LeaseLost:  # it was cancelled, or this process was suspended
            raise
        except Exception as error:
            earlier = self._later.pop(record.id, (0.0, 0.0))[1]
            hint = getattr(error, "retry_after", None)
            pause = max(min(2 * earlier or _FIRST_PAUSE, _LONGEST_PAUSE), hint if isinstance(hint, int | float) else 0.0)
            self._later[record.id] = engine.clock.steady() + pause, pause  # of no consequence if it has ended
            while len(self._later) > _MOST_LATER:
                del self._later[next(iter(self._later))]
            _log.warning("%s: %s", record.id, error.code if isinstance(error, MediaError) else type(error).__name__)
            raise
        self._later.pop(record.id, None)
        return done

    async def _pause(self) -> None:
        """Wait for a reason to query the queue again."""
        clock = self.router._engine.clock
        longest = _TAKE if self.router._engine.watcher.hears else _TAKE_WITHOUT_NOTICES
        soonest = min((until for until, _ in self._later.values() if until > clock.steady()), default=math.inf)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(longest, max(soonest - clock.steady(), 0.05))):
                await self._wake.wait()
