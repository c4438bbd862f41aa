"""The seven requests, and what they are made of: Reference, Mask, Continuation.

One word names the hook, the request's ``kind``, the spec in the matrix and the router's method. Each class has
just the fields that mean something for it; each field has a role (see `anymedia.fields`):

- intent: honoured, or the candidate is rejected before anything is spent;
- adjustable: fitted to what the model takes, always reported;
- advisory: sent where supported, otherwise left out and reported as ignored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast

import attrs

from .errors import InvalidRequest, Problem
from .fields import (
    MASK_MODES,
    REFERENCE_ROLES,
    MaskMode,
    Operation,
    ReferenceRole,
    Way,
    adjustable,
    advisory,
    check_aspect_ratio,
    check_format,
    check_json,
    check_prompt,
    check_request,
    check_size,
    check_task,
    check_text,
    converted,
    in_range,
    intent,
    one_of,
)
from .media import Audio, Image, Media, MediaInput, Video, medium_of_file
from .records import frozen, suggesting

if TYPE_CHECKING:
    from .results import MediaFile, Result

__all__ = [
    "KINDS",
    "MASK_MODES",
    "REFERENCE_ROLES",
    "Continuation",
    "ContinuationInput",
    "ContinueVideo",
    "EditWithReferences",
    "GenerateAudio",
    "GenerateImage",
    "GenerateVideo",
    "Inpaint",
    "Mask",
    "MaskInput",
    "MaskMode",
    "Operation",
    "Reference",
    "ReferenceRole",
    "References",
    "Request",
    "StoredFile",
    "TaskInput",
    "Transform",
    "each",
    "listed",
]


@frozen(kw_only=True)
class StoredFile:
    """A file that a continuation refers to, with its hash.

    Attributes:
        path: where the output file was saved; it may have been moved or changed since.
        sha256: hexadecimal hash of its bytes.
        mime: mime type.
        width, height: in pixels.
        seconds: duration.
        artifact: key of the artifact with the same bytes, if there is one.
    """

    path: str
    sha256: str
    mime: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    artifact: str = ""


@frozen(kw_only=True)
class Continuation:
    """Refers to an earlier result to continue.

    The caller gives only the id; the core adds the rest from its store before planning, so that a plugin always
    receives a resolved one.

    Attributes:
        id: ``{prefix}_{12 hex}``.
        backend: the backend instance that made it; it is never passed to another one.
        model: the model that made it.
        media: ``image`` or ``video``.
        data: stored by the plugin (JSON): a provider id, never bytes, never a signed URL.
        secret: short-lived provider URLs and similar values; stored separately, never shown.
        files: the finalized files.
        created_at, expires_at: seconds since the epoch; without ``expires_at`` it is valid as long as its files exist.
    """

    id: str
    backend: str = ""
    model: str = ""
    media: Literal["image", "video", ""] = ""
    data: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    secret: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    files: tuple[StoredFile, ...] = ()
    created_at: float = 0.0
    expires_at: float | None = None

    @classmethod
    def of(cls, value: object) -> Continuation | None:
        """Return an unresolved continuation for an id or an earlier result; None and a Continuation are returned unchanged.

        Raises:
            InvalidRequest: for anything else.
        """
        if value is None or isinstance(value, Continuation):
            return value
        value = getattr(value, "continuation_id", value)
        if isinstance(value, str) and check_text(value) is None and len(value) <= 200:
            return cls(id=value)
        raise InvalidRequest([Problem("$.continue_from", "expected a continuation id like 'gpt_img_3f2a9c01b7de'")])

    @property
    def resolved(self) -> bool:
        """Whether the core has completed it from its store."""
        return bool(self.backend)


def _need_image(value: object) -> Image:
    return converted(value, Image.of, "image")


def _image(value: object) -> Image | None:
    return None if value is None else Image.of(value)


def _numbers(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(value)


def _video(value: object) -> Video | None:
    return None if value is None else Video.of(value)


@suggesting
@frozen(kw_only=True)
class Reference:
    """A reference image and its role.

    Attributes:
        image: the image.
        role: ``source`` (edit this), ``style``, ``control`` (structure) or ``subject``.
        description: what to take from it.
        type: for ``control`` the kind of structure (``edges``, ``scribble`` ...), for ``subject`` the kind of
            subject (``person``, ``animal``, ``product`` ...).
    """

    image: Image = attrs.field(converter=_need_image)
    role: ReferenceRole = "source"
    description: str | None = None
    type: str | None = None

    def __attrs_post_init__(self) -> None:
        problems = []
        if (wrong := one_of(*REFERENCE_ROLES)(self.role)) is not None:
            problems.append(Problem("$.role", wrong))
        for name in ("description", "type"):
            value = getattr(self, name)
            if value is not None and (wrong := check_text(value)) is not None:
                problems.append(Problem(f"$.{name}", wrong))
        if self.type is not None and self.role not in {"control", "subject"}:
            problems.append(Problem("$.type", "only a control or subject reference has a type"))
        if problems:
            raise InvalidRequest(problems)


@suggesting
@frozen(kw_only=True)
class Mask:
    """The region to edit: an image (either polarity), or how the backend finds it.

    Attributes:
        image: PNG with transparency (transparent = edit) or black and white (white = edit).
        mode: ``user_provided`` with an image; ``foreground``, ``background`` or ``semantic`` without.
        classes: segmentation class numbers, for ``semantic`` only.
    """

    image: Image | None = attrs.field(default=None, converter=_image)
    mode: MaskMode = "user_provided"
    classes: tuple[int, ...] = attrs.field(default=(), converter=_numbers)

    def __attrs_post_init__(self) -> None:
        problems = []
        if (wrong := one_of(*MASK_MODES)(self.mode)) is not None:
            problems.append(Problem("$.mode", wrong))
        if (self.image is None) == (self.mode == "user_provided"):
            problems.append(Problem("$.image", "a mask image goes with mode 'user_provided', and only with it"))
        if bool(self.classes) != (self.mode == "semantic"):
            problems.append(Problem("$.classes", "classes go with mode 'semantic', and only with it"))
        if any(isinstance(c, bool) or not isinstance(c, int) or c < 0 for c in self.classes):
            problems.append(Problem("$.classes", "expected class numbers from 0 up"))
        if problems:
            raise InvalidRequest(problems)


#: What a method accepts as a mask, as references (one or several), and as what it continues.
MaskInput: TypeAlias = MediaInput | Mask
References: TypeAlias = MediaInput | Reference | Sequence[MediaInput | Reference]
ContinuationInput: TypeAlias = "str | Continuation | Result | MediaFile"


def listed(references: References | None, role: ReferenceRole = "source") -> tuple[Reference, ...]:
    """Return references as a request has them: a single one may stand for a list, and an image for a reference with ``role``."""
    if references is None:
        return ()
    several = references if isinstance(references, list | tuple | GeneratorType) else (references,)
    return tuple(v if isinstance(v, Reference) else Reference(image=v, role=role) for v in several)


def _mask(value: Any) -> Mask | None:
    if isinstance(value, str) and value in {"foreground", "background"}:
        return Mask(mode=cast(MaskMode, value))
    return value if value is None or isinstance(value, Mask) else Mask(image=value)


def _format(value: Any) -> Any:
    name = value.lower().removeprefix(".") if isinstance(value, str) else value
    return "jpeg" if name == "jpg" else name


def _paired(sign: str) -> Callable[[Any], Any]:
    """Return a converter that writes a pair of numbers as text (``(640, 480)`` as ``640x480``); anything else stays as it is."""

    def text(value: Any) -> Any:
        pair = isinstance(value, list | tuple) and len(value) == 2 and all(type(edge) is int for edge in value)
        return sign.join(map(str, value)) if pair else value

    return text


def _mapping(doc: str, check: Callable[[Any], str | None] | None = check_json, converter: Callable[[Any], Any] | None = None) -> Any:
    metadata = {"role": "intent", "doc": doc, "check": check}
    return attrs.field(factory=dict, converter=converter, hash=False, metadata=metadata)


#: The task that takes a model's own inputs under their own names, see `anymedia.capabilities.from_json_schema`.
RUN = "run"
_SEED = in_range(0, 2**63 - 1, integer=True)


@frozen(kw_only=True)
class _Any:
    kind: ClassVar[Operation]
    media: ClassVar[Literal["image", "video", "audio", ""]]

    output_format: str | None = adjustable("file format (png, jpeg, webp, mp4, wav ...)", check=check_format, converter=_format)

    def __attrs_post_init__(self) -> None:
        check_request(self)

    @property
    def operation(self) -> str:
        """The name of the spec in the matrix: the ``kind``, for a task followed by its name (``transform.upscale``)."""
        return self.kind


@frozen(kw_only=True)
class _Base(_Any):
    prompt: str = intent("what to make", check=check_text, default=attrs.NOTHING)
    extra_params: Mapping[str, Any] = _mapping("provider-only options, as the model declares them")


@frozen(kw_only=True)
class _Picture(_Base):
    continue_from: Continuation | None = intent("continuation id of an earlier image", converter=Continuation.of)
    n: int = adjustable("how many images", check=in_range(1, 100, integer=True), default=1)
    size: str | None = adjustable("WIDTHxHEIGHT in pixels, or auto", check=check_size, converter=_paired("x"))
    aspect_ratio: str | None = adjustable("W:H, or auto", check=check_aspect_ratio, converter=_paired(":"))
    resolution: str | None = adjustable("tier such as 1K, 2K, 4K", check=check_text)
    quality: str | None = advisory("quality level, as the model names it", check=check_text)
    background: str | None = advisory("transparent, opaque or auto", check=one_of("transparent", "opaque", "auto"))
    negative_prompt: str | None = advisory("what to avoid", check=check_text)
    seed: int | None = advisory("for reproducible results", check=_SEED)
    guidance_scale: float | None = advisory("how closely to follow the prompt", check=in_range(0, 1000))


@suggesting
@frozen(kw_only=True)
class GenerateImage(_Picture):
    """Generate an image from text, or continue an earlier one (multi-turn)."""

    kind: ClassVar[Operation] = "generate_image"
    media: ClassVar[Literal["image", "video", "audio", ""]] = "image"


@suggesting
@frozen(kw_only=True)
class Inpaint(_Picture):
    """Change a region of an image (``inpaint``), or extend it beyond its edges (``outpaint``).

    The source is ``source``, or else the image of ``continue_from``. With ``protect="exact"`` the core copies the pixels
    outside the mask back from the source and reports the measured difference.
    """

    kind: ClassVar[Operation] = "inpaint"
    media: ClassVar[Literal["image", "video", "audio", ""]] = "image"

    source: Image | None = intent("the image to change", converter=_image)
    mask: Mask | None = intent("which region to change", converter=_mask)
    edit_mode: Literal["inpaint", "outpaint"] = intent("inpaint or outpaint", check=one_of("inpaint", "outpaint"), default="inpaint")
    protect: Literal["exact"] | None = intent("exact: copy back the pixels outside the mask", check=one_of("exact"))

    def __attrs_post_init__(self) -> None:
        check_request(self)
        problems = []
        if self.source is None and self.continue_from is None:
            problems.append(Problem("$.source", "an image to change is missing", "give a source image or continue_from"))
        if self.edit_mode == "inpaint" and self.mask is None:
            problems.append(Problem("$.mask", "the region to change is missing", "give a mask image or a mask mode"))
        if self.edit_mode == "outpaint" and self.mask is None and not (self.size or self.aspect_ratio):
            problems.append(Problem("$.size", "outpainting needs a size or an aspect_ratio to extend to, or a mask"))
        problems += _protect_problems(self.protect, self.mask)
        if problems:
            raise InvalidRequest(problems)


@suggesting
@frozen(kw_only=True)
class EditWithReferences(_Picture):
    """Generate an image from text and images: sources to edit, a style, a structure, subjects; optionally with a mask."""

    kind: ClassVar[Operation] = "edit_with_references"
    media: ClassVar[Literal["image", "video", "audio", ""]] = "image"

    references: tuple[Reference, ...] = intent("reference images with their roles", converter=listed, default=())
    mask: Mask | None = intent("which region of the first source to change", converter=_mask)
    protect: Literal["exact"] | None = intent("exact: copy back the pixels outside the mask", check=one_of("exact"))

    def __attrs_post_init__(self) -> None:
        check_request(self)
        problems = []
        if not self.references:
            problems.append(Problem("$.references", "at least one reference image is needed"))
        has_source = self.continue_from is not None or any(r.role == "source" for r in self.references)
        if self.mask is not None and not has_source:
            problems.append(Problem("$.mask", "a mask needs a source image to apply to"))
        problems += _protect_problems(self.protect, self.mask)
        if problems:
            raise InvalidRequest(problems)


def _protect_problems(protect: str | None, mask: Mask | None) -> list[Problem]:
    if protect and (mask is None or mask.image is None):
        return [Problem("$.protect", "protect='exact' needs a mask image: without one the protected pixels are not known")]
    return []


@frozen(kw_only=True)
class _Moving(_Base):
    references: tuple[Reference, ...] = intent("reference images with their roles", converter=listed, default=())
    duration: float | None = adjustable("seconds", check=in_range(0.1, 3600))
    size: str | None = adjustable("WIDTHxHEIGHT in pixels, or auto", check=check_size, converter=_paired("x"))
    aspect_ratio: str | None = adjustable("W:H, or auto", check=check_aspect_ratio, converter=_paired(":"))
    resolution: str | None = adjustable("tier such as 720p, 1080p, 4K", check=check_text)
    quality: str | None = advisory("quality level, as the model names it", check=check_text)
    negative_prompt: str | None = advisory("what to avoid", check=check_text)
    seed: int | None = advisory("for reproducible results", check=_SEED)
    guidance_scale: float | None = advisory("how closely to follow the prompt", check=in_range(0, 1000))


@suggesting
@frozen(kw_only=True)
class GenerateVideo(_Moving):
    """Generate a video from text, from a first (and last) frame, or from reference images."""

    kind: ClassVar[Operation] = "generate_video"
    media: ClassVar[Literal["image", "video", "audio", ""]] = "video"

    n: int = adjustable("how many videos", check=in_range(1, 20, integer=True), default=1)
    first_frame: Image | None = intent("the first frame", converter=_image)
    last_frame: Image | None = intent("the last frame", converter=_image)


@suggesting
@frozen(kw_only=True)
class ContinueVideo(_Moving):
    """Continue an earlier video: extend appends, edit keeps the length, remix renders it again.

    Without ``continue_as`` the model's default is used, which the result names.
    """

    kind: ClassVar[Operation] = "continue_video"
    media: ClassVar[Literal["image", "video", "audio", ""]] = "video"

    continue_from: Continuation | None = intent("continuation id of an earlier video", converter=Continuation.of)
    source: Video | None = intent("a video file to continue, instead of an id", converter=_video)
    continue_as: Way | None = intent("extend, edit or remix", check=one_of("extend", "edit", "remix"))

    def __attrs_post_init__(self) -> None:
        check_request(self)
        if (self.continue_from is None) == (self.source is None):
            raise InvalidRequest([Problem("$.continue_from", "give either continue_from or a source video")])


@suggesting
@frozen(kw_only=True)
class GenerateAudio(_Base):
    """Generate speech from a text, or music."""

    kind: ClassVar[Operation] = "generate_audio"
    media: ClassVar[Literal["image", "video", "audio", ""]] = "audio"

    audio_type: Literal["speech", "music"] = intent("speech or music", check=one_of("speech", "music"), default="speech")
    duration: float | None = adjustable("seconds (music)", check=in_range(0.1, 3600))
    voice: str | None = advisory("voice name", check=check_text)
    speed: float | None = advisory("1.0 is normal", check=in_range(0.05, 20))
    instructions: str | None = advisory("how to speak or play", check=check_text)
    negative_prompt: str | None = advisory("what to avoid", check=check_text)
    seed: int | None = advisory("for reproducible results", check=_SEED)


#: What a method accepts as one input of a task: one of `MediaInput`, a mask, or a list.
TaskInput: TypeAlias = MediaInput | Mask | Sequence[MediaInput]


def each(value: Media | Mask | tuple[Media, ...]) -> tuple[Media | Mask, ...]:
    """Return what a task has under one role as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def _inputs(value: Any) -> dict[str, Media | Mask | tuple[Media, ...]]:
    if not isinstance(value, Mapping) or not all(isinstance(role, str) for role in value):
        raise InvalidRequest([Problem("$.inputs", "expected the inputs by role, like {'image': 'fox.png'}")])
    return {role: _input(role, given) for role, given in value.items() if given is not None}


