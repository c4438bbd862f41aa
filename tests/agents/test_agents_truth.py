"""Every cell of the guidance's table is planned: it promises exactly what the planner accepts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents.conftest import half_mask
from agents.worlds import TODAY
from wire.media_bytes import image, video

from anymedia import Router, SqliteStore
from anymedia.agents import MediaTool
from anymedia.agents.available import able_rows
from anymedia.agents.prompt import _LINES, guidance
from anymedia.requests import Continuation, StoredFile

pytestmark = pytest.mark.anyio
MASKED = {"prompt": "x", "input_images": ["photo.png"]}
#: Line of the table -> the simplest calls it stands for, any of which may be what a backend takes.
CALLS: dict[str, list[dict[str, Any]]] = {
    "image from words": [{"prompt": "x"}],
    "image, next turn (continue_from)": [{"prompt": "x", "continue_from": "image"}],
    "inpaint, mask_path": [{**MASKED, "mask_path": "mask.png"}],
    "inpaint, mask_mode": [{**MASKED, "mask_mode": "foreground"}, {**MASKED, "mask_mode": "semantic", "segmentation_classes": [1]}],
    "outpaint (edit_mode)": [{**MASKED, "edit_mode": "outpaint"}, {**MASKED, "edit_mode": "outpaint", "aspect_ratio": "21:9"}],
    "edit input_images": [MASKED],
    "style_image_path": [{"prompt": "x", "style_image_path": "photo.png"}],
    "control_image_path": [{"prompt": "x", "control_image_path": "photo.png"}],
    "subject_image_path": [{"prompt": "x", "subject_image_path": "photo.png"}],
    "video from words": [{"prompt": "x", "mode": "video"}],
    "image to video (input_images)": [{**MASKED, "mode": "video"}],
    "last_frame_path": [{**MASKED, "mode": "video", "last_frame_path": "photo.png"}],
    "continue a video (continue_from)": [{"prompt": "x", "mode": "video", "continue_from": "video"}],
    "change a video file (input_video_path)": [{"prompt": "x", "mode": "video", "input_video_path": "clip.mp4"}],
    "speech": [{"prompt": "x", "mode": "audio"}],
    "music": [{"prompt": "x", "mode": "audio", "audio_type": "music"}],
}


@pytest.fixture
async def router(work: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "XAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "k" * 20)
    (work / "none.toml").write_text("")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(work / "none.toml"))
    (work / "photo.png").write_bytes(image(1280, 720, "png"))
    (work / "mask.png").write_bytes(half_mask(1280, 720))
    (work / "clip.mp4").write_bytes(video(1280, 720, seconds=4.0))
    async with Router(store=SqliteStore(":memory:"), today=lambda: TODAY) as made:
        yield made


async def handles(router: Router, work: Path) -> AsyncIterator[tuple[str, str, str]]:
    """Store a continuation by every model that makes images or videos, as if it had just been made; backend, medium, id."""
    for number, able in enumerate(able_rows(router.instances, TODAY)):
        medium, name = able.model.media, "photo.png" if able.model.media == "image" else "clip.mp4"
        if medium == "audio" or not able.operation.startswith("generate"):
            continue
        data = (work / name).read_bytes()
        mime = "image/png" if medium == "image" else "video/mp4"
        file = StoredFile(path=str(work / name), sha256=hashlib.sha256(data).hexdigest(), mime=mime)
        made = Continuation(
            id=f"x_{medium[:3]}_{number:012x}",
            backend=able.backend,
            model=able.model.id,
            media=medium,
            files=(file,),
            created_at=time.time(),
        )
        await MediaTool(router).router.store.save_continuation(made)
        yield able.backend, medium, made.id


async def test_every_cell_of_the_guidance_table_matches_the_planner(router: Router, work: Path) -> None:
    tool = MediaTool(router)
    lines = guidance(router=router, today=TODAY).splitlines()
    head = next(line for line in lines if line.startswith("| |")).strip("|").split("|")[1:]
    rows = {cells[0]: cells[1:] for line in lines if line.startswith("|") and len(cells := line.strip("|").split("|")) == len(head) + 1}
    assert set(head) == {"openai", "google", "grok", "openrouter", "local"}
    assert CALLS.keys() == _LINES.keys()
    known: dict[tuple[str, str], list[str]] = {}
    async for backend, medium, handle in handles(router, work):
        known.setdefault((backend, medium), []).append(handle)
    wrong, checked = [], 0
    for line, cells in rows.items():
        for backend, cell in zip(head, cells, strict=True):
            if line not in CALLS:
                continue
            checked += 1
            asked = [{**call, "continue_from": h} for call in CALLS[line] for h in known.get((backend, call.get("continue_from", "")), [])]
            calls = asked if "continue_from" in CALLS[line][0] else CALLS[line]
            planned = [await tool.plan({**call, "backend": backend}) for call in calls]
            if any(answer["success"] for answer in planned) is not (cell != "no"):
                wrong.append((line, backend, cell, [answer.get("error", {}).get("message") for answer in planned]))
    assert wrong == []
    assert checked >= 70
