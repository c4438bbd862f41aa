"""Before a paid submit its answer's needs are reserved; what waits, what is refused, and that nothing paid is lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import io
import json
import random
import sqlite3
import subprocess
import sys
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from clocks import until
from core import fake_service
from core.routing import KEY, fake_router, fake_settings, served
from tiers import quick_first

from anymedia.artifacts import ArtifactStore
from anymedia.artifacts.writer import not_stored
from anymedia.errors import BackendTimeout, OutOfResources
from anymedia.execution import governor as module
from anymedia.execution.engine import Clients
from anymedia.execution.governor import Governor, Need
from anymedia.requests import GenerateImage, GenerateVideo

pytestmark = pytest.mark.anyio
CHILD = Path(__file__).with_name("crowd_child.py")
IMAGE = Need(key=("fake", "still"), media="image")


async def _nothing() -> None:
    pass


def _disk(monkeypatch: pytest.MonkeyPatch, free: int) -> types.SimpleNamespace:
    usage = types.SimpleNamespace(free=free)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    return usage


async def test_governor_short_of_memory_admits_in_order_of_arrival() -> None:
    governor, order = Governor(_nothing, memory=30_000_000), []
    first, second = await governor.reserve(IMAGE), await governor.reserve(IMAGE)

    async def enter(name: str) -> None:
        with await governor.reserve(IMAGE):
            order.append(name)

    waiting = [asyncio.create_task(enter(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert order == []
    waiting[1].cancel()
    with first:
        pass
    await asyncio.wait(waiting)
    assert order == ["a", "c"]
    with second:
        pass


async def test_governor_need_beyond_all_memory_is_admitted_alone() -> None:
    governor = Governor(_nothing, memory=1000)
    with await governor.reserve(IMAGE), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await governor.reserve(IMAGE)


async def test_governor_without_free_descriptors_gives_up_after_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_RECHECK", 0.01)
    monkeypatch.setattr(module, "_RECOUNT", 0.0)
    monkeypatch.setattr(module, "open_descriptors", lambda: 250)
    with pytest.raises(OutOfResources, match="250 of 256 file descriptors"):
        await Governor(_nothing, descriptors=256).reserve(IMAGE)


async def test_governor_waits_for_descriptors_of_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    relieved: list[int] = []

    async def relieve() -> None:
        relieved.append(1)
        monkeypatch.setattr(module, "open_descriptors", lambda: 40)

    monkeypatch.setattr(module, "_RECHECK", 0.01)
    monkeypatch.setattr(module, "_RECOUNT", 0.0)
    monkeypatch.setattr(module, "open_descriptors", lambda: 250)
    with await Governor(relieve, descriptors=256).reserve(IMAGE):
        assert relieved


async def test_governor_learns_how_much_disk_space_results_need(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need = attrs.evolve(IMAGE, folders=(tmp_path / "artifacts", tmp_path / "out"))
    usage = _disk(monkeypatch, 20_000_000)
    governor = Governor(_nothing)
    with await governor.reserve(need):
        with pytest.raises(TimeoutError):  # a second one waits until the size of the first result is known
            async with asyncio.timeout(0.05):
                await governor.reserve(need)
        governor.learn(need, [400_000])
        with await governor.reserve(need), await governor.reserve(need):
            pass
    usage.free = 2_900_000
    with pytest.raises(OutOfResources, match="with 2,900,000 left; nothing was sent"):
        await governor.reserve(need)


async def test_submit_without_disk_space_is_refused_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    _disk(monkeypatch, 1_000_000)
    with served() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path)) as router:
            with pytest.raises(OutOfResources, match="nothing was sent") as caught:
                await router.generate_image(prompt="a fox", output=f"{tmp_path}/fox.png")
            record = await router.job(caught.value.job_id or "")
            assert (record.state, record.charged, record.reserved_usd) == ("failed", "no", 0.0)
            assert service.submits == []


async def test_submit_waiting_past_its_deadline_is_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with served() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path)) as router:
            router._engine.governor._memory_left = 0
            with pytest.raises(BackendTimeout, match="waited for a slot of its account, file descriptors, memory or"):
                await router.execute(GenerateImage(prompt="a fox"), output=f"{tmp_path}/fox.png", deadline=0.2)
            assert [record.state for record in await router.jobs()] == ["failed"]
            assert service.submits == []


async def test_submit_cancelled_while_it_waits_releases_its_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with served() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path)) as router:
            router._engine.governor._memory_left = 0
            record = await router.submit(GenerateImage(prompt="a fox"), output=f"{tmp_path}/fox.png")
            cancelled = await router.cancel(record.run)
            assert (cancelled.state, cancelled.charged, cancelled.reserved_usd) == ("cancelled", "no", 0.0)
            assert service.submits == []


async def test_paid_image_without_a_free_descriptor_is_stored_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.setattr(module, "_PAUSES", (0.01,) * 5)
    failures = {"put": 2, "export": 2}

    def failing(name: str) -> Any:
        work = getattr(ArtifactStore, name)

        @functools.wraps(work)
        async def once(self: ArtifactStore, *args: Any, **options: Any) -> Any:
            failures[name] -= 1
            if failures[name] >= 0:
                raise not_stored(self.directory, OSError(errno.EMFILE, "Too many open files")) from OSError(errno.EMFILE, "")
            return await work(self, *args, **options)

        return once

    for name in failures:
        monkeypatch.setattr(ArtifactStore, name, failing(name))
    with served() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path)) as router:
            result = await router.generate_image(prompt="a fox", output=f"{tmp_path}/fox.png")
            assert result.path.read_bytes() == fake_service.png()
            assert result.warnings == ()


async def test_status_checks_and_downloads_are_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with served() as service:
        settings = attrs.evolve(fake_settings(service, state=tmp_path), max_descriptors=128)
        async with fake_router(service, settings=settings) as router:
            governor = router._engine.governor
            highest, full, slot = 0, asyncio.Event(), governor.checks.one

            @contextlib.asynccontextmanager
            async def slot_beside_three_others() -> AsyncIterator[None]:
                async with slot():
                    if governor.checks._used == 4:
                        full.set()
                    await asyncio.wait_for(full.wait(), 60)
                    yield

            monkeypatch.setattr(governor.checks, "one", slot_beside_three_others)

            async def one(number: int) -> None:
                await router.execute(GenerateVideo(prompt=f"{number}"), output=f"{tmp_path}/{number}.mp4")

            async def watch() -> None:
                nonlocal highest
                while True:
                    highest = max(highest, governor.checks._used, governor.downloads._used, governor.fetches._used)
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            await asyncio.gather(*map(one, range(8)))
            watching.cancel()
            assert highest == 4
            assert (governor._calls, governor._given, governor._memory_left) == (0, 0, governor._memory)


async def test_clients_are_all_closed_although_who_closes_them_is_cancelled() -> None:
    clients, free, closed = Clients(), asyncio.Event(), list[str]()

    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            await free.wait()
            closed.append(self.name)

    for name in ("a", "b"):
        clients.get(name, "", "", functools.partial(Client, name))
    closing = asyncio.create_task(clients.close_idle())
    await asyncio.sleep(0)
    closing.cancel()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert closed == ["a", "b"]


async def test_clients_close_idle_leaves_those_in_use() -> None:
    class Client:
        closed = False

        def close(self) -> None:
            self.closed = True

    clients = Clients()
    used, idle = clients.get("one", "digest", "", Client), clients.get("two", "digest", "", Client)
    with clients.used("one"):
        await clients.close_idle()
        assert (used.closed, idle.closed) == (False, True)
        assert clients.get("one", "digest", "", Client) is used
    assert clients.get("two", "digest", "", Client) is not idle


def _noise(*_: int) -> bytes:
    """Return another picture of about 200 KB each time: equal bytes are stored once."""
    from PIL import Image

    out = io.BytesIO()
    Image.frombytes("RGB", (256, 256), random.randbytes(256 * 256 * 3)).save(out, "PNG")
    return out.getvalue()


def _crowd(folder: Path, service: fake_service.FakeService, *numbers: int, locked: float = 0.0) -> dict[str, int]:
    words = [str(folder / "state"), str(folder / "out"), service.http.url, service.files.url, *map(str, numbers)]
    with subprocess.Popen([sys.executable, str(CHILD), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        if locked:
            _lock(folder / "state" / "state.db", service, locked)
        out, err = child.communicate(timeout=600)
    assert child.returncode == 0, err.decode()[-3000:]
    ended: dict[str, int] = json.loads(out)
    return ended


def _lock(path: Path, service: fake_service.FakeService, seconds: float) -> None:
    """Hold the journal's write lock for some seconds, from the first submit on."""

    async def wait() -> None:
        await until(lambda: service.submits)

    asyncio.run(wait())
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    asyncio.run(asyncio.sleep(seconds))
    connection.execute("ROLLBACK")
    connection.close()


