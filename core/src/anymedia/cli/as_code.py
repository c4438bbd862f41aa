"""The shell command and the Python code that repeat the request of a call."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..state.store import CallRecord
from .build_request import option_of

__all__ = ["as_command", "as_python"]

_VERBS = {
    "generate_image": "image",
    "inpaint": "edit",
    "edit_with_references": "edit",
    "generate_video": "video",
    "continue_video": "video",
    "generate_audio": "audio",
    "transform": "transform",
}
#: Fields of a request that hold one value, each set by the option of the same field of `GenerationConfig` or of another one.
_FIELDS = dict.fromkeys(
    (
        *("size", "aspect_ratio", "resolution", "quality", "background", "negative_prompt", "seed", "guidance_scale", "duration", "n"),
        *("protect", "continue_from", "continue_as", "audio_type", "voice", "speed", "instructions", "output_format"),
    )
) | {"last_frame": "last_frame_path"}
#: Defaults that need no option.
_DEFAULTS = {"n": 1, "audio_type": "speech", "edit_mode": "inpaint"}


def as_command(record: CallRecord) -> str:
    """Return the shell command that makes the same request."""
    request = {key: value for key, value in record.request.items() if value != _DEFAULTS.get(key)}
    outpaint = request.get("edit_mode") == "outpaint"
    words = ["anymedia", _VERBS[record.request["kind"]]]
    for name, value in request.items():
        if name in {"size", "aspect_ratio"} and outpaint:
            words += ["--outpaint", str(value)]
        elif name in _FIELDS:
            words += [option_of(_FIELDS[name] or name), _text(value)]
    words += [word for pair in _references(request) for word in pair]
    if (mask := request.get("mask")) is not None:
        words += ["--mask", _mask(mask)]
    if record.operation == "continue_video" and "source" in request:
        words += ["--continue", _text(request["source"])]
    if request.get("task") and request.get("prompt"):
        words += ["--prompt", str(request["prompt"])]
    for key, value in {**request.get("extra_params", {}), **request.get("options", {})}.items():
        words += ["--extra", f"{key}={json.dumps(value)}"]
    words += ["-m", f"{record.backend}/{record.model}"]
    files = [*_sources(record.operation, request), str(request["prompt"])]
    if request.get("task"):
        files = [request["task"], *_task_files(request.get("inputs", {}))]
    if any(word.startswith("-") for word in files):
        words.append("--")
    return shlex.join(words + files)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sources(operation: str, request: Mapping[str, Any]) -> list[str]:
    """Return the images that are arguments: the source of an edit, the first frame of a video."""
    if operation == "continue_video":
        return []
    found = [str(request[name]) for name in ("source", "first_frame") if name in request]
    return found + [str(r["image"]) for r in request.get("references", ()) if operation == "edit_with_references" and _role(r) == "source"]


def _task_files(inputs: Mapping[str, Any]) -> list[str]:
    files = [(role, one) for role, given in inputs.items() for one in (given if isinstance(given, list) else [given])]
    return [f"{role}={one['image'] if isinstance(one, Mapping) else one}" for role, one in files]


def _role(reference: Mapping[str, Any]) -> str:
    return str(reference.get("role", "source"))


def _references(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    video = str(request["kind"]).endswith("_video")
    for reference in request.get("references", ()):
        role, kind = _role(reference), reference.get("type")
        if role == "source" and not video:
            continue
        image = str(reference["image"])
        yield ("--reference", f"{role}:{image}") if video else (f"--{role}", f"{kind}:{image}" if kind else image)
        if (description := reference.get("description")) and not video:
            yield f"--{role}-description", description


def _mask(mask: Mapping[str, Any]) -> str:
    if "image" in mask:
        return str(mask["image"])
    classes = mask.get("classes", ())
    return f"semantic:{','.join(map(str, classes))}" if classes else str(mask["mode"])


def as_python(record: CallRecord) -> str:
    """Return the Python code that makes the same request."""
    names = ["SyncRouter"]

    def code(name: str, value: Any) -> str:
        if name == "mask":
            names.append("Mask")
            return f"Mask({_keywords(value)})"
        if name == "references":
            names.append("Reference")
            return f"[{', '.join(f'Reference({_keywords(item)})' for item in value)}]"
        return repr(value)

    given = {key: value for key, value in record.request.items() if key != "kind" and value != _DEFAULTS.get(key)}
    lines = [f"        {name}={code(name, value)},\n" for name, value in given.items()]
    lines.append(f'        model="{record.backend}/{record.model}",\n')
    body = f"with SyncRouter() as router:\n    result = router.{record.request['kind']}(\n{''.join(lines)}    )\n    print(result.path)\n"
    return f"from anymedia import {', '.join(sorted(set(names)))}\n\n{body}"


def _keywords(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if value != "user_provided")
