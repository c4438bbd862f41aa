"""GenerationConfig -> one of the six requests. Pure: nothing is read, only names and values are looked at.

In this order:

1. audio -> generate_audio (it cannot be continued);
2. video with continue_from or input_video_path -> continue_video;
3. video -> generate_video: one input image is the first frame, several need roles;
4. a style, control or subject image -> edit_with_references, input images being sources; a mask goes along;
5. a mask, a mask mode, classes or an edit mode -> inpaint (source: the input image, else the continued image);
   with several input images -> edit_with_references, the mask being for the first;
6. input images -> edit_with_references with role source;
7. else generate_image.

Every field that is set either becomes part of the request or is refused with its path.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .config_fields import AMBIENT, format_name
from .errors import InvalidRequest, Problem, did_you_mean
from .media import FORMATS, Image, Video
from .requests import (
    KINDS,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    ReferenceRole,
    Request,
)

if TYPE_CHECKING:
    from .generation_config import GenerationConfig

__all__ = ["media_of", "medium_of", "to_request"]

_ROLES: tuple[ReferenceRole, ...] = ("style", "control", "subject")
#: Config fields of another name or shape than the request's -> what they go with.
_COMPANIONS: Mapping[str, str] = {
    "style_description": "goes with style_image_path",
    "control_type": "goes with control_image_path",
    "subject_type": "goes with subject_image_path",
    "subject_description": "goes with subject_image_path",
    "continue_as": "goes with media_type 'video' and continue_from or input_video_path",
    "protect": "goes with mask_path",
    "last_frame_path": "goes with media_type 'video', without continue_from",
    "input_video_path": "goes with media_type 'video'",
    "edit_mode": "outpaint goes with one source image; inpaint goes with a mask",
    "input_images": "goes with media_type 'image' or 'video'",
    "input_image_paths": "goes with media_type 'image' or 'video'",
    **dict.fromkeys(("mask_path", "mask_mode", "segmentation_classes"), "goes with media_type 'image'"),
    **dict.fromkeys((f"{role}_image_path" for role in _ROLES), "goes with media_type 'image' or 'video'"),
}
_PICTURE = ("size", "aspect_ratio", "resolution", "quality", "background", "negative_prompt", "seed", "guidance_scale")
_MOVING = ("duration", "size", "aspect_ratio", "resolution", "quality", "negative_prompt", "seed", "guidance_scale")
_SOUND = ("duration", "voice", "speed", "instructions", "negative_prompt", "seed", "audio_type")
#: Request field -> the config field that a caller knows.
_KNOWN_AS = {"mask": "mask_path", "source": "input_images", "references": "input_images", "first_frame": "input_images"}


def to_request(config: GenerationConfig) -> Request:
    """Return the request that a config stands for.

    Raises:
        InvalidRequest: for a field that means nothing here, or fields that contradict each other.
    """
    taken = _Taken(config)
    media = media_of(config)
    with _config_paths():
        if media == "audio":
            request = _audio(taken)
        elif media == "video":
            request = _video(taken)
        else:
            request = _image(taken)
    taken.refuse_leftovers(request.kind)
    return request


def media_of(config: GenerationConfig) -> str:
    """Return the medium of a config, see `medium_of`."""
    return medium_of(config.media_type, config.output_path, config.output_format, config.continue_from)


def medium_of(named: str | None, output_path: str | None, output_format: str | None, continue_from: str | None) -> str:
    """Return the medium: as named, else by the output's suffix or format, else by the continuation id, else image.

    The ids of continuable videos have a prefix that ends in ``_vid``.
    """
    if named is not None:
        return named
    if (name := _suffix(output_path) or output_format) in FORMATS:
        return FORMATS[name].partition("/")[0]
    return "video" if re.fullmatch(r"[a-z0-9]+_vid_[0-9a-f]{12}", continue_from or "") else "image"


def _suffix(path: str | None) -> str | None:
    """Return the format that the output path's suffix names; None for a directory or no suffix."""
    if path is None or path.endswith(("/", "\\")):
        return None
    suffix = Path(path).suffix
    return format_name(suffix) if suffix else None


