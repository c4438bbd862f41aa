"""Fit inputs and continuations to a candidate: sent as they are, or the candidate is rejected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from ..capabilities import ContinueRule, Fidelity, InputRule, MaskRule, Option, ReferencesRule
from ..fields import plain_value
from ..media import Audio, Image, Media, Video
from ..notes import Adjustment
from ..requests import Continuation, Inpaint, Mask, Reference, Request, Transform, each
from .candidate import MODES, Draft, json_value
from .types import Check, InputForm

_LABELS = {
    "source": "source file",
    "mask": "mask",
    "references": "reference images",
    "first_frame": "first frame",
    "last_frame": "last frame",
    "continue_from": "continuation",
}


#: Operations that continue from the saved file itself, which then is their source.
_FROM_FILE = frozenset({"inpaint", "edit_with_references"})


def _label(name: str) -> str:
    return _LABELS.get(name) or repr(name.removeprefix("inputs."))


def _a(word: str) -> str:
    return word if word.endswith("s") else f"a {word}"


def fit_inputs(draft: Draft) -> None:
    """Check every intent field against the operation spec; record the form in which each input is sent."""
    request = draft.asked.request
    if not draft.spec.prompt.takes(request.prompt):
        wrong = draft.spec.prompt.problem(request.prompt)
        text = f"{draft.name} takes no prompt: leave it out" if draft.spec.prompt.max_chars == 0 else f"{draft.name}: the prompt {wrong}"
        draft.reject("prompt_too_long", text, "prompt")
    elif draft.spec.prompt.required and not request.prompt:
        draft.reject("prompt_missing", f"{draft.name} needs a prompt", "prompt")
    for name in draft.asked.intent:
        value = getattr(request, name)
        if name in _LABELS:
            _fit_input(draft, name, value)
        elif name == "inputs" and isinstance(request, Transform):
            _fit_task_inputs(draft, request)
        elif name == "continue_as":
            _fit_continue_as(draft, value)
    for name, wanted in draft.asked.modes:
        option = draft.option(name)
        taken = (MODES[name],) if option is None else getattr(option, "one_of", ())
        if wanted not in taken:
            draft.reject("mode_unsupported", f"{draft.name} does not support {wanted}", name, ", ".join(taken))
    _fit_extra(draft)
    _require_inputs(draft)
    if draft.spec.fidelity.level == "emulated":
        fields = ("mask", "references", "continue_from", "source", "first_frame", "inputs")
        _report_emulation(draft, next((name for name in fields if draft.get(name)), "prompt"), draft.spec.fidelity)


def _report_emulation(draft: Draft, field: str, fidelity: Fidelity) -> None:
    """Report what is lost where an operation or an input is emulated."""
    if fidelity.level == "emulated":
        draft.emulated = True
        asked = json_value(draft.get(field))
        asked = asked.id if isinstance(asked, Continuation) else asked
        draft.extra += (Adjustment(field=field, kind="emulated", asked=asked, sent=asked, why=fidelity.note),)


def _require_inputs(draft: Draft) -> None:
    given = getattr(draft.asked.request, "inputs", None)
    for name in draft.spec.needed_inputs:
        if given is not None:
            if not given.get(name):
                draft.reject("input_missing", f"{draft.name} needs the input {name!r}", f"inputs.{name}")
        elif not draft.get(name) and not (name == "source" and getattr(draft.asked.request, "continue_from", None)):
            draft.reject("input_missing", f"{draft.name} needs {_a(_LABELS[name])}", name)


def _fit_input(draft: Draft, name: str, value: object) -> None:
    if isinstance(value, Continuation):
        _fit_continuation(draft, value)
        return
    rule = draft.spec.inputs.get(name)
    if rule is None:
        draft.reject("input_unsupported", f"{draft.name} does not accept {_a(_LABELS[name])}", name)
    elif isinstance(rule, MaskRule) and isinstance(value, Mask):
        _fit_mask(draft, rule, value)
    elif isinstance(rule, ReferencesRule) and isinstance(value, tuple):
        _fit_references(draft, rule, value)
    elif isinstance(rule, InputRule) and isinstance(value, Media):
        _fit_media(draft, name, rule, value)
        _report_emulation(draft, name, rule.fidelity)


def _fit_task_inputs(draft: Draft, request: Transform) -> None:
    """Check the inputs of a task, which are named by their roles."""
    for role, value in request.inputs.items():
        rule, field, found = draft.spec.inputs.get(role), f"inputs.{role}", each(value)
        if isinstance(rule, MaskRule) and isinstance(value, Mask):
            _fit_mask(draft, rule, value)
        elif not isinstance(rule, InputRule):
            taken = ", ".join(draft.spec.inputs) or "none"
            draft.reject("input_unsupported", f"{draft.name} has no input {role!r} (it has {taken})", field, taken)
        elif not rule.count[0] <= len(found) <= rule.count[1]:
            low, high = rule.count
            draft.reject("input_count", f"{draft.name} accepts {low} to {high} files as {role!r}, not {len(found)}", field)
        else:
            for one in found:
                if isinstance(one, Media) and one.media == rule.media:
                    _fit_media(draft, field, rule, one)
                else:
                    draft.reject("input_format", f"{draft.name} accepts {rule.media} as {role!r}, not {one}", field)
            _report_emulation(draft, "inputs", rule.fidelity)


def _fit_media(draft: Draft, name: str, rule: InputRule, media: Media) -> None:
    word = _label(name)
    known = media.format
    if known and rule.formats and known not in rule.formats and not isinstance(media, Image):
        draft.reject("input_format", f"{draft.name} accepts {', '.join(rule.formats)} as {word}, not {known}", name)
    converts = bool(known and rule.formats and known not in rule.formats)
    if rule.max_bytes and media.size and media.size > rule.max_bytes and not converts:
        draft.reject("input_too_large", f"{draft.name} accepts {_a(word)} of at most {rule.max_bytes} bytes, not {media.size}", name)
    if isinstance(media, Image | Video):
        _fit_pixels(draft, name, rule, media)
    if isinstance(media, Video | Audio) and rule.seconds and media.seconds is not None:
        low, high = rule.seconds
        if not low <= media.seconds <= high:
            draft.reject("input_length", f"{draft.name} accepts {_a(word)} of {low:g} to {high:g} s, not {media.seconds:g} s", name)
    draft.forms += ((media, rule),)
    unknown = media.size is None or (isinstance(media, Image | Video) and media.width is None)
    if unknown:
        draft.unknown += ((name, media),)


def _fit_pixels(draft: Draft, name: str, rule: InputRule, media: Image | Video) -> None:
    if not media.width or not media.height:
        return
    word, is_ = _label(name), f"{media.width}x{media.height}"
    short, long = sorted((media.width, media.height))
    if rule.min_edge and short < rule.min_edge:
        draft.reject("input_too_small", f"{draft.name} accepts {_a(word)} of at least {rule.min_edge} pixels per edge, not {is_}", name)
    if rule.max_edge and long > rule.max_edge:
        draft.reject("input_too_large", f"{draft.name} accepts {_a(word)} of at most {rule.max_edge} pixels per edge, not {is_}", name)
    if rule.max_pixels and short * long > rule.max_pixels:
        draft.reject("input_too_large", f"{draft.name} accepts {_a(word)} of at most {rule.max_pixels} pixels, not {is_}", name)
    if rule.max_ratio and long > rule.max_ratio * short:
        draft.reject("input_shape", f"{draft.name} accepts {_a(word)} with an aspect ratio of at most {rule.max_ratio:g}, not {is_}", name)


def forms_of(draft: Draft) -> dict[Media | Mask, InputForm]:
    """Return the form in which each input is sent."""
    return {given: _form(rule) for given, rule in draft.forms}


def checks_of(draft: Draft) -> tuple[Check, ...]:
    """Return what has to be checked once the inputs' bytes are read."""
    what = {True: "size and polarity", False: "type, size and pixels"}
    return tuple(Check(field=field, text=f"{what[field.endswith('mask')]} of {media} are not known yet") for field, media in draft.unknown)


