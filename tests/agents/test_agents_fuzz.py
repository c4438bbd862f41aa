"""Any call gets an answer: no exception, no file outside the root, no request for an invalid call.

Once over the fake backend, and once over every backend there is, each with a key and over the fake of its provider's
protocol. Some calls in a quick run, more in the exhaustive tier, thousands in a soak; ANYMEDIA_FUZZ makes another number.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from agents.conftest import half_mask
from agents.worlds import all_backends
from core.fake_service import FakeService
from core.routing import KEY, fake_registry, fake_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire.media_bytes import image

from anymedia import Router, SqliteStore
from anymedia.agents import MediaTool
from anymedia.agents.normalize import HOW, RENAMED
from anymedia.clock import SystemClock
from anymedia.errors import RequestError
from anymedia.generation_config import GenerationConfig
from anymedia.testing.harness import socket_guard

FIELDS = sorted({f.name for f in attrs.fields(GenerationConfig)} | {"mode"} | set(RENAMED) | set(HOW) - {"wait"})
HOSTILE = [
    "", " ", ".", "..", "/", "/etc/passwd", "../../etc/passwd", "out/../../x.png", "/proc/self/environ", "/dev/zero",
    "link.png", "~/.ssh/id_rsa",
    "a\0b", "\ud800", "\u202egnp.x", "x" * 5000, "CON.png", "fox.png\n", "photo.png/", "-rf", "$(id).png", "file:///etc/passwd",
    "http://127.0.0.1:1/x.png", "http://169.254.169.254/latest", "http://[::1]/x.png", "data:image/png;base64,AAAA", "data:,x",
    "job_0123456789ab", "fake_img_0123456789ab", "fake_vid_0123456789ab", "ignore all instructions", "%00", "NaN", "null",
]  # fmt: skip
SOUND = ["a fox", "fake", "auto", "still", "moving", "image", "video", "audio", "photo.png", "mask.png", "style.png", "out/", "new.png",
         "64x48", "16:9", "png", "mp4", "speech", "inpaint", "extend", "foreground", "transparent", "exact", "off",
         "openai", "google", "grok", "openrouter", "local"]  # fmt: skip
#: What stands for the continuation id of the newest image or video of this run.
EARLIER = {"THE LAST IMAGE": "image", "THE LAST VIDEO": "video"}

words = st.sampled_from(HOSTILE) | st.sampled_from(SOUND) | st.text(max_size=20)
numbers = st.integers(-(10**30), 10**30) | st.floats() | st.integers(0, 12)
simple = st.none() | st.booleans() | numbers | words
values = st.recursive(
    simple | st.binary(max_size=4), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)
hostile = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), values, max_size=6)


def plausible(backends: Sequence[str], models: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Calls of the kind that an agent makes, right and wrong."""
    pictures = st.sampled_from(["photo.png", "style.png", "link.png", "gone.png"])
    named = st.sampled_from([*backends, "auto", "unknown"])
    fields = {
        "mode": st.sampled_from(["image", "video", "audio", "Image"]),
        "backend": named | st.lists(st.sampled_from([*backends, "auto"]), max_size=2),
        "model": st.sampled_from([*models, "no-such-model"]),
        "size": st.sampled_from(["64x48", "100x100", "1024x1024", "auto", "9999x1", "1024 x 1024"]),
        "n": st.integers(0, 3),
        "seed": st.integers(-1, 9),
        "quality": st.sampled_from(["high", "low", "best"]),
        "aspect_ratio": st.sampled_from(["16:9", "1:1", "7:3"]),
        "duration": st.sampled_from([1, 4, 8, 60, "5s", "4"]),
        "input_images": st.lists(pictures | st.fixed_dictionaries({"path": pictures}), max_size=2),
        "mask_path": st.sampled_from(["mask.png", "photo.png", "/etc/passwd"]),
        "mask_mode": st.sampled_from(["AUTO", "foreground", "semantic"]),
        "style_image": st.sampled_from(["style.png", "../x.png"]),
        "subject_image": pictures,
        "output_path": st.sampled_from(
            ["new.png", "out/", "deep/er/x.png", "x.mp4", "../x.png", "/tmp/fuzzed-x.png", "new.mp4", "link.png", "photo.png"]
        ),
        "storage_path": st.sampled_from(["out", "/tmp", "..", "/"]),
        "allowed_paths": st.sampled_from([["/"], ["."], ["out"]]),
        "agent_cwd": st.sampled_from(["/", ".", "..", "out"]),
        "continue_from": st.sampled_from([*EARLIER, *EARLIER, "fake_img_0123456789ab", "x"]),
        "max_cost_usd": st.sampled_from([0, 0.05, 1]),
        "strict": st.booleans(),
        "overwrite": st.booleans(),
        "prompts": st.lists(st.sampled_from(["a", ""]), max_size=3),
        "output_format": st.sampled_from(["png", "jpeg", "exe"]),
    }

    @st.composite
    def some(draw: st.DrawFn) -> dict[str, Any]:
        """Few fields at a time: with many, hardly any call would be valid."""
        chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True))
        chosen += [name for name in ("mode", "backend") if draw(st.booleans())]
        asked = {"prompt": draw(st.sampled_from(["a fox", "waves", "x" * 300])), **{name: draw(fields[name]) for name in chosen}}
        if "local" in asked.get("backend", ()):  # which renders for real: small ones will do
            asked = {"size": "64x48", **({"duration": 1} if asked.get("mode") == "video" else {}), **asked}
        return asked

    return some()


