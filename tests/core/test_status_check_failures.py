"""Repeated failed status checks: the job is not lost, and the caller that waits learns why they failed."""

import hashlib
from typing import Any

import pytest
from core import fake_backend
from core.fake_service import FakeService, mp4
from core.routing import KEY, fake_router
from core.test_missing_jobs import Ticking, Told

from anymedia import GenerateVideo, Running, hookimpl
from anymedia.errors import BackendTimeout, BackendUnavailable, Fix, PluginContractError
from anymedia.plugins.registry import Registry

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


def looking_with(look: Any) -> Registry:
    """Return the fake backend with ``look`` as its status check."""
    module = fake_backend.as_module("fake")
    module.check_job = hookimpl(look)
    registry = Registry()
    registry.register("fake", module)
    return registry


async def test_a_deadline_that_passes_over_a_mistake_in_the_plugin_names_the_mistake_and_its_place() -> None:
    async def check_job(job: Any, context: Any) -> Any:
        return {"state": "done"}["download"]

    clock = Ticking()
    told = Told(clock)
    with FakeService() as service:
        async with fake_router(service, registry=looking_with(check_job), clock=clock, on_progress=told) as router:
            with pytest.raises(BackendTimeout) as caught:
                await router.generate_video(prompt="waves", deadline=30)
            failed = sum("a status check failed" in note for _, note in told.notes)
            assert failed > 2
            assert f"the last {failed} status checks failed" in caught.value.message
            assert "raised KeyError: 'download' (test_status_check_failures.py:" in caught.value.message
            assert "is still processing" not in caught.value.message  # no status check has said so
            assert caught.value.action == Fix("resume", caught.value.job_id)
            assert caught.value.charged == "unknown"
            assert all("KeyError: 'download'" in note for _, note in told.notes if "a status check failed" in note)


async def test_a_successful_status_check_clears_the_earlier_failures() -> None:
    looks = 0

    async def check_job(job: Any, context: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise BackendUnavailable("it is being restarted")
        return Running(progress=0.5)

    with FakeService() as service:
        async with fake_router(service, registry=looking_with(check_job), clock=Ticking()) as router:
            with pytest.raises(BackendTimeout, match="is still processing") as caught:
                await router.generate_video(prompt="waves", deadline=30)
            assert looks > 2
            assert "failed" not in caught.value.message
            assert "restarted" not in caught.value.message


async def test_a_job_with_some_failed_status_checks_is_collected() -> None:
    looks = 0

    async def check_job(job: Any, context: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks < 4:
            raise BackendUnavailable("it is being restarted")
        return await fake_backend.check_job(job, context)

    with FakeService() as service:
        async with fake_router(service, registry=looking_with(check_job), clock=Ticking()) as router:
            assert (await router.generate_video(prompt="waves", deadline=60)).path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_a_status_check_that_breaks_the_contract_leaves_the_job_resumable_and_possibly_charged() -> None:
    broken = True

    async def check_job(job: Any, context: Any) -> Any:
        return {"status": "rendering"} if broken else await fake_backend.check_job(job, context)

    with FakeService() as service:
        async with fake_router(service, registry=looking_with(check_job), clock=Ticking()) as router:
            with pytest.raises(PluginContractError, match="check_job") as caught:
                await router.generate_video(prompt="waves", deadline=30)
            error = caught.value
            assert error.charged == "unknown"  # the job was accepted and is running: a second request would be paid twice
            assert error.job_id is not None
            assert error.action == Fix("resume", error.job_id)
            assert not error.retry
            broken = False
            assert (await router.resume(error.job_id)).path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_credentials_are_hashed_once_per_job_and_not_on_every_status_check(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[bytes] = []

    def counting(made: Any) -> Any:
        return lambda data=b"", *rest, **more: texts.append(bytes(data)) or made(data, *rest, **more)

    for name in ("sha256", "blake2b"):
        monkeypatch.setattr(hashlib, name, counting(getattr(hashlib, name)))
    with FakeService(looks=10) as service:
        async with fake_router(service, clock=Ticking()) as router:
            job = (await router.submit(GenerateVideo(prompt="waves"))).id
            assert any(KEY.encode() in text for text in texts)  # so that the next assertion means something
            texts.clear()
            await router.wait(job)
            assert max(job["looks"] for job in service.jobs.values()) >= 10
    assert sum(KEY.encode() in text for text in texts) <= 1


@pytest.mark.parametrize("odd", [55, -0.1, float("nan"), "half", True], ids=str)
async def test_an_invalid_progress_is_reported_as_unknown(odd: Any) -> None:
    async def check_job(job: Any, context: Any) -> Any:
        context.progress(odd, "from within")
        return Running(progress=odd, note="rendering")

    heard: list[Any] = []
    with FakeService() as service:
        async with fake_router(service, registry=looking_with(check_job), clock=Ticking(), on_progress=heard.append) as router:
            with pytest.raises(BackendTimeout, match="is still processing"):
                await router.generate_video(prompt="waves", deadline=30)
    assert {"rendering", "from within"} == {p.note for p in heard if p.event == "invalid_progress"}
    assert {progress.fraction for progress in heard} == {None}
