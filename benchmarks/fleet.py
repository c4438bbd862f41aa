"""A journal in PostgreSQL: round trips of a video job, and how long the event loop is held up while each takes ten milliseconds.

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


def figures(quick: bool) -> Iterator[Figure]:
    """Measure one job; skipped without PostgreSQL."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/core")]
    import postgres

    if not postgres.BINARIES:
        return
    server = postgres.server()
    try:
        proxy = Proxy(str(server.folder / ".s.PGSQL.5432"))
        schema = server.new().rpartition("%3D")[2]
        url = f"postgresql://anymedia@/postgres?host={quote(str(proxy.folder), safe='')}&options=-csearch_path%3D{schema}"
        trips, gap = asyncio.run(_job(url, proxy))
    finally:
        postgres.stop()
    yield Figure(name="video job, ten status checks, PostgreSQL", value=trips, unit="round trips", bar=16)
    yield Figure(name="longest gap of the event loop at 5 ms", value=gap * 1000, unit="ms", bar=50)
