"""Turn command-line arguments and the config file into the fields of a `GenerationConfig`.

Only the command line's own syntax is handled here (positional words, ``[TYPE:]FILE``, ``semantic:1,2``, ``KEY=JSON``);
`anymedia.generation_config` decides which request the fields stand for.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import click

from ..errors import Argument, InvalidRequest, Problem, did_you_mean
from ..fields import OPTION_NAME
from ..generation_config import GenerationConfig, format_name
from ..media import FORMATS, Video, medium_of_file
from ..records import frozen
from ..requests import MASK_MODES, REFERENCE_ROLES, RUN, Continuation
from .process import stdout_is_terminal

if TYPE_CHECKING:
    from ..state.sql import Store

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]+")
#: What ``--continue`` refers to: an earlier result, or a video file.
Start = Continuation | Video
#: Field of `GenerationConfig` -> the option or argument that sets it, where it is not ``--`` and the field's name.
_OPTIONS: Mapping[str, str] = {
    "prompt": "PROMPT",
    "input_images": "IMAGE",
    "n": "-n",
    "duration": "--seconds",
    "output_format": "--format",
    "output_path": "-o",
    "overwrite": "--force",
    "negative_prompt": "--negative",
    "guidance_scale": "--guidance",
    "extra_params": "--extra",
    "last_frame_path": "--last",
    "continue_as": "--as",
    "continue_from": "--continue",
    "input_video_path": "--continue",
    "audio_type": "--type",
    "max_cost_usd": "--max-cost",
    "mask_path": "--mask",
    "mask_mode": "--mask",
    "segmentation_classes": "--mask",
    "edit_mode": "--outpaint",
    "style_image_path": "--style",
    "control_image_path": "--control",
    "subject_image_path": "--subject",
    "task": "TASK",
    "task_inputs": "FILE",
    "per_request": "--max-cost",
}
#: Parameters that are fields of `GenerationConfig` under the same name.
_SAME = frozenset(attrs.fields_dict(GenerationConfig)) - {"continue_from", "style_description", "subject_description"}


def option_of(field: str) -> str:
    """Return the option that sets a field of `GenerationConfig`."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


def option_text(argument: Argument) -> str:
    """Return a field and its value as on the command line: ``--backend local``."""
    option = option_of(argument.name)
    return f"{option} {shlex.quote(argument.value)}" if isinstance(argument.value, str) else option


@frozen(kw_only=True)
class CliInvocation:
    """One media command: its parameters by name, and the config made of them and of the config file.

    Attributes:
        given: the parameters as click parsed them.
        config: every field except those that ``--continue`` sets; options take precedence over the config file.
        names: field of the config -> the option it was given by.
    """

    command: str
    given: Mapping[str, Any]
    config: GenerationConfig
    names: Mapping[str, str]

    @classmethod
    def of(cls, command: str, given: Mapping[str, Any]) -> Self:
        """Read the parameters, stdin and the config file."""
        _check_stdout(given)
        task = given.get("task")
        medium = "image" if command == "edit" else None if task else command
        words = _split_words(command, given)
        if words["prompt"] == given["config"] == "-":
            raise click.UsageError("the prompt and the config cannot both be read from stdin")
        file = read_config(medium, given["config"])
        fields, names = _fields(words)
        if "extra_params" in fields and isinstance(file.get("extra_params"), dict):
            fields["extra_params"] = {**file["extra_params"], **fields["extra_params"]}
        merged = {**file, **fields} if "mode" in file or task else {**file, **fields, "media_type": medium}
        if task:
            merged.setdefault("prompt", "")
        if given["output"] == "-":
            merged.pop("output_path", None)
        if "prompt" not in merged and not file:
            raise click.UsageError("a prompt is needed (or - to read it from stdin)")
        _check_edit(command, merged, given)
        with _naming_options(names):
            config = with_output_name(GenerationConfig.from_json(merged) if file else GenerationConfig(**merged), {})
        return cls(command=command, given=given, config=config, names=names)

    @property
    def output(self) -> str:
        """Where to write: a path, ``-`` for stdout, or ``.`` for a generated name in the working directory."""
        return "-" if self.given["output"] == "-" else self.config.output_path or "."

    async def with_start(self, store: Store, backend: str | None) -> GenerationConfig:
        """Return the config with the earlier result or the file that ``--continue`` refers to."""
        if self.given.get("continue_from") is None:
            return self.config
        start = await start_from(self.given["continue_from"], self.config.media_type or "image", store, backend)
        if isinstance(start, Video):
            return attrs.evolve(self.config, input_video_path=start.path)
        return attrs.evolve(self.config, continue_from=start.id)

    def naming_options(self, config: GenerationConfig | None = None) -> contextlib.AbstractContextManager[None]:
        """Name the options in each `InvalidRequest` raised inside, where a config is read, or its request planned or run."""
        return _naming_options({**self.names, "continue_from": "--continue", "input_video_path": "--continue"}, config)


