"""Advisory options are sent or left out; adjustable ones are fitted; n and output_format may be bridged by the core."""

from __future__ import annotations

from ..capabilities import Choice, Range
from ..media import FORMATS
from ..policy import Policy
from .draft import Draft
from .geometry import check_tolerance, fit_geometry
from .rules import apply_rules

__all__ = ["fit_options"]


def fit_options(draft: Draft, policy: Policy) -> None:
    """Fit every option, then the rules between them, then what the core does itself."""
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
        said = "; ".join(f"{a.field} would be {a.kind} ({a.why})" for a in draft.adjustments())
        draft.reject("strict", f"'{draft.candidate}': {said}, and strict allows no adjustment", draft.adjustments()[0].field)


def _fit_advisory(draft: Draft, name: str) -> None:
    option, value, model = draft.option(name), draft.get(name), draft.candidate.model
    if option is None:
        draft.set(name, None, "ignored", f"{model} takes no {name}")
    elif not option.takes(value):
        near = option.nearest(value) if isinstance(option, Range) else None
        draft.set(name, near, "ignored" if near is None else "snapped", lambda: f"{model} {option.problem(value)}")


def _fit_duration(draft: Draft) -> None:
    option, value, model = draft.option("duration"), draft.get("duration"), draft.candidate.model
    if option is None:
        draft.set("duration", None, "ignored", f"{model} takes no duration")
    elif not option.takes(value):
        near = option.nearest(value)
        draft.set("duration", near, "ignored" if near is None else "snapped", lambda: f"{model} {option.problem(value)}")


def _check_duration(draft: Draft, policy: Policy) -> None:
    before, after = getattr(draft.asked.request, "duration", None), draft.get("duration")
    if before and after and abs(after - before) / before > policy.tolerance.duration + 1e-9:
        text = f"'{draft.candidate}' makes {after:g} s at the nearest, not {before:g} s"
        draft.reject("out_of_tolerance", text, "duration", f"{after:g}")


def _fit_format(draft: Draft, policy: Policy) -> None:
    option, value, model = draft.option("output_format"), draft.get("output_format"), draft.candidate.model
    if not FORMATS[value].startswith(draft.asked.request.media):
        media = draft.asked.request.media
        there_are = ", ".join(name for name, mime in FORMATS.items() if mime.startswith(media))
        draft.reject("wrong_medium", f"{value} is no {media} format (there are: {there_are})", "output_format")
        return
    made = option.one_of if isinstance(option, Choice) else ()
    if value in made:
        return
    # A row that is silent leaves no choice; what comes may well be the format asked for.
    why = f"{model} does not write {value}" if made else f"{model} leaves no choice of format"
    if value in policy.transcode:
        draft.transcode_to = value
        sent = next((f for f in ("png", "wav") if f in made), made[0] if made else None)
        draft.set("output_format", sent, "transcoded", f"{why}; it is converted afterwards{'' if made else ' where it is another'}")
        return
    sent = getattr(option, "default", None) or (made[0] if made else None)
    draft.set("output_format", sent, "snapped" if sent else "ignored", f"{why}, nor can it be converted here")


def _fit_count(draft: Draft) -> None:
    """Make as many calls as it takes; n is the number asked for in each of them."""
    asked = draft.get("n") or 1
    option = draft.option("n")
    most = int(option.max) if isinstance(option, Range) else max(getattr(option, "one_of", (1,)))
    if asked <= most:
        draft.chunks = (asked,)
        return
    whole, rest = divmod(asked, most)
    draft.chunks = (most,) * whole + ((rest,) if rest else ())