def _output_format(config: GenerationConfig, media: str) -> str | None:
    """Return the format to ask for; suffix, format and medium must agree."""
    named, asked = _suffix(config.output_path), config.output_format
    if named is not None and named not in FORMATS:
        hint = "a directory ends in '/'" + did_you_mean(named, FORMATS)
        raise InvalidRequest([Problem("$.output_path", f"'.{named[:20]}' is no media file's suffix", hint)])
    if named and asked and named != asked:
        raise InvalidRequest(
            [Problem("$.output_format", f"{asked} contradicts the suffix of output_path ({named})", "give just one of them")]
        )
    found = named or asked
    if found is not None and not FORMATS[found].startswith(f"{media}/"):
        where = "$.output_path" if named else "$.output_format"
        raise InvalidRequest([Problem(where, f"{found} is no format for {media}", f"media_type is {media!r}")])
    return found


@contextlib.contextmanager
def _config_paths() -> Iterator[None]:
    """Name the config's fields in problems that a request's class found."""
    try:
        yield
    except InvalidRequest as error:
        renamed = []
        for problem in error.problems:
            head, dot, rest = problem.path.removeprefix("$.").partition(".")
            renamed.append(attrs.evolve(problem, path=f"$.{_KNOWN_AS[head]}{dot}{rest}") if head in _KNOWN_AS else problem)
        raise InvalidRequest(renamed, fix=error.fix) from None


class _Taken:
    """A config from which each field is taken once; what is set and not taken is refused."""

    def __init__(self, config: GenerationConfig) -> None:

        self.config = config
        names = (field.name for field in attrs.fields(type(config)))
        self._left = [name for name in names if name not in AMBIENT and config.is_set(name)]

    def has(self, *names: str) -> bool:
        """Whether any of the fields is set."""
        return any(self.config.is_set(name) for name in names)

    def take(self, *names: str) -> dict[str, Any]:
        """Take those of the fields that are set, as keyword arguments."""
        found = {name: getattr(self.config, name) for name in names if self.config.is_set(name)}
        self._left = [name for name in self._left if name not in names]
        return found

    def common(self, media: str) -> dict[str, Any]:
        """Take what every request has."""
        found = self.take("prompt", "extra_params", "output_format")
        return found | {"output_format": _output_format(self.config, media)}

    def images(self) -> list[Image]:
        """Take the input images, in order."""
        self.take("input_images", "input_image_paths")
        found = []
        for i, item in enumerate(self.config.input_images):
            ((key, value),) = item.items() if isinstance(item, Mapping) else (("path", item),)
            path = f"$.input_images[{i}]" + (f".{key}" if isinstance(item, Mapping) else "")
            try:
                found.append(Image.of(value))
            except InvalidRequest as error:
                raise InvalidRequest([attrs.evolve(p, path=path) for p in error.problems]) from None
        return found + [Image(path=path) for path in self.config.input_image_paths]

    def roles(self) -> list[Reference]:
        """Take the style, control and subject images, each with its description and type."""
        found = []
        for role in _ROLES:
            given = self.take(f"{role}_image_path")
            if given:
                words = self.take(*(name for name in (f"{role}_description", f"{role}_type") if hasattr(self.config, name)))
                named = {name.removeprefix(f"{role}_"): value for name, value in words.items()}
                found.append(Reference(image=given[f"{role}_image_path"], role=role, **named))
        return found

    def mask(self) -> Mask | None:
        """Take the mask, its mode and classes, which must go together."""
        config = self.config
        given = self.take("mask_path", "mask_mode", "segmentation_classes")
        if not given:
            return None
        mode, classes = config.mask_mode, config.segmentation_classes
        if mode in {None, "auto"}:
            mode = "user_provided" if config.mask_path is not None and mode is None else ("semantic" if classes else "foreground")
        if config.mask_path is not None and mode != "user_provided":
            found = f"mask_mode {config.mask_mode!r} has the backend find the region, which contradicts a mask image"
            raise InvalidRequest([Problem("$.mask_mode", found, "leave out mask_path or mask_mode")])
        if config.mask_path is None and mode == "user_provided":
            raise InvalidRequest([Problem("$.mask_path", "mask_mode 'user_provided' needs a mask image")])
        if bool(classes) != (mode == "semantic"):
            wrong = "goes with mask_mode 'semantic' or 'auto', without mask_path" if classes else "mask_mode 'semantic' needs classes"
            raise InvalidRequest([Problem("$.segmentation_classes", wrong)])
        return Mask(image=config.mask_path and Image(path=config.mask_path), mode=mode, classes=classes)  # type: ignore[arg-type]

    def single(self) -> None:
        """Take an ``n`` of 1, which is what a request without ``n`` gives."""
        if self.config.n == 1:
            self.take("n")

    def refuse_leftovers(self, kind: str) -> None:
        """Refuse what is set and not taken."""
        if self._left:
            raise InvalidRequest([Problem(f"$.{name}", f"means nothing for {kind}", _goes_with(name)) for name in self._left])