def _form(rule: InputRule | MaskRule) -> InputForm:
    if isinstance(rule, MaskRule):
        return InputForm(formats=("png",), max_bytes=rule.max_bytes, mask_format=rule.format)
    limits: dict[str, Any] = {field.name: getattr(rule, field.name, None) for field in attrs.fields(InputForm)}
    return InputForm(**limits)


def _fit_mask(draft: Draft, rule: MaskRule, mask: Mask) -> None:
    if mask.mode not in rule.modes:
        what = "a mask image" if mask.mode == "user_provided" else f"mask mode {mask.mode!r}"
        draft.reject(
            "mask_mode", f"{draft.name} does not accept {what} (it accepts {', '.join(rule.modes)})", "mask", ", ".join(rule.modes)
        )
    if rule.classes is not None and len(mask.classes) > rule.classes:
        draft.reject("mask_classes", f"{draft.name} accepts at most {rule.classes} segmentation classes, not {len(mask.classes)}", "mask")
    if mask.image is not None:
        draft.forms += ((mask, rule),)
        if mask.image.size is None:
            draft.unknown += (("mask", mask.image),)
    _report_emulation(draft, "mask", rule.fidelity)


def _fit_references(draft: Draft, rule: ReferencesRule, references: Iterable[Reference]) -> None:
    found = tuple(references)
    low, high = rule.count
    if not low <= len(found) <= high:
        counted = ", including the continued image" if draft.get("continue_from") else ""
        draft.reject("input_count", f"{draft.name} accepts {low} to {high} reference images{counted}, not {len(found)}", "references")
    total = sum(reference.image.size or 0 for reference in found)
    if rule.max_total_bytes is not None and total > rule.max_total_bytes:
        text = f"{draft.name} accepts at most {rule.max_total_bytes} bytes of reference images in total, not {total}"
        draft.reject("input_too_large", text, "references")
    by_role: dict[str, list[Reference]] = {}
    for reference in found:
        by_role.setdefault(reference.role, []).append(reference)
    for role, group in by_role.items():
        inner = rule.roles.get(role)
        if inner is None:
            taken = ", ".join(rule.roles) or "none"
            draft.reject("reference_role", f"{draft.name} does not accept a {role} reference (it accepts {taken})", "references", taken)
            continue
        if not inner.count[0] <= len(group) <= inner.count[1]:
            text = f"{draft.name} accepts {inner.count[0]} to {inner.count[1]} {role} references, not {len(group)}"
            draft.reject("input_count", text, "references")
        for reference in group:
            if reference.type and inner.types and reference.type not in inner.types:
                text = f"{draft.name} does not support {role} type {reference.type!r} (it supports {', '.join(inner.types)})"
                draft.reject("reference_type", text, "references", ", ".join(inner.types))
            _fit_media(draft, "references", inner, reference.image)
        _report_emulation(draft, "references", inner.fidelity)
    for role, inner in rule.roles.items():
        if inner.count[0] and role not in by_role:
            draft.reject("input_missing", f"{draft.name} needs at least {inner.count[0]} {role} references", "references")


