"""Normalize the arguments of a call into one or several mappings of `GenerationConfig` fields.

Names that similar tools use for some fields are accepted. A list of prompts or of backends becomes one call each. Only
the structure is checked here; the values are checked by `GenerationConfig`.

A relative path starts at the base directory of the tool, not at the working directory of the process. The arguments
``agent_cwd`` and ``allowed_paths`` of a call may come from a model, so they can only narrow what the tool allows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest, Problem, did_you_mean
from ..fields import check_each, check_flag, check_request, check_text, in_range, plain_fields
from ..generation_config import GenerationConfig, config_field, format_name, medium_of
from ..media import path_of
from ..policy import Policy
from ..strict_json import check_plain, parse_json, path_below, read_object, wrong_type

#: Another name -> the field of `GenerationConfig`.
RENAMED: Mapping[str, str] = {
    "backend_type": "backend",
    "audio_format": "output_format",
    "mask": "mask_path",
    "style_image": "style_image_path",
    "control_image": "control_image_path",
    "subject_image": "subject_image_path",
    "last_frame": "last_frame_path",
    "input_video": "input_video_path",
    "continuation_id": "continue_from",
}
#: Unknown name that is often written -> what to use instead.
INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(("text", "input", "description", "caption"), "prompt"),
    **dict.fromkeys(("width", "height", "dimensions", "image_size"), "size='WIDTHxHEIGHT'"),
    **dict.fromkeys(("image", "images", "image_url", "image_path", "input_image", "first_frame", "source", "photo"), "input_images"),
    **dict.fromkeys(("provider", "service", "engine"), "backend"),
    **dict.fromkeys(("type", "media", "modality", "kind", "operation"), "mode"),
    **dict.fromkeys(("num_images", "number", "count", "num_outputs", "samples"), "n"),
    **dict.fromkeys(("seconds", "length", "duration_seconds"), "duration"),
    **dict.fromkeys(("filename", "file_name", "file", "path", "output", "save_path"), "output_path"),
    **dict.fromkeys(("format", "file_format", "response_format"), "output_format"),
    "style": "prompt, or style_image_path",
    "budget": "max_cost_usd",
    "ratio": "aspect_ratio",
    "previous_id": "continue_from",
}
#: Fields about how a call is made; they are not part of a request.
HOW = (
    "prompts",
    "max_concurrent",
    "again",
    "wait",
    "deadline",
    "storage_path",
    "video_reference_images",
    "agent_cwd",
    "allowed_paths",
    "multimodal_config",
)
#: Maximum number of calls in one tool call.
MAX_CALLS = 100
#: Seconds to wait for the provider to accept a job before it is returned with ``wait=False``.
_SUBMIT_SECONDS = 2.0


@attrs.frozen(kw_only=True)
class ToolCall:
    """The parsed arguments of one tool call.

    Attributes:
        calls: the fields of one or several calls for `GenerationConfig.from_json`, in order.
        names: field of `GenerationConfig` -> the path of the field that the caller wrote instead (``mask_path`` -> ``$.mask``).
        wait: False returns jobs at once.
        again: whether a repeated request is submitted and paid for again.
        deadline: seconds after which waiting ends; the job keeps running.
        max_concurrent: how many calls run at once.
        agent_cwd, allowed_paths: where relative paths start, and the directories that paths must lie in.
    """

    calls: tuple[Mapping[str, Any], ...] = config_field("the calls", default=(), hash=False)
    names: Mapping[str, str] = config_field("the names", default=attrs.Factory(dict), hash=False)
    wait: bool = config_field("whether to wait", check_flag, default=True)
    again: bool = config_field("whether to pay again", check_flag, default=False)
    deadline: float | None = config_field("seconds", in_range(0, 86_400))
    max_concurrent: int = config_field("calls at once", in_range(1, 16, integer=True), default=4)
    agent_cwd: str | None = config_field("a directory", check_text)
    allowed_paths: tuple[str, ...] = config_field("directories", check_each(check_text), default=())

    def __attrs_post_init__(self) -> None:
        check_request(self)

    @property
    def patience(self) -> float | None:
        """Maximum number of seconds to wait for the submit, if limited."""
        limits = [seconds for seconds in (self.deadline, None if self.wait else _SUBMIT_SECONDS) if seconds is not None]
        return min(limits, default=None)

    @property
    def max_cost_usd(self) -> Any:
        """The cap that all calls share, as given."""
        return self.calls[0].get("max_cost_usd")


#: Fields of `HOW` that `ToolCall` keeps as they are.
_SETTINGS = frozenset(field.name for field in attrs.fields(ToolCall)).intersection(HOW)


def flat(config: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping, JSON text, a `GenerationConfig` or None, and further fields, as one mapping without nulls."""
    if isinstance(config, GenerationConfig):
        given = {f.name: _plain(getattr(config, f.name)) for f in attrs.fields(GenerationConfig) if config.is_set(f.name)}
    elif config is None:
        given = {}
    else:
        given = _parsed(config) if isinstance(config, str | bytes) else config
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"expected an object with fields like 'prompt', got {type(given).__name__}")
    check_plain(given)
    check_plain(fields)
    if twice := sorted(given.keys() & fields.keys()):
        raise InvalidRequest([Problem(f"$.{twice[0]}", "is given twice", "as a field and in the object")])
    return {key: value for key, value in {**given, **fields}.items() if value is not None}


