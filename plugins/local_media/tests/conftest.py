"""Drives the hooks of the local backend by hand, and judges media with other eyes than its own."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from anymedia.context import Context, LoadedMedia
from anymedia.media import Image
from anymedia.requests import Continuation, Mask, Reference, Request, StoredFile
from anymedia.results import Failed, Job, Outcome, Piece, Running, Succeeded

MODELS = {"generate_video": "landscape-video", "continue_video": "landscape-video"}


@attrs.frozen
class Local:
    """The backend, called as the core calls it."""

    state: Path

    def context(self, kind: str, loaded: Mapping[Any, LoadedMedia] | None = None, *, model: str = "", label: str = "") -> Context:
        from local_media import plugin

        name = model or MODELS.get(kind, "landscape")
        row = plugin.capabilities().model(name)
        assert row is not None
        return Context(
            backend="local",
            model=name,
            spec=row,
            operation=row.operations.get(kind),  # type: ignore[call-overload]
            settings={"state_dir": str(self.state)},
            loaded=loaded or {},
            label=label,
        )

    async def start(self, request: Request, *, files: Mapping[Any, bytes] | None = None, model: str = "", label: str = "") -> Job | Outcome:
        from local_media import plugin

        context = self.context(request.kind, _loaded(request, files or {}), model=model, label=label)
        found: Job | Outcome = await getattr(plugin, request.kind)(request, context)
        assert context.submissions == 1
        return found

    async def run(self, request: Request, *, files: Mapping[Any, bytes] | None = None, model: str = "") -> Outcome:
        """Call the hook and, for a job, look at it until it is over."""
        started = await self.start(request, files=files, model=model)
        return started if isinstance(started, Outcome) else await self.wait(started)

    async def wait(self, job: Job) -> Outcome:
        from local_media import plugin

        for _ in range(2400):
            state = await plugin.check_job(job, self.context("generate_video"))
            if isinstance(state, Succeeded):
                return state.outcome
            if isinstance(state, Failed):
                raise state.error
            assert isinstance(state, Running)
            await asyncio.sleep(0.05)
        raise AssertionError("the job never ended")

    async def piece(self, request: Request, **more: Any) -> Piece:
        outcome = await self.run(request, **more)
        assert len(outcome.pieces) == 1
        return outcome.pieces[0]


def _loaded(request: Request, files: Mapping[Any, bytes]) -> dict[Any, LoadedMedia]:
    """Collect every input of a request, as the core would."""
    given: list[Any] = [getattr(request, name, None) for name in ("source", "first_frame", "last_frame")]
    given += [reference.image for reference in getattr(request, "references", ())]
    found = {m: LoadedMedia(data=m.data, mime=m.mime or "", filename="input") for m in given if m is not None and m.data is not None}
    mask: Mask | None = getattr(request, "mask", None)
    if mask is not None and mask.image is not None and mask.image.data is not None:
        found[mask] = LoadedMedia(data=mask.image.data, mime="image/png", filename="mask.png")
    return found | {key: LoadedMedia(data=data, mime="", filename="earlier") for key, data in files.items()}


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path / "state")


def png(pixels: Any) -> bytes:
    from PIL import Image as Pil

    out = io.BytesIO()
    Pil.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@attrs.frozen
class Eyes:
    """Independent decoders and small helpers."""

    @staticmethod
    def pixels(data: bytes | None, mode: str = "RGB") -> Any:
        import numpy as np
        from PIL import Image as Pil

        assert data is not None
        with Pil.open(io.BytesIO(data)) as opened:
            return np.asarray(opened.convert(mode))

    @staticmethod
    def kind(data: bytes | None) -> str:
        from PIL import Image as Pil

        assert data is not None
        with Pil.open(io.BytesIO(data)) as opened:
            return str(opened.format)

    @staticmethod
    def frames(data: bytes | None) -> list[Any]:
        av: Any = pytest.importorskip("av")

        assert data is not None
        with av.open(io.BytesIO(data)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    @staticmethod
    def sound(data: bytes | None) -> tuple[Any, int]:
        """Return samples (channels, frames) as floats, and the rate."""
        av: Any = pytest.importorskip("av")
        import numpy as np

        assert data is not None
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
            parts = [piece.to_ndarray() for frame in container.decode(stream) for piece in resampler.resample(frame)]
            return np.concatenate(parts, axis=1), int(stream.rate)

    png = staticmethod(png)

    @staticmethod
    def image(pixels: Any) -> Image:
        return Image(data=png(pixels), mime="image/png")

    @staticmethod
    def mask(width: int, height: int, box: tuple[int, int, int, int]) -> Mask:
        """A white rectangle (left, top, right, bottom) on black."""
        import numpy as np

        pixels = np.zeros((height, width), np.uint8)
        pixels[box[1] : box[3], box[0] : box[2]] = 255
        return Mask(image=Image(data=png(pixels), mime="image/png"))

    @staticmethod
    def reference(pixels: Any, role: str, **more: Any) -> Reference:
        return Reference(image=Image(data=png(pixels), mime="image/png"), role=role, **more)  # type: ignore[arg-type]

    @staticmethod
    def earlier(piece: Piece, media: str, model: str) -> tuple[Continuation, dict[Any, bytes]]:
        """Return a continuation from a piece, as the core would keep it (through JSON), and its file."""
        import json

        assert piece.data is not None
        assert piece.continuation is not None
        stored = StoredFile(path="earlier", sha256="0" * 64, mime=piece.mime or "")
        data = json.loads(json.dumps(dict(piece.continuation.data)))
        made = Continuation(id="local_1", backend="local", model=model, media=media, data=data, files=(stored,))  # type: ignore[arg-type]
        return made, {stored: piece.data}


@pytest.fixture
def eyes() -> Eyes:
    return Eyes()


@pytest.fixture
def photo() -> Any:
    """A picture with sky, ground, texture and a sharp-edged thing: 240 x 160."""
    import numpy as np

    chance = np.random.default_rng(3)
    y, x = np.mgrid[0:160, 0:240].astype(np.float32)
    sky = np.stack([190 - y * 0.3, 200 - y * 0.2, 214 - y * 0.1], axis=2)
    ground = np.stack([90 + 20 * np.sin(x / 9), 120 + 14 * np.cos(y / 5), 60 + 0 * x], axis=2)
    picture = np.where(y[..., None] < 80, sky, ground) + chance.normal(0, 2, (160, 240, 1))
    picture[60:110, 100:150] = (200, 60, 40)
    return np.clip(picture, 0, 255).astype(np.uint8)


Runner = Callable[..., Awaitable[Outcome]]
