"""GenerationConfig: the flat form of a call, as agents and the command line give it; its reading from JSON.

All fields but the prompt are optional. Which of the six requests it becomes is decided in `anymedia.translation`;
a field that means nothing for that request is refused there, so none is lost in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from .config_fields import (
    AMBIENT,
    check_classes,
    check_flag,
    check_images,
    check_output,
    check_path,
    each,
    field,
    file,
    format_name,
    listed,
    word,
)
from .errors import InvalidRequest, Problem
from .fields import check_aspect_ratio, check_format, check_json, check_request, check_size, check_text, in_range
from .policy import Policy
from .requests import Request
from .strict_json import parse_json, read_object
from .translation import to_request

__all__ = ["AMBIENT", "GenerationConfig", "to_request"]


@attrs.frozen(kw_only=True)
class GenerationConfig:
    """One call, flat. Units: seconds, pixels, US dollars.

    Raises:
        InvalidRequest: with every problem and its path, for a value that no request could take.
    """

    prompt: str = field("what to make, in words", check_text, default=attrs.NOTHING)
    output_path: str | None = field(
        "file to write, or an existing directory or a path ending in '/'; the suffix decides the format",
        check_output,
        converter=lambda value: str(value) if isinstance(value, Path) else value,
    )
    media_type: str | None = word(
        "image, video or audio; by default what output_path or output_format say, or image", "image", "video", "audio"
    )
    backend: str | None = field("which backend; by default the best one", check_text)
    model: str | None = field("which model, also as backend/model", check_text)
    quality: str | None = field("how much effort, in the model's own words", check_text)
    duration: float | None = field("seconds (video, music)", in_range(0.1, 3600))
    voice: str | None = field("voice name (speech)", check_text)
    aspect_ratio: str | None = field("W:H, or auto", check_aspect_ratio)
    size: str | None = field("WIDTHxHEIGHT in pixels, or auto", check_size)
    extra_params: Mapping[str, Any] = field(
        "provider-only options, as the model declares them", check_json, default=attrs.Factory(dict), hash=False
    )
    input_images: tuple[Any, ...] = field(
        "images to edit, or the first frame: paths, {'path': ...} or {'image_url': http(s) or data: URL}",
        check_images,
        default=(),
        converter=listed,
        hash=False,
    )
    input_image_paths: tuple[Path, ...] = field(
        "more images, as paths",
        each(check_path),
        default=(),
        converter=lambda paths: (
            tuple(Path(p) if isinstance(p, str) and p.strip() else p for p in paths) if isinstance(paths, list | tuple) else paths
        ),
    )
    continue_from: str | None = field("continuation id of an earlier image or video", check_text)
    mask_path: Path | None = file("mask: PNG with transparency (transparent = edit), or black and white (white = edit)")
    edit_mode: str | None = word("inpaint or outpaint", "inpaint", "outpaint")
    output_format: str | None = field("file format (png, jpeg, webp, mp4, wav ...)", check_format, converter=format_name)
    background: str | None = word("transparent, opaque or auto (images)", "transparent", "opaque", "auto")
    negative_prompt: str | None = field("what to avoid", check_text)
    seed: int | None = field("for reproducible results", in_range(0, 2**63 - 1, integer=True))
    guidance_scale: float | None = field("how closely to follow the prompt", in_range(0, 1000))
    style_image_path: Path | None = file("image whose style to take")
    style_description: str | None = field("what to take from the style image", check_text)
    control_image_path: Path | None = file("image whose structure to keep")
    control_type: str | None = field("kind of structure: edges, scribble ...", check_text)
    subject_image_path: Path | None = file("image of someone or something to keep alike")
    subject_type: str | None = field("kind of subject: person, animal, product ...", check_text)
    subject_description: str | None = field("who or what the subject is", check_text)
    mask_mode: str | None = word(
        "how to find the region to edit: foreground, background, semantic (with segmentation_classes), user_provided "
        "(with mask_path), or auto (semantic with classes, else foreground)",
        "auto",
        "foreground",
        "background",
        "semantic",
        "user_provided",
    )
    segmentation_classes: tuple[int, ...] = field("class numbers to edit", check_classes, default=(), converter=listed)
    last_frame_path: Path | None = file("image that the video ends on")
    n: int | None = field("how many", in_range(1, 100, integer=True))
    resolution: str | None = field("tier such as 1K, 4K, 720p, 1080p", check_text)
    continue_as: str | None = word("what going on means for a video: extend, edit or remix", "extend", "edit", "remix")
    protect: str | None = word("exact: copy back the pixels outside the mask", "exact")
    audio_type: str | None = word("speech or music", "speech", "music")
    speed: float | None = field("of speech; 1.0 is normal", in_range(0.05, 20))
    instructions: str | None = field("how to speak or play", check_text)
    input_video_path: Path | None = file("video file to go on from, instead of continue_from")
    overwrite: bool = field("whether an existing file may be replaced", check_flag, default=False)
    strict: bool | None = field("true: every adjustment is an error instead", check_flag)
    fallback: str | None = word("off, or equivalent: another backend that honours all intent may step in", "off", "equivalent")
    prefer: tuple[str, ...] = field("backends in order of preference", each(check_text), default=(), converter=listed)
    max_cost_usd: float | None = field("what it may cost at most; a lower cap of the settings stands", in_range(0, 1_000_000))
    preview: bool | None = field("whether preview models may be chosen", check_flag)
    bridge: bool | None = field("whether another backend may continue a video from its last frame", check_flag)

    def __attrs_post_init__(self) -> None:
        check_request(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any] | str | bytes, *, drop_nulls: bool = False) -> Self:
        """Read it strictly from a JSON object, or from JSON text.

        Args:
            given: the object; ``mode`` stands for ``media_type``.
            drop_nulls: take a null as left out, for callers whose schema makes every field required.

        Raises:
            InvalidRequest: with every problem, its path and a did-you-mean.
        """
        raw = parse_json(given) if isinstance(given, str | bytes) else given
        if not isinstance(raw, Mapping):
            return read_object(cls, raw)
        fields = {key: value for key, value in raw.items() if not (drop_nulls and value is None)}
        if isinstance(fields.get("output_path"), Path):
            fields["output_path"] = str(fields["output_path"])
        if "mode" not in fields:
            return read_object(cls, fields)
        if "media_type" in fields:
            raise InvalidRequest([Problem("$.mode", "is the same as media_type", "give just one of them")])
        fields["media_type"] = fields.pop("mode")
        try:
            return read_object(cls, fields)
        except InvalidRequest as error:
            raise InvalidRequest([attrs.evolve(p, path="$.mode") if p.path == "$.media_type" else p for p in error.problems]) from None

    def is_set(self, name: str) -> bool:
        """Whether a field was given (and is not empty)."""
        value = getattr(self, name)
        return value is not None and value is not False and value != () and value != {}

    def policy(self, base: Policy) -> Policy:
        """Return a policy with this call's wishes.

        ``strict`` and ``max_cost_usd`` only ever tighten it: what the settings forbid, no call allows.
        """
        changes: dict[str, Any] = {"strict": base.strict or bool(self.strict)}
        for name in ("fallback", "preview", "bridge"):
            if (value := getattr(self, name)) is not None:
                changes[name] = value
        if self.prefer:
            changes["prefer"] = self.prefer
        if self.max_cost_usd is not None:
            cap = base.budget.per_request
            changes["budget"] = attrs.evolve(base.budget, per_request=self.max_cost_usd if cap is None else min(cap, self.max_cost_usd))
        return base.but(**changes)

    def to_request(self) -> Request:
        """Return the request it stands for, see `anymedia.translation.to_request`."""
        return to_request(self)
