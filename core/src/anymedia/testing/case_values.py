"""The distinct operation specs of a matrix, and values for requests that fit them."""

from __future__ import annotations

import datetime
import itertools
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from ..capabilities import (
    CapabilityMatrix,
    Choice,
    ContinueRule,
    InputRule,
    MaskRule,
    ModelSpec,
    OperationSpec,
    Option,
    Pixels,
    Range,
    ReferencesRule,
    Text,
)
from ..capabilities.model import is_installed
from ..media import Audio, Image, Media, Video
from ..requests import KINDS, Mask, Operation, Reference
from .fakes import half_mask, picture, sound, video

#: Edge in pixels of the images that are sent and requested, where the spec permits that size.
_EDGE = 256
_TEXT_OPTIONS = {"instructions": ("slowly and softly", "fast and loud"), "negative_prompt": ("snow", "blur")}


@attrs.frozen(kw_only=True)
class Shape:
    """One distinct operation spec, with one of the models that share it."""

    model: ModelSpec
    spec: OperationSpec

    @property
    def operation(self) -> Operation:
        """The operation, which is the name of the hook."""
        return self.spec.operation

    @property
    def media(self) -> str:
        """What it makes: an image, a video or audio; of a task also ``json`` or ``text``."""
        return self.spec.output or self.model.media

    @property
    def extras(self) -> str:
        """The field of its provider-only options."""
        return "options" if self.spec.task else "extra_params"

    def __str__(self) -> str:
        return f"{self.model.id}-{self.spec.name}"


def is_available(model: ModelSpec, today: datetime.date) -> bool:
    """Whether a model may still be chosen."""
    return model.lifecycle.stage_on(today) != "retired"


def is_complete(model: ModelSpec) -> bool:
    """Whether the library that a model requires is installed here."""
    return model.requires is None or is_installed(model.requires.module)


def shapes(matrix: CapabilityMatrix, today: datetime.date, *, all_models: bool = False) -> Iterator[Shape]:
    """Yield one shape for each distinct operation spec of the models that may be chosen here and now."""
    seen: list[tuple[Any, ...]] = []
    for model in matrix.models:
        if not all_models and not (is_available(model, today) and is_complete(model)):
            continue
        for spec in model.operations.values():
            content = (spec.name, spec.output, spec.prompt, spec.inputs, spec.options, spec.extra_params, spec.rules)
            key = (*content, spec.fidelity, spec.wire, model.wire, model.requires)
            if key not in seen:
                seen.append(key)
                yield Shape(model=model, spec=spec)


def two_values(option: Option) -> tuple[Any, Any] | None:
    """Return two values of an option, or None where it has only one or is fixed."""
    if option.fixed:
        return None
    if isinstance(option, Choice):
        concrete = [v for v in option.one_of if v != "auto"] or list(option.one_of)
        first = 1 if len(concrete) > 2 else 0  # not the first of many: it is often the default
        return (concrete[first], concrete[-1]) if len(concrete) > 1 else None
    if isinstance(option, Range):
        low, high = option.min, min(option.max, option.min + 1000)
        pair = option.nearest(low), option.nearest(low + (high - low) / 2)
        return pair if pair[0] != pair[1] else None
    if isinstance(option, Pixels):
        sizes = [s for wanted in ("512x512", "512x768", "1024x1024", "1536x1024", "256x256", "64x48") if (s := option.nearest(wanted))]
        distinct = list(dict.fromkeys(sizes))
        return (distinct[0], distinct[1]) if len(distinct) > 1 else None
    if isinstance(option, Text):
        return ("one", "two")
    values: dict[str, tuple[Any, Any]] = {
        "boolean": (True, False),
        "integer": (1, 2),
        "number": (0.25, 0.75),
        "string": ("one", "two"),
        "array": (["one"], ["two"]),
        "object": ({"a": 1}, {"a": 2}),
    }
    return values[option.type]


def option_values(name: str, option: Option) -> tuple[Any, Any] | None:
    """Return two values of a request's option: realistic texts, and the shortest durations."""
    if name == "duration" and not option.fixed:
        return _short_durations(option)
    if name in _TEXT_OPTIONS and isinstance(option, Text):
        return _TEXT_OPTIONS[name]
    return two_values(option)


