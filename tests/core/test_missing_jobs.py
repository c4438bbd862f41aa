"""A job that its provider does not find: for a moment, and it continues; for a minute, and it is lost until it is found again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService, mp4
from core.routing import fake_router, fake_settings

from anymedia import GenerateVideo, Policy, SqliteStore
from anymedia.errors import BackendTimeout, Fix, JobNotFound
from anymedia.settings import InstanceSettings
from anymedia.testing.harness import KeptStore

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
#: The status checks of a job that the provider no longer finds: the first, and one after each of the waits.
LOOKS, SECONDS = 7, 60.0
EVER = range(1_000_000)


class Ticking:
    """A clock of its own: a pause moves it on, and takes no time."""

    def __init__(self) -> None:
        self.at = 1_790_000_000.0

    def now(self) -> float:
        return self.at

    def steady(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        await asyncio.sleep(0)


class Told:
    """Records the progress notes that the caller receives, each with the clock time."""

    def __init__(self, clock: Ticking) -> None:
        self.clock, self.notes = clock, list[tuple[float, str]]()

    def __call__(self, progress: Any) -> None:
        self.notes.append((self.clock.at, progress.note))

    def of_nothing_found(self) -> list[float]:
        return [at for at, note in self.notes if "did not find the job" in note]


def looks_at(service: FakeService) -> int:
    return service.http.count("GET /videos")


async def looks_so_far(service: FakeService) -> int:
    """Return the number of status checks, after the last one of a closed router has arrived."""
    before, now = -1, looks_at(service)
    while before != now:
        await asyncio.sleep(0.1)
        before, now = now, looks_at(service)
    return now


@pytest.mark.parametrize(
    "missing", [{0}, {0, 1, 2}, {1}, set(range(LOOKS - 1))], ids=["the first", "the first three", "between two", "all but one too many"]
)
async def test_job_that_is_not_found_for_a_moment_is_checked_again(missing: set[int]) -> None:
    with FakeService(looks=1) as service:
        service.missing = missing
        async with fake_router(service, clock=Ticking()) as router:
            result = await router.generate_video(prompt="waves")
            assert result.path.read_bytes() == mp4()
            assert len(service.submits) == 1
            assert looks_at(service) == len(missing) + 2


async def test_status_checks_without_a_job_start_again_once_the_job_was_seen() -> None:
    with FakeService(looks=2) as service:
        service.missing = {*range(LOOKS - 1), *range(LOOKS, 2 * LOOKS - 1)}
        async with fake_router(service, clock=Ticking()) as router:
            assert (await router.generate_video(prompt="waves")).path.exists()
            assert len(service.submits) == 1


async def test_job_never_found_is_lost_keeps_its_reservation_and_is_delivered_later() -> None:
    with FakeService() as service:
        service.missing = EVER
        two = {name: InstanceSettings(name=name, plugin="fake", base_url=service.http.url) for name in ("aaaa", "able")}
        settings, clock = fake_settings(service), Ticking()
        told = Told(clock)
        router = fake_router(
            service, settings=_with(settings, two), clock=clock, on_progress=told, policy=Policy(prefer=("aaaa",), fallback="equivalent")
        )
        async with router as made:
            with pytest.raises(JobNotFound) as caught:
                await made.generate_video(prompt="waves")
            error, row = caught.value, (await made.jobs())[0]
            assert looks_at(service) == LOOKS
            first = told.of_nothing_found()[0]
            assert SECONDS <= clock.at - first <= 3 * SECONDS
            assert len(service.submits) == 1
            assert (error.backend, error.model, error.job_id, error.charged, error.retry) == ("aaaa", "moving", row.id, "unknown", False)
            assert "'vid-1'" in error.message  # the provider's own name of it: all that is left to ask about it with
            assert "there is no video vid-1" in error.message
            assert "charged" in error.fix
            assert (row.state, row.charged) == ("lost", "unknown")
            spent = await made.store.spend()
            assert row.quote_usd is not None
            assert (spent.reserved_usd, spent.committed_usd) == (row.quote_usd[1], 0)
            with pytest.raises(JobNotFound) as again:
                await made.resume(row.id)
            assert (again.value.charged, again.value.action) == ("unknown", Fix("resume", row.run))
            assert (looks_at(service), len(service.submits)) == (2 * LOOKS, 1)
            service.missing = ()
            assert (await made.wait(row.id)).path.read_bytes() == mp4()
            assert (len(service.submits), (await made.job(row.id)).error) == (1, None)
            assert ((await made.store.spend()).reserved_usd, (await made.store.spend()).committed_usd) == (0, 0.15)


def _with(settings: Any, instances: Any) -> Any:
    import attrs

    return attrs.evolve(settings, instances=instances)


async def test_failed_status_check_does_not_count_as_a_missing_job() -> None:
    with FakeService() as service:
        service.missing = EVER
        for _ in range(LOOKS):  # every other status check gets a server error
            service.http.fail("status", on="GET /videos", times=1, status=500)
        down, faults = 0, service.http.faults

        def every_other(received: Any) -> Any:
            nonlocal down
            down += 1
            return faults.pop() if down % 2 and faults and received.line.startswith("GET /videos") else None

        service.http._take_fault = every_other  # type: ignore[method-assign]
        async with fake_router(service, clock=Ticking()) as router:
            with pytest.raises(JobNotFound):
                await router.generate_video(prompt="waves")
            assert service.jobs["vid-1"]["looks"] == LOOKS
            assert looks_at(service) > LOOKS


@pytest.mark.parametrize("deadline", [10.0, 45.0, 59.0])
async def test_deadline_before_that_leaves_the_job_to_be_resumed(deadline: float, tmp_path: Path) -> None:
    with FakeService() as service:
        service.missing = EVER
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db"), clock=Ticking()) as router:
            with pytest.raises(BackendTimeout, match=r"did not find the job .*router\.resume") as caught:
                await router.generate_video(prompt="waves", deadline=deadline)
            assert (await router.jobs())[0].state == "submitted"
        service.missing = ()
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db"), clock=Ticking()) as router:
            assert (await router.resume(str(caught.value.job_id))).path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_expired_job_that_is_not_found_gets_all_status_checks() -> None:
    """Its time of expiry is the provider's, and the clocks may differ."""
    with FakeService(looks=1_000) as service:
        clock, store = Ticking(), KeptStore()
        store._database.clock = clock.now
        service.expires_at = clock.at + 3600
        async with fake_router(service, clock=clock, store=store) as router:
            row = await router.submit(GenerateVideo(prompt="waves"))
        clock.at += 3601
        seen, service.missing = await looks_so_far(service), EVER
        async with fake_router(service, clock=clock, store=store) as router:
            with pytest.raises(JobNotFound, match="no longer finds") as caught:
                await router.resume(row.id)
            assert caught.value.charged == "unknown"
            assert looks_at(service) == seen + LOOKS
            assert len(service.submits) == 1


async def test_expired_job_that_is_still_found_is_collected() -> None:
    with FakeService() as service:
        clock = Ticking()
        service.expires_at = clock.at - 1
        async with fake_router(service, clock=clock) as router:
            assert (await router.generate_video(prompt="waves")).path.exists()


async def test_job_without_an_expiry_resumed_after_a_month_gets_the_same_number_of_checks() -> None:
    with FakeService(looks=1_000) as service:
        clock, store = Ticking(), KeptStore()
        store._database.clock = clock.now
        async with fake_router(service, clock=clock, store=store) as router:
            row = await router.submit(GenerateVideo(prompt="waves"))
        clock.at += 30 * 86_400
        seen, service.missing = await looks_so_far(service), EVER
        async with fake_router(service, clock=clock, store=store) as router:
            with pytest.raises(JobNotFound):
                await router.resume(row.id)
            assert looks_at(service) == seen + LOOKS