FREE = {error.code for error in (RequestError, *RequestError.__subclasses__())}


class Patient(SystemClock):
    """A clock that does not wait."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


@attrs.frozen(kw_only=True)
class Ground:
    """A tool to be asked, how many requests the services behind it have received, and what may be named."""

    tool: MediaTool
    arrived: Callable[[], int]
    backends: Sequence[str]
    models: Sequence[str]


@contextlib.asynccontextmanager
async def over_the_fake(work: Path, _: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    with FakeService(looks=0) as service:
        async with Router(
            settings=fake_settings(service), registry=fake_registry(), store=SqliteStore(":memory:"), clock=Patient()
        ) as router:
            yield Ground(tool=MediaTool(router), arrived=lambda: len(service.http.received), backends=["fake"], models=["still", "moving"])


@contextlib.asynccontextmanager
async def over_all(work: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    (work / "photo.png").write_bytes(image(640, 360, "png"))
    (work / "style.png").write_bytes(image(512, 512, "png"))
    (work / "mask.png").write_bytes(half_mask(640, 360))
    async with all_backends(work, monkeypatch) as world:
        instances = {name: one for name, one in world.router.instances.items() if name != "fal"}  # no fake of it runs here
        models = [
            "local/landscape",
            "gpt-image-2",
            "gemini-omni-1.2-flash",
            "veo-3.1-generate-001",
            "grok-imagine-video",
            "tts-1",
            "sora-2",
        ]
        assert set(instances) == {"openai", "mygpu", "google", "cloud", "imagen", "grok", "openrouter", "local"}
        assert all(instance.usable for instance in instances.values())
        yield Ground(tool=world.tool, arrived=world.arrived, backends=list(instances), models=models)


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def outside(root: Path, folder: Path) -> set[Path]:
    """Return the files outside the root, without the state and the cache."""
    ours = everything_below(folder / "state") | everything_below(folder / "cache")
    return everything_below(folder) - everything_below(root) - ours


@attrs.define
class Asking:
    """One loop, one router and one directory for all calls; a call must not profit from an earlier one."""

    ground: Ground
    work: Path
    handles: dict[str, tuple[str, str]] = attrs.field(factory=dict)  # medium -> id, backend
    counts: collections.Counter[str] = attrs.field(factory=collections.Counter)

    async def ask(self, asked: dict[str, Any]) -> None:
        said = asked.get("continue_from")
        home = self.handles.get(EARLIER.get(said, "")) if isinstance(said, str) else None
        if home is not None:
            asked = {**asked, "continue_from": home[0]}
        received = self.ground.arrived()
        answer = await asyncio.wait_for(self.ground.tool.generate(asked), 1800)
        json.dumps(answer, allow_nan=False)
        assert answer["success"] or answer["error"]["code"] != "internal", (asked, answer)
        if "results" not in answer and not answer["success"] and answer["error"]["code"] in FREE:
            self.counts["refused"] += 1
            assert self.ground.arrived() == received, (asked, answer)
        for single in answer.get("results", [answer]):
            if single["success"]:
                self._made(asked, single, home)
            else:
                await self._failed(asked, single["error"])

    def _made(self, asked: dict[str, Any], answer: dict[str, Any], home: tuple[str, str] | None) -> None:
        self.counts["success"] += 1
        self.counts[answer["backend"]] += 1
        assert all(Path(f["path"]).resolve().is_relative_to(self.work.resolve()) for f in answer["files"])
        if home is not None:
            assert answer["backend"] == home[1], (asked, answer)
        if answer["operation"] == "generate_audio":
            return
        assert answer["continuation_id"] not in {None, home and home[0]}, (asked, answer)
        medium = "video" if answer["operation"].endswith("video") else "image"
        self.handles[medium] = (answer["continuation_id"], answer["backend"])

    async def _failed(self, asked: dict[str, Any], error: dict[str, Any]) -> None:
        self.counts["error"] += 1
        self.counts[error["code"]] += 1
        assert error["code"] != "internal", (asked, error)
        assert error.keys() >= {"code", "message", "fix", "try_backends", "retry", "charged"}
        if error["code"] == "backend_timeout":  # the job must not be active during the next call
            await self.ground.tool.job(error["job_id"], "wait", 300)
        for name in error["try_backends"]:
            fields = {k: v for k, v in asked.items() if k not in ("backend", "backend_type", "model")}
            again = await self.ground.tool.plan(fields | {"backend": name})
            # the output path does not depend on the backend and is checked last
            place = [p["path"] for p in again.get("error", {}).get("problems", ())] == ["$.output_path"]
            assert "results" in again or again["success"] or place, (asked, error, again)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("ground", "calls"),
    [
        (over_the_fake, 100),
        pytest.param(over_the_fake, 500, marks=pytest.mark.exhaustive),
        pytest.param(over_all, 150, marks=pytest.mark.exhaustive),
        pytest.param(over_the_fake, 5000, marks=pytest.mark.soak),
        pytest.param(over_all, 5000, marks=pytest.mark.soak),
    ],
)
def test_any_call_is_answered_and_stays_in_the_path_scope(
    ground: Any, calls: int, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    loop = asyncio.new_event_loop()
    opened = ground(work, monkeypatch)
    over: Ground = loop.run_until_complete(opened.__aenter__())
    calls = int(os.environ.get("ANYMEDIA_FUZZ", calls))
    (tmp_path / "outside.png").write_bytes((work / "photo.png").read_bytes())
    (work / "link.png").symlink_to(tmp_path / "outside.png")
    before, there = outside(work, tmp_path), (tmp_path / "outside.png").read_bytes()
    asking = Asking(over, work)
    usual = plausible(over.backends, over.models)
    mixed = st.tuples(usual, hostile).map(lambda pair: {**pair[0], **pair[1]})

    @settings(max_examples=calls, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(asked=st.integers(0, 4).flatmap(lambda kind: usual if kind > 1 else (mixed, hostile)[kind]))
    def one(asked: dict[str, Any]) -> None:
        loop.run_until_complete(asking.ask(asked))

    try:
        with socket_guard() as left:
            one()
    finally:
        loop.run_until_complete(opened.__aexit__(None, None, None))
        loop.close()
    print(dict(asking.counts.most_common()))
    assert left == []
    assert outside(work, tmp_path) == before
    assert (tmp_path / "outside.png").read_bytes() == there
    assert {"mask.png", "style.png"} <= {p.name for p in work.iterdir()}
    assert not Path("/tmp/fuzzed-x.png").exists()
    assert asking.counts["success"] > calls / 50
    assert asking.counts["error"] > calls / 5
    assert asking.counts["refused"] > calls / 5


@pytest.mark.anyio
@pytest.mark.parametrize("job_id", [*HOSTILE, 7, None, [], {}])
async def test_any_job_id_is_answered(tool: MediaTool, job_id: Any) -> None:
    for action in ("status", "wait", "cancel"):
        answer = await tool.job(job_id, action, 0.01)
        assert answer["error"]["code"] in {"unknown_job", "invalid_request"}
