"""Files of ours that are read again later: what was put in their place meanwhile is not taken for them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import KEY, fake_router, fake_settings
from PIL import Image

from anymedia import Policy, plan_maker
from anymedia.agents.mcp_server import preview_of
from anymedia.errors import MediaError, UnknownContinuation, UnsupportedInput
from anymedia.files.atomic_writer import Writer
from anymedia.files.part_file import copy_kept, read_kept
from anymedia.requests import ContinueVideo

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")]
DIGEST = hashlib.sha256(b"ours").hexdigest()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "outside" / "secret")


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _large(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 10_000_000_000)


SWAPS: dict[str, Callable[[Path], object]] = {
    "another file": lambda path: path.write_bytes(b"theirs"),
    "a link": _link,
    "a pipe": os.mkfifo,
    "a device": _endless,
    "a folder": Path.mkdir,
    "nothing": lambda path: None,
    "a file without end": _large,
}


@pytest.mark.parametrize("swap", SWAPS)
def test_file_that_replaced_a_result_is_not_read(swap: str, tmp_path: Path) -> None:
    (tmp_path / "outside" / "secret").write_bytes(b"a secret")
    path = tmp_path / "root" / "a.png"
    SWAPS[swap](path)
    assert read_kept(path, DIGEST, most=1_000_000) is None
    assert not copy_kept(path, DIGEST, io.BytesIO(), most=1_000_000)


def test_control_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside" / "secret").write_bytes(b"ours")
    _link(tmp_path / "root" / "a.png")
    assert read_kept(tmp_path / "root" / "a.png", DIGEST, most=4) == b"ours"


@pytest.mark.parametrize("swap", ["a pipe", "a device", "another file"])
async def test_continuations_file_that_became_something_else_is_gone(swap: str, tmp_path: Path) -> None:
    """It does not stop the process, nor fill its memory."""
    with FakeService() as service:
        async with fake_router(service) as router:
            made = await router.generate_image(prompt="a fox", backend="fake", output=tmp_path / "root" / "fox.png")
            made.path.unlink()
            SWAPS[swap](made.path)
            async with asyncio.timeout(60):
                with contextlib.suppress(UnknownContinuation, UnsupportedInput):  # where the backend needs the file itself
                    await router.generate_image(prompt="with snow", continue_from=made.continuation_id, output=f"{tmp_path}/root/")


async def test_bridge_takes_no_other_video_than_the_one_that_was_made(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            made = await router.generate_video(prompt="waves", backend="fake", output=tmp_path / "root" / "w.mp4")
            found = await router.store.load_continuation(str(made.continuation_id))
            request = ContinueVideo(prompt="on", continue_from=found)
            assert plan_maker._last_frame(request, Policy())
            (tmp_path / "outside" / "secret").write_bytes(mp4() + b"\0\0\0\x08free")
            made.path.unlink()
            _link(made.path)
            with pytest.raises(UnsupportedInput, match="gone or has changed"):
                plan_maker._last_frame(request, Policy())


async def test_stored_answer_replaced_by_a_link_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "outside" / "secret"
    Image.new("RGB", (64, 48), (1, 2, 3)).save(secret, "PNG")
    commit, broken = Writer.commit, True

    def full(*arguments: object, **more: object) -> object:
        if broken:
            raise OSError(28, "No space left on device")
        return commit(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "commit", full)
    with FakeService() as service:
        async with fake_router(service, settings=fake_settings(service, state=tmp_path / "state")) as router:
            with pytest.raises(OSError, match="No space"):
                await router.generate_image(prompt="a fox", output=tmp_path / "root" / "fox.png")
            broken = False
            (stored,) = [p for p in (router.settings.state_dir / "artifacts" / "files").iterdir() if "!" not in p.name]
            stored.unlink()
            stored.symlink_to(secret)
            with pytest.raises(MediaError):
                await router.resume((await router.jobs())[0].id)
            assert len(service.submits) == 1
    assert secret.read_bytes() not in [p.read_bytes() for p in (tmp_path / "root").glob("*.png")]


async def test_preview_shows_nothing_from_outside_of_the_root(tmp_path: Path) -> None:
    good, bad = tmp_path / "root" / "a.png", tmp_path / "root" / "b.png"
    good.write_bytes(png())
    (tmp_path / "outside" / "secret").write_bytes(png())
    _link(bad)
    assert await preview_of(good, "image/png", [tmp_path / "root"]) is not None
    assert await preview_of(bad, "image/png", [tmp_path / "root"]) is None
    assert await preview_of(tmp_path / "outside" / "secret", "image/png", [tmp_path / "root"]) is None
