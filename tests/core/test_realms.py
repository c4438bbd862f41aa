"""Views of a router: each realm sees its own jobs, continuations, keys and money, and nothing of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_registry, fake_router, fake_settings
from wire.http_server import Received

from anymedia import Budget, Continuation, GenerateImage, GenerateVideo, Policy, Router, SqliteStore, SyncRouter
from anymedia.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    MediaError,
    NoBackendAvailable,
    RequestError,
    UnknownContinuation,
    UnknownJob,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as made:
        yield made


@pytest.fixture
async def router(service: FakeService, tmp_path: Path) -> AsyncIterator[Router]:
    async with fake_router(service, settings=fake_settings(service, state=tmp_path / "state")) as made:
        yield made


async def refusal(work: Any) -> tuple[str, str]:
    with pytest.raises(UnknownJob) as caught:
        await work
    return caught.value.message, caught.value.fix


QUESTIONS = ["job", "run_status", "result_if_done", "is_active", "wait", "resume", "cancel", "forget"]


@pytest.mark.parametrize("question", QUESTIONS)
async def test_job_of_another_realm_is_unknown(router: Router, tmp_path: Path, question: str) -> None:
    a, b = router.scoped(realm="a"), router.scoped(realm="b")
    made = await a.generate_image(prompt="a fox", output=tmp_path / "fox.png")
    for job_id in (made.job_id, made.job_id[:-1] + "x"):  # an id that exists elsewhere, and one that exists nowhere
        message, fix = await refusal(getattr(b, question)(job_id))
        assert message == f"no job {job_id!r}"
        assert "job_" not in fix
    assert (await a.job(made.job_id)).state == "done"


async def test_ids_of_ones_own_realm_are_suggested(router: Router, tmp_path: Path) -> None:
    a = router.scoped(realm="a")
    made = await a.generate_image(prompt="a fox", output=tmp_path / "fox.png")
    message, _ = await refusal(a.job(made.job_id[:-1] + "x"))
    assert made.job_id in message


async def test_each_view_lists_its_own_jobs_and_the_router_all(router: Router, tmp_path: Path) -> None:
    a, b = router.scoped(realm="a"), router.scoped(realm="b")
    ids = {}
    for name, view in (("a", a), ("b", b), ("local", router)):
        ids[name] = (await view.generate_image(prompt="a fox", output=tmp_path / f"{name}.png")).job_id
    for name, view in (("a", a), ("b", b), ("local", router.scoped(realm="local"))):
        assert [record.id for record in await view.jobs()] == [ids[name]]
    assert {record.id for record in await router.jobs()} == set(ids.values())


async def test_continuation_of_another_realm_is_unknown_in_every_form(router: Router, service: FakeService, tmp_path: Path) -> None:
    a, b = router.scoped(realm="a"), router.scoped(realm="b")
    made = await a.generate_image(prompt="a fox", output=tmp_path / "fox.png")
    assert made.continuation_id is not None
    whole = await a.store.load_continuation(made.continuation_id)
    plan = await a.plan(GenerateImage(prompt="darker", continue_from=whole))
    for refused in (
        b.generate_image(prompt="darker", continue_from=made.continuation_id),
        b.generate_image(prompt="darker", continue_from=Continuation(id=made.continuation_id[:-1])),
        b.generate_image(prompt="darker", continue_from=whole),
        b.plan(GenerateImage(prompt="darker", continue_from=whole)),
        b.run(plan),
    ):
        with pytest.raises(UnknownContinuation) as caught:
            await refused
        assert made.continuation_id not in caught.value.fix
    assert len(service.submits) == 1
    assert (await a.run(plan, output=tmp_path / "darker.png")).path.exists()


async def test_same_run_key_in_two_realms_starts_two_runs(router: Router, service: FakeService, tmp_path: Path) -> None:
    views = [router.scoped(realm="a"), router.scoped(realm="b"), router]
    made = await asyncio.gather(
        *[view.generate_image(prompt="a fox", output=tmp_path / f"{n}.png", key="order-17") for n, view in enumerate(views * 2)]
    )
    assert [first.job_id == second.job_id for first, second in zip(made[:3], made[3:], strict=True)] == [True] * 3
    assert len({result.job_id for result in made}) == len(service.submits) == 3
    keys = [await view.repeat_key(GenerateImage(prompt="a fox")) for view in views]
    assert [run for _, run in keys] == [None] * 3


async def test_router_waits_for_a_run_that_a_view_has_started(router: Router, service: FakeService, tmp_path: Path) -> None:
    view = router.scoped(realm="a")
    record = await view.submit(GenerateVideo(prompt="waves"), output=tmp_path / "waves.mp4")
    result = await router.wait(record.run)
    assert result.path == tmp_path / "waves.mp4"
    assert len(service.submits) == 1


async def test_view_cannot_leave_its_realm(router: Router) -> None:
    view = router.scoped(realm="a")
    assert (view.realm, view.scoped().realm, view.scoped(realm="a").realm, router.realm) == ("a", "a", "a", None)
    for refused in (lambda: view.scoped(realm="b"), lambda: router.scoped(realm=""), lambda: router.scoped(realm="a\nb")):
        with pytest.raises(RequestError):
            refused()
    with pytest.raises(RequestError):
        await view.share("job_1", realm="b")


async def test_shared_result_is_independent_of_the_original(router: Router, service: FakeService, tmp_path: Path) -> None:
    made = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
    view = router.scoped(realm="a")
    copy = await router.share(made.job_id, realm="a")
    assert copy.run != made.job_id
    given = await view.result_if_done(copy.run)
    assert given is not None
    assert (given.path, given.continuation_id, given.cost.actual_usd) == (made.path, made.continuation_id, 0.0)
    assert (await view.store.spend()).committed_usd == 0
    await router.forget(made.job_id, force=True)
    made.path.unlink()
    plan = await view.plan(GenerateImage(prompt="darker", continue_from=given.continuation_id))
    assert plan.continuation is not None
    darker = await view.generate_image(prompt="darker", continue_from=given.continuation_id, output=tmp_path / "darker.png")
    assert darker.path.exists()
    await view.forget(copy.run, force=True)
    assert await router.artifacts.find(copy.id) == ()
    assert len(service.submits) == 2


async def test_forgetting_the_copy_leaves_the_original_its_artifacts(router: Router, tmp_path: Path) -> None:
    made = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
    copy = await router.share(made.job_id, realm="a")
    await router.scoped(realm="a").forget(copy.run, force=True)
    (artifact,) = await router.artifacts.find(made.job_id)
    assert await router.artifacts.read(artifact) == made.path.read_bytes()


async def test_shared_result_without_an_output_file_has_an_artifact_of_its_own(router: Router) -> None:
    made = await router.generate_image(prompt="a fox")
    data = made.path.read_bytes()
    copy = await router.share(made.job_id, realm="a")
    await router.forget(made.job_id, force=True)
    given = await router.scoped(realm="a").wait(copy.run)
    assert given.path.read_bytes() == data


async def test_only_a_result_can_be_shared(router: Router, service: FakeService, tmp_path: Path) -> None:
    service.http.fail("status", on="POST /images", status=400)
    with pytest.raises(MediaError) as caught:
        await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
    with pytest.raises(RequestError, match="only a result can be shared"):
        await router.share(str(caught.value.job_id), realm="a")


async def test_gc_of_a_view_leaves_the_artifacts_of_others(service: FakeService, tmp_path: Path) -> None:
    settings = attrs.evolve(fake_settings(service, state=tmp_path / "state"), artifacts_keep_days=0)
    async with fake_router(service, settings=settings) as router:
        a, b = router.scoped(realm="a"), router.scoped(realm="b")
        made = [await view.generate_image(prompt="a fox", output=f"{tmp_path}/x/") for view in (a, b)]
        assert {artifact.call_id for artifact in (await a.gc()).removed} == {made[0].job_id}
        assert len(await router.artifacts.find(made[1].job_id)) == 1


# Money


async def test_budget_of_a_view_caps_its_realm_under_every_policy(router: Router, tmp_path: Path) -> None:
    view = router.scoped(realm="a", budget=Budget(per_day=0.25))
    for number in range(2):  # 0.10 USD are quoted, 0.08 are charged
        await view.generate_image(prompt="a fox", output=tmp_path / f"{number}.png")
    for policy in (None, Policy(), Policy(budget=Budget(per_day=100))):
        with pytest.raises(BudgetExceeded, match="per_day of the realm"):
            await view.generate_image(prompt="a fox", output=tmp_path / "x.png", policy=policy)
    with pytest.raises(BudgetExceeded):
        await view.scoped(budget=Budget(per_day=100)).generate_image(prompt="a fox", output=tmp_path / "x.png")
    await router.scoped(realm="b", budget=Budget(per_day=0.25)).generate_image(prompt="a fox", output=tmp_path / "b.png")


@pytest.mark.parametrize("cap", ["per_call", "per_request"])
async def test_caps_of_a_view_without_a_scope_are_the_lower_ones(router: Router, tmp_path: Path, cap: str) -> None:
    view = router.scoped(policy=Policy(budget=Budget(**{cap: 0.05})), budget=Budget(**{cap: 5.0}))
    with pytest.raises(BudgetExceeded):
        await view.generate_image(prompt="a fox", output=tmp_path / "x.png")
    view = router.scoped(policy=Policy(budget=Budget(**{cap: 5.0})), budget=Budget(**{cap: 0.05}))
    with pytest.raises(BudgetExceeded):
        await view.generate_image(prompt="a fox", output=tmp_path / "x.png")


# Keys


@pytest.fixture
def tenants(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Keys that the service accepts; the environment has one that it refuses. Records who asked for which picture."""
    monkeypatch.setenv("FAKE_KEY", "owner-key-0123456789")
    accepted = service.http._handler
    service.http._handler = lambda request: accepted(attrs.evolve(request, headers={**request.headers, "authorization": f"Bearer {KEY}"}))
    return {name: f"tenant-{name}-0123456789" for name in "abc"}