#: What is filled in in a name: ``{index:03d}`` or ``{seed}``; ``{{`` and ``}}`` are braces.
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}:]+)(?::(0?[1-9]?d))?\}|[{}]")


def with_output_name(config: GenerationConfig, values: Mapping[str, Any]) -> GenerationConfig:
    """Return a config whose output path has values in place of ``{index}``, ``{seed}``, ``{prompt}``, ``{date}`` and further names.

    A seed is chosen if the path names one and none was given. Without an ``index``, the files of the request are numbered.
    """
    path = config.output_path
    if path is None or "{" not in path:
        return config
    import datetime
    import hashlib

    from ..files.names import made_up_stem

    if re.search(r"\{seed\b", path) and config.seed is None:
        chosen = hashlib.sha256(f"{values.get('index', os.urandom(8))} {config.prompt}".encode()).digest()
        config = attrs.evolve(config, seed=int.from_bytes(chosen[:4]) >> 1)
    today = datetime.datetime.now(datetime.UTC).date()
    slug = made_up_stem(config.prompt, today)[len(today.isoformat()) + 1 :]
    known: dict[str, Any] = {"index": None, "seed": config.seed, "prompt": slug, "date": today.isoformat()}
    known |= {name: value if isinstance(value, int) else re.sub(r"[^\w.-]+", "-", str(value)).strip("-.") for name, value in values.items()}

    def filled(found: re.Match[str]) -> str:
        if found[0] in {"{{", "}}"}:
            return found[0][0]
        value = known.get(found[1])
        if found[1] not in known or (found[2] and isinstance(value, str)):
            raise InvalidRequest([Problem("$.output_path", f"cannot fill in {found[0]!r}", f"use {{{'}, {'.join(known)}}}")])
        return found[0] if value is None else format(value, found[2] or "")  # the files of a single request are numbered later

    return attrs.evolve(config, output_path=_PLACE.sub(filled, path))


@contextlib.contextmanager
def _naming_options(names: Mapping[str, str], config: GenerationConfig | None = None) -> Iterator[None]:
    try:
        yield
    except InvalidRequest as error:
        located = error if config is None else config.locate(error)
        raise InvalidRequest(
            [_as_option(p, names) for p in located.problems], fix=error.fix_parts, try_backends=error.try_backends
        ) from None


def _as_option(problem: Problem, names: Mapping[str, str]) -> Problem:
    found = re.match(r"\$\.(\w+)(\[\d+\])?", problem.path)
    if found is None:
        return problem
    option = names.get(found[0].removeprefix("$."), names.get(found[1]))
    if option is None:
        return problem

    def rewritten(text: str) -> str:
        return re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda word: _OPTIONS.get(word[0], word[0]), text)

    return Problem(option, rewritten(problem.message), rewritten(problem.suggestion))


