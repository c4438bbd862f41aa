"""The moments at which money could be lost, on the way to the files: a folder that vanishes, a handle that cannot be kept."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import KEY, fake_router, fake_settings, until

from anymedia import SqliteStore
from anymedia.errors import MediaError
from anymedia.state.store import CallRecord, CallState, Lease, StateNotWritable

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


async def test_second_picture_that_cannot_be_written_does_not_make_the_first_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies (or fails) after some files have their names, and before the row is closed."""
    from core import fake_backend

    from anymedia.files.atomic_writer import Writer

    monkeypatch.setattr(fake_backend, "MATRIX", fake_backend.MATRIX.replace("size = {", "n = { min = 1, max = 4 }\nsize = {", 1))
    commit, fail = Writer.commit, True

    def failing(self: Writer, **more: Any) -> Path:
        if fail and self.wanted == "fox-2.png":
            raise OSError(28, "No space left on device")
        return commit(self, **more)

    monkeypatch.setattr(Writer, "commit", failing)
    with FakeService() as service:
        async with fake_router(service) as router:
            with pytest.raises(OSError, match="No space"):
                await router.generate_image(prompt="foxes", n=3, output=tmp_path / "fox.png")
            fail = False
            result = await router.resume((await router.jobs())[0].id)
            assert [f.path.name for f in result.files] == ["fox-1.png", "fox-2.png", "fox-3.png"]
            assert sorted(p.name for p in tmp_path.iterdir()) == ["fox-1.png", "fox-2.png", "fox-3.png"]
            assert len(service.submits) == 1


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_record_that_cannot_be_closed_leaves_one_file_no_continuation_and_a_record_to_resume(tmp_path: Path, kind: str) -> None:
    class Forgetful(SqliteStore):
        fail = True

        async def advance(self, lease: Lease, state: CallState, **changes: Any) -> CallRecord:
            if state == "done" and self.fail:
                raise StateNotWritable("The journal cannot grow: the disk is full.", charged="yes")
            return await super().advance(lease, state, **changes)

    with FakeService(looks=0) as service:
        store = Forgetful()
        async with fake_router(service, store=store) as router:
            router._engine.clock.sleep = lambda seconds: asyncio.sleep(0)  # type: ignore[method-assign]
            make = router.generate_image if kind == "image" else router.generate_video
            name = "a.png" if kind == "image" else "a.mp4"
            with pytest.raises(StateNotWritable, match=r"router\.resume"):
                await make(prompt="a fox", output=tmp_path / "out" / name if (tmp_path / "out").mkdir() is None else "")
            assert await store.latest_continuation() is None
            store.fail = False
            result = await router.resume((await router.jobs())[0].id)
            assert result.path == tmp_path / "out" / name
            assert result.continuation_id is not None
            assert [p.name for p in (tmp_path / "out").iterdir()] == [name]
            assert len(service.files.received) == (kind == "video")


async def test_named_file_that_was_moved_away_before_the_record_was_closed_is_never_written_to(tmp_path: Path) -> None:
    class Forgetful(SqliteStore):
        fail = True

        async def advance(self, lease: Lease, state: CallState, **changes: Any) -> CallRecord:
            if state == "done" and self.fail:
                raise StateNotWritable("full", charged="yes")
            return await super().advance(lease, state, **changes)

    (tmp_path / "out").mkdir()
    with FakeService(looks=0) as service:
        store = Forgetful()
        async with fake_router(service, store=store) as router:
            router._engine.clock.sleep = lambda seconds: asyncio.sleep(0)  # type: ignore[method-assign]
            with pytest.raises(StateNotWritable):
                await router.generate_video(prompt="a fox", output=tmp_path / "out" / "a.mp4")
            (tmp_path / "out" / "a.mp4").rename(tmp_path / "mine.mp4")
            before = (tmp_path / "mine.mp4").stat()
            store.fail = False
            result = await router.resume((await router.jobs())[0].id)
            after = (tmp_path / "mine.mp4").stat()
            assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
            assert result.path.read_bytes() == mp4()
            assert not result.path.samefile(tmp_path / "mine.mp4")


async def test_answer_that_the_output_folder_cannot_take_is_kept_elsewhere_and_collected_later(tmp_path: Path) -> None:
    """The folder vanished (or filled up) while the image was being generated; the provider returns the bytes only once."""
    (tmp_path / "out").mkdir()
    with FakeService() as service:
        answered = threading.Event()
        service.http.fail("delay", on="POST /images", times=1, until=answered)
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state" / "state.db")) as router:
            making = asyncio.create_task(router.generate_image(prompt="a fox", output=tmp_path / "out" / "fox.png"))
            await until(lambda: service.submits)
            (tmp_path / "out").rmdir()
            answered.set()
            with pytest.raises(MediaError, match=r"router\.resume") as caught:
                await making
            assert caught.value.charged == "yes"
            row = (await router.jobs())[0]
            assert row.state == "collecting"
            (tmp_path / "out").mkdir()
            result = await router.resume(row.id)
            assert result.path == tmp_path / "out" / "fox.png"
            assert result.path.read_bytes() == png()
            assert [p.name for p in (tmp_path / "out").iterdir()] == ["fox.png"]
            assert len(service.submits) == 1
