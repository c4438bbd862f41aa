"""Reserve what a call needs of the process and the machine before it is sent, so that a paid answer can always be received and saved.

A call waits in line for its share of descriptors, memory and disk space. What is never given to submits is held back for the
journal, artifacts, downloads and status checks of calls that are already paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import shutil
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import attrs

from ..errors import MediaError, OutOfResources
from ..resources import available_memory, descriptor_limit, open_descriptors
from ..state.sql import Store
from ..state.store import UNKNOWN_ACCOUNT, CallRecord

__all__ = ["Governor", "Need", "Reservation"]

if TYPE_CHECKING:
    from ..plugins.instances import BackendInstance

_T = TypeVar("_T")
_log = logging.getLogger("anymedia")
#: Descriptors of one submit: its connection, and a second one while a host name's addresses are tried.
_PER_SUBMIT = 2
#: Descriptors that one thread with file work, one download and one status check have open at most.
_PER_THREAD, _PER_DOWNLOAD, _PER_CHECK = 5, 4, 2
#: Maximum number of downloads, and of status checks, at the same time; and the threads of asyncio that work with files.
_MOST_SLOTS, _THREADS = 64, min(32, (os.cpu_count() or 1) + 4)
#: Descriptors for the journal, locks and one decoder.
_FOR_STORE = 16
#: A call without others beside it needs this many free descriptors from submit to saved file.
_LEAST = 16
#: The expected size in bytes of a result of which nothing is known, by medium.
_SIZES = {"image": 3_000_000, "video": 8_000_000, "audio": 1_000_000}
#: While no result of a model is known, calls beside the first one need room for a result that is this much larger.
_UNKNOWN_FACTOR = 8
#: Room for a result that is larger than those before it, and how fast a large one is forgotten.
_MARGIN, _FORGETTING = 1.25, 0.95
#: An answer in memory: as base64 in JSON, as bytes, and decoded once.
_COPIES = 4
#: Bytes of disk space held back for the journal.
_JOURNAL_BYTES = 2_000_000
#: Seconds after which the first in line checks again without being woken, and between two counts of descriptors.
_RECHECK, _RECOUNT = 0.25, 0.1
#: Seconds that the first in line waits for what other code has in use, while no call is left that could release anything.
_PATIENCE = 30.0
#: Seconds without submits after a disk has refused a result.
_AFTER_FULL = 60.0
#: Seconds between two attempts to get a slot, at first and at most: calls of other processes end without a notification.
_FIRST, _LONGEST = 0.05, 1.0
#: Pauses in seconds before a step of a paid call that found no free descriptor is repeated.
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)


@attrs.frozen(kw_only=True)
class Need:
    """What the answer of a call will need.

    Attributes:
        key: what calls with results of similar size have in common: backend and model.
        sent: bytes of its inputs.
        folders: directories that will receive a copy of the results.
    """

    key: tuple[str, str]
    media: str
    count: int = 1
    sent: int = 0
    folders: tuple[Path, ...] = ()


class _Line:
    """Waiters in order of arrival; the first one proceeds as soon as its turn succeeds. For any number of event loops."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = deque()

    async def enter(self, take: Callable[[], bool], relieve: Callable[[], Awaitable[object]] | None = None) -> None:
        """Wait until it is the caller's turn and ``take`` succeeds; ``relieve`` is called before each wait at the front."""
        if not self._waiting and take():
            return
        turn = asyncio.get_running_loop(), asyncio.Event()
        self._waiting.append(turn)
        try:
            while (is_first := self._waiting[0] is turn) is False or not take():
                turn[1].clear()
                if is_first and relieve is not None:
                    await relieve()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RECHECK if is_first else None):
                        await turn[1].wait()
        finally:
            self._waiting.remove(turn)
            self.wake()

    def wake(self) -> None:
        """Let the first in line check again."""
        if self._waiting:
            loop, event = self._waiting[0]
            with contextlib.suppress(RuntimeError):  # its loop was closed
                loop.call_soon_threadsafe(event.set)


class Slots:
    """Slots that are given out in order of arrival; how many there are may change."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count, self._used, self._line, self._lock = count, 0, _Line(), threading.Lock()

    def _take(self) -> bool:
        with self._lock:
            is_free = self._used < self._count()
            self._used += is_free
        return is_free

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold one slot while the block runs."""
        await self._line.enter(self._take)
        try:
            yield
        finally:
            with self._lock:
                self._used -= 1
            self._line.wake()


