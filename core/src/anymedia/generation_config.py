"""GenerationConfig: the flat form of a request, as agents, the MCP server and the command line give it.

This module is the only place that decides which of the requests a set of fields stands for. Every field except the prompt is optional,
and None means that it was not given. A field that has no meaning for the request is refused, so that nothing is dropped silently.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from .errors import InvalidRequest, Problem, did_you_mean
from .fields import (
    IMAGE_KEYS,
    OPTION_NAME,
    SHAPE_READERS,
    Check,
    aspect_ratio_problem,
    check_class,
    check_each,
    check_flag,
    check_format,
    check_image,
    check_json,
    check_output,
    check_path,
    check_prompt,
    check_request,
    check_task,
    check_text,
    format_name,
    in_range,
    one_of,
    plain_fields,
    size_problem,
    without_prefix,
)
from .files.names import fits_suffix
from .media import FORMATS, Image, Video, path_of
from .notes import to_warnings
from .policy import Policy
from .records import frozen
from .requests import (
    KINDS,
    REFERENCE_ROLES,
    RUN,
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
    Transform,
)
from .strict_json import parse_json, read_object

if TYPE_CHECKING:
    from .planning.types import Plan

__all__ = ["AMBIENT", "GenerationConfig", "config_field", "format_name", "medium_of"]

#: Fields that say where a call goes and what it may do; all others become part of the request.
AMBIENT = frozenset(
    {"output_path", "overwrite", "media_type", "backend", "model", "strict", "fallback", "prefer", "max_cost_usd", "preview", "bridge"}
)


def config_field(doc: str, check: Check | None = None, *, converter: Callable[[Any], Any] | None = None, **options: Any) -> Any:
    """Declare a field: its meaning in one line, the check of its value, and the conversion before the check."""
    return attrs.field(**{"default": None, **options}, converter=converter, metadata={"doc": doc, "check": check})


def _word(doc: str, *allowed: str) -> Any:
    """Declare a field that takes one of a closed set of words, in any case."""

    def convert(value: Any) -> Any:
        found = without_prefix(value)
        return found.lower() if isinstance(found, str) and found.lower() in allowed else found

    return config_field(doc, one_of(*allowed), converter=convert)


def _file(doc: str) -> Any:
    """Declare a field that takes the path of a local file."""
    return config_field(
        doc, check_path, converter=lambda value: Path(path_of(value)) if isinstance(value, str) and value.strip() else value
    )


def _list(doc: str, check: Check, convert_item: Callable[[Any], Any] | None = None, **options: Any) -> Any:
    """Declare a field that takes a list and keeps it as a tuple; None is an empty one."""

    def convert(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return () if value is None else value
        return tuple(value) if convert_item is None else tuple(convert_item(item) for item in value)

    return config_field(doc, check_each(check), default=(), converter=convert, **options)


def _extra_params(value: Any) -> Any:
    """Return provider options without those that are None; a schema that requires every field sends null for each."""
    if isinstance(value, Mapping):
        return {key: inner for key, inner in value.items() if inner is not None}
    return {} if value is None else value


def _reference_problem(item: Any) -> str | None:
    if not isinstance(item, Mapping):
        return check_image(item)
    about = {key: item[key] for key in ("role", "type", "description") if item.get(key) is not None}
    if (wrong := check_image({k: v for k, v in item.items() if k not in {"role", "type", "description"}})) is not None:
        return wrong
    if (wrong := one_of(*REFERENCE_ROLES)(about.get("role", "subject"))) is not None:
        return f"role: {wrong}"
    return next((f"{key}: {wrong}" for key, value in about.items() if (wrong := check_text(value)) is not None), None)


def _inputs_problem(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"expected the inputs by role, got {type(value).__name__}"
    items = [(role, item) for role, given in value.items() for item in (given if isinstance(given, list | tuple) else [given])]
    for role, item in items:
        if not re.fullmatch(OPTION_NAME, str(role)):
            return f"{str(role)[:40]!r} is not the name of an input"
        if (wrong := check_image(item)) is not None:
            return f"{role}: {wrong}"
    return None


@frozen(kw_only=True)
class GenerationConfig:
    """One call, flat. Units: seconds, pixels, US dollars. None means that a field was not given.

    Raises:
        InvalidRequest: a value that no request could take; with every problem and its path.
    """

    prompt: str = config_field("what to make", check_prompt, default=attrs.NOTHING)
    output_path: str | None = config_field(
        "file to write, or an existing directory or a path ending in '/'; the suffix decides the format",
        check_output,
        converter=lambda value: str(value) if isinstance(value, Path) else value,
    )
    media_type: str | None = _word(
        "image, video or audio; by default as output_path or output_format imply, or image",
        "image",
        "video",
        "audio",
    )
    backend: str | None = config_field("which backend; by default the best one", check_text)
    model: str | None = config_field("which model, also as backend/model", check_text)
    quality: str | None = config_field("quality level, as the model names it", check_text)
    duration: float | None = config_field("seconds (video, music)", in_range(0.1, 3600))
    voice: str | None = config_field("voice name (speech)", check_text)
    aspect_ratio: str | None = config_field("W:H, or auto", aspect_ratio_problem)
    size: str | None = config_field("WIDTHxHEIGHT in pixels, or auto", size_problem)
    extra_params: Mapping[str, Any] = config_field(
        "provider-only options, as the model declares them", check_json, default=attrs.Factory(dict), converter=_extra_params, hash=False
    )
    input_images: tuple[Any, ...] = _list(
        "images to edit, or the first frame: paths, {'path': ...} or {'image_url': http(s) or data: URL}", check_image, hash=False
    )
    input_image_paths: tuple[Path, ...] = _list(
        "more images, as paths", check_path, lambda item: Path(item) if isinstance(item, str) and item.strip() else item
    )
    references: tuple[Any, ...] = _list(
        "more reference images: as in input_images, each with an optional role (source, style, control, subject), type and description",
        _reference_problem,
        hash=False,
    )
    continue_from: str | None = config_field("continuation id of an earlier image or video", check_text)
    mask_path: Path | None = _file("mask: PNG with transparency (transparent = edit), or black and white (white = edit)")
    edit_mode: str | None = _word("inpaint or outpaint", "inpaint", "outpaint")
    output_format: str | None = config_field("file format (png, jpeg, webp, mp4, wav ...)", check_format, converter=format_name)
    background: str | None = _word("transparent, opaque or auto (images)", "transparent", "opaque", "auto")
    negative_prompt: str | None = config_field("what to avoid", check_text)
    seed: int | None = config_field("for reproducible results", in_range(0, 2**63 - 1, integer=True))
    guidance_scale: float | None = config_field("how closely to follow the prompt", in_range(0, 1000))
    style_image_path: Path | None = _file("image whose style to use")
    style_description: str | None = config_field("what to take from the style image", check_text)
    control_image_path: Path | None = _file("image whose structure to keep")
    control_type: str | None = config_field("kind of structure: edges, scribble ...", check_text, converter=without_prefix)
    subject_image_path: Path | None = _file("image of a person, animal or thing to reproduce")
    subject_type: str | None = config_field("kind of subject: person, animal, product ...", check_text, converter=without_prefix)
    subject_description: str | None = config_field("who or what the subject is", check_text)
    mask_mode: str | None = _word(
        "how to find the region to edit: foreground, background, semantic (with segmentation_classes), user_provided "
        "(with mask_path), or auto (semantic with classes, else foreground)",
        "auto",
        "foreground",
        "background",
        "semantic",
        "user_provided",
    )
    segmentation_classes: tuple[int, ...] = _list("class numbers to edit", check_class)
    last_frame_path: Path | None = _file("last frame of the video")
    n: int | None = config_field("how many", in_range(1, 100, integer=True))
    resolution: str | None = config_field("tier such as 1K, 4K, 720p, 1080p", check_text)
    continue_as: str | None = _word("how to continue a video: extend, edit or remix", "extend", "edit", "remix")
    protect: str | None = _word("exact: copy back the pixels outside the mask", "exact")
    audio_type: str | None = _word("speech or music", "speech", "music")
    speed: float | None = config_field("of speech; 1.0 is normal", in_range(0.05, 20))
    instructions: str | None = config_field("how to speak or play", check_text)
    input_video_path: Path | None = _file("video file to continue, instead of continue_from; or the video of a task")
    task: str | None = config_field("a task on media instead of making new ones, such as upscale or remove_background", check_task)
    task_inputs: Mapping[str, Any] = config_field(
        "inputs of a task by role, each as in input_images, or a list",
        _inputs_problem,
        default=attrs.Factory(dict),
        converter=_extra_params,
        hash=False,
    )
    overwrite: bool = config_field(
        "whether an existing file may be replaced", check_flag, default=False, converter=lambda value: False if value is None else value
    )
    strict: bool | None = config_field("true: every adjustment is an error instead", check_flag)
    fallback: str | None = _word("off, or equivalent: try another backend that honours all intent", "off", "equivalent")
    prefer: tuple[str, ...] = _list("backends in order of preference", check_text)
    max_cost_usd: float | None = config_field("maximum cost; a lower cap in the settings still applies", in_range(0, 1_000_000))
    preview: bool | None = config_field("whether preview models may be chosen", check_flag)
    bridge: bool | None = config_field("whether another backend may continue a video from its last frame", check_flag)

    def __attrs_post_init__(self) -> None:
        check_request(self)
        if not self.prompt and self.task is None:
            raise InvalidRequest([Problem("$.prompt", "must not be empty")])

    @classmethod
    def from_json(cls, given: Mapping[str, Any] | str | bytes) -> Self:
        """Read it strictly from a JSON object, or from JSON text.

        Args:
            given: the object; ``mode`` is another name for ``media_type``. A null is a field that was not given. A number and a flag may be
                written as text.

        Raises:
            InvalidRequest: with every problem, its path and a did-you-mean.
        """
        raw = parse_json(given) if isinstance(given, str | bytes) else given
        if not isinstance(raw, Mapping):
            return read_object(cls, raw)
        fields = {key: value for key, value in plain_fields(cls, raw).items() if value is not None}
        if "task" in fields:
            fields.setdefault("prompt", "")
        if isinstance(fields.get("output_path"), Path):
            fields["output_path"] = str(fields["output_path"])
        if "mode" not in fields:
            return read_object(cls, fields)
        if "media_type" in fields:
            raise InvalidRequest([Problem("$.mode", "is another name for media_type", "give only one of them")])
        fields["media_type"] = fields.pop("mode")
        try:
            return read_object(cls, fields)
        except InvalidRequest as error:
            raise error.renamed({"media_type": "$.mode"}) from None

    def is_set(self, name: str) -> bool:
        """Return whether a field was given and is not empty."""
        value = getattr(self, name)
        return value is not None and value is not False and value != () and value != {}

    def policy(self, base: Policy) -> Policy:
        """Return a policy with this call's choices.

        ``strict`` and ``max_cost_usd`` can only tighten it: a call never allows what the settings forbid.
        """
        changes: dict[str, Any] = {"strict": base.strict or bool(self.strict)}
        for name in ("fallback", "preview", "bridge"):
            if (value := getattr(self, name)) is not None:
                changes[name] = value
        if self.prefer:
            changes["prefer"] = self.prefer
        if self.task == RUN:
            changes["max_cost"] = self.max_cost_usd
        changed = base.but(**changes)
        return changed if self.max_cost_usd is None else changed.capped(self.max_cost_usd)

    def to_request(self) -> Request:
        """Return the request that the fields stand for.

        Raises:
            InvalidRequest: a field has no meaning here, or fields contradict each other.
        """
        shape, _ = _read_shape(self)
        config = attrs.evolve(self, **shape)
        taken = _Taken(config)
        media = medium_of(config.media_type, config.output_path, config.output_format, config.continue_from)
        make = _task if config.task is not None else {"audio": _audio, "video": _video, "image": _image}[media]
        kind, fields = make(taken)
        try:
            request = kind(**fields)
        except InvalidRequest as error:
            raise config.locate(error) from None
        taken.refuse_leftovers(request.kind)
        return request

    def annotate(self, plan: Plan) -> Plan:
        """Return a plan whose warnings name each field that was read as another one (``size="480p"``)."""
        notes = _read_shape(self)[1]
        return attrs.evolve(plan, warnings=(*to_warnings(notes, "field_interpreted"), *plan.warnings)) if notes else plan

    def locate(self, error: InvalidRequest) -> InvalidRequest:
        """Return an error about the request with its problems at the fields of this config."""
        return error.renamed(_locations(self))


_ROLES: tuple[ReferenceRole, ...] = ("style", "control", "subject")
#: Fields whose name or shape differs from the request's -> what they belong to.
_COMPANIONS: Mapping[str, str] = {
    "style_description": "goes with style_image_path",
    "control_type": "goes with control_image_path",
    **dict.fromkeys(("subject_type", "subject_description"), "goes with subject_image_path"),
    "continue_as": "goes with mode 'video' and continue_from or input_video_path",
    "protect": "goes with mask_path",
    "last_frame_path": "goes with mode 'video', without continue_from",
    "input_video_path": "goes with mode 'video'",
    "task_inputs": "goes with task",
    "edit_mode": "outpaint goes with one source image; inpaint goes with a mask",
    **dict.fromkeys(("mask_path", "mask_mode", "segmentation_classes"), "goes with mode 'image'"),
    **dict.fromkeys(("input_images", "input_image_paths", "references"), "goes with mode 'image' or 'video'"),
    **dict.fromkeys((f"{role}_image_path" for role in _ROLES), "goes with mode 'image' or 'video'"),
}
_IMAGE_OPTIONS = ("size", "aspect_ratio", "resolution", "quality", "background", "negative_prompt", "seed", "guidance_scale")
_VIDEO_OPTIONS = ("duration", "size", "aspect_ratio", "resolution", "quality", "negative_prompt", "seed", "guidance_scale")
_AUDIO_OPTIONS = ("duration", "voice", "speed", "instructions", "negative_prompt", "seed", "audio_type")


def medium_of(named: str | None, output_path: str | None, output_format: str | None, continue_from: str | None) -> str:
    """Return the medium: as named, else by the output's suffix or format, else by the continuation id, else image.

    The ids of continuable videos have a prefix that ends in ``_vid``.
    """
    if named is not None:
        return named
    if (name := _suffix(output_path) or output_format) in FORMATS:
        return FORMATS[name].partition("/")[0]
    return "video" if re.fullmatch(r"[a-z0-9]+_vid_[0-9a-f]{12}", continue_from or "") else "image"


def _read_shape(config: GenerationConfig) -> tuple[dict[str, Any], list[str]]:
    """Return what ``size`` and ``aspect_ratio`` change to where they are written in another way, and a note about each."""
    changes: dict[str, Any] = {}
    notes = []
    media = medium_of(config.media_type, config.output_path, config.output_format, config.continue_from)
    for name, read in SHAPE_READERS.items():
        text = getattr(config, name)
        if text is None or (found := read(text, media)) == (name, text):
            continue
        field, value = found
        if field != name and (other := getattr(config, field)) is not None and SHAPE_READERS[field](other, media)[1] != value:
            problem = Problem(f"$.{name}", f"{text!r} is read as {field} {value!r}, but {field} is {other!r}", "give only one of them")
            raise InvalidRequest([problem])
        changes |= {name: None, field: value}
        notes.append(f"{name} {text!r} is read as {field} {value!r}")
    return changes, notes


def _suffix(path: str | None) -> str | None:
    """Return the format that the output path's suffix names; None for a directory or no suffix."""
    if path is None or path.endswith(("/", "\\")):
        return None
    suffix = Path(path).suffix
    return format_name(suffix) if suffix else None