def _parsed(text: str | bytes) -> Any:
    try:
        return parse_json(text)
    except InvalidRequest as error:
        raise InvalidRequest(error.problems, fix='give an object like {"prompt": "a red fox in snow"}') from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def read_tool_call(given: Mapping[str, Any]) -> ToolCall:
    """Read a mapping (see `flat`) with any of the accepted names; problems are located at the field as the caller wrote it."""
    fields = dict(given)
    how = {name: fields.pop(name) for name in HOW if name in fields}
    names = _rename(fields)
    _check_names(fields)
    _add_defaults(fields, how.get("multimodal_config"))
    _place_output(fields, how.get("storage_path"))
    if how.get("video_reference_images") is not None:
        fields["references"] = _references(fields, how["video_reference_images"])
        names["references"] = "$.video_reference_images"
    calls = tuple(_spread(fields, how.pop("prompts", None)))
    settings = {name: value for name, value in how.items() if name in _SETTINGS}
    return attrs.evolve(read_object(ToolCall, plain_fields(ToolCall, settings)), calls=calls, names=names)


def _rename(fields: dict[str, Any]) -> dict[str, str]:
    names = {}
    for theirs, ours in RENAMED.items():
        if theirs not in fields:
            continue
        if ours in fields:
            raise InvalidRequest([Problem(f"$.{theirs}", f"is another name for {ours}", "give only one of them")])
        fields[ours] = fields.pop(theirs)
        names[ours] = f"$.{theirs}"
    return names


def _check_names(fields: Mapping[str, Any]) -> None:
    """Refuse unknown names here, where all accepted names are known and can be suggested."""
    known = {f.name for f in attrs.fields(GenerationConfig)} | {"mode"}
    if unknown := sorted(fields.keys() - known):
        about = "there is no such field"
        raise InvalidRequest([Problem(path_below("$", name), about, _instead_of(name, fields[name], known)) for name in unknown])


def _instead_of(name: str, value: Any, known: Iterable[str]) -> str:
    """Return what to write instead of an unknown field."""
    if isinstance(value, Mapping) and "prompt" in value:
        return "give its fields directly, not nested in this object"
    if name.lower() in INSTEAD:
        return f"use {INSTEAD[name.lower()]}"
    return did_you_mean(name[:60], [*known, *RENAMED, *HOW]).removeprefix("; ") or "omit it"


def _add_defaults(fields: dict[str, Any], config: Any) -> None:
    """Use backend and model of a medium from ``multimodal_config`` where the call names neither."""
    if config is None:
        return
    own = config.get(_medium(fields)) if isinstance(config, Mapping) else config
    if own is not None and not isinstance(own, Mapping):
        raise InvalidRequest([Problem("$.multimodal_config", "expected {'image': {'backend': ..., 'model': ...}, ...}")])
    if {"backend", "model", "continue_from", "task"} & fields.keys():  # an earlier result is continued by its own backend
        return
    for name in ("backend", "model"):
        if own is not None and own.get(name) is not None:
            fields[name] = own[name]


def _medium(fields: Mapping[str, Any]) -> str:
    """Return the medium of a call, ignoring values of wrong types (they are refused later)."""
    named = fields.get("mode", fields.get("media_type"))
    if named is not None:
        return named.lower() if isinstance(named, str) else "image"
    path, wanted, earlier = (fields.get(name) for name in ("output_path", "output_format", "continue_from"))
    return medium_of(
        None,
        str(path) if isinstance(path, str | Path) else None,
        format_name(wanted) if isinstance(wanted, str) else None,
        earlier if isinstance(earlier, str) else None,
    )


def _place_output(fields: dict[str, Any], folder: Any) -> None:
    """Put ``output_path`` into the directory ``storage_path``."""
    if folder is None:
        return
    if not isinstance(folder, str) or not folder.strip():
        raise InvalidRequest([Problem("$.storage_path", f"expected a directory as text, got {type(folder).__name__}")])
    inside = fields.get("output_path", "")
    if not isinstance(inside, str) or inside.startswith("/"):
        raise InvalidRequest(
            [Problem("$.output_path", "with storage_path it must be a relative name in that directory", "give only one of them")]
        )
    fields["output_path"] = f"{folder.rstrip('/')}/{inside}"


