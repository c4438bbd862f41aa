"""A listed model -> a row of the matrix, as a capability file would write it, and notes on what was left out of it.

Nothing is offered that the lists do not say: absent and null alike are left out, and the latter is noted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .descriptors import SEEDS, Listed, common, option, pictures

__all__ = ["image_row", "speech_row", "video_row"]

#: Options of the request, as the image lists name them; whatever else is listed is an extra parameter.
_OPTIONS = frozenset({"n", "size", "aspect_ratio", "resolution", "quality", "background", "output_format", "seed"})
#: Fields of the request that are not for the caller to set.
_OWN = frozenset({"model", "prompt", "stream", "input_references", "provider", "user", "session_id", "messages"})
_PICTURES = ["png", "jpeg", "webp"]
_ROLES = {
    "style": "sent as a further picture; the prompt says to take its style",
    "control": "sent as a further picture; the prompt says to follow its structure",
    "subject": "sent as a further picture; the prompt says to keep its subject",
}
_SIZE_RULE = "the size already says shape and resolution, and one that differs is refused"
_FRAMES_RULE = "with frames given, the service drops reference pictures"
#: Routing between the endpoints of a model: an object that every endpoint of the API takes.
_ROUTING = {"type": "object", "doc": "routing: only, order, ignore, sort, allow_fallbacks, and options by provider"}
#: The cookbook's way to see whether a video model takes reference pictures: no field says so, its description does.
_SAYS_REFERENCES = re.compile(r"reference[- ]to[- ]video|reference images?|image references?|multi-reference", re.IGNORECASE)


def image_row(listed: Listed, endpoints: Sequence[Listed]) -> tuple[dict[str, Any], list[str]]:
    """Return the row of an image model; its endpoints are what counts, the list's own entry is their union."""
    notes: list[str] = []
    described = [e["supported_parameters"] for e in endpoints if isinstance(e.get("supported_parameters"), Mapping)]
    taken = common(described, notes)
    operation: dict[str, Any] = {"extra_params": {"provider": dict(_ROUTING)}}
    for name, descriptor in taken.items():
        if name in _OWN:
            continue
        found = option(name, descriptor, notes)
        if found is not None:
            (operation if name in _OPTIONS else operation["extra_params"])[name] = found
    rules = _size_rules(operation) + _compression_rules(operation) + _transparency_rules(operation)
    if rules:
        operation["rules"] = rules
    row = _row(listed, "image", "or_img", {"generate_image": operation}, _image_prices(endpoints, notes))
    count = pictures(taken["input_references"], notes) if "input_references" in taken else None
    if count is not None:
        row["edit_with_references"] = {**operation, "references": _references(count)}
        operation["continue_from"] = {"ways": ["chat"], "doc": "the earlier image is sent as a picture"}
        row["edit_with_references"] = {k: v for k, v in row["edit_with_references"].items() if k != "continue_from"}
        if count[0] > 0:
            del row["generate_image"]
    return row, notes