def sender(request: Received) -> tuple[str, str]:
    return request.headers["authorization"].removeprefix("Bearer "), request.json()["prompt"]


async def test_each_request_carries_the_key_of_its_own_view(
    router: Router, service: FakeService, tenants: dict[str, str], tmp_path: Path
) -> None:
    views = {name: router.scoped(realm=name, keys={"fake": key}) for name, key in tenants.items()}
    await asyncio.gather(
        *[view.generate_image(prompt=f"for {name}", output=tmp_path / f"{name}{n}.png") for n in range(5) for name, view in views.items()]
    )
    sent = [sender(request) for request in service.http.received]
    assert len(sent) == 15
    assert set(sent) == {(key, f"for {name}") for name, key in tenants.items()}


async def test_clients_of_a_view_are_closed_with_it_and_those_of_the_router_stay(
    router: Router, tenants: dict[str, str], tmp_path: Path
) -> None:
    made = router._engine.clients._made
    await router.generate_image(prompt="x", output=tmp_path / "owner.png")
    (own,) = made.values()
    async with router.scoped(realm="a", keys={"fake": tenants["a"]}) as view, router.scoped(realm="a") as keyless:
        await view.generate_image(prompt="x", output=tmp_path / "a.png")
        await keyless.generate_image(prompt="x", output=tmp_path / "k.png")
        (tenant,) = [found for found in made.values() if found is not own]
        assert tenant.client is not own.client
    assert tenant.client.closed
    assert not own.client.closed
    assert list(made.values()) == [own]


