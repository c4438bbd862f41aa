"""Pictures by Gemini image models: one a call, through interactions where the row says so, else generate_content.

Masks, styles, structures and subjects have no fields in that API; they are described in the prompt (see `_recipes`).
"""

from __future__ import annotations

from typing import Any

from anymedia.context import Context
from anymedia.requests import EditWithReferences, GenerateImage, Inpaint
from anymedia.results import Outcome

from ._client import on_agent_platform
from ._content import draw
from ._interactions import content_of, take_turn
from ._recipes import Message, for_edit, for_inpainting

__all__ = ["edit_with_references", "generate", "inpaint"]

_Pictured = GenerateImage | Inpaint | EditWithReferences


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Make a picture from words, or take the next turn of a chat."""
    return await _make(Message(text=request.prompt), request, context)


async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Change a region given by a guidance picture and words, or extend the picture beyond its borders."""
    return await _make(for_inpainting(request, context.read), request, context)


async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    """Make an image from input images whose roles are described in the prompt."""
    return await _make(for_edit(request, context.read), request, context)


async def _make(message: Message, request: _Pictured, context: Context) -> Outcome:
    continuation = request.continue_from if isinstance(request, GenerateImage) else None
    previous = None if continuation is None else continuation.data.get("interaction")
    if previous is None and (continuation is not None or not _by_interactions(context)):
        return await draw(message, context, _content_config(request, context), continuation)
    return await take_turn(context, "image", _interaction(message, request, context) | {"previous_interaction_id": previous})


def _by_interactions(context: Context) -> bool:
    """Whether the model is served through interactions; an instance that stores nothing has no earlier turn to name."""
    interactive = context.spec.wire.get("chat") == "interactions"
    return interactive and context.settings.get("store") is not False and not on_agent_platform(context)


def _taken(request: _Pictured, context: Context, name: str) -> Any:
    return getattr(request, name) if context.takes(name) else None


def _interaction(message: Message, request: _Pictured, context: Context) -> dict[str, Any]:
    shape = {"aspect_ratio": _taken(request, context, "aspect_ratio"), "image_size": _taken(request, context, "resolution")}
    settings = {"seed": _taken(request, context, "seed"), "thinking_level": request.extra_params.get("thinking_level")}
    return {
        "input": content_of(message),
        "response_format": {"type": "image", **{k: v for k, v in shape.items() if v is not None and v != "auto"}},
        "generation_config": {k: v for k, v in settings.items() if v is not None},
    }


def _content_config(request: _Pictured, context: Context) -> dict[str, Any]:
    extra = request.extra_params
    form = _taken(request, context, "output_format")
    picture = {
        "aspect_ratio": _taken(request, context, "aspect_ratio"),
        "image_size": _taken(request, context, "resolution"),
        "output_mime_type": None if form is None else f"image/{form}",
        "person_generation": extra.get("person_generation"),
        "output_compression_quality": extra.get("output_compression_quality"),
    }
    level = extra.get("thinking_level")
    config: dict[str, Any] = {
        "image_config": {k: v for k, v in picture.items() if v is not None and v != "auto"} or None,
        "seed": _taken(request, context, "seed"),
        "thinking_config": None if level is None else {"thinking_level": level.upper()},
    }
    return {k: v for k, v in config.items() if v is not None}
