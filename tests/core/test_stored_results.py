"""Results are stored before anything else happens to them: delivered after a kill, kept until they were saved."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import sqlite3
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService, mp4, png
from core.killing import killed
from core.routing import fake_router, fake_settings
from PIL import Image

from anymedia import EditWithReferences, Policy, Router, SqliteStore
from anymedia.artifacts import Artifact
from anymedia.errors import MediaError, RequestError
from anymedia.files.part_file import PartFile
from anymedia.state.store import StateNotWritable

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


def half_mask() -> bytes:
    made = Image.new("L", (64, 48), 0)
    made.paste(255, (0, 0, 32, 48))
    found = io.BytesIO()
    made.save(found, "PNG")
    return found.getvalue()


@pytest.fixture
def routing(tmp_path: Path) -> Any:
    """Return a function that opens a router with the same durable state each time."""

    def make(service: FakeService, **changes: Any) -> Any:
        settings = attrs.evolve(fake_settings(service, state=tmp_path / "state"), **changes)
        return fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db"))

    return make


def fail_to_record(router: Router, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Let the store refuse a state for good, as if the process had ended there."""
    advance = type(router.store).advance

    async def refuse(self: Any, lease: Any, to: str, **more: Any) -> Any:
        if to == state:
            raise StateNotWritable("the process ended")
        return await advance(self, lease, to, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(router.store), "advance", refuse)