async def test_client_of_a_view_that_is_gone_is_closed_by_the_next_one(router: Router, tenants: dict[str, str], tmp_path: Path) -> None:
    made = router._engine.clients._made
    await router.scoped(keys={"fake": tenants["a"]}).generate_image(prompt="x", output=tmp_path / "a.png")
    (first,) = made.values()
    view = router.scoped(keys={"fake": tenants["b"]})
    await view.generate_image(prompt="x", output=tmp_path / "b.png")
    await asyncio.gather(*router._engine.clients._closing)
    assert first.client.closed
    assert len(made) == 1


async def test_views_with_the_same_key_share_a_client(router: Router, tenants: dict[str, str], tmp_path: Path) -> None:
    views = [router.scoped(realm=realm, keys={"fake": tenants["a"]}) for realm in "ab"]
    for number, view in enumerate(views):
        await view.generate_image(prompt="x", output=tmp_path / f"{number}.png")
    assert len(router._engine.clients._made) == 1
    await views[0].aclose()
    await views[1].generate_image(prompt="x", output=tmp_path / "again.png")


async def test_resume_uses_the_keys_of_the_view_that_resumes(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", "owner-key-0123456789")
    settings, path = fake_settings(service, state=tmp_path / "state"), tmp_path / "state.db"
    async with fake_router(service, settings=settings, store=SqliteStore(path)) as router:
        service.looks = 10**6
        view = router.scoped(realm="a", keys={"fake": KEY})
        record = await view.submit(GenerateVideo(prompt="waves"), output=tmp_path / "waves.mp4")
    service.jobs["vid-1"]["left"] = 0
    async with fake_router(service, settings=settings, store=SqliteStore(path)) as router:
        result = await router.scoped(realm="a", keys=lambda instance: KEY).resume(record.run)
    assert result.path == tmp_path / "waves.mp4"
    assert {request.headers["authorization"] for request in service.http.received} == {f"Bearer {KEY}"}


async def test_call_has_keys_of_its_own(router: Router, service: FakeService, tenants: dict[str, str], tmp_path: Path) -> None:
    keys = {"fake": tenants["a"]}
    assert (await router.plan(GenerateImage(prompt="x"), keys=keys)).chosen.backend == "fake"
    await router.generate_image(prompt="a", output=tmp_path / "a.png", keys=keys)
    await router.generate_image(prompt="owner", output=tmp_path / "owner.png")
    record = await router.submit(GenerateImage(prompt="b"), output=tmp_path / "b.png", keys={"fake": tenants["b"]})
    await router.wait(record.run)
    sent = [sender(request) for request in service.http.received]
    assert sent == [(tenants["a"], "a"), (KEY, "owner"), (tenants["b"], "b")]
    assert {record.realm for record in await router.jobs()} == {"local"}


async def test_empty_key_makes_a_backend_unusable_in_the_view(router: Router) -> None:
    for keys in ({"fake": ""}, lambda instance: ""):
        with pytest.raises((NoBackendAvailable, AuthenticationFailed), match="none was given"):
            await router.scoped(keys=keys).plan(GenerateImage(prompt="x"))
    assert (await router.scoped(keys=lambda instance: None).plan(GenerateImage(prompt="x"))).chosen.backend == "fake"
    with pytest.raises(RequestError, match="did you mean 'fake'"):
        router.scoped(keys={"faek": "x"})


async def test_key_of_a_view_is_in_no_text_and_no_file(
    router: Router, service: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    key = "tenant-canary-0123456789"
    view = router.scoped(realm="a", keys={"fake": key})
    with pytest.raises(AuthenticationFailed) as caught:
        await view.generate_image(prompt="x", output=tmp_path / "x.png")
    texts = [repr(view), repr(view.instances), str(caught.value), repr(caught.value), caplog.text, repr(await view.jobs())]
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if key in text]


def test_sync_router_has_views_of_its_own(service: FakeService, tmp_path: Path) -> None:
    options: dict[str, Any] = {"settings": fake_settings(service, state=tmp_path / "state"), "registry": fake_registry()}
    with SyncRouter(store=SqliteStore(), **options) as router:
        with router.scoped(realm="a") as a, router.scoped(realm="b") as b:
            made = a.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            assert [record.id for record in a.jobs()] == [made.job_id]
            assert list(b.jobs()) == []
        assert router.job(made.job_id).realm == "a"
        copy = router.share(made.job_id, realm="b")
        assert router.scoped(realm="b").job(copy.id).state == "done"
