"""What a plugin says, made fit to be read: the one door through which its texts and its errors come into the core.

A plugin hands on a provider's words: error messages, notes, warnings, answers in text. Any of them may hold terminal
escapes, marks that turn the writing direction, line breaks that pose as lines of ours, a key, a signed URL, a megabyte.
They leave here as one line each, cut and redacted. What a machine reads (a job's handle, a continuation) is not touched.

The SDK's own exception under an error holds the request with its headers, and its frames hold the key. So the chain of
causes is cut: in its place stands one `PluginCause` with the classes, the cleaned words and the place in the code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import attrs

from ..delivery import causes
from ..errors import BackendError, ContentRefused, InvalidRequest, MediaError, PluginContractError, Problem
from ..hookspecs import ListedModel
from ..redaction import clean_text, summarize_exception
from ..results import Failed, Outcome, Piece, Running, Succeeded, Warning

__all__ = ["PluginCause", "PluginRaised", "clean_error", "clean_returned", "raised"]

#: Characters of a message or fix, of a warning or note, of an id or a type, of a text that is itself a result.
_MESSAGE, _NOTE, _ID, _TEXT = 1_000, 400, 200, 10_000
#: So many warnings are handed on, and causes told.
_MOST_WARNINGS, _MOST_CAUSES = 20, 4
#: So deep, and with so many entries in all, are usage numbers handed on.
_DEEPEST, _MOST_NUMBERS = 4, 200


class PluginCause(Exception):
    """What lay under a plugin's error, in words: no request, no headers, no frames."""


class PluginRaised(PluginContractError):
    """The plugin let an exception through that is none of ours."""


def _cut(error: BaseException, under: BaseException | None) -> None:
    """Drop the frames of an error, and put words in the place of what lies under it."""
    told = [] if under is None else [summarize_exception(found) for found in itertools.islice(causes(under), _MOST_CAUSES)]
    error.__traceback__ = None
    error.__context__ = None
    error.__cause__ = PluginCause("; because of ".join(told)) if told else None


def clean_error(error: MediaError) -> MediaError:
    """Return the same error with clean words and without what an SDK left hanging on it."""
    below = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if not isinstance(below, PluginCause):
        _cut(error, below)
    error.message = clean_text(error.message, _MESSAGE)
    error.fix = clean_text(error.fix, _MESSAGE)
    error.args = (error.message,)
    if isinstance(error, InvalidRequest):
        error.problems = tuple(_problem(p) for p in error.problems[:_MOST_WARNINGS])
    if isinstance(error, BackendError):
        error.request_id, error.cost_usd = _short(error.request_id), _amount(error.cost_usd)
    if isinstance(error, ContentRefused):
        error.reason = clean_text(error.reason, _NOTE)
    return error


def _problem(problem: Problem) -> Problem:
    path, message, suggestion = (clean_text(t, _MESSAGE) for t in (problem.path, problem.message, problem.suggestion))
    return Problem(path, message, suggestion)


def raised(backend: str, error: Exception) -> PluginRaised:
    """Return our error for an exception that is none of ours; its frames and causes stay behind."""
    named = PluginRaised(f"backend {backend!r} raised {summarize_exception(error)}")
    _cut(named, error)
    return named


def clean_returned(value: Any) -> Any:
    """Return what a hook returned, with its texts clean; the very same object where nothing was to be done."""
    if isinstance(value, Outcome):
        return _changed(value, **_outcome(value))
    if isinstance(value, Succeeded):
        return _changed(value, outcome=clean_returned(value.outcome))
    if isinstance(value, Running):
        return _changed(value, note=clean_text(value.note, _NOTE))
    if isinstance(value, Failed):
        clean_error(value.error)
    elif isinstance(value, tuple):
        listed = tuple(_listed(item) for item in value)
        return listed if listed != value else value
    return value


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "pieces": tuple([_piece(piece) for piece in outcome.pieces]),
        "warnings": tuple([_warning(w) for w in outcome.warnings[:_MOST_WARNINGS]]),
        "request_id": _short(outcome.request_id),
        "continued_as": _short(outcome.continued_as),
        "usage": _numbers(outcome.usage, iter(range(_MOST_NUMBERS)), _DEEPEST),
        "cost_usd": _amount(outcome.cost_usd),
    }


def _warning(warning: Warning | str) -> Warning | str:
    if isinstance(warning, Warning):
        return Warning(clean_text(warning.code, _ID), clean_text(warning.text, _NOTE))
    return clean_text(warning, _NOTE)


def _amount(cost: Any) -> float | None:
    """Return an amount of money; None for what is none, by which nothing that was paid for may be lost."""
    known = isinstance(cost, int | float) and not isinstance(cost, bool) and math.isfinite(cost) and cost >= 0
    return cost if known else None


def _piece(piece: Piece) -> Any:
    text = None if piece.text is None else clean_text(piece.text, _TEXT)
    return _changed(piece, text=text, mime=_short(piece.mime))


def _listed(model: object) -> object:
    if not isinstance(model, ListedModel):
        return model
    texts = {f.name: clean_text(v, _NOTE) for f in attrs.fields(ListedModel) if isinstance(v := getattr(model, f.name), str)}
    return _changed(model, notes=tuple(clean_text(n, _NOTE) for n in model.notes), **texts)


def _short(text: str | None) -> str | None:
    return None if text is None else clean_text(text, _ID)


def _numbers(value: Any, left: Any, deeper: int) -> Any:
    """Return usage numbers as JSON, with clean names and texts; what is too deep or too much is left out."""
    if value is None or isinstance(value, int | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        if not deeper:
            return {}
        return {clean_text(k, _ID): _numbers(v, left, deeper - 1) for (k, v), _ in zip(value.items(), left, strict=False)}
    if isinstance(value, list | tuple):
        return [_numbers(v, left, deeper - 1) for v, _ in zip(value, left, strict=False)] if deeper else []
    return clean_text(value, _ID)


def _changed(thing: Any, **values: Any) -> Any:
    different = {name: value for name, value in values.items() if getattr(thing, name) != value}
    return attrs.evolve(thing, **different) if different else thing
