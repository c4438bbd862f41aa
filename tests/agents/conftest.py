"""A tool over the core's fake backend, in a working directory of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from core.fake_service import FakeService, png
from core.routing import KEY, fake_registry, fake_settings

from anymedia import Router, SqliteStore
from anymedia.agents import MediaTool, tell
from anymedia.settings import Settings
from anymedia.testing.harness import FastClock


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as made:
        yield made


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is the root an agent may use, with a few pictures in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FAKE_KEY", KEY)
    (folder / "photo.png").write_bytes(png(64, 48))
    (folder / "style.png").write_bytes(png(64, 48, (10, 20, 200)))
    (folder / "mask.png").write_bytes(half_mask(64, 48))
    return folder


def half_mask(width: int, height: int) -> bytes:
    """A black and white mask whose left half is to be edited."""
    import io

    from PIL import Image

    picture = Image.new("L", (width, height), 0)
    picture.paste(255, (0, 0, width // 2, height))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def settings(service: FakeService) -> Settings:
    return fake_settings(service)


@pytest.fixture
async def router(settings: Settings, work: Path) -> AsyncIterator[Router]:
    async with Router(
        settings=settings, registry=fake_registry(), store=SqliteStore(":memory:"), clock=FastClock(), on_progress=tell
    ) as made:
        yield made


@pytest.fixture
def tool(router: Router, work: Path) -> MediaTool:
    return MediaTool(router)
