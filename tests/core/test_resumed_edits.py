"""A masked edit whose picture is collected later: its protected pixels are copied back all the same, or it is said that they are not."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService
from core.routing import fake_router, fake_settings
from PIL import Image as Pictures

from anymedia import Result, SqliteStore
from anymedia.errors import MediaError
from anymedia.files.atomic_writer import CannotWrite, Writer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
GREEN, RED = (10, 200, 30), (200, 40, 40)


def picture(path: Path, colour: tuple[int, int, int] = GREEN) -> Path:
    Pictures.new("RGB", (64, 48), colour).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    made = Pictures.new("L", (64, 48), 0)
    made.paste(255, (16, 12, 48, 36))
    made.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


async def made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Any], edit: str, **fields: Any) -> Result:
    """Send an edit whose picture cannot be written at first, and have another router collect it."""
    full = [True]
    commit = Writer.commit

    def on_a_full_disk(self: Writer, **more: Any) -> Path:
        if full[0]:
            raise CannotWrite("the disk is full")
        return commit(self, **more)

    monkeypatch.setattr(Writer, "commit", on_a_full_disk)
    with FakeService() as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as router:
            with pytest.raises(MediaError, match="full") as caught:
                await getattr(router, edit)(prompt="red", protect="exact", output=tmp_path / "out.png", **fields)
        meanwhile()
        full[0] = False
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as second:
            result = await second.resume(str(caught.value.job_id))
        assert len(service.submits) == 1
        return result


def outside_of(result: Result) -> Any:
    return Pictures.open(io.BytesIO(result.path.read_bytes())).convert("RGB").getpixel((2, 2))


def told(result: Result) -> bool:
    return any(warning.code == "not_protected" for warning in result.warnings)


@pytest.mark.parametrize("relative", [False, True])
async def test_they_are_copied_back_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Path, relative: bool) -> None:
    source = picture(tmp_path / "source.png")
    (tmp_path / "elsewhere").mkdir()
    picture(tmp_path / "elsewhere/source.png", (0, 0, 250))  # of the same name, where the other process stands
    given = (Path("source.png"), Path("mask.png")) if relative else (source, mask)
    meanwhile = lambda: monkeypatch.chdir(tmp_path / "elsewhere")  # noqa: E731
    result = await made_later(tmp_path, monkeypatch, meanwhile, "inpaint", source=given[0], mask=given[1])
    assert (outside_of(result), told(result)) == (GREEN, False)


async def test_they_are_copied_back_from_the_first_of_several_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Path) -> None:
    references = [picture(tmp_path / "source.png"), picture(tmp_path / "other.png", (0, 0, 250))]
    result = await made_later(tmp_path, monkeypatch, lambda: None, "edit_with_references", references=references, mask=mask)
    assert (outside_of(result), told(result)) == (GREEN, False)


@pytest.mark.parametrize("change", ["gone", "another"])
async def test_resumed_edit_whose_source_file_is_gone_or_another_uses_the_stored_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Path, change: str
) -> None:
    source = picture(tmp_path / "source.png")
    meanwhile = source.unlink if change == "gone" else lambda: picture(source, (0, 0, 250))
    result = await made_later(tmp_path, monkeypatch, meanwhile, "inpaint", source=source, mask=mask)
    assert (outside_of(result), told(result)) == (GREEN, False)


async def test_resumed_edit_whose_source_was_never_a_file_uses_the_stored_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Path
) -> None:
    data = picture(tmp_path / "source.png").read_bytes()
    result = await made_later(tmp_path, monkeypatch, lambda: None, "inpaint", source=data, mask=mask)
    assert (outside_of(result), told(result)) == (GREEN, False)


async def test_resumed_edit_without_stored_inputs_warns_that_nothing_is_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: Path
) -> None:
    def lose_inputs() -> None:
        for path in (tmp_path / "state/artifacts/files").glob("*!input!*"):
            path.unlink()
        for path in (tmp_path / "state/artifacts/files").glob("*!piece!*"):  # as if the process had ended before it was finished
            path.unlink()

    source = picture(tmp_path / "source.png")
    result = await made_later(tmp_path, monkeypatch, lose_inputs, "inpaint", source=source, mask=mask)
    assert (outside_of(result), told(result)) == (RED, True)
