"""The router over a fake backend on a real socket: one submit, a checked file, a handle to go on from."""

import asyncio
import io
from pathlib import Path

import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import KEY, fake_registry, fake_router, fake_settings
from PIL import Image as Pictures
from wire.http_server import closed_port

from anymedia import Budget, Continuation, GenerateImage, GenerateVideo, Inpaint, MemoryStore, Policy, Router, SqliteStore
from anymedia.errors import (
    AuthenticationFailed,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    BudgetExceeded,
    ContentRefused,
    InvalidRequest,
    RateLimited,
    SubmissionUnknown,
    UnknownContinuation,
    UnknownJob,
    UnsupportedInput,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


async def test_an_image_is_made_once_and_comes_back_checked_and_continuable(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="a red fox", size="80x64", output=tmp_path / "fox.png")
            assert len(service.submits) == 1
            assert result.path == tmp_path / "fox.png"
            assert result.path.read_bytes() == png(80, 64)
            assert (result.files[0].width, result.files[0].height) == (80, 64)
            assert result.cost.quoted_usd == (0.1, 0.1)
            assert result.cost.actual_usd == 0.08
            assert result.continuation_id is not None
            assert result.continuation_id.startswith("fake_img_")
            kept = router.store.load_continuation(result.continuation_id, now=0)
            assert (kept.backend, kept.model, kept.data) == ("fake", "still", {"turn": result.job_id})
            assert [p.name for p in tmp_path.iterdir()] == ["fox.png"]


async def test_a_made_up_name_comes_from_the_prompt_and_is_free(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            paths = {(await router.generate_image(prompt="A red fox!")).path for _ in range(3)}
    assert len(paths) == 3
    assert all("red-fox" in p.name and p.suffix == ".png" for p in paths)


async def test_a_video_is_submitted_followed_and_collected() -> None:
    with FakeService(looks=2) as service:
        async with fake_router(service) as router:
            seen = []
            router._engine.on_progress = seen.append
            result = await router.generate_video(prompt="waves", duration=4)
            assert result.path.read_bytes() == mp4()
            assert len(service.submits) == 1
            assert [r.state for r in router.jobs()] == ["done"]
            assert {"submitting", "submitted", "running", "collecting", "done"} <= {p.state for p in seen}
            assert any(p.fraction == 0.5 for p in seen)
            more = await router.continue_video(prompt="and on", continue_from=result.continuation_id)
            assert more.continued_as == "extend"
            assert more.continuation_id not in {None, result.continuation_id}


async def test_several_images_beyond_a_call_are_made_by_several_calls(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="foxes", n=3, output=tmp_path / "fox.png")
            assert len(service.submits) == 3
            assert len({f.continuation_id for f in result.files}) == 3
            assert sorted(p.name for p in tmp_path.iterdir()) == ["fox-1.png", "fox-2.png", "fox-3.png"]
            assert [a.kind for a in result.adjustments] == ["bridged"]


async def test_one_call_of_several_that_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=1, status=403)
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="foxes", n=3)
            assert len(result.files) == 2
            assert any("1 of 3 calls brought nothing" in w and "content_refused" in w for w in result.warnings)


async def test_an_existing_file_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"precious")
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(InvalidRequest, match="exists"):
                await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            assert service.submits == []
            assert (tmp_path / "fox.png").read_bytes() == b"precious"
            await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", overwrite=True)
            assert (tmp_path / "fox.png").read_bytes() == png()


async def test_a_missing_input_is_an_invalid_request_with_the_path_to_its_field() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(InvalidRequest, match=r"\$\.source"):
                await router.inpaint(prompt="a hat", source="missing.png", mask="missing.png")
            assert service.submits == []


async def test_the_format_asked_for_is_written_when_the_model_cannot(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="a fox", output_format="webp", output=tmp_path / "fox.webp")
            assert result.files[0].mime == "image/webp"
            with Pictures.open(result.path) as picture:
                assert picture.format == "WEBP"
            assert [a.kind for a in result.adjustments] == ["transcoded"]


def _mask(tmp_path: Path) -> tuple[Path, Path]:
    source, mask = Pictures.new("RGB", (64, 48), (10, 200, 30)), Pictures.new("L", (64, 48), 0)
    mask.paste(255, (16, 12, 48, 36))
    source.save(tmp_path / "source.png")
    mask.save(tmp_path / "mask.png")
    return tmp_path / "source.png", tmp_path / "mask.png"


