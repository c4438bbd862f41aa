"""Continuing a video where its own backend cannot: only when it was allowed, and always told."""

from pathlib import Path

import pytest
from core.fake_service import FakeService, mp4
from core.routing import fake_router

from anymedia import Policy
from anymedia.errors import UnsupportedInput
from anymedia.planning import Plan
from anymedia.requests import ContinueVideo

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


async def test_foreign_video_is_bridged_only_when_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(mp4())
    with FakeService() as service:
        async with fake_router(service) as router:
            request = ContinueVideo(prompt="on", source=tmp_path / "old.mp4", duration=2)
            with pytest.raises(UnsupportedInput):
                await router.plan(request)
            plan: Plan = await router.plan(request, policy=Policy(bridge=True))
            assert plan.operation == "generate_video"
            assert [(a.field, a.kind, a.sent) for a in plan.adjustments] == [("continue_from", "bridged", "first_frame")]
            frame = plan.request.first_frame  # type: ignore[union-attr]
            assert (frame.width, frame.height) == (64, 48)  # type: ignore[union-attr]
            result = await router.run(plan)
            assert result.continued_as == "extend"
            assert len(service.submits) == 1


async def test_edit_is_never_bridged(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(mp4())
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(UnsupportedInput, match="only to extend"):
                await router.plan(ContinueVideo(prompt="on", source="old.mp4", continue_as="edit"), policy=Policy(bridge=True))
