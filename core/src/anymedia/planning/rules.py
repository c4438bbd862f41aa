"""Apply rules between fields to a draft until nothing changes."""

from __future__ import annotations

from typing import Any

from ..capabilities import Choice, Range, Rule
from ..fields import is_set
from .candidate import Draft, roles_of

__all__ = ["apply_rules", "matches", "value_of"]

_ROUNDS = 8


def value_of(draft: Draft, key: str) -> Any:
    """Return a field's current value, None if unset; dotted keys address extra_params and references."""
    if "." not in key:
        value = draft.get(key)
        return None if value == () else value
    head, _, tail = key.partition(".")
    if head == "extra_params":
        return (draft.get("extra_params") or {}).get(tail)
    if head == "references":
        found = draft.get("references") or ()
        count = len(found) if tail == "count" else sum(r.role == tail for r in found)
        return count or None
    return None


def _given(draft: Draft, key: str) -> bool:
    if "." in key:
        return value_of(draft, key) is not None
    if key in draft.values:
        return draft.values[key] is not None
    return is_set(draft.asked.request, key)


def matches(draft: Draft, key: str, condition: Any, *, assume_default: bool = True) -> bool:
    """Whether a field meets a condition: given or not, one of some values, or within an option's range."""
    if isinstance(condition, bool):
        return _given(draft, key) is condition
    value = value_of(draft, key)
    if value is None and assume_default:
        option = draft.spec.extra_params.get(key.partition(".")[2]) if key.startswith("extra_params.") else draft.option(key)
        value = getattr(option, "default", None)
    if value is None:
        return False
    if isinstance(condition, tuple):
        return value in condition
    matched: bool = condition.takes(value)
    return matched


def _active(draft: Draft, rule: Rule) -> bool:
    for key, condition in rule.when.items():  # noqa: SIM110 - a generator takes twice the time, for every rule of every spec
        if not matches(draft, key, condition):
            return False
    return True


def _broken(draft: Draft, rule: Rule) -> list[tuple[str, Any, bool]]:
    forbidden = [(k, c, True) for k, c in rule.forbid.items() if matches(draft, k, c, assume_default=False)]
    required = [(k, c, False) for k, c in rule.require.items() if not matches(draft, k, c)]
    return forbidden + required


def apply_rules(draft: Draft) -> None:
    """Make a draft comply with its rules: adjustable and advisory fields are changed, intent never is."""
    if not draft.spec.rules:
        return
    for _ in range(_ROUNDS):
        broken = [(rule, *found) for rule in draft.spec.rules if _active(draft, rule) for found in _broken(draft, rule)]
        if not broken:
            return
        for rule, key, condition, forbidden in broken:
            if not _comply(draft, rule, key, condition, forbidden):
                draft.reject("rule", f"{draft.name}: {rule.because}", key)
                return
    draft.reject("rule", f"{draft.name} does not allow this combination of options")


def _comply(draft: Draft, rule: Rule, key: str, condition: Any, forbidden: bool) -> bool:
    role = roles_of(draft.asked.request).get(key, "intent")
    if role == "intent":
        return False
    value = draft.get(key)
    if forbidden:
        replacement = _other_value(draft, key, condition) if role == "adjustable" else None
    elif condition is False:
        replacement = None
    else:
        replacement = _required_value(draft, key, condition, value)
        if replacement is None:
            return False
    if replacement == value and key in draft.values:
        return False
    draft.set(key, replacement, "ignored" if replacement is None else "snapped", rule.because)
    return True


def _other_value(draft: Draft, key: str, condition: Any) -> Any:
    option = draft.option(key)
    if isinstance(option, Range) and isinstance(condition, Range):
        return _nearest_outside(option, condition, draft.get(key))
    if not isinstance(option, Choice) or isinstance(condition, bool):
        return None
    allowed = [v for v in option.one_of if not (v in condition if isinstance(condition, tuple) else condition.takes(v))]
    if not allowed:
        return None
    return Choice(one_of=tuple(allowed)).nearest(draft.get(key)) or allowed[0]


def _nearest_outside(option: Range, forbidden: Range, value: Any) -> Any:
    """Return the nearest number of an option outside a forbidden range, or None."""
    step = option.step or 0.0
    near = [type(value)(v) for v in (forbidden.min - step, forbidden.max + step) if step and option.takes(type(value)(v))]
    return min(near, key=lambda v: abs(v - value), default=None)


def _required_value(draft: Draft, key: str, condition: Any, value: Any) -> Any:
    if condition is True:
        option = draft.option(key)
        return getattr(option, "default", None) or (option.one_of[0] if isinstance(option, Choice) else None)
    if isinstance(condition, tuple):
        return Choice(one_of=condition).nearest(value) if isinstance(value, int | float) else condition[0]
    return condition.nearest(value) if value is not None else getattr(condition, "min", None)
