"""An observation counts only under the account that the job was submitted with; an address is never changed silently."""

import asyncio
from typing import Any

import attrs
import pytest
from core import fake_backend
from core.fake_service import FakeService, mp4
from core.routing import KEY, fake_router
from core.test_missing_jobs import EVER, Ticking
from state_samples import new_call

from anymedia import GenerateVideo, Job, Policy, SqliteStore, hookimpl
from anymedia.errors import AuthenticationFailed, Fix, RequestError, SettingsError, SubmissionUnknown
from anymedia.plugins.registry import Registry
from anymedia.policy import Budget
from anymedia.settings import InstanceSettings, Settings
from anymedia.state.store import UNKNOWN_ACCOUNT
from anymedia.testing.harness import KeptStore

pytestmark = pytest.mark.anyio
OTHER = "fake-key-other-456789"


@pytest.fixture
def store() -> KeptStore:
    return KeptStore()


@pytest.fixture
def clock(store: KeptStore) -> Ticking:
    clock = Ticking()
    store._database.clock = clock.now
    return clock


def use_key(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    if key is None:
        monkeypatch.delenv("FAKE_KEY", raising=False)
    else:
        monkeypatch.setenv("FAKE_KEY", key)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    use_key(monkeypatch, KEY)


def take_any_key(service: FakeService, jobs_of: str | None = None) -> None:
    """Accept every key; with ``jobs_of``, the other keys do not find the jobs, as in a service with accounts."""
    answer = service.handle

    def handle(request: Any) -> Any:
        service.missing = () if jobs_of is None or request.headers["authorization"] == f"Bearer {jobs_of}" else EVER
        return answer(attrs.evolve(request, headers={**request.headers, "authorization": f"Bearer {KEY}"}))

    service.http._handler = handle


class Still(Ticking):
    """A clock whose pauses do not end, so that no status check is on its way when a router is closed."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def submitted(service: FakeService, **options: Any) -> str:
    looks, service.looks = service.looks, 10**6
    async with fake_router(service, **options | {"clock": Still()}) as router:
        job = (await router.submit(GenerateVideo(prompt="waves"))).id
    service.looks = looks
    for each in service.jobs.values():
        each["left"] = 0
    return job


async def test_account_is_recorded_without_the_key_and_with_the_address(store: KeptStore, clock: Ticking) -> None:
    with FakeService() as service:
        job = await submitted(service, store=store, clock=clock)
        record = await store.get(job)
        assert record is not None
        assert record.account.endswith(f" {service.http.url}")
        assert KEY not in record.account
        other = SqliteStore()
        async with fake_router(service, store=other, clock=clock) as router:
            again = await router.submit(GenerateVideo(prompt="waves"))
        assert record.account != again.account  # the hashes of two stores cannot be compared


async def test_job_not_found_under_another_key_is_not_lost_and_the_key_is_named(
    store: KeptStore, clock: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeService() as service:
        take_any_key(service, KEY)
        job = await submitted(service, store=store, clock=clock)
        use_key(monkeypatch, OTHER)
        async with fake_router(service, store=store, clock=clock) as router:
            with pytest.raises(AuthenticationFailed, match=r"submitted with another key.*Check FAKE_KEY") as caught:
                await router.resume(job)
            assert caught.value.charged == "unknown"
            assert (await router.job(job)).state in {"submitted", "running"}
        use_key(monkeypatch, KEY)
        async with fake_router(service, store=store, clock=clock) as router:
            assert (await router.resume(job)).path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_failed_status_under_another_key_is_not_recorded(store: KeptStore, clock: Ticking, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeService() as service:
        take_any_key(service)
        job = await submitted(service, store=store, clock=clock)
        use_key(monkeypatch, OTHER)
        service.fail_jobs = True
        async with fake_router(service, store=store, clock=clock) as router:
            with pytest.raises(AuthenticationFailed, match="submitted with another key"):
                await router.resume(job)
            assert (await router.job(job)).state in {"submitted", "running"}


async def test_success_under_a_new_key_of_the_same_address_counts_and_its_account_is_recorded(
    store: KeptStore, clock: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeService() as service:
        take_any_key(service)
        job = await submitted(service, store=store, clock=clock)
        before = await store.get(job)
        use_key(monkeypatch, OTHER)
        async with fake_router(service, store=store, clock=clock) as router:
            assert (await router.resume(job)).path.read_bytes() == mp4()
            after = await router.job(job)
        assert before is not None and after.account != before.account


async def test_missing_key_is_named_before_anything_is_asked(store: KeptStore, clock: Ticking, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeService() as service:
        job = await submitted(service, store=store, clock=clock)
        use_key(monkeypatch, None)
        asked = len(service.http.received)
        async with fake_router(service, store=store, clock=clock) as router:
            with pytest.raises(AuthenticationFailed, match="FAKE_KEY"):
                await router.resume(job)
        assert len(service.http.received) == asked
        use_key(monkeypatch, KEY)
        async with fake_router(service, store=store, clock=clock) as router:
            assert (await router.wait(job)).path.read_bytes() == mp4()


async def test_job_at_another_address_is_not_asked_for_without_rebind(store: KeptStore, clock: Ticking) -> None:
    with FakeService() as service, FakeService() as moved:
        job = await submitted(service, store=store, clock=clock)
        moved.jobs = service.jobs
        settings = _both(moved, service)
        async with fake_router(moved, settings=settings, store=store, clock=clock) as router:
            with pytest.raises(SettingsError, match=f"{service.http.url}.*{moved.http.url}") as caught:
                await router.resume(job)
            assert (caught.value.action, caught.value.charged) == (Fix("rebind", job), "unknown")
            assert "rebind=True" in str(caught.value)
            assert not moved.http.received
            assert (await router.job(job)).state in {"submitted", "running"}
            assert (await router.resume(job, rebind=True)).path.read_bytes() == mp4()
            assert (await router.job(job)).account.endswith(moved.http.url)


def _both(service: FakeService, files: FakeService) -> Settings:
    own = InstanceSettings(name="fake", plugin="fake", base_url=service.http.url)
    return Settings(instances={"fake": own}, fetch_allow=(f"127.0.0.1:{files.files.port}", f"127.0.0.1:{service.files.port}"))


async def test_rebind_is_refused_where_the_job_belongs_to_another_call(store: KeptStore, clock: Ticking) -> None:
    with FakeService() as service, FakeService() as other:
        theirs = await submitted(other, store=store, clock=clock)
        job = await submitted(service, store=store, clock=clock)  # both services number their jobs 1, 2, 3
        async with fake_router(other, store=store, clock=clock) as router:
            with pytest.raises(RequestError, match=f"'vid-1' is the job of {theirs}"):
                await router.resume(job, rebind=True)
            assert (await router.job(job)).state in {"submitted", "running"}


async def test_lost_job_at_another_address_stays_as_it_is(store: KeptStore, clock: Ticking) -> None:
    with FakeService() as service, FakeService() as other:
        job = await submitted(service, store=store, clock=clock)
        async with fake_router(other, store=store, clock=clock) as router:
            assert (await router.cancel(job)).state == "cancelled"  # here only
            assert not other.http.received
            with pytest.raises(RequestError, match=r"another status check just now: .* was submitted to") as caught:
                await router.resume(job)
            assert caught.value.action == Fix("rebind", job)
        async with fake_router(service, store=store, clock=clock) as router:
            assert (await router.resume(job)).path.read_bytes() == mp4()


async def test_conflict_of_an_answered_job_is_recorded_and_both_are_delivered(clock: Ticking) -> None:
    module = fake_backend.as_module("fake")

    async def generate_video(request: Any, context: Any) -> Job:
        async with context.submission():
            return Job(id="vid-1")

    module.generate_video = hookimpl(generate_video)  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("fake", module)
    with FakeService() as service:
        service.jobs["vid-1"] = {"label": "", "left": 1, "looks": 0}
        async with fake_router(service, registry=registry, clock=clock) as router:
            first = await router.generate_video(prompt="waves")
            second = await router.generate_video(prompt="clouds")
            records = {record.id: record for record in await router.jobs()}
            assert records[first.job_id].conflict is None
            assert records[second.job_id].conflict == first.job_id
            assert second.path.read_bytes() == mp4()


async def test_two_unknown_calls_do_not_adopt_one_paid_job_among_many(store: KeptStore, clock: Ticking) -> None:
    """The provider lists one job that matches both; 1,100 newer records stand between."""
    module = fake_backend.as_module("fake")

    async def find_submission(record: Any, context: Any) -> Job:
        return Job(id="vid-1")

    module.find_submission = hookimpl(find_submission)  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("fake", module)
    with FakeService() as service:
        service.http.fail("drop", on="POST /videos", times=None)
        unknown = []
        async with fake_router(service, store=store, clock=clock, policy=Policy(retries=0)) as router:
            for prompt in ("waves", "clouds"):
                with pytest.raises(SubmissionUnknown) as caught:
                    await router.generate_video(prompt=prompt)
                unknown.append(str(caught.value.job_id))
        for number in range(1_100):
            await store.open_call(new_call(f"call_{number}", backend="fake"), Budget(), owner="someone", lease_seconds=1)
        service.jobs["vid-1"] = {"label": "", "left": 0, "looks": 0}
        async with (
            fake_router(service, registry=registry, store=store, clock=clock) as first,
            fake_router(service, registry=registry, store=store, clock=clock) as second,
        ):
            ended = await asyncio.gather(first.resume(unknown[0]), second.resume(unknown[1]), return_exceptions=True)
            assert sum(isinstance(error, SubmissionUnknown) for error in ended) == 1, ended
            assert len({record.id for record in await first.jobs(limit=5_000) if record.job is not None}) == 1


async def test_call_of_the_first_edition_matches_the_account_of_its_instance(store: KeptStore, clock: Ticking) -> None:
    with FakeService() as service:
        job = await submitted(service, store=store, clock=clock)
        await store._database.write(lambda c: c.execute("UPDATE calls SET account = ?", (UNKNOWN_ACCOUNT,)))
        async with fake_router(service, store=store, clock=clock) as router:
            assert (await router.resume(job)).path.read_bytes() == mp4()
            assert (await router.job(job)).account.endswith(service.http.url)
