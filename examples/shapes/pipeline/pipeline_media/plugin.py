"""A pipeline in this process: one model in memory, which one call at a time may use."""

from __future__ import annotations

import functools
import io
import threading
from pathlib import Path
from typing import Any

from anymedia import CapabilityMatrix, Context, GenerateImage, Outcome, Piece, hookimpl, load_matrix


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    width, height = map(int, (request.size or "256x256").split("x"))
    # Neither loading nor rendering may block the event loop; `max_concurrent` limits the threads. Nothing is sent or charged, so there is
    # no `context.submission()`: a call that is interrupted can be made again.
    data = await context.run_blocking(_render, request.prompt, width, height, request.seed or 0)
    return Outcome(pieces=[Piece(data=data, mime="image/png")])


class Pipeline:
    """Stands for a pipeline that is expensive to load and not safe to share between threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, prompt: str, width: int, height: int, seed: int) -> Any:
        from PIL import Image

        return Image.effect_mandelbrot((width, height), (-2.0 + seed % 97 / 97, -1.5, 1.0, 1.5 - len(prompt) % 7 / 10), 30)


@functools.cache
def _pipeline() -> Pipeline:
    return Pipeline()


def _render(prompt: str, width: int, height: int, seed: int) -> bytes:
    pipeline, out = _pipeline(), io.BytesIO()
    with pipeline.lock:
        pipeline(prompt, width, height, seed).save(out, "PNG")
    return out.getvalue()
