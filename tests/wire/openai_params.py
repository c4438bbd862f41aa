"""What each OpenAI endpoint takes, and how it refuses: written from the reference, apart from the plugin's own matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from .http_server import Reply

__all__ = [
    "EDIT_FIELDS",
    "GENERATE_FIELDS",
    "IMAGE_MODELS",
    "RETIRED_IMAGE_MODELS",
    "SPEECH_FIELDS",
    "TOOL_FIELDS",
    "Refusal",
    "check_fields",
    "check_image_options",
]

_USER_ERROR = "image_generation_user_error"


@attrs.frozen
class Refusal(Exception):
    """An answered rejection in OpenAI's error envelope."""

    message: str
    status: int = 400
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    more: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def reply(self) -> Reply:
        """Return it as an answer."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code, **self.more}
        return Reply.of_json({"error": error}, status=self.status, headers=self.headers)


@attrs.frozen
class ImageModel:
    """What sets the image models apart."""

    free_size: bool = True
    qualities: tuple[str, ...] = ("low", "medium", "high", "auto")
    complexity: bool = False
    fidelity: tuple[str, ...] = ()


_MORE = ("low", "medium", "high", "auto", "xhigh", "max")
_OLD = ImageModel(free_size=False, fidelity=("low", "high"))
IMAGE_MODELS: Mapping[str, ImageModel] = {
    "gpt-image-2.6-sunburst": ImageModel(qualities=_MORE, complexity=True),
    "gpt-image-2.6-flare": ImageModel(qualities=_MORE, complexity=True),
    "gpt-image-2.5-sunburst": ImageModel(qualities=_MORE),
    "gpt-image-2.5-sunburst-2026-09-08": ImageModel(qualities=_MORE),
    "gpt-image-2.5-flare": ImageModel(qualities=_MORE),
    "gpt-image-2.5-flare-2026-09-08": ImageModel(qualities=_MORE),
    "gpt-image-2": ImageModel(),
    "gpt-image-2-2026-04-21": ImageModel(),
    "gpt-image-1.5": _OLD,
    "gpt-image-1.5-2025-12-16": _OLD,
    "chatgpt-image-latest": _OLD,
    "gpt-image-1-mini": ImageModel(free_size=False, fidelity=("low",)),
}
RETIRED_IMAGE_MODELS = ("dall-e-2", "dall-e-3", "gpt-image-1")
_FIXED_SIZES = ("1024x1024", "1536x1024", "1024x1536", "auto")

# Field -> the JSON type it must have, or the words it must be one of.
_IMAGE_FIELDS: dict[str, Any] = {
    "prompt": str,
    "model": str,
    "n": int,
    "size": str,
    "quality": ("low", "medium", "high", "xhigh", "max", "auto"),
    "background": ("transparent", "opaque", "auto"),
    "output_format": ("png", "jpeg", "webp"),
    "output_compression": int,
    "moderation": ("auto", "low"),
    "complexity": ("low", "medium", "high"),
    "safety_identifier": str,
    "user": str,
    "stream": bool,
    "partial_images": int,
}
GENERATE_FIELDS: Mapping[str, Any] = _IMAGE_FIELDS
EDIT_FIELDS: Mapping[str, Any] = _IMAGE_FIELDS | {"input_fidelity": ("low", "high")}
TOOL_FIELDS: Mapping[str, Any] = {
    **{k: v for k, v in EDIT_FIELDS.items() if k not in {"prompt", "n", "safety_identifier", "user", "stream"}},
    "type": ("image_generation",),
    "action": ("generate", "edit", "auto"),
    "input_image_mask": dict,
}
SPEECH_FIELDS: Mapping[str, Any] = {
    "model": str,
    "input": str,
    "voice": (str, dict),
    "instructions": str,
    "response_format": ("mp3", "opus", "aac", "flac", "wav", "pcm"),
    "speed": (int, float),
    "stream_format": ("sse", "audio"),
}


def _invalid(param: str, message: str) -> Refusal:
    return Refusal(message, type=_USER_ERROR, param=param, code="invalid_value")


def _fits(value: Any, rule: Any) -> bool:
    if isinstance(rule, tuple) and isinstance(rule[0], str):
        return value in rule
    return isinstance(value, rule) and (rule is bool or not isinstance(value, bool))


def check_fields(given: Mapping[str, Any], fields: Mapping[str, Any], required: tuple[str, ...], *, where: str = "") -> None:
    """Refuse unknown fields, wrong types and missing ones, as the real one words it."""
    for name in required:
        if given.get(name) in (None, ""):
            raise Refusal(f"Missing required parameter: '{where}{name}'.", param=where + name, code="missing_required_parameter")
    for name, value in given.items():
        if name not in fields:
            raise Refusal(f"Unknown parameter: '{where}{name}'.", param=where + name, code="unknown_parameter")
        if not _fits(value, fields[name]):
            raise Refusal(f"Invalid value for '{where}{name}': {value!r}.", param=where + name, code="invalid_value")


def form_values(texts: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn form texts into the types of the fields; a text that is not a number where one is required is refused."""
    found: dict[str, Any] = {}
    for name, text in texts.items():
        number = fields.get(name) is int
        if number and not re.fullmatch(r"-?[0-9]+", text):
            raise Refusal(f"Invalid type for '{name}': expected an integer.", param=name, code="invalid_type")
        found[name] = int(text) if number else {"true": True, "false": False}.get(text, text) if fields.get(name) is bool else text
    return found


def check_image_options(options: Mapping[str, Any], *, editing: bool) -> None:
    """Refuse what the named image model does not take."""
    name = options.get("model", "gpt-image-1")
    if name in RETIRED_IMAGE_MODELS or name not in IMAGE_MODELS:
        raise _invalid("model", f"The model '{name}' does not exist.")
    model = IMAGE_MODELS[name]
    if not 1 <= options.get("n", 1) <= 10:
        raise _invalid("n", "n must be between 1 and 10.")
    if len(options.get("prompt", "")) > 32_000:
        raise _invalid("prompt", "The prompt is too long (at most 32000 characters).")
    if not 0 <= options.get("output_compression", 100) <= 100:
        raise _invalid("output_compression", "output_compression must be between 0 and 100.")
    _check_size(options.get("size", "auto"), model)
    if options.get("quality", "auto") not in model.qualities:
        raise _invalid("quality", f"'{options['quality']}' is not supported by {name}.")
    form = options.get("output_format", "png")
    if options.get("background") == "transparent" and form == "jpeg":
        raise _invalid("background", "Transparent background is not supported for JPEG.")
    if "output_compression" in options and form == "png":
        raise _invalid("output_compression", "output_compression is only supported for jpeg and webp.")
    if "complexity" in options and not model.complexity:
        raise _invalid("complexity", f"complexity is not supported by {name}.")
    if "input_fidelity" in options and (not editing or options["input_fidelity"] not in model.fidelity):
        raise _invalid("input_fidelity", f"input_fidelity is not supported by {name}.")


def _check_size(size: str, model: ImageModel) -> None:
    if size == "auto" or (not model.free_size and size in _FIXED_SIZES):
        return
    found = re.fullmatch(r"([0-9]+)x([0-9]+)", size)
    if not model.free_size or not found:
        raise _invalid("size", f"Invalid size '{size}'.")
    width, height = int(found[1]), int(found[2])
    wrong = (
        width % 16
        or height % 16
        or max(width, height) > 3840
        or max(width, height) > 3 * min(width, height)
        or not 655_360 <= width * height <= 8_294_400
    )
    if wrong:
        raise _invalid("size", f"Invalid size '{size}': it breaks the rules for width, height, ratio or pixels.")
