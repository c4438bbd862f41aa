"""Video by Gemini Omni, through interactions in the background.

With a Gemini key a video continues the interaction that generated it, and an uploaded file is stored with the Files API; on Agent
Platform, which has neither, the saved video itself is sent.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.requests import ContinueVideo, GenerateVideo, Reference
from anymedia.results import Job

from ._client import connect, on_agent_platform
from ._files import upload
from ._interactions import picture_block, start
from ._recipes import for_video

__all__ = ["continue_video", "generate"]


async def generate(request: GenerateVideo, context: Context) -> Job:
    """Generate a video from a prompt, from a first (and last) frame, from reference pictures."""
    frames = [context.read(f) for f in (request.first_frame, request.last_frame) if f is not None]
    return await start(context, _body(request, context, frames, _task(frames, request.references)))


def _task(frames: list[LoadedMedia], references: Iterable[Reference]) -> str | None:
    if frames and references:
        return None  # the tags in the prompt say it, and the model chooses the task
    if frames:
        return "image_to_video"
    return "reference_to_video" if references else "text_to_video"


async def continue_video(request: ContinueVideo, context: Context) -> Job:
    """Extend or edit an earlier video, or a video file."""
    way = request.continue_as or "extend"
    source, previous = await _source(request, context)
    body = _body(request, context, [], way, source) | {"previous_interaction_id": previous}
    return await start(context, body, way=way)


async def _source(request: ContinueVideo, context: Context) -> tuple[list[dict[str, Any]], str | None]:
    """Return (content blocks of the video, the interaction to continue): one of the two."""
    continuation = request.continue_from
    if continuation is not None:
        previous = continuation.data.get("interaction")
        if previous and not on_agent_platform(context):
            return [], str(previous)
        video = context.read(continuation.files[0])
    else:
        assert request.source is not None
        video = context.read(request.source)
    block: dict[str, Any] = {"type": "video", "mime_type": video.mime}
    if on_agent_platform(context):
        return [block | {"data": base64.b64encode(video.data).decode()}], None
    return [block | {"uri": await upload(video, context, await connect(context))}], None


def _body(
    request: GenerateVideo | ContinueVideo,
    context: Context,
    frames: list[LoadedMedia],
    task: str | None,
    source: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    pictures = [*frames, *(context.read(r.image) for r in request.references)]
    text = for_video(request.prompt, len(frames), request.references)
    settings = {"video_config": {"task": task} if task else None, "seed": request.seed if context.takes("seed") else None}
    return {
        "input": [*source, *(picture_block(p) for p in pictures), {"type": "text", "text": text}],
        "generation_config": {k: v for k, v in settings.items() if v is not None},
        "response_format": _response_format(request, context),
    }


def _response_format(request: GenerateVideo | ContinueVideo, context: Context) -> dict[str, Any]:
    def taken(name: str) -> Any:
        return getattr(request, name) if context.takes(name) else None

    duration, aspect, resolution = taken("duration"), taken("aspect_ratio"), taken("resolution")
    platform = on_agent_platform(context)
    place = context.settings.get("output_gcs_uri") if platform else None
    found = {
        "type": "video",
        # A file of the Gemini API is fetched apart; on Agent Platform that takes a place in Cloud Storage.
        "delivery": "inline" if platform and not place else "uri",
        "gcs_uri": place,
        "aspect_ratio": None if aspect == "auto" else aspect,
        "duration": None if duration is None else f"{duration:g}s",
        "resolution": None if resolution is None else resolution.lower(),
    }
    return {k: v for k, v in found.items() if v is not None}
