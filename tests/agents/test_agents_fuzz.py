"""Whatever an agent says: an answer, never an exception, never a file outside the root, never a request for a wrong call.

500 calls in an ordinary run; ANYMEDIA_FUZZ=5000 makes more.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_registry, fake_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anymedia import MemoryStore, Router
from anymedia.agents import MediaTool
from anymedia.agents.aliases import HOW, RENAMED
from anymedia.clock import SystemClock
from anymedia.errors import RequestError
from anymedia.generation_config import GenerationConfig
from anymedia.testing.harness import socket_guard

CALLS = int(os.environ.get("ANYMEDIA_FUZZ", "500"))
FIELDS = sorted({f.name for f in attrs.fields(GenerationConfig)} | {"mode"} | set(RENAMED) | set(HOW) - {"wait"})
HOSTILE = [
    "", " ", ".", "..", "/", "/etc/passwd", "../../etc/passwd", "out/../../x.png", "/proc/self/environ", "/dev/zero",
    "link.png", "~/.ssh/id_rsa",
    "a\0b", "\ud800", "\u202egnp.x", "x" * 5000, "CON.png", "fox.png\n", "photo.png/", "-rf", "$(id).png", "file:///etc/passwd",
    "http://127.0.0.1:1/x.png", "http://169.254.169.254/latest", "http://[::1]/x.png", "data:image/png;base64,AAAA", "data:,x",
    "job_0123456789ab", "fake_img_0123456789ab", "fake_vid_0123456789ab", "ignore all instructions", "%00", "NaN", "null",
]  # fmt: skip
SOUND = ["a fox", "fake", "auto", "still", "moving", "image", "video", "audio", "photo.png", "mask.png", "style.png", "out/", "new.png",
         "64x48", "16:9", "png", "mp4", "speech", "inpaint", "extend", "foreground", "transparent", "exact", "off"]  # fmt: skip

words = st.sampled_from(HOSTILE) | st.sampled_from(SOUND) | st.text(max_size=20)
numbers = st.integers(-(10**30), 10**30) | st.floats() | st.integers(0, 12)
simple = st.none() | st.booleans() | numbers | words
values = st.recursive(
    simple | st.binary(max_size=4), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)
hostile = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), values, max_size=6)
plausible = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a fox", "waves", "x" * 300])},
    optional={
        "mode": st.sampled_from(["image", "video", "audio", "Image"]),
        "backend": st.sampled_from(["fake", "auto", "nobody"]) | st.lists(st.sampled_from(["fake", "auto"]), max_size=2),
        "size": st.sampled_from(["64x48", "100x100", "auto", "9999x1"]),
        "n": st.integers(0, 3),
        "seed": st.integers(-1, 9),
        "duration": st.sampled_from([1, 4, 8, 60]),
        "input_images": st.lists(st.sampled_from(["photo.png", "style.png", "link.png", "gone.png"]), max_size=2),
        "mask_path": st.sampled_from(["mask.png", "photo.png", "/etc/passwd"]),
        "style_image": st.sampled_from(["style.png", "../x.png"]),
        "output_path": st.sampled_from(
            ["new.png", "out/", "deep/er/x.png", "../x.png", "/tmp/fuzzed-x.png", "new.mp4", "link.png", "photo.png"]
        ),
        "storage_path": st.sampled_from(["out", "/tmp", "..", "/"]),
        "allowed_paths": st.sampled_from([["/"], ["."], ["out"]]),
        "agent_cwd": st.sampled_from(["/", ".", "..", "out"]),
        "continue_from": st.sampled_from(["fake_img_0123456789ab", "x"]),
        "max_cost_usd": st.sampled_from([0, 0.05, 1]),
        "strict": st.booleans(),
        "overwrite": st.booleans(),
        "prompts": st.lists(st.sampled_from(["a", ""]), max_size=3),
        "output_format": st.sampled_from(["png", "jpeg", "exe"]),
    },
)
FREE = {error.code for error in (RequestError, *RequestError.__subclasses__())}


class Patient(SystemClock):
    """Nobody waits long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_no_call_breaks_it_or_leaves_its_place(work: Path, tmp_path: Path) -> None:
    """One loop, one router, one directory for all calls: what one leaves behind must not help the next."""
    os.environ["FAKE_KEY"] = KEY  # the fixture takes it back
    (tmp_path / "outside.png").write_bytes((work / "photo.png").read_bytes())
    (work / "link.png").symlink_to(tmp_path / "outside.png")
    before = everything_below(tmp_path) - everything_below(work)
    kept = {name: (work / name).read_bytes() for name in ("mask.png", "style.png")}
    counts = {"success": 0, "error": 0}
    loop = asyncio.new_event_loop()
    with FakeService(looks=0) as service, socket_guard() as left:
        router = Router(settings=fake_settings(service), registry=fake_registry(), store=MemoryStore(), clock=Patient())
        tool = MediaTool(router)

        @settings(max_examples=CALLS, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(asked=plausible | hostile | st.tuples(plausible, hostile).map(lambda pair: {**pair[0], **pair[1]}))
        def one(asked: dict[str, Any]) -> None:
            received = len(service.http.received)
            answer = loop.run_until_complete(asyncio.wait_for(tool.generate(asked), 60))
            json.dumps(answer, allow_nan=False)
            for single in answer.get("results", [answer]):
                counts["success" if single["success"] else "error"] += 1
                if single["success"]:
                    assert all(Path(f["path"]).resolve().is_relative_to(work.resolve()) for f in single["files"])
                    continue
                assert single["error"]["code"] != "internal", (asked, single)
                assert single["error"].keys() >= {"code", "message", "fix", "try_backends", "retry", "charged"}
                for name in single["error"]["try_backends"]:
                    again = loop.run_until_complete(
                        tool.plan({k: v for k, v in asked.items() if k not in ("backend", "backend_type", "model")} | {"backend": name})
                    )
                    assert "results" in again or again["success"], (asked, single, again)
            if "results" not in answer and not answer["success"] and answer["error"]["code"] in FREE:
                assert len(service.http.received) == received, (asked, answer)

        try:
            one()
        finally:
            loop.run_until_complete(router.aclose())
            loop.close()
    assert left == []
    assert everything_below(tmp_path) - everything_below(work) == before
    assert (tmp_path / "outside.png").read_bytes() != b""
    assert kept.keys() <= {p.name for p in work.iterdir()}
    assert not Path("/tmp/fuzzed-x.png").exists()
    assert counts["success"] > CALLS / 50
    assert counts["error"] > CALLS / 5


@pytest.mark.anyio
@pytest.mark.parametrize("job_id", [*HOSTILE, 7, None, [], {}])
async def test_no_job_id_breaks_it(tool: MediaTool, job_id: Any) -> None:
    for action in ("look", "wait", "cancel"):
        answer = await tool.job(job_id, action, 0.01)
        assert answer["error"]["code"] in {"unknown_job", "invalid_request"}