def _split_words(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with the positional words separated: images first, the prompt last (``-`` reads stdin)."""
    taken = dict(given)
    words: tuple[str, ...] | None = taken.pop("words", None)
    if words is not None:
        if command == "video" and len(words) > 2:
            raise click.UsageError(f"expected [IMAGE] PROMPT, got {len(words)} arguments (quote the prompt)")
        if len(words) == 1 and given["config"] is None and _check(Path.is_file, words[0]):
            raise click.UsageError(f"a prompt is missing; the only argument is the file {words[0]!r}")
        _check_order(command, words)
        taken |= {"prompt": words[-1] if words else None, "sources": words[:-1]}
    if taken.setdefault("prompt", None) == "-" and given["config"] != "-":
        taken["prompt"] = _stdin_text("prompt", "PROMPT")
    return taken


def _check_order(command: str, words: tuple[str, ...]) -> None:
    """Refuse a prompt that is not quoted or not the last word, and a video in place of an image."""
    texts = [word for word in words[:-1] if not Path(word).suffix and "/" not in word and ":" not in word and not _check(Path.exists, word)]
    if texts and _check(Path.is_file, words[-1]):
        raise click.UsageError(f"the prompt comes last: anymedia {command} {shlex.quote(words[-1])} {shlex.quote(texts[0])}")
    if texts[:1] == ["-"]:
        raise click.UsageError("- reads the prompt from stdin, not an image: give the image as a file")
    if texts:
        files = [shlex.quote(word) for word in words[: words.index(texts[0])]]
        prompt = shlex.quote(" ".join(words[len(files) :]))
        raise click.UsageError(f"there is no file {texts[0]!r}; quote the prompt: anymedia {' '.join([command, *files, prompt])}")
    for word in words[:-1]:
        if command == "video" and FORMATS.get(format_name(Path(word).suffix), "").startswith("video/"):
            raise click.UsageError(f"to continue a video, write: anymedia video --continue {shlex.quote(word)} {shlex.quote(words[-1])}")


def _fields(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields of `GenerationConfig` that the parameters set, and the option that set each."""
    fields = {name: value for name, value in given.items() if name in _SAME and value is not None and value is not False}
    names = {name: option_of(name) for name in fields}

    def add(option: str, **found: Any) -> None:
        if twice := found.keys() & fields.keys():
            name = min(twice)
            raise InvalidRequest([Problem(option, f"contradicts {names[name]}: both set {name}", "give only one of them")])
        fields.update(found)
        names.update(dict.fromkeys(found, option))

    if images := (*given.get("sources", ()), *([given["first_frame"]] if given.get("first_frame") else ())):
        add("IMAGE" if given.get("sources") else "--first", input_images=images)
    if given.get("files"):
        add("FILE", task_inputs=_task_inputs(given["files"]))
    if given.get("mask"):
        add("--mask", **mask_fields(given["mask"]))
    if given.get("outpaint"):
        add("--outpaint", edit_mode="outpaint", **{"aspect_ratio" if ":" in given["outpaint"] else "size": given["outpaint"]})
    if references := list(_references(given)):
        add("--reference", references=tuple(item for _, item in references))
        names |= {f"references[{i}]": option for i, (option, _) in enumerate(references)}
    if given.get("extra"):
        add("--extra", extra_params=extra_params(given["extra"]))
    output = given.get("output")
    if output is not None and output != "-":
        add("-o", output_path=f"{output}/" if output and not output.endswith("/") and _check(Path.is_dir, output) else output)
    return fields, names


def _task_inputs(files: Iterable[str]) -> dict[str, Any]:
    """Read ``[ROLE=]FILE`` arguments; several files of a role become a list."""
    found: dict[str, list[dict[str, str]]] = {}
    for text in files:
        role, equals, file = text.partition("=")
        if not equals or not re.fullmatch(OPTION_NAME, role) or _check(Path.exists, text):
            role, file = medium_of_file(text), text
        found.setdefault(role, []).append(_input(file))
    return {role: items if len(items) > 1 else items[0] for role, items in found.items()}


def _input(file: str) -> dict[str, str]:
    return {"image_url" if re.match(r"https?://|data:", file, re.IGNORECASE) else "path": file}


def run_fields(model: str, pairs: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of ``transform`` for the inputs of a model under its own names."""
    from ..plan_maker import run_spec
    from .environment import load_environment

    environment = load_environment()
    environment.read_on_demand(None, model)
    spec = run_spec(environment.instances, model)
    files, extra, prompt = [], [], None
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidRequest([Problem("NAME=VALUE", f"expected NAME=VALUE, got {pair!r:.60}")])
        if name in spec.inputs:
            files.append(pair)
        elif name == "prompt" and spec.prompt.max_chars != 0:
            prompt = value
        else:
            option = spec.extra_params.get(name)
            is_text = option is not None and option.problem(value) is None  # "42" where a text is expected
            extra.append(f"{name}={json.dumps(value)}" if is_text else pair)
    return {"task": RUN, "files": tuple(files), "extra": tuple(extra), "prompt": prompt}


def _references(given: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the reference images, each with the option that gave it."""
    for role in ("style", "control", "subject"):
        about = {"description": given.get(f"{role}_description")}
        for text in given.get(role, ()):
            yield f"--{role}", reference(text, role) | {k: v for k, v in about.items() if v is not None}
    for text in given.get("reference", ()):
        yield "--reference", reference(text)


def reference(text: str, role: str | None = None) -> dict[str, Any]:
    """Read ``[TYPE:]FILE`` (``control``, ``subject``), ``FILE`` (``style``) or, without a role, ``[ROLE:]FILE`` as a reference image."""
    word, file = split_type(text) if role != "style" else (None, text)
    found: dict[str, Any] = _input(file)
    if role is not None:
        return found | {"role": role} | ({} if word is None else {"type": word})
    if word is not None and word not in REFERENCE_ROLES:
        near = did_you_mean(word, REFERENCE_ROLES)
        raise InvalidRequest([Problem("--reference", f"unknown role {word!r} (roles: {', '.join(REFERENCE_ROLES)}){near}")])
    return found | {"role": word or "subject"}


def split_type(text: str) -> tuple[str | None, str]:
    """Split ``[TYPE:]FILE``; URLs, data URIs and existing files with a colon in their name stay whole."""
    word, colon, rest = text.partition(":")
    if not colon or not _WORD.fullmatch(word) or rest.startswith("//") or word == "data" or _check(Path.exists, text):
        return None, text
    return word, rest


def mask_fields(text: str) -> dict[str, Any]:
    """Return the fields for a mask: a file, ``foreground``, ``background``, ``auto`` or ``semantic:1,2``."""
    word, colon, classes = text.partition(":")
    if word == "semantic" and colon:
        try:
            return {"mask_mode": word, "segmentation_classes": tuple(int(c) for c in classes.split(","))}
        except ValueError:
            raise InvalidRequest([Problem("--mask", f"expected semantic:NUMBER,NUMBER, got {text!r:.60}")]) from None
    if text in {"auto", "foreground", "background"}:
        return {"mask_mode": text}
    if not colon and not _check(Path.exists, text) and (near := did_you_mean(text, [*MASK_MODES[1:], "auto"])):
        raise InvalidRequest([Problem("--mask", f"there is no file {text!r}{near}")])
    return {"mask_path": text}


def extra_params(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``KEY=JSON`` pairs; a value that is not JSON is text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidRequest([Problem("--extra", f"expected KEY=JSON, got {pair!r:.60}")])
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def split_model(model: str | None, backend: str | None, known: Iterable[str]) -> tuple[str | None, str | None]:
    """Return (backend, model) from ``-b`` and ``-m``, where ``-m`` may also name a backend.

    ``backend/model`` is left as it is, slashes included: the planner splits it. ``known``: the backends' names.
    """
    if model is not None and backend in {None, model} and model in known:
        return model, None
    return backend, model


async def start_from(text: str, medium: str, store: Store, backend: str | None = None) -> Start:
    """Resolve the argument of ``--continue``: ``last`` (the newest result of the medium), a continuation id, or a file.

    A file that an earlier call saved is found by its checksum, unless another backend is named; any other video file is itself the video
    to continue.
    """
    from ..errors import UnknownContinuation

    if text == "last":
        found = await store.latest_continuation(media=medium)
        if found is None:
            raise UnknownContinuation(f"there is no earlier {medium} to continue.", fix=f"generate one first: anymedia {medium} PROMPT")
        return found
    path = _existing_file(text)
    if path is None:
        return Continuation(id=text)
    known = await store.continuation_of_file(_sha256(path))
    if known is not None and known.media == medium and backend in {None, known.backend}:
        return known
    if medium == "video":
        return Video(path=path)
    hint = f"edit it as a file: anymedia edit {text} PROMPT"
    raise InvalidRequest([Problem("$.continue_from", f"{text!r} is not in the journal, so it has no history to continue", hint)])


def _check(test: Callable[[Path], bool], path: str | Path) -> bool:
    """Return the result of a test of a path; False if its directory cannot be searched."""
    try:
        return test(Path(path))
    except OSError:
        return False


def _existing_file(text: str) -> Path | None:
    """Return the file that a text names, or None for a continuation id."""
    from ..files.names import MEDIA_SUFFIXES
    from ..files.safe_dir import refuse

    path = Path(text)
    if _check(Path.is_file, path):
        return path
    if path.suffix.lower() in MEDIA_SUFFIXES or path.name != text:
        raise refuse("$.continue_from", text, "is a directory" if _check(Path.is_dir, path) else "does not exist")
    return None


def _sha256(path: Path) -> str:
    import hashlib

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidRequest([Problem("$.continue_from", f"{path}: {error.strerror}")]) from None


def _check_edit(command: str, fields: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse an edit of nothing, which would otherwise become a new image."""
    inputs = {"input_images", "input_image_paths", "continue_from", "references", "mask_path", "mask_mode"} | {
        f"{role}_image_path" for role in ("style", "control", "subject")
    }
    if command == "edit" and not inputs & fields.keys() and given.get("continue_from") is None:
        hint = "write: anymedia edit IMAGE PROMPT, or: anymedia edit --continue last PROMPT"
        raise InvalidRequest([Problem("IMAGE", "an image to edit is missing", hint)])


def _check_stdout(given: Mapping[str, Any]) -> None:
    if given["output"] != "-" or given["dry_run"]:
        return
    for name, flag in (("as_json", "--json"), ("no_wait", "--no-wait"), ("open_files", "--open")):
        if given.get(name):
            raise click.UsageError(f"-o - writes the file's bytes to stdout; that excludes {flag}")
    if (given.get("n") or 1) > 1:
        raise click.UsageError("-o - writes one file to stdout; give -o DIR/ for several")
    if stdout_is_terminal():
        raise click.UsageError("-o - writes bytes to stdout, which is a terminal; redirect it")


def read_config(medium: str | None, source: str | None) -> dict[str, Any]:
    """Return the object in the file that ``--config`` names (``-``: stdin); its medium must be the command's."""
    if source is None:
        return {}
    from ..strict_json import parse_json

    raw = parse_json(_stdin_text("config", "--config") if source == "-" else _file_text(source))
    if not isinstance(raw, dict):
        raise InvalidRequest(f"expected a JSON object with the fields of a request, got {type(raw).__name__}")
    for name in ("media_type", "mode") if medium else ():
        if isinstance(wanted := raw.get(name), str) and wanted.lower() in {"image", "video", "audio"} and wanted.lower() != medium:
            text = f"the config asks for {wanted}, the command makes {medium}"
            raise InvalidRequest([Problem(f"$.{name}", text, f"use: anymedia {wanted.lower()} --config {source}")])
    return raw


def _stdin_text(what: str, option: str) -> str:
    try:
        text = "" if sys.stdin is None else sys.stdin.read().strip()  # None: closed
    except UnicodeDecodeError:
        raise InvalidRequest([Problem(option, f"the {what} '-' reads stdin, and stdin is not UTF-8 text")]) from None
    if not text:
        raise InvalidRequest([Problem(option, f"the {what} '-' reads stdin, and stdin is empty")])
    return text


def _file_text(source: str) -> str:
    try:
        return Path(source).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidRequest([Problem("--config", f"cannot read {source!r}: {why}")]) from None
