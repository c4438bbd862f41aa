"""The moments at which money could be lost: two at one call, a journal that fails after the payment, a clock that jumps."""

import asyncio
import os
import re
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from clocks import in_state
from core.fake_service import FakeService, mp4, png
from core.routing import KEY, fake_router, until

from anymedia import GenerateVideo, SqliteStore
from anymedia.errors import BackendTimeout, MediaError, RequestError, SubmissionUnknown
from anymedia.execution import lease as lease_module
from anymedia.execution.engine import new_id
from anymedia.state.store import CallRecord, Lease, StateBusy, StateNotWritable

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


async def test_resuming_a_call_that_the_same_router_is_sending_waits_for_it() -> None:
    with FakeService() as service:
        answered = threading.Event()
        service.http.fail("delay", on="POST /images", times=1, until=answered)
        async with fake_router(service) as router:
            sending = asyncio.create_task(router.generate_image(prompt="a fox"))
            await until(lambda: service.submits)
            resuming = asyncio.create_task(router.resume((await router.jobs())[0].id))
            await asyncio.sleep(0.05)
            answered.set()
            resumed, sent = await asyncio.gather(resuming, sending)
            assert resumed.path == sent.path
            assert (await router.jobs())[0].state == "done"


async def test_run_cancelled_by_its_job_id_raises_an_error_and_does_not_cancel_its_task() -> None:
    with FakeService(looks=1000) as service:
        async with fake_router(service) as router:
            making = asyncio.create_task(router.generate_video(prompt="waves"))
            await until(lambda: in_state(router, "running"))
            waiting = asyncio.create_task(router.wait((await router.jobs())[0].id))
            await asyncio.sleep(0.01)
            assert (await router.cancel((await router.jobs())[0].id)).state == "cancelled"
            assert service.cancelled == ["vid-1"]
            for task in (making, waiting):
                with pytest.raises(RequestError, match="was cancelled"):
                    await task


class Interloper(SqliteStore):
    """Lets the leases expire and another owner in at the moment that the test chooses; stays open when its routers close."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: time.time() + self.ahead)
        self.ahead = 0.0
        self.noticed = False

    async def renew(self, leases: Sequence[Lease], *, lease_seconds: float) -> Sequence[Lease]:
        renewed = await super().renew(leases, lease_seconds=lease_seconds)
        self.noticed = self.noticed or len(renewed) < len(leases)
        return renewed

    async def steal(self, call_id: str) -> Lease:
        self.ahead += 61
        record = await self.claim(call_id, owner="interloper", lease_seconds=60.0)
        assert record is not None
        return record.lease

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_answer_that_comes_after_the_lease_was_lost_is_not_thrown_away(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner was suspended for over a minute; another process found the row and could only call it unknown."""
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.3)  # so that the loss is noticed while the answer is on its way
    with FakeService(looks=0) as service:
        answered = threading.Event()
        service.http.fail("delay", on="POST ", times=1, until=answered)
        store = Interloper()
        async with fake_router(service, store=store) as router:
            make = router.generate_image if kind == "image" else router.generate_video
            sending = asyncio.create_task(make(prompt="a fox"))
            await until(lambda: service.submits)
            row = (await router.jobs())[0]
            other = await store.steal(row.id)
            await store.advance(other, "unknown")
            await store.release(other)
            await until(lambda: store.noticed)
            answered.set()
            result = await sending
            assert result.path.read_bytes() == (png() if kind == "image" else mp4())
            assert (await router.jobs())[0].state == "done"
            assert len(service.submits) == 1


async def test_one_failed_renewal_does_not_give_the_lease_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stumbling(SqliteStore):
        failures = 1
        renewals = 0

        async def renew(self, leases: Sequence[Lease], *, lease_seconds: float) -> Sequence[Lease]:
            if self.failures:
                self.failures -= 1
                raise StateBusy("busy")
            self.renewals += 1
            return await super().renew(leases, lease_seconds=lease_seconds)

    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.15)
    store = Stumbling()
    with FakeService(looks=1_000_000) as service:
        async with fake_router(service, store=store) as router:
            await router.submit(GenerateVideo(prompt="waves"))
            await until(lambda: store.renewals > 2)


