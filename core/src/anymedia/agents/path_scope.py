"""The paths that an agent may use.

A relative path starts at the base directory of the tool, not at the working directory of the process. The arguments
``agent_cwd`` and ``allowed_paths`` of a call may come from a model, so they can only narrow what the tool allows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest, Problem
from ..policy import Policy

__all__ = ["PathScope", "directories", "resolve_paths"]

_FILES = ("mask_path", "style_image_path", "control_image_path", "subject_image_path", "last_frame_path", "input_video_path")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")


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

    def narrowed(self, agent_cwd: str | None, allowed_paths: Sequence[str] | None) -> PathScope:
        """Return the scope of one call.

        Raises:
            InvalidRequest: it names a directory outside this scope.
        """
        base = self.base if agent_cwd is None else self._inside(agent_cwd, "agent_cwd")
        within: tuple[Path, ...] | None = None if agent_cwd is None else (base,)
        if allowed_paths is not None:
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

        Raises:
            InvalidRequest: it begins with ``~``, which is not expanded here, or lies outside the directories of the call;
                ``field`` is the field of the call.
        """
        text = os.fspath(path) if isinstance(path, Path) else path
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
    hint = "allowed: " + ", ".join(repr(str(root)) for root in allowed)
    return InvalidRequest([Problem(f"$.{field}", f"{text[:200]!r} lies outside the allowed directories", hint)])


def resolve_paths(fields: Mapping[str, Any], scope: PathScope) -> dict[str, Any]:
    """Return the fields of a call with absolute paths; the default output is the base directory."""
    resolved = dict(fields)
    for name in _FILES:
        if name in resolved:
            resolved[name] = scope.at(resolved[name], name)
    for name in ("input_images", "input_image_paths", "references"):
        if isinstance(resolved.get(name), list | tuple):
            resolved[name] = [_item(item, scope, name) for item in resolved[name]]
    output = resolved.get("output_path", "./")
    resolved["output_path"] = scope.at(f"{scope.base}/" if output in (".", "./") else output, "output_path")
    return resolved


def _item(item: Any, scope: PathScope, field: str) -> Any:
    if isinstance(item, Mapping) and "path" in item:
        return {**item, "path": scope.at(item["path"], field)}
    return scope.at(item, field)
