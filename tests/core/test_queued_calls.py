"""A call that is recorded and was not sent: any process sends it once, with the same inputs, or closes it."""

from __future__ import annotations

import asyncio
import hashlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import PIL.Image
import pytest
from clocks import FastClock, in_state, until
from core import fake_backend
from core.fake_service import FakeService, png
from core.routing import fake_router, fake_settings

from anymedia import (
    CapabilityMatrix,
    Context,
    ContinueVideo,
    EditWithReferences,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    MediaError,
    Reference,
    Request,
    Router,
    SqliteStore,
    hookimpl,
)
from anymedia.agents import MediaTool
from anymedia.capabilities import parse_matrix
from anymedia.errors import BackendTimeout, BackendUnavailable, OutOfResources, SettingsError
from anymedia.execution import run_registry
from anymedia.plugins.registry import Registry
from anymedia.settings import InstanceSettings
from anymedia.state.store import LOCAL_REALM

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]

#: What a request looks like to a plugin: its fields, and the bytes of its inputs.
Seen = list[Any]


def _read(context: Context, item: Any) -> tuple[Any, ...]:
    found = context.read(item)
    return hashlib.sha256(found.data).hexdigest(), found.mime, found.filename, found.width, found.height, found.seconds


def _view(request: Any, context: Context) -> list[Any]:
    plain = {
        name: getattr(request, name, None) for name in ("prompt", "n", "size", "duration", "seed", "protect", "edit_mode", "extra_params")
    }
    seen: list[Any] = [request.kind, plain, context.model]
    for name in ("source", "mask", "first_frame"):
        if (value := getattr(request, name, None)) is not None:
            seen.append((name, _read(context, value) if not isinstance(value, Mask) or value.image else value))
    seen += [(r.role, r.description, r.image.width, r.image.mime, _read(context, r.image)) for r in getattr(request, "references", ())]
    if (earlier := getattr(request, "continue_from", None)) is not None:
        seen.append((earlier.id, dict(earlier.data), dict(earlier.secret), [_read(context, file) for file in earlier.files]))
    return seen


def watching(seen: Seen, without: str = "-") -> Registry:
    """Return the fake backend, which notes what it sees of each request; ``without``: a model that it has no more."""
    module = fake_backend.as_module()
    matrix = fake_backend.MATRIX.replace(f'id = "{without}"', 'id = "newer"')

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        return parse_matrix(tomllib.loads(matrix), "fake.toml")

    module.capabilities = capabilities  # type: ignore[attr-defined]

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(fake_backend, name)

        async def hook(request: Any, context: Context) -> Any:
            seen.append(_view(request, context))
            return await original(request=request, context=context)

        hook.__name__ = name
        return hookimpl(hook)

    for name in ("generate_image", "inpaint", "edit_with_references", "generate_video", "continue_video"):
        setattr(module, name, noted(name))
    registry = Registry()
    registry.register("fake", module)
    return registry


class Folder:
    """A state directory with its journal, for one router after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FastClock()

    def router(self, service: FakeService, *, seen: Seen | None = None, without: str = "-", **more: Any) -> Any:
        settings = more.pop("settings", None) or fake_settings(service, state=self.folder / "state")
        store = SqliteStore(self.folder / "state.db", clock=self.clock.now)
        registry = watching([] if seen is None else seen, without)
        return fake_router(service, settings=settings, store=store, registry=registry, clock=self.clock, **more)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(run_registry, "_CHECK_SECONDS", 0.001)
    return Folder(tmp_path)


async def leave_queued(router: Router, request: Request, output: str | None = None) -> str:
    """Record a request's calls, as a process does that ends before it sends them; return the id of the run."""
    runner = router._plan_runner(await router.plan(request), output, False, None)
    for record in await runner.open():
        await router.store.release(record.lease)
    return runner.run_id


def _requests(folder: Path, image: str, video: str) -> dict[str, Request]:
    source = folder / "source.png"
    source.write_bytes(png(64, 48, (9, 9, 200)))
    white = folder / "mask.png"
    picture = PIL.Image.new("L", (64, 48))
    picture.paste(255, (8, 8, 24, 24))
    picture.save(white)
    style = png(80, 40)
    return {
        "image": GenerateImage(prompt="a fox", n=2, size="64x64"),
        "chat": GenerateImage(prompt="bluer", continue_from=image),
        "inpaint": Inpaint(prompt="a hat", source=source, mask=white, protect="exact"),
        "inpaint_of_a_continuation": Inpaint(prompt="a hat", continue_from=image, mask=white),
        "references": EditWithReferences(
            prompt="mix", references=(source, Reference(image=style, role="style", description="colours"), source), mask=white
        ),
        "video": GenerateVideo(prompt="waves", duration=2, first_frame=source),
        "several_videos": GenerateVideo(prompt="waves", n=2),
        "extend": ContinueVideo(prompt="further", continue_from=video),
    }


