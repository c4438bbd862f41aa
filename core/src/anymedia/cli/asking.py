"""The values of a command line -> one of the six requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from ..errors import InvalidRequest, Problem
from ..fields import is_set
from ..files.names import MEDIA_SUFFIXES, fits_suffix
from ..media import FORMATS, Video
from ..requests import Continuation, ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Request
from .arguments import any_reference, extra_params, mask, reference, shape

__all__ = ["Start", "ask", "format_of_output", "request_fields"]

#: What ``--continue`` led to: a handle, a video file, or nothing.
Start = Continuation | Video | None

#: Parameters that are not request fields under the same name, but are turned into one here.
_MADE = {"sources", "mask", "style", "style_description", "control", "subject", "subject_description", "outpaint", "protect", "reference"}
_SAME = {"jpg": "jpeg", "tif": "tiff"}
_FLAGS = {
    "n": "-n",
    "duration": "--seconds",
    "output_format": "--format",
    "negative_prompt": "--negative",
    "guidance_scale": "--guidance",
    "extra_params": "--extra",
    "first_frame": "--first",
    "last_frame": "--last",
    "continue_as": "--as",
    "continue_from": "--continue",
    "source": "--continue",
    "audio_type": "--type",
}


def format_of_output(output: str | None, chosen: str | None) -> str | None:
    """Return the file format: the one chosen, or the one that the output's extension says.

    Raises:
        InvalidRequest: when the two contradict each other.
    """
    suffix = "" if output is None or output == "-" or output.endswith("/") else Path(output).suffix
    wanted = None if chosen is None else _SAME.get(chosen.lower(), chosen.lower())
    if wanted in FORMATS and suffix.lower() in MEDIA_SUFFIXES and not fits_suffix(suffix, wanted):
        raise InvalidRequest([Problem("$.output_format", f"--format {chosen} contradicts the file name {Path(output or '').name!r}")])
    return wanted or next((name for name in FORMATS if fits_suffix(suffix, name)), None)


def ask(command: str, given: Mapping[str, Any], start: Start = None, base: Request | None = None) -> Request:
    """Make the request of a command.

    Args:
        command: ``image``, ``edit``, ``video`` or ``audio``.
        given: the parameters that were given, by name, prompt included.
        start: what ``--continue`` led to.
        base: a request read from a file, which the given parameters change.

    Raises:
        InvalidRequest: with the option that is wrong.
    """
    fields = {k: v for k, v in given.items() if k not in _MADE}
    if "extra" in fields:
        fields["extra_params"] = extra_params(fields.pop("extra"))
    if base is not None:
        return _changed(base, fields, given)
    if command == "edit":
        kind = _edit(fields, given)
    elif command == "video":
        kind = _video(fields, given, start)
    else:
        kind = GenerateImage if command == "image" else GenerateAudio
    if isinstance(start, Continuation):
        fields["continue_from"] = start
    return _make(kind, fields)


def _make(kind: type[Request], fields: Mapping[str, Any]) -> Request:
    known = {f.name for f in attrs.fields(kind)}
    wrong = [name for name in fields if name not in known]
    if wrong:
        flags = ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in wrong)
        raise InvalidRequest([Problem(f"$.{wrong[0]}", f"{flags} means nothing for {kind.kind}")])
    if "prompt" not in fields:
        raise click.UsageError("a prompt is needed (or - to read it from stdin)")
    made: Request = kind(**fields)
    return made


def _changed(base: Request, fields: dict[str, Any], given: Mapping[str, Any]) -> Request:
    pictures = sorted(_MADE & given.keys())
    if pictures:
        raise InvalidRequest([Problem("$", f"pictures belong into the config file: {', '.join(pictures)}")])
    kept = {f.name: getattr(base, f.name) for f in attrs.fields(type(base)) if is_set(base, f.name)}
    if "extra_params" in fields:
        fields["extra_params"] = {**base.extra_params, **fields["extra_params"]}
    return _make(type(base), kept | fields)


def _edit(fields: dict[str, Any], given: Mapping[str, Any]) -> type[Request]:
    """Choose inpaint or edit_with_references, and fill in its pictures."""
    sources: tuple[str, ...] = given.get("sources", ())
    if given.get("protect"):
        fields["protect"] = given["protect"]
    if "mask" in given:
        fields["mask"] = mask(given["mask"])
    helpers = [reference(s, "style", given.get("style_description")) for s in given.get("style", ())]
    helpers += [reference(s, "control") for s in given.get("control", ())]
    helpers += [reference(s, "subject", given.get("subject_description")) for s in given.get("subject", ())]
    masked = "mask" in given or "outpaint" in given
    if masked and not helpers and len(sources) <= 1:
        fields.update(_outpaint(given), source=sources[0] if sources else None)
        return Inpaint
    if "outpaint" in given:
        raise InvalidRequest([Problem("$.edit_mode", "--outpaint takes one picture and no --style, --control or --subject")])
    fields["references"] = (*(reference(s, "source") for s in sources), *helpers)
    return EditWithReferences


def _outpaint(given: Mapping[str, Any]) -> dict[str, Any]:
    if "outpaint" not in given:
        return {}
    grown = shape(given["outpaint"])
    twice = [name for name in grown if name in given]
    if twice:
        raise InvalidRequest([Problem(f"$.{twice[0]}", f"--outpaint already says the {twice[0]}")])
    return {"edit_mode": "outpaint", **grown}


def _video(fields: dict[str, Any], given: Mapping[str, Any], start: Start) -> type[Request]:
    """Choose generate_video or continue_video, and fill in its pictures."""
    sources: tuple[str, ...] = given.get("sources", ())
    if len(sources) + ("first_frame" in fields) > 1:
        hint = "name them: --first A --last B, or --reference [ROLE:]FILE"
        raise InvalidRequest([Problem("$.first_frame", "one picture is the first frame; several need roles", hint)])
    if sources:
        fields["first_frame"] = sources[0]
    if given.get("reference"):
        fields["references"] = tuple(any_reference(text) for text in given["reference"])
    if start is None:
        return GenerateVideo
    if isinstance(start, Video):
        fields["source"] = start
    return ContinueVideo


def request_fields(given: Mapping[str, Any], leave_out: Iterable[str]) -> dict[str, Any]:
    """Return the parameters that were really given (not None, False or empty), without some."""
    out = set(leave_out)
    return {k: v for k, v in given.items() if k not in out and v is not None and v is not False and v != ()}