def _short_durations(option: Option) -> tuple[Any, Any] | None:
    """Return the two shortest durations in seconds, the second first: the shortest is often the default."""
    if isinstance(option, Choice):
        shortest = sorted(value for value in option.one_of if value != "auto")[:2]
    elif isinstance(option, Range):
        steps = (option.nearest(option.min + seconds) for seconds in (0, 1, 2, 5, 10, 30))
        shortest = list(dict.fromkeys(value for value in steps if value is not None))[:2]
    else:
        return two_values(option)
    return (shortest[1], shortest[0]) if len(shortest) > 1 else None


def image_for(rule: InputRule, seed: int, size: tuple[int, int] | None = None) -> Image:
    """Return an image that an input accepts."""
    edge = max(rule.min_edge or 1, min(_EDGE, rule.max_edge or _EDGE))
    return Image(data=picture(*(size or (edge, edge)), seed, rule.formats[0] if rule.formats else "png"))


def _input_image(shape: Shape, name: str, rule: InputRule, seed: int) -> Image:
    """Return an image for an input; a frame has the size of a minimal request's video, where that is known in pixels."""
    size = str(_small(shape.spec).get("size") or getattr(shape.spec.options.get("size"), "default", None))
    found = re.fullmatch(r"(\d+)x(\d+)", size) if name in {"first_frame", "last_frame"} else None
    return image_for(rule, seed, None if found is None else (int(found[1]), int(found[2])))


def video_for(rule: InputRule, seed: int) -> Video:
    """Return a video that an input accepts."""
    seconds = min(max(2.0, rule.seconds[0]), rule.seconds[1]) if rule.seconds else 2.0
    return Video(data=video(seconds, seed=seed))


def references_for(rule: ReferencesRule, seed: int, role: str | None = None) -> tuple[Reference, ...]:
    """Return as few references as a spec accepts: the required ones, and one of the given role."""
    wanted: list[str] = [name for name, inner in rule.roles.items() for _ in range(inner.count[0])]
    if role is not None and role not in wanted:
        wanted.append(role)
    wanted += [next(iter(rule.roles))] * (max(1, rule.count[0]) - len(wanted))
    return tuple(_reference(rule, name, seed + i) for i, name in enumerate(wanted))


def _reference(rule: ReferencesRule, role: str, seed: int) -> Reference:
    kind = next(iter(rule.roles[role].types), None)
    return Reference(image=image_for(rule.roles[role], seed), role=role, type=kind)  # type: ignore[arg-type]


def references_with_continuation(shape: Shape) -> dict[str, Any]:
    """Return references without a source, for a spec that accepts one source only: the continued image is that source."""
    rule = shape.spec.inputs.get("references")
    if shape.operation != "edit_with_references" or not isinstance(rule, ReferencesRule):
        return {}
    source, other = rule.roles.get("source"), next((name for name in rule.roles if name != "source"), None)
    if source is None or source.count[1] > 1 or other is None:
        return {}
    return {"references": references_for(rule, 1, other)}


def mask_for(rule: MaskRule, source: Image | None, *, left: bool = True, mode: str | None = None) -> Mask:
    """Return a mask that a spec accepts, in one of its modes."""
    chosen = mode or rule.modes[0]
    if chosen == "user_provided":
        from ..probe.probe import sniff

        seen = None if source is None or source.data is None else sniff(source.data)
        width, height = (_EDGE, _EDGE) if seen is None else (seen.width or _EDGE, seen.height or _EDGE)
        return Mask(image=Image(data=half_mask(width, height, left=left)))
    return Mask(mode=chosen, classes=(1,) if chosen == "semantic" else ())  # type: ignore[arg-type]