def _fit_continue_as(draft: Draft, way: str) -> None:
    """Check how a video is to be continued, from an earlier result or from a file."""
    rule = draft.spec.inputs.get("continue_from")
    if isinstance(rule, ContinueRule) and way not in rule.ways:
        text = f"{draft.name} cannot {way} a video (it can {', '.join(rule.ways)})"
        draft.reject("way_unsupported", text, "continue_as", ", ".join(rule.ways))


def _fit_continuation(draft: Draft, continuation: Continuation) -> None:
    if continuation.backend != draft.view.name:
        text = f"{continuation.id!r} was made by {continuation.backend!r} and can only be continued there"
        draft.reject("other_backend", text, "continue_from", continuation.backend)
        return
    origin = draft.view.matrix.model(continuation.model)
    successors = (continuation.model,) if origin is None else origin.continues_with or (origin.id,)
    if draft.candidate.model not in successors:
        text = f"{continuation.id!r} was made by {continuation.model!r}, whose results {draft.name} cannot continue"
        draft.reject("other_model", text, "continue_from", ", ".join(successors))
    rule = draft.spec.inputs.get("continue_from")
    if not isinstance(rule, ContinueRule):
        if draft.spec.operation not in _FROM_FILE:
            others = ", ".join(_continuing_operations(draft))
            draft.reject("input_unsupported", f"{draft.name} cannot continue an earlier result", "continue_from", others)
        return
    draft.continued_as = getattr(draft.asked.request, "continue_as", None) or rule.ways[0]
    seconds = continuation.files[0].seconds if continuation.files else None
    if rule.seconds and seconds is not None and not rule.seconds[0] <= seconds <= rule.seconds[1]:
        text = f"{draft.name} continues videos of {rule.seconds[0]:g} to {rule.seconds[1]:g} s, not {seconds:g} s"
        draft.reject("input_length", text, "continue_from")


