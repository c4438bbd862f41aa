"""GenerationConfig: the flat form of a call, as agents and the command line give it; its reading from JSON.

All fields but the prompt are optional. Which of the six requests it becomes is decided in `anymedia.generation_config`;
a field that means nothing for that request is refused there, so none is lost in silence.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from .errors import InvalidRequest, Problem, did_you_mean
from .fields import Check, check_aspect_ratio, check_format, check_json, check_request, check_size, check_text, in_range, one_of
from .media import FORMATS, Image, Video
from .policy import Policy
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
from .strict_json import parse_json, read_object

if TYPE_CHECKING:
    pass

__all__ = [
    "AMBIENT",
    "GenerationConfig",
    "check_classes",
    "check_flag",
    "check_images",
    "check_output",
    "check_path",
    "each",
    "field",
    "file",
    "format_name",
    "listed",
    "media_of",
    "medium_of",
    "to_request",
    "word",
]

#: Fields that say where a call goes and what it may do; all others become part of the request.
AMBIENT = frozenset(
    {"output_path", "overwrite", "media_type", "backend", "model", "strict", "fallback", "prefer", "max_cost_usd", "preview", "bridge"}
)
_MAX_ITEMS = 100
_MAX_PATH = 4096
_MAX_CLASS = 10_000


def field(doc: str, check: Check | None = None, *, converter: Callable[[Any], Any] | None = None, **options: Any) -> Any:
    """Declare a field: its meaning in one line, a check for the value, what makes the value of what was given."""
    return attrs.field(**{"default": None, **options}, converter=converter, metadata={"doc": doc, "check": check})


def word(doc: str, *allowed: str) -> Any:
    """Declare a field that takes one of a closed set of words, in any case."""
    return field(doc, one_of(*allowed), converter=lambda value: value.lower() if isinstance(value, str) else value)


def file(doc: str) -> Any:
    """Declare a field that takes the path of a local file."""
    return field(doc, check_path, converter=lambda value: Path(value) if isinstance(value, str) and value.strip() else value)


def listed(value: Any) -> Any:
    """Keep a list as a tuple; anything else is left for the check to refuse."""
    return tuple(value) if isinstance(value, list) else value


def format_name(text: Any) -> Any:
    """Return a file format as `anymedia.media.FORMATS` names it: ``.JPG`` -> ``jpeg``."""
    if not isinstance(text, str):
        return text
    name = text.lower().removeprefix(".")
    return {"jpg": "jpeg", "jpe": "jpeg", "tif": "tiff", "oga": "ogg", "wave": "wav"}.get(name, name)


def check_path(value: Any) -> str | None:
    """A path of a local file (a URL goes into ``input_images``)."""
    if not isinstance(value, str | Path):
        return f"expected a file path, got {type(value).__name__}"
    text = str(value)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", text):
        return "expected a file path, not a URL"
    if len(text) > _MAX_PATH:
        return f"is longer than {_MAX_PATH} characters"
    return "expected a file path" if text.strip() in {"", "."} else check_text(text)


def check_output(value: Any) -> str | None:
    """A path to write to: a file, or a directory."""
    return None if value in {".", "./"} else check_path(value)


def check_flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else f"expected true or false, got {type(value).__name__}"


def each(check: Check) -> Check:
    """Make a check for a list out of one for its items."""

    def check_all(value: Any) -> str | None:
        if not isinstance(value, tuple):
            return f"expected a list, got {type(value).__name__}"
        if len(value) > _MAX_ITEMS:
            return f"has {len(value)} items; at most {_MAX_ITEMS} are taken"
        return next((f"item {i}: {wrong}" for i, item in enumerate(value) if (wrong := check(item)) is not None), None)

    return check_all


def _image_problem(item: Any) -> str | None:
    given = {"path": item} if isinstance(item, str | Path) else item
    if not isinstance(given, Mapping) or len(given) != 1 or not set(given) <= {"path", "image_url", "url"}:
        return "expected a path, {'path': ...} or {'image_url': ...}"
    ((key, text),) = given.items()
    if not isinstance(text, str | Path) or not str(text).strip() or "\0" in str(text)[:_MAX_PATH]:
        return "expected a path or a URL as text"
    is_url = bool(re.match(r"https?://|data:", str(text), re.IGNORECASE))
    if key != "path" and not is_url:
        return f"{key}: expected an http(s) or data: URL; a local file goes under 'path'"
    if isinstance(item, Mapping) and key == "path":
        return "path: expected a file path; a URL goes under 'image_url'" if is_url else check_path(text)
    return None if is_url else check_path(text)


def _class_problem(item: Any) -> str | None:
    fits = isinstance(item, int) and not isinstance(item, bool) and 0 <= item < _MAX_CLASS
    return None if fits else f"expected a class number from 0 to {_MAX_CLASS - 1}"


check_images = each(_image_problem)
check_classes = each(_class_problem)


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
        """Return the request it stands for, see `anymedia.generation_config.to_request`."""
        return to_request(self)


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