async def undelivered(router: Router, folder: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    """Pay for an image that is stored and neither recorded nor saved; return its job."""
    with monkeypatch.context() as patch:
        fail_to_record(router, patch, "collecting")
        with pytest.raises(MediaError):
            await router.generate_image(prompt="paid", output=folder / "paid.png", **fields)
    return (await router.jobs())[0].run


@pytest.mark.parametrize("can_list", [False, True])
def test_image_of_a_process_killed_before_its_record_is_delivered(tmp_path: Path, can_list: bool) -> None:
    toll = killed(tmp_path, kind="image", jobs=1, can_list=can_list, kills=1, at="collecting:before")
    assert (toll.kills, toll.submits, toll.done, toll.flagged, toll.damaged) == (1, 1, 1, 0, 0)


@pytest.mark.parametrize("at", ["collecting:after", "done:before"])
def test_image_of_a_process_killed_while_saving_is_delivered_once(tmp_path: Path, at: str) -> None:
    toll = killed(tmp_path, kind="image", jobs=1, can_list=False, kills=1, at=at)
    assert (toll.kills, toll.submits, toll.done, toll.damaged) == (1, 1, 1, 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.png"]


async def test_resume_fewer_images_stored_than_requested_delivers_them_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any
) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            job = await undelivered(router, tmp_path, monkeypatch)
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
            database.execute("UPDATE calls SET request = json_set(request, '$.n', 3)")  # of three, one was stored
        async with routing(service) as router:
            result = await router.resume(job)
            assert [file.path.read_bytes() for file in result.files] == [png()]
            assert [warning.code for warning in result.warnings] == ["fewer_pieces"]
        assert len(service.submits) == 1


async def test_forget_result_never_saved_is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            job = await undelivered(router, tmp_path, monkeypatch)
        async with routing(service) as router:
            with pytest.raises(RequestError, match="only copy of a result") as caught:
                await router.cancel(job)
                await router.forget(job)
            stored = next(path for path in (tmp_path / "state/artifacts/files").iterdir() if "!" not in path.name)
            assert str(stored) in caught.value.message
            assert stored.read_bytes() == png()
            await router.forget(job, force=True)
            assert await router.jobs() == []
            assert not stored.exists()


async def test_forget_result_whose_file_was_moved_is_refused(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            made = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            moved = made.path.rename(tmp_path / "moved.png")
            with pytest.raises(RequestError, match="only copy of a result"):
                await router.forget(made.job_id)
            moved.rename(made.path)
            await router.forget(made.job_id)
            assert list((tmp_path / "state/artifacts/files").iterdir()) == []


async def test_continuation_whose_file_was_deleted_uses_the_stored_one(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            image = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            video = await router.generate_video(prompt="waves", output=tmp_path / "waves.mp4")
            image.path.unlink()
            video.path.unlink()
        async with routing(service, policy=Policy()) as router:
            again = await router.inpaint(
                prompt="with snow", continue_from=image.continuation_id, mask=half_mask(), output=tmp_path / "snow.png"
            )
            assert again.path.read_bytes() == png()
            longer = await router.continue_video(prompt="on", continue_from=video.continuation_id, output=tmp_path / "on.mp4")
            assert longer.path.read_bytes() == mp4()
            # The new call has its own references: deleting the first one does not take its inputs away.
            await router.forget(image.job_id, force=True)
            inputs = [a for a in await router.artifacts.find(again.job_id) if a.kind == "input"]
            assert png() in [await router.artifacts.read(a) for a in inputs]


async def test_inputs_are_stored_as_sent(tmp_path: Path, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            reference = tmp_path / "reference.png"
            reference.write_bytes(png(32, 32))
            made = await router.edit_with_references(prompt="a fox", references=[reference], output=tmp_path / "fox.png")
            found = await router.artifacts.find(made.job_id)
            assert {a.kind: await router.artifacts.read(a) for a in found} == {"input": png(32, 32), "piece": png()}
            record = (await router.store.run(made.job_id))[0]
            assert record.target["inputs"] == [a.key for a in found if a.kind == "input"]


async def test_gc_removes_old_results_that_were_saved_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any) -> None:
    with FakeService() as service:
        async with routing(service, artifacts_keep_days=0.0) as router:
            kept = await undelivered(router, tmp_path, monkeypatch)
            saved = await router.generate_image(prompt="saved", output=tmp_path / "saved.png")
            dry = await router.gc(dry_run=True)
            assert [artifact.call_id for artifact in dry.removed] == [saved.job_id]
            assert await router.artifacts.find(saved.job_id) != ()
            assert await router.gc() == attrs.evolve(dry, temporaries=0)
            assert await router.artifacts.find(saved.job_id) == ()
            assert [artifact.kind for artifact in await router.artifacts.find(kept)] == ["piece"]
            assert saved.path.read_bytes() == png()


async def test_paid_request_while_undelivered_results_fill_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any
) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            job = await undelivered(router, tmp_path, monkeypatch)
        async with routing(service, artifacts_max_bytes=10) as router:
            with pytest.raises(RequestError, match=r"undelivered results, and max_bytes is 10; nothing was sent") as caught:
                await router.generate_image(prompt="another", output=tmp_path / "another.png")
            assert caught.value.charged == "no"
            assert len(service.submits) == 1
            await router.resume(job)
            made = await router.generate_image(prompt="another", output=tmp_path / "another.png")
            assert made.path.read_bytes() == png()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_answer_while_the_artifact_disk_is_full_is_saved_to_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any, code: int
) -> None:
    write = PartFile.write

    def full(self: PartFile, data: bytes | memoryview) -> None:
        if "artifacts" in str(self.path):
            raise self._failed(OSError(code, "full"))
        write(self, data)

    monkeypatch.setattr(PartFile, "write", full)
    with FakeService() as service:
        async with routing(service) as router:
            made = await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            assert made.path.read_bytes() == png()
            assert [warning.code for warning in made.warnings] == ["not_stored"]
            assert (await router.jobs())[0].state == "done"


async def test_answer_while_the_whole_state_disk_is_full_is_saved_and_the_error_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any
) -> None:
    write = PartFile.write

    def full(self: PartFile, data: bytes | memoryview) -> None:
        if "artifacts" in str(self.path):
            raise self._failed(OSError(errno.ENOSPC, "full"))
        write(self, data)

    monkeypatch.setattr(PartFile, "write", full)
    with FakeService() as service:
        async with routing(service) as router:
            fail_to_record(router, monkeypatch, "collecting")
            with pytest.raises(MediaError, match=r"saved nevertheless.*fox\.png") as caught:
                await router.generate_image(prompt="a fox", output=tmp_path / "fox.png")
            assert caught.value.charged == "yes"
            assert (tmp_path / "fox.png").read_bytes() == png()


