"""A budget shared by several calls holds whatever their outcome."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from core import fake_backend
from core.fake_service import FakeService
from wire.http_server import closed_port

from anymedia import Budget, Policy, Router, SqliteStore, hookimpl
from anymedia.agents import MediaTool
from anymedia.capabilities import parse_matrix
from anymedia.plugins.registry import Registry
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio
PRICE = 'prices = [{ per = "image", usd = 0.10 }]'


def priced(name: str, price: str) -> Any:
    """The fake backend with another price of an image."""
    text = fake_backend.MATRIX.replace(PRICE, price)

    @hookimpl
    def capabilities() -> Any:
        return parse_matrix(tomllib.loads(text), f"{name}.toml")

    module: Any = fake_backend.as_module(name)
    module.capabilities = capabilities
    return module


@pytest.fixture(params=["dear", "of unknown price"])
async def other(request: pytest.FixtureRequest, service: FakeService, work: Path) -> AsyncIterator[MediaTool]:
    """A tool whose cheap backend is unreachable, with a fallback."""
    registry = Registry()
    registry.register("cheap", priced("cheap", PRICE))
    registry.register("other", priced("other", PRICE.replace("0.10", "0.40") if request.param == "dear" else ""))
    own = {
        "cheap": InstanceSettings(name="cheap", plugin="cheap", base_url=f"http://127.0.0.1:{closed_port()}"),
        "other": InstanceSettings(name="other", plugin="other", base_url=service.http.url),
    }
    policy = Policy(retries=0, prefer=("cheap",), budget=Budget(allow_unknown=True))
    async with Router(settings=Settings(instances=own), registry=registry, store=SqliteStore(":memory:"), policy=policy) as router:
        yield MediaTool(router)


async def test_fallback_above_the_reservation_is_not_used(other: MediaTool, service: FakeService) -> None:
    for answer in (
        await other.batch([{"prompt": "one"}, {"prompt": "two"}], max_cost_usd=0.5),
        await other.generate(prompts=["one", "two"], max_cost_usd=0.5),
    ):
        assert answer["failed"] == 2
        for one in answer["results"]:
            assert one["error"]["code"] == "backend_unavailable"
            assert "Fallback to 'other/still' was not possible" in one["error"]["fix"]
    assert service.submits == []


async def test_fallback_at_the_same_price_is_used(service: FakeService, work: Path) -> None:
    registry = Registry()
    for name in ("cheap", "other"):
        registry.register(name, priced(name, PRICE))
    own = {
        "cheap": InstanceSettings(name="cheap", plugin="cheap", base_url=f"http://127.0.0.1:{closed_port()}"),
        "other": InstanceSettings(name="other", plugin="other", base_url=service.http.url),
    }
    policy = Policy(retries=0, prefer=("cheap",))
    async with Router(settings=Settings(instances=own), registry=registry, store=SqliteStore(":memory:"), policy=policy) as router:
        answer = await MediaTool(router).batch([{"prompt": "one", "n": 3}, {"prompt": "two"}], max_cost_usd=0.4)
    assert answer["success"], answer
    assert len(service.submits) == 4


async def test_rounding_of_amounts_does_not_block_a_call(tool: MediaTool, service: FakeService) -> None:
    """0.1 + 0.2 - 0.1 - 0.2 is a little more than 0: no call has reserved it."""
    async with asyncio.timeout(60):
        answer = await tool.batch([{"prompt": "one"}, {"prompt": "two", "n": 2}, {"prompt": "three"}], max_cost_usd=0.3)
    assert [one["success"] for one in answer["results"]] == [True, True, False]
    assert answer["results"][2]["error"]["code"] == "budget_exceeded"
    assert len(service.submits) == 3
