"""Worked calls for the guidance: each made for a row that is usable now, from values that row takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from ..capabilities import Choice, Range
from .usable import Able, continuing, mask_rule, role_rules

__all__ = ["EARLIER_IMAGE", "EARLIER_VIDEO", "Example", "worked_examples"]

#: What stands for the ``continuation_id`` of an earlier answer.
EARLIER_IMAGE = "ID_OF_AN_IMAGE"
EARLIER_VIDEO = "ID_OF_A_VIDEO"


@attrs.frozen(kw_only=True)
class Example:
    """One call that works here and now, with the files ``photo.png``, ``mask.png`` (of its size) and ``ref.png`` at hand."""

    title: str
    fields: dict[str, Any]


def worked_examples(rows: Sequence[Able]) -> list[Example]:
    """Return one call for each thing the usable rows can do, by the row that would be chosen first."""
    return list(_images(rows)) + list(_videos(rows)) + list(_sounds(rows))


def _first(rows: Sequence[Able], operation: str, takes: Any = None) -> Able | None:
    fitting = [a for a in rows if a.operation == operation and (takes is None or takes(a))]
    native = [a for a in fitting if a.row.fidelity.level == "native"]
    return next(iter(native or fitting), None)


def _images(rows: Sequence[Able]) -> Iterator[Example]:
    if able := _first(rows, "generate_image"):
        yield Example(title="new image", fields={"prompt": "a red fox in snow", "backend": able.backend, "output_path": "fox.png"})
        advanced = _advanced(able)
        if advanced:
            yield Example(title="advanced parameters", fields={"prompt": "a red fox in snow", "backend": able.backend, **advanced})
    if _first(rows, "generate_image", continuing):
        yield Example(title="change it (multi-turn)", fields={"prompt": "make it night", "continue_from": EARLIER_IMAGE})
    if able := _first(rows, "inpaint", lambda a: _takes_mask(a, "user_provided")):
        fields = {"prompt": "a stormy sky", "backend": able.backend, "input_images": ["photo.png"], "mask_path": "mask.png"}
        yield Example(title="inpaint by a mask", fields=fields)
    for mode in ("semantic", "foreground"):
        if able := _first(rows, "inpaint", lambda a, m=mode: _takes_mask(a, m)):
            fields = {"prompt": "a beach", "backend": able.backend, "input_images": ["photo.png"], "mask_mode": mode}
            yield Example(
                title=f"inpaint what the backend finds ({mode})",
                fields=fields | ({"segmentation_classes": [1]} if mode == "semantic" else {}),
            )
    if able := _first(rows, "edit_with_references", lambda a: _role(a, "source")):
        yield Example(title="edit an image", fields={"prompt": "make it autumn", "backend": able.backend, "input_images": ["photo.png"]})
    for role in ("style", "control", "subject"):
        if able := _first(rows, "edit_with_references", lambda a, r=role: _role(a, r)):
            yield Example(
                title=f"{role} reference",
                fields={"prompt": "a harbour", "backend": able.backend, f"{role}_image_path": "ref.png", **_kind(able, role)},
            )


def _videos(rows: Sequence[Able]) -> Iterator[Example]:
    if able := _first(rows, "generate_video"):
        yield Example(title="new video", fields={"mode": "video", "prompt": "waves on a beach", "backend": able.backend, **_seconds(able)})
    if able := _first(rows, "generate_video", lambda a: "first_frame" in a.row.inputs):
        fields = {"mode": "video", "prompt": "the camera pans", "backend": able.backend, "input_images": ["photo.png"], **_seconds(able)}
        yield Example(title="image to video", fields=fields)
    if _first(rows, "continue_video"):
        yield Example(title="go on with a video", fields={"mode": "video", "prompt": "a gull passes", "continue_from": EARLIER_VIDEO})


def _sounds(rows: Sequence[Able]) -> Iterator[Example]:
    for kind in ("speech", "music"):
        able = _first(rows, "generate_audio", lambda a, k=kind: k in getattr(a.row.options.get("audio_type"), "one_of", ("speech",)))
        if able:
            text = "Good morning." if kind == "speech" else "calm piano"
            yield Example(title=kind, fields={"mode": "audio", "audio_type": kind, "prompt": text, "backend": able.backend})


def _takes_mask(able: Able, mode: str) -> bool:
    rule = mask_rule(able)
    return rule is not None and mode in rule.modes


def _role(able: Able, role: str) -> bool:
    return any(name == role for name, *_ in role_rules(able))


def _kind(able: Able, role: str) -> dict[str, str]:
    types = next((rule.types for name, rule, _ in role_rules(able) if name == role), ())
    return {f"{role}_type": types[0]} if types else {}


def _seconds(able: Able) -> dict[str, Any]:
    option = able.row.options.get("duration")
    if isinstance(option, Choice):
        numbers = [v for v in option.one_of if isinstance(v, int | float)]
        return {"duration": numbers[0]} if numbers else {}
    return {"duration": option.nearest(4)} if isinstance(option, Range) else {}


def _advanced(able: Able) -> dict[str, Any]:
    """Return up to four options with a value the row takes."""
    found: dict[str, Any] = {}
    for name in ("aspect_ratio", "quality", "negative_prompt", "seed", "output_format", "guidance_scale"):
        option = able.row.options.get(name)
        if option is None or len(found) == 4:
            continue
        if isinstance(option, Choice):
            values = [v for v in option.one_of if v != "auto"]
            found |= {name: values[0]} if values else {}
        elif isinstance(option, Range):
            found[name] = option.nearest(42)
        elif name == "negative_prompt":
            found[name] = "text, people"
    return found
