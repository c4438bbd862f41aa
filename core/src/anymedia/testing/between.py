"""Rules between fields, tried: requests that break one, and whether what was planned keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..capabilities import InputRule, MaskRule, OperationRow, Option, ReferencesRule, Rule
from ..fields import is_set
from ..requests import Request
from .shapes import Shape, image_for, mask_for, references_for, two_values

__all__ = ["breaking", "keeps", "unknown_to"]

_CORE = frozenset({"prompt", "extra_params", "continue_as", "edit_mode", "audio_type", "protect", "continue_from"})
#: What "not given" is for a field, where it is not None.
_NOTHING: dict[str, Any] = {"references": (), "extra_params": {}}


def _option(row: OperationRow, key: str) -> Option | None:
    head, _, tail = key.partition(".")
    return row.extra_params.get(tail) if head == "extra_params" else row.options.get(key)


def unknown_to(row: OperationRow, key: str, condition: Any) -> str | None:
    """Say why a condition can never be met by this row's own fields, or None."""
    head, _, tail = key.partition(".")
    if head == "extra_params" and tail and tail not in row.extra_params:
        return f"{key} is no extra parameter of this row"
    taken = row.inputs.get("references")
    if head == "references" and tail and tail != "count" and not (isinstance(taken, ReferencesRule) and tail in taken.roles):
        return f"{key} is no role that this row takes"
    if head not in row.options and head not in row.inputs and head not in _CORE:
        return f"{key} is neither an option nor an input of this row"
    option = _option(row, key)
    if option is not None and isinstance(condition, tuple) and all(option.problem(value) for value in condition):
        return f"{key}: the row never has {condition}"
    return None


def _value(request: Request, key: str) -> Any:
    head, _, tail = key.partition(".")
    if head == "extra_params" and tail:
        return request.extra_params.get(tail)
    if head == "references" and tail:
        found = getattr(request, "references", ())
        return (len(found) if tail == "count" else sum(r.role == tail for r in found)) or None
    return getattr(request, key, None)


def _meets(request: Request, row: OperationRow, key: str, condition: Any, *, default: bool) -> bool:
    value = _value(request, key)
    if isinstance(condition, bool):
        given = value is not None if "." in key else is_set(request, key)
        return given is condition
    if value is None and default:
        value = getattr(_option(row, key), "default", None)
    if value is None:
        return False
    return value in condition if isinstance(condition, tuple) else condition.problem(value) is None


def keeps(request: Request, row: OperationRow, rule: Rule) -> bool:
    """Whether a planned request keeps a rule."""
    if not all(_meets(request, row, k, c, default=True) for k, c in rule.when.items()):
        return True
    forbidden = any(_meets(request, row, k, c, default=False) for k, c in rule.forbid.items())
    return not forbidden and all(_meets(request, row, k, c, default=True) for k, c in rule.require.items())


def _meeting(shape: Shape, key: str, condition: Any) -> dict[str, Any]:
    """Return fields with which a condition holds; empty where none can be made."""
    head, _, tail = key.partition(".")
    if condition is False:
        return {head: _NOTHING.get(head)}
    if condition is True:
        return _given(shape, key)
    option = _option(shape.row, key)
    if isinstance(condition, tuple):
        fitting = [v for v in condition if option is None or option.problem(v) is None]
        value = fitting[0] if fitting else condition[0]
    else:
        value = getattr(condition, "min", None)
        if option is not None and value is not None and option.problem(value):
            value = option.nearest(value)
    if value is None or (head == "references" and tail):
        return {}
    return {"extra_params": {tail: value}} if head == "extra_params" else {key: value}


def _given(shape: Shape, key: str) -> dict[str, Any]:
    head, _, tail = key.partition(".")
    option = _option(shape.row, key)
    if option is not None:
        pair = two_values(option)
        value = pair[0] if pair else getattr(option, "default", None)
        return {} if value is None else ({"extra_params": {tail: value}} if head == "extra_params" else {key: value})
    taken = shape.row.inputs.get(head)
    if isinstance(taken, ReferencesRule):
        return {"references": references_for(taken, 5, tail if tail in taken.roles else None)}
    if isinstance(taken, MaskRule):
        return {"mask": mask_for(taken, None)}
    if isinstance(taken, InputRule) and shape.operation != "continue_video":
        return {head: image_for(taken, 5)}
    return {}


def _opposite(shape: Shape, key: str, condition: Any) -> dict[str, Any]:
    """Return fields with which a condition does not hold; empty where none can be made."""
    if isinstance(condition, bool):
        return _meeting(shape, key, not condition)
    option = _option(shape.row, key)
    if option is None:
        return {}
    values = [*getattr(option, "one_of", ()), *(two_values(option) or ()), getattr(option, "max", None)]
    other = next((v for v in values if v is not None and not _fits(condition, v)), None)
    head, _, tail = key.partition(".")
    return {} if other is None else ({"extra_params": {tail: other}} if head == "extra_params" else {key: other})


def _fits(condition: Any, value: Any) -> bool:
    return value in condition if isinstance(condition, tuple) else condition.problem(value) is None


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            out[name] = {**out[name], **value} if name == "extra_params" and isinstance(out.get(name), dict) else value
    return out


def breaking(shape: Shape, rule: Rule) -> Iterator[dict[str, Any]]:
    """Yield fields for requests that would break a rule: one for each thing it forbids or requires."""
    when = [_meeting(shape, key, condition) for key, condition in rule.when.items()]
    for key, condition in rule.forbid.items():
        yield _joined([*when, _meeting(shape, key, condition)])
    for key, condition in rule.require.items():
        yield _joined([*when, _opposite(shape, key, condition)])
