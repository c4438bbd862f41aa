"""Build a request from command-line arguments and the config file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import attrs
import click

from ..errors import InvalidRequest, Problem, did_you_mean
from ..fields import is_set
from ..files.names import MEDIA_SUFFIXES, fits_suffix
from ..media import FORMATS, Video
from ..requests import (
    MASK_MODES,
    REFERENCE_ROLES,
    Continuation,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    ReferenceRole,
    Request,
)
from .console import is_terminal

if TYPE_CHECKING:
    from ..generation_config import GenerationConfig
    from ..policy import Policy

__all__ = [
    "CliInvocation",
    "Start",
    "any_reference",
    "ask",
    "extra_params",
    "format_of_output",
    "mask",
    "medium_of",
    "prompt_of",
    "reference",
    "request_fields",
    "shape",
    "split_model",
    "split_type",
    "stdin_text",
]

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]+")


def prompt_of(words: str) -> str:
    """Return a prompt; ``-`` means all of stdin."""
    return stdin_text("prompt", "$.prompt") if words == "-" else words


def stdin_text(what: str, where: str = "$") -> str:
    """Return all of stdin, without white space around it.

    Raises:
        InvalidRequest: it is empty, or no text.
    """
    try:
        text = sys.stdin.read().strip()
    except UnicodeDecodeError:
        raise InvalidRequest([Problem(where, f"the {what} '-' reads stdin, and stdin is no UTF-8 text")]) from None
    if not text:
        raise InvalidRequest([Problem(where, f"the {what} '-' reads stdin, and stdin is empty")])
    return text


def extra_params(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``KEY=JSON`` pairs; a value that is not JSON is taken as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidRequest([Problem("$.extra_params", f"expected KEY=JSON, got {pair!r:.60}")])
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def mask(text: str) -> Mask:
    """Read a mask: a file, ``foreground``, ``background``, ``auto`` (the foreground) or ``semantic:1,2``."""
    word, colon, classes = text.partition(":")
    if word == "semantic" and colon:
        try:
            return Mask(mode="semantic", classes=tuple(int(c) for c in classes.split(",")))
        except ValueError:
            raise InvalidRequest([Problem("$.mask", f"expected semantic:NUMBER,NUMBER, got {text!r:.60}")]) from None
    if text == "auto":
        return Mask(mode="foreground")
    if text in {"foreground", "background"}:
        return Mask(mode=text)  # type: ignore[arg-type]
    if not colon and not Path(text).exists() and (near := did_you_mean(text, [*MASK_MODES[1:], "auto"])):
        raise InvalidRequest([Problem("$.mask", f"there is no file {text!r}{near}")])
    return Mask(image=text)


def split_type(text: str) -> tuple[str | None, str]:
    """Split ``[TYPE:]FILE``; URLs, data URIs and files that really have a colon in their name stay whole."""
    word, colon, rest = text.partition(":")
    if not colon or not _WORD.fullmatch(word) or rest.startswith("//") or word == "data" or Path(text).exists():
        return None, text
    return word, rest


def reference(text: str, role: ReferenceRole, description: str | None = None) -> Reference:
    """Read ``[TYPE:]FILE`` as a reference of a role."""
    kind, file = split_type(text) if role in {"control", "subject"} else (None, text)
    return Reference(image=file, role=role, type=kind, description=description)


def any_reference(text: str) -> Reference:
    """Read ``[ROLE:]FILE``; without a role the picture is a subject."""
    role, file = split_type(text)
    if role is not None and role not in get_args(ReferenceRole):
        near = did_you_mean(role, REFERENCE_ROLES)
        raise InvalidRequest([Problem("$.references", f"no role {role!r} (there are: {', '.join(REFERENCE_ROLES)}){near}")])
    return Reference(image=file, role=role or "subject")  # type: ignore[arg-type]


def shape(text: str) -> dict[str, str]:
    """Read what to outpaint to: ``W:H`` as an aspect ratio, ``WxH`` as a size in pixels."""
    return {"aspect_ratio": text} if ":" in text else {"size": text}


def split_model(model: str | None, backend: str | None, known: Iterable[str]) -> tuple[str | None, str | None]:
    """Return (backend, model) from ``-b`` and ``-m``, which may also be just a backend's name.

    ``backend/model`` is left as it is, slashes included: the planner takes it apart. ``known``: the backends' names.
    """
    if model is not None and backend in {None, model} and model in known:
        return model, None
    return backend, model


def medium_of(command: str) -> str:
    """Return the medium that a command makes."""
    return "image" if command == "edit" else command


@attrs.frozen(kw_only=True)
class CliInvocation:
    """What was given on the command line, by parameter name, and the config file beside it.

    What the command line says wins over the file.
    """

    command: str
    given: Mapping[str, Any]
    config: GenerationConfig | None

    @classmethod
    def of(cls, command: str, given: Mapping[str, Any]) -> Self:
        """Take the words apart, read stdin and the config file.

        Raises:
            click.UsageError: options that contradict each other.
            InvalidRequest: the config file is wrong.
        """
        _check_stdout(given)
        taken = _words(command, given)
        if taken["prompt"] is not None:
            if taken["prompt"] == given["config"] == "-":
                raise click.UsageError("the prompt and the config cannot both be read from stdin")
            taken["prompt"] = prompt_of(taken["prompt"])
        return cls(command=command, given=taken, config=_read_config(command, taken))

    def either(self, name: str) -> Any:
        """Return what the command line says, or else the config file."""
        return self.given[name] if self.given[name] is not None else getattr(self.config, name, None)

    @property
    def output(self) -> str | None:
        """Where to write, or None for a made-up name."""
        output: str | None = self.given["output"]
        return output if output is not None or self.config is None else self.config.output_path

    @property
    def force(self) -> bool:
        """Whether an existing file may be replaced."""
        return bool(self.given["force"] or (self.config is not None and self.config.overwrite))

    def policy(self, base: Policy) -> Policy:
        """Return the configured policy with what this call changes; a cap is only ever made tighter."""
        policy = base if self.config is None else self.config.policy(base)
        cap, budget = self.given["max_cost"], policy.budget
        if cap is not None:
            tighter = cap if budget.per_request is None else min(cap, budget.per_request)
            budget = attrs.evolve(budget, per_request=tighter, allow_unknown=False)
        return policy.but(strict=self.given["strict"] or policy.strict, budget=budget)


def _check_stdout(given: Mapping[str, Any]) -> None:
    if given["output"] != "-" or given["dry_run"]:
        return
    for name, flag in (("as_json", "--json"), ("no_wait", "--no-wait")):
        if given[name]:
            raise click.UsageError(f"-o - writes the file's bytes to stdout; that excludes {flag}")
    if (given.get("n") or 1) > 1:
        raise click.UsageError("-o - writes one file to stdout; give -o DIR/ for several")
    if is_terminal(sys.stdout):
        raise click.UsageError("-o - writes bytes to stdout, which is a terminal; redirect it")


def _words(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given with its positional words taken apart: pictures first, the prompt last."""
    taken = dict(given)
    words: tuple[str, ...] | None = taken.pop("words", None)
    if words is None:
        return taken
    if command == "video" and len(words) > 2:
        raise click.UsageError(f"expected [IMAGE] PROMPT, got {len(words)} arguments (quote the prompt)")
    if len(words) == 1 and given["config"] is None and Path(words[0]).is_file():
        raise click.UsageError(f"a prompt is needed beside the file {words[0]!r}")
    return taken | {"prompt": words[-1] if words else None, "sources": words[:-1]}


def _read_config(command: str, given: Mapping[str, Any]) -> GenerationConfig | None:
    """Read the file that ``--config`` names; the medium is the command's, and a prompt given beside it wins."""
    source = given["config"]
    if source is None:
        return None
    from ..generation_config import GenerationConfig
    from ..strict_json import parse_json

    raw = parse_json(stdin_text("config") if source == "-" else _text(source))
    if isinstance(raw, dict):
        if given["prompt"] is not None:
            raw["prompt"] = given["prompt"]
        if "media_type" not in raw:
            raw.setdefault("mode", medium_of(command))
    config = GenerationConfig.from_json(raw)
    if config.media_type != medium_of(command):
        text = f"the config asks for {config.media_type}, the command is {command!r}"
        raise InvalidRequest([Problem("$.media_type", text, f"use: anymedia {config.media_type} --config {source}")])
    return config


def _text(source: str) -> str:
    try:
        return Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidRequest([Problem("$", f"cannot read the config {source!r}: {why}")]) from None


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