def _references(fields: Mapping[str, Any], given: Any) -> list[Any]:
    """Return ``video_reference_images`` as the field ``references``: each the subject of a video."""
    found = given if isinstance(given, list | tuple) else [given]
    if _medium(fields) != "video" and found:
        raise InvalidRequest([Problem("$.video_reference_images", "goes with mode 'video'", "use input_images for an image")])
    if "references" in fields:
        raise InvalidRequest([Problem("$.video_reference_images", "is another name for references", "give only one of them")])
    return list(found)


def _spread(fields: dict[str, Any], prompts: Any) -> Iterator[dict[str, Any]]:
    """Yield one call for each prompt and each backend."""
    backend = fields.pop("backend", None)
    backends = list(backend) if isinstance(backend, list | tuple) else [backend]
    if not backends or len(set(map(repr, backends))) < len(backends):
        raise InvalidRequest([Problem("$.backend", "expected different backends, or one, or 'auto'")])
    if prompts is None or prompts == []:
        texts: Sequence[Any] = [fields.pop("prompt")] if "prompt" in fields else [None]
    elif not isinstance(prompts, list | tuple):
        raise _wrong("prompts", prompts, list)
    elif "prompt" in fields:
        raise InvalidRequest([Problem("$.prompts", "contradicts prompt", "give only one of them")])
    else:
        texts = prompts
    if len(texts) * len(backends) > MAX_CALLS:
        raise InvalidRequest([Problem("$.prompts", f"makes {len(texts) * len(backends)} calls; at most {MAX_CALLS} are allowed")])
    several = len(texts) * len(backends) > 1
    for number, (text, name) in enumerate(((t, b) for t in texts for b in backends), 1):
        one = {**fields, **({} if text is None else {"prompt": text}), **({} if name is None else {"backend": name})}
        yield _numbered(one, number) if several else one


def _numbered(fields: dict[str, Any], number: int) -> dict[str, Any]:
    """Number the file name of one of several calls."""
    path = fields.get("output_path")
    if not isinstance(path, str) or path.endswith("/"):
        return fields
    stem, dot, suffix = path.rpartition(".")
    return fields | {"output_path": f"{stem}-{number}.{suffix}"} if dot and "/" not in suffix and stem else fields


def _wrong(name: str, value: Any, wanted: type) -> InvalidRequest:
    return InvalidRequest([attrs.evolve(p, path=f"$.{name}") for p in wrong_type(value, wanted).problems])


def listed(value: Any, name: str) -> list[Any]:
    """Return an iterable as a list; a mapping or a text is refused."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _wrong(name, value, list)
    return list(value)


def whole_number(value: Any, name: str) -> int:
    """Return a whole number; any other value is refused."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, value, int)
    return value