async def test_answer_that_the_first_edition_kept_beside_the_output_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, routing: Any
) -> None:
    spool = tmp_path / "out" / ".anymedia-job-0.spool"
    spool.parent.mkdir()
    with FakeService() as service:
        async with routing(service) as router:
            with monkeypatch.context() as patch:
                fail_to_record(router, patch, "done")
                with pytest.raises(MediaError):
                    await router.generate_image(prompt="paid", output=spool.parent / "fox.png")
            job = (await router.jobs())[0].run
            (spool.parent / "fox.png").rename(spool)
            await router.artifacts.release(job)
        kept = f'["{spool}", "{hashlib.sha256(png()).hexdigest()}"]'
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
            database.execute("UPDATE calls SET outcome = json_set(outcome, '$.pieces[0].spool', json(?))", [kept])
        async with routing(service) as router:
            result = await router.resume(job)
            assert result.path.read_bytes() == png()
        assert len(service.submits) == 1


@pytest.fixture
def confined(tmp_path: Path) -> Policy:
    (tmp_path / "inputs").mkdir()
    return Policy(input_roots=(tmp_path / "inputs",))


@pytest.mark.parametrize("how", ["source", "reference", "mask", "first_frame", "plan", "key"])
async def test_result_without_a_name_is_an_input_where_paths_are_confined(routing: Any, confined: Policy, how: str) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            made = await router.generate_image(prompt="first", size="64x48")
            edit = EditWithReferences(prompt="bluer", references=(made.path,))
            if how == "source":
                result = await router.inpaint(prompt="a hat", source=made.path, mask=half_mask(), policy=confined)
            elif how == "mask":  # it is read, and has one colour
                with pytest.raises(RequestError, match="mask"):
                    await router.inpaint(prompt="a hat", source=png(64, 48), mask=made.path, policy=confined)
                return
            elif how == "first_frame":
                result = await router.generate_video(prompt="waves", first_frame=made.path, policy=confined)
            elif how == "plan":
                result = await router.run(await router.plan(edit, policy=confined), policy=confined)
            else:
                result = await router.execute(edit, policy=confined, key="order-1" if how == "key" else None)
            record = await router.job(result.job_id)
            stored = [Artifact.from_key(key) for key in record.target["inputs"]]
            assert made.files[0].sha256 in {artifact.sha256 for artifact in stored if artifact is not None}


async def test_result_of_another_realm_or_a_changed_one_is_refused_where_paths_are_confined(routing: Any, confined: Policy) -> None:
    with FakeService() as service:
        async with routing(service) as router:
            made = await router.generate_image(prompt="first", size="64x48")
            view = router.scoped(realm="another")
            with pytest.raises(RequestError, match="outside"):
                await view.edit_with_references(prompt="bluer", references=[made.path], policy=confined)
            own = await view.generate_image(prompt="first", size="64x48")
            assert (await view.edit_with_references(prompt="bluer", references=[own.path], policy=confined)).path.exists()
            for other in (made.path.with_name("2.png"), made.path.with_name("x.png"), made.path.parent, Path("/1.png"), Path("/")):
                with pytest.raises(RequestError):
                    await router.edit_with_references(prompt="bluer", references=[other], policy=confined)
            made.path.chmod(0o600)
            made.path.write_bytes(png(32, 32))
            with pytest.raises(RequestError, match="outside"):
                await router.edit_with_references(prompt="bluer", references=[made.path], policy=confined)
