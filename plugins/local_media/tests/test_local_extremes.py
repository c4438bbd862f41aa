"""Pictures of the smallest and thinnest sizes, and work interrupted twice."""

from __future__ import annotations

import _thread
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from tiers import quick_first

from anymedia.errors import InvalidRequest
from anymedia.requests import EditWithReferences, GenerateVideo, Inpaint

pytestmark = pytest.mark.anyio

PICTURES = {
    "one pixel": np.full((1, 1, 3), 90, np.uint8),
    "one row of 20000": np.tile(np.arange(20000, dtype=np.uint16)[None, :, None] % 256, (1, 1, 3)).astype(np.uint8),
    "one column of 20000": np.tile(np.arange(20000, dtype=np.uint16)[:, None, None] % 256, (1, 1, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("name", quick_first(PICTURES))
@pytest.mark.parametrize(("role", "kind"), [("style", None), ("control", "edges"), ("control", "scribble")])
async def test_picture_of_any_shape_gives_its_style_or_structure(local: Any, eyes: Any, name: str, role: str, kind: str | None) -> None:
    reference = eyes.reference(PICTURES[name], role, type=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = await local.piece(EditWithReferences(prompt="a city", size="96x64", seed=1, references=(reference,)))
    assert eyes.pixels(made.data).shape == (64, 96, 3)


@pytest.mark.parametrize(("width", "height"), quick_first([(2, 2), (8000, 1), (1, 8000), (700, 3)]))
@pytest.mark.parametrize("prompt", quick_first(["remove it", "a red heart", "night sea"]))
async def test_strip_is_filled_and_the_rest_stays(local: Any, eyes: Any, width: int, height: int, prompt: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    half = (0, 0, (width + 1) // 2, height) if width > 1 else (0, 0, 1, height // 2)
    request = Inpaint(prompt=prompt, source=eyes.image(pixels), mask=eyes.mask(width, height, half), seed=1)
    made = eyes.pixels((await local.piece(request)).data)
    outside = np.ones((height, width), bool)
    outside[half[1] : half[3], half[0] : half[2]] = False
    assert (made[outside] == pixels[outside]).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("width", "height"), [(8000, 1), (1, 8000)])
async def test_film_begins_with_a_strip(local: Any, eyes: Any, width: int, height: int) -> None:
    strip = np.full((height, width, 3), 90, np.uint8)
    request = GenerateVideo(prompt="zoom in", first_frame=eyes.image(strip), size="96x64", duration=0.1)
    assert eyes.frames((await local.piece(request)).data)[0].shape == (64, 96, 3)


async def test_subject_that_does_not_stand_out_is_refused_with_the_path_to_it(local: Any, eyes: Any) -> None:
    flat = eyes.reference(np.full((40, 40, 3), 90, np.uint8), "subject")
    with pytest.raises(InvalidRequest, match=r"^references=: no foreground stands out .*transparent around it"):
        await local.run(EditWithReferences(prompt="on a beach", size="96x64", references=(flat,)))


@pytest.mark.exhaustive
def test_end_of_the_process_waits_for_a_slow_frame_even_when_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from local_media.state import Drawer
    from local_media.videos import jobs, render

    begun, release = threading.Event(), threading.Event()

    def slow(spec: Any, load: Any, tick: Any) -> Any:
        begun.set()
        assert release.wait(60)
        tick(1, 2)
        raise AssertionError("a tick ends what is to stop")

    monkeypatch.setattr(render, "render", slow)
    monkeypatch.setattr(jobs, "_workers", type(jobs._workers)())
    worker = jobs._worker("slow", {}, Drawer(tmp_path))
    assert begun.wait(60)
    impatient = [threading.Timer(0.2 * n, _thread.interrupt_main) for n in (1, 2, 3)] + [threading.Timer(3.5, release.set)]
    for timer in impatient:
        timer.start()
    jobs._stop_all()
    for timer in impatient:
        timer.join()
    assert not worker.thread.is_alive()
    assert worker.error is not None and "cancelled" in worker.error.message
