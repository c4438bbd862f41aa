"""The router over a fake backend on a real socket: one submit, a checked file, a continuation."""

import asyncio
import io
from pathlib import Path

import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import KEY, fake_router, fake_settings
from PIL import Image as Pictures

from anymedia import Budget, Continuation, Inpaint, Policy, SqliteStore
from anymedia.errors import (
    BudgetExceeded,
    InvalidRequest,
    UnknownContinuation,
    UnsupportedInput,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


async def test_image_is_made_once_and_comes_back_checked_and_continuable(tmp_path: Path) -> None:
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
            kept = await router.store.load_continuation(result.continuation_id)
            assert (kept.backend, kept.model, kept.data) == ("fake", "still", {"turn": result.job_id})
            assert [p.name for p in tmp_path.iterdir()] == ["fox.png"]


async def test_default_name_comes_from_the_prompt_and_is_free(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            paths = {(await router.generate_image("A red fox!", output=".")).path for _ in range(3)}
    assert len(paths) == 3
    assert all("red-fox" in p.name and p.suffix == ".png" for p in paths)


async def test_video_is_submitted_followed_and_collected() -> None:
    with FakeService(looks=2) as service:
        async with fake_router(service) as router:
            seen = []
            router._engine.on_progress = seen.append
            result = await router.generate_video(prompt="waves", duration=4)
            assert result.path.read_bytes() == mp4()
            assert len(service.submits) == 1
            assert [r.state for r in await router.jobs()] == ["done"]
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


async def test_existing_file_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"precious")
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(InvalidRequest, match="exists"):
                await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            assert service.submits == []
            assert (tmp_path / "fox.png").read_bytes() == b"precious"
            await router.generate_image(prompt="a fox", output=tmp_path / "fox.png", overwrite=True)
            assert (tmp_path / "fox.png").read_bytes() == png()


async def test_missing_input_is_an_invalid_request_with_the_path_to_its_field() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(InvalidRequest, match=r"^source=: "):
                await router.inpaint(prompt="a hat", source="missing.png", mask="missing.png")
            assert service.submits == []


async def test_contents_of_a_url_are_reported_with_the_path_to_its_field(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            film = f"{service.files.url}/picture.png"
            with pytest.raises(InvalidRequest, match=r"^source=: .*video.* not an image"):
                await router.inpaint(prompt="a hat", source=film, mask=_mask(tmp_path)[1])
            with pytest.raises(InvalidRequest, match=r"^mask=: .*video.* not an image"):
                await router.inpaint(prompt="a hat", source=_mask(tmp_path)[0], mask=film)
            assert service.submits == []


async def test_format_asked_for_is_written_when_the_model_cannot(tmp_path: Path) -> None:
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


async def test_protected_pixels_are_pasted_back_and_the_difference_is_reported(tmp_path: Path) -> None:
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


async def test_edit_without_a_source_takes_the_continued_image(tmp_path: Path) -> None:
    _, mask = _mask(tmp_path)
    with FakeService() as service:
        async with fake_router(service) as router:
            first = await router.generate_image(prompt="a fox")
            plan = await router.plan(_inpaint(first.continuation_id, mask))
            assert plan.request.source.data == first.path.read_bytes()  # type: ignore[union-attr]
            await router.run(plan)
            first.path.unlink()
            again = await router.plan(_inpaint(first.continuation_id, mask))
            assert again.request.source == plan.request.source  # type: ignore[union-attr]
            await router.artifacts.release(first.job_id)
            with pytest.raises(UnknownContinuation, match="is missing"):
                await router.plan(_inpaint(first.continuation_id, mask))


def _inpaint(continuation_id: str | None, mask: Path) -> Inpaint:
    return Inpaint(prompt="a hat", continue_from=continuation_id, mask=mask)


async def test_unknown_continuation_is_a_clear_error() -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(UnknownContinuation, match="fake_vid_000000000000"):
                await router.continue_video(prompt="on", continue_from="fake_vid_000000000000")


async def test_continuation_never_goes_to_another_backend() -> None:
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


async def test_budget_stops_a_call_before_any_network() -> None:
    with FakeService() as service:
        async with fake_router(service, policy=Policy(budget=Budget(per_session=0.25))) as router:
            await router.generate_image(prompt="a fox")
            await router.generate_image(prompt="a fox")
            with pytest.raises(BudgetExceeded):
                await router.generate_image(prompt="a fox")
            assert len(service.submits) == 2


async def test_fifty_calls_at_once_under_a_budget_for_ten_submit_just_ten() -> None:
    with FakeService() as service:
        async with fake_router(service, policy=Policy(budget=Budget(per_session=1.0 + 1e-9)), options={"cost": 0.1}) as router:
            service.http.fail("delay", on="POST /images", times=None, seconds=0.1)
            ended = await asyncio.gather(*(router.generate_image(prompt="a fox") for _ in range(50)), return_exceptions=True)
            assert len(service.submits) == 10
            assert sum(isinstance(e, BudgetExceeded) for e in ended) == 40


async def test_quote_that_is_not_approved_spends_nothing() -> None:
    with FakeService() as service:
        async with fake_router(service, policy=Policy(on_quote=lambda plan: plan.quote.usd is None)) as router:
            with pytest.raises(BudgetExceeded, match="not approved"):
                await router.generate_image(prompt="a fox")
            assert service.submits == []


async def test_journal_and_output_contain_no_key_and_no_signature(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with FakeService(looks=1) as service:
        async with fake_router(service, store=SqliteStore(tmp_path / "state.db")) as router:
            result = await router.generate_video(prompt="waves")
            shown = repr(await router.jobs()) + repr(result) + str(result.to_json()) + caplog.text
        assert KEY not in shown
        assert "SECRET-SIGNATURE" not in shown
        kept = b"".join(p.read_bytes() for p in tmp_path.glob("state.db*"))
        assert KEY.encode() not in kept


def test_unresolved_continuation_is_never_planned_as_if_it_were() -> None:
    assert not Continuation(id="x").resolved