def _goes_with(name: str) -> str:
    if name in _COMPANIONS:
        return _COMPANIONS[name]
    fields = {cls.media: {f.name for f in attrs.fields(cls)} for cls in KINDS.values()}
    media = [medium for medium, names in fields.items() if name in names]
    return f"it goes with media_type {' or '.join(repr(m) for m in media)}" if media else ""


def _audio(taken: _Taken) -> Request:
    if taken.has("continue_from"):
        problem = Problem("$.continue_from", "audio cannot be continued", "leave it out, or continue an image or a video")
        raise InvalidRequest([problem])
    taken.single()
    return GenerateAudio(**taken.common("audio"), **taken.take(*_SOUND))


def _video(taken: _Taken) -> Request:
    common = taken.common("video") | taken.take(*_MOVING)
    if taken.has("continue_from", "input_video_path"):
        if taken.has("input_images", "input_image_paths"):
            why = "a continued video starts from its last frame"
            raise InvalidRequest([Problem("$.input_images", why, "use style_image_path or subject_image_path, or leave out continue_from")])
        taken.single()
        given = taken.take("continue_from", "input_video_path", "continue_as")
        if "input_video_path" in given:
            given["source"] = Video(path=given.pop("input_video_path"))
        return ContinueVideo(**common, **given, references=tuple(taken.roles()))
    images = taken.images()
    if len(images) > 1:
        why = f"{len(images)} images for a video: which is which?"
        fix = "one input image is the first frame; give others as last_frame_path, style_image_path or subject_image_path"
        raise InvalidRequest([Problem("$.input_images", why, fix)])
    frames: dict[str, Any] = {"first_frame": images[0]} if images else {}
    if last := taken.take("last_frame_path"):
        frames["last_frame"] = Image(path=last["last_frame_path"])
    return GenerateVideo(**common, **frames, **taken.take("n"), references=tuple(taken.roles()))


def _image(taken: _Taken) -> Request:
    common = taken.common("image") | taken.take(*_PICTURE, "n", "continue_from")
    images, roles = taken.images(), taken.roles()
    masked = taken.has("mask_path", "mask_mode", "segmentation_classes", "edit_mode")
    if roles or len(images) > 1 or (images and not masked):
        sources = [Reference(image=image) for image in images]
        mask = taken.mask()
        if mask is not None and taken.config.edit_mode == "inpaint":
            taken.take("edit_mode")  # what a mask means anyway
        return EditWithReferences(**common, **taken.take("protect"), references=(*sources, *roles), mask=mask)
    if masked:
        source: dict[str, Any] = {"source": images[0]} if images else {}
        return Inpaint(**common, **taken.take("protect", "edit_mode"), **source, mask=taken.mask())
    return GenerateImage(**common)