async def test_lease_that_cannot_be_given_back_does_not_hide_the_result() -> None:
    class Stuck(SqliteStore):
        async def release(self, lease: Lease) -> None:
            raise StateBusy("busy")

    with FakeService() as service:
        async with fake_router(service, store=Stuck()) as router:
            assert (await router.generate_image(prompt="a fox")).path.exists()


class Failing(SqliteStore):
    """Cannot be written for some times, once a state is to be recorded."""

    def __init__(self, state: str, times: int) -> None:
        super().__init__()
        self.state, self.times = state, times

    async def advance(self, lease: Lease, state: Any, **changes: Any) -> CallRecord:
        if state == self.state and self.times:
            self.times -= 1
            raise StateNotWritable("The journal cannot grow: the disk is full.", charged="unknown")
        return await super().advance(lease, state, **changes)


@pytest.mark.parametrize("state", ["submitted", "running", "collecting", "done"])
@pytest.mark.parametrize("kind", ["image", "video"])
async def test_journal_that_cannot_be_written_for_a_while_after_the_payment_loses_nothing(kind: str, state: str) -> None:
    with FakeService(looks=1) as service:
        async with fake_router(service, store=Failing(state, 2)) as router:
            result = await (router.generate_image if kind == "image" else router.generate_video)(prompt="a fox")
            assert result.path.read_bytes() == (png() if kind == "image" else mp4())
            assert len(service.submits) == 1


async def test_journal_that_stays_unwritable_after_the_payment_names_the_providers_job() -> None:
    with FakeService(looks=0) as service:
        async with fake_router(service, store=Failing("submitted", 10**9)) as router:
            router._engine.clock.sleep = lambda seconds: asyncio.sleep(0)  # type: ignore[method-assign]
            with pytest.raises(StateNotWritable, match="vid-1") as caught:
                await router.generate_video(prompt="waves")
            assert caught.value.charged == "unknown"
            assert caught.value.job_id == (await router.jobs())[0].id


async def test_progress_callback_that_fails_does_not_stop_a_paid_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(progress: object) -> None:
        raise BrokenPipeError

    with FakeService(looks=1) as service:
        async with fake_router(service, on_progress=broken) as router:
            assert (await router.generate_video(prompt="waves")).path.exists()


async def test_deadline_that_passes_before_the_request_is_sent_has_a_known_outcome() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(BackendTimeout, match="nothing was spent") as caught:
                await router.generate_image(prompt="a fox", deadline=0)
            assert (caught.value.charged, caught.value.delivery) == ("no", "not_sent")
            assert ((await router.jobs())[0].state, (await router.store.spend()).reserved_usd) == ("failed", 0)
            assert service.submits == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["poll", "download"])
async def test_deadline_holds_while_the_provider_is_silent(where: str) -> None:
    with FakeService(looks=0) as service:
        (service.http if where == "poll" else service.files).fail("hang", on="GET", times=None)
        async with fake_router(service, options={"timeout": 600}) as router:
            async with asyncio.timeout(60):
                with pytest.raises(BackendTimeout, match=r"router\.resume"):
                    await router.generate_video(prompt="waves", deadline=2)
            assert (await router.jobs())[0].state in {"submitted", "running", "collecting"}
            service.http.faults.clear()
            service.files.faults.clear()
            assert (await router.resume((await router.jobs())[0].id)).path.read_bytes() == mp4()


async def test_calls_that_were_not_begun_when_their_run_was_cancelled_free_their_reservations() -> None:
    with FakeService() as service:
        service.http.fail("hang", on="POST /images", times=None)
        async with fake_router(service) as router:
            task = asyncio.create_task(router.generate_image(prompt="foxes", n=8))
            await until(lambda: len(service.submits) == 4)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            states = sorted(row.state for row in await router.jobs())
            assert states == ["cancelled"] * 4 + ["unknown"] * 4
            assert (await router.store.spend()).reserved_usd == pytest.approx(0.4)


