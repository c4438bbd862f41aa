"""The architecture page describes the code: a masked edit calls the functions of its table, in that order."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import PIL.Image
import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_router

from anymedia.agents import MediaTool

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    """Return the functions of the table, from the agent's JSON to the hook."""
    text = (ROOT / "docs/architecture.md").read_text()
    table = text.partition("| | down:")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if re.match(r"\| \d", line)]
    names = [name for row in rows for name in re.findall(r"`([\w.]+)`", re.sub(r"\([^)]*\)", "", row))]
    assert names.pop() == "context.submission"  # the hook's own block, not a function of the way
    assert rows[-1].startswith(f"| {len(names) - 2}-{len(names)} |")
    return names


@pytest.mark.anyio
async def test_masked_edit_calls_the_functions_of_the_table_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAKE_KEY", KEY)
    PIL.Image.new("RGB", (64, 48), (9, 200, 9)).save("photo.png")
    mask = PIL.Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    mask.save("mask.png")
    called: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and ("/anymedia/" in frame.f_code.co_filename or frame.f_code.co_name == "inpaint"):
            called.append(frame.f_code.co_qualname)

    with FakeService() as service:
        async with fake_router(service) as router:
            tool = MediaTool(router)
            threading.setprofile(profile)
            sys.setprofile(profile)
            try:
                answer = await tool.generate(prompt="red", input_images=["photo.png"], mask_path="mask.png", protect="exact")
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
    assert answer["success"], answer
    assert len(documented()) < 35
    at = 0
    for name in documented():
        found = next((i for i in range(at, len(called)) if called[i] == name or called[i].endswith(f".{name}")), None)
        assert found is not None, f"{name} is not called after {called[at]}"
        at = found
