"""Where an agent's paths start and where they may lie.

A relative path starts at the base directory, not at wherever the process happens to stand. What a call says
(``agent_cwd``, ``allowed_paths``) can only narrow what whoever set up the tool allowed: it may come from a model.
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
        roots: what whoever set up the tool allows to be written to; trusted, links and all.
        inputs: what they allow to be read (likewise).
        within: what a call narrows that to. Mere names: whatever lies there by the time a file is opened is reached from
            one of the roots, through no link.
    """

    base: Path
    roots: tuple[Path, ...]
    inputs: tuple[Path, ...]
    within: tuple[Path, ...] | None = None

    @classmethod
    def of(cls, base: str | Path | None, roots: str | Path | Iterable[str | Path] | None, policy: Policy) -> PathScope:
        """Make the place that whoever sets up the tool wants: by default the roots of the policy, else the base's tree."""
        own = Path.cwd() if base is None else _absolute(base)
        if given := tuple(_absolute(root) for root in directories(roots)):
            return cls(base=own, roots=given, inputs=given)
        outputs = policy.output_roots or (own,)
        return cls(base=own, roots=outputs, inputs=outputs if policy.input_roots is None else policy.input_roots)

    def narrowed(self, agent_cwd: str | None, allowed_paths: Sequence[str] | None) -> PathScope:
        """Return the place of one call.

        Raises:
            InvalidRequest: it names a directory that lies outside of this place.
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
                    return root / real.relative_to(inner)  # without the links that lead there now
        raise _outside(text, field, allowed)

    def policy(self, base: Policy) -> Policy:
        """Return a policy that is held to the roots; `at` holds paths to the rest."""
        return base.but(input_roots=self.inputs, output_roots=self.roots)

    def at(self, path: Any, field: str = "path") -> Any:
        """Return a path text as an absolute one; anything else (a URL, a wrong type) as it is.

        Raises:
            InvalidRequest: it begins with ``~``, which no shell expands here, or lies outside of what the call narrows paths
                to; ``field`` is where it stands in the call.
        """
        text = os.fspath(path) if isinstance(path, Path) else path
        if isinstance(text, str) and text.startswith("~"):
            name = text.rpartition("/")[2]
            hint = "write a path in the working directory" + (f", such as {name!r}" if not name.startswith("~") and name else "")
            raise InvalidRequest([Problem(f"$.{field}", f"{text[:200]!r}: '~' stands for nothing here", hint)])
        if not isinstance(text, str) or not text.strip() or _URL.match(text):
            return path
        whole = path if text.startswith("/") else f"{self.base}/{text}"
        if self.within is not None and not any(Path(whole).is_relative_to(name) for root in self.within for name in _names(root)):
            raise _outside(text, field, self.within)
        return whole


def directories(given: str | Path | Iterable[str | Path] | None) -> tuple[str | Path, ...]:
    """Return what was given for a list of directories, be it just one of them, as a tuple."""
    return () if given is None else (given,) if isinstance(given, str | Path) else tuple(given)


def _names(root: Path) -> tuple[Path, Path]:
    return _absolute(root), Path(os.path.realpath(root))


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (not resolved)


def _outside(text: str, field: str, allowed: Iterable[Path]) -> InvalidRequest:
    hint = "allowed: " + ", ".join(repr(str(root)) for root in allowed)
    return InvalidRequest([Problem(f"$.{field}", f"{text[:200]!r} lies outside the allowed directories", hint)])


def resolve_paths(fields: Mapping[str, Any], scope: PathScope) -> dict[str, Any]:
    """Return the fields of a call with its relative paths made absolute; without an output, the base directory."""
    placed = dict(fields)
    for name in _FILES:
        if name in placed:
            placed[name] = scope.at(placed[name], name)
    for name in ("input_images", "input_image_paths", "references"):
        if isinstance(placed.get(name), list | tuple):
            placed[name] = [_item(item, scope, name) for item in placed[name]]
    output = placed.get("output_path", "./")
    placed["output_path"] = scope.at(f"{scope.base}/" if output in (".", "./") else output, "output_path")
    return placed


def _item(item: Any, scope: PathScope, field: str) -> Any:
    if isinstance(item, Mapping) and "path" in item:
        return {**item, "path": scope.at(item["path"], field)}
    return scope.at(item, field)
