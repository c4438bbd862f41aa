"""A key, a signature and a prompt sent through every backend and every end a call can have: where do they turn up?"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from objects import shown_by
from worlds import KEYS, PROMPT, SIGNATURE, SUBMITS, VARIABLES, World, quoting, world

from anymedia.agents import MediaTool
from anymedia.files.names import MEDIA_SUFFIXES
from anymedia.redaction import install_log_redaction

pytestmark = pytest.mark.anyio
ENDS = ("success", "400", "401", "403", "429", "500", "garbage", "lost", "deadline", "cancelled")
#: The ends after which every object that is left behind is looked through too.
THOROUGH = ("success", "400", "lost")
#: Every end over the fake backend; one of each kind (an answer, an error that quotes, a cut connection, an end of ours) over the others.
#: Rule C03 of the kit searches the ends of each backend, too, though in fewer places.
QUICK = {(name, end) for name in SUBMITS for end in {"fake": ENDS, "openai": ("success", "400", "lost", "cancelled")}.get(name, ("400",))}
TALLY: dict[str, int] = {"cells": 0, "channels": 0, "hits": 0}


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    yield
    print(f"\ncanaries: {TALLY['cells']} cells, {TALLY['channels']} texts looked through, {TALLY['hits']} hits")


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """A handler of an application that logs everything, tracebacks included."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    yield out
    root.removeHandler(handler)
    root.setLevel(before)


def with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def on_disk(folder: Path, *, media: bool = True) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and (media or path.suffix not in MEDIA_SUFFIXES)]
    return "\n".join(f"{path.name} " + path.read_bytes().decode("latin-1") for path in files)


async def carry_out(here: World, router: Any, end: str, output: Path) -> Any:
    """Make one call to its end; return the result, or the error it ended with."""
    kind = {"deadline": "delay", "cancelled": "delay"}.get(end, end)
    if end != "success":
        here.fail(kind)
    for deadline in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2) if end == "deadline" else (60.0,):
        task = asyncio.create_task(router.generate_image(prompt=PROMPT, backend=here.name, output=f"{output}/", deadline=deadline))
        if end == "cancelled":
            while not here.arrived() and not task.done():
                await asyncio.sleep(0.01)
            task.cancel()
        try:
            ended = await task
        except (Exception, asyncio.CancelledError) as error:
            ended = error
        if here.arrived():  # a busy machine may take the first deadlines to import an SDK
            break
    return ended


def look_through(name: str, end: str, level: int, shown: dict[str, str], *, prompts: tuple[str, ...]) -> None:
    """No text holds the key or the signature; none but the named ones holds the prompt."""
    TALLY["cells"] += 1
    for channel, text in shown.items():
        TALLY["channels"] += 1
        for canary, word in (("key", KEYS[name]), ("signature", SIGNATURE)):
            if word in text:
                TALLY["hits"] += 1
                at = text.index(word)
                pytest.fail(f"the {canary} is in the {channel} ({name}, {end}, {level}): ...{text[max(0, at - 200) : at]}")
        if "CANARYPROMPT" in text and channel not in prompts:
            pytest.fail(f"the prompt is in the {channel} ({name}, {end}, {level})")


def cells(quick: set[tuple[str, str]], names: Iterable[str], ends: Iterable[str]) -> list[Any]:
    """Backends times ends: those of the quick tier, and the rest for the exhaustive one."""
    return [pytest.param(*cell, marks=() if cell in quick else pytest.mark.exhaustive) for cell in itertools.product(names, ends)]


