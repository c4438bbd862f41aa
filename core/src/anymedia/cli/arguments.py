"""The words of a command line -> values: masks, references, KEY=JSON, shapes, models."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from ..errors import InvalidRequest, Problem, did_you_mean
from ..requests import MASK_MODES, REFERENCE_ROLES, Mask, Reference, ReferenceRole

__all__ = ["any_reference", "extra_params", "mask", "prompt_of", "reference", "shape", "split_model", "split_type", "stdin_text"]

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
