"""A job that was paid for and whose file cannot be fetched: what the error of the download shows, on every backend."""

from __future__ import annotations

import io
import json
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from test_canaries import cells, log, look_through, on_disk, told, with_locals  # noqa: F401 - fixtures
from wire.http_server import Reply
from worlds import KEYS, PROMPT, VARIABLES, World, quoting, world

from anymedia.router import Progress

pytestmark = pytest.mark.anyio
ENDS = ("refused", "drop", "truncate", "garbage", "lost")
#: Backend -> the model of its videos.
MODELS = {"fake": None, "google": "gemini-omni-1.2-flash", "grok": None, "openai": "wan", "openrouter": "google/veo-3.1", "fal": None}
#: Who serves OpenAI's video protocol today.
ELSEWHERE = {"service": "compatible", "models": {"wan": {"like": "sora-2"}}, "credentials": {"api_key": VARIABLES["openai"]}}


def failing(here: World, end: str) -> Any:
    """Have the server fail as soon as the core begins to fetch what was made."""

    def watch(progress: Progress) -> None:
        if progress.state == "collecting":
            if end == "refused":
                said = {"error": {"message": quoting(here.name), "code": 403, "status": quoting(here.name)}}
                here.files.fail("status", on="GET", times=None, reply=Reply.of_json(said, status=403))
            else:
                here.files.fail(end, on="GET", times=None)

    return watch


@pytest.mark.parametrize(("name", "end"), cells({*(("fake", end) for end in ENDS), *((n, "refused") for n in MODELS)}, MODELS, ENDS))
async def test_download_that_fails_shows_neither_key_nor_signature(
    name: str,
    end: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log: io.StringIO,  # noqa: F811
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLES[name], KEYS[name])
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    logging.getLogger().setLevel(logging.DEBUG)
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        if name == "openai":
            here.more, server.videos.models, server.videos.free_values = ELSEWHERE, ("wan",), True
        async with here.router() as router:
            router._engine.on_progress = failing(here, end)
            with pytest.raises(Exception) as caught:
                await router.generate_video(prompt=PROMPT, backend=name, model=MODELS[name], output=f"{tmp_path}/out/")
            ended: Any = caught.value
            (row,) = await router.jobs()
            assert row.state in {"collecting", "failed"}, row.state
            shown = {
                "error": str(ended),
                "repr": repr(ended),
                "json": json.dumps(ended.to_json()),
                "traceback": "".join(traceback.format_exception(ended)),
                "traceback with locals": with_locals(ended),
                "record's repr": repr(row),
            }
            logging.getLogger("an.application").error("it failed: %s", ended, exc_info=ended)
        shown["disk"] = on_disk(tmp_path / "out")
    out, err = capfd.readouterr()
    shown |= {"log": log.getvalue(), "stdout": out, "stderr": err}
    look_through(name, end, logging.DEBUG, shown, prompts=("traceback with locals", "record's repr"))
