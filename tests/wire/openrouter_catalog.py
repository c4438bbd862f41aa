"""What the fake serves: models with endpoints, as the real lists describe theirs (the shapes of the API reference).

The service refuses what an endpoint does not list. Some entries are odd on purpose: null, a descriptor of an unknown type, two
endpoints that differ, tier sizes, SVG, prices in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["ImageModel", "SpeechModel", "VideoModel", "images", "speech", "videos"]

_RATIOS = ["1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9"]


def enum(*values: Any) -> dict[str, Any]:
    return {"type": "enum", "values": list(values)}


def between(low: float, high: float) -> dict[str, Any]:
    return {"type": "range", "min": low, "max": high}


@attrs.define
class ImageModel:
    """A model with its endpoints: each what it takes, and its price lines."""

    id: str
    endpoints: list[dict[str, Any]]
    extra: dict[str, Any] = attrs.field(factory=dict)

    def listed(self) -> dict[str, Any]:
        """The entry of GET /images/models: the union of its endpoints."""
        union: dict[str, Any] = {}
        for endpoint in self.endpoints:
            union |= endpoint["supported_parameters"]
        return {
            "id": self.id,
            "name": self.id.partition("/")[2],
            "description": "A model.",
            "created": 1_780_000_000,
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["image"]},
            "supported_parameters": union,
            "supports_streaming": False,
            **self.extra,
        }

    def takes(self) -> dict[str, Any]:
        """What the endpoint takes that a request is routed to: the last one, so that a union would be found out."""
        taken: dict[str, Any] = self.endpoints[-1]["supported_parameters"]
        return taken


def endpoint(parameters: Mapping[str, Any], *pricing: dict[str, Any], slug: str = "maker") -> dict[str, Any]:
    return {
        "provider_name": slug.title(),
        "provider_slug": slug,
        "provider_tag": slug,
        "supported_parameters": dict(parameters),
        "allowed_passthrough_parameters": [],
        "supports_streaming": False,
        "pricing": list(pricing),
    }


_BY_IMAGE = {"billable": "output_image", "unit": "image", "cost_usd": 0.05}
_BY_TOKEN = {"billable": "output_image", "unit": "token", "cost_usd": 0.00003}


def images() -> dict[str, ImageModel]:
    """Return the image models by id."""
    gemini = {"resolution": enum("1K"), "aspect_ratio": enum(*_RATIOS), "n": between(1, 1), "input_references": between(0, 14)}
    sunburst = {
        "n": between(1, 4),
        "size": enum("1024x1024", "1536x1024", "1024x1536", "auto", "2K"),
        "aspect_ratio": enum("1:1", "3:2", "2:3", "auto"),
        "quality": enum("auto", "low", "medium", "high", "xhigh", "max"),
        "background": enum("auto", "transparent", "opaque"),
        "output_format": enum("png", "jpeg", "webp", "svg"),
        "output_compression": between(0, 100),
        "input_references": between(0, 16),
        "moderation": enum("auto", "low"),
    }
    chat = {
        "n": between(1, 10),
        "quality": enum("auto", "low", "medium", "high"),
        "background": enum("auto", "transparent", "opaque"),
        "output_compression": between(0, 100),
        "input_references": {"type": "boolean"},
    }
    odd = {
        "seed": {"type": "boolean"},
        "quality": None,
        "resolution": {"type": "lattice", "step": 64},
        "aspect_ratio": enum("1:1", "16:9"),
        "n": between(1, 2),
    }
    unseeded = {k: v for k, v in odd.items() if k != "seed"}
    found = [
        ImageModel("google/gemini-3.1-flash-lite-image", [endpoint(gemini, slug="google"), endpoint(gemini, slug="vertex")]),
        ImageModel("openai/gpt-image-2.5-sunburst", [endpoint(sunburst, _BY_TOKEN)], {"canonical_slug": "openai/gpt-image-2.5-sunburst-9"}),
        ImageModel("bytedance-seed/seedream-4.5", [endpoint({"resolution": enum("1K", "2K", "4K")}, _BY_IMAGE)]),
        ImageModel("openai/gpt-5.4-image-2", [endpoint(chat, _BY_TOKEN)]),
        ImageModel("painter/two-houses", [endpoint({**odd, "n": between(1, 4)}, _BY_IMAGE), endpoint(unseeded, _BY_IMAGE)]),
        ImageModel("painter/odd", [endpoint(odd, _BY_IMAGE, {"billable": "input_image", "unit": "image", "cost_usd": 0.01})]),
    ]  # fmt: skip
    return {model.id: model for model in found}


@attrs.define
class VideoModel:
    """A video model: its entry of the list, what it takes in, and what only its description or nothing at all says."""

    id: str
    entry: dict[str, Any]
    modalities: tuple[str, ...] = ("text", "image")
    references: int = 0
    previous: bool = False

    def listed(self) -> dict[str, Any]:
        """The entry of GET /videos/models; every list of it may be null."""
        empty = dict.fromkeys(
            (
                *("supported_resolutions", "supported_aspect_ratios", "supported_sizes", "supported_durations"),
                *("supported_frame_images", "generate_audio", "seed", "upscale_factor", "creativity", "pricing_skus"),
            )
        )
        base = {"id": self.id, "canonical_slug": self.id, "name": self.id.partition("/")[2], "created": 1_780_000_000}
        return {**base, "description": "A model.", "allowed_passthrough_parameters": [], **empty, **self.entry}


def videos() -> dict[str, VideoModel]:
    """Return the video models by id."""
    both = ["first_frame", "last_frame"]
    wide = ["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
    per_second = {"duration_seconds_with_audio": "0.40", "duration_seconds_without_audio": "0.20"}
    veo = {"supported_durations": [8, 4, 6], "supported_resolutions": ["720p", "1080p", "4K"], "supported_aspect_ratios": ["16:9", "9:16"],
           "supported_frame_images": both, "generate_audio": True, "seed": True, "pricing_skus": per_second}  # fmt: skip
    grok = {"supported_durations": list(range(1, 16)), "supported_resolutions": ["480p", "720p", "1080p"],
            "supported_aspect_ratios": ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3"], "supported_frame_images": ["first_frame"],
            "pricing_skus": {"cents_per_video_output_second_480p": "2", "cents_per_video_output_second_720p": "3",
                             "cents_per_video_output_second_1080p": "14", "cents_per_image_input": "1"}}  # fmt: skip
    heygen = {"supported_durations": list(range(5, 16)), "supported_resolutions": ["480p", "768p", "2K"], "supported_aspect_ratios": wide,
              "supported_frame_images": ["first_frame"], "generate_audio": False, "seed": True}  # fmt: skip
    hailuo = {"supported_durations": list(range(5, 16)), "supported_resolutions": ["768p", "480p"], "supported_aspect_ratios": wide,
              "supported_frame_images": ["first_frame"], "generate_audio": False, "seed": False,
              "pricing_skus": {"duration_seconds_480p": "0.05", "duration_seconds_768p": "0.08"}}  # fmt: skip
    cast = {"supported_durations": [4, 8], "supported_sizes": ["1280x720", "720x1280"], "supported_frame_images": both, "seed": None,
            "supported_resolutions": ["720p"], "description": "Text-to-video, image-to-video and reference-to-video with a cast.",
            "pricing_skus": {"video_tokens": "0.000007"}}  # fmt: skip
    upscaler = {"upscale_factor": {"min": 1, "max": 4}, "pricing_skus": {"per-output-megapixel": "0.01"}}
    found = [
        VideoModel("google/veo-3.1", veo),
        VideoModel("x-ai/grok-imagine-video-1.5-lite", grok),
        VideoModel("heygen/heygen-video-1", heygen),
        VideoModel("minimax/hailuo-3-max", hailuo),
        VideoModel("black-forest-labs/flux-video-edit", {"generate_audio": False, "seed": False}, ("text", "video")),
        VideoModel("painter/cast", cast, references=9, previous=True),
        VideoModel("painter/upscaler", upscaler, ("text", "video")),
    ]
    return {model.id: model for model in found}


@attrs.define
class SpeechModel:
    """A speech model: its voices, and the optional fields it takes."""

    id: str
    voices: tuple[str, ...]
    fields: tuple[str, ...] = ()

    def listed(self) -> dict[str, Any]:
        """The entry of GET /models?output_modalities=speech."""
        return {
            "id": self.id,
            "canonical_slug": self.id,
            "name": self.id.partition("/")[2],
            "created": 1_780_000_000,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["speech"]},
            "supported_parameters": list(self.fields),
            "supported_voices": list(self.voices) or None,
            "pricing": {"prompt": "0.0000006", "completion": "0"},
        }


def speech() -> dict[str, SpeechModel]:
    """Return the speech models by id."""
    names = ("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar")
    found = [
        SpeechModel("openai/gpt-4o-mini-tts-2025-12-15", names, ("speed",)),
        SpeechModel("painter/one-voice", ()),
    ]
    return {model.id: model for model in found}
