"""The rules by their public ids. An id is never used again for something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["RULES", "is_kept_by_the_core", "known_gap", "rule", "rule_of"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: Rule id -> what it asks for.
RULES: dict[str, str] = {
    "A01": "loads through its entry point, as a module, under one name",
    "A02": "loading it and reading its matrix imports no SDK",
    "A03": "every hook has the signature and the colour of its specification",
    "A04": "reading the matrix is pure: no socket, no key, equal on each call",
    "A05": "every operation the matrix claims is implemented, and every job can be looked at",
    "A06": "no rule and no scenario is left out, overridden or skipped: a gap is declared, with its reason",
    "B01": "every claimed operation brings media that an independent decoder accepts, with one submit",
    "B02": "every claimed option reaches the wire: each value makes a submit of its own, and what comes back fits it",
    "B03": "every claimed input reaches the wire, the last of many too, with its role, type and description",
    "B04": "every operation and input that is not claimed is refused before any submit",
    "B05": "every option that is not claimed is reported, and refused by strict",
    "B06": "every rule between fields holds in what is sent",
    "B07": "an undeclared extra parameter is refused, and each declared one reaches the wire",
    "B08": "a retired model is refused with its date; one near its end carries a warning",
    "B09": "each image and each video comes with a new continuation id, and going on from it works",
    "B10": "a mask arrives at the wire in the form the row says: edit exactly where it was asked for",
    "B11": "a prompt of the longest length arrives whole; a longer one is refused before any submit",
    "B12": "a model whose requirement is not installed is refused before any submit, with the command that installs it",
    "C01": "each failure of the service gives its own error, which says whether money is gone and how long to wait",
    "C02": "whatever fails, there is at most one submit, unless it was certainly refused or not delivered",
    "C03": "no key and no signed URL turns up in any error, its causes, a log, a stream, a note, a row, a file or a result",
    "C04": "a running job is picked up by another process from its journalled handle alone",
    "C05": "a cancelled call passes the cancellation on and leaves a row that says what is known; a job can be stopped",
    "C06": "a continuation of another backend is refused before any submit",
    "C07": "nothing but the scenario's own hosts is connected to",
    "C08": "a deadline that passes says what is known: the job's id, and whether money may be gone",
    "C09": "a look-up of a submit finds that very one or nothing",
    "C10": "a job that is not found at a look is looked at again; one that stays so ends, after a bounded number of looks and one submit",
    "C11": "a submit follows no redirect: it goes out once, and neither the key nor the pictures go elsewhere",
    "L01": "with real keys (--anymedia-live), each kind of making works once, within the budget",
}


def rule(rule_id: str, *, kept_by_the_core: bool = False) -> Callable[[_F], _F]:
    """Mark a test as one for a rule.

    Args:
        rule_id: the rule.
        kept_by_the_core: the core decides the outcome before it reaches the plugin.
    """
    assert rule_id in RULES

    def mark(function: _F) -> _F:
        function.__anymedia_rule__ = rule_id  # type: ignore[attr-defined]
        function.__anymedia_core__ = kept_by_the_core  # type: ignore[attr-defined]
        return function

    return mark


def rule_of(test: Any) -> str | None:
    """Return the id of the rule that a test function is for, or None."""
    return getattr(test, "__anymedia_rule__", None)


def is_kept_by_the_core(test: Any) -> bool:
    """Whether the core decides the outcome of a test before it reaches the plugin."""
    return getattr(test, "__anymedia_core__", False)


def known_gap(rule_id: str, reason: str) -> Callable[[type], type]:
    """Declare that a backend does not keep a rule, and why: the only way to leave one out.

    The rule's tests still run; their failure is then expected, and the closing table shows the gap with its reason.

    Raises:
        ValueError: for an unknown rule or an empty reason.
    """
    if rule_id not in RULES:
        raise ValueError(f"no rule {rule_id!r}")
    if not reason.strip():
        raise ValueError("a known gap needs a reason")

    def mark(cls: type) -> type:
        gaps: Mapping[str, str] = getattr(cls, "known_gaps", {})
        cls.known_gaps = {**gaps, rule_id: reason}  # type: ignore[attr-defined]
        return cls

    return mark
