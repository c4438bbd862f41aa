"""What the router does when a backend refuses, fails, or is not heard from again: nothing is ever paid twice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from core import fake_backend
from core.fake_service import FakeService
from core.routing import fake_router
from wire.http_server import closed_port

from anymedia import Policy, hookimpl
from anymedia.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    PluginContractError,
    RateLimited,
    SubmissionUnknown,
)
from anymedia.http import get_json, post_json
from anymedia.plugins.registry import Registry
from anymedia.state.store import Spend

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


async def _no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_lost_reply_is_never_sent_again_and_says_what_is_at_risk() -> None:
    with FakeService() as service:
        service.http.fail("lost", on="POST /images", times=None)
        async with fake_router(service) as router:
            with pytest.raises(SubmissionUnknown, match=r"up to 0\.1 USD may be charged") as caught:
                await router.generate_image(prompt="a fox")
            assert len(service.submits) == 1
            assert (caught.value.charged, caught.value.retry, caught.value.job_id) == ("unknown", False, (await router.jobs())[0].id)
            assert (await router.jobs())[0].state == "unknown"
            assert "try again" not in str(caught.value).lower()
            assert (await router.store.spend()).reserved_usd == pytest.approx(0.1)


async def test_lost_reply_is_found_again_where_the_provider_has_a_list() -> None:
    with FakeService() as service:
        service.http.fail("lost", on="POST /videos", times=1)
        async with fake_router(service, options={"can_list": True}) as router:
            result = await router.generate_video(prompt="waves")
            assert result.path.exists()
            assert len(service.submits) == 1


async def test_refused_connection_is_tried_again_and_ends_as_not_sent() -> None:
    async with fake_router(f"http://127.0.0.1:{closed_port()}") as router:
        router._engine.clock.sleep = _no_sleep  # type: ignore[method-assign]
        with pytest.raises(BackendUnavailable, match="nothing was sent") as caught:
            await router.generate_image(prompt="a fox")
        assert (caught.value.charged, caught.value.delivery) == ("no", "not_sent")
        row = (await router.jobs())[0]
        assert (row.state, row.submits) == ("failed", 3)
        assert await router.store.spend() == Spend(reserved_usd=0, committed_usd=0, unknown_calls=0, calls=1)
        with pytest.raises(BackendUnavailable, match="nothing was sent") as again:
            await router.resume(row.id)
        assert again.value.to_json() == caught.value.to_json()


async def test_rate_limit_is_obeyed_and_tried_again() -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=2, status=429, headers={"Retry-After": "0.05"})
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="a fox")
            assert len(service.submits) == 1
            assert [(a.error, a.delivery) for a in result.attempts] == [("rate_limited", "refused")] * 2


@pytest.mark.parametrize(("status", "again"), [(503, True), (529, True), (None, True), (500, False), (502, False)])
async def test_refused_request_is_repeated_only_where_the_service_is_overloaded(
    monkeypatch: pytest.MonkeyPatch, status: int | None, again: bool
) -> None:
    """As a billing rule of the matrix makes it: an error that is not charged, with the status of the answer."""
    error = BackendUnavailable("it failed", delivery="refused")
    error.status = status
    calls = []

    async def failing(*_: Any, **__: Any) -> Any:
        calls.append(1)
        async with __["context"].submission():
            raise error

    with FakeService() as service:
        async with fake_router(service, policy=Policy(retries=1)) as router:
            monkeypatch.setattr(type(router._engine), "call", failing)
            router._engine.clock.sleep = _no_sleep  # type: ignore[method-assign]
            with pytest.raises(BackendUnavailable) as caught:
                await router.generate_image(prompt="a fox")
            assert (caught.value.charged, len(calls)) == ("no", 2 if again else 1)
            assert (await router.jobs())[0].state == "refused"


async def test_rate_limit_that_lasts_longer_than_anybody_waits_is_passed_on() -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=None, status=429, headers={"Retry-After": "600"})
        async with fake_router(service) as router:
            with pytest.raises(RateLimited) as caught:
                await router.generate_image(prompt="a fox")
            assert caught.value.retry_after == 600
            assert (await router.jobs())[0].submits == 1


async def test_refusals_are_not_tried_again() -> None:
    for status, expected in ((401, AuthenticationFailed), (403, ContentRefused), (422, BadBackendResponse)):
        with FakeService() as service:
            service.http.fail("status", on="POST /images", times=None, status=status)
            async with fake_router(service) as router:
                with pytest.raises(expected) as caught:
                    await router.generate_image(prompt="a fox")
                assert caught.value.backend == "fake"
                assert ((await router.jobs())[0].state, (await router.jobs())[0].submits) == ("refused", 1)
                assert (await router.store.spend()).reserved_usd == 0


async def test_garbage_is_a_bad_response_that_may_have_been_charged() -> None:
    with FakeService() as service:
        service.http.fail("garbage", on="POST /images", times=None)
        async with fake_router(service) as router:
            with pytest.raises(BadBackendResponse) as caught:
                await router.generate_image(prompt="a fox")
            assert caught.value.charged == "unknown"
            assert ((await router.jobs())[0].state, (await router.jobs())[0].submits) == ("unknown", 1)


async def test_equivalent_backend_takes_over_only_when_nothing_was_spent() -> None:
    from anymedia.settings import InstanceSettings, Settings

    with FakeService() as service:

        def two(first: str) -> Settings:
            urls = {"able": service.http.url, "aaaa": first}
            made = {n: InstanceSettings(name=n, plugin="fake", base_url=u) for n, u in urls.items()}
            return Settings(instances=made)

        async with fake_router(
            service, settings=two(f"http://127.0.0.1:{closed_port()}"), policy=Policy(retries=0, prefer=("aaaa",))
        ) as router:
            result = await router.generate_image(prompt="a fox")
            assert result.provenance.backend == "able"
            assert [(a.backend, a.delivery) for a in result.attempts] == [("aaaa", "not_sent")]
            with pytest.raises(BackendUnavailable):
                await router.generate_image(prompt="a fox", backend="aaaa")
        with FakeService() as losing:
            losing.http.fail("lost", on="POST /images", times=None)
            async with fake_router(service, settings=two(losing.http.url), policy=Policy(prefer=("aaaa",))) as router:
                with pytest.raises(SubmissionUnknown):
                    await router.generate_image(prompt="a fox")
        assert len(service.submits) == 1


async def test_many_failed_status_checks_do_not_fail_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeService() as service:
        service.http.fail("status", on="GET /videos", times=20, status=500)
        async with fake_router(service) as router:
            router._engine.clock.sleep = _no_sleep  # type: ignore[method-assign]
            router._engine.polls.rate = 1e9
            result = await router.generate_video(prompt="waves")
            assert result.path.exists()


async def test_job_that_fails_for_good_ends_with_its_reason() -> None:
    with FakeService() as service:
        service.fail_jobs = True
        async with fake_router(service) as router:
            with pytest.raises(ContentRefused) as caught:
                await router.generate_video(prompt="waves")
            assert caught.value.charged == "unknown"
            with pytest.raises(ContentRefused):
                await router.resume(str(caught.value.job_id))


async def test_one_call_of_several_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=1, status=403)
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="foxes", n=3)
            assert len(result.files) == 2
            assert any(w.code == "calls_failed" and "1 of 3 calls" in w.text and "content_refused" in w.text for w in result.warnings)


async def test_submit_that_would_take_the_key_to_another_place_is_not_sent_and_costs_nothing() -> None:
    module = fake_backend.as_module("fake")
    registry = Registry()

    async def generate_image(request: Any, context: Any) -> Any:
        async with context.submission():
            return await post_json(context, context.settings["other"], {}, headers={"x-key": context.secret("api_key").reveal()})

    async def check_job(job: Any, context: Any) -> Any:
        return await get_json(context, context.settings["other"], headers={"x-key": context.secret("api_key").reveal()})

    module.generate_image, module.check_job = hookimpl(generate_image), hookimpl(check_job)  # type: ignore[attr-defined]
    registry.register("fake", module)
    with FakeService() as service:
        options = {"other": service.files.url}
        async with fake_router(service, registry=registry, options=options) as router:
            with pytest.raises(PluginContractError, match="its key was not sent there") as caught:
                await router.generate_image(prompt="a fox")
            row = await router.job(str(caught.value.job_id))
            assert (row.state, caught.value.charged, row.submits) == ("failed", "no", 1)
            with pytest.raises(PluginContractError, match="its key was not sent there") as caught:
                await router.generate_video(prompt="a fox")  # raised by the first status check, as every later one would fail too
            assert (await router.store.calls())[0].state == "submitted"  # it can be resumed once the settings name the host
