"""The guidance for an agent's system prompt, with example calls for the usable backends."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..capabilities import Choice, Range
from ..plugins.instances import BackendInstance
from .available import Able, able_rows, continuing, mask_rule, missing, role_rules
from .schema import installed

_INTRO = """# Media generation
`generate_media` makes and changes images, videos and audio; `plan_media` accepts the same fields and spends nothing.
Paths lie in the working directory. Give only the fields you need; a field without meaning for the call is refused."""
_ERRORS = """## When success is false
`error` has code, message, fix (do that), try_backends (can do this call now), retry, charged.
- invalid_request, unknown_*: correct the named field. unsupported_*: use a backend of try_backends, or change the call.
- model_retired: use the replacement named. no_backend_available, settings_error: tell the user what is missing; do not retry.
- budget_exceeded: nothing was spent; ask for less, or for a higher cap. not_approved: repeat it only if the user asks.
  content_refused: reword; never repeat the same.
- rate_limited, backend_unavailable, out_of_resources: the same call later (retry), or try_backends.
  quota_exceeded, authentication_failed: tell the user.
- backend_timeout: the job is not lost: media_job(job_id, "wait"). submission_unknown: it may have been charged; do NOT repeat it,
  check with media_job. cancelled: it was stopped on request. some_failed: each of `results` says why.
