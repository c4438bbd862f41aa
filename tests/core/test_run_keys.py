"""One key, one run: a repeat returns the run that was started, in any process, and buys nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService, png
from core.routing import fake_router, fake_settings

from anymedia import GenerateImage, GenerateVideo, SqliteStore
from anymedia.errors import MediaError, RequestError, RunKeyConflict, SubmissionUnknown

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


@pytest.fixture
def routing(tmp_path: Path) -> Any:
    """Return a function that opens a router with the same durable state each time."""

    def make(service: FakeService, **more: Any) -> Any:
        settings = attrs.evolve(fake_settings(service, state=tmp_path / "state"))
        return fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db"), **more)

    return make


async def test_same_key_returns_the_same_run_also_in_another_process(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            first = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
            again = await router.generate_image(prompt="a fox", output=tmp_path / "other.png", key="order-17")
            assert (again.job_id, again.path) == (first.job_id, first.path)
        async with routing(service) as router:
            record = await router.submit(GenerateImage(prompt="a fox"), key="order-17")
            assert (record.run, record.state) == (first.job_id, "done")
        assert len(service.submits) == 1


async def test_concurrent_requests_with_one_key_start_one_run(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        service.http.fail("delay", on="POST /images", times=None, seconds=0.2)
        async with routing(service) as one, routing(service) as two:
            made = await asyncio.gather(
                *[
                    router.generate_image(prompt="a fox", output=tmp_path / f"{number}.png", key="order-17")
                    for number, router in enumerate([one, two] * 4)
                ]
            )
        assert len({result.job_id for result in made}) == 1
        assert len(service.submits) == 1


async def test_repeat_with_another_output_says_where_the_result_is(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            made = await router.generate_image(prompt="a fox", key="order 1", output=tmp_path / "fox.png")
            for output in (tmp_path / "fox.png", tmp_path, None):
                assert (await router.generate_image(prompt="a fox", key="order 1", output=output)).warnings == made.warnings
            again = await router.generate_image(prompt="a fox", key="order 1", output=tmp_path / "other.png")
            assert [warning.code for warning in again.warnings] == [*(w.code for w in made.warnings), "output_ignored"]
            assert str(made.path) in again.warnings[-1].text


async def test_another_request_with_a_key_is_an_error(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            first = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
            with pytest.raises(RunKeyConflict, match="belongs to another request") as caught:
                await router.generate_image(prompt="a bear", output=tmp_path / "bear.png", key="order-17")
            assert (caught.value.job_id, caught.value.charged) == (first.job_id, "no")
            await router.generate_image(prompt="a bear", output=tmp_path / "bear.png", key="order-18")
        assert len(service.submits) == 2


async def test_inputs_are_compared_by_content_and_not_by_path(tmp_path: Path, routing: Any) -> None:
    one, two, other = tmp_path / "one.png", tmp_path / "two.png", tmp_path / "other.png"
    one.write_bytes(png(32, 32))
    two.write_bytes(png(32, 32))
    other.write_bytes(png(16, 16))
    with FakeService() as service:
        async with routing(service) as router:

            async def edit(path: Path) -> str:
                made = await router.edit_with_references(prompt="a fox", references=[path], output=f"{tmp_path}/out/", key="k")
                return str(made.job_id)

            assert await edit(one) == await edit(two)
            one.write_bytes(png(16, 16))
            for path in (one, other):
                with pytest.raises(RunKeyConflict):
                    await edit(path)
        assert len(service.submits) == 1


async def test_run_that_ended_without_a_charge_is_attempted_again_in_the_same_run(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            service.http.fail("status", on="POST /images", times=1, status=400)
            with pytest.raises(MediaError) as caught:
                await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
            assert caught.value.charged == "no"
            made = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
            assert made.job_id == caught.value.job_id
            assert [record.state for record in await router.store.run(made.job_id)] == ["refused", "done"]
            again = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
            assert again.path == made.path


@pytest.mark.parametrize(("usd", "charged"), [(0.0, "no"), (0.1, "unknown")])
async def test_run_of_unknown_outcome_is_attempted_again_only_if_it_is_free(tmp_path: Path, routing: Any, usd: float, charged: str) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            plan = await router.plan(GenerateImage(prompt="a fox"))
            (call,) = plan.calls
            plan = attrs.evolve(plan, calls=(attrs.evolve(call, quote=attrs.evolve(call.quote, usd=(usd, usd))),))
            service.http.fail("lost", on="POST /images", times=1)
            with pytest.raises(SubmissionUnknown) as caught:
                await router.run(plan, output=tmp_path / "fox.png", key="order-17")
            assert caught.value.charged == charged
            assert ("free of charge" in caught.value.message) == (charged == "no")
            if charged == "no":
                made = await router.run(plan, output=tmp_path / "fox.png", key="order-17")
                assert (made.job_id, made.path) == (caught.value.job_id, tmp_path / "fox.png")
            else:
                with pytest.raises(SubmissionUnknown):
                    await router.run(plan, output=tmp_path / "fox.png", key="order-17")
        assert len(service.submits) == (2 if charged == "no" else 1)


async def test_key_of_a_deleted_job_buys_nothing(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            made = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
            await router.forget(made.job_id)
        async with routing(service) as router:
            with pytest.raises(RunKeyConflict, match="was deleted; nothing was sent"):
                await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", key="order-17")
        assert len(service.submits) == 1


async def test_key_of_a_request_that_was_refused_before_it_was_recorded_is_free(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            with pytest.raises(RequestError):
                await router.generate_image(prompt="a fox", output=tmp_path / "missing" / "fox.png", key="order-17")
            await router.generate_image(prompt="a bear", output=tmp_path / "bear.png", key="order-17")


async def test_repeat_while_the_job_is_running_finds_it(tmp_path: Path, routing: Any) -> None:
    with FakeService(looks=10_000) as service:
        async with routing(service) as router:
            first = await router.submit(GenerateVideo(prompt="waves"), output=f"{tmp_path}/out/", key="order-17")
            second = await router.submit(GenerateVideo(prompt="waves"), output=f"{tmp_path}/out/", key="order-17")
            assert (second.run, second.state in {"submitted", "running"}) == (first.run, True)
        async with routing(service) as router:
            third = await router.submit(GenerateVideo(prompt="waves"), output=f"{tmp_path}/out/", key="order-17")
            assert third.run == first.run
        assert len(service.submits) == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "\0", "\ud800"], ids=["empty", "blank", "long", "nul", "surrogate"])
async def test_key_that_is_empty_too_long_or_unprintable_is_refused(routing: Any, key: str) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            with pytest.raises(RequestError, match="1 to 200 printable characters"):
                await router.generate_image(prompt="a fox", key=key)
        assert service.submits == []