async def test_protected_pixels_are_pasted_back_and_the_difference_is_told(tmp_path: Path) -> None:
    source, mask = _mask(tmp_path)
    with FakeService() as service:
        async with fake_router(service) as router:
            loose = await router.inpaint(prompt="red", source=source, mask=mask)
            assert loose.outside_mask_difference is not None
            assert loose.outside_mask_difference > 50
            tight = await router.inpaint(prompt="red", source=source, mask=mask, protect="exact")
            picture = Pictures.open(io.BytesIO(tight.path.read_bytes())).convert("RGB")
            assert picture.getpixel((2, 2)) == (10, 200, 30)
            assert picture.getpixel((30, 20)) == (200, 40, 40)


async def test_an_edit_without_a_source_takes_the_continued_image(tmp_path: Path) -> None:
    _, mask = _mask(tmp_path)
    with FakeService() as service:
        async with fake_router(service) as router:
            first = await router.generate_image(prompt="a fox")
            plan = router.plan(_inpaint(first.continuation_id, mask))
            assert plan.request.source.path == first.path.absolute()  # type: ignore[union-attr]
            await router.run(plan)
            first.path.unlink()
            with pytest.raises(UnknownContinuation, match="is gone"):
                router.plan(_inpaint(first.continuation_id, mask))


def _inpaint(continuation_id: str | None, mask: Path) -> Inpaint:
    return Inpaint(prompt="a hat", continue_from=continuation_id, mask=mask)


async def test_an_unknown_continuation_is_a_clear_error() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(UnknownContinuation, match="fake_vid_000000000000"):
                await router.continue_video(prompt="on", continue_from="fake_vid_000000000000")


async def test_a_continuation_never_goes_to_another_backend() -> None:
    with FakeService() as service:
        settings = fake_settings(service)
        two = {name: settings.instances["fake"].__class__(name=name, plugin="fake", base_url=service.http.url) for name in ("fake", "twin")}
        from anymedia.settings import Settings

        async with fake_router(service, settings=Settings(instances=two)) as router:
            result = await router.generate_image(prompt="a fox", backend="twin")
            with pytest.raises(UnsupportedInput, match="made by 'twin'"):
                await router.generate_image(prompt="on", continue_from=result.continuation_id, backend="fake")
            again = await router.generate_image(prompt="on", continue_from=result.continuation_id)
            assert again.provenance.backend == "twin"


async def test_a_lost_reply_is_never_sent_again_and_says_what_is_at_risk() -> None:
    with FakeService() as service:
        service.http.fail("lost", on="POST /images", times=None)
        async with fake_router(service) as router:
            with pytest.raises(SubmissionUnknown, match=r"up to 0\.1 USD may be charged") as caught:
                await router.generate_image(prompt="a fox")
            assert len(service.submits) == 1
            assert (caught.value.charged, caught.value.retry, caught.value.job_id) == ("unknown", False, router.jobs()[0].id)
            assert router.jobs()[0].state == "unknown"
            assert "try again" not in str(caught.value).lower()
            assert router.store.spend().reserved_usd == pytest.approx(0.1)


async def test_a_lost_reply_is_found_again_where_the_provider_has_a_list() -> None:
    with FakeService() as service:
        service.http.fail("lost", on="POST /videos", times=1)
        async with fake_router(service, options={"can_list": True}) as router:
            result = await router.generate_video(prompt="waves")
            assert result.path.exists()
            assert len(service.submits) == 1


async def test_a_refused_connection_is_tried_again_and_ends_as_not_sent() -> None:
    async with fake_router(f"http://127.0.0.1:{closed_port()}") as router:
        router._engine.clock.sleep = _no_sleep  # type: ignore[method-assign]
        with pytest.raises(BackendUnavailable, match="nothing was sent") as caught:
            await router.generate_image(prompt="a fox")
        assert (caught.value.charged, caught.value.delivery) == ("no", "not_sent")
        row = router.jobs()[0]
        assert (row.state, row.submits) == ("failed", 3)
        assert router.store.spend().reserved_usd == 0


