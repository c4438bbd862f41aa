"""Plugin data that cannot be stored, because it is not JSON or holds a whole image: no paid result is lost."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import attrs
import pytest
from core import fake_backend
from core.fake_service import FakeService
from core.routing import KEY, fake_router

from anymedia import ContinuationData, Job, hookimpl
from anymedia.errors import BadBackendResponse, PluginContractError
from anymedia.plugins.registry import Registry

pytestmark = pytest.mark.anyio

PICTURE = "data:image/png;base64," + base64.b64encode(bytes(90)).decode()
NO_JSON = [b"bytes", float("nan"), object(), {"deep": [b"x"]}, {1, 2}]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def answering(generate: str, change: Any, found: Any = None) -> Registry:
    """Return the fake backend with ``change`` applied to its outcomes and ``found`` as the result of its look-up."""
    module: Any = fake_backend.as_module()
    own = getattr(module, generate)

    async def changed(request: Any, context: Any) -> Any:
        return change(await own(request, context))

    async def find_submission(record: Any, context: Any) -> Any:
        return found

    changed.__name__ = generate
    setattr(module, generate, hookimpl(changed))
    module.find_submission = hookimpl(find_submission)
    registry = Registry()
    registry.register("fake", module)
    return registry


@pytest.mark.parametrize("part", ["data", "secret"])
@pytest.mark.parametrize("value", [*NO_JSON, PICTURE], ids=lambda value: type(value).__name__)
async def test_image_with_continuation_data_that_cannot_be_stored_is_kept(part: str, value: Any) -> None:
    def spoilt(outcome: Any) -> Any:
        onward = ContinuationData(**{part: {"handle": value}})
        return attrs.evolve(outcome, pieces=tuple(attrs.evolve(piece, continuation=onward) for piece in outcome.pieces))

    with FakeService() as service:
        async with fake_router(service, registry=answering("generate_image", spoilt)) as router:
            result = await router.generate_image(prompt="a fox")
            assert result.path.exists()
            assert [w.code for w in result.warnings] == ["continuation_not_stored"]
            assert (await router.jobs())[0].state == "done"
            # the image itself can still be continued:
            assert (await router.generate_image(prompt="at night", continue_from=result.continuation_id)).path.exists()
            assert len(service.submits) == 2


@pytest.mark.parametrize("value", NO_JSON, ids=lambda value: type(value).__name__)
async def test_job_with_a_handle_that_cannot_be_stored_is_reported_by_id_and_may_be_charged(value: Any) -> None:
    made: list[str] = []

    def spoilt(job: Any) -> Any:
        made.append(job.id)
        return attrs.evolve(job, data={"handle": value})

    with FakeService(looks=0) as service:
        async with fake_router(service, registry=answering("generate_video", spoilt)) as router:
            with pytest.raises(PluginContractError, match=r"job of call .* must be plain JSON") as caught:
                await router.generate_video(prompt="waves", duration=4)
            assert repr(made[0]) in str(caught.value)
            assert caught.value.charged == "unknown"
            assert caught.value.job_id == (await router.jobs())[0].id
            assert (await router.jobs())[0].state == "unknown"
            assert (await router.store.spend()).reserved_usd == 0.2
            assert len(service.submits) == 1


async def test_nor_is_one_lost_that_was_found_again() -> None:
    def lost(job: Any) -> Any:
        raise BadBackendResponse("half an answer", delivery="unknown")

    found = Job(id="vid-1", data={"handle": b"bytes"})
    with FakeService(looks=0) as service:
        async with fake_router(service, registry=answering("generate_video", lost, found)) as router:
            with pytest.raises(PluginContractError, match=r"is the job 'vid-1'") as caught:
                await router.generate_video(prompt="waves", duration=4)
            row = (await router.jobs())[0]
            assert (row.state, caught.value.charged, caught.value.job_id) == ("unknown", "unknown", row.id)
            assert row.error is not None
            assert "'vid-1'" in row.error["message"]
            assert len(service.submits) == 1