def _output_format(config: GenerationConfig, media: str) -> str | None:
    """Return the format to ask for; suffix, format and medium must agree."""
    named, asked = _suffix(config.output_path), config.output_format
    known = [name for name, mime in FORMATS.items() if not media or mime.startswith(f"{media}/")]
    if named is not None and named not in FORMATS:
        hint = f"the formats for {media or 'media'} are {', '.join(known)}; a directory ends in '/'" + did_you_mean(named, known)
        raise InvalidRequest([Problem("$.output_path", f"'.{named[:20]}' is not a suffix of media files", hint)])
    if named and asked and named != asked and not fits_suffix(Path(config.output_path or "").suffix, asked):
        raise InvalidRequest(
            [Problem("$.output_format", f"{asked} contradicts the suffix of output_path ({named})", "give only one of them")]
        )
    found = asked or named
    if found is not None and found not in known:
        where = "$.output_path" if named else "$.output_format"
        raise InvalidRequest([Problem(where, f"{found} is not a format for {media}", f"the formats for {media} are {', '.join(known)}")])
    return found


def _locations(config: GenerationConfig) -> dict[str, str]:
    """Return for each field of a request (and each of its references) the path of the config field it came from."""
    video = medium_of(config.media_type, config.output_path, config.output_format, config.continue_from) == "video"
    images = [f"input_images[{i}]" for i in range(len(config.input_images))]
    images += [f"input_image_paths[{i}]" for i in range(len(config.input_image_paths))]
    others = [f"{role}_image_path" for role in _ROLES if config.is_set(f"{role}_image_path")]
    others += [f"references[{i}]" for i in range(len(config.references))]
    first = images[0] if images else "input_images"
    found = {
        "source": "input_video_path" if video else first,
        "first_frame": first,
        "last_frame": "last_frame_path",
        "mask": "mask_mode" if config.mask_path is None and config.mask_mode is not None else "mask_path",
        "references": first,
        "inputs": "task_inputs",
        "options": "extra_params",
        "output": "output_path",
    }
    found |= {f"references[{i}]": name for i, name in enumerate(others if video else [*images, *others])}
    return {name: f"$.{place}" for name, place in found.items()}