- bad_backend_response, answer_too_large, output_mismatch, job_not_found: read charged before you repeat the call.
- internal, plugin_*, duplicate_*, run_key_conflict: tell the user.
`ignored` and `adjustments` list what was omitted or changed: read them before you report."""
_COST = """## Cost
Plan first when a call is not cheap: `quote` is in US dollars; `max_cost_usd` refuses a call that may cost more. Draft small and short, then
render once. An unknown price is not 0. Never repeat a call only because it is slow: use wait=false and media_job."""
_MASKS = """## Masks
Same size as the image. PNG with transparency: transparent = change. Black and white: white = change. Either works with every backend;
it is converted. protect="exact" copies the pixels outside the mask back from the source. mask_mode has the backend find the region."""


def estimate_tokens(text: str) -> int:
    """Return the approximate number of tokens: characters divided by 3.5, which for this guidance matches a tokenizer (Tekken)."""
    return -(-len(text) * 2 // 7)


def guidance(
    *,
    compact: bool = False,
    instances: Mapping[str, BackendInstance] | None = None,
    router: Any = None,
    today: datetime.date | None = None,
) -> str:
    """Return the guidance for the backends that are usable now, as Markdown.

    Args:
        compact: table, continuation and rules only.
        instances: the backend instances; by default the router's, or else what is installed and configured.
        router: source of the instances.
        today: the date by which lifecycles are judged.
    """
    found = router.instances if instances is None and router is not None else instances
    if found is None:
        found = installed()
    rows = able_rows(found, today)
    parts = [_INTRO, _table(rows) if rows else "No backend is usable."]
    if lacking := [f"{name} ({', '.join(words)})"[:120] for name, words in missing(found).items()]:
        parts.append(f"Installed but not usable, with what is missing: {'; '.join(lacking)}")
    parts.append(_continuing(rows, compact))
    if compact:
        parts += [
            " ".join(_MASKS.splitlines()[1:]),
            "On an error do what `error.fix` says; never repeat submission_unknown or a slow call (wait with media_job).",
        ]
        return "\n\n".join(part for part in parts if part)
    if any(mask_rule(able) for able in rows):
        parts.append(_MASKS)
    parts += [_emulated(rows), _best(rows), _examples(rows), _ERRORS, _COST]
    return "\n\n".join(part for part in parts if part)


#: Returns how an operation spec supports a feature: native, emulated, or not at all (None).
_Judge = Callable[[Able], str | None]


def _does(operation: str, takes: Callable[[Able], Any] | None = None) -> _Judge:
    return lambda able: able.row.fidelity.level if able.operation == operation and (takes is None or takes(able)) else None


def _takes(operation: str, name: str) -> _Judge:
    return _does(operation, lambda able: name in able.row.inputs)


def _role(role: str) -> _Judge:
    return lambda able: next(
        (f.level for name, _, f in role_rules(able) if name == role and able.operation == "edit_with_references"), None
    )


def _mask(mode: str) -> _Judge:
    return _does("inpaint", lambda able: mode in getattr(mask_rule(able), "modes", ()))


def _sound(kind: str) -> _Judge:
    return _does("generate_audio", lambda able: kind in getattr(able.row.options.get("audio_type"), "one_of", ("speech",)))


_LINES: Mapping[str, _Judge] = {
    "image from words": _does("generate_image"),
    "image, next turn (continue_from)": _does("generate_image", continuing),
    "inpaint, mask_path": _mask("user_provided"),
    "inpaint, mask_mode": lambda able: _mask("foreground")(able) or _mask("semantic")(able),
    "outpaint (edit_mode)": _does("inpaint", lambda able: "outpaint" in getattr(able.row.options.get("edit_mode"), "one_of", ())),
    "edit input_images": _role("source"),
    "style_image_path": _role("style"),
    "control_image_path": _role("control"),
    "subject_image_path": _role("subject"),
    "video from words": _does("generate_video"),
    "image to video (input_images)": _takes("generate_video", "first_frame"),
    "last_frame_path": _takes("generate_video", "last_frame"),
    "continue a video (continue_from)": _does("continue_video", continuing),
    "change a video file (input_video_path)": _takes("continue_video", "source"),
    "speech": _sound("speech"),
    "music": _sound("music"),
}


def _with_role(role: str, able: Able) -> dict[str, Any]:
    types = next((rule.types for name, rule, _ in role_rules(able) if name == role), ())
    kind = {f"{role}_type": types[0]} if types else {}
    return {"prompt": "a harbour", "backend": able.backend, f"{role}_image_path": "ref.png"} | kind


def _value(name: str, number: float, able: Able) -> dict[str, Any]:
    """Return an option with a supported value: the first word or number of a list, otherwise the nearest to a number."""
    option = able.row.options.get(name)
    if isinstance(option, Choice):
        values = [v for v in option.one_of if v != "auto"]
        return {name: values[0]} if values else {}
    return {name: option.nearest(number)} if isinstance(option, Range) else {}


def _advanced(able: Able) -> dict[str, Any]:
    """Return a call with up to four options, each with a supported value; empty where none is known."""
    found: dict[str, Any] = {}
    for name in ("aspect_ratio", "quality", "negative_prompt", "seed", "output_format", "guidance_scale"):
        found |= _value(name, 42, able)
        if name == "negative_prompt" and name not in found and name in able.row.options:
            found[name] = "text, people"
    return found and {"prompt": "a red fox in snow", "backend": able.backend, **dict(list(found.items())[:4])}


_seconds = functools.partial(_value, "duration", 4)
_PHOTO, _VIDEO = {"input_images": ["photo.png"]}, {"mode": "video"}
#: Title of an example, the operation specs that it is for, and its fields, given ``photo.png``, ``mask.png`` (of the same size) and
#: ``ref.png``; one without fields is left out.
_EXAMPLES: Sequence[tuple[str, _Judge, Callable[[Able], dict[str, Any]]]] = (
    ("new image", _does("generate_image"), lambda a: {"prompt": "a red fox in snow", "backend": a.backend, "output_path": "fox.png"}),
    ("advanced parameters", _does("generate_image"), lambda a: _advanced(a)),
    (
        "change it (multi-turn)",
        _does("generate_image", continuing),
        lambda _: {"prompt": "make it night", "continue_from": "ID_OF_AN_IMAGE"},
    ),
    (
        "inpaint with a mask",
        _mask("user_provided"),
        lambda a: {"prompt": "a stormy sky", "backend": a.backend, **_PHOTO, "mask_path": "mask.png"},
    ),
    (
        "inpaint a region that the backend finds (semantic)",
        _mask("semantic"),
        lambda a: {"prompt": "a beach", "backend": a.backend, **_PHOTO, "mask_mode": "semantic", "segmentation_classes": [1]},
    ),
    (
        "inpaint a region that the backend finds (foreground)",
        _mask("foreground"),
        lambda a: {"prompt": "a beach", "backend": a.backend, **_PHOTO, "mask_mode": "foreground"},
    ),
    ("edit an image", _role("source"), lambda a: {"prompt": "make it autumn", "backend": a.backend, **_PHOTO}),
    *((f"{role} reference", _role(role), functools.partial(_with_role, role)) for role in ("style", "control", "subject")),
    ("new video", _does("generate_video"), lambda a: {**_VIDEO, "prompt": "waves on a beach", "backend": a.backend, **_seconds(a)}),
    (
        "image to video",
        _takes("generate_video", "first_frame"),
        lambda a: {**_VIDEO, "prompt": "the camera pans", "backend": a.backend, **_PHOTO, **_seconds(a)},
    ),
    (
        "continue a video",
        _does("continue_video", continuing),
        lambda _: {**_VIDEO, "prompt": "a gull passes", "continue_from": "ID_OF_A_VIDEO"},
    ),
    ("speech", _sound("speech"), lambda a: {"mode": "audio", "audio_type": "speech", "prompt": "Good morning.", "backend": a.backend}),
    ("music", _sound("music"), lambda a: {"mode": "audio", "audio_type": "music", "prompt": "calm piano", "backend": a.backend}),
)


def _table(rows: Sequence[Able]) -> str:
    """Return the capability table: native, emulated or no, by feature and backend."""
    backends = list(dict.fromkeys(able.backend for able in rows))
    lines = ["| |" + "|".join(backends) + "|", "|---|" + "---|" * len(backends)]
    for name, judge in _LINES.items():
        levels = [{judge(able) for able in rows if able.backend == backend} for backend in backends]
        cells = ["native" if "native" in found else "emulated" if "emulated" in found else "no" for found in levels]
        if set(cells) != {"no"}:
            lines.append(f"|{name}|" + "|".join(cells) + "|")
    return "\n".join(lines)


_MEANS = {"extend": "appends to it", "edit": "changes it, same length", "remix": "renders it again", "chat": "continues the conversation"}


def _continuing(rows: Sequence[Able], compact: bool) -> str:
    """Return how each backend continues a video."""
    said: dict[str, str] = {}
    for able in rows:
        rule = continuing(able)
        if able.operation != "continue_video" or rule is None or able.backend in said:
            continue
        ways = ", ".join(f"{way} ({_MEANS[way]})" for way in rule.ways)
        doc = f". {rule.doc}" if rule.doc and not compact else ""
        said[able.backend] = f"- {able.backend}: {ways}{doc}"[:260]
    rule_text = (
        "Pass the continuation_id of an earlier answer as continue_from. Only the backend that made it can continue it; "
        "each answer has a new id. Audio cannot be continued."
    )
    if not said:
        return rule_text
    return "\n".join(["## Continuing", rule_text, "For a video (the first is the default, continue_as chooses):", *said.values()])


def _emulated(rows: Sequence[Able]) -> str:
    notes = dict.fromkeys(
        f"- {a.backend}: {a.row.fidelity.note}" for a in rows if a.row.fidelity.level == "emulated" and a.row.fidelity.note
    )
    return "\n".join(["Emulated means:", *list(notes)[:4]]) if notes else ""


def _best(rows: Sequence[Able]) -> str:
    """Return the default model of each backend by medium."""
    first: dict[str, dict[str, str]] = {}
    for able in rows:
        first.setdefault(able.backend, {}).setdefault(able.model.media, able.model.id)
    return "\n".join(["Default models:", *(f"- {name}: {', '.join(f'{m} {i}' for m, i in by.items())}" for name, by in first.items())])


def _examples(rows: Sequence[Able]) -> str:
    """Return a call for each supported feature, with the operation spec that would be chosen first."""
    lines = []
    for title, judge, fields in _EXAMPLES:
        fitting = sorted(filter(judge, rows), key=lambda able: able.row.fidelity.level != "native")
        if fitting and (call := fields(fitting[0])):
            lines.append(f"- {title}: `{json.dumps(call)}`")
    return "\n".join(["## Calls that work here", *lines]) if lines else ""
