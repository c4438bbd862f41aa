"""A listed endpoint as an operation under our names, beside the task `run`: what generates images and videos from a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["generation"]

#: The presets of ``image_size`` (fal/toolkit, repository fal-ai/fal at c6f0afaa).
_PRESETS = {
    "square": "512x512",
    "square_hd": "1024x1024",
    "portrait_4_3": "768x1024",
    "portrait_16_9": "576x1024",
    "landscape_4_3": "1024x768",
    "landscape_16_9": "1024x576",
}
#: Names of an endpoint's options -> ours, where the values are ours, too.
_NAMES = {"num_images": "n", **{name: name for name in ("aspect_ratio", "resolution", "seed", "negative_prompt", "output_format")}}
_SEED = {"min": 0, "max": 4294967295, "step": 1}
_FIRST = ("image_url", "start_image_url", "first_frame_url")
_LAST = ("end_image_url", "last_frame_url", "tail_image_url")
_VALUES = {"aspect_ratio": r"auto|[0-9.]+:[0-9.]+", "output_format": "png|jpeg|webp|mp4|webm"}


def generation(category: str, spec: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the table of an operation by its name; None if the endpoint needs anything that the operation does not have.

    Args:
        category: of the catalogue, such as ``text-to-image``.
        spec: the spec of the task `run`.
        document: the endpoint's OpenAPI document.
    """
    if "prompt" not in spec:
        return None
    inputs = dict(spec["inputs"])
    fields, forms, values = dict[str, str](), dict[str, str](), dict[str, Any]()
    table: dict[str, Any] = {"prompt": spec["prompt"]}
    if category == "text-to-image":
        operation = "generate_image"
    elif category == "image-to-image" and (name := next((n for n in ("image_urls", "image_url") if n in inputs), None)):
        operation, (least, most) = "edit_with_references", inputs.pop(name)["count"]
        count = [max(1, least), most]
        table["references"], fields["references"] = {"count": count, "roles": {"source": {"count": count}}}, name
    elif category in ("text-to-video", "image-to-video"):
        operation = "generate_video"
        for ours, names in (("first_frame", _FIRST), ("last_frame", _LAST)):
            if (name := next((n for n in names if n in inputs), None)) is not None:
                table[ours], fields[ours] = {"count": [inputs.pop(name)["count"][0], 1]}, name
    else:
        return None
    if any(rule["count"][0] for rule in inputs.values()):
        return None
    extra = dict[str, Any]()
    for name, option in spec["options"].items():
        for ours, own, wire in _known(name, option, document):
            table[ours], fields[ours] = own, name
            forms |= wire.get("form", {})
            values |= wire.get("values", {})
            break
        else:
            extra[name] = option
    fields = {ours: name for ours, name in fields.items() if ours != name}
    parts = {"fields": fields, "forms": forms, "values": values}
    return {operation: table | {"extra_params": extra, "wire": {key: part for key, part in parts.items() if part}}}


def _known(name: str, option: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield our name for an endpoint's option, with our values and how they are written; nothing if its values are not ours."""
    given = {key: option[key] for key in ("one_of", "min", "max", "step", "default", "required") if key in option}
    if name == "image_size":
        found = {size: preset for preset, size in _PRESETS.items() if preset in _presets(document)}
        size = _PRESETS.get(str(option.get("default")), "")
        if found:
            yield "size", {"one_of": [*found]} | ({"default": size} if size in found else {}), {"values": {"size": found}}
    elif name == "duration":
        texts = [re.fullmatch("([0-9]+)(s?)", str(value)) for value in option.get("one_of", ())]
        if texts and all(texts):
            forms = {"duration": "{}" + str(texts[0] and texts[0][2])} if isinstance(option["one_of"][0], str) else {}
            usual = {"default": int(str(option["default"]).rstrip("s"))} if "default" in option else {}
            yield "duration", {"one_of": [int(text[1]) for text in texts if text], **usual}, {"form": forms}
        elif "min" in option:
            yield "duration", given, {}
    elif name == "seed" and option.get("type") == "integer":
        yield "seed", _SEED, {}
    elif name == "negative_prompt" and option.keys() & {"type", "max_chars"}:
        yield "negative_prompt", {"max_chars": option.get("max_chars", 5000)}, {}
    elif name in _NAMES and _is_ours(name, option):
        yield _NAMES[name], given, {}


def _is_ours(name: str, option: Mapping[str, Any]) -> bool:
    if name in ("num_images", "seed"):
        return "min" in option
    return "one_of" in option and all(re.fullmatch(_VALUES.get(name, ".+"), str(value)) for value in option["one_of"])


def _presets(document: Mapping[str, Any]) -> set[str]:
    """Return the texts that any schema of the document allows as an ``image_size``."""
    found = set[str]()
    pending: list[Any] = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            sizes = part.get("image_size")
            for one in (sizes, *(sizes.get("anyOf") or ())) if isinstance(sizes, Mapping) else ():
                if isinstance(one, Mapping) and isinstance(one.get("enum"), list):
                    found.update(map(str, one["enum"]))
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return found