@contextlib.contextmanager
def _at(path: str) -> Iterator[None]:
    """Name the field in problems of a media object or a reference made from it."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest([attrs.evolve(p, path=path + p.path.removeprefix("$")) for p in error.problems]) from None


class _Taken:
    """A config from which each field is taken once; fields that are set and not taken are refused at the end."""

    def __init__(self, config: GenerationConfig) -> None:
        self.config = config
        names = (field.name for field in attrs.fields(type(config)))
        self._left = [name for name in names if name not in AMBIENT and config.is_set(name)]

    def has(self, *names: str) -> bool:
        """Return whether any of the fields is set."""
        return any(self.config.is_set(name) for name in names)

    def take(self, *names: str) -> dict[str, Any]:
        """Take the fields that are set, as keyword arguments."""
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
        found = [_image_of(item, f"$.input_images[{i}]") for i, item in enumerate(self.config.input_images)]
        return found + [Image(path=path) for path in self.config.input_image_paths]

    def references(self) -> list[Reference]:
        """Take the style, control and subject images with description and type, then the further references."""
        found = []
        for role in _ROLES:
            given = self.take(f"{role}_image_path")
            if given:
                about = self.take(*(name for name in (f"{role}_description", f"{role}_type") if hasattr(self.config, name)))
                named = {name.removeprefix(f"{role}_"): value for name, value in about.items()}
                found.append(Reference(image=given[f"{role}_image_path"], role=role, **named))
        for i, item in enumerate(self.take("references").get("references", ())):
            options = item if isinstance(item, Mapping) else {"path": item}
            image = {key: value for key, value in options.items() if key in IMAGE_KEYS}
            about = {key: options[key] for key in ("type", "description") if options.get(key) is not None}
            with _at(f"$.references[{i}]"):
                picture = _image_of(image if isinstance(item, Mapping) else item, "$")
                found.append(Reference(image=picture, role=options.get("role") or "subject", **about))
        return found

    def mask(self) -> Mask | None:
        """Take the mask, its mode and classes, which must agree."""
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
            raise InvalidRequest([Problem(f"$.{name}", f"has no meaning for {kind}", _goes_with(name)) for name in self._left])


def _image_of(item: Any, path: str) -> Image:
    """Return the image of a path, ``{"path": ...}`` or ``{"image_url": ...}``; ``path`` is where it stands."""
    if not isinstance(item, Mapping):
        with _at(path):
            return Image.of(item)
    ((key, value),) = item.items()
    with _at(f"{path}.{key}"):
        return Image.of(value)


def _goes_with(name: str) -> str:
    if name in _COMPANIONS:
        return _COMPANIONS[name]
    fields = {cls.media: {f.name for f in attrs.fields(cls)} for cls in KINDS.values()}
    media = [medium for medium, names in fields.items() if name in names]
    return f"it goes with mode {' or '.join(repr(m) for m in media)}" if media else ""


#: The class of a request and its fields.
_Made = tuple[type[Request], dict[str, Any]]


def _task(taken: _Taken) -> _Made:
    given = taken.common("") | taken.take("task")
    given["options"] = given.pop("extra_params", {})
    images = taken.images()
    if len(images) > 1:
        why = f"{len(images)} images for a task: their roles are not known"
        raise InvalidRequest([Problem("$.input_images", why, "give each under its role in task_inputs")])
    named = taken.take("mask_path", "input_video_path")
    found: dict[str, Any] = {role: named[name] for role, name in (("mask", "mask_path"), ("video", "input_video_path")) if name in named}
    found |= {"image": images[0]} if images else {}
    for role, value in taken.take("task_inputs").get("task_inputs", {}).items():
        if role in found:
            raise InvalidRequest([Problem(f"$.task_inputs.{role}", f"the {role} is given twice", "give only one of them")])
        found[role] = [_plain(item) for item in value] if isinstance(value, list | tuple) else _plain(value)
    return Transform, given | {"inputs": found}


def _plain(item: Any) -> Any:
    """Return the path or URL of an input that may be given as an object."""
    return next(iter(item.values())) if isinstance(item, Mapping) else item


def _audio(taken: _Taken) -> _Made:
    if taken.has("continue_from"):
        problem = Problem("$.continue_from", "audio cannot be continued", "leave it out, or continue an image or a video")
        raise InvalidRequest([problem])
    taken.single()
    return GenerateAudio, taken.common("audio") | taken.take(*_AUDIO_OPTIONS)


def _video(taken: _Taken) -> _Made:
    common = taken.common("video") | taken.take(*_VIDEO_OPTIONS)
    if taken.has("continue_from", "input_video_path"):
        if taken.has("input_images", "input_image_paths"):
            why = "a continued video starts from its last frame"
            raise InvalidRequest([Problem("$.input_images", why, "use style_image_path or subject_image_path, or leave out continue_from")])
        taken.single()
        given = taken.take("continue_from", "input_video_path", "continue_as")
        if "input_video_path" in given:
            given["source"] = Video(path=given.pop("input_video_path"))
        return ContinueVideo, common | given | {"references": tuple(taken.references())}
    images = taken.images()
    if len(images) > 1:
        why = f"{len(images)} images for a video: their roles are not known"
        fix = "one input image is the first frame; give others as last_frame_path, style_image_path or subject_image_path"
        raise InvalidRequest([Problem("$.input_images", why, fix)])
    frames: dict[str, Any] = {"first_frame": images[0]} if images else {}
    if last := taken.take("last_frame_path"):
        frames["last_frame"] = Image(path=last["last_frame_path"])
    return GenerateVideo, common | frames | taken.take("n") | {"references": tuple(taken.references())}


def _image(taken: _Taken) -> _Made:
    common = taken.common("image") | taken.take(*_IMAGE_OPTIONS, "n", "continue_from")
    images, references = taken.images(), taken.references()
    masked = taken.has("mask_path", "mask_mode", "segmentation_classes", "edit_mode")
    if references or len(images) > 1 or (images and not masked):
        sources = [Reference(image=image) for image in images]
        mask = taken.mask()
        if mask is not None and taken.config.edit_mode == "inpaint":
            taken.take("edit_mode")  # a mask means inpaint anyway
        return EditWithReferences, common | taken.take("protect") | {"references": (*sources, *references), "mask": mask}
    if masked:
        source: dict[str, Any] = {"source": images[0]} if images else {}
        return Inpaint, common | taken.take("protect", "edit_mode") | source | {"mask": taken.mask()}
    return GenerateImage, common
