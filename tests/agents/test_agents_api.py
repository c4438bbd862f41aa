"""The functions of anymedia.agents.api: one router per event loop, closed with it; and the blocking forms."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from anymedia.agents import api as module
from anymedia.agents import generate_media, generate_media_sync, media_job_sync, plan_media_sync


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No keys, no settings, a separate state and working directory: only the local backend is usable."""
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY", "OPENROUTER_API_KEY", "ANYMEDIA_PREFER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "none.toml").write_text("")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "state"))
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_sync_functions_without_an_event_loop_work(alone: Path) -> None:
    made = generate_media_sync({"prompt": "mountains", "size": "64x64"}, output_path="m.png")
    assert made["success"], made
    assert Path(made["files"][0]["path"]) == alone / "m.png"
    more = generate_media_sync(prompt="with snow", continue_from=made["continuation_id"])
    assert more["success"], more
    assert plan_media_sync(prompt="sea")["backend"] == "local"


def test_job_after_its_loop_ended_can_be_resumed() -> None:
    job = generate_media_sync(prompt="sea", mode="video", duration=1, size="128x96", wait=False)
    assert job["success"], job
    done = media_job_sync(job["job_id"], "wait", 60)
    assert done["success"], done
    assert done["files"][0]["mime"] == "video/mp4"


def test_router_of_a_loop_is_reused_and_closed_with_it() -> None:
    seen = []

    async def twice() -> None:
        for number in range(2):
            assert (await generate_media(prompt="dunes", size="64x64", output_path=f"{number}.png"))["success"]
            seen.append(module._routers[asyncio.get_running_loop()][0])

    asyncio.run(twice())
    assert seen[0] is seen[1]
    with pytest.raises(Exception, match=r"(?i)closed"):
        asyncio.run(seen[0].store.calls())
    assert module._routers == {}


async def _within() -> None:
    generate_media_sync(prompt="x")


def test_sync_function_inside_a_loop_raises() -> None:
    with pytest.raises(RuntimeError, match="await the function without _sync"):
        asyncio.run(_within())


def test_unreadable_settings_return_an_error_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("polcy = 1\n")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(tmp_path / "bad.toml"))
    answer = generate_media_sync(prompt="x")
    assert answer["error"]["code"] == "settings_error"
    json.dumps(answer)