@pytest.mark.parametrize(("name", "end"), cells(QUICK, SUBMITS, ENDS))
async def test_key_and_signature_are_nowhere_and_the_prompt_only_where_it_belongs(
    name: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """One call, looked through in every channel, objects included; at level debug, which logs what info does and more."""
    level = logging.DEBUG
    monkeypatch.setenv(VARIABLES[name], KEYS[name])
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    logging.getLogger().setLevel(level)
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        async with here.router() as router:
            ended = await carry_out(here, router, end, tmp_path / "out")
            assert here.arrived() == 1 or (end == "deadline" and here.arrived())
            assert isinstance(ended, BaseException) is (end != "success"), ended
            rows = list(await router.jobs())
            shown = {
                "result or error": str(ended) + json.dumps(ended.to_json() if hasattr(ended, "to_json") else ""),
                "repr": repr(ended),
                "journal rows": repr([(r.state, r.error, r.result, r.attempts, r.plan, r.target) for r in rows]),
                "record's repr": repr(rows),
                "reprs of ours": repr((router.settings, router.instances, router.policy, router.registry.plugins, vars(router))),
                "engine": repr((vars(router._engine) if hasattr(router._engine, "__dict__") else router._engine, router._engine.clients)),
                "context": repr(router._engine.context(rows[0], None)),
            }
            if isinstance(ended, BaseException):
                shown["traceback"] = "".join(traceback.format_exception(ended))
                shown["traceback with locals"] = with_locals(ended)
                logging.getLogger("an.application").error("it failed: %s", ended, exc_info=ended)
            objects = shown_by(router, ended) if end in THOROUGH else {}
            shown["disk, open"] = on_disk(tmp_path / "state")
        shown["disk, closed"] = on_disk(tmp_path / "state")
        shown["sidecars"] = on_disk(tmp_path / "out", media=False)  # a media file is the provider's, byte for byte
    install_log_redaction()
    out, err = capfd.readouterr()
    shown |= {"log": log.getvalue(), "stdout": out, "stderr": err}
    look_through(name, end, level, shown, prompts=("record's repr", "disk, open", "disk, closed", "traceback with locals"))
    look_through(name, end, level, objects, prompts=tuple(objects))


@pytest.mark.parametrize(("name", "end"), cells({("fake", "success"), *((n, "failed") for n in SUBMITS)}, SUBMITS, ("success", "failed")))
async def test_answers_to_agents_contain_neither(name: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES[name], KEYS[name])
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        if end == "failed":
            here.fail("400")
        async with here.router() as router:
            answer = await MediaTool(router).generate(prompt=PROMPT, backend=name, output_path="harbour.png")
    assert answer["success"] is (end == "success"), answer
    text = json.dumps(answer, ensure_ascii=False)
    look_through(name, end, 0, {"answer": text}, prompts=())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\n" not in text


async def test_signed_link_is_on_no_disk_once_the_video_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every link of the fake service carries a signature, in a job that is looked at, fetched and continued."""
    monkeypatch.setenv("FAKE_KEY", KEYS["fake"])
    with world("fake", tmp_path) as server:
        here = World("fake", server, tmp_path)
        async with here.router() as router:
            result = await router.generate_video(prompt=PROMPT, backend="fake", output=f"{tmp_path}/out/")
            texts = [
                repr(result),
                json.dumps(result.to_json()),
                repr(await router.jobs()),
                repr(await router.store.load_continuation(result.continuation_id or "")),
            ]
    assert not [text for text in texts if "SECRET-SIGNATURE" in text]
    assert "SECRET-SIGNATURE" not in on_disk(tmp_path / "out")
    assert "SECRET-SIGNATURE" not in "".join(capfd.readouterr())
    # The private continuation data of a backend is in the store alone, which only its owner may read.
    holding = [path for path in (tmp_path / "state").rglob("*") if path.is_file() and b"SECRET-SIGNATURE" in path.read_bytes()]
    assert [path.stat().st_mode & 0o777 for path in holding] == [0o600] * len(holding)


def test_canaries_would_be_seen() -> None:
    """The control: the services really do say what must not get out."""
    for name, key in KEYS.items():
        assert key in quoting(name)
        assert SIGNATURE in quoting(name)
    with pytest.raises(pytest.fail.Exception):
        look_through("fake", "control", 0, {"text": KEYS["fake"]}, prompts=())
    TALLY["hits"] -= 1
