"""Request -> spec -> Job. Wrong inputs are reported here, before anything starts."""

from __future__ import annotations

import zlib
from typing import Any

from anymedia.context import Context
from anymedia.errors import InvalidRequest, Problem
from anymedia.requests import ContinueVideo, GenerateVideo
from anymedia.results import Job

from ..edits.adjust import adjustment_words
from ..images import UNKNOWN
from ..pictures import parse_size, read_picture
from ..recipe import fresh_seed, resolve
from ..vocabulary import FEATURES, MOVES
from ..words import ignored, mood_words, read, scene_words
from .codec import FPS, probe
from .jobs import submit

__all__ = ["start_continuation", "start_video"]

_DURATION = 4.0
_MAX_LONG = 1920
_TIERS = {"360p": 360, "480p": 480, "720p": 720, "1080p": 1080}


def _even(value: float) -> int:
    return max(64, round(value / 2) * 2)


def _size(request: GenerateVideo, frame: tuple[int, int] | None) -> tuple[int, int]:
    """Return (width, height): as given; else the ratio asked for (or that of the first frame) at the tier."""
    if request.size and request.size != "auto":
        return parse_size(request.size)
    ratio = 16 / 9 if frame is None else frame[0] / frame[1]
    if request.aspect_ratio and request.aspect_ratio != "auto":
        across, down = (float(part) for part in request.aspect_ratio.split(":"))
        ratio = across / down
    short: float = _TIERS.get(request.resolution or "", 720 if frame is None else min(720, *frame))
    long = min(_MAX_LONG, short * max(ratio, 1 / ratio))
    short = min(short, long / max(ratio, 1 / ratio))
    return (_even(long), _even(short)) if ratio >= 1 else (_even(short), _even(long))


def _common(request: GenerateVideo | ContinueVideo) -> dict[str, Any]:
    seconds = request.duration or _DURATION
    return {
        "version": 1,
        "prompt": request.prompt,
        "negative": request.negative_prompt,
        "frames": max(1, round(seconds * FPS)),
        "format": request.output_format or "mp4",
    }


def _motion_words(request: GenerateVideo | ContinueVideo) -> list[str]:
    """Return the words that move a camera over a picture, or change it gradually."""
    wish = read(request.prompt, request.negative_prompt)
    weather = [word for name in wish.features & {"snow", "snowfall", "rain"} for word in FEATURES[name]]
    return [*mood_words(wish), *weather, *adjustment_words(request.prompt), *(word for words in MOVES.values() for word in words)]


async def start_video(request: GenerateVideo, context: Context) -> Job:
    """Start a film of a scene, of a picture the camera moves over, or of the way from one picture to another."""
    inputs = {}
    frame = None
    if request.first_frame is not None:
        inputs["first"] = context.read(request.first_frame).data
        frame = read_picture(inputs["first"], "$.first_frame").size
    if request.last_frame is not None:
        if frame is None:
            raise InvalidRequest([Problem("$.last_frame", "a last frame needs a first frame to start from")])
        inputs["last"] = context.read(request.last_frame).data
        read_picture(inputs["last"], "$.last_frame")
    width, height = _size(request, frame)
    spec = _common(request) | {"width": width, "height": height, "seeded": request.seed is not None}
    spec["seed"] = fresh_seed() if request.seed is None else request.seed
    spec["kind"] = "passage" if "last" in inputs else "picture" if inputs else "scene"
    if not inputs:
        wish = read(request.prompt, request.negative_prompt)
        spec["recipe"] = resolve(wish, spec["seed"], request.prompt).to_json()
        said = ignored(request.prompt, scene_words(wish), UNKNOWN.format("the scene is chosen by chance") if wish.is_empty else "")
    else:
        said = ignored(request.prompt, [] if "last" in inputs else _motion_words(request))
    spec["ignored"] = [warning.text for warning in said]
    return await submit(spec, inputs, context)


async def start_continuation(request: ContinueVideo, context: Context) -> Job:
    """Start what comes after a video: its scene goes on in time, or its last frame moves on."""
    import asyncio

    past: dict[str, Any] = {}
    if request.source is not None:
        video = context.read(request.source).data
    else:
        assert request.continue_from is not None
        video = context.read(request.continue_from.files[0]).data
        past = dict(request.continue_from.data)
    footage = await asyncio.to_thread(probe, video)
    spec = _common(request) | {"kind": "continuation", "width": footage.width, "height": footage.height, "past": past}
    used = scene_words(read(request.prompt, request.negative_prompt)) if "recipe" in past else _motion_words(request)
    spec["ignored"] = [warning.text for warning in ignored(request.prompt, used)]
    spec["seed"] = zlib.crc32(request.prompt.encode())  # a scene has its own; the rest follows from the words
    spec["format"] = request.output_format or footage.container
    return await submit(spec, {"video": video}, context)
