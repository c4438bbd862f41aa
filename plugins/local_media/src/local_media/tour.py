"""The steps of ``anymedia tour``: each yields a request and receives its result; most continue an earlier step."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import attrs

from anymedia.media import Image
from anymedia.requests import (
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
from anymedia.results import Result

__all__ = ["NAMES", "Step", "steps"]

#: Every file that the tour may write.
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
_LAKE, _MASK, _WINDOW, _STYLE, _RESTYLED, _VIDEO, _LONGER, _HEART, _GALAXY, _SPOKEN = NAMES
SIZE = "1280x720"
#: The circle to edit: its centre and radius, as fractions of the width, the height and the height.
_CIRCLE = (0.78, 0.34, 0.28)


@attrs.frozen(kw_only=True)
class Step:
    """A step of the tour.

    Attributes:
        request: the request to run.
        name: file name of the result.
        title: heading on the page; empty for a result that is only an input of a later step.
        text: what the step shows.
        command: the arguments of ``anymedia`` that make the same file.
        inputs: (role, file name, number of the step that made the file or 0) for each input.
        poster: file name of the still image of a video.
        optional: whether the step may fail, because what it needs is not installed.
    """

    request: Request
    name: str
    title: str = ""
    text: str = ""
    command: str = ""
    inputs: tuple[tuple[str, str, int], ...] = ()
    poster: str | None = None
    optional: bool = False


def steps(folder: Path) -> Generator[Step, Result, None]:
    """Yield the steps; the result of each step's request is sent back, None for a skipped one.

    Args:
        folder: the directory that the results are written to.
    """
    lake = yield _lake()
    _draw_mask(folder / _MASK, lake)
    yield _window(folder)
    yield Step(request=GenerateImage(prompt="a tropical beach at noon, turquoise water", size="640x360", seed=8), name=_STYLE)
    yield _restyled(folder)
    video = yield _video(folder)
    yield _longer(video)
    yield _heart()
    yield _galaxy(folder)
    yield _spoken()


def _lake() -> Step:
    prompt = "a mountain lake at sunset"
    return Step(
        title="An image",
        text="Generated from a prompt. The same seed gives the same image.",
        request=GenerateImage(prompt=prompt, size=SIZE, seed=9),
        name=_LAKE,
        command=f"image '{prompt}' --size {SIZE} --seed 9 -o {_LAKE}",
    )


def _window(folder: Path) -> Step:
    prompt = "northern lights over mountains at night"
    source, mask = Image(path=folder / _LAKE), Mask(image=Image(path=folder / _MASK))
    return Step(
        title="A masked edit",
        text="Only the white area of the mask was repainted. Every other pixel is identical to step 1.",
        request=Inpaint(prompt=prompt, source=source, mask=mask, protect="exact", seed=5),
        name=_WINDOW,
        command=f"edit {_LAKE} '{prompt}' --mask {_MASK} --protect exact --seed 5 -o {_WINDOW}",
        inputs=(("source", _LAKE, 1), ("mask, white = edit", _MASK, 0)),
    )


def _restyled(folder: Path) -> Step:
    prompt = "the same scene in the colours of the other picture"
    references = (Reference(image=Image(path=folder / _WINDOW)), Reference(image=Image(path=folder / _STYLE), role="style"))
    return Step(
        title="A style edit",
        text="The second image provides the colours, the first one everything else.",
        request=EditWithReferences(prompt=prompt, references=references),
        name=_RESTYLED,
        command=f"edit {_WINDOW} '{prompt}' --style {_STYLE} -o {_RESTYLED}",
        inputs=(("source", _WINDOW, 2), ("style", _STYLE, 0)),
    )


def _video(folder: Path) -> Step:
    prompt = "the camera moves slowly closer"
    return Step(
        title="A video",
        text="The edited image is the first frame. The video ran as a job: submitted, polled and downloaded.",
        request=GenerateVideo(prompt=prompt, first_frame=Image(path=folder / _WINDOW), duration=3),
        name=_VIDEO,
        command=f"video {_WINDOW} '{prompt}' -s 3 -o {_VIDEO}",
        inputs=(("first frame", _WINDOW, 2),),
        poster=_WINDOW,
    )


def _longer(video: Result) -> Step:
    prompt = "the camera moves closer still"
    assert video.continuation_id is not None
    return Step(
        title="Its continuation",
        text="The frames of step 4 are kept unchanged, and new ones follow.",
        request=ContinueVideo(prompt=prompt, continue_from=Continuation.of(video.continuation_id), continue_as="extend", duration=3),
        name=_LONGER,
        command=f"video --continue {_VIDEO} '{prompt}' -s 3 -o {_LONGER}",
        inputs=(("continues", _WINDOW, 4),),
        poster=_WINDOW,
    )


def _heart() -> Step:
    prompt = "a large red heart"
    return Step(
        title="Another image",
        text="A simple shape, which the next step detects.",
        request=GenerateImage(prompt=prompt, size=SIZE, seed=4),
        name=_HEART,
        command=f"image '{prompt}' --size {SIZE} --seed 4 -o {_HEART}",
    )


def _galaxy(folder: Path) -> Step:
    prompt = "a galaxy in space"
    return Step(
        title="An edit of its foreground",
        text="No mask was drawn: the backend detected the foreground and repainted it.",
        request=Inpaint(prompt=prompt, source=Image(path=folder / _HEART), mask=Mask(mode="foreground"), seed=3),
        name=_GALAXY,
        command=f"edit {_HEART} '{prompt}' --mask foreground --seed 3 -o {_GALAXY}",
        inputs=(("source", _HEART, 6),),
        optional=True,
    )


def _spoken() -> Step:
    prompt = "Everything on this page was generated on this machine, without a key and without a network."
    return Step(
        title="A spoken sentence",
        text="Speech, synthesized from text.",
        request=GenerateAudio(prompt=prompt),
        name=_SPOKEN,
        command=f"say '{prompt}' -o {_SPOKEN}",
        optional=True,
    )


def _draw_mask(path: Path, source: Result) -> None:
    """Write a black and white mask of the size of the source: a white circle where the edit goes."""
    import PIL.Image
    import PIL.ImageDraw

    width, height = source.files[0].width or 0, source.files[0].height or 0
    x, y, radius = _CIRCLE[0] * width, _CIRCLE[1] * height, _CIRCLE[2] * height
    image = PIL.Image.new("L", (width, height), 0)
    PIL.ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    image.save(path, format="PNG")