def _continuing_operations(draft: Draft) -> list[str]:
    """Return the operations of the candidate's model that can continue an earlier result."""
    model = draft.view.matrix.model(draft.candidate.model)
    found = {} if model is None else model.operations
    return [name for name, own in found.items() if name in _FROM_FILE or isinstance(own.inputs.get("continue_from"), ContinueRule)]


def source_warning(request: Request) -> list[str]:
    """Return the warning for a masked edit whose own source takes the place of the continued image."""
    if not isinstance(request, Inpaint) or request.source is None or request.continue_from is None:
        return []
    source = request.source
    for file in request.continue_from.files[:1]:
        if str(source.path) == file.path or (source.data is not None and _sha256(source.data) == file.sha256):
            return []
    return [f"the given source is edited, not the image of {request.continue_from.id!r}, which only decides the backend"]


def _fit_extra(draft: Draft) -> None:
    known, given = draft.spec.extra_params, draft.asked.request.extra_params
    if not known and not given:
        return
    field, word = ("options", "option") if draft.spec.task else ("extra_params", "extra parameter")
    respelled: dict[str, Any] = {}
    for key, value in given.items():
        option = known.get(key)
        if option is None:
            names = ", ".join(known)
            has = f"(it has {names})" if names else "(it has none): leave it out"
            draft.reject("extra_param", f"{draft.name} has no {word} {key!r} {has}", f"{field}.{key}", names)
        elif (wrong := option.problem(value)) is not None:
            respelled[key] = _respelled(option, value)
            if respelled[key] is None:
                draft.reject("extra_param", f"{draft.name}: {word} {key!r} {wrong}", f"{field}.{key}")
    if respelled:
        draft.set(field, {**given, **respelled}, "snapped", "the same values as the model writes them")
    for key, option in known.items():
        if option.required and key not in given:
            draft.reject("extra_param", f"{draft.name} needs the {word} {key!r}", f"{field}.{key}")


def _respelled(option: Option, value: Any) -> Any:
    """Return the value that another spelling of it means, such as ``"80"`` for a number or another case of a word; None if none."""
    text = option.nearest(value) if isinstance(value, str) else str(value) if type(value) in {int, float} else None
    found = [text, *(plain_value(value, kind) for kind in (int, float, bool))]
    return next((same for same in found if same is not None and option.problem(same) is None), None)


def _sha256(data: bytes) -> str:
    import hashlib  # loads OpenSSL

    return hashlib.sha256(data).hexdigest()
