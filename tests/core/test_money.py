"""What the ledger says after each end of a call, and what another backend may cost when it takes over."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from core import fake_backend
from core.fake_service import FakeService
from core.routing import KEY, fake_router

from anymedia import Budget, Failed, GenerateVideo, Job, Policy, SqliteStore, hookimpl
from anymedia.cli.render import cost_text
from anymedia.errors import BackendError, ContentRefused, MediaError, RateLimited, SubmissionUnknown
from anymedia.planning.types import Quote
from anymedia.plugins.registry import Registry
from anymedia.results import Cost
from anymedia.settings import InstanceSettings, Settings
from anymedia.state.store import Spend

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def refused_while_rendering(charged: str, cost: float | None) -> Any:
    """A plugin whose job fails for good; what that costs is the provider's affair."""
    module = fake_backend.as_module()

    @hookimpl
    async def check_job(job: Job, context: Any) -> Any:
        error: BackendError = ContentRefused("held back", reason="policy")
        error.charged, error.cost_usd = charged, cost  # type: ignore[assignment]
        return Failed(error=error)

    module.check_job = check_job  # type: ignore[attr-defined]
    return only(module)


def only(module: Any) -> Registry:
    registry = Registry()
    registry.register("fake", module)
    return registry


@pytest.mark.parametrize(
    ("charged", "cost", "committed", "unknown"),
    [("yes", 0.13, 0.13, 0), ("yes", None, 0.2, 0), ("unknown", None, 0.2, 1), ("no", None, 0.2, 1)],
)
async def test_job_that_failed_counts_as_far_as_it_may_have_been_charged(
    charged: str, cost: float | None, committed: float, unknown: int
) -> None:
    """After a submit that was taken, ``no`` is what an error says by default; only with ``refused`` does it mean so."""
    with FakeService(looks=0) as service:
        async with fake_router(service, registry=refused_while_rendering(charged, cost)) as router:
            with pytest.raises(ContentRefused):
                await router.generate_video(prompt="waves", duration=4)
            spent = await router.store.spend()
            assert (spent.reserved_usd, spent.committed_usd, spent.unknown_calls) == (0, pytest.approx(committed), unknown)


async def test_refusal_that_the_provider_does_not_charge_releases_all() -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=1, status=403)
        async with fake_router(service) as router:
            with pytest.raises(ContentRefused):
                await router.generate_image(prompt="a fox")
            spent = await router.store.spend()
            assert (spent.reserved_usd, spent.committed_usd, spent.unknown_calls) == (0, 0, 0)


async def test_cancelling_counts_what_may_have_been_charged() -> None:
    with FakeService(looks=1000) as service:
        async with fake_router(service) as router:
            job = await router.submit(GenerateVideo(prompt="waves", duration=4))
            row = await router.cancel(job.id)
            spent = await router.store.spend()
            assert (spent.reserved_usd, spent.committed_usd, spent.unknown_calls) == (0, pytest.approx(0.2), 1)
            assert row.error is not None
            assert row.error["charged"] == "unknown"
    with FakeService() as service:
        service.http.fail("lost", on="POST /images", times=1)
        async with fake_router(service) as router:
            with pytest.raises(SubmissionUnknown):
                await router.generate_image(prompt="a fox")
            await router.cancel((await router.jobs())[0].id)
            spent = await router.store.spend()
            assert (spent.reserved_usd, spent.committed_usd) == (0, pytest.approx(0.1))


async def test_cancelling_a_call_whose_process_died_while_sending_counts_it_as_spent() -> None:
    from core.state_samples import new_call

    from anymedia.files.paths import plan_output

    store = SqliteStore(":memory:")
    target = {"media": "image", "output": plan_output(None, default_stem="fox", suffix=".png").to_json()}
    call = new_call("job_dead", backend="fake", model="still", operation="generate_image", quote_usd=(0.1, 0.1), target=target)
    record = await store.open_call(call, Budget(), owner="dead", lease_seconds=0)
    await store.advance(record.lease, "submitting", submits=1)
    async with fake_router("http://127.0.0.1:1", store=store) as router:
        await router.cancel("job_dead")
        assert (await store.spend()).committed_usd == pytest.approx(0.1)