_FILES = ("mask_path", "style_image_path", "control_image_path", "subject_image_path", "last_frame_path", "input_video_path")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class PathScope:
    """A base directory for relative paths, and the directories that inputs and outputs must lie in.

    Attributes:
        base: where relative paths start.
        roots: directories that may be written to; trusted, including the links that lead to them.
        inputs: directories that may be read (likewise).
        within: the directories to which a call narrows both. Only names are compared here: when a file is opened, it is
            reached from one of the roots without following links.
    """

    base: Path
    roots: tuple[Path, ...]
    inputs: tuple[Path, ...]
    within: tuple[Path, ...] | None = None

    @classmethod
    def of(cls, base: str | Path | None, roots: str | Path | Iterable[str | Path] | None, policy: Policy) -> PathScope:
        """Return the scope of a tool: the given roots, by default those of the policy, else the tree of the base directory."""
        own = Path.cwd() if base is None else _absolute(base)
        if given := tuple(_absolute(root) for root in directories(roots)):
            return cls(base=own, roots=given, inputs=given)
        outputs = policy.output_roots or (own,)
        return cls(base=own, roots=outputs, inputs=outputs if policy.input_roots is None else policy.input_roots)

    @property
    def realm(self) -> str:
        """The realm of an agent with this scope: the same for the same directories, links resolved."""
        folders = sorted({os.path.realpath(folder) for folder in (*self.roots, *self.inputs)})
        return f"roots-{hashlib.sha256(json.dumps(folders).encode()).hexdigest()[:24]}"

    def narrowed(self, agent_cwd: str | None, allowed_paths: Sequence[str]) -> PathScope:
        """Return the scope of one call; it names directories inside this scope."""
        base = self.base if agent_cwd is None else self._inside(agent_cwd, "agent_cwd")
        within: tuple[Path, ...] | None = None if agent_cwd is None else (base,)
        if allowed_paths:
            within = tuple(self._inside(path, "allowed_paths") for path in allowed_paths)
        return attrs.evolve(self, base=base, within=within)

    def _inside(self, text: str, field: str) -> Path:
        wanted = self.base / text
        allowed = tuple(dict.fromkeys((*self.roots, *self.inputs)))
        if "\0" not in text and ".." not in wanted.parts:
            real = Path(os.path.realpath(wanted))
            for root in allowed:
                if real.is_relative_to(inner := os.path.realpath(root)):
                    return root / real.relative_to(inner)  # without the links that lead there
        raise _outside(text, field, allowed)

    def policy(self, base: Policy) -> Policy:
        """Return a policy limited to the roots; `at` enforces the rest."""
        return base.but(input_roots=self.inputs, output_roots=self.roots)

    def at(self, path: Any, field: str = "path") -> Any:
        """Return a path text as an absolute one; anything else (a URL, a wrong type) as it is.

        Refused are ``~``, which is not expanded here, and what lies outside the directories of the call.
        """
        text = os.fspath(path) if isinstance(path, Path) else path
        if isinstance(text, str) and (own := path_of(text)) != text:
            path = text = own
        if isinstance(text, str) and text.startswith("~"):
            name = text.rpartition("/")[2]
            hint = "write a path in the working directory" + (f", such as {name!r}" if not name.startswith("~") and name else "")
            raise InvalidRequest([Problem(f"$.{field}", f"{text[:200]!r}: '~' is not expanded", hint)])
        if not isinstance(text, str) or not text.strip() or _URL.match(text):
            return path
        whole = path if text.startswith("/") else f"{self.base}/{text}"
        if self.within is not None and not any(Path(whole).is_relative_to(name) for root in self.within for name in _names(root)):
            raise _outside(text, field, self.within)
        return whole


def directories(given: str | Path | Iterable[str | Path] | None) -> tuple[str | Path, ...]:
    """Return one directory or several as a tuple."""
    return () if given is None else (given,) if isinstance(given, str | Path) else tuple(given)


def _names(root: Path) -> tuple[Path, Path]:
    return _absolute(root), Path(os.path.realpath(root))


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (not resolved)


def _outside(text: str, field: str, allowed: Iterable[Path]) -> InvalidRequest:
    hint = "give a path inside " + " or ".join(repr(str(root)) for root in allowed)
    return InvalidRequest([Problem(f"$.{field}", f"{text[:200]!r} lies outside the allowed directories", hint)])


def resolve_paths(fields: Mapping[str, Any], scope: PathScope) -> dict[str, Any]:
    """Return the fields of a call with absolute paths; the default output is the base directory."""
    resolved = dict(fields)
    for name in _FILES:
        if name in resolved:
            resolved[name] = scope.at(resolved[name], name)
    if isinstance(given := resolved.get("task_inputs"), Mapping):
        resolved["task_inputs"] = {role: _placed(value, scope, "task_inputs") for role, value in given.items()}
    for name in ("input_images", "input_image_paths", "references"):
        if isinstance(resolved.get(name), list | tuple):
            resolved[name] = _placed(resolved[name], scope, name)
    _refuse_files(resolved.get("extra_params"), "$.extra_params")
    output = resolved.get("output_path", "./")
    resolved["output_path"] = scope.at(f"{scope.base}/" if output in (".", "./") else output, "output_path")
    return resolved


#: What looks like a URL or a path: a scheme, a beginning like that of a path, a suffix.
_FILE_LIKE = re.compile(
    r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:/|data:|[/\\~]|\.{1,2}[/\\]|[A-Za-z]:\\)|(?:.*[/\\])?\.\.[/\\]|\S+\.[A-Za-z][A-Za-z0-9]{1,4}\s*$"
)


def _refuse_files(value: Any, field: str) -> None:
    """Refuse texts among free options that look like a path or a URL: only an input with a role is read within the roots."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_files(inner, f"{field}.{key}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _refuse_files(inner, f"{field}[{i}]")
    elif isinstance(value, str) and _FILE_LIKE.match(value):
        raise InvalidRequest([Problem(field, "looks like a path or a URL, which is not sent as an option", "give a file in task_inputs")])


def _placed(value: Any, scope: PathScope, field: str) -> Any:
    """Return an input or a list of inputs with absolute paths."""
    if isinstance(value, list | tuple):
        return [_placed(item, scope, field) for item in value]
    if isinstance(value, Mapping) and "path" in value:
        return {**value, "path": scope.at(value["path"], field)}
    return scope.at(value, field)
