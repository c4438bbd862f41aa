"""Calls for workers: recorded anywhere, taken by one worker with the right keys, delivered where they were requested."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import threading
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import PIL.Image
import pytest
from blocking_store import BlockingStore, store_at, wait_for
from clocks import FastClock
from core.fake_service import FakeService, mp4, png
from core.routing import fake_router, fake_settings, until
from state_samples import NOW, new_call

from anymedia import Budget, GenerateImage, GenerateVideo, Router
from anymedia import worker as worker_module
from anymedia.artifacts import ArtifactNotStored
from anymedia.artifacts.shared import SharedArtifacts
from anymedia.errors import BackendTimeout, BudgetExceeded, ContentRefused, JobCancelled, UnknownBackend
from anymedia.execution import lease, resume
from anymedia.policy import Policy
from anymedia.state.store import UNKNOWN_ACCOUNT, WorkerRecord
from anymedia.worker import Worker

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
ME = WorkerRecord(owner="me", host="here", at_once=4, accounts=("google unknown",))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_TAKE_WITHOUT_NOTICES", 0.02)
    monkeypatch.setattr(lease, "_FIRST_PAUSE", 0.02)


def queue(store: BlockingStore, call_id: str, priority: int | None = 0, **more: Any) -> None:
    wait_for(store.store.open_call(new_call(call_id, priority=priority, **more), Budget(), owner=None, lease_seconds=60))


def take(store: BlockingStore, worker: WorkerRecord = ME, most: int = 10, **more: Any) -> list[str]:
    return [record.id for record in store.take(worker, most=most, lease_seconds=24, **more)]


def test_take_returns_the_highest_priority_then_the_oldest(store: BlockingStore) -> None:
    for call_id, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("own", None)):
        queue(store, call_id, priority)
    assert take(store, most=3) == ["b", "a", "c"]
    assert take(store) == ["d"]
    assert take(store, attrs.evolve(ME, owner="another")) == []
    record = store.get("a")
    assert (record.owner, record.lease_until, record.state) == ("me", NOW + 24, "queued")


def test_take_leaves_calls_of_other_accounts_and_those_to_be_skipped(store: BlockingStore) -> None:
    queue(store, "a")
    queue(store, "b", account="0123 http://a")
    queue(store, "c", backend="grok")
    queue(store, "d", run="run-d")
    assert take(store, attrs.evolve(ME, accounts=())) == []
    assert take(store, attrs.evolve(ME, accounts=("google 0123 http://a",))) == ["b"]
    assert take(store, skip=["a", "run-d"]) == []
    assert take(store, attrs.evolve(ME, accounts=("grok unknown", "google unknown"))) == ["a", "c", "d"]


def test_take_of_a_dead_workers_calls_comes_first_once_their_leases_have_run_out(store: BlockingStore) -> None:
    for call_id in ("a", "b"):
        queue(store, call_id)
    dead = attrs.evolve(ME, owner="dead")
    assert take(store, dead) == ["a", "b"]
    store.advance(store.get("b").lease, "submitting", submits=1)
    queue(store, "c", 9)
    store.time += 23
    assert take(store) == ["c"]
    store.time += 2
    assert take(store) == ["b", "a"]
    assert store.get("b").fence == 3


def test_take_of_an_unknown_or_lost_call_only_from_a_worker_that_died_with_it(store: BlockingStore) -> None:
    for call_id in ("a", "b"):
        queue(store, call_id)
    assert take(store) == ["a", "b"]
    for call_id in ("a", "b"):
        store.advance(store.get(call_id).lease, "submitting", submits=1)
        store.advance(store.get(call_id).lease, "unknown")
    store.release(store.get("a").lease)
    store.time += 25
    assert take(store) == ["b"]
    assert store.free(["a", "b"]) == ["a"]


def test_queue_and_workers_are_counted(store: BlockingStore) -> None:
    queue(store, "a")
    queue(store, "b")
    queue(store, "own", None)
    assert take(store, most=1) == ["a"]
    store.advance(store.get("a").lease, "submitting", submits=1)
    assert [(q.backend, q.account, q.state, q.calls, q.oldest) for q in store.queues()] == [
        ("google", UNKNOWN_ACCOUNT, "queued", 1, NOW),
        ("google", UNKNOWN_ACCOUNT, "submitting", 1, NOW),
    ]
    store.note_worker(ME)
    store.time += 20
    store.note_worker(attrs.evolve(ME, owner="second"))
    assert [(w.owner, w.seen_at, w.accounts) for w in store.workers(within=30)] == [
        ("me", NOW, ME.accounts),
        ("second", NOW + 20, ME.accounts),
    ]
    assert [w.owner for w in store.workers(within=15)] == ["second"]
    store.drop_worker("second")
    assert [w.owner for w in store.workers(within=30)] == ["me"]


async def test_workers_that_take_at_the_same_time_take_different_calls(place: Path | str) -> None:
    stores = [store_at(place) for _ in range(4)]
    for number in range(40):
        await stores[0].open_call(new_call(f"c{number}", priority=0), Budget(), owner=None, lease_seconds=60)
    workers = [attrs.evolve(ME, owner=f"w{number}") for number in range(4)]
    taken: list[str] = []
    while len(taken) < 40:
        found = await asyncio.gather(*[s.take(w, most=3, lease_seconds=60) for s, w in zip(stores, workers, strict=True)])
        taken += [record.id for records in found for record in records]
    assert sorted(taken) == sorted(f"c{number}" for number in range(40))
    for store in stores:
        await store.aclose()


@attrs.define
class Machines:
    """Routers with a store and storage in common, and a state directory of their own each."""

    service: FakeService
    place: Path | str
    folder: Path
    storage: str = attrs.field(default=attrs.Factory(lambda self: f"file://{self.folder}/storage", takes_self=True))

    @contextlib.asynccontextmanager
    async def one(self, name: str, **more: Any) -> AsyncIterator[Router]:
        settings = more.pop("settings", None) or fake_settings(self.service, state=self.folder / name)
        more.setdefault("clock", FastClock())
        async with fake_router(self.service, settings=settings, store=store_at(self.place), artifacts=self.storage, **more) as router:
            yield router

    @contextlib.asynccontextmanager
    async def worker(self, name: str = "worker", at_once: int = 4, **more: Any) -> AsyncIterator[Worker]:
        async with self.one(name, **more) as router:
            worker = Worker(router, at_once=at_once)
            running = asyncio.create_task(worker.run())
            try:
                yield worker
            finally:
                worker.stop()
                await running


@pytest.fixture
async def machines(place: Path | str, tmp_path: Path) -> AsyncIterator[Machines]:
    with FakeService() as service:
        yield Machines(service, place, tmp_path)


async def test_call_is_queued_at_once_and_its_file_written_where_it_was_requested(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    async with machines.one("caller", workers=True) as caller, machines.one("another") as another:
        record = await caller.submit(GenerateImage(prompt="a fox"), output=tmp_path / "out" / "fox.png", priority=3)
        assert (record.state, record.owner, record.priority, record.reserved_usd > 0) == ("queued", None, 3, True)
        assert machines.service.submits == []
        with pytest.raises(BackendTimeout):
            await caller.wait(record.id, deadline=0.05)
        assert machines.service.submits == []
        async with machines.worker():
            result = await caller.wait(record.id)
        assert result.path == tmp_path / "out" / "fox.png"
        assert result.path.read_bytes() == png()
        assert (await caller.wait(record.id)).path == result.path
        elsewhere = await another.resume(record.id)  # it is done; its output belongs to the machine that requested it
        assert elsewhere.path.read_bytes() == png()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["fox.png"]
    assert len(machines.service.submits) == 1


async def test_result_is_not_exported_by_another_machine_of_the_same_name(machines: Machines, tmp_path: Path) -> None:
    async with machines.one("caller", workers=True) as caller, machines.one("another") as another, machines.worker():
        record = await caller.submit(GenerateImage(prompt="a fox"), output=tmp_path / "fox.png")
        elsewhere = await another.wait(record.id)
        assert elsewhere.path.is_relative_to(tmp_path / "another")
        assert not (tmp_path / "fox.png").exists()
        async with machines.one("caller") as later:  # the same installation
            assert (await later.wait(record.id)).path == tmp_path / "fox.png"


async def test_inputs_reach_the_worker_and_its_machine_may_be_gone_afterwards(machines: Machines, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(64, 48, (9, 200, 9)))
    mask = tmp_path / "mask.png"
    picture = PIL.Image.new("L", (64, 48), 0)
    picture.paste(255, (0, 0, 32, 48))
    picture.save(mask)
    async with machines.one("caller", workers=True) as caller:
        async with machines.worker():
            result = await caller.inpaint("red", source=photo, mask=mask, protect="exact")
        shutil.rmtree(tmp_path / "worker")
        assert result.path.is_relative_to(tmp_path / "caller")
        assert result.path.read_bytes()[:4] == b"\x89PNG"
        assert result.files[0].continuation_id is not None


@pytest.mark.exhaustive
async def test_result_has_a_link_where_the_storage_gives_links(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3

    for name, value in s3.server().environment.items():
        monkeypatch.setenv(name, value)
    machines.storage = s3.server().new()
    async with machines.one("caller", workers=True) as caller, machines.worker():
        result = await caller.generate_image("a fox")
    assert result.url is not None
    assert "url" not in result.files[0].to_json()
    answer = await asyncio.to_thread(urllib.request.urlopen, result.url)
    with answer:
        assert answer.read() == png()


async def test_router_that_only_waits_for_a_worker_closes_before_the_provider_answers(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, picture = threading.Event(), machines.service._picture
    monkeypatch.setattr(machines.service, "_picture", lambda fields: picture(fields) if closed.wait(60) else None)
    async with machines.worker() as worker:
        async with machines.one("caller", workers=True) as caller:
            record = await caller.submit(GenerateImage(prompt="a fox"))
            waiting = asyncio.create_task(caller.wait(record.id))
            await until(lambda: bool(machines.service.http.received and caller._run_registry._tasks))
        assert machines.service.submits == []
        closed.set()
        with pytest.raises(BackendTimeout):
            await waiting
        assert (await worker.router.wait(record.id)).path.read_bytes() == png()


async def test_call_of_another_account_stays_queued(machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with machines.one("caller", workers=True) as caller:
        record = await caller.submit(GenerateImage(prompt="a fox"))
        async with machines.one("other") as other:
            view = other.scoped(keys={"fake": "another-key-123456789"})
            worker = Worker(view)
            running = asyncio.create_task(worker.run())
            await until(lambda: caller.store.workers(within=60))
            await asyncio.sleep(0.1)
            worker.stop()
            await running
        assert (await caller.job(record.id)).state == "queued"
        assert machines.service.http.received == []
        async with machines.worker():
            assert (await caller.wait(record.id)).path.read_bytes() == png()


async def test_several_calls_of_a_run_are_queued_together_or_not_at_all(machines: Machines) -> None:
    async with machines.one("caller", workers=True) as caller:
        with pytest.raises(BudgetExceeded):
            await caller.submit(GenerateImage(prompt="foxes", n=3), policy=Policy(budget=Budget(per_day=0.05)))
        assert {record.state for record in await caller.jobs()} <= {"cancelled"}
        record = await caller.submit(GenerateImage(prompt="foxes", n=3))
        assert [(each.state, each.owner) for each in await caller.store.run(record.run)] == [("queued", None)] * 3
        async with machines.worker(at_once=2):
            result = await caller.wait(record.id)
        assert [file.path.read_bytes() for file in result.files] == [png()] * 3
    assert len(machines.service.submits) == 3


async def test_error_of_a_worker_is_raised_where_the_result_is_awaited(machines: Machines) -> None:
    machines.service.http.fail("status", on="POST /images", times=None, status=422)
    async with machines.one("caller", workers=True) as caller, machines.worker():
        with pytest.raises(Exception, match="422") as caught:
            await caller.generate_image("a fox")
        assert not isinstance(caught.value, BackendTimeout | ContentRefused)
        assert [record.state for record in await caller.jobs()] == ["refused"]


async def test_repeated_run_key_returns_the_run_of_the_worker(machines: Machines) -> None:
    async with machines.one("caller", workers=True) as caller, machines.one("another", workers=True) as another, machines.worker():
        request = GenerateImage(prompt="a fox")
        first, second = await asyncio.gather(*[each.execute(request, key="order 7") for each in (caller, another)])
        assert first.job_id == second.job_id
    assert len(machines.service.submits) == 1


async def test_handler_of_the_docs_that_runs_again_waits_for_the_run_that_was_begun(machines: Machines) -> None:
    text = (Path(__file__).parents[2] / "docs/fleet.md").read_text("utf-8")
    names: dict[str, Any] = {}
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "make_video" in block]
    exec(compile(block, "docs/fleet.md", "exec"), names)
    async with machines.one("first", workers=True) as first, machines.one("second", workers=True) as second, machines.worker():
        made = await asyncio.gather(*[names["make_video"](router, "job 7", "waves") for router in (first, second, first)])
        assert {Path(path).read_bytes() for path in made} == {mp4()}
    assert len(machines.service.submits) == 1


async def test_queued_call_is_cancelled_from_any_machine(machines: Machines) -> None:
    async with machines.one("caller", workers=True) as caller, machines.one("another") as another:
        record = await caller.submit(GenerateVideo(prompt="waves"))
        waiting = asyncio.create_task(caller.wait(record.id))
        assert (await another.cancel(record.id)).state == "cancelled"
        with pytest.raises(JobCancelled):
            await waiting
        assert (await caller.job(record.id)).reserved_usd == 0
    assert machines.service.submits == []


@pytest.mark.exhaustive
async def test_cancel_reaches_the_worker_that_has_the_call(machines: Machines) -> None:
    if isinstance(machines.place, Path):
        return  # SQLite passes no notices on
    machines.service.looks = 10**6
    async with machines.one("caller", workers=True) as caller, machines.worker():
        record = await caller.submit(GenerateVideo(prompt="waves"))
        await until(lambda: is_running(caller, record.id))
        waiting = asyncio.create_task(caller.wait(record.id))
        assert (await caller.cancel(record.id)).state == "cancelled"
        with pytest.raises(JobCancelled):
            await waiting
    assert machines.service.cancelled == ["vid-1"]


@pytest.mark.exhaustive
async def test_states_of_a_call_are_reported_where_it_is_awaited(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(machines.place, Path):
        return
    monkeypatch.setattr(lease, "_FIRST_PAUSE", 3600.0)

    async def not_kept(*_: Any) -> bool:
        return False

    monkeypatch.setattr(resume, "kept_until_end", not_kept)  # as in two processes
    machines.service.looks, states = 10**6, list[str]()
    async with machines.one("caller", workers=True) as caller:
        request = GenerateVideo(prompt="waves")
        waiting = asyncio.create_task(caller.execute(request, on_progress=lambda event: states.append(event.state)))
        await until(lambda: bool(caller._engine.watcher._waiting))
        heard: list[str] = []
        stop = caller.store.listen(heard.append)
        assert stop is not None
        while not heard:  # until the connection listens
            await caller.store.notify("hello")
            await asyncio.sleep(0.01)
        async with machines.worker():
            await until(lambda: "running" in states)
            machines.service.jobs["vid-1"]["left"] = 0
            await waiting
        stop()
    assert states[-1] == "done"


@pytest.mark.exhaustive
async def test_queued_call_wakes_a_worker_that_does_not_ask_the_store(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(machines.place, Path):
        return
    monkeypatch.setattr(worker_module, "_TAKE", 3600.0)
    async with machines.one("caller", workers=True) as caller, machines.worker() as worker:
        heard: list[str] = []
        stop = caller.store.listen(heard.append)
        assert stop is not None
        while not heard:
            await caller.store.notify("hello")
            await asyncio.sleep(0.01)
        await until(lambda: worker.router._engine.watcher.hears)
        assert (await caller.generate_image("a fox")).path.read_bytes() == png()
        stop()
        await caller.store.notify("drain")
        await until(lambda: worker._stopped)


async def is_running(router: Router, job: str) -> bool:
    return (await router.job(job)).state == "running"


async def test_stopped_worker_leaves_its_job_to_the_next_one(machines: Machines, tmp_path: Path) -> None:
    machines.service.looks = 10**6
    async with machines.one("caller", workers=True) as caller:
        record = await caller.submit(GenerateVideo(prompt="waves"), output=tmp_path / "waves.mp4")
        async with machines.worker("first"):
            await until(lambda: is_running(caller, record.id))
        left = await caller.job(record.id)
        assert (left.state, left.owner) == ("running", None)
        assert await caller.store.workers(within=60) == []
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
        machines.service.jobs["vid-1"]["left"] = 0
        async with machines.worker("second"):
            assert (await caller.wait(record.id)).path.read_bytes() == mp4()
    assert len(machines.service.submits) == 1


async def test_worker_does_not_take_a_call_again_while_it_is_being_cancelled(machines: Machines) -> None:
    machines.service.looks = 10**6
    async with machines.one("caller", workers=True) as caller, machines.worker() as worker:
        record = await caller.submit(GenerateVideo(prompt="waves"))
        await until(lambda: is_running(caller, record.id))  # a submit that is cancelled on its way is of unknown outcome
        registry = worker.router._run_registry
        async with registry.stopping(record.run):
            worker._wake.set()
            await asyncio.sleep(0.1)
            assert worker._running == {}
        worker._wake.set()
        await until(lambda: record.run in registry._tasks)
    assert len(machines.service.submits) == 1


async def test_run_that_was_begun_again_while_it_was_stopped_ends_with_the_router(machines: Machines) -> None:
    async def endless() -> Any:
        await asyncio.Event().wait()

    async with machines.one("caller") as router:
        registry = router._run_registry
        registry.start("a run", endless())
        async with registry.stopping("a run"):
            again = registry.start("a run", endless())
    assert again.cancelled()


async def test_call_without_capacity_stays_queued_and_is_sent_later(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_FIRST_PAUSE", 0.01)
    machines.service.http.fail("status", on="POST /images", times=4, status=429)
    async with machines.one("caller", workers=True) as caller, machines.worker():
        result = await caller.generate_image("a fox")
        assert result.path.read_bytes() == png()
        assert len(result.attempts) == 4
    assert len(machines.service.submits) == 1


async def test_worker_takes_nothing_while_answers_cannot_be_stored(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_TAKE", 0.02)
    put, tried, away = SharedArtifacts.put, list[str](), True

    async def put_unless_away(artifacts: SharedArtifacts, call_id: str, *given: Any, **more: Any) -> Any:
        tried.append(call_id)
        if away:
            raise ArtifactNotStored("the storage is away")
        return await put(artifacts, call_id, *given, **more)

    monkeypatch.setattr(SharedArtifacts, "put", put_unless_away)
    async with machines.one("caller", workers=True) as caller, machines.worker():
        record = await caller.submit(GenerateImage(prompt="a fox"))
        await until(lambda: len(tried) > 5)
        assert (await caller.job(record.id)).state == "queued"
        away = False
        assert (await caller.wait(record.id)).path.read_bytes() == png()
    assert len(machines.service.submits) == 1
    assert [name for name in (machines.folder / "storage").iterdir() if name.name.startswith("worker-") and any(name.iterdir())] == []


async def test_worker_of_a_backend_that_is_not_configured_is_refused(machines: Machines) -> None:
    async with machines.one("caller") as caller:
        with pytest.raises(UnknownBackend):
            Worker(caller, backends=["nonsense"])