async def test_cancelling_a_finished_job_counts_its_cost_sends_no_cancel_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FakeService(looks=0) as service:
        service.files.fail("status", on="GET", times=None, status=403)
        async with fake_router(service) as router:
            with pytest.raises(BackendError):
                await router.generate_video(prompt="waves", duration=4, output=tmp_path / "out" / "a.mp4")
            assert (await router.cancel((await router.jobs())[0].id)).state == "cancelled"
            assert service.cancelled == []
            assert (await router.store.spend()).committed_usd == pytest.approx(0.15)
            assert list((tmp_path / "out").iterdir()) == []


async def test_job_of_another_call_is_not_adopted_by_a_look_up() -> None:
    """Two calls that ask for the same look alike at a provider that keeps no label."""
    module = fake_backend.as_module()

    @hookimpl
    async def find_submission(record: Any, context: Any) -> Job | None:
        return Job(id="vid-1")

    module.find_submission = find_submission  # type: ignore[attr-defined]
    with FakeService(looks=0) as service:
        async with fake_router(service, registry=only(module)) as router:
            router._engine.clock.sleep = _at_once  # type: ignore[method-assign]
            await router.generate_video(prompt="waves")
            service.http.fail("drop", on="POST /videos", times=1)
            with pytest.raises(SubmissionUnknown):
                await router.generate_video(prompt="waves")
            assert [row.state for row in await router.jobs()] == ["unknown", "done"]


async def _at_once(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(0)


def two(first: str, second: str) -> Settings:
    return Settings(instances={n: InstanceSettings(name=n, plugin=n, base_url=u) for n, u in (("aaaa", first), ("able", second))})


def cheap_and_dear() -> Registry:
    """Two plugins: ``aaaa`` takes 0.10 and makes up to 4 pictures at once, ``able`` takes 0.40 and makes one at a time."""
    registry = Registry()
    for name, price, most in (("aaaa", "0.10", 4), ("able", "0.40", 1)):
        module = fake_backend.as_module(name)
        text = fake_backend.MATRIX.replace('per = "image", usd = 0.10', f'per = "image", usd = {price}')
        text = text.replace("size = {", f"n = {{ min = 1, max = {most} }}\nsize = {{", 1)
        module.capabilities = _capabilities(text)  # type: ignore[attr-defined]
        registry.register(name, module)
    return registry


def _capabilities(text: str) -> Any:
    import tomllib

    from anymedia.capabilities import parse_matrix

    @hookimpl
    def capabilities() -> Any:
        return parse_matrix(tomllib.loads(text), "fake.toml")

    return capabilities


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Policy(budget=Budget(per_call=0.2)), "per_call"),
        (Policy(budget=Budget(per_session=0.2)), "per_session"),
        (Policy(budget=Budget(per_request=0.2)), "cap for a request"),
        (Policy(on_quote=lambda plan: plan.quote.usd is not None and plan.quote.usd[1] < 0.2), "not approved"),
    ],
)
async def test_backend_that_costs_more_than_was_allowed_does_not_take_over(policy: Policy, why: str) -> None:
    with FakeService() as first, FakeService() as second:
        first.http.fail("status", on="POST", times=None, status=503)
        settings = two(first.http.url, second.http.url)
        allowed = policy.but(prefer=("aaaa",), retries=0)
        async with fake_router(first, settings=settings, registry=cheap_and_dear(), policy=allowed) as router:
            with pytest.raises(BackendError, match="overloaded") as caught:
                await router.generate_image(prompt="a fox")
            assert why in caught.value.fix
            assert "able/still" in caught.value.fix
            assert second.submits == []
            assert (await router.store.spend()).reserved_usd == 0


async def test_fallback_backend_is_named_in_the_provenance_and_only_its_quote_counts() -> None:
    with FakeService() as first, FakeService() as second:
        first.http.fail("status", on="POST", times=None, status=503)
        asked: list[float] = []

        def approve(plan: Any) -> bool:
            asked.append(plan.quote.usd[1])
            return True

        policy = Policy(prefer=("aaaa",), retries=0, on_quote=approve)
        settings = two(first.http.url, second.http.url)
        async with fake_router(first, settings=settings, registry=cheap_and_dear(), policy=policy) as router:
            result = await router.generate_image(prompt="a fox")
            assert result.provenance.backend == "able"
            assert asked == [0.1, 0.4]
            assert result.cost.quoted_usd == (0.4, 0.4)
            assert not any(w.code == "calls_failed" for w in result.warnings)
            assert [a.backend for a in result.attempts] == ["aaaa"]