@attrs.define(eq=False)
class _Account:
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    freed: asyncio.Event = attrs.field(factory=asyncio.Event)


@attrs.define(eq=False)
class AccountSlots:
    """Let calls begin under the limits of their account, which all processes share through the store.

    A line for each account; the first in line asks the store.
    """

    store: Store
    #: Those that a call waits for.
    _accounts: weakref.WeakValueDictionary[tuple[str, asyncio.AbstractEventLoop], _Account] = attrs.field(
        factory=weakref.WeakValueDictionary, init=False
    )

    async def take(self, record: CallRecord, instance: BackendInstance) -> None:
        """Wait until a call of an instance may begin."""
        most, per_minute = instance.max_concurrent, instance.settings.requests_per_minute
        if most is None and per_minute is None:
            return
        name = _account(record)
        account = self._accounts.setdefault((name, asyncio.get_running_loop()), _Account())
        async with account.lock:
            pause = _FIRST
            while True:
                account.freed.clear()
                left = await self.store.take_slot(record.id, name, most=most, per_minute=per_minute)
                if not left:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, pause)):
                        await account.freed.wait()
                pause = min(2 * pause, _LONGEST)

    def freed(self, record: CallRecord) -> None:
        """Let the first in line try again: a call has left its slot."""
        name = _account(record)
        for (other, loop), account in list(self._accounts.items()):
            if other == name:
                with contextlib.suppress(RuntimeError):  # its loop was closed
                    loop.call_soon_threadsafe(account.freed.set)


def _account(record: CallRecord) -> str:
    return record.backend if record.account == UNKNOWN_ACCOUNT else record.account


@attrs.define(eq=False)
class Reservation:
    """What a call has reserved; a context manager that gives it back."""

    governor: Governor
    need: Need
    memory: int
    disk: Mapping[int, int]
    descriptors: int = _PER_SUBMIT

    def answered(self, *, is_job: bool) -> None:
        """Give back the connection, and after a job was started the memory: its result is downloaded to a file."""
        self.governor._given -= self.descriptors
        self.governor._memory_left += self.memory if is_job else 0
        self.descriptors, self.memory = 0, 0 if is_job else self.memory
        self.governor._line.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.governor._end(self)


