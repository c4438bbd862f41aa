"""The endpoints of the fake of fal: the JSON Schema of each input, and what an input gets wrong.

Fields and values: the generated types of @fal-ai/client 1.10.1. The two endpoints of `painter` are invented: a refresh finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

__all__ = ["ENDPOINTS", "PRESETS", "Endpoint", "problems"]

#: The presets of ``image_size`` (repository fal-ai/fal at c6f0afaa).
PRESETS = {
    "square": (512, 512),
    "square_hd": (1024, 1024),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_RATIOS = ["auto", "21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16", "4:1", "1:4", "8:1", "1:8"]
_FEMALE = ("heart", "alloy", "aoede", "bella", "jessica", "kore", "nicole", "nova", "river", "sarah", "sky")
_MALE = ("adam", "echo", "eric", "fenrir", "liam", "michael", "onyx", "puck", "santa")
_VOICES = [*(f"af_{name}" for name in _FEMALE), *(f"am_{name}" for name in _MALE)]
_FLAG, _WORDS, _WHOLE, _NUMBER = ({"type": kind} for kind in ("boolean", "string", "integer", "number"))
_COMPONENTS = {"ImageSize": {"type": "object", "properties": {"width": _WHOLE, "height": _WHOLE}, "required": ["width", "height"]}}
_SIZE = {"anyOf": [{"$ref": "#/components/schemas/ImageSize"}, {"type": "string", "enum": [*PRESETS]}], "default": "landscape_4_3"}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 4, "default": 1}


def _choice(*values: str, default: str | None = None) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), **({} if default is None else {"default": default})}


def _file(medium: str) -> dict[str, Any]:
    return {"type": "string", "_fal_ui_field": medium}


def _optional(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [dict(schema), {"type": "null"}]}


@attrs.frozen(kw_only=True)
class Endpoint:
    """An endpoint: its category in the catalogue, the fields of its input, which of them it needs, and the field of its result."""

    category: str
    makes: Literal["images", "image", "video", "audio", "text"]
    fields: Mapping[str, Mapping[str, Any]]
    needs: tuple[str, ...] = ("prompt",)
    default_format: str = "png"

    def openapi(self, name: str) -> dict[str, Any]:
        """Return the document that the catalogue has of an endpoint."""
        schema = {"type": "object", "required": list(self.needs), "properties": self.fields, "x-fal-order-properties": list(self.fields)}
        body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TheInput"}}}}
        result = f"/{name}/requests/{{request_id}}"
        return {
            "openapi": "3.0.4",
            "info": {"title": f"Queue OpenAPI for {name}", "version": "1.0.0", "x-fal-metadata": {"endpointId": name}},
            "components": {"schemas": {"TheInput": schema, **_COMPONENTS}},
            "paths": {f"{result}/cancel": {"put": {}}, f"/{name}": {"post": {"requestBody": body}}, result: {"get": {}}},
            "servers": [{"url": "https://queue.fal.run"}],
        }


_FLUX_2 = {
    "prompt": _WORDS,
    "image_size": _SIZE,
    "seed": _optional(_WHOLE),
    "safety_tolerance": _choice("1", "2", "3", "4", "5"),
    "enable_safety_checker": _FLAG,
    "output_format": _choice("jpeg", "png"),
    "sync_mode": _FLAG,
}
_BANANA = {
    "prompt": _WORDS,
    "num_images": _COUNT,
    "seed": _optional(_WHOLE),
    "aspect_ratio": _choice(*_RATIOS),
    "resolution": _choice("0.5K", "1K", "2K", "4K"),
    "output_format": _choice("jpeg", "png", "webp"),
    "safety_tolerance": _choice("1", "2", "3", "4", "5", "6"),
    "thinking_level": _choice("minimal", "high"),
    "enable_web_search": _FLAG,
    "limit_generations": _FLAG,
    "sync_mode": _FLAG,
}
_VEO = {
    "prompt": _WORDS,
    "aspect_ratio": _choice("auto", "16:9", "9:16"),
    "duration": _choice("4s", "6s", "8s", default="8s"),
    "resolution": _choice("720p", "1080p"),
    "negative_prompt": _WORDS,
    "generate_audio": _FLAG,
    "auto_fix": _FLAG,
    "seed": _optional(_WHOLE),
    "safety_tolerance": _choice("1", "2", "3", "4", "5", "6"),
}
_KLING = {
    "prompt": _WORDS,
    "duration": _choice(*map(str, range(3, 16)), default="5"),
    "negative_prompt": _WORDS,
    "generate_audio": _FLAG,
    "cfg_scale": _NUMBER,
}
_IMAGES = {"type": "array", "items": _file("image")}

ENDPOINTS: dict[str, Endpoint] = {
    "fal-ai/flux/schnell": Endpoint(
        category="text-to-image",
        makes="images",
        default_format="jpeg",
        fields={
            "prompt": _WORDS, "image_size": _SIZE, "num_images": _COUNT, "seed": _optional(_WHOLE), "guidance_scale": _NUMBER,
            "num_inference_steps": _WHOLE, "enable_safety_checker": _FLAG, "output_format": _choice("jpeg", "png"),
            "acceleration": _choice("none", "regular", "high"), "sync_mode": _FLAG,
        },
    ),
    "fal-ai/flux-2-pro": Endpoint(category="text-to-image", makes="images", default_format="jpeg", fields=_FLUX_2),
    "fal-ai/flux-2-pro/edit": Endpoint(
        category="image-to-image",
        makes="images",
        default_format="jpeg",
        needs=("prompt", "image_urls"),
        fields={**_FLUX_2, "image_urls": _IMAGES, "image_size": {"anyOf": [_SIZE["anyOf"][0], _choice("auto", *PRESETS)]}},
    ),
    "fal-ai/nano-banana-2": Endpoint(category="text-to-image", makes="images", fields=_BANANA),
    "fal-ai/nano-banana-2/edit": Endpoint(
        category="image-to-image", makes="images", needs=("prompt", "image_urls"), fields={**_BANANA, "image_urls": _IMAGES}
    ),
    "fal-ai/flux-pro/v1/fill": Endpoint(
        category="image-to-image",
        makes="images",
        default_format="jpeg",
        needs=("prompt", "image_url", "mask_url"),
        fields={
            "prompt": _WORDS, "image_url": _file("image"), "mask_url": {"type": "string"}, "num_images": _COUNT,
            "seed": _optional(_WHOLE), "output_format": _choice("jpeg", "png"), "enhance_prompt": _FLAG,
            "safety_tolerance": _choice("1", "2", "3", "4", "5", "6"), "sync_mode": _FLAG,
        },
    ),
    "fal-ai/veo3.1": Endpoint(
        category="text-to-video", makes="video", fields={**_VEO, "aspect_ratio": _choice("16:9", "9:16", default="16:9")}
    ),
    "fal-ai/veo3.1/image-to-video": Endpoint(
        category="image-to-video", makes="video", needs=("prompt", "image_url"), fields={**_VEO, "image_url": _file("image")}
    ),
    "fal-ai/veo3.1/first-last-frame-to-video": Endpoint(
        category="image-to-video",
        makes="video",
        needs=("prompt", "first_frame_url", "last_frame_url"),
        fields={**_VEO, "first_frame_url": _file("image"), "last_frame_url": _file("image")},
    ),
    "fal-ai/kling-video/v3/pro/text-to-video": Endpoint(
        category="text-to-video", makes="video", needs=(), fields={**_KLING, "aspect_ratio": _choice("16:9", "9:16", "1:1")}
    ),
    "fal-ai/kling-video/v3/pro/image-to-video": Endpoint(
        category="image-to-video",
        makes="video",
        needs=("start_image_url",),
        fields={**_KLING, "start_image_url": _file("image"), "end_image_url": _optional(_file("image"))},
    ),
    "fal-ai/elevenlabs/tts/eleven-v3": Endpoint(
        category="text-to-speech",
        makes="audio",
        needs=("text",),
        fields={
            "text": _WORDS, "voice": _WORDS, "stability": _NUMBER, "language_code": _WORDS, "timestamps": _FLAG,
            "apply_text_normalization": _choice("auto", "on", "off"),
        },
    ),
    "fal-ai/kokoro/american-english": Endpoint(
        category="text-to-speech", makes="audio", needs=(), fields={"prompt": _WORDS, "voice": _choice(*_VOICES), "speed": _NUMBER}
    ),
    "fal-ai/lyria2": Endpoint(
        category="text-to-audio", makes="audio", fields={"prompt": _WORDS, "negative_prompt": _WORDS, "seed": _optional(_WHOLE)}
    ),
    "fal-ai/esrgan": Endpoint(
        category="image-to-image",
        makes="image",
        needs=("image_url",),
        fields={
            "image_url": _file("image"), "scale": _NUMBER, "tile": _WHOLE, "face": _FLAG, "output_format": _choice("png", "jpeg"),
            "model": _choice(*(f"RealESRGAN_x{tail}" for tail in ("4plus", "2plus", "4plus_anime_6B", "4_v3", "4_wdn_v3", "4_anime_v3"))),
        },
    ),
    "fal-ai/topaz/upscale/video": Endpoint(
        category="video-to-video",
        makes="video",
        needs=("video_url",),
        fields={"video_url": _file("video"), "upscale_factor": _NUMBER, "target_fps": _optional(_WHOLE), "H264_output": _FLAG},
    ),
    "fal-ai/birefnet/v2": Endpoint(
        category="image-to-image",
        makes="image",
        needs=("image_url",),
        fields={
            "image_url": _file("image"), "operating_resolution": _choice("1024x1024", "2048x2048", "2304x2304"),
            "output_format": _choice("webp", "png", "gif"), "refine_foreground": _FLAG, "output_mask": _FLAG, "mask_only": _FLAG,
            "sync_mode": _FLAG,
            "model": _choice(
                *(f"General Use ({kind})" for kind in ("Light", "Light 2K", "Heavy", "Dynamic")), "Matting", "Portrait"
            ),
        },
    ),
    "fal-ai/florence-2-large/caption": Endpoint(
        category="vision", makes="text", needs=("image_url",), fields={"image_url": _file("image")}
    ),
    "fal-ai/painter/upscaler": Endpoint(
        category="image-to-image",
        makes="image",
        needs=("image_url",),
        fields={
            "image_url": {"type": "string", "ui": {"field": "image"}, "description": "The picture to enlarge."},
            "upscale_factor": {"type": "number", "minimum": 1, "maximum": 4, "default": 2},
            "palette": _optional(_choice("warm", "cold")), "sync_mode": _FLAG,
        },
    ),
    "fal-ai/painter/landscape": Endpoint(
        category="text-to-image",
        makes="images",
        fields={"prompt": {**_WORDS, "maxLength": 500}, "season": _choice("summer", "winter", default="summer"), "sync_mode": _FLAG},
    ),
}  # fmt: skip


def problems(endpoint: Endpoint, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what an input gets wrong, as the service's ``detail``: missing and unknown fields, wrong types and values."""
    return list(_problems(endpoint, body))


def _problems(endpoint: Endpoint, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in endpoint.needs:
        if name not in body:
            yield _problem(name, "Field required", "missing", body)
    for name, value in body.items():
        if name not in endpoint.fields:
            yield _problem(name, "Extra inputs are not permitted", "extra_forbidden", value)
        elif not _fits(endpoint.fields[name], value):
            yield _problem(name, "Input should be a permitted value", "value_error", value)


def _problem(name: str, said: str, kind: str, value: Any) -> dict[str, Any]:
    return {"loc": ["body", name], "msg": said, "type": kind, "input": value, "url": f"https://docs.fal.ai/errors#{kind}"}


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    if "anyOf" in schema:
        return any(_fits(one, value) for one in schema["anyOf"])
    if "$ref" in schema:
        return isinstance(value, dict) and value.keys() == {"width", "height"}
    if schema["type"] == "array":
        return isinstance(value, list) and bool(value) and all(_fits(schema["items"], one) for one in value)
    kinds: Mapping[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    right = isinstance(value, kinds[schema["type"]]) and isinstance(value, bool) == (schema["type"] == "boolean")
    low, high = schema.get("minimum"), schema.get("maximum")
    return right and value in schema.get("enum", [value]) and (low is None or value >= low) and (high is None or value <= high)
