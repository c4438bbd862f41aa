"""No observation is final while the provider may still deliver: an explicit resume checks again, and delivers what was paid for."""

from typing import Any

import pytest
from core.fake_service import FakeService, mp4
from core.routing import fake_router
from core.test_missing_jobs import EVER, Ticking

from anymedia import Budget, GenerateVideo, Policy
from anymedia.errors import AuthenticationFailed, BackendTimeout, BudgetExceeded, ContentRefused, Fix, JobCancelled, JobNotFound, MediaError
from anymedia.execution.poll import MOST_REFUSALS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


async def failed_job(router: Any, service: FakeService) -> str:
    service.fail_jobs = True
    with pytest.raises(ContentRefused) as caught:
        await router.generate_video(prompt="waves")
    assert (await router.job(caught.value.job_id)).state == "failed"
    return str(caught.value.job_id)


async def test_resume_of_a_job_that_a_status_called_failed_checks_again_and_delivers_it() -> None:
    with FakeService() as service:
        async with fake_router(service, clock=Ticking()) as router:
            job = await failed_job(router, service)
            with pytest.raises(ContentRefused, match="refused while rendering"):
                await router.resume(job)
            assert (await router.job(job)).state == "failed"
            checks = service.http.count("GET /videos")
            with pytest.raises(ContentRefused):
                await router.wait(job)  # only an explicit resume checks again
            assert service.http.count("GET /videos") == checks
            service.fail_jobs = False
            assert (await router.resume(job)).path.read_bytes() == mp4()
            record = await router.job(job)
            assert (record.state, record.error, record.charged, len(service.submits)) == ("done", None, "yes", 1)
            assert (await router.store.spend()).committed_usd == 0.15


@pytest.mark.parametrize("missing", [True, False], ids=["not found", "refused"])
async def test_resume_of_an_ended_job_whose_check_fails_changes_nothing_and_says_so(missing: bool) -> None:
    with FakeService() as service:
        async with fake_router(service, clock=Ticking()) as router:
            job = await failed_job(router, service)
            before = await router.job(job)
            if missing:
                service.missing = EVER
            else:
                service.http.fail("status", on="GET /videos", times=None, status=401)
            with pytest.raises(ContentRefused, match=r"another status check just now: (there is no video|the key was not accepted)"):
                await router.resume(job)
            after = await router.job(job)
            assert (after.state, after.error, after.updated_at) == (before.state, before.error, before.updated_at)


async def test_resume_of_a_cancelled_job_that_the_provider_completed_delivers_it() -> None:
    with FakeService(looks=10**6) as service:
        async with fake_router(service, clock=Ticking()) as router:
            job = (await router.submit(GenerateVideo(prompt="waves"))).id
            assert (await router.cancel(job)).state == "cancelled"
            with pytest.raises(JobCancelled):
                await router.wait(job)
            for each in service.jobs.values():
                each["left"] = 1  # running at first
            assert (await router.resume(job)).path.read_bytes() == mp4()
            assert ((await router.job(job)).state, len(service.submits)) == ("done", 1)


async def test_cancel_of_a_lost_job_ends_it_although_the_provider_does_not_find_it() -> None:
    with FakeService() as service:
        service.missing = EVER
        async with fake_router(service, clock=Ticking()) as router:
            with pytest.raises(JobNotFound) as caught:
                await router.generate_video(prompt="waves")
            service.http.fail("status", on="DELETE /videos", times=None, status=404)
            record = await router.cancel(str(caught.value.job_id))
            assert (record.state, record.charged) == ("cancelled", "unknown")


async def test_late_success_commits_to_the_day_of_its_reservation() -> None:
    clock = Ticking()
    with FakeService() as service:
        async with fake_router(service, clock=clock, policy=Policy(budget=Budget(per_day=0.25), retries=0)) as router:
            service.fail_jobs = True
            with pytest.raises(ContentRefused) as caught:
                await router.generate_video(prompt="waves")
            job, day = str(caught.value.job_id), clock.at
            assert (await router.store.spend(since=day - 10**5)).committed_usd == 0.2  # what a failed job may have cost
            with pytest.raises(BudgetExceeded):
                await router.generate_video(prompt="more waves")
            clock.at += 2 * 86_400
            assert (await router.generate_image(prompt="a fox")).path.exists()
            service.fail_jobs = False
            assert (await router.resume(job)).path.exists()
            assert (await router.store.spend(since=day + 86_400)).committed_usd == pytest.approx(0.08)  # the picture, of today
            assert (await router.store.spend()).committed_usd == pytest.approx(0.23)


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationFailed), (403, BackendTimeout), (400, BackendTimeout)])
async def test_status_checks_refused_for_good_end_the_waiting_and_name_the_key(status: int, kind: type[MediaError]) -> None:
    clock = Ticking()
    with FakeService() as service:
        async with fake_router(service, clock=clock) as router:
            service.http.fail("status", on="GET /videos", times=None, status=status)
            with pytest.raises(kind, match="FAKE_KEY") as caught:
                await router.generate_video(prompt="waves")
            assert (caught.value.charged, caught.value.action) == ("unknown", Fix("resume", caught.value.job_id))
            assert service.http.count("GET /videos") == MOST_REFUSALS
            job = str(caught.value.job_id)
            assert (await router.job(job)).state == "submitted"
            service.http.faults.clear()
            assert (await router.wait(job)).path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_status_checks_refused_for_a_moment_do_not_end_the_waiting() -> None:
    with FakeService() as service:
        async with fake_router(service, clock=Ticking()) as router:
            service.http.fail("status", on="GET /videos", times=MOST_REFUSALS - 1, status=403)
            assert (await router.generate_video(prompt="waves")).path.read_bytes() == mp4()


async def test_two_resumes_of_a_failed_job_make_one_check() -> None:
    with FakeService() as service:
        async with fake_router(service, clock=Ticking()) as router:
            import asyncio

            job = await failed_job(router, service)
            checks = service.http.count("GET /videos")
            ended = await asyncio.gather(*(router.resume(job) for _ in range(3)), return_exceptions=True)
            assert [type(error) for error in ended] == [ContentRefused] * 3
            assert service.http.count("GET /videos") == checks + 1