@pytest.mark.parametrize(
    "name", ["image", "chat", "inpaint", "inpaint_of_a_continuation", "references", "video", "several_videos", "extend"]
)
async def test_queued_call_is_sent_by_a_fresh_process_as_the_first_one_would_have_sent_it(folder: Folder, name: str) -> None:
    with FakeService() as service:
        seen: Seen = []
        async with folder.router(service, seen=seen) as router:
            image = (await router.generate_image(prompt="first", output=folder.folder / "first.png")).continuation_id
            video = (await router.generate_video(prompt="first", output=folder.folder / "first.mp4")).continuation_id
            assert image is not None and video is not None
            request = _requests(folder.folder, image, video)[name]
            seen.clear()
            expected = await router.execute(request, output=f"{folder.folder}/direct/")
            direct, sent = list(seen), len(service.submits)
            run = await leave_queued(router, request, f"{folder.folder}/out/")
            reserved = (await router.store.spend()).reserved_usd
            assert {record.state for record in await router.store.run(run)} == {"queued"} and len(service.submits) == sent
            assert reserved > 0 or name == "extend"  # its price is unknown
        for file in folder.folder.glob("*.png"):
            file.unlink()  # the inputs as sent are artifacts of the call
        again: Seen = []
        async with folder.router(service, seen=again) as router:
            result = await router.resume(run)
            assert again == direct
            assert [f.sha256 for f in result.files] == [f.sha256 for f in expected.files]
            assert result.warnings == expected.warnings
            assert len(service.submits) == sent + len(direct)
            assert (await router.store.spend()).reserved_usd == 0
            assert {record.state for record in await router.store.run(run)} == {"done"}


async def test_queued_call_is_shown_and_closed_by_a_cancel_which_releases_its_reservation(folder: Folder) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            run = await leave_queued(router, GenerateImage(prompt="a fox"))
        async with folder.router(service) as router:
            tool = MediaTool(router, roots=[folder.folder], base=folder.folder, realm=LOCAL_REALM)
            status = await tool.job(run, "status")
            assert (status["state"], [w["code"] for w in status["warnings"]]) == ("queued", ["not_followed"])
            assert "was not sent" in status["warnings"][0]["text"]
            assert [record.id for record in await router.jobs(["queued"])] == [run]
            with pytest.raises(MediaError, match="is queued"):
                await router.forget(run)
            record = await router.cancel(run)
            assert (record.state, record.charged) == ("cancelled", "no")
            spent = await router.store.spend()
            assert (spent.reserved_usd, spent.committed_usd) == (0, 0)
        assert service.submits == []