class Jumping:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def steady(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


async def test_clock_that_was_set_back_does_not_keep_a_dead_owners_call_for_years() -> None:
    clock = Jumping()
    store = SqliteStore(clock=clock.now)
    with FakeService(looks=1000) as service:
        clock.offset = 4 * 365 * 86_400.0
        async with fake_router(service, store=store) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            clock.offset += 3600
            assert await store.claim(record.id, owner="dead", lease_seconds=60.0) is not None
            clock.offset = 0.0
            found = await store.claim(record.id, owner="new", lease_seconds=60.0)
            assert found is not None


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_clock_that_jumps_meanwhile_teaches_no_wrong_duration(jump: float) -> None:
    clock = Jumping()
    store = SqliteStore(clock=clock.now)
    with FakeService(looks=3) as service:
        async with fake_router(service, store=store, clock=clock) as router:
            record = await router.submit(GenerateVideo(prompt="waves", duration=4))
            clock.offset = jump
            await router.wait(record.id)
            assert all(0.01 < seconds < 60 for seconds in await store.durations("fake/moving/4s"))


async def test_forked_child_does_not_take_its_parents_leases_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_router("http://127.0.0.1:1") as router:
        parents = router._engine.owner
        assert router._engine.owner == parents
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        assert router._engine.owner != parents


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_forked_child_makes_ids_that_its_parent_does_not() -> None:
    new_id("job")
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, " ".join(new_id("job") for _ in range(200)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        theirs = set(told.read().split())
    os.waitpid(child, 0)
    ours = {new_id("job") for _ in range(200)}
    assert len(ours) == len(theirs) == 200
    assert all(re.fullmatch(r"job_[0-9a-f]{12}", made) for made in ours | theirs)
    assert ours.isdisjoint(theirs)


async def test_all_jobs_of_one_account_share_one_poll_budget() -> None:
    from anymedia.execution.poll_schedule import PollBudget
    from anymedia.settings import InstanceSettings, Settings

    seen: list[str] = []

    class Noting(PollBudget):
        def reserve(self, key: str, now: float) -> float:
            seen.append(key)
            return super().reserve(key, now)

    with FakeService(looks=1) as service:
        names = ("one", "two")
        settings = Settings(
            instances={n: InstanceSettings(name=n, plugin="fake", base_url=service.http.url) for n in names},
            fetch_allow=(f"127.0.0.1:{service.files.port}",),
        )
        async with fake_router(service, settings=settings) as router:
            router._engine.polls = Noting(rate=1000)
            await asyncio.gather(*(router.generate_video(prompt="waves", backend=n) for n in names))
    assert len(seen) >= 4
    assert len(set(seen)) == 1
    assert KEY not in seen[0]


async def test_forgetting_a_run_is_all_or_nothing_and_refused_while_another_owner_holds_it() -> None:
    with FakeService() as service:
        store = Interloper()
        service.http.fail("lost", on="POST /images", times=1)
        async with fake_router(service, store=store) as router:
            with pytest.raises(SubmissionUnknown):
                await router.generate_image(prompt="a fox")
            row = (await router.jobs())[0]
            claimed = await store.claim(row.id, owner="other", lease_seconds=60)
            with pytest.raises(RequestError, match="another process"):
                await router.forget(row.id)
            assert claimed is not None
            await store.release(claimed.lease)
            await router.forget(row.id)
            assert await router.jobs() == []


async def test_call_that_vanishes_while_it_is_waited_for_is_an_error_in_plain_words() -> None:
    with FakeService(looks=1_000_000) as service:
        store = Interloper()
        async with fake_router(service, store=store) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            lease = await store.steal(record.id)
            async with fake_router(service, store=store) as second:
                waiting = asyncio.create_task(second.resume(record.id))
                await asyncio.sleep(0.05)
                await store.advance(lease, "cancelled")
                await store.forget(record.id)
                with pytest.raises(MediaError, match=record.id):
                    await waiting


async def test_damaged_record_is_reported_and_hides_no_other_record(tmp_path: Path) -> None:
    from anymedia.state.store import StateDamaged

    with FakeService() as service:
        async with fake_router(service, store=SqliteStore(tmp_path / "state.db")) as router:
            result = await router.generate_image(prompt="a fox")
            with sqlite3.connect(tmp_path / "state.db") as connection:
                connection.execute("UPDATE calls SET plan = '{\"adjust'")
            connection.close()
            with pytest.raises(StateDamaged, match=result.job_id):
                await router.job(result.job_id)
