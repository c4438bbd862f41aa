"""Jobs outlive a wait, a deadline, a cancelled task and a failed collection; any router can resume them."""

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest
from clocks import FastClock
from core.fake_service import FakeService, mp4, png
from core.routing import fake_registry, fake_router, fake_settings, in_state, until

from anymedia import GenerateImage, GenerateVideo, Router, SqliteStore
from anymedia.errors import (
    BackendError,
    BackendTimeout,
    BadBackendResponse,
    Fix,
    InvalidRequest,
    MediaError,
    UnknownJob,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


async def test_passed_deadline_leaves_a_job_that_another_router_picks_up(tmp_path: Path) -> None:
    with FakeService(looks=1_000_000) as service:
        settings = fake_settings(service, state=tmp_path / "state")
        clock = FastClock()
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db"), clock=clock) as router:
            making = asyncio.create_task(router.generate_video(prompt="waves", deadline=600))
            await until(lambda: in_state(router, "running"))
            clock.ahead += 3600
            with pytest.raises(BackendTimeout, match=r"router\.resume") as caught:
                await making
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as router:
            service.jobs["vid-1"]["left"] = 0
            result = await router.resume(str(caught.value.job_id))
            assert result.path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_submit_returns_a_job_id_and_wait_the_result() -> None:
    with FakeService(looks=1) as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            assert record.state in {"submitted", "running"}
            result = await router.wait(record.id)
            assert result.job_id == record.id
            still = await router.submit(GenerateImage(prompt="a fox"))
            assert (await router.wait(still.id)).files[0].mime == "image/png"


async def test_cancelling_a_job_notifies_the_provider_and_frees_its_reservation() -> None:
    with FakeService(looks=1000) as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            assert (await router.store.spend()).reserved_usd > 0
            assert (await router.cancel(record.id)).state == "cancelled"
            assert service.cancelled == ["vid-1"]
            assert (await router.store.spend()).reserved_usd == 0


async def test_cancelled_job_that_is_free_is_not_charged() -> None:
    with FakeService(looks=1000) as service:
        async with fake_router(service) as router:
            plan = await router.plan(GenerateVideo(prompt="waves"))
            (call,) = plan.calls
            record = await router.submit(attrs.evolve(plan, calls=(attrs.evolve(call, quote=attrs.evolve(call.quote, usd=(0.0, 0.0))),)))
            cancelled = await router.cancel(record.id)
            assert (cancelled.state, cancelled.charged) == ("cancelled", "no")


async def test_cancelled_task_leaves_a_resumable_record() -> None:
    with FakeService(looks=1_000_000) as service:
        async with fake_router(service) as router:
            task = asyncio.create_task(router.generate_video(prompt="waves"))
            await until(lambda: in_state(router, "submitted", "running"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            row = (await router.jobs())[0]
            assert row.state in {"submitted", "running"}
            service.jobs["vid-1"]["left"] = 0
            assert (await router.resume(row.id)).path.exists()
            assert len(service.submits) == 1


async def test_unknown_job_is_a_clear_error() -> None:
    async with Router(store=SqliteStore(":memory:"), settings=fake_settings("http://127.0.0.1:1"), registry=fake_registry()) as router:
        with pytest.raises(UnknownJob, match="job_nothing"):
            await router.resume("job_nothing")


async def test_expired_link_is_replaced_by_a_fresh_one_when_the_job_is_resumed() -> None:
    with FakeService(looks=0) as service:
        service.files.fail("status", on="GET", times=None, status=403)
        async with fake_router(service) as router:
            with pytest.raises(BadBackendResponse, match=r"router\.resume") as caught:
                await router.generate_video(prompt="waves")
            assert (caught.value.charged, (await router.jobs())[0].state) == ("yes", "collecting")
            service.files.faults.clear()
            looks = len([r for r in service.http.received if r.method == "GET"])
            result = await router.resume(str(caught.value.job_id))
            assert result.path.read_bytes() == mp4()
            assert len([r for r in service.http.received if r.method == "GET"]) == looks + 1
            assert len(service.submits) == 1


async def test_finished_job_that_is_running_again_at_collection_is_waited_for() -> None:
    with FakeService(looks=0) as service:
        service.guarded = True  # so that the file has to be requested from the provider again
        service.files.fail("status", on="GET", times=None, status=403)
        async with fake_router(service) as router:
            with pytest.raises(BadBackendResponse, match=r"router\.resume") as caught:
                await router.generate_video(prompt="waves")
            assert (await router.jobs())[0].state == "collecting"
            service.files.faults.clear()
            service.jobs["vid-1"]["left"] = 2  # a machine that lags behind the one that said it was done
            result = await router.resume(str(caught.value.job_id))
            assert result.path.read_bytes() == mp4()
            assert ((await router.jobs())[0].state, len(service.submits)) == ("done", 1)


async def test_image_that_could_not_be_saved_is_saved_from_the_artifact_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            (tmp_path / "out").mkdir()
            broken = True

            def full(*arguments: object, **more: object) -> object:
                if broken:
                    raise OSError(28, "No space left on device")
                return commit(*arguments, **more)  # type: ignore[arg-type]

            from anymedia.files.atomic_writer import Writer

            commit = Writer.commit
            monkeypatch.setattr(Writer, "commit", full)
            with pytest.raises(OSError, match="No space"):
                await router.generate_image(prompt="a fox", output=tmp_path / "out" / "fox.png")
            broken = False
            row = (await router.jobs())[0]
            assert row.state == "collecting"
            result = await router.resume(row.id)
            assert result.path == tmp_path / "out" / "fox.png"
            assert result.path.read_bytes() == png()
            assert len(service.submits) == 1
            assert [p.name for p in (tmp_path / "out").iterdir()] == ["fox.png"]


async def test_two_resumes_of_one_job_in_one_router_share_the_work() -> None:
    with FakeService(looks=1) as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            results = await asyncio.gather(*(router.resume(record.id) for _ in range(5)), router.wait(record.id))
            assert len({result.path for result in results}) == 1
            assert len(service.files.received) == 1


async def test_waiting_with_a_deadline_stops_the_waiting_and_not_the_job() -> None:
    with FakeService(looks=1_000_000) as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            with pytest.raises(BackendTimeout, match=record.id):
                await router.wait(record.id, deadline=0.1)
            service.jobs["vid-1"]["left"] = 0
            assert (await router.wait(record.id)).path.exists()
            assert len(service.submits) == 1


async def test_paid_result_on_a_full_disk_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anymedia.files.atomic_writer import Writer

    write, full = Writer.write, [True]

    def on_a_full_disk(self: Writer, data: bytes | memoryview) -> None:
        if full[0]:
            raise self._failed(OSError(28, "No space left on device"))
        write(self, data)

    monkeypatch.setattr(Writer, "write", on_a_full_disk)
    (tmp_path / "out").mkdir()
    with FakeService() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path / "state")) as router:
            with pytest.raises(MediaError, match="full disk") as caught:
                await router.generate_image(prompt="a fox", output=tmp_path / "out" / "fox.png")
            assert (caught.value.charged, (await router.jobs())[0].state) == ("yes", "collecting")
            assert caught.value.action == Fix("resume", (await router.jobs())[0].run)
            assert list((tmp_path / "out").iterdir()) == []
            (stored,) = await router.artifacts.find((await router.jobs())[0].id)
            assert await router.artifacts.read(stored) == png()
            full[0] = False
            result = await router.resume((await router.jobs())[0].id)
            assert result.path == tmp_path / "out" / "fox.png"
            assert result.path.read_bytes() == png()
            assert len(service.submits) == 1


@pytest.mark.parametrize("deadline", [0, -1.0, 10**400, float("inf")])
async def test_wait_for_a_job_that_is_done_returns_its_result_whatever_the_deadline(deadline: float) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            job = (await router.generate_image(prompt="a fox")).job_id
            for wait in (router.wait, router.resume):
                assert (await wait(job, deadline=deadline)).job_id == job


async def test_wait_for_a_job_that_has_failed_raises_its_error_whatever_the_deadline() -> None:
    with FakeService() as service:
        service.fail_jobs = True
        async with fake_router(service) as router:
            with pytest.raises(BackendError) as caught:
                await router.generate_video(prompt="waves")
            with pytest.raises(type(caught.value)):
                await router.wait((await router.jobs())[0].id, deadline=0)


@pytest.mark.parametrize("wrong", ["5", True, float("nan"), []])
async def test_seconds_that_are_not_a_number_are_refused_before_anything_is_sent(wrong: Any) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            job = (await router.generate_image(prompt="a fox")).job_id
            request = GenerateVideo(prompt="waves")
            for name, work in (
                ("deadline", router.wait(job, deadline=wrong)),
                ("deadline", router.resume(job, deadline=wrong)),
                ("deadline", router.submit(request, deadline=wrong)),
                ("patience", router.submit(request, patience=wrong)),
                ("since", router.jobs(since=wrong)),
            ):
                with pytest.raises(InvalidRequest, match=rf"{name}.*expected a number of seconds"):
                    await work
            assert len(service.submits) == 1


async def test_job_that_is_not_named_by_its_id_is_refused() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            for wrong in (record, None, 5, b"job"):
                for method in (router.wait, router.resume, router.cancel, router.forget, router.job, router.is_active):
                    with pytest.raises(InvalidRequest, match=r"such as record\.run"):
                        await method(wrong)
            with pytest.raises(UnknownJob) as caught:
                await router.wait("x" * 100_000)
            assert len(str(caught.value)) < 200
            await router.wait(record.run)


async def test_listing_takes_one_state_and_refuses_unknown_ones() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            job = (await router.generate_image(prompt="a fox")).job_id
            for states, limit in (("done", 10**30), (["done", "failed"], 1)):
                assert [record.run for record in await router.jobs(states, limit=limit)] == [job]
            for states in ("finished", [None], 5):
                with pytest.raises(InvalidRequest, match="states"):
                    await router.jobs(states)
            for limit in ("5", 1.5, None):
                with pytest.raises(InvalidRequest, match="whole number"):
                    await router.jobs(limit=limit)


async def test_request_to_a_closed_router_is_refused_without_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            pass
        with pytest.raises(MediaError, match="closed"):
            await router.generate_image(prompt="a fox")
        assert not caplog.records