@pytest.mark.exhaustive
@pytest.mark.parametrize("descriptors", quick_first([256, 96]))
def test_crowd_with_few_descriptors_and_a_locked_journal_is_delivered(tmp_path: Path, descriptors: int) -> None:
    with served() as service:
        service.http.fail("delay", on="POST /images", seconds=0.3, times=None)
        ended = _crowd(tmp_path, service, 100, 30, descriptors, locked=1.0)
    assert ended == {"delivered": 130}
    assert len(service.submits) == 130


@pytest.mark.soak
def test_seven_hundred_calls_with_few_descriptors_and_a_locked_journal_are_delivered(tmp_path: Path) -> None:
    with served() as service:
        service.http.fail("delay", on="POST /images", seconds=1.0, times=None)
        ended = _crowd(tmp_path, service, 500, 200, 256, locked=5.0)
    assert ended == {"delivered": 700}
    assert len(service.submits) == 700


@pytest.mark.exhaustive
@pytest.mark.parametrize("disk", [24_000_000, pytest.param(64_000_000, marks=pytest.mark.soak)])
def test_crowd_on_a_small_disk_fills_it_and_loses_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, disk: int) -> None:
    monkeypatch.setattr(fake_service, "png", _noise)
    with served() as service:
        ended = _crowd(tmp_path, service, disk // 300_000, 0, 256, disk)
    delivered = len(service.submits)
    assert ended == {"delivered": delivered, "out_of_resources charged no": disk // 300_000 - delivered}
    assert delivered * 2 * len(_noise()) > 0.9 * (disk - 6_000_000)  # the journal needs space as well
