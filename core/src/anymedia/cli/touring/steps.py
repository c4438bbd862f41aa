"""What the tour asks for: each step goes on from an earlier one, through the same Router as any other request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ...errors import MediaError
from ...media import Image
from ...requests import (
    Continuation,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    Request,
)
from ...results import Result

if TYPE_CHECKING:
    from ...router import Router

__all__ = ["NAMES", "Input", "Skipped", "Step", "make_steps"]

#: Every file that a tour writes, beside its page.
NAMES = (
    "1-lake.png",
    "2-mask.png",
    "2-window.png",
    "3-style.png",
    "3-restyled.png",
    "4-video.mp4",
    "5-longer.mp4",
    "6-heart.png",
    "7-galaxy.png",
    "8-spoken.wav",
)
_SIZE = "1280x720"
#: The circle to edit: its centre and radius, as fractions of the width, the height and the height.
_CIRCLE = (0.78, 0.34, 0.28)


@attrs.frozen(kw_only=True)
class Input:
    """What a step was given: what it was for, a picture of it, and the step it came from (0: none)."""

    role: str
    picture: Path
    step: int = 0


@attrs.frozen(kw_only=True)
class Step:
    """One step: its number, what it is, what it was given, the command that does the same, and what came back.

    ``poster`` is the picture that a video begins with.
    """

    number: int
    title: str
    says: str
    prompt: str
    command: str
    inputs: tuple[Input, ...] = ()
    result: Result
    poster: Path | None = None

    @property
    def begins(self) -> bool:
        """Whether it goes on from no earlier step."""
        return all(given.step == 0 for given in self.inputs)


@attrs.frozen(kw_only=True)
class Skipped:
    """A step that could not be made here, and why."""

    title: str
    why: str


class _Tour:
    def __init__(self, router: Router, folder: Path, tell: Callable[[str], None]) -> None:
        self._router, self._folder, self._tell = router, folder, tell
        self.steps: list[Step] = []
        self.skipped: list[Skipped] = []

    def path(self, name: str) -> Path:
        return self._folder / name

    async def _make(self, request: Request, name: str) -> Result:
        return await self._router.execute(request, backend="local", output=self.path(name), overwrite=True)

    async def step(
        self, title: str, says: str, request: Request, name: str, command: str, *inputs: Input, poster: Path | None = None
    ) -> Step:
        self._tell(f"{len(self.steps) + 1}. {title}")
        result = await self._make(request, name)
        made = Step(
            number=len(self.steps) + 1,
            title=title,
            says=says,
            prompt=request.prompt,
            command=f"anymedia {command} -b local",
            inputs=inputs,
            result=result,
            poster=poster,
        )
        self.steps.append(made)
        return made

    async def optional_step(self, title: str, says: str, request: Request, name: str, command: str, *inputs: Input) -> None:
        """Make a step that may need what is not installed here."""
        try:
            await self.step(title, says, request, name, command, *inputs)
        except MediaError as error:
            self.skipped.append(Skipped(title=title, why=str(error)))

    async def helper(self, request: Request, name: str) -> Path:
        """Make a picture that is only an input."""
        return (await self._make(request, name)).path


async def make_steps(router: Router, folder: Path, tell: Callable[[str], None]) -> tuple[list[Step], list[Skipped]]:
    """Make all steps into a folder, whose files of the same names are replaced.

    Args:
        router: a Router that has the backend ``local``.
        folder: an existing folder.
        tell: is given each step's title as it begins.

    Raises:
        MediaError: a step failed that needs nothing but the local backend.
    """
    tour = _Tour(router, folder, tell)
    lake = await _lake(tour)
    window = await _window(tour, lake)
    await _restyled(tour, window)
    video = await _video(tour, window)
    await _longer(tour, video, window)
    await _galaxy(tour, await _heart(tour))
    await _spoken(tour)
    return tour.steps, tour.skipped


async def _lake(tour: _Tour) -> Step:
    prompt = "a mountain lake at sunset"
    return await tour.step(
        "An image",
        "Made from words. The same seed gives the same picture.",
        GenerateImage(prompt=prompt, size=_SIZE, seed=9),
        "1-lake.png",
        f"image '{prompt}' --size {_SIZE} --seed 9 -o 1-lake.png",
    )


async def _window(tour: _Tour, lake: Step) -> Step:
    mask = make_mask(tour.path("2-mask.png"), lake.result)
    prompt = "northern lights over mountains at night"
    return await tour.step(
        "A masked edit of it",
        "Only the white part of the mask was repainted. Every other pixel is the very one of step 1.",
        Inpaint(prompt=prompt, source=Image(path=lake.result.path), mask=Mask(image=Image(path=mask)), protect="exact", seed=5),
        "2-window.png",
        f"edit 1-lake.png '{prompt}' --mask 2-mask.png --protect exact --seed 5 -o 2-window.png",
        Input(role="source", picture=lake.result.path, step=lake.number),
        Input(role="mask, white = edit", picture=mask),
    )


async def _restyled(tour: _Tour, window: Step) -> None:
    style = await tour.helper(GenerateImage(prompt="a tropical beach at noon, turquoise water", size="640x360", seed=8), "3-style.png")
    prompt = "the same scene in the colours of the other picture"
    references = (Reference(image=Image(path=window.result.path)), Reference(image=Image(path=style), role="style"))
    await tour.step(
        "A style edit",
        "The second picture gave its colours, the first one everything else.",
        EditWithReferences(prompt=prompt, references=references),
        "3-restyled.png",
        f"edit 2-window.png '{prompt}' --style 3-style.png -o 3-restyled.png",
        Input(role="source", picture=window.result.path, step=window.number),
        Input(role="style", picture=style),
    )


async def _video(tour: _Tour, window: Step) -> Step:
    prompt = "the camera moves slowly closer"
    return await tour.step(
        "A video from it",
        "The edited picture is the first frame. It ran as a job: submitted, looked at, collected.",
        GenerateVideo(prompt=prompt, first_frame=Image(path=window.result.path), duration=3),
        "4-video.mp4",
        f"video 2-window.png '{prompt}' -s 3 -o 4-video.mp4",
        Input(role="first frame", picture=window.result.path, step=window.number),
        poster=window.result.path,
    )


async def _longer(tour: _Tour, video: Step, window: Step) -> None:
    prompt = "the camera goes on moving closer"
    start = Continuation.of(video.result.continuation_id)
    await tour.step(
        "Its continuation",
        "The frames of step 4 are kept as they were, and new ones follow.",
        ContinueVideo(prompt=prompt, continue_from=start, continue_as="extend", duration=3),
        "5-longer.mp4",
        f"video --continue 4-video.mp4 '{prompt}' -s 3 -o 5-longer.mp4",
        Input(role="goes on from", picture=window.result.path, step=video.number),
        poster=window.result.path,
    )


async def _heart(tour: _Tour) -> Step:
    prompt = "a large red heart"
    return await tour.step(
        "Another image",
        "A plain shape, to be found again in the next step.",
        GenerateImage(prompt=prompt, size=_SIZE, seed=4),
        "6-heart.png",
        f"image '{prompt}' --size {_SIZE} --seed 4 -o 6-heart.png",
    )


async def _galaxy(tour: _Tour, heart: Step) -> None:
    prompt = "a galaxy in space"
    await tour.optional_step(
        "An edit of its foreground",
        "No mask was drawn: the backend found the foreground itself and repainted that.",
        Inpaint(prompt=prompt, source=Image(path=heart.result.path), mask=Mask(mode="foreground"), seed=3),
        "7-galaxy.png",
        f"edit 6-heart.png '{prompt}' --mask foreground --seed 3 -o 7-galaxy.png",
        Input(role="source", picture=heart.result.path, step=heart.number),
    )


async def _spoken(tour: _Tour) -> None:
    prompt = "Everything on this page was made on this machine, without a key and without a network."
    await tour.optional_step(
        "A spoken line",
        "Speech, from text.",
        GenerateAudio(prompt=prompt),
        "8-spoken.wav",
        f"say '{prompt}' -o 8-spoken.wav",
    )


def make_mask(path: Path, source: Result) -> Path:
    """Write a black and white mask of the source's size: a white circle where the edit is to be."""
    import PIL.Image
    import PIL.ImageDraw

    width, height = source.files[0].width or 0, source.files[0].height or 0
    x, y, radius = _CIRCLE[0] * width, _CIRCLE[1] * height, _CIRCLE[2] * height
    image = PIL.Image.new("L", (width, height), 0)
    PIL.ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    image.save(path, format="PNG")
    return path