def minimal_fields(shape: Shape, seed: int = 1) -> dict[str, Any]:
    """Return the fields of a minimal request of a shape, without its continuation."""
    if shape.spec.task:
        return _task_fields(shape, seed)
    fields: dict[str, Any] = {"prompt": "a red fox in the snow", **_required_extras(shape)}
    rules = shape.spec.inputs
    source, mask = rules.get("source"), rules.get("mask")
    if shape.operation == "inpaint" and isinstance(source, InputRule):
        fields["source"] = image_for(source, seed)
    if shape.operation == "inpaint" and isinstance(mask, MaskRule):
        fields["mask"] = mask_for(mask, fields.get("source"))
    references = rules.get("references")
    if isinstance(references, ReferencesRule) and (shape.operation == "edit_with_references" or references.count[0]):
        fields["references"] = references_for(references, seed)
    for name, rule in rules.items():
        if isinstance(rule, InputRule) and rule.count[0] and name not in fields and name != "source":
            fields[name] = _input_image(shape, name, rule, seed)
    if shape.operation == "continue_video" and not isinstance(rules.get("continue_from"), ContinueRule) and isinstance(source, InputRule):
        fields["source"] = video_for(source, seed)
    fields |= _small(shape.spec)
    audio = shape.spec.options.get("audio_type")
    if isinstance(audio, Choice) and "speech" not in audio.one_of:
        fields["audio_type"] = audio.one_of[0]
    return fields


def _required_extras(shape: Shape) -> dict[str, Any]:
    """Return the provider-only options that a request must have."""
    found = {name: _one_value(option) for name, option in shape.spec.extra_params.items() if option.required}
    return {shape.extras: found} if found else {}


def _one_value(option: Option) -> Any:
    values = two_values(option)
    return values[0] if values else getattr(option, "one_of", (getattr(option, "min", None),))[0]


def _task_fields(shape: Shape, seed: int) -> dict[str, Any]:
    """Return the fields of a minimal request of a task."""
    inputs = {name: _task_input(shape, name, seed) for name in shape.spec.needed_inputs}
    for rule in shape.spec.rules:  # an input that is required with these ones
        needed = (name.removeprefix("inputs.") for name, condition in rule.require.items() if condition is True)
        if all(condition is True and name.removeprefix("inputs.") in inputs for name, condition in rule.when.items()):
            inputs |= {name: _task_input(shape, name, seed) for name in needed if name in shape.spec.inputs}
    prompt = {"prompt": "a red fox in the snow"} if shape.spec.prompt.required else {}
    return {"task": shape.spec.task, "inputs": inputs, **prompt, **_required_extras(shape)}


def _task_input(shape: Shape, name: str, seed: int, *, several: bool = False) -> Any:
    """Return what a task takes under a role: as few files as possible, or two where it takes several."""
    rule = shape.spec.inputs[name]
    if isinstance(rule, MaskRule):
        return Mask(image=Image(data=half_mask(_EDGE, _EDGE, left=seed % 2 == 0)))
    assert isinstance(rule, InputRule)
    count = max(rule.count[0], min(2, rule.count[1]) if several else 1)
    made = [_media_for(rule, seed + i) for i in range(count)]
    return tuple(made) if rule.count[1] > 1 else made[0]


def _media_for(rule: InputRule, seed: int) -> Media:
    if rule.media == "video":
        return video_for(rule, seed)
    return Audio(data=sound(2.0, seed=seed)) if rule.media == "audio" else image_for(rule, seed)


def _small(spec: OperationSpec) -> dict[str, Any]:
    """Return options that keep the work small and repeatable, where a spec has them."""
    found: dict[str, Any] = {}
    size, duration, seed = (spec.options.get(name) for name in ("size", "duration", "seed"))
    if isinstance(size, Pixels) and (near := size.nearest(f"{_EDGE}x{_EDGE}")):
        found["size"] = near
    if isinstance(duration, Range):
        found["duration"] = duration.nearest(duration.min)
    if isinstance(seed, Range):
        found["seed"] = seed.nearest(7)
    return found


def input_names(shape: Shape) -> Iterator[str]:
    """Yield a name for every input that a spec claims, for each role and each mask mode."""
    for name, rule in shape.spec.inputs.items():
        if shape.spec.task:
            yield f"inputs.{name}"
        elif isinstance(rule, ReferencesRule):
            yield from (f"references.{role}" for role in rule.roles)
        elif isinstance(rule, MaskRule):
            yield from (f"mask.{mode}" for mode in rule.modes)
        elif isinstance(rule, InputRule):
            yield name


