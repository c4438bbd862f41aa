"""A journal in PostgreSQL: round trips of a video job and of a thousand waiters, and how long the event loop is held up by them.

The connection goes through a proxy that delays both directions by 5 ms and counts round trips: how often the client sends after the
server has answered. It needs Debian's package ``postgresql``; the tests' own server is used.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from .figures import Figure

ROOT = Path(__file__).parents[1]
_DELAY = 0.005
#: Renewals of the lease in two minutes, which the virtual clock of the measurement skips.
_MINUTES, _LEASE_INTERVAL = 120.0, 30.0


class Proxy:
    """A listening socket whose connections are passed on to another one, later."""

    def __init__(self, target: str) -> None:
        self.trips, self._target = 0, target
        self.folder = Path(tempfile.mkdtemp(prefix="pgx-", dir="/tmp"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        later: deque[tuple[float, socket.socket, bytes]] = deque()
        answered = True
        while True:
            pause = max(0.0, later[0][0] - time.monotonic()) if later else None
            for ready in select.select([client, server], [], [], pause)[0]:
                data = ready.recv(1 << 16)
                if not data:
                    client.close()
                    server.close()
                    return
                if ready is client and answered:
                    self.trips, answered = self.trips + 1, False
                later.append((time.monotonic() + _DELAY, server if ready is client else client, data))
            while later and later[0][0] <= time.monotonic():
                _, to, data = later.popleft()
                answered = answered or to is client
                to.sendall(data)


async def _gap(stop: asyncio.Event) -> float:
    """Return the longest time that the event loop was held up, in seconds."""
    longest = 0.0
    while not stop.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest


async def _job(url: str, proxy: Proxy) -> tuple[float, float]:
    """Return the round trips of a video job with ten status checks, and the longest gap of the event loop in seconds."""
    from clocks import FastClock
    from core.fake_service import FakeService
    from core.routing import KEY, fake_router, fake_settings

    from anymedia.state.postgres import PostgresStore
    from anymedia.state.store import Lease

    os.environ["FAKE_KEY"] = KEY
    with FakeService(looks=9) as service, tempfile.TemporaryDirectory() as state:
        store = PostgresStore(url)
        async with fake_router(service, settings=fake_settings(service, state=Path(state)), store=store, clock=FastClock()) as router:
            await router.generate_video(prompt="a first job, for what is read once")
            before, stop = proxy.trips, asyncio.Event()
            gap = asyncio.create_task(_gap(stop))
            await router.generate_video(prompt="waves")
            stop.set()
            trips = proxy.trips - before
            before = proxy.trips
            await store.renew([Lease(call_id="none", owner="none", fence=1, until=0.0)], lease_seconds=60)
            return trips + (proxy.trips - before) * (_MINUTES // _LEASE_INTERVAL - 1), await gap


async def _waiters(near: str, url: str, proxy: Proxy, seconds: float) -> float:
    """Return how many round trips a second a thousand waiters cause, each for a job of another process; ``near``: without the proxy."""
    from clocks import until
    from core.fake_service import FakeService
    from core.routing import fake_router, fake_settings
    from core.state_samples import new_call

    from anymedia import Budget
    from anymedia.clock import SystemClock
    from anymedia.state.postgres import PostgresStore

    other, names = PostgresStore(near), [f"waited-{number}" for number in range(1000)]
    for name in names:
        await other.open_call(new_call(name, backend="fake", priority=0), Budget(), owner="another", lease_seconds=300)
    await other.aclose()
    with FakeService() as service, tempfile.TemporaryDirectory() as state:
        settings, store = fake_settings(service, state=Path(state)), PostgresStore(url)
        async with fake_router(service, settings=settings, store=store, clock=SystemClock()) as router:
            tasks = [asyncio.create_task(router.wait(name)) for name in names]
            await until(lambda: len(router._engine.watcher._waiting) == len(names))
            before = proxy.trips
            await asyncio.sleep(seconds)
            trips = proxy.trips - before
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            return trips / seconds


def figures(quick: bool) -> Iterator[Figure]:
    """Measure one job; skipped without PostgreSQL."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/core")]
    import postgres

    if not postgres.BINARIES:
        return
    server = postgres.server()
    try:
        proxy = Proxy(str(server.folder / ".s.PGSQL.5432"))
        near = server.new()
        schema = near.rpartition("%3D")[2]
        url = f"postgresql://anymedia@/postgres?host={quote(str(proxy.folder), safe='')}&options=-csearch_path%3D{schema}"
        trips, gap = asyncio.run(_job(url, proxy))
        waiters = asyncio.run(_waiters(near, url, proxy, 5 if quick else 30))
    finally:
        postgres.stop()
    yield Figure(name="video job, ten status checks, PostgreSQL", value=trips, unit="round trips", bar=16)
    yield Figure(name="longest gap of the event loop at 5 ms", value=gap * 1000, unit="ms", bar=50)
    yield Figure(name="1,000 waiters for jobs of other processes", value=waiters, unit="queries/s", bar=5)
