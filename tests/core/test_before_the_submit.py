"""What fails before the submit was not sent and cost nothing, whatever the plugin says of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from core import fake_backend
from core.routing import KEY, fake_router, served

from anymedia import Context, hookimpl
from anymedia.errors import BadBackendResponse
from anymedia.plugins.registry import Registry
from anymedia.policy import Policy
from anymedia.requests import GenerateImage

pytestmark = pytest.mark.anyio


@hookimpl
async def _preparing_fails(request: GenerateImage, context: Context) -> Any:
    error = BadBackendResponse("the uploaded picture could not be read", delivery="unknown")
    error.charged = "unknown"
    raise error


async def test_error_before_the_submit_is_not_sent_and_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    module = fake_backend.as_module()
    module.generate_image = _preparing_fails  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("fake", module)
    with served() as service:
        async with fake_router(service, registry=registry, policy=Policy(retries=0)) as router:
            with pytest.raises(BadBackendResponse, match="could not be read") as caught:
                await router.generate_image(prompt="a fox")
            assert (caught.value.delivery, caught.value.charged) == ("not_sent", "no")
            assert caught.value.to_json()["charged"] == "no"
            assert (await router.jobs())[0].state == "failed"
        assert service.submits == []


async def test_call_that_is_cancelled_while_its_submit_is_recorded_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with served() as service:
        async with fake_router(service) as router:
            advance, recorded = router.store.advance, asyncio.Event()

            async def slow(lease: Any, state: Any, **changes: Any) -> Any:
                found = await advance(lease, state, **changes)
                if state == "submitting":
                    recorded.set()
                    await asyncio.sleep(60)
                return found

            monkeypatch.setattr(router.store, "advance", slow)
            task = asyncio.create_task(router.generate_image(prompt="a fox"))
            async with asyncio.timeout(60):
                await recorded.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (record,) = await router.jobs()
            assert (record.state, record.reserved_usd) == ("cancelled", 0.0)
        assert service.submits == []
