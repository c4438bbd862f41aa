"""The check of suggested backends in the whole run (tests/named_backends.py) fails for a backend that cannot do the call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from core.fake_service import FakeService
from core.routing import fake_registry

from anymedia import GenerateImage, Router, SqliteStore
from anymedia.agents import MediaTool
from anymedia.errors import RequestError
from anymedia.planning import Planner
from anymedia.settings import InstanceSettings, Settings

ROOT = Path(__file__).parents[2]
LIE = """
import datetime

import pytest
from core.planning_matrices import views

from anymedia import GenerateVideo, Policy
from anymedia.errors import RequestError
from anymedia.planning import Planner, plan


def test_lie(monkeypatch):
    monkeypatch.setattr(Planner, "_able", lambda *_: ("local",))
    with pytest.raises(RequestError):
        plan(GenerateVideo(prompt="waves"), views(), Policy(), datetime.date(2026, 11, 21), backend="pix")
"""


def two_backends(service: FakeService) -> Router:
    own = {name: InstanceSettings(name=name, plugin="fake", base_url=service.http.url) for name in ("one", "two")}
    return Router(settings=Settings(instances=own), registry=fake_registry(), store=SqliteStore(":memory:"))


@pytest.mark.anyio
async def test_planner_that_suggests_an_unable_backend_is_recorded(
    service: FakeService, work: Path, wrongly_named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_backends(service) as router:
        with pytest.raises(RequestError):
            await router.plan(GenerateImage(prompt="x", extra_params={"no": 1}), backend="one")
        assert wrongly_named == []
        monkeypatch.setattr(Planner, "_able", lambda *_: ("two",))
        with pytest.raises(RequestError):
            await router.plan(GenerateImage(prompt="x", extra_params={"no": 1}), backend="one")
    assert len(wrongly_named) == 1
    assert wrongly_named[0].startswith("'two' was named for GenerateImage(")
    wrongly_named.clear()  # this once it was meant


@pytest.mark.anyio
async def test_tool_that_suggests_an_unable_backend_is_recorded(service: FakeService, work: Path, wrongly_named: list[str]) -> None:
    from named_backends import listening

    async def two(*_: object) -> tuple[str, ...]:
        return ("two",)

    wrong: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MediaTool, "_able", two)
        with listening(wrong):
            async with two_backends(service) as router:
                answer = await MediaTool(router).generate(prompt="x", mode="video", duration=4, backend="unknown", mask_path="mask.png")
                assert answer["success"] is False
                answer = await MediaTool(router).generate(prompt="x", model="no-such-model", extra_params={"no": 1})
    assert answer["error"]["try_backends"] == ["two"]
    assert wrong and wrong[0].startswith("'two' was named for GenerateImage(")
    assert wrongly_named == []


@pytest.mark.exhaustive  # a run of pytest of its own; what is noted, and when, the two tests above check
def test_test_with_a_wrong_suggestion_fails(tmp_path: Path) -> None:
    (tmp_path / "test_lie.py").write_text(LIE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "named_backends", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed, 1 error" in done.stdout
    assert "try_backends named a backend that cannot do it: 'local' was named" in done.stdout


def test_suggestions_are_set_only_in_known_places() -> None:
    """Suggestions set in another place would not be checked."""
    sources = [path for top in ("core/src", *(str(p) for p in (ROOT / "plugins").glob("*/src"))) for path in (ROOT / top).rglob("*.py")]
    assert len(sources) > 100
    filling = {
        path.name
        for path in sources
        if any(f"try_backends={word}" in path.read_text() for word in ("[", "(", "able", "name", "found", "tuple"))
        or 'found["try_backends"] = ' in path.read_text()
    }
    assert filling == {"explain.py", "responses.py"}
    handing = {path.name for path in sources for line in path.read_text().splitlines() if "error_answer(" in line and "_able(" in line}
    assert handing == {"tool.py"}
