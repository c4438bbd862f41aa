"""A request that takes several calls: what is said of its money when only some of them, or none, brought something."""

import pytest
from core.fake_service import FakeService
from core.routing import fake_router

from anymedia import SqliteStore
from anymedia.errors import SubmissionUnknown

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


class Kept(SqliteStore):
    """Outlives its routers."""

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("first", ["refused", "lost"])
async def test_failed_calls_report_the_one_that_may_be_charged(first: str) -> None:
    store = Kept()
    with FakeService() as service:
        for kind in ("refused", "lost") if first == "refused" else ("lost", "refused"):
            service.http.fail("lost" if kind == "lost" else "status", on="POST /images", times=1, status=403)
        async with fake_router(service, store=store) as router:
            with pytest.raises(SubmissionUnknown) as caught:
                await router.generate_image(prompt="foxes", n=2)
            assert (caught.value.charged, caught.value.retry) == ("unknown", False)
            assert sorted(row.state for row in await router.jobs()) == ["refused", "unknown"]
            run = (await router.jobs())[0].run
        async with fake_router(service, store=store) as second:
            with pytest.raises(SubmissionUnknown) as caught:
                await second.resume(run)
            assert caught.value.charged == "unknown"


async def test_cost_of_several_calls_includes_one_that_may_still_be_charged() -> None:
    with FakeService() as service:
        service.http.fail("lost", on="POST /images", times=1)
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="foxes", n=3)
            assert len(result.files) == 2
            assert (result.cost.actual_usd, result.cost.quoted_usd) == (None, pytest.approx((0.3, 0.3)))
            assert (await router.store.spend()).reserved_usd == pytest.approx(0.1)


async def test_call_that_was_refused_for_nothing_leaves_the_cost_known() -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=1, status=403)
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="foxes", n=3)
            assert result.cost.actual_usd == pytest.approx(0.16) == (await router.store.spend()).committed_usd