def input_fields(shape: Shape, name: str, seed: int) -> dict[str, Any]:
    """Return the fields of a request with an input.

    They include what a rule requires together with the input; that part is the same for every seed.
    """
    field, _, part = name.partition(".")
    return required_with(shape, field) | {field: _input_value(shape, field, part, seed)}


def required_with(shape: Shape, given: str) -> dict[str, Any]:
    """Return what the rules of a spec require together with a field: an image, a reference of a role."""
    required: dict[str, Any] = {}
    references = shape.spec.inputs.get("references")
    for rule in shape.spec.rules:
        if rule.when.get(given) is True:
            for name, condition in rule.require.items():
                other = shape.spec.inputs.get(name)
                if condition is True and isinstance(other, InputRule):
                    required[name] = _input_image(shape, name, other, 5)
                elif condition is True and name.startswith("references.") and isinstance(references, ReferencesRule):
                    required["references"] = references_for(references, 5, name.partition(".")[2])
            required |= {name: _NOT_GIVEN[name] for name, c in rule.forbid.items() if c is True and name in _NOT_GIVEN}
    return required


#: The value that means "not given", for the inputs that a rule may forbid.
_NOT_GIVEN: dict[str, Any] = {"references": (), "first_frame": None, "last_frame": None, "mask": None}


def _input_value(shape: Shape, field: str, part: str, seed: int) -> Any:
    if shape.spec.task:
        return {**minimal_fields(shape)["inputs"], part: _task_input(shape, part, seed, several=True)}
    rule = shape.spec.inputs[field]
    if isinstance(rule, ReferencesRule):
        return references_for(rule, seed, part)
    if isinstance(rule, MaskRule):
        least = minimal_fields(shape)
        # A mode that finds the region itself has no image: it is compared with another mode.
        mode = part if part == "user_provided" or seed % 2 == 0 else rule.modes[rule.modes.index(part) - 1]
        return mask_for(rule, source_of(least), left=seed % 2 == 0, mode=mode)
    assert isinstance(rule, InputRule)
    return video_for(rule, seed) if _is_continued(shape, field) else _input_image(shape, field, rule, seed)


def _is_continued(shape: Shape, field: str) -> bool:
    return shape.operation == "continue_video" and field == "source"


#: Bytes of a large file, where the spec accepts that many: services that take files in their requests rarely take more.
_LARGE = 24 * 1024 * 1024


def large_inputs(shape: Shape) -> Iterator[str]:
    """Yield the name of the first input of each media that a spec claims."""
    done: set[str] = set()
    for name in input_names(shape):
        field, _, part = name.partition(".")
        rule = shape.spec.inputs[part if shape.spec.task else field]
        if isinstance(rule, MaskRule):
            continue
        media = rule.media if shape.spec.task and isinstance(rule, InputRule) else "video" if _is_continued(shape, field) else "image"
        if media not in done:
            done.add(media)
            yield name


def large_fields(shape: Shape, name: str) -> tuple[dict[str, Any], int]:
    """Return the fields for an input with a file as large as its spec accepts, and the bytes of the file."""
    fields = input_fields(shape, name, 3)
    field, part = next(reversed(fields)), name.partition(".")[2]
    rule: Any = shape.spec.inputs[part if shape.spec.task else field]
    rule = rule.roles[part] if isinstance(rule, ReferencesRule) else rule
    media = _media_in(fields[field], name)
    assert media is not None
    large = attrs.evolve(media, data=_padded(media.data or b"", min(rule.max_bytes or _LARGE, _LARGE)))
    return {**fields, field: _with_media(fields[field], media, large)}, len(large.data or b"")


def _media_in(value: Any, name: str) -> Media | None:
    """Return the first file in a value of a request's field; None for a mask."""
    value = value[name.partition(".")[2]] if isinstance(value, dict) else value
    value = value[0] if isinstance(value, tuple) else value
    value = value.image if isinstance(value, Reference) else value
    return value if isinstance(value, Media) else None


