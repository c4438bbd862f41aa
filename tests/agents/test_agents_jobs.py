"""Jobs as an agent follows them: the status at once, and `wait` resumes an abandoned job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from clocks import in_state
from core.fake_service import FakeService, mp4
from core.routing import fake_registry, until
from wire.http_server import closed_port

from anymedia import Policy, Router, SqliteStore
from anymedia.agents import MediaTool, tell
from anymedia.execution import poll
from anymedia.settings import InstanceSettings, Settings
from anymedia.state.store import StateNotWritable
from anymedia.testing.harness import FastClock, KeptStore

pytestmark = pytest.mark.anyio
WAVES = {"mode": "video", "prompt": "waves"}
FOREVER = 10**6
Process = Callable[[], AbstractAsyncContextManager[MediaTool]]


@pytest.fixture
def process(settings: Settings, work: Path) -> Process:
    """Opens tools as separate processes would, with one shared journal."""

    store = KeptStore()

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[MediaTool]:
        async with Router(settings=settings, registry=fake_registry(), store=store, clock=FastClock(), on_progress=tell) as router:
            yield MediaTool(router)

    return opened


def let_finish(service: FakeService, *jobs: str) -> None:
    for job in jobs or service.jobs:
        service.jobs[job]["left"] = 0


# Looking


async def test_status_of_several_calls_does_not_wait_for_the_slowest(tool: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    job = await tool.generate(**WAVES, n=2, wait=False)
    let_finish(service, "vid-1")
    await until(lambda: in_state(tool.router, "done"))
    async with asyncio.timeout(60):  # the job runs for ever: this only ends a broken program
        status = await tool.job(job["job_id"])
    assert (status["success"], status["state"]) == (True, "running")
    assert "files" not in status
    let_finish(service)
    done = await tool.job(job["job_id"], "wait", 30)
    assert len(done["files"]) == 2
    assert (await tool.job(job["job_id"]))["files"] == done["files"]


@pytest.fixture
async def other(service: FakeService, work: Path) -> AsyncIterator[MediaTool]:
    """A tool whose first backend is unreachable, with the second as fallback."""
    urls = {"aaaa": f"http://127.0.0.1:{closed_port()}", "able": service.http.url}
    own = {name: InstanceSettings(name=name, plugin="fake", base_url=url) for name, url in urls.items()}
    settings = Settings(instances=own, fetch_allow=(f"127.0.0.1:{service.files.port}",))
    policy = Policy(retries=0, prefer=("aaaa",))
    async with Router(
        settings=settings, registry=fake_registry(), store=SqliteStore(":memory:"), policy=policy, clock=FastClock(), on_progress=tell
    ) as router:
        yield MediaTool(router)


async def test_status_after_a_fallback_is_that_of_the_fallback(other: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    job = await other.generate(**WAVES, wait=False)
    assert (job["success"], job["backend"]) == (True, "able")
    assert job["state"] in {"submitted", "running"}  # the first status check may have come already
    status = await other.job(job["job_id"])
    assert (status["success"], status["backend"]) == (True, "able")
    let_finish(service)
    assert (await other.job(job["job_id"], "wait", 30))["success"] is True
    assert (await other.job(job["job_id"]))["files"]


async def test_cancel_after_a_fallback_reaches_the_fallback(other: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    job = await other.generate(**WAVES, wait=False)
    cancelled = await other.job(job["job_id"], "cancel")
    assert (cancelled["success"], cancelled["state"], cancelled["backend"]) == (True, "cancelled", "able")
    assert cancelled["charged"] == "unknown"
    assert [w["code"] for w in cancelled["warnings"]] == ["may_be_charged"]
    assert "charged" not in await other.generate(**WAVES, wait=False)
    assert service.cancelled == ["vid-1"]


async def test_status_of_several_calls_with_one_unknown_has_the_finished_ones(tool: MediaTool, service: FakeService) -> None:
    service.http.fail("lost", on="POST /images", times=1)
    made = await tool.generate(prompt="foxes", n=3)
    status = await tool.job(made["job_id"])
    assert status["files"] == made["files"]
    assert any(w["code"] == "calls_failed" and "1 of 3 calls" in w["text"] for w in status["warnings"])


async def test_status_of_failed_calls_is_the_error_that_may_be_charged(tool: MediaTool, service: FakeService) -> None:
    service.http.fail("status", on="POST /images", times=1, status=403)
    service.http.fail("lost", on="POST /images", times=1)
    made = (await tool.generate(prompt="foxes", n=2))["error"]
    status = await tool.job(made["job_id"].rpartition("-")[0])
    assert status["success"] is False
    assert status["error"]["code"] == made["code"] == "submission_unknown"


async def test_status_of_an_unattended_job_says_how_to_resume_it(process: Process, service: FakeService) -> None:
    service.looks = FOREVER
    async with process() as first:
        job = await first.generate(**WAVES, wait=False)
        assert (await first.job(job["job_id"]))["warnings"] == job["warnings"] == []
        async with process() as other:  # another process sees that the job is being processed
            assert (await other.job(job["job_id"]))["warnings"] == []
    let_finish(service)
    async with process() as second:
        status = await second.job(job["job_id"])
        (said,) = status["warnings"]
        assert status["success"] is True
        assert status["state"] in {"submitted", "running"}
        assert f"media_job(job_id='{job['job_id']}', action='wait')" in said["text"]
        assert (await second.job(job["job_id"], "wait", 30))["success"] is True
    assert len(service.submits) == 1


async def test_lease_from_a_clock_ahead_counts_as_expired(process: Process, service: FakeService) -> None:
    service.looks = FOREVER
    async with process() as first:
        job = await first.generate(**WAVES, wait=False)
    async with process() as second:
        store = second.router.store
        assert isinstance(store, KeptStore)
        clock, store._database.clock = store._database.clock, lambda: time.time() + 365 * 86_400.0
        assert await store.claim(job["job_id"], owner="dead", lease_seconds=60.0)
        store._database.clock = clock
        assert (await second.job(job["job_id"]))["warnings"][0]["code"] == "not_followed"
        let_finish(service)
        assert (await second.job(job["job_id"], "wait", 30))["success"] is True


# Waiting again


async def test_wait_after_a_poll_timeout_resumes_the_job(tool: MediaTool, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "PATIENCE", 0.1)
    service.looks = FOREVER
    error = (await tool.generate(**WAVES))["error"]
    assert error["code"] == "backend_timeout"
    let_finish(service)
    done = await tool.job(error["job_id"], "wait", 30)
    assert done["success"], done
    assert len(service.submits) == 1


async def test_wait_after_a_failed_download_collects_the_result(tool: MediaTool, service: FakeService, work: Path) -> None:
    service.looks = 0
    service.files.fail("status", on="GET", times=None, status=403)
    error = (await tool.generate(**WAVES, output_path="w.mp4"))["error"]
    assert (error["code"], error["charged"]) == ("bad_backend_response", "yes")
    assert f"media_job(job_id='{error['job_id']}', action='wait')" in error["fix"]
    assert "anymedia " not in error["fix"]
    assert (await tool.job(error["job_id"]))["warnings"][0]["code"] == "not_followed"
    service.files.faults.clear()
    done = await tool.job(error["job_id"], "wait", 30)
    assert done["success"], done
    assert (work / "w.mp4").read_bytes() == mp4()
    assert len(service.submits) == 1


async def test_root_missing_for_a_while_loses_no_video(tool: MediaTool, service: FakeService, work: Path) -> None:
    service.looks = FOREVER
    job = await tool.generate(**WAVES, output_path="sub/w.mp4", wait=False)
    work.rename(work.with_name("elsewhere"))
    let_finish(service)
    error = (await tool.job(job["job_id"], "wait", 30))["error"]
    assert (error["charged"], error["job_id"]) == ("yes", job["job_id"])
    work.mkdir()
    done = await tool.job(job["job_id"], "wait", 30)
    assert done["success"], done
    assert (work / "sub/w.mp4").read_bytes() == mp4()
    assert len(service.submits) == 1


async def test_wait_that_ends_early_does_not_return_a_partial_result(process: Process, service: FakeService) -> None:
    service.looks = FOREVER
    async with process() as first:
        job = await first.generate(**WAVES, n=2, wait=False)
    let_finish(service, "vid-1")
    async with process() as second:
        while (await second.router.store.run(job["job_id"]))[0].state != "done":  # a wait may find no time to look at both
            error = (await second.job(job["job_id"], "wait", 0.1))["error"]
            assert error["code"] == "backend_timeout"
        let_finish(service)
        done = await second.job(job["job_id"], "wait", 30)
        assert len(done["files"]) == 2
    assert len(service.submits) == 2


async def test_longer_wait_is_not_ended_by_a_shorter_one(process: Process, service: FakeService) -> None:
    service.looks = FOREVER
    async with process() as first:
        job = await first.generate(**WAVES, wait=False)
    async with process() as second:
        short = asyncio.create_task(second.job(job["job_id"], "wait", 0.1))
        await asyncio.sleep(0)
        others = [asyncio.create_task(second.job(job["job_id"], "wait", deadline)) for deadline in (60, None)]
        assert (await short)["error"]["code"] == "backend_timeout"
        let_finish(service)
        assert [(await other)["success"] for other in others] == [True, True]
    assert len(service.files.received) == 1


async def test_wait_for_cancelled_calls_returns_the_finished_ones(tool: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    job = await tool.generate(**WAVES, n=2, wait=False)
    waiting = asyncio.create_task(tool.job(job["job_id"], "wait"))
    let_finish(service, "vid-1")
    await until(lambda: in_state(tool.router, "done"))
    assert (await tool.job(job["job_id"], "cancel"))["success"] is True
    done = await waiting
    assert done["success"], done
    assert len(done["files"]) == 1
    assert any("cancelled" in warning["text"] for warning in done["warnings"])


async def test_wait_during_a_cancellation_does_not_resume_the_job(process: Process, service: FakeService) -> None:
    service.looks = FOREVER
    async with process() as first:
        job = await first.generate(**WAVES, wait=False)
    service.http.fail("delay", on="DELETE", times=1, seconds=0.1)
    async with process() as second:
        cancelling = asyncio.create_task(second.job(job["job_id"], "cancel"))
        await until(lambda: any(request.method == "DELETE" for request in service.http.received))
        waited = await asyncio.gather(*(second.job(job["job_id"], "wait", 10) for _ in range(3)))
        assert [one["error"]["code"] for one in waited] == ["cancelled"] * 3
        assert (await cancelling)["state"] == "cancelled"


# At once


async def test_slow_submit_without_wait_returns_a_job_at_once(tool: MediaTool, service: FakeService) -> None:
    taken = threading.Event()
    service.http.fail("delay", on="POST /videos", times=2, until=taken)
    error = (await tool.generate(**WAVES, deadline=0.1))["error"]  # answers although the provider has not
    taken.set()
    assert (error["code"], error["charged"]) == ("backend_timeout", "unknown")
    done = await tool.job(error["job_id"], "wait", 30)
    assert done["success"], done
    assert len(service.submits) == 1


async def test_queued_calls_without_wait_return_a_job_at_once(tool: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    async with asyncio.timeout(60):
        job = await tool.generate(**WAVES, n=5, wait=False)
    assert (job["success"], len(service.submits)) == (True, 4)
    let_finish(service)
    service.looks = 0
    assert len((await tool.job(job["job_id"], "wait", 60))["files"]) == 5


async def test_job_refused_at_once_is_an_error(tool: MediaTool, service: FakeService) -> None:
    service.http.fail("status", on="POST /videos", times=1, status=403)
    answer = await tool.generate(**WAVES, wait=False)
    json.dumps(answer, allow_nan=False)
    assert answer["success"] is False
    assert (answer["error"]["code"], answer["error"]["charged"]) == ("content_refused", "no")
    assert answer["error"]["job_id"]


async def test_progress_of_a_finished_job_is_not_retained(tool: MediaTool) -> None:
    jobs: list[Any] = [await tool.generate(prompt=f"fox {i}") for i in range(5)]
    assert all(job["success"] for job in jobs)
    assert tool.router._run_registry._tasks == {}


async def test_journal_error_after_the_submit_names_the_job(
    settings: Settings, service: FakeService, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(SqliteStore):
        async def durations(self, key: str) -> Any:
            raise StateNotWritable("The journal cannot be read: the disk is full.", charged="unknown")

    async with Router(settings=settings, registry=fake_registry(), store=Full(), clock=FastClock(), on_progress=tell) as router:
        error = (await MediaTool(router).generate(**WAVES))["error"]
        assert (error["code"], error["charged"]) == ("state_not_writable", "unknown")
        assert error["job_id"] == (await router.jobs())[0].run
        assert f"media_job(job_id='{error['job_id']}', action='wait')" in error["fix"]


async def test_failure_of_one_call_does_not_suggest_repeating_a_charged_one(tool: MediaTool, service: FakeService) -> None:
    service.http.fail("lost", on="POST /images", times=1)
    answer = await tool.generate(prompts=["one", "two"], max_concurrent=1)
    assert (answer["error"]["code"], answer["error"]["charged"]) == ("some_failed", "unknown")
    assert answer["error"]["fix"].startswith("do for each that failed what its own fix says")
    assert "do not repeat" in answer["error"]["fix"]
    answer = await tool.generate(prompts=["three", ""])
    assert (answer["error"]["charged"], "do not repeat" in answer["error"]["fix"]) == ("no", False)


async def test_repeat_of_a_running_call_returns_its_job_and_pays_nothing(tool: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    first = await tool.generate(**WAVES, wait=False)
    second = await tool.generate(**WAVES, wait=False)
    assert second["job_id"] == first["job_id"]
    assert [w["code"] for w in second["warnings"]] == ["repeated_request"]
    assert "already submitted" in second["warnings"][0]["text"]
    assert len(service.submits) == 1
    third = await tool.generate(**WAVES, wait=False, again=True)
    assert third["job_id"] != first["job_id"]
    assert len(service.submits) == 2


async def test_repeat_after_the_result_was_returned_is_a_new_call(tool: MediaTool, service: FakeService) -> None:
    first, second = await tool.generate(prompt="a fox"), await tool.generate(prompt="a fox")
    assert first["job_id"] != second["job_id"]
    assert second["warnings"] == []
    assert len(service.submits) == 2


async def test_repeat_of_a_call_whose_request_was_cancelled_returns_its_result(tool: MediaTool, service: FakeService) -> None:
    service.looks = FOREVER
    making = asyncio.create_task(tool.generate(**WAVES))
    await until(lambda: service.submits)
    await asyncio.sleep(0.05)
    making.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await making
    for job in service.jobs.values():
        job["left"] = 0
    again = await tool.generate(**WAVES)
    assert again["success"]
    assert [w["code"] for w in again["warnings"]] == ["repeated_request"]
    assert len(service.submits) == 1


async def test_jobs_are_listed_and_the_last_one_needs_no_id(tool: MediaTool) -> None:
    assert (await tool.job("last"))["error"]["code"] == "unknown_job"
    made = [await tool.generate(prompt=prompt) for prompt in ("one", "two")]
    listed = (await tool.jobs())["jobs"]
    assert [(job["job_id"], job["prompt"], job["state"]) for job in listed] == [
        (made[1]["job_id"], "two", "done"),
        (made[0]["job_id"], "one", "done"),
    ]
    assert (await tool.job("last"))["files"] == made[1]["files"]
    assert len((await tool.jobs(1))["jobs"]) == 1
    assert (await tool.jobs(0))["error"]["code"] == "invalid_request"
