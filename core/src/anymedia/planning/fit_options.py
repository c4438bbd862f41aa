"""Fit advisory and adjustable options to a candidate: size, aspect ratio, resolution, n, output_format."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence

from ..capabilities import Choice, Option, Pixels, Range
from ..capabilities.options import listed_values
from ..errors import nearest_name
from ..media import FORMATS
from ..policy import Policy, Tolerance
from .candidate import Draft, apply_rules, pixels_of_size, pixels_of_tier

_SHAPE = frozenset({"size", "aspect_ratio", "resolution"})
#: Words for a quality, those of each level in a group, from the lowest on.
_LEVELS = ("lowest draft", "low fast", "medium standard normal", "high hd hq better", "xhigh", "max maximum ultra uhd best highest premium")
_SCALE = {word: level for level, words in enumerate(_LEVELS) for word in words.split()}
#: Size of the caches: the same few dozen sizes and ratios occur in every matrix.
_CACHED = 2048


@functools.lru_cache(maxsize=_CACHED)
def ratio_of(text: str | None) -> float | None:
    """Return width over height of ``WxH`` or ``W:H``; None for auto, None and anything else."""
    match = re.fullmatch(r"([0-9.]+)[x:]([0-9.]+)", text or "")
    if match is None or float(match[2]) == 0:
        return None
    return float(match[1]) / float(match[2])


#: Medium -> function from a tier to its pixel count.
_TIERS: Mapping[str, Callable[[str], int | None]] = {m: functools.partial(pixels_of_tier, media=m) for m in ("image", "video", "audio")}


def _distance(a: float | None, b: float | None) -> float:
    return abs(math.log(a / b)) if a and b else 0.0


def _nearest_choice(option: Option | None, measure: Callable[[str], float | None], wanted: float | None) -> str | None:
    """Return the choice whose measure is nearest to a value; of equally near ones the first."""
    return _nearest_of(option.one_of, measure, wanted) if isinstance(option, Choice) and wanted else None


@functools.lru_cache(maxsize=_CACHED)
def _nearest_of(choices: tuple[str, ...], measure: Callable[[str], float | None], wanted: float) -> str | None:
    measured = [(v, m) for v in choices if (m := measure(v))]
    return str(min(measured, key=lambda pair: _distance(pair[1], wanted))[0]) if measured else None


def _size_for(option: Option | None, ratio: float, pixels: float | None, fallback: float) -> str | None:
    """Return the supported size nearest to a ratio and then to a pixel count."""
    if isinstance(option, Pixels):
        total = pixels or fallback
        if option.pixels and not pixels:
            total = min(max(total, option.pixels[0]), option.pixels[1])
        width, height = math.sqrt(total * ratio), math.sqrt(total / ratio)
        return option.nearest(f"{max(1, round(width))}x{max(1, round(height))}")
    return min(_sizes(option), key=lambda s: (round(_distance(ratio_of(s), ratio), 6), _distance(pixels_of_size(s), pixels)), default=None)


def _sizes(option: Option | None) -> list[str]:
    return [str(value) for value in option.one_of if pixels_of_size(value)] if isinstance(option, Choice) else []


def fit_geometry(draft: Draft) -> None:
    """Fit size, aspect_ratio and resolution to the options of the operation spec, in that order of precedence."""
    if _SHAPE.isdisjoint(draft.asked.adjustable):
        return
    size, aspect, tier = draft.get("size"), draft.get("aspect_ratio"), draft.get("resolution")
    if size is not None:
        _fit_size(draft, size)
    if aspect is not None:
        _fit_aspect(draft, aspect, size_given=size is not None)
    if tier is not None:
        _fit_tier(draft, tier)


def _fit_size(draft: Draft, size: str) -> None:
    option = draft.option("size")
    if option is not None:
        if not option.takes(size):
            near = option.nearest(size) if isinstance(option, Pixels) else _nearest_size(option, size)
            draft.set("size", near, "snapped" if near else "ignored", lambda: f"{draft.candidate.model} {option.problem(size)}")
        return
    ratio, pixels = ratio_of(size), pixels_of_size(size)
    why = f"{draft.candidate.model} does not accept a size in pixels"
    moved = False
    if draft.get("aspect_ratio") is None and (near := _nearest_choice(draft.option("aspect_ratio"), ratio_of, ratio)):
        draft.set("aspect_ratio", near, "snapped", f"{why}, only an aspect ratio")
        moved = True
    media = draft.media
    if draft.get("resolution") is None:
        near = _nearest_choice(draft.option("resolution"), _TIERS[media], pixels)
        if near:
            draft.set("resolution", near, "snapped", f"{why}, only a resolution")
            moved = True
    draft.set("size", None, "snapped" if moved else "ignored", why)


def _nearest_size(option: Option, size: str) -> str | None:
    ratio, pixels = ratio_of(size), pixels_of_size(size)
    sizes = _sizes(option) if size != "auto" else []
    return min(sizes, key=lambda s: 2 * _distance(ratio_of(s), ratio) + _distance(pixels_of_size(s), pixels), default=None)


def _fit_aspect(draft: Draft, aspect: str, *, size_given: bool) -> None:
    option, model = draft.option("aspect_ratio"), draft.candidate.model
    if option is not None:
        if not option.takes(aspect):
            near = _nearest_choice(option, ratio_of, ratio_of(aspect))
            draft.set("aspect_ratio", near, "snapped" if near else "ignored", lambda: f"{model} {option.problem(aspect)}")
        return
    ratio = ratio_of(aspect)
    if draft.option("size") is None or size_given or ratio is None:
        why = "the size already determines it" if size_given and draft.option("size") else f"{model} does not accept an aspect ratio"
        draft.set("aspect_ratio", None, "ignored", why)
        return
    media = draft.media
    near = _size_for(draft.option("size"), ratio, pixels_of_tier(draft.get("resolution"), media), _usual_pixels(media))
    why = f"{model} accepts a size in pixels, not an aspect ratio"
    draft.set("aspect_ratio", None, "snapped" if near else "ignored", why)
    if near:
        draft.set("size", near, "snapped", why)


def _usual_pixels(media: str) -> float:
    return 1280 * 720 if media == "video" else 1024 * 1024


def _fit_tier(draft: Draft, tier: str) -> None:
    option, model, media = draft.option("resolution"), draft.candidate.model, draft.media
    pixels = pixels_of_tier(tier, media)
    if option is not None:
        if not option.takes(tier):
            near = option.nearest(tier) or _nearest_choice(option, _TIERS[media], pixels)
            if near is None:
                _reject_value(draft, "resolution", option, tier)
            else:
                draft.set("resolution", near, "snapped", lambda: f"{model} {option.problem(tier)}")
        return
    if draft.option("size") is not None and draft.get("size") is None and pixels:
        ratio = ratio_of(draft.get("aspect_ratio")) or (16 / 9 if media == "video" else 1.0)
        near = _size_for(draft.option("size"), ratio, pixels, _usual_pixels(media))
        why = f"{model} accepts a size in pixels, not a resolution"
        draft.set("resolution", None, "snapped" if near else "ignored", why)
        if near:
            draft.set("size", near, "snapped", why)
        return
    if "size" in draft.values and draft.get("size") is not None:
        draft.set("resolution", None, "snapped", f"{model} accepts a size in pixels, not a resolution")
        return
    why = "the size already determines it" if draft.get("size") is not None else f"{model} does not accept a resolution"
    draft.set("resolution", None, "ignored", why)


def check_tolerance(draft: Draft, tolerance: Tolerance) -> None:
    """Reject the candidate if aspect ratio or pixel count would change more than the policy allows."""
    if _SHAPE.isdisjoint(draft.values):
        return
    request = draft.asked.request
    media = draft.media
    size, aspect, tier = draft.get("size"), draft.get("aspect_ratio"), draft.get("resolution")
    asked_size = getattr(request, "size", None)
    before = ratio_of(asked_size) or ratio_of(getattr(request, "aspect_ratio", None))
    after = ratio_of(size) or ratio_of(aspect)
    if before and after and abs(after / before - 1) > tolerance.aspect_ratio + 1e-9:
        nearest = size or aspect
        text = f"{draft.name} supports no aspect ratio near {request.size or request.aspect_ratio}"  # type: ignore[union-attr]
        draft.reject("out_of_tolerance", f"{text} (nearest: {nearest})", "aspect_ratio", str(nearest))
    had = pixels_of_size(asked_size) or pixels_of_tier(getattr(request, "resolution", None), media)
    has = pixels_of_size(size) or pixels_of_tier(tier, media)
    if had and has and had != has and math.exp(_distance(has, had)) > tolerance.pixels + 1e-9:
        nearest = size or tier
        text = f"{draft.name} supports no size near {getattr(request, 'size', None) or getattr(request, 'resolution', None)}"
        draft.reject("out_of_tolerance", f"{text} (nearest: {nearest})", "size", str(nearest))


def fit_options(draft: Draft, policy: Policy) -> None:
    """Fit every option, apply the rules between fields, then check the tolerance and split the calls."""
    for name in draft.asked.advisory:
        _fit_advisory(draft, name)
    fit_geometry(draft)
    if "duration" in draft.asked.adjustable:
        _fit_duration(draft)
    if "output_format" in draft.asked.adjustable:
        _fit_format(draft, policy)
    apply_rules(draft)
    check_tolerance(draft, policy.tolerance)
    if "duration" in draft.asked.adjustable:
        _check_duration(draft, policy)
    if "n" in draft.asked.adjustable:
        _fit_count(draft)
    if policy.strict and draft.adjusted():
        changes = "; ".join(f"{a.field} would be {a.kind} ({a.why})" for a in draft.adjustments())
        draft.reject("strict", f"{draft.name}: {changes}, and strict allows no adjustment", draft.adjustments()[0].field)


def _fit_advisory(draft: Draft, name: str) -> None:
    option, value, model = draft.option(name), draft.get(name), draft.candidate.model
    if option is None:
        draft.set(name, None, "ignored", f"{model} does not accept {name}")
    elif not option.takes(value):
        near = option.nearest(value) or _same_level(value, option)
        if near is None:
            _reject_value(draft, name, option, value)
        else:
            draft.set(name, near, "snapped", lambda: f"{model} {option.problem(value)}")


def _reject_value(draft: Draft, name: str, option: Option, value: object) -> None:
    """Reject the candidate for a value that its option does not have; sending nothing in its place would be billed all the same."""
    values = [str(v) for v in option.one_of] if isinstance(option, Choice) else []
    nearest = nearest_name(str(value), values) or _nearest_on_scale(str(value), values) or listed_values(values)
    draft.reject("option_value", f"{draft.name}: {name} {option.problem(value)}", name, nearest)


def _same_level(value: object, option: Option) -> str | None:
    """Return the choice that is another word for the same level of quality: ``high`` for ``HD``."""
    level = _SCALE.get(str(value).casefold())
    words = option.one_of if isinstance(option, Choice) and level is not None else ()
    return next((str(word) for word in words if _SCALE.get(str(word).casefold()) == level), None)


def _nearest_on_scale(word: str, words: Sequence[str]) -> str | None:
    """Return the word that is nearest to another one on the scale of qualities, if both are on it."""
    on_scale = [known for known in words if known in _SCALE]
    at = _SCALE.get(word.casefold())
    return None if at is None or not on_scale else min(on_scale, key=lambda known: abs(_SCALE[known] - at))


def _fit_duration(draft: Draft) -> None:
    option, value, model = draft.option("duration"), draft.get("duration"), draft.candidate.model
    if option is None:
        draft.set("duration", None, "ignored", f"{model} does not accept a duration")
    elif not option.takes(value):
        near = option.nearest(value)
        draft.set("duration", near, "ignored" if near is None else "snapped", lambda: f"{model} {option.problem(value)}")


def _check_duration(draft: Draft, policy: Policy) -> None:
    before, after = getattr(draft.asked.request, "duration", None), draft.get("duration")
    if before and after and abs(after - before) / before > policy.tolerance.duration + 1e-9:
        limit = "at most" if after < before else "at least"
        text = f"{draft.name} supports {limit} {after:g} s (you asked for {before:g} s)"
        draft.reject("out_of_tolerance", text, "duration", f"{after:g}")


def _fit_format(draft: Draft, policy: Policy) -> None:
    option, value, model = draft.option("output_format"), draft.get("output_format"), draft.candidate.model
    if not FORMATS[value].startswith(draft.media):
        media = draft.media
        known = ", ".join(name for name, mime in FORMATS.items() if mime.startswith(media))
        draft.reject("wrong_medium", f"{value} is not a format for {media} (available: {known})", "output_format")
        return
    made = option.one_of if isinstance(option, Choice) else ()
    if value in made:
        return
    # Without an option the format cannot be chosen; the output may still have the requested one.
    why = f"{model} does not write {value}" if made else f"{model} has no choice of formats"
    if value in policy.transcode:
        draft.transcode_to = value
        sent = next((f for f in ("png", "wav") if f in made), made[0] if made else None)
        draft.set("output_format", sent, "transcoded", f"{why}; the output is converted{'' if made else ' if it has another'}")
        return
    sent = getattr(option, "default", None) or (made[0] if made else None)
    draft.set("output_format", sent, "snapped" if sent else "ignored", f"{why}, and it cannot be converted here")


def _fit_count(draft: Draft) -> None:
    """Split n into calls, each with at most as many outputs as one call returns."""
    asked = draft.get("n") or 1
    option = draft.option("n")
    most = int(option.max) if isinstance(option, Range) else max(getattr(option, "one_of", (1,)))
    if asked <= most:
        draft.chunks = (asked,)
        return
    whole, rest = divmod(asked, most)
    draft.chunks = (most,) * whole + ((rest,) if rest else ())
