"""Sanitize the texts and errors of plugins; everything that a hook returns or raises passes through here.

A plugin forwards a provider's text: error messages, notes, warnings, text results. It may contain terminal escapes,
bidirectional control characters, line breaks that imitate our own output, a key, a signed URL, a megabyte. Each text
becomes one redacted line of limited length. Machine-readable values (job handles, continuations) are not changed.

The SDK's exception under an error holds the request with its headers, and its frames hold the key. The chain of causes
is therefore replaced by one `PluginCause` with class names, sanitized texts and the position in the code.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..delivery import causes
from ..errors import BackendError, ContentRefused, InvalidRequest, MediaError, PluginContractError, Problem
from ..hookspecs import ListedModel
from ..redaction import clean_text, summarize_exception
from ..results import Failed, Outcome, Piece, Running, Succeeded, Warning

#: Maximum characters of a message or fix, of a warning or note, of an id or type, of a text result.
_MESSAGE, _NOTE, _ID, _TEXT = 1_000, 400, 200, 10_000
#: Maximum number of warnings, and of causes of an error.
_MOST_WARNINGS, _MOST_CAUSES = 20, 4
#: Maximum depth and number of entries of usage numbers.
_DEEPEST, _MOST_NUMBERS = 4, 200
#: The same of a task's data, and the characters of each of its texts.
_DEEPEST_DATA, _MOST_VALUES, _DATA_TEXT = 20, 20_000, 1_000_000


class PluginCause(Exception):
    """The cause of a plugin's error as text, without request, headers and frames."""


class PluginRaised(PluginContractError):
    """The plugin raised an exception other than a `MediaError`."""


def _cut(error: BaseException, under: BaseException | None) -> None:
    """Drop the frames of an error and replace its causes by their summaries."""
    summaries = [] if under is None else [summarize_exception(found) for found in itertools.islice(causes(under), _MOST_CAUSES)]
    error.__traceback__ = None
    error.__context__ = None
    error.__cause__ = PluginCause("; because of ".join(summaries)) if summaries else None


def clean_error(error: MediaError) -> MediaError:
    """Return the same error with sanitized texts and without an SDK's exceptions."""
    below = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if not isinstance(below, PluginCause):
        _cut(error, below)
    error.message = clean_text(error.message, _MESSAGE)
    error.fix = clean_text(error.fix, _MESSAGE)
    error.provider_message = clean_text(error.provider_message, _MESSAGE)
    error.args = (error.message,)
    if isinstance(error, InvalidRequest):
        error.problems = tuple(_problem(p) for p in error.problems[:_MOST_WARNINGS])
    if isinstance(error, BackendError):
        error.request_id, error.cost_usd = _short(error.request_id), _amount(error.cost_usd)
    if isinstance(error, ContentRefused):
        error.reason = clean_text(error.reason, _NOTE)
    return error


def _problem(problem: Problem) -> Problem:
    return Problem(clean_text(problem.path, _ID), clean_text(problem.message, _NOTE), clean_text(problem.suggestion, _NOTE))


def raised(backend: str, error: Exception) -> PluginRaised:
    """Return our error for a foreign exception, without its frames and causes."""
    named = PluginRaised(f"backend {backend!r} raised {summarize_exception(error)}")
    _cut(named, error)
    return named


def clean_returned(value: Any) -> Any:
    """Return a hook's result with sanitized texts; the same object if nothing changes."""
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
        "data": None if outcome.data is None else _numbers(outcome.data, iter(range(_MOST_VALUES)), _DEEPEST_DATA, _lines),
        "cost_usd": _amount(outcome.cost_usd),
        "cost_basis": clean_text(outcome.cost_basis, _ID),
    }


def _warning(warning: Warning | str) -> Warning | str:
    if isinstance(warning, Warning):
        return Warning(clean_text(warning.code, _ID), clean_text(warning.text, _NOTE))
    return clean_text(warning, _NOTE)


def _amount(cost: Any) -> float | None:
    """Return a valid amount of money, else None: a wrong amount must not cost the result that was paid for."""
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


def _lines(text: Any) -> str:
    """Return a text with each of its lines sanitized."""
    return "\n".join(clean_text(line, _DATA_TEXT) for line in str(text)[:_DATA_TEXT].splitlines())


def _numbers(value: Any, left: Any, deeper: int, clean: Callable[[Any], str] = lambda text: clean_text(text, _ID)) -> Any:
    """Return JSON values with sanitized texts; what exceeds the limits is dropped."""
    if value is None or isinstance(value, int | float):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        if not deeper:
            return {}
        return {clean_text(k, _ID): _numbers(v, left, deeper - 1, clean) for (k, v), _ in zip(value.items(), left, strict=False)}
    if isinstance(value, list | tuple):
        return [_numbers(v, left, deeper - 1, clean) for v, _ in zip(value, left, strict=False)] if deeper else []
    return clean(value)


def _changed(thing: Any, **values: Any) -> Any:
    different = {name: value for name, value in values.items() if getattr(thing, name) != value}
    return attrs.evolve(thing, **different) if different else thing