async def _no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_a_rate_limit_is_obeyed_and_tried_again() -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=2, status=429, headers={"Retry-After": "0.05"})
        async with fake_router(service) as router:
            result = await router.generate_image(prompt="a fox")
            assert len(service.submits) == 1
            assert [(a.error, a.delivery) for a in result.attempts] == [("rate_limited", "refused")] * 2


async def test_a_rate_limit_that_lasts_longer_than_anybody_waits_is_passed_on() -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=None, status=429, headers={"Retry-After": "600"})
        async with fake_router(service) as router:
            with pytest.raises(RateLimited) as caught:
                await router.generate_image(prompt="a fox")
            assert caught.value.retry_after == 600
            assert router.jobs()[0].submits == 1


async def test_refusals_are_not_tried_again() -> None:
    for status, expected in ((401, AuthenticationFailed), (403, ContentRefused), (422, BadBackendResponse)):
        with FakeService() as service:
            service.http.fail("status", on="POST /images", times=None, status=status)
            async with fake_router(service) as router:
                with pytest.raises(expected) as caught:
                    await router.generate_image(prompt="a fox")
                assert caught.value.backend == "fake"
                assert (router.jobs()[0].state, router.jobs()[0].submits) == ("refused", 1)
                assert router.store.spend().reserved_usd == 0


async def test_garbage_is_a_bad_response_that_may_have_been_charged() -> None:
    with FakeService() as service:
        service.http.fail("garbage", on="POST /images", times=None)
        async with fake_router(service) as router:
            with pytest.raises(BadBackendResponse) as caught:
                await router.generate_image(prompt="a fox")
            assert caught.value.charged == "unknown"
            assert (router.jobs()[0].state, router.jobs()[0].submits) == ("unknown", 1)


async def test_an_equivalent_backend_takes_over_only_when_nothing_was_spent() -> None:
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


async def test_many_failed_looks_fail_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeService() as service:
        service.http.fail("status", on="GET /videos", times=20, status=500)
        async with fake_router(service) as router:
            router._engine.clock.sleep = _no_sleep  # type: ignore[method-assign]
            router._engine.polls.rate = 1e9
            result = await router.generate_video(prompt="waves")
            assert result.path.exists()


async def test_a_passed_deadline_leaves_a_job_that_another_router_picks_up(tmp_path: Path) -> None:
    with FakeService(looks=1_000_000) as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as router:
            with pytest.raises(BackendTimeout, match="jobs resume") as caught:
                await router.generate_video(prompt="waves", deadline=3)
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as router:
            service.jobs["vid-1"]["left"] = 0
            result = await router.resume(str(caught.value.job_id))
            assert result.path.read_bytes() == mp4()
            assert len(service.submits) == 1


async def test_a_job_that_fails_for_good_ends_with_its_reason() -> None:
    with FakeService() as service:
        service.fail_jobs = True
        async with fake_router(service) as router:
            with pytest.raises(ContentRefused) as caught:
                await router.generate_video(prompt="waves")
            assert caught.value.charged == "unknown"
            with pytest.raises(ContentRefused):
                await router.resume(str(caught.value.job_id))


async def test_submit_returns_with_a_job_id_and_wait_brings_the_result() -> None:
    with FakeService(looks=1) as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            assert record.state in {"submitted", "running"}
            result = await router.wait(record.id)
            assert result.job_id == record.id
            still = await router.submit(GenerateImage(prompt="a fox"))
            assert (await router.wait(still.id)).files[0].mime == "image/png"


async def test_a_cancelled_job_is_told_to_the_provider_and_frees_its_reservation() -> None:
    with FakeService(looks=1000) as service:
        async with fake_router(service) as router:
            record = await router.submit(GenerateVideo(prompt="waves"))
            assert router.store.spend().reserved_usd > 0
            assert (await router.cancel(record.id)).state == "cancelled"
            assert service.cancelled == ["vid-1"]
            assert router.store.spend().reserved_usd == 0


async def test_a_cancelled_task_leaves_a_resumable_row() -> None:
    with FakeService(looks=2) as service:
        async with fake_router(service) as router:
            task = asyncio.create_task(router.generate_video(prompt="waves"))
            while not service.submits:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            row = router.jobs()[0]
            assert row.state in {"submitted", "running"}
            assert (await router.resume(row.id)).path.exists()
            assert len(service.submits) == 1


