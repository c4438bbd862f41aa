"""Limits of an account: calls at the same time and per minute, in order of arrival, in all processes."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from clocks import until
from core.blocking_store import BlockingStore
from core.fake_service import FakeService
from core.routing import KEY, fake_router, fake_settings, served
from core.test_sharing import together
from state_calls import open_call
from state_samples import new_call
from tiers import quick_first

from anymedia import Budget, Policy, SqliteStore
from anymedia.errors import BackendTimeout, BudgetExceeded
from anymedia.requests import GenerateImage
from anymedia.settings import load_settings


@pytest.fixture
def store() -> BlockingStore:
    return BlockingStore()


def take(store: BlockingStore, call_id: str, *, most: int | None = None, per_minute: int | None = None) -> float:
    return float(store.take_slot(call_id, "account", most=most, per_minute=per_minute))


def test_slots_are_given_in_order_of_arrival(store: BlockingStore) -> None:
    leases = {name: open_call(store, new_call(name)) for name in "abcd"}
    assert [take(store, name, most=2) for name in "abcd"] == [0.0, 0.0, math.inf, math.inf]
    assert take(store, "a", most=2) == 0.0  # has it already
    store.advance(leases["a"], "failed", error={"code": "x"})
    assert take(store, "d", most=2) == math.inf  # c came first
    assert take(store, "c", most=2) == 0.0
    store.advance(leases["b"], "unknown")
    assert take(store, "d", most=2) == 0.0


def test_slot_of_a_dead_process_comes_back_with_its_lease(store: BlockingStore) -> None:
    open_call(store, new_call("dead"))
    assert take(store, "dead", most=1) == 0.0
    open_call(store, new_call("dead too"), owner="other")
    assert take(store, "dead too", most=1) == math.inf
    store.time += 61
    open_call(store, new_call("alive"))
    assert take(store, "alive", most=1) == 0.0


def test_rate_counts_the_last_minute(store: BlockingStore) -> None:
    for name in "abc":
        open_call(store, new_call(name), lease_seconds=1000)
    assert take(store, "a", per_minute=2) == 0.0
    store.time += 20
    assert take(store, "b", per_minute=2) == 0.0
    assert take(store, "c", per_minute=2) == pytest.approx(40)
    store.time += 39
    assert take(store, "c", per_minute=2) == pytest.approx(1)
    store.time += 1.5
    assert take(store, "c", per_minute=2) == 0.0


def test_accounts_do_not_count_each_other(store: BlockingStore) -> None:
    for name in "ab":
        open_call(store, new_call(name))
    assert take(store, "a", most=1) == 0.0
    assert store.take_slot("b", "another", most=1, per_minute=None) == 0.0


class Counted(FakeService):
    """Counts the images that are made at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.highest = 0
        self.arrived: list[float] = []
        self.counting = threading.Lock()
        self.hold = 0.05
        handle = self.http._handler

        async def counted(request: Any) -> Any:
            with self.counting:
                self.arrived.append(time.monotonic())
                self.now += 1
                self.highest = max(self.highest, self.now)
            await asyncio.sleep(self.hold)
            try:
                return handle(request)
            finally:
                with self.counting:
                    self.now -= 1

        self.http._handler = counted


@pytest.mark.parametrize("processes", quick_first([2, 8]))
def test_several_processes_keep_the_limit_of_their_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with Counted() as service:
        said = together(processes, tmp_path, service, "limited")
    assert sum(said) == len(service.submits) == 10  # the day's budget
    assert 0 < service.highest <= 3


@pytest.mark.anyio
async def test_call_waits_for_a_slot_within_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with Counted() as service:
        service.hold = 0.2
        settings = fake_settings(service, state=tmp_path)
        own = attrs.evolve(settings.instances["fake"], max_concurrent=1)
        async with fake_router(service, settings=attrs.evolve(settings, instances={"fake": own})) as router:
            request = GenerateImage(prompt="a fox")
            first = asyncio.create_task(router.execute(request, output=f"{tmp_path}/1.png"))
            await until(lambda: service.now)
            with pytest.raises(BackendTimeout, match="waited for a slot of its account") as caught:
                await router.execute(request, output=f"{tmp_path}/2.png", deadline=0.05)
            assert caught.value.charged == "no"
            third = await router.execute(request, output=f"{tmp_path}/3.png")
            assert third.path.exists()
            await first
        assert (len(service.submits), service.highest) == (2, 1)


@pytest.mark.anyio
async def test_project_has_a_budget_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    policy = Policy(budget=Budget(per_project={"web": 0.25}))
    with served() as service:
        store = SqliteStore(tmp_path / "state.db")
        async with fake_router(service, store=store, policy=policy, project="web") as router:
            for number in range(2):
                await router.generate_image(prompt="a fox", output=f"{tmp_path}/{number}.png")
            with pytest.raises(BudgetExceeded, match=r"per_project\['web'\]"):
                await router.generate_image(prompt="a fox", output=f"{tmp_path}/3.png")
            await router.scoped(project="app").generate_image(prompt="a fox", output=f"{tmp_path}/4.png")
            assert {record.project for record in await router.jobs()} == {"web", "app"}


def test_settings_name_the_project_and_the_limits(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("""
project = "web"
[policy]
budget = { per_session = 1.0, per_project = { web = 2.5 } }
[backends.gpu]
plugin = "openai"
max_concurrent = 1
requests_per_minute = 30
""")
    read = load_settings(environ={}, files=[tmp_path / "config.toml"])
    assert (read.project, read.policy.budget) == ("web", Budget(per_session=1.0, per_project={"web": 2.5}))
    assert (read.instances["gpu"].max_concurrent, read.instances["gpu"].requests_per_minute) == (1, 30)
    for text in ("[backends.gpu]\nmax_concurrent = 0", "[policy]\nbudget = { per_run = 1.0 }", "[backends.gpu]\nrequests_per_minute = 1.5"):
        (tmp_path / "config.toml").write_text(text)
        with pytest.raises(Exception, match=r"max_concurrent|per_run|requests_per_minute"):
            load_settings(environ={}, files=[tmp_path / "config.toml"])