async def test_fallback_for_several_pictures_keeps_their_number() -> None:
    """Who would need several calls for it is passed over; one after the other they would be several runs."""
    with FakeService() as first, FakeService() as second:
        first.http.fail("status", on="POST", times=None, status=503)
        settings = two(first.http.url, second.http.url)
        policy = Policy(prefer=("aaaa",), retries=0)
        async with fake_router(first, settings=settings, registry=cheap_and_dear(), policy=policy) as router:
            with pytest.raises(BackendError, match="overloaded") as caught:
                await router.generate_image(prompt="foxes", n=4)
            assert "4 calls" in caught.value.fix
            assert second.submits == []


async def test_policy_for_one_call_also_applies_to_the_fallback_backend() -> None:
    with FakeService() as first, FakeService() as second:
        first.http.fail("status", on="POST", times=None, status=503)
        called = Policy(prefer=("aaaa",), retries=0, budget=Budget(per_call=0.2))
        async with fake_router(first, settings=two(first.http.url, second.http.url), registry=cheap_and_dear()) as router:
            with pytest.raises(BackendError, match="overloaded"):
                await router.generate_image(prompt="a fox", policy=called)
            assert (first.submits, second.submits) == ([], [])


async def test_rate_limited_job_that_was_taken_is_not_given_to_another_backend() -> None:
    """Only a submit is refused; a job that fails later may have been charged."""

    @hookimpl
    async def check_job(job: Job, context: Any) -> Any:
        return Failed(error=RateLimited("no capacity left for it"))

    registry = Registry()
    for name in ("aaaa", "able"):
        module = fake_backend.as_module(name)
        module.check_job = check_job  # type: ignore[attr-defined]
        registry.register(name, module)
    with FakeService() as first, FakeService() as second:
        settings = two(first.http.url, second.http.url)
        async with fake_router(first, settings=settings, registry=registry, policy=Policy(prefer=("aaaa",))) as router:
            with pytest.raises(RateLimited):
                await router.generate_video(prompt="waves")
            assert second.submits == []


async def test_day_of_a_cap_is_the_utc_day_in_which_the_call_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import time

    class Set:
        at = 1_790_035_199.0  # a second before midnight UTC

        def now(self) -> float:
            return self.at

        def steady(self) -> float:
            return time.monotonic()

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(0)

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        clock = Set()
        clock.at -= clock.at % 86_400 - 86_399
        with FakeService() as service:
            policy = Policy(budget=Budget(per_day=0.15))
            async with fake_router(service, policy=policy, clock=clock) as router:
                await router.generate_image(prompt="a fox")
                with pytest.raises(MediaError, match="per_day"):
                    await router.generate_image(prompt="a fox")
                clock.at += 2
                await router.generate_image(prompt="a fox")
                assert len(service.submits) == 2
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0.0, "0"),
        (0.04, "0.04"),
        (0.123456, "0.1235"),
        (7.5e-05, "0.000075"),
        (1.5e-07, "0.00000015"),
        (12345.5, "12345.5"),
        (100.0, "100"),
    ],
)
def test_amount_is_written_without_an_exponent(amount: float, said: str) -> None:
    assert str(Quote(usd=(amount, amount))) == f"{said} USD"
    assert cost_text(Cost(actual_usd=amount)) == f"{said} USD"


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0, "much", True, [0.1]])
async def test_price_that_is_none_does_not_lose_what_was_paid_for(cost: Any) -> None:
    registry = Registry()
    module: Any = fake_backend.as_module()
    sent = module.generate_image

    @hookimpl
    async def generate_image(request: Any, context: Any) -> Any:
        usage = {"tokens": float("nan"), "price": Decimal("0.1"), "nothing": None, "more": [object()]}
        return attrs.evolve(await sent(request, context), cost_usd=cost, usage=usage)

    module.generate_image = generate_image
    registry.register("fake", module)
    with FakeService() as service:
        async with fake_router(service, registry=registry) as router:
            result = await router.generate_image(prompt="a fox")
            assert result.path.exists()
            assert result.cost.actual_usd is None
            assert await router.store.spend() == Spend(reserved_usd=0, committed_usd=0.1, unknown_calls=0, calls=1)
            row = (await router.jobs())[0]
            assert row.result is not None
            assert json.loads(json.dumps(row.result["usage"], allow_nan=False))["tokens"] is None