def _input(role: str, value: Any) -> Any:
    if role == "mask":
        return _mask(value)
    if isinstance(value, list | tuple):
        return tuple([_input(role, item) for item in value])
    return value if isinstance(value, Media) else _class_of(role, value).of(value)


def _class_of(role: str, value: Any) -> type[Media]:
    """Return the medium that a role is named after, else the one of the file's suffix, else image."""
    text = str(os.fspath(value)) if isinstance(value, str | os.PathLike) else ""
    medium = role if role in {"image", "video", "audio"} else medium_of_file(text)
    return {"video": Video, "audio": Audio}.get(medium, Image)


@suggesting
@frozen(kw_only=True)
class Transform(_Any):
    """Work on media as a task of a model says, such as ``upscale`` or ``remove_background``.

    The tasks of a model, with their inputs, options and output, are in its matrix. ``inputs`` has one object for each role, or
    a tuple of them: images, a `Mask` under ``mask``, videos, audio.
    """

    kind: ClassVar[Operation] = "transform"
    media: ClassVar[Literal["image", "video", "audio", ""]] = ""

    task: str = intent("the task, as the model declares it", check=check_task, default=attrs.NOTHING)
    inputs: Mapping[str, Media | Mask | tuple[Media, ...]] = _mapping("the inputs by role", None, _inputs)
    prompt: str = intent("what to make, for a task that takes a prompt", check=check_prompt, default="")
    options: Mapping[str, Any] = _mapping("options of the task, as the model declares them")

    @property
    def operation(self) -> str:
        """``transform`` and the task."""
        return f"{self.kind}.{self.task}"

    @property
    def extra_params(self) -> Mapping[str, Any]:
        """The options, which are provider-only options like those of other requests."""
        return self.options


Request = GenerateImage | Inpaint | EditWithReferences | GenerateVideo | ContinueVideo | GenerateAudio | Transform

#: Operation name -> request class.
KINDS: Mapping[Operation, type[Request]] = {
    cls.kind: cls for cls in (GenerateImage, Inpaint, EditWithReferences, GenerateVideo, ContinueVideo, GenerateAudio, Transform)
}