def _row(listed: Listed, media: str, prefix: str, operations: Mapping[str, Any], prices: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": listed["id"], "media": media, **operations}
    if prefix:
        row["continuation_prefix"] = prefix
    if prices:
        row["prices"] = prices
    slug = listed.get("canonical_slug")
    if isinstance(slug, str) and slug and slug != listed["id"]:
        row["aliases"] = [slug]
    return row


def _references(count: tuple[int, int]) -> dict[str, Any]:
    most = count[1]
    plain = {"count": [0, most], "formats": _PICTURES}
    roles = {name: {**plain, "fidelity": {"level": "emulated", "note": note}} for name, note in _ROLES.items()}
    return {"count": [0, most], "roles": {"source": plain, **roles}, "doc": "a continued image counts"}


def _size_rules(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = [name for name in ("aspect_ratio", "resolution") if name in operation]
    if "size" not in operation or not given:
        return []
    return [{"when": {"size": True}, "forbid": dict.fromkeys(given, True), "because": _SIZE_RULE}]


def _compression_rules(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    formats = [f for f in operation.get("output_format", {}).get("one_of", ()) if f in {"jpeg", "webp"}]
    if "output_compression" not in operation["extra_params"] or not formats:
        return []
    when = {"extra_params.output_compression": True}
    return [{"when": when, "require": {"output_format": formats}, "because": "only jpeg and webp are compressed to a level"}]


def _transparency_rules(operation: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "transparent" not in operation.get("background", {}).get("one_of", ()):
        return []
    if "jpeg" not in operation.get("output_format", {}).get("one_of", ()):
        return []
    when, forbid = {"background": ["transparent"]}, {"output_format": ["jpeg"]}
    return [{"when": when, "forbid": forbid, "because": "JPEG has no transparency"}]


def _image_prices(endpoints: Sequence[Listed], notes: list[str]) -> list[dict[str, Any]]:
    """Return prices where all that is billed is billed by the piece or by size: tokens are not known beforehand."""
    lines = [line for endpoint in endpoints for line in endpoint.get("pricing") or () if isinstance(line, Mapping)]
    units = {("output_image", "image"): "image", ("output_image", "request"): "call", ("output_image", "megapixel"): "megapixel",
             ("input_image", "image"): "input_image",
             ("input_reference", "image"): "input_image"}  # fmt: skip
    found: dict[str, list[float]] = {}
    for line in lines:
        unit, usd = units.get((str(line.get("billable")), str(line.get("unit")))), _usd(line.get("cost_usd"))
        if unit is None or usd is None:
            notes.append(f"price: {line.get('billable')} by the {line.get('unit')} is not known beforehand; no quote")
            return []
        found.setdefault(unit, []).append(usd)
    return [_price(unit, usd) for unit, usd in found.items()]


def _usd(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < 10_000 else None


def video_row(listed: Listed, modalities: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the row of a video model; ``modalities`` are what it takes in, by the general list."""
    notes: list[str] = []
    operation: dict[str, Any] = {"extra_params": {"provider": dict(_ROUTING)}}
    _choices(listed, operation, notes)
    _flags(listed, operation, notes)
    frames = _strings(listed.get("supported_frame_images"))
    if listed.get("supported_frame_images", ()) is None:
        notes.append("supported_frame_images: left open; no frames are offered")
    picture = {"count": [0, 1], "formats": _PICTURES}
    inputs: dict[str, Any] = {name: dict(picture) for name in ("first_frame", "last_frame") if name in frames}
    rules = _size_rules(operation)
    if _SAYS_REFERENCES.search(str(listed.get("description") or "")):
        notes.append("references: by its description; how many is not published, three are offered")
        inputs["references"] = {"count": [0, 3], "roles": {"subject": {"count": [0, 3], "formats": _PICTURES}}}
        rules += [{"when": {name: True}, "forbid": {"references": True}, "because": _FRAMES_RULE} for name in frames if name in inputs]
    operations: dict[str, Any] = {}
    said = any(listed.get(f"supported_{name}") for name in ("durations", "resolutions", "sizes", "aspect_ratios"))
    takes_video = "video" in modalities
    if said or inputs or not takes_video:
        operations["generate_video"] = {**operation, **inputs, **({"rules": rules} if rules else {})}
    if takes_video:
        operations["continue_video"] = {**operation, "rules": [*_size_rules(operation), _edits_only()], "source": _video_source()}
    row = _row(listed, "video", "or_vid", operations, _video_prices(listed))
    row["typical_seconds"] = {"median": 90, "p95": 300}
    return row, notes


def _edits_only() -> dict[str, Any]:
    because = "the video that is sent along is edited, not continued"
    return {"when": {"source": True}, "forbid": {"continue_as": ["extend", "remix"]}, "because": because}


def _video_source() -> dict[str, Any]:
    return {"count": [1, 1], "formats": ["mp4", "webm", "mov"]}


def _choices(listed: Listed, operation: dict[str, Any], notes: list[str]) -> None:
    lists = {"duration": "durations", "resolution": "resolutions", "aspect_ratio": "aspect_ratios", "size": "sizes"}
    for name, plural in lists.items():
        key = f"supported_{plural}"
        values = listed.get(key)
        if isinstance(values, list) and values:
            if name == "duration":
                seconds = sorted({v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v > 0})
                found = {"one_of": seconds} if seconds else None
            else:
                found = option(name, {"type": "enum", "values": values}, notes)
            if found is not None:
                operation[name] = found
        elif key in listed and values is None:
            notes.append(f"{key}: left open; {name} is not offered")


def _flags(listed: Listed, operation: dict[str, Any], notes: list[str]) -> None:
    extra = operation["extra_params"]
    if listed.get("seed") is True:
        operation["seed"] = dict(SEEDS)
    if listed.get("generate_audio") is True:
        extra["generate_audio"] = {"type": "boolean", "doc": "whether it has sound"}
    notes.extend(f"{name}: left open; not offered" for name in ("seed", "generate_audio") if name in listed and listed[name] is None)
    for name in ("upscale_factor", "creativity"):
        bounds = listed.get(name)
        if isinstance(bounds, Mapping) and (found := option(name, {**bounds, "type": "range"}, notes)) is not None:
            extra[name] = {k: v for k, v in found.items() if k != "step"}


def _video_prices(listed: Listed) -> list[dict[str, Any]]:
    """Return prices where each name of the list is understood: free-form names, USD, or US cents where a name says so.

    One that is not understood (tokens, an upscaler's pixels) leaves the whole unknown: a part of a price is a wrong price.
    """
    skus = listed.get("pricing_skus")
    tiers = _strings(listed.get("supported_resolutions"))
    plain: dict[str, list[float]] = {}
    by_tier: dict[str, list[float]] = {}
    for name, value in (skus if isinstance(skus, Mapping) else {}).items():
        unit, usd = _sku_unit(str(name)), _usd(value)
        if unit is None or usd is None:
            return []
        usd = usd / 100 if "cents" in str(name) else usd
        tier = next((t for t in tiers if re.split(r"[_-]", str(name))[-1].lower() == t.lower()), None)
        lines = plain.setdefault(unit, []) if tier is None or unit != "second" else by_tier.setdefault(tier, [])
        lines.append(usd)
    found = [_price("second", usd) | {"when": {"resolution": [tier]}} for tier, usd in by_tier.items()]
    return found + [_price(unit, usd) for unit, usd in plain.items()]


def _sku_unit(name: str) -> str | None:
    if "token" in name or "pixel" in name:
        return None
    if "second" in name:
        return "second"
    return "input_image" if "image_input" in name or "input_image" in name else None


def _price(unit: str, usd: Sequence[float]) -> dict[str, Any]:
    basis = "the service's list" if min(usd) == max(usd) else "the least and the most of the service's list"
    return {"per": unit, "usd": [round(min(usd), 6), round(max(usd), 6)], "basis": basis}


def _strings(value: Any) -> list[str]:
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def speech_row(listed: Listed) -> tuple[dict[str, Any], list[str]]:
    """Return the row of a speech model."""
    notes: list[str] = []
    operation: dict[str, Any] = {
        "output_format": {"one_of": ["mp3", "wav"], "default": "mp3"},
        "audio_type": {"one_of": ["speech"], "fixed": True},
        "extra_params": {"provider": dict(_ROUTING)},
    }
    voices = _strings(listed.get("supported_voices"))
    if voices:
        operation["voice"] = {"one_of": list(dict.fromkeys(voices)), "default": voices[0]}
    else:
        notes.append("supported_voices: left open; no voice is offered, the provider's own is used")
    parameters = _strings(listed.get("supported_parameters"))
    if "speed" in parameters:
        operation["speed"] = {"min": 0.25, "max": 4.0}
    return _row(listed, "audio", "", {"generate_audio": operation}, []), notes