async def test_queued_call_of_another_key_stays_queued_until_it_is_rebound(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            run = await leave_queued(router, GenerateImage(prompt="a fox"))
        monkeypatch.setenv("FAKE_KEY", "another-key-9876543210")
        async with folder.router(service) as router:
            with pytest.raises(SettingsError, match="another account") as caught:
                await router.resume(run)
            assert (caught.value.job_id, caught.value.charged) == (run, "no")
            assert caught.value.action is not None and caught.value.action.action == "rebind"
            assert (await router.job(run)).state == "queued"
            with pytest.raises(MediaError) as refused:
                await router.resume(run, rebind=True)
            assert refused.value.code == "authentication_failed"  # it was sent, under the new key
            assert (await router.job(run)).state == "refused"


async def test_queued_call_that_finds_no_slot_in_time_stays_queued_when_it_is_resumed(folder: Folder) -> None:
    with FakeService() as service:
        own = InstanceSettings(name="fake", plugin="fake", base_url=service.http.url, max_concurrent=1)
        settings = attrs.evolve(fake_settings(service, state=folder.folder / "state"), instances={"fake": own})
        async with folder.router(service, settings=settings) as router:
            run = await leave_queued(router, GenerateImage(prompt="a fox"))
            blocking = await leave_queued(router, GenerateImage(prompt="in the way"))
            held = await router.store.claim(blocking, owner="another process", lease_seconds=60)
            assert held is not None
            assert await router.store.take_slot(blocking, held.account, most=1, per_minute=None) == 0
            with pytest.raises(BackendTimeout, match="nothing was sent") as caught:
                await router.resume(run, deadline=0.05)
            assert caught.value.action is not None and caught.value.action.action == "resume"
            async with asyncio.timeout(60):
                while (record := await router.job(run)).owner is not None:
                    await asyncio.sleep(0.005)
            assert (record.state, service.submits) == ("queued", [])
            await router.store.release(held.lease)
            assert (await router.resume(run)).job_id == run
        assert len(service.submits) == 1


async def test_deadline_in_the_line_fails_a_call_of_the_process_that_recorded_it(folder: Folder) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            router._engine.governor._memory_left = 0
            with pytest.raises(BackendTimeout, match="nothing was sent"):
                await router.generate_image(prompt="a fox", deadline=0.05)
            ((state, charged),) = [(record.state, record.charged) for record in await router.jobs()]
            assert (state, charged, (await router.store.spend()).reserved_usd) == ("failed", "no", 0)


async def test_router_that_is_closed_leaves_calls_in_line_queued_for_the_next_process(folder: Folder) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            router._engine.governor._memory_left = 0
            record = await router.submit(GenerateImage(prompt="a fox"))
            assert record.state == "queued"
        async with folder.router(service) as router:
            left = await router.job(record.id)
            assert (left.state, left.owner, service.submits) == ("queued", None, [])
            assert (await router.wait(record.run)).job_id == record.run
        assert len(service.submits) == 1


async def test_router_that_is_closed_waits_for_many_calls_in_line_no_longer_than_for_one(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            router._engine.governor._memory_left = 0
            for number in range(30):
                await router.submit(GenerateImage(prompt=f"fox {number}"))
            checks: list[str] = []
            original = type(router.store).run

            async def run(store: Any, run_id: str) -> Any:
                checks.append(run_id)
                return await original(store, run_id)

            monkeypatch.setattr(type(router.store), "run", run)
        assert len(checks) <= 30 + run_registry._MOST_IN_LINE
        assert service.submits == []


async def test_cancelled_wait_in_the_line_closes_the_call(folder: Folder) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            router._engine.governor._memory_left = 0
            task = asyncio.create_task(router.generate_image(prompt="a fox"))
            await until(lambda: in_state(router, "queued"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [record.state for record in await router.jobs()] == ["cancelled"]
            assert (await router.store.spend()).reserved_usd == 0


async def test_call_is_queued_between_two_attempts_and_another_process_may_make_the_next_one(folder: Folder) -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST /images", times=1, status=429)
        events: list[tuple[str, str]] = []
        pausing, go_on = asyncio.Event(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            pausing.set()
            await go_on.wait()

        slow = FastClock()
        slow.sleep = sleep  # type: ignore[method-assign]
        first = Folder(folder.folder)
        first.clock = slow
        async with first.router(service, on_progress=lambda p: events.append((p.event, p.state))) as router:
            task = asyncio.create_task(router.generate_image(prompt="a fox"))
            async with asyncio.timeout(60):
                await pausing.wait()
            assert events[-1] == ("retrying", "queued")
            (record,) = await router.jobs()
            assert (record.state, record.submits, [a["error"] for a in record.attempts]) == ("queued", 1, ["rate_limited"])
            folder.clock.ahead = 3600.0  # the first process was suspended
            async with folder.router(service) as second:
                result = await second.resume(record.id)
                assert [attempt.error for attempt in result.attempts] == ["rate_limited"]
                assert (await second.job(record.id)).submits == 2
            go_on.set()
            assert (await task).job_id == record.run  # of the second process
        assert len(service.submits) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_resumed_call_that_the_provider_has_no_capacity_for_stays_queued(folder: Folder, status: int) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            run = await leave_queued(router, GenerateImage(prompt="a fox"))
            service.http.fail("status", on="POST /images", times=3, status=status)
            with pytest.raises(MediaError) as caught:
                await router.resume(run)
            assert caught.value.action is not None and caught.value.action.action == "resume"
            record = await router.job(run)
            assert (record.state, len(record.attempts)) == ("queued", 3)
            assert (await router.resume(run)).job_id == run
        assert len(service.submits) == 1


@pytest.mark.parametrize("gone", ["artifact", "model", "description"])
async def test_queued_call_that_cannot_be_sent_any_more_fails_without_a_charge(folder: Folder, gone: str) -> None:
    source = folder.folder / "source.png"
    source.write_bytes(png())
    with FakeService() as service:
        async with folder.router(service) as router:
            run = await leave_queued(router, EditWithReferences(prompt="bluer", references=(source,)))
            record = await router.job(run)
            if gone == "artifact":
                await router.artifacts.release(run, ["input"])
            if gone == "description":  # a record of an earlier version
                claimed = await router.store.claim(run, owner="me", lease_seconds=60)
                target = {name: value for name, value in record.target.items() if name != "sent"}
                await router.store.advance(claimed.lease, "queued", target=target)
                await router.store.release(claimed.lease)
        async with folder.router(service, without="still" if gone == "model" else "-") as router:
            with pytest.raises(BackendUnavailable, match="cannot be sent now") as caught:
                await router.resume(run)
            assert (caught.value.charged, caught.value.delivery) == ("no", "not_sent")
            assert (await router.job(run)).state == "failed"
            assert (await router.store.spend()).reserved_usd == 0
        assert service.submits == []


async def test_repeat_with_a_key_sends_the_call_that_an_ended_process_left_queued(folder: Folder) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            router._engine.governor._memory_left = 0
            left = await router.submit(GenerateImage(prompt="a fox"), key="order-17")
        async with folder.router(service) as router:
            result = await router.generate_image(prompt="a fox", key="order-17")
            assert result.job_id == left.run
        assert len(service.submits) == 1


async def test_call_without_room_stays_queued_when_it_is_resumed(folder: Folder) -> None:
    with FakeService() as service:
        async with folder.router(service) as router:
            run = await leave_queued(router, GenerateImage(prompt="a fox"))
            router._engine.governor.full()
            with pytest.raises(OutOfResources):
                await router.resume(run)
            assert (await router.job(run)).state == "queued"