class Governor:
    """Hands out descriptors, memory and disk space to the calls of one router.

    Args:
        relieve: closes idle connections; called when a call has to wait.
        descriptors: how many descriptors the process may use; by default the system's limit, which is read again each time.
        memory: bytes that answers in flight may use; by default half of what is available at the start.

    Attributes:
        checks: slots for status checks and similar short requests about calls that were submitted.
        downloads: slots for downloads of results.
        fetches: slots for the connections of the guarded fetcher.
    """

    def __init__(self, relieve: Callable[[], Awaitable[object]], *, descriptors: int | None = None, memory: int | None = None) -> None:
        self._relieve, self._most = relieve, descriptors
        self._memory_left = self._memory = available_memory() // 2 if memory is None else memory
        self.checks, self.downloads, self.fetches = Slots(self._slots), Slots(self._slots), Slots(self._slots)
        self._line = _Line()
        self._calls = self._given = 0
        self._on_disk: Counter[int] = Counter()
        self._sizes: dict[tuple[str, str], float] = {}
        #: Descriptors in use apart from those reserved; all in use when they were last counted, and reserved since then.
        self._others = self._open = self._since = 0
        self._counted_at = self._full_at = -math.inf
        self._waiting_since: float | None = None

    async def reserve(self, need: Need) -> Reservation:
        """Wait in line until there is room for a call; `OutOfResources` if no call is left that could release any."""
        made: list[Reservation] = []

        def take() -> bool:
            memory = min(self._memory, need.sent + _COPIES * self._expected(need))
            if memory > self._memory_left or not self._has_descriptors() or (disk := self._room_on_disk(need)) is None:
                return False
            self._calls += 1
            self._given += _PER_SUBMIT
            self._since += _PER_SUBMIT
            self._memory_left -= memory
            self._on_disk.update(disk)
            made.append(Reservation(self, need, memory, disk))
            return True

        await self._line.enter(take, self._relieve)
        return made[0]

    def _end(self, reservation: Reservation) -> None:
        self._calls -= 1
        self._given -= reservation.descriptors
        self._memory_left += reservation.memory
        self._on_disk.subtract(reservation.disk)
        self._line.wake()

    def learn(self, need: Need, sizes: Iterable[int]) -> None:
        """Note how large the results of a call were."""
        if largest := max(sizes, default=0):
            self._sizes[need.key] = max(float(largest), _FORGETTING * self._sizes.get(need.key, 0.0))

    def full(self) -> None:
        """Note that a disk has refused a result although there seemed to be room (a quota): submits pause for a while."""
        self._full_at = time.monotonic()

    async def retry(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do a step of a paid call; wait for descriptors and repeat the step when it found none."""
        for pause in _PAUSES:
            try:
                return await work()
            except (MediaError, OSError) as error:
                if not _is_out_of_descriptors(error):
                    raise
                _log.warning("no file descriptor is free; trying again in %g s", pause)
            await self._relieve()
            await asyncio.sleep(pause)
        return await work()

    def _limit(self) -> int | None:
        return self._most if self._most is not None else descriptor_limit()

    def _slots(self) -> int:
        return min(_MOST_SLOTS, max(4, (self._limit() or _MOST_SLOTS * 32) // 32))

    def _has_descriptors(self) -> bool:
        limit = self._limit()
        if limit is None:
            return True
        now = time.monotonic()
        if now - self._counted_at >= _RECOUNT:
            self._open, self._since, self._counted_at = open_descriptors(), 0, now
            if not self._given:
                self._others = self._open
        held_back = _FOR_STORE + _THREADS * _PER_THREAD + self._slots() * (_PER_DOWNLOAD + _PER_CHECK)
        room = limit - min(held_back, limit // 2) - max(self._others + self._given, self._open + self._since)
        if room >= _PER_SUBMIT or (not self._given and limit - self._open >= _LEAST):
            self._waiting_since = None
            return True
        self._waiting_since = now if self._calls or self._waiting_since is None else self._waiting_since
        if now - self._waiting_since > _PATIENCE:
            text = f"{self._open} of {limit} file descriptors are in use, and none became free in {_PATIENCE:g} s; nothing was sent"
            raise OutOfResources(text, fix="Close files and connections of this process, or raise its limit (ulimit -n).")
        return False

    def _expected(self, need: Need) -> int:
        """Return the expected bytes of a call's results."""
        known = self._sizes.get(need.key)
        return int(need.count * (_SIZES.get(need.media, 0) if known is None else known * _MARGIN))

    def _room_on_disk(self, need: Need) -> dict[int, int] | None:
        """Return the bytes that a call needs, by device; None while they are reserved by other calls."""
        wanted: Counter[int] = Counter()
        left: dict[int, int] = {}
        for folder in need.folders:
            device, left[device] = _free_space(folder)
            wanted[device] += self._expected(need)
        for device, size in wanted.items():
            reserved = self._on_disk[device]
            factor = _UNKNOWN_FACTOR if reserved and need.key not in self._sizes else 1
            if left[device] - reserved - factor * size >= _JOURNAL_BYTES:
                continue
            if reserved:
                return None
            text = f"The result may need {size:,} bytes on a disk with {left[device]:,} left; nothing was sent."
            raise OutOfResources(text, fix="Free some space there, or save to another disk.")
        if wanted and time.monotonic() - self._full_at < _AFTER_FULL:
            text = "The disk has just refused a result; nothing was sent."
            raise OutOfResources(text, fix="Free some space, or save to another disk.")
        return dict(wanted)


def _free_space(folder: Path) -> tuple[int, int]:
    """Return the device of a directory (or of the one that it will be created in), and its free bytes."""
    for place in (folder, *folder.absolute().parents):
        with contextlib.suppress(OSError):
            return place.stat().st_dev, shutil.disk_usage(place).free
    return 0, sys.maxsize


def _is_out_of_descriptors(error: BaseException) -> bool:
    """Whether an error was caused by a lack of descriptors, also where its context is not to be shown."""
    current: BaseException | None = error
    for _ in range(20):
        if current is None:
            return False
        if isinstance(current, OSError) and current.errno in {errno.EMFILE, errno.ENFILE}:
            return True
        current = current.__cause__ or current.__context__
    return False