def _with_media(value: Any, old: Media, new: Media) -> Any:
    """Return a value of a request's field with a file replaced by another."""
    if isinstance(value, tuple):
        return tuple(_with_media(item, old, new) for item in value)
    if isinstance(value, dict):
        return {name: _with_media(item, old, new) for name, item in value.items()}
    if isinstance(value, Reference):
        return attrs.evolve(value, image=_with_media(value.image, old, new))
    return new if value is old else value


def _padded(data: bytes, size: int) -> bytes:
    """Return a file of that size which decodes to the same media, padded where decoders skip; other formats as they are."""
    more = max(0, size - len(data) - 12) & ~1
    if data.startswith(b"\x89PNG"):
        chunk = b"anYm" + bytes(more)
        return data[:-12] + struct.pack(">I", more) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[-12:]
    if data[4:8] == b"ftyp":
        return data + struct.pack(">I", more + 8) + b"free" + bytes(more)
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return b"RIFF" + struct.pack("<I", len(data) + more) + data[8:] + b"JUNK" + struct.pack("<I", more) + bytes(more)
    return data


def source_of(fields: dict[str, Any]) -> Image | None:
    """Return the image that a request edits."""
    return fields.get("source") or next((r.image for r in fields.get("references", ()) if r.role == "source"), None)


def foreign_options(shape: Shape) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) for every option that the spec does not claim and that the core does not implement itself."""
    values = {
        "negative_prompt": "blur",
        "seed": 42,
        "guidance_scale": 7.5,
        "quality": "high",
        "background": "opaque",
        "voice": "narrator",
        "speed": 1.25,
        "instructions": "softly",
        "size": "512x512",
        "aspect_ratio": "16:9",
        "resolution": "2K",
        "duration": 5.0,
    }
    for field in attrs.fields(KINDS[shape.operation]):
        if field.name in values and field.name not in shape.spec.options:
            yield field.name, values[field.name]


_WORDS = ("the bold lines", "the soft colours")


def with_distinct_references(found: Iterable[Shape]) -> Iterator[Shape]:
    """Yield the shapes that differ in their references, or in the plugin's own data about them."""
    seen: list[tuple[Any, ...]] = []
    for shape in found:
        key = (shape.operation, shape.spec.inputs.get("references"), shape.spec.wire, shape.model.wire)
        if key not in seen:
            seen.append(key)
            yield shape


def reference_parts(shape: Shape) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield (name, fields, other fields): two requests that differ only in that part of their references."""
    accepted = shape.spec.inputs.get("references")
    if not isinstance(accepted, ReferencesRule):
        return
    required = required_with(shape, "references")
    for name, one, two in _pairs(accepted):
        yield f"references.{name}", {**required, "references": tuple(one)}, {**required, "references": tuple(two)}


def _pairs(accepted: ReferencesRule) -> Iterator[tuple[str, Sequence[Reference], Sequence[Reference]]]:
    many = _many(accepted)
    if len(many) > 1:
        yield "last", many, [*many[:-1], attrs.evolve(many[-1], image=image_for(accepted.roles[many[-1].role], 99))]
    roles = list(accepted.roles)
    for role, other in itertools.pairwise(roles):
        yield f"{role}-or-{other}", references_for(accepted, 1, role), references_for(accepted, 1, other)
    for role, rule in accepted.roles.items():
        base = references_for(accepted, 1, role)
        yield f"{role}.description", *(_with(base, role, description=words) for words in _WORDS)  # type: ignore[misc]
        if len(rule.types) > 1:
            yield f"{role}.type", *(_with(base, role, type=kind) for kind in (rule.types[0], rule.types[-1]))  # type: ignore[misc]


def _many(accepted: ReferencesRule) -> list[Reference]:
    """Return as many references as a spec accepts, with as many of each role as possible."""
    found: list[Reference] = []
    for role, rule in accepted.roles.items():
        for _ in range(min(rule.count[1], accepted.count[1] - len(found))):
            found.append(_reference(accepted, role, 20 + len(found)))
    return found


def _with(base: Sequence[Reference], role: str, **changes: Any) -> list[Reference]:
    return [attrs.evolve(reference, **changes) if reference.role == role else reference for reference in base]