async def test_a_budget_stops_a_call_before_any_network() -> None:
    with FakeService() as service:
        async with fake_router(service, policy=Policy(budget=Budget(per_run=0.25))) as router:
            await router.generate_image(prompt="a fox")
            await router.generate_image(prompt="a fox")
            with pytest.raises(BudgetExceeded):
                await router.generate_image(prompt="a fox")
            assert len(service.submits) == 2


async def test_fifty_calls_at_once_under_a_budget_for_ten_submit_just_ten() -> None:
    with FakeService() as service:
        async with fake_router(service, policy=Policy(budget=Budget(per_run=1.0 + 1e-9)), options={"cost": 0.1}) as router:
            service.http.fail("delay", on="POST /images", times=None, seconds=0.3)
            ended = await asyncio.gather(*(router.generate_image(prompt="a fox") for _ in range(50)), return_exceptions=True)
            assert len(service.submits) == 10
            assert sum(isinstance(e, BudgetExceeded) for e in ended) == 40


async def test_a_quote_that_is_not_approved_spends_nothing() -> None:
    with FakeService() as service:
        async with fake_router(service, policy=Policy(on_quote=lambda plan: plan.quote.usd is None)) as router:
            with pytest.raises(BudgetExceeded, match="not approved"):
                await router.generate_image(prompt="a fox")
            assert service.submits == []


async def test_no_key_and_no_signature_is_kept_or_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with FakeService(looks=1) as service:
        async with fake_router(service, store=SqliteStore(tmp_path / "state.db")) as router:
            result = await router.generate_video(prompt="waves")
            shown = repr(router.jobs()) + repr(result) + str(result.to_json()) + caplog.text
        assert KEY not in shown
        assert "SECRET-SIGNATURE" not in shown
        kept = b"".join(p.read_bytes() for p in tmp_path.glob("state.db*"))
        assert KEY.encode() not in kept


async def test_an_unknown_job_is_a_clear_error() -> None:
    async with Router(store=MemoryStore(), settings=fake_settings("http://127.0.0.1:1"), registry=fake_registry()) as router:
        with pytest.raises(UnknownJob, match="job_nothing"):
            await router.resume("job_nothing")


def test_an_unresolved_continuation_is_never_planned_as_if_it_were() -> None:
    assert not Continuation(id="x").resolved


async def test_an_expired_link_is_replaced_by_a_fresh_one_when_the_job_is_taken_up_again() -> None:
    with FakeService(looks=0) as service:
        service.files.fail("status", on="GET", times=None, status=403)
        async with fake_router(service) as router:
            with pytest.raises(BadBackendResponse, match="jobs resume") as caught:
                await router.generate_video(prompt="waves")
            assert (caught.value.charged, router.jobs()[0].state) == ("yes", "collecting")
            service.files.faults.clear()
            looks = len([r for r in service.http.received if r.method == "GET"])
            result = await router.resume(str(caught.value.job_id))
            assert result.path.read_bytes() == mp4()
            assert len([r for r in service.http.received if r.method == "GET"]) == looks + 1
            assert len(service.submits) == 1


async def test_an_image_whose_collection_was_broken_off_is_collected_from_what_was_spooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            (tmp_path / "out").mkdir()
            broken = True

            def full(*arguments: object, **more: object) -> object:
                if broken:
                    raise OSError(28, "No space left on device")
                return commit(*arguments, **more)  # type: ignore[arg-type]

            from anymedia.transfer.writing import Writer

            commit = Writer.commit
            monkeypatch.setattr(Writer, "commit", full)
            with pytest.raises(OSError, match="No space"):
                await router.generate_image(prompt="a fox", output=tmp_path / "out" / "fox.png")
            broken = False
            row = router.jobs()[0]
            assert row.state == "collecting"
            result = await router.resume(row.id)
            assert result.path == tmp_path / "out" / "fox.png"
            assert result.path.read_bytes() == png()
            assert len(service.submits) == 1
            assert [p.name for p in (tmp_path / "out").iterdir()] == ["fox.png"]


async def test_two_who_resume_one_job_in_one_router_share_the_work() -> None:
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
